//! What the end of a call means for its lane as a whole: whether it is held, and how fast it goes on.
//!
//! Must not know: what becomes of the entry, limits.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::input::PlannerOptions;
use crate::dispatch::lanes::DispatchLane;
use crate::dispatch::slowdown::Refusal;
use crate::event::{Cause, Outcome};

/// A call that has ended.
pub(super) struct CallEnd<'o> {
    /// What it counts as.
    pub(super) outcome: &'o Outcome,
    /// From its start to its end.
    pub(super) took: Duration,
    /// In `0.0..=1.0`, spreads the holds of several lanes.
    pub(super) share: f64,
}

/// Learns from the end of a call at `now`; returns whether the rate of the lane was halved.
pub(super) fn learn(
    lane: &mut DispatchLane,
    end: &CallEnd<'_>,
    options: &PlannerOptions,
    now: Timestamp,
) -> bool {
    let CallEnd { outcome, took, share } = *end;
    let was_probing = lane.holds.is_probing();
    lane.holds.ended(outcome, &options.breaker, share, now);
    let held_until = lane.holds.outlasts(now);
    if was_probing && !lane.holds.is_probing() {
        lane.slowdown.get_or_insert_default().begin_ramp(held_until.unwrap_or(now));
    }
    if !options.adaptive_rate || !is_refusal(outcome) {
        return false;
    }
    let (started_at, starts) = (now - took, lane.recent.in_last_second(now));
    lane.slowdown.get_or_insert_default().refused(Refusal { started_at, starts, held_until }, now)
}

/// Whether an endpoint says that calls come too fast for it.
fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome.end(), Outcome::Retry { cause: Cause::Status(429 | 503), .. })
}
