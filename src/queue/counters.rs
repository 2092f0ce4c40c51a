//! The counters of what came in and what has ended: fed where the lane table books it, so that they agree with the
//! ledger.
//!
//! Must not know: how the store keeps it, why an entry ended.

use std::collections::HashMap;
use std::collections::hash_map;

use crate::clock::Timestamp;
use crate::event::{Lane, LaneKey, Reason};
use crate::store::SettleRequest;
use crate::telemetry::{EntryCompleted, EventEnded, EventsEnqueued, Source};

/// Counts those that became durable under the policies of their lanes. Neighbours often share a lane.
pub(super) fn count_accepted<'a>(entries: impl Iterator<Item = (&'a Lane, Source)>) {
    let mut run: Option<EventsEnqueued<'a>> = None;
    for (lane, source) in entries {
        match &mut run {
            Some(run) if run.lane.key() == lane.key() && run.source == source => run.count += 1,
            _ => {
                if let Some(run) = run.replace(EventsEnqueued { lane, source, count: 1 }) {
                    run.emit();
                }
            }
        }
    }
    if let Some(run) = run {
        run.emit();
    }
}

/// Counts those that ended, at `now`, under the policies of their lanes; under none where the key of a lane does not
/// say which.
pub(super) fn count_ends<'a>(now: Timestamp, settlements: impl Iterator<Item = &'a SettleRequest>) {
    // A batch has few lanes.
    let mut lanes: HashMap<&LaneKey, Lane> = HashMap::new();
    for SettleRequest { lane: key, id, settlement, why, .. } in settlements {
        let Some(outcome) = settlement.outcome_label() else { continue };
        let lane = match lanes.entry(key) {
            hash_map::Entry::Occupied(lane) => lane.into_mut(),
            hash_map::Entry::Vacant(place) => {
                // A lane of no policy is always one.
                let Ok(lane) = Lane::parse(key).or_else(|_| Lane::of(Vec::new())) else { continue };
                place.insert(lane)
            }
        };
        // From the moment that the id holds: nothing else of it is known here.
        let lived = now.since(id.accepted_at());
        EntryCompleted { lane, outcome, cause: settlement.cause_label(), lived }.emit();
        let reason = why.map(|why| why.reason).or_else(|| Reason::of(settlement)).map(Reason::label);
        EventEnded { outcome, reason: reason.unwrap_or("other") }.emit();
    }
}
