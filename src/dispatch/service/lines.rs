//! The log lines about single events, at the level `debug`: what became of each attempt and of each event.
//!
//! Must not know: why it was decided so.

use http::HeaderMap;
use tracing::debug;

use crate::dispatch::input::SettledEntry;
use crate::event::{Cause, Event, TraceContext};
use crate::telemetry::policy_list;

/// Says what an attempt came to, or why there was none.
pub(super) fn log(settled: &SettledEntry) {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let SettledEntry { entry, settlement, attempt, .. } = settled;
    let event_id = entry.id;
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

/// The headers with which an event goes out. Only its line about the attempt needs them afterwards.
pub(super) fn headers_to_send(event: &mut Event) -> HeaderMap {
    if tracing::enabled!(tracing::Level::DEBUG) {
        event.headers.clone()
    } else {
        std::mem::take(&mut event.headers)
    }
}
