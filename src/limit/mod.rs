//! Permits: the right to start one attempt now, taken from every limit of a lane at once.
//!
//! ```text
//! Gate: decide over a lane ── Table: limiters by policy and label values ── Limiter: a meter for each limit, slots
//!                          meter/: what counts under each of them        history/: what is known over restarts and edits
//! ```
//!
//! Must not know: entries, queues, sockets, where the record of starts is.

mod admission;
mod bound;
mod decision;
mod figures;
mod forecast;
mod gate;
mod history;
mod limiter;
mod meter;
mod permit;
mod rules;
mod stated;
mod table;
mod tally;

#[cfg(test)]
mod tests;

pub use admission::{Admission, OverLimit, Promise, Tried};
pub use decision::{Binding, Blocker, Decision};
pub use figures::{Counter, LimiterFigures};
pub use forecast::{Forecast, LaneOutlook, Outlooks};
pub use gate::Gate;
pub use history::record::{Consumed, Reservation};
pub use history::recording::HistoryGap;
pub use meter::period_end;
pub use meter::slots::most_at_once;
pub use permit::{Permit, STALE_AFTER};
pub use rules::Rules;
pub use stated::{StateUsageError, UsageToState};
pub use table::LimiterId;
pub use tally::Worked;

pub use crate::policy::Kind;
