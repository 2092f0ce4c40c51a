//! The log lines about single events: at the level `debug` what became of each attempt and of each event, and one warning
//! for each that is parked for a person.
//!
//! Must not know: why it was decided so.

use http::HeaderMap;
use tracing::{debug, warn};

use crate::dispatch::input::SettledEntry;
use crate::event::{Cause, Event, Limited, PolicyRef, Reason, Settlement, TraceContext};
use crate::policy::Runtime;
use crate::telemetry::policy_list;

/// Says what an attempt came to, or why there was none.
pub(super) fn log(settled: &SettledEntry) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let SettledEntry { entry, settlement, attempt, .. } = settled;
    let event_id = entry.name();
    let policy = policy_list(&settled.lane);
    let traceparent = TraceContext::parent_in(&entry.event.headers);
    let ended = settlement.outcome_label();
    let cause = settlement.cause_label();
    match attempt {
        Some(made) => {
            let attempt = entry.tries.and_attempt().attempts();
            let result = made.cause.as_ref().map_or("2xx", Cause::label);
            let took_ms = made.took.as_millis();
            debug!(%event_id, policy, traceparent, attempt, result, took_ms, ended, "attempt made");
        }
        None => debug!(%event_id, policy, traceparent, ended, cause, "event settled without an attempt"),
    }
}

/// Says why an event is parked for a person, with what its policies are called.
pub(super) fn log_dead(settled: &SettledEntry, runtime: &Runtime) {
    let SettledEntry { entry, lane, settlement: Settlement::Dead { reason, attempts }, .. } = settled else {
        return;
    };
    let event_id = entry.name();
    let policy = policy_list(lane);
    let title = |part: &PolicyRef| runtime.get(&part.policy)?.spec.title.clone();
    let name = lane.policies().iter().filter_map(title).collect::<Vec<_>>().join(", ");
    let status = settled.attempt.as_ref().and_then(|attempt| attempt.cause.as_ref()?.status());
    let limited = settled.limited;
    let turned_away_by = limited.and_then(|by| lane.policies().get(usize::from(by.policy?)));
    let by = turned_away_by.map(|part| part.policy.as_str());
    let limit = limited.map(Limited::kind);
    let word = Reason::of_letter(reason).word();
    warn!(%event_id, policy, name, reason = word, status, by, limit, attempts, "event parked as a dead letter");
}

/// The headers with which an event goes out. Only its line about the attempt needs them afterwards.
pub(super) fn headers_to_send(event: &mut Event) -> HeaderMap {
    if tracing::enabled!(tracing::Level::DEBUG) {
        event.headers.clone()
    } else {
        std::mem::take(&mut event.headers)
    }
}
