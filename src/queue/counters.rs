//! The counters of what came in and what has ended: fed where the lane table books it, so that they agree with the
//! ledger.
//!
//! Must not know: the store, why an entry ended.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Settlement};
use crate::store::Loss;
use crate::telemetry::{EntryCompleted, EventsEnqueued, LaneSeries, Source};

/// Events of one lane and door that became durable together.
pub(super) struct Came<'a> {
    pub(super) lane: &'a LaneKey,
    pub(super) series: LaneSeries,
    pub(super) source: Source,
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
pub(super) fn count_end(
    now: Timestamp,
    lane: &LaneKey,
    series: &LaneSeries,
    id: EventId,
    settlement: &Settlement,
) {
    let Some(outcome) = settlement.outcome_label() else { return };
    // From the moment that the id holds: nothing else of it is known here.
    let lived = now.since(id.accepted_at());
    EntryCompleted { lane, series, outcome, cause: settlement.cause_label(), lived }.emit();
}

/// Counts those that were lost, at `now`, under the policies of their lanes; under none where the key of a lane does
/// not say which.
pub(super) fn count_losses(now: Timestamp, losses: &[Loss]) {
    // Many are lost together, and of few lanes.
    let mut lanes: HashMap<&LaneKey, LaneSeries> = HashMap::new();
    for Loss { lane, id, .. } in losses {
        let series = lanes.entry(lane).or_insert_with(|| LaneSeries::named(lane));
        count_end(now, lane, series, *id, &Settlement::Lost);
    }
}
