//! Dispatch: what is sent next, and what follows an attempt.
//!
//! The [`Planner`] decides and knows no I/O; the [`Service`] runs it over the queue, the limits and the
//! delivery in one task. The same planner runs under a virtual clock in the simulation tests.
//!
//! Must not know: sockets, files, dialects.

mod ahead;
mod buffer;
mod groups;
mod handle;
mod hold;
mod input;
mod lanes;
mod planner;
mod retry;
mod service;
mod shares;
#[cfg(test)]
mod tests;
mod turns;
mod unread;

pub use handle::{DispatchHandle, StateUsageFailed, UsageStatement};
pub use hold::{BreakerPolicy, Hold, HoldReason};
pub use input::{Attempt, Effect, Figures, Input, Options, Settled, Start, Ticket};
pub use planner::Planner;
pub use planner::looks::Looks;
pub use planner::purge::PurgeId;
pub use planner::report::{Blocked, LaneReport};
pub use retry::{Ended, MAX_RETRY_AFTER, RetryPolicy, settle};
pub use service::{Parts, Service};
