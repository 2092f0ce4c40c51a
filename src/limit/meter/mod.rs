//! What counts under one limit: a file for each kind, and what they are made of.
//!
//! ```text
//! pace = window + smoother      window = ring (keeps) + self_check (checks) + reserve (puts on record)      quota      slots
//! ```
//!
//! Must not know: policies, lanes, permits.

pub(super) mod pace;
pub(super) mod quota;
pub(super) mod reserve;
pub(super) mod ring;
pub(super) mod self_check;
pub(super) mod slots;
pub(super) mod smoother;
pub(super) mod window;
