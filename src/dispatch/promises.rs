//! Promises: a call that only refusing limits govern is tried when it is handed in, and what passes is owed a start.
//!
//! Must not know: how limits count, HTTP.

use crate::clock::Timestamp;
use crate::dispatch::lanes::LaneId;
use crate::dispatch::planner::Planner;
use crate::event::{Lane, LaneKey};
use crate::limit::OverLimit;
use crate::telemetry::defect;

impl Planner {
    /// Tries a call of this lane. `Ok` promises it a start where no waiting limit governs it: to be taken up by the entry
    /// that follows, or to be given back through [`Planner::withdraw`]. Tells whether something was promised.
    ///
    /// # Errors
    /// [`OverLimit`]; nothing is promised then.
    pub fn promise(&mut self, lane: &Lane, now: Timestamp) -> Result<bool, OverLimit> {
        if !self.runtime.refuses(lane) {
            return Ok(false);
        }
        let id = match self.lanes.find(lane.key()) {
            Some(id) => id,
            None => self.add(lane.key().clone(), lane.clone(), now),
        };
        let Some(state) = self.lanes.get_mut(id) else { return Ok(false) };
        match self.gate.promise(&state.binding, now) {
            Ok(()) => {
                state.promises += 1;
                Ok(true)
            }
            Err((blocker, free_at)) => {
                let policy = self.gate.whose(blocker.limiter).map(|(policy, _)| policy.clone());
                self.forget_if_idle(id, now);
                match policy {
                    Some(policy) => Err(OverLimit { policy, kind: blocker.kind, free_at }),
                    // The limiter is bound by the lane, so it is there.
                    None => {
                        defect!("a limiter that refuses and belongs to no policy");
                        Ok(false)
                    }
                }
            }
        }
    }

    /// This many calls that were promised a start were not taken in after all.
    pub fn withdraw(&mut self, lane: &LaneKey, count: usize, now: Timestamp) {
        if let Some(id) = self.lanes.find(lane) {
            self.redeem(id, count);
            self.forget_if_idle(id, now);
        }
    }

    /// This many calls of a lane have started, or have come to nothing: as many of its promises are kept.
    pub(super) fn redeem(&mut self, id: LaneId, count: usize) {
        if let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.promises > 0) {
            let kept = lane.promises.min(u32::try_from(count).unwrap_or(u32::MAX));
            lane.promises -= kept;
            self.gate.redeem(&lane.binding, kept);
        }
    }
}
