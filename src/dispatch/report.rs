//! What one lane is waiting for, for whoever wonders.
//!
//! Must not know: who asks.

use crate::clock::Timestamp;
use crate::dispatch::hold::Hold;
use crate::dispatch::lanes::{Fate, Place};
use crate::dispatch::planner::Planner;
use crate::event::{EventId, Lane, LaneKey, PolicyId};
use crate::limit::{Kind, LimiterFigures};

/// The state of one lane.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LaneReport {
    /// Its calls under way.
    pub inflight: usize,
    /// Entries that are read ahead and not started.
    pub read_ahead: usize,
    /// Why it may not send although its limits have room.
    pub hold: Option<Hold>,
    /// The limit that has no room now.
    pub blocked: Option<Blocked>,
    /// How far its limits are used.
    pub limits: Vec<LimiterFigures>,
    /// Its undeployed generation drains until then.
    pub draining_until: Option<Timestamp>,
}

/// A limit without room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The policy whose limit the lane waits for.
    pub policy: PolicyId,
    /// For which label values.
    pub key: Box<str>,
    /// Which of its limits.
    pub kind: Kind,
    /// When it has room again; `None` when a call has to end before, or when it turns calls away instead.
    pub until: Option<Timestamp>,
}

impl Planner {
    /// How many entries go before this one of those that its lane has read ahead; `None` when it is not among them.
    #[must_use]
    pub fn place(&self, lane: &LaneKey, id: EventId, now: Timestamp) -> Option<usize> {
        self.lanes.get(self.lanes.find(lane)?)?.buffer.place(id, now)
    }

    /// What a lane waits for at `now`, also one that is empty.
    pub fn report(&mut self, lane: &Lane, now: Timestamp) -> LaneReport {
        let present = self.lanes.find(lane.key());
        let id = present.unwrap_or_else(|| self.add(lane.key().clone(), lane.clone(), now));
        let Some(state) = self.lanes.get(id) else { return LaneReport::default() };
        let blocked = self.gate.blocker(&state.binding, now).and_then(|(blocker, until)| {
            let (policy, key) = self.gate.whose(blocker.limiter)?;
            Some(Blocked { policy: policy.clone(), key: key.into(), kind: blocker.kind, until })
        });
        let limits = self.gate.figures_of_lane(&state.binding, now);
        // While all slots are in use no lane is asked.
        let is_waiting = state.place == Place::InLine && self.shares.is_full();
        let report = LaneReport {
            inflight: state.inflight,
            read_ahead: state.buffer.len(),
            hold: state.hold(now).or_else(|| is_waiting.then_some(Hold::SHARE)),
            blocked,
            limits,
            draining_until: match state.fate {
                Fate::Draining(until) => Some(until),
                Fate::Live | Fate::Over | Fate::Unknown => None,
            },
        };
        self.forget_if_idle(id, now);
        report
    }
}
