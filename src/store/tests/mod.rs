//! Tests over the whole room: the suite that every store passes, and what a directory looks like.

pub(super) mod contract;
pub(super) mod snapshot;
