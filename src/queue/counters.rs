//! The counters of what came in and what has ended: fed where the lane table books it, so that they agree with the
//! ledger.
//!
//! Must not know: how the store keeps it, why an entry ended.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::event::{LaneKey, Reason};
use crate::store::SettleRequest;
use crate::telemetry::{EntryCompleted, EventEnded, EventSource, EventsEnqueued, LaneSeries};

/// Events of one lane and door that became durable together.
pub(super) struct Came<'a> {
    pub(super) lane: &'a LaneKey,
    pub(super) series: LaneSeries,
    pub(super) source: EventSource,
    pub(super) count: u64,
}

impl Came<'_> {
    /// Counts them under the policies of their lane.
    pub(super) fn count(&self) {
        let Self { lane, series, source, count } = self;
        EventsEnqueued { lane, series, source: *source, count: *count }.emit();
    }
}

/// Counts one that ended, at `now`, under the policies of its lane.
pub(super) fn count_end(now: Timestamp, series: &LaneSeries, end: &SettleRequest) {
    let SettleRequest { lane, id, settlement, why, .. } = end;
    let Some(outcome) = settlement.outcome_label() else { return };
    // From the moment that the id holds: nothing else of it is known here.
    let lived = now.since(id.accepted_at());
    EntryCompleted { lane, series, outcome, cause: settlement.cause_label(), lived }.emit();
    let reason = why.map(|why| why.reason).or_else(|| Reason::of(settlement)).map(Reason::label);
    EventEnded { outcome, reason: reason.unwrap_or("other") }.emit();
}

/// Counts those that were lost, at `now`, under the policies of their lanes; under none where the key of a lane does
/// not say which.
pub(super) fn count_losses(now: Timestamp, losses: &[SettleRequest]) {
    // Many are lost together, and of few lanes.
    let mut lanes: HashMap<&LaneKey, LaneSeries> = HashMap::new();
    for loss in losses {
        let series = lanes.entry(&loss.lane).or_insert_with(|| LaneSeries::named(&loss.lane));
        count_end(now, series, loss);
    }
}
