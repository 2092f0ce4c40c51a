//! What one lane is waiting for, for operators and explanations.
//!
//! Must not know: who asks.

use crate::clock::Timestamp;
use crate::dispatch::hold::Hold;
use crate::dispatch::lanes::TurnPlace;
use crate::dispatch::planner::policies::ActivePolicies;
use crate::dispatch::planner::roster::{Roster, Spot};
use crate::dispatch::ruled::Fate;
use crate::dispatch::slowdown::SlowRate;
use crate::event::{Lane, PolicyId};
use crate::limit::{LimitKind, LimiterFigures};

/// The state of one lane at one moment, and why nothing of it starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LaneReport {
    /// Entries that are read ahead and not started.
    pub read_ahead: usize,
    /// Why it may not send although its limits have room.
    pub hold: Option<Hold>,
    /// The rate at which it starts calls, while that is lower than its limits allow.
    pub slowed: Option<SlowRate>,
    /// The limit that has no room now.
    pub blocked: Option<BlockedLimit>,
    /// How far its limits are used.
    pub limits: Vec<LimiterFigures>,
    /// Its undeployed generation drains until then.
    pub draining_until: Option<Timestamp>,
}

/// A limit without room, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BlockedLimit {
    /// The policy whose limit the lane waits for.
    pub policy: PolicyId,
    /// The label values that it counts, `a=1;b=2`.
    pub key: Box<str>,
    /// Which limit of the policy it is.
    pub kind: LimitKind,
    /// When it has room again; `None` when a call has to end before, or when it turns calls away instead.
    pub until: Option<Timestamp>,
}

impl LaneReport {
    /// What a lane waits for at `now`, also one that is empty.
    pub(super) fn of(lane: &Lane, policies: &ActivePolicies, roster: &mut Roster, now: Timestamp) -> Self {
        let id = policies.find_or_add(lane, roster, now);
        // While all slots are in use no lane is asked.
        let is_full = roster.is_full();
        let Some(Spot { lane, gate, .. }) = roster.spot(id) else { return Self::default() };
        let blocked = gate.blocker(&lane.binding, now).and_then(|(blocker, until)| {
            let (policy, key) = gate.whose(blocker.limiter)?;
            Some(BlockedLimit { policy: policy.clone(), key: key.into(), kind: blocker.kind, until })
        });
        let limits = gate.figures_of_lane(&lane.binding, now);
        let is_waiting = lane.place == TurnPlace::InLine && is_full;
        let report = Self {
            read_ahead: lane.buffer.len(),
            hold: lane.hold(now).or_else(|| is_waiting.then_some(Hold::SHARE)),
            slowed: lane.slow_rate(now),
            blocked,
            limits,
            draining_until: match lane.fate {
                Fate::Draining(until) => Some(until),
                Fate::Live | Fate::Over | Fate::Unknown => None,
            },
        };
        // It may have been made for this question alone.
        roster.forget_if_idle(id, now);
        report
    }
}
