//! The metrics of attempts, as their entries are settled.
//!
//! Must not know: why it was decided so.

use crate::dispatch::input::SettledEntry;
use crate::event::{Cause, Settlement};
use crate::telemetry::{AnswerTimeIgnored, AttemptFinished, CallAmbiguous, RateHalved, RetryScheduled};

/// Counts what an attempt came to, if there was one.
pub(super) fn count(settled: &SettledEntry) {
    let Some(attempt) = &settled.attempt else { return };
    let (lane, series) = (settled.lane.key(), &attempt.series);
    let result = attempt.cause.as_ref().map_or("2xx", Cause::label);
    AttemptFinished { lane, series, result, took: attempt.took }.emit();
    if attempt.is_halved {
        RateHalved { lane }.emit();
    }
    if attempt.asks_too_much {
        AnswerTimeIgnored { why: "beyond_life" }.emit();
    }
    if let (Some(cause), Settlement::Reschedule { .. }) = (&attempt.cause, &settled.settlement) {
        RetryScheduled { lane, series, cause: cause.label() }.emit();
    }
    if let Some(cause) = attempt.cause.as_ref().filter(|_| attempt.is_ambiguous) {
        let then = settled.settlement.outcome_label().unwrap_or("retried");
        CallAmbiguous { cause: cause.label(), then }.emit();
    }
}
