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

pub(crate) use admission::{Admission, OverLimit, Promise, Tried};
pub(crate) use decision::Blocker;
pub use decision::{Binding, Decision};
pub(crate) use figures::{Counter, LimiterFigures};
pub(crate) use forecast::{Forecast, LaneOutlook, Outlooks};
pub use gate::Gate;
pub(crate) use history::record::{Consumed, Reservation};
pub(crate) use history::recording::HistoryGap;
pub(crate) use meter::period_end;
pub(crate) use meter::slots::most_at_once;
pub(crate) use permit::{Permit, STALE_AFTER};
pub use rules::Rules;
pub(crate) use stated::{StateUsageError, UsageToState};
pub(crate) use table::LimiterId;
pub(crate) use tally::Worked;

pub(crate) use crate::policy::LimitKind;
