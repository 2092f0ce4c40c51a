//! Purging: what waits under a policy up to a moment is read and dropped, also what is put off. Calls under way are left
//! alone.
//!
//! Must not know: limits, HTTP.

use std::collections::{HashMap, HashSet};

use crate::clock::Timestamp;
use crate::dispatch::input::Effect;
use crate::dispatch::lanes::LaneId;
use crate::dispatch::planner::{Planner, settled};
use crate::event::{Entry, PolicyId, Settlement};
use crate::telemetry::defect;

/// Names a purge that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PurgeId(u64);

/// The purge of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purging {
    id: PurgeId,
    /// What was accepted until then is dropped.
    until: Timestamp,
}

/// The purges that go on.
#[derive(Debug, Default)]
pub(super) struct Purges {
    next: u64,
    under_way: HashMap<PurgeId, Progress>,
    done: Vec<(PurgeId, u64)>,
}

#[derive(Debug, Default)]
struct Progress {
    lanes: HashSet<LaneId>,
    dropped: u64,
}

impl Purging {
    pub(super) fn concerns(&self, entry: &Entry) -> bool {
        entry.id.accepted_at() <= self.until
    }
}

impl Planner {
    /// Drops what waits under a policy now; [`Planner::take_purged`] tells when it is done.
    pub fn purge(&mut self, policy: &PolicyId, now: Timestamp, effects: &mut Vec<Effect>) -> PurgeId {
        let id = PurgeId(self.purges.next);
        self.purges.next += 1;
        self.purges.under_way.insert(id, Progress::default());
        for lane_id in self.lanes.ids() {
            let Some(lane) = self.lanes.get_mut(lane_id) else { continue };
            if !lane.lane.policies().iter().any(|part| part.policy == *policy) {
                continue;
            }
            // A purge that goes on there ends with this one, which drops more.
            if let Some(before) = lane.purge.replace(Purging { id, until: now }) {
                self.purges.leave(before.id, lane_id);
            }
            lane.window.announced();
            if let Some(progress) = self.purges.under_way.get_mut(&id) {
                progress.lanes.insert(lane_id);
            }
            self.drop_purged(lane_id, effects);
            self.tend(lane_id, now, effects);
        }
        self.purges.close_if_done(id);
        id
    }

    /// The purges that are done since the last call, each with the number of entries that it dropped.
    pub fn take_purged(&mut self) -> Vec<(PurgeId, u64)> {
        std::mem::take(&mut self.purges.done)
    }

    /// Drops what a lane has read ahead and its purge concerns.
    pub(super) fn drop_purged(&mut self, id: LaneId, effects: &mut Vec<Effect>) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let Some(purging) = lane.purge else { return };
        let before = (lane.buffer.len(), lane.buffer.bytes());
        let name = &lane.lane;
        let promised = lane.buffer.take_if(
            |entry| purging.concerns(entry),
            |entry| effects.push(settled(entry, name.clone(), Settlement::Cancelled)),
        );
        let dropped = before.0 - lane.buffer.len();
        self.ahead.gave(dropped, before.1 - lane.buffer.bytes());
        match self.purges.under_way.get_mut(&purging.id) {
            Some(progress) => progress.dropped += dropped as u64,
            None => defect!("a lane in a purge that has ended"),
        }
        self.redeem(id, promised);
    }

    /// A page of a lane came: its purge is done when the lane was read to its end or to what came later, unless
    /// something that was put off is still to come.
    pub(super) fn end_purge(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let Some(purging) = lane.purge else { return };
        let has_passed = lane.buffer.last_plain().is_some_and(|at| at > purging.until);
        if (has_passed || lane.window.is_idle()) && lane.dues.next().is_none() {
            lane.purge = None;
            self.purges.leave(purging.id, id);
        }
    }
}

impl Purges {
    fn leave(&mut self, id: PurgeId, lane: LaneId) {
        if let Some(progress) = self.under_way.get_mut(&id) {
            progress.lanes.remove(&lane);
        }
        self.close_if_done(id);
    }

    fn close_if_done(&mut self, id: PurgeId) {
        if self.under_way.get(&id).is_some_and(|progress| progress.lanes.is_empty())
            && let Some(progress) = self.under_way.remove(&id)
        {
            self.done.push((id, progress.dropped));
        }
    }
}
