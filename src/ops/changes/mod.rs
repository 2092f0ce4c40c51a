//! Changes of many at once: of events, of dead letters, of both. They are counted first; with the confirmation of the count a
//! run begins, which goes on by itself, can be looked at and stopped, and ends with the process.
//!
//! ```text
//! events, dead: a request (request) -> count or begin (asked) -> runs: one at a time, step by step
//!                                                                  work: what a step does (events, dead)
//! progress: /v1/changes
//! ```
//!
//! Must not know: what is changed, and how.

pub(super) mod asked;
mod confirmation;
pub(super) mod doc;
pub(super) mod progress;
pub(super) mod request;
pub(super) mod runs;
pub(super) mod work;

pub(super) use progress::routes;
pub(crate) use runs::Runs;
