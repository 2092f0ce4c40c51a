//! What the end of a call means for its lane as a whole: whether it is held, and how fast it goes on.
//!
//! Must not know: what becomes of the entry, limits.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::hold::BreakerPolicy;
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
    let CallEnd { outcome, took, .. } = *end;
    learn_hold(lane, end, &options.breaker, now);
    let held_until = lane.holds.outlasts(now);
    if !options.adaptive_rate || !is_refusal(outcome) {
        return false;
    }
    let (started_at, starts) = (now - took, lane.recent.in_last_second(now));
    lane.slowdown.get_or_insert_default().refused(Refusal { started_at, starts, held_until }, now)
}

/// The part that counts for the siblings of the lane as well: their calls go to the same endpoint. Whether calls come too
/// fast is seen by each of them in its own.
pub(super) fn learn_hold(
    lane: &mut DispatchLane,
    end: &CallEnd<'_>,
    breaker: &BreakerPolicy,
    now: Timestamp,
) {
    let was_probing = lane.holds.is_probing();
    lane.holds.ended(end.outcome, breaker, end.share, now);
    if was_probing && !lane.holds.is_probing() {
        let begins_at = lane.holds.outlasts(now).unwrap_or(now);
        lane.slowdown.get_or_insert_default().begin_ramp(begins_at);
    }
}

/// Whether an endpoint says that calls come too fast for it.
fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome.end(), Outcome::Retry { cause: Cause::Status(429 | 503), .. })
}
