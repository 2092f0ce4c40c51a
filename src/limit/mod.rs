//! Permits: the right to start one attempt now, taken from every limit of a lane at once.
//!
//! ```text
//! Gate: decide over a lane ── Table: limiters by policy and label values ── Limiter: pace, window, quota, slots
//!                                                Sliding = Ring (keeps) + Watch (checks) + Tokens (put on record)
//! ```
//!
//! Must not know: entries, queues, sockets, where the record of starts is.

mod ceiling;
mod changes;
mod counted;
mod edits;
mod few;
mod figures;
mod forecast;
mod gate;
mod leap;
mod limiter;
mod pace;
mod permit;
mod quota;
mod record;
mod recording;
mod ring;
mod rules;
mod sliding;
mod slots;
mod smoother;
mod stated;
mod table;
mod tally;
mod tokens;
mod turned_away;
mod watch;

#[cfg(test)]
mod tests;

pub use figures::{Counter, LimiterFigures};
pub use forecast::{Forecast, LaneOutlook, LimitOutlook, Outlooks};
pub use gate::{Binding, Blind, Blocker, Decision, Freed, Gate};
pub use limiter::Kind;
pub use permit::{Permit, STALE_AFTER, Stale};
pub use quota::period_end;
pub use record::{Ask, Consumed};
pub use rules::Rules;
pub use slots::most_at_once;
pub use stated::{StateUsageError, UsageToState};
pub use table::LimiterId;
pub use tally::{WAITING_KINDS, Worked};
