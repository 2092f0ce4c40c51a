//! What a look at all lanes finds that no single step does: lanes that should go and do not, and events that come near
//! the end of their life.
//!
//! Must not know: who looks, how often.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::lanes::{DispatchLane, LaneId, TurnPlace};
use crate::dispatch::planner::order::Order;
use crate::event::Entry;
use crate::limit::{Gate, LimiterId};
use crate::telemetry::policy_names;

/// How long nothing known may keep a lane back before it counts as stalled.
pub(in crate::dispatch) const STALLED_AFTER: Duration = Duration::from_secs(60);

/// How long it takes at most until a retry that is due is here again: its settlement has to be durable, and a page to
/// be read.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// What one lane is watched for.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::dispatch) struct LaneWatch {
    /// Since the look that first found no reason why nothing starts; every look after it found none either.
    unexplained_since: Option<Timestamp>,
    /// The last due time of its retries that are near the end of their life then.
    late_until: Option<Timestamp>,
}

impl LaneWatch {
    /// A call of the lane starts.
    pub(super) fn started(&mut self) {
        self.unexplained_since = None;
    }

    /// An entry waits for its next try.
    pub(super) fn put_off(&mut self, entry: &Entry, due_at: Timestamp) {
        if is_near_expiry(entry, due_at) {
            self.late_until = self.late_until.max(Some(due_at));
        }
    }

    /// Learns what a look found; returns whether the lane is stalled.
    fn look(&mut self, is_unexplained: bool, now: Timestamp) -> bool {
        if !is_unexplained {
            self.unexplained_since = None;
            return false;
        }
        now.since(*self.unexplained_since.get_or_insert(now)) >= STALLED_AFTER
    }
}

/// What a look found: how many lanes, under each of their policies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Looks {
    /// Lanes with something to send that no hold, share or limit has kept back at any look for 60 s, and of which
    /// nothing started meanwhile: any is a defect.
    pub stalled: BTreeMap<String, u64>,
    /// Lanes with an event of whose life two thirds are over: the next to go, one under way, or one put off for a retry
    /// by this process.
    pub near_expiry: BTreeMap<String, u64>,
}

/// What is known of the limits and of the calls while lanes are looked at.
pub(super) struct Look<'l> {
    pub(super) now: Timestamp,
    /// The time by which events end, unless it is in doubt.
    pub(super) certain: Option<Timestamp>,
    /// All slots are in use, so that no lane may start anything.
    pub(super) no_share: bool,
    /// The lanes with a call under way that is near the end of its life.
    pub(super) late_calls: &'l HashSet<LaneId>,
    pub(super) order: &'l Order,
    pub(super) gate: &'l mut Gate,
    /// Which limiters have no room: many lanes wait for one.
    pub(super) full: HashMap<LimiterId, bool>,
}

impl Look<'_> {
    /// Looks at one lane, and adds what it finds.
    pub(super) fn at(&mut self, id: LaneId, lane: &mut DispatchLane, looks: &mut Looks) {
        let now = self.now;
        let is_ready = !self.no_share && may_go(lane, now);
        // Whether a limiter has room is asked of the gate, and not of the line: a line that nobody opens is what a
        // stall looks like.
        let in_line = is_ready && lane.place == TurnPlace::InLine;
        let limiter = self.order.groups.waits_for(lane.group).filter(|_| in_line);
        let is_limited = limiter.is_some_and(|limiter| {
            *self.full.entry(limiter).or_insert_with(|| self.gate.is_full(limiter, now))
        });
        if lane.watch.look(is_ready && !is_limited, now) {
            count(&mut looks.stalled, lane);
        }
        if self.certain.is_some_and(|now| self.late_calls.contains(&id) || has_late(lane, now)) {
            count(&mut looks.near_expiry, lane);
        }
    }
}

/// Whether it has something to send, or waits for a page, and nothing of its own keeps it back.
fn may_go(lane: &DispatchLane, now: Timestamp) -> bool {
    (lane.has_work(now) || lane.window.is_asked()) && lane.hold(now).is_none() && lane.may_start(now)
}

fn has_late(lane: &DispatchLane, now: Timestamp) -> bool {
    lane.watch.late_until.is_some_and(|until| now <= until + ON_ITS_WAY)
        || lane.buffer.heads().any(|entry| is_near_expiry(entry, now))
}

/// Whether two thirds of its life are over at `at`. That of an event with a delay begins when the delay ends.
pub(super) fn is_near_expiry(entry: &Entry, at: Timestamp) -> bool {
    let from = entry.id.accepted_at().max(entry.event.due_at.unwrap_or_default());
    let life = entry.event.expires_at.since(from);
    at > from && at.since(from) >= life.mul_f64(2.0 / 3.0)
}

fn count(lanes: &mut BTreeMap<String, u64>, lane: &DispatchLane) {
    for policy in policy_names(&lane.lane) {
        *lanes.entry(policy.to_owned()).or_default() += 1;
    }
}
