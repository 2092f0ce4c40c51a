//! Policies: limit configurations in tidegate's own terms, whichever dialect they came through.
//!
//! Must not know: how limits are kept, what a dialect's wire looks like, axum.

mod pattern;
mod spec;

pub use pattern::UrlPattern;
pub use spec::{Family, LabelCondition, Limits, Pace, Spec, SpecError};
