//! Siblings: lanes that differ in their priority alone. Their calls go to one endpoint, so that what it says holds all of
//! them, and one call at a time tries it for all of them when it has failed.
//!
//! Each lane keeps the state of the endpoint by itself, and learns what happens to its siblings: most lanes have none.
//!
//! Must not know: what an endpoint says, when lanes send.

use crate::dispatch::lanes::LaneId;
use crate::event::{LaneKey, Priority};

/// The siblings of one lane that are present.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Siblings {
    /// By their priorities; none in its own place.
    lanes: [Option<LaneId>; Priority::ALL.len()],
    /// Their calls in flight.
    inflight: usize,
}

impl Siblings {
    pub(super) fn ids(&self) -> impl Iterator<Item = LaneId> + use<> {
        self.lanes.into_iter().flatten()
    }

    /// Calls of all of them that are in flight.
    pub(super) const fn inflight(&self) -> usize {
        self.inflight
    }

    /// A sibling comes, with so many calls in flight.
    pub(super) fn met(&mut self, priority: Priority, id: LaneId, inflight: usize) {
        if let Some(place) = self.lanes.get_mut(priority.place()) {
            *place = Some(id);
            self.inflight += inflight;
        }
    }

    /// A sibling is gone; it had no calls in flight.
    pub(super) fn left(&mut self, priority: Priority) {
        if let Some(place) = self.lanes.get_mut(priority.place()) {
            *place = None;
        }
    }

    /// A sibling has one more call in flight.
    pub(super) fn started(&mut self) {
        self.inflight += 1;
    }

    /// A call of a sibling has ended.
    pub(super) fn ended(&mut self) {
        self.inflight = self.inflight.saturating_sub(1);
    }
}

/// The keys of the lanes that differ from this one in their priority alone, with their priorities.
pub(super) fn keys(lane: &LaneKey) -> impl Iterator<Item = (Priority, LaneKey)> {
    let own = lane.priority();
    let others = Priority::ALL.into_iter().filter(move |priority| *priority != own);
    others.filter_map(|priority| Some((priority, lane.with_priority(priority)?)))
}
