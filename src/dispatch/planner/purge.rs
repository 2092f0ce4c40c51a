//! Purging: what waits under a policy up to a moment is read and dropped, also what is put off. Calls under way are
//! left alone.
//!
//! Must not know: limits, HTTP.

use std::collections::{HashMap, HashSet};

use crate::clock::Timestamp;
use crate::dispatch::input::Effect;
use crate::dispatch::lanes::LaneId;
use crate::dispatch::planner::roster::Roster;
use crate::event::{Entry, PolicyId, Settlement};
use crate::telemetry::defect;

/// Names a purge that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PurgeId(u64);

/// The purge of one lane: a lane is in one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) struct Purging {
    id: PurgeId,
    /// What was accepted until then is dropped.
    until: Timestamp,
}

/// The purges that go on, and those whose end is to be reported.
#[derive(Debug, Default)]
pub(super) struct Purges {
    next: u64,
    under_way: HashMap<PurgeId, PurgeProgress>,
    done: Vec<(PurgeId, u64)>,
}

#[derive(Debug, Default)]
struct PurgeProgress {
    lanes: HashSet<LaneId>,
    dropped: u64,
}

impl Purging {
    pub(super) fn concerns(&self, entry: &Entry) -> bool {
        entry.id.accepted_at() <= self.until
    }
}

impl Purges {
    /// Drops what waits under a policy now; [`Purges::take_done`] reports its end.
    pub(super) fn begin(
        &mut self,
        policy: &PolicyId,
        roster: &mut Roster,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> PurgeId {
        let id = PurgeId(self.next);
        self.next += 1;
        self.under_way.insert(id, PurgeProgress::default());
        for lane_id in roster.lanes().of_policies([policy]) {
            let Some(lane) = roster.lane_mut(lane_id) else { continue };
            // A purge that goes on there ends with this one, which drops more.
            if let Some(before) = lane.purge.replace(Purging { id, until: now }) {
                self.leave(before.id, lane_id);
            }
            // The queue may hold more than the lane has heard of: it is read to its end.
            lane.window.announced();
            if let Some(progress) = self.under_way.get_mut(&id) {
                progress.lanes.insert(lane_id);
            }
            self.drop_waiting(lane_id, roster, effects);
            roster.tend(lane_id, now, effects);
        }
        // Without lanes it is done at once.
        self.close_if_done(id);
        id
    }

    /// The purges that are done since the last call, each with the number of entries that it dropped.
    pub(super) fn take_done(&mut self) -> Vec<(PurgeId, u64)> {
        std::mem::take(&mut self.done)
    }

    /// Drops what a lane has read ahead and its purge concerns.
    pub(super) fn drop_waiting(&mut self, id: LaneId, roster: &mut Roster, effects: &mut Vec<Effect>) {
        let Some(purging) = roster.lanes().get(id).and_then(|lane| lane.purge) else { return };
        let dropped = roster.drop_if(id, |entry| purging.concerns(entry), |_| Settlement::Cancelled, effects);
        match self.under_way.get_mut(&purging.id) {
            Some(progress) => progress.dropped += dropped as u64,
            None => defect!("a lane in a purge that has ended"),
        }
    }

    /// A page of a lane came: its purge is done when the lane was read to its end or to what came later, unless
    /// something that was put off is still to come.
    pub(super) fn end_if_read(&mut self, id: LaneId, roster: &mut Roster) {
        let Some(lane) = roster.lane_mut(id) else { return };
        let Some(purging) = lane.purge else { return };
        // Plain entries come in order of acceptance: later ones follow all that the purge concerns.
        let has_passed = lane.buffer.last_plain().is_some_and(|at| at > purging.until);
        if (has_passed || lane.window.is_idle()) && lane.dues.next().is_none() {
            lane.purge = None;
            self.leave(purging.id, id);
        }
    }

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
