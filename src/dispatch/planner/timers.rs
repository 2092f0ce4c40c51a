//! When lanes are to be looked after although nothing happens to them: at most one time for each lane.
//!
//! Must not know: what is done then.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::dispatch::lanes::LaneId;
use crate::telemetry::defect;

/// The timers of all lanes, at most one for each.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Timestamp, LaneId)>);

impl Timers {
    /// Sets the timer of a lane, which was set for `armed`, or stops it.
    pub(super) fn set(&mut self, lane: LaneId, armed: &mut Option<Timestamp>, at: Option<Timestamp>) {
        if let Some(before) = armed.take() {
            let was_set = self.0.remove(&(before, lane));
            defect!(unless was_set, "a timer that was set for another time");
        }
        if let Some(at) = at {
            *armed = Some(at);
            self.0.insert((at, lane));
        }
    }

    /// The next lane whose time has come; its timer is not set any more.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<LaneId> {
        self.0.first().filter(|(at, _)| *at <= now)?;
        self.0.pop_first().map(|(_, lane)| lane)
    }

    pub(super) fn first(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _)| *at)
    }
}
