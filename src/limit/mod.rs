//! Permits: the right to start one attempt now, taken from every limit of a lane at once.
//!
//! Must not know: entries, queues, sockets.

mod few;
mod gate;
mod pace;
mod permit;
mod ring;
mod slots;
mod smoother;
mod watch;

#[cfg(test)]
mod tests;

pub use gate::{Binding, Blocker, BlockerKind, Decision, Figures, Freed, Gate, LimiterId};
pub use permit::{Permit, STALE_AFTER, Stale};
