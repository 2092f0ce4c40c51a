//! What limits remember over restarts and edits: the record of starts, and what neither the record nor a limiter knows.
//!
//! Must not know: how limits count, where the record is.

mod edits;
mod leap;
pub(super) mod record;
pub(super) mod recording;
