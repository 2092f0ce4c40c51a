//! Tests over the whole room: the suite that every store passes.

pub(super) mod contract;
