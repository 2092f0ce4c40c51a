//! The order in which lanes go: groups of lanes, the turns that groups take in front of the limits, and each lane's
//! share of the calls in flight. A lane that has something to send stands in one place of it.
//!
//! Must not know: how entries come in, what limiters count, why a lane may not send.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::dispatch::groups::{GroupId, Groups};
use crate::dispatch::lanes::{DispatchLane, LaneId, TurnPlace};
use crate::dispatch::mix::DueShare;
use crate::dispatch::shares::Shares;
use crate::dispatch::turns::{TurnClass, Turns};
use crate::limit::LimiterId;
use crate::telemetry::defect;

/// Where a group joins the turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joins {
    /// Behind all others, with a new number.
    Last,
    /// Before all others: it keeps its turn.
    First,
}

/// Who goes next. See the head of this file.
pub(in crate::dispatch) struct Order {
    pub(super) groups: Groups,
    pub(in crate::dispatch) turns: Turns,
    pub(in crate::dispatch) shares: Shares,
}

impl Order {
    /// Of lanes that may have this many calls in flight together, of which due entries go first up to a share.
    pub(super) fn new(max_inflight: usize, due_share: DueShare) -> Self {
        Self { groups: Groups::new(due_share), turns: Turns::default(), shares: Shares::new(max_inflight) }
    }

    /// Puts a lane that has something to send in line with those of its group, or brings its place there up to date.
    pub(super) fn line_up(&mut self, id: LaneId, lane: &mut DispatchLane, joins: Joins, now: Timestamp) {
        defect!(unless lane.place != TurnPlace::Full, "a lane in line that waits for its share");
        let Some(rank) = lane.rank(now) else { return };
        let before = lane.rank.replace(rank).filter(|_| lane.place == TurnPlace::InLine);
        // Its place among those of its group is right already, and the group has its place.
        if before == Some(rank) {
            return;
        }
        lane.place = TurnPlace::InLine;
        self.groups.list(lane.group, id, before, rank);
        self.bring_into_line(lane.group, joins, lane.is_draining());
    }

    /// Puts a group that has lanes with something to send into the turns, unless it is there.
    pub(super) fn bring_into_line(&mut self, group: GroupId, joins: Joins, is_draining: bool) {
        if let Some(home) = self.groups.enter_line(group) {
            match joins {
                Joins::Last => self.turns.join(group, home, self.class(group, is_draining)),
                Joins::First => self.turns.rejoin_first(group),
            }
        }
    }

    /// Among which of those in a line a group waits.
    pub(super) fn class(&self, group: GroupId, is_draining: bool) -> TurnClass {
        TurnClass::new(is_draining, self.groups.priority(group))
    }

    /// Groups that have to leave the lines in which they stand: they may be asked again, and take their new places
    /// then.
    pub(super) fn ask_again(&mut self, groups: impl IntoIterator<Item = GroupId>) {
        // By limiter, so that each line is walked over once.
        let mut by_limiter: BTreeMap<LimiterId, BTreeSet<GroupId>> = BTreeMap::new();
        for group in groups {
            if let Some(limiter) = self.groups.waits_for(group) {
                by_limiter.entry(limiter).or_default().insert(group);
            }
        }
        for (limiter, groups) in by_limiter {
            self.turns.take_out(limiter, &groups);
        }
    }

    /// A lane was taken out of those of its group that have something to send.
    pub(super) fn taken_out(&self, lane: &mut DispatchLane) {
        defect!(unless lane.place == TurnPlace::InLine, "a lane whose turn comes and that stands in no line");
        lane.place = TurnPlace::Out;
    }

    /// A lane has its share of the calls in flight: it is asked again when it may have one more.
    pub(super) fn wait_for_share(&mut self, id: LaneId, lane: &mut DispatchLane) {
        lane.place = TurnPlace::Full;
        self.shares.wait(id, &mut lane.share);
    }

    /// A lane that waits for its share is to be asked again.
    pub(super) fn end_wait(&mut self, id: LaneId, lane: &mut DispatchLane) {
        if lane.place == TurnPlace::Full {
            lane.place = TurnPlace::Out;
            self.shares.leave(id, &mut lane.share);
        }
    }

    /// Whether some lane may be asked now.
    pub(super) fn has_next(&self) -> bool {
        !self.shares.is_full() && self.turns.has_next() || self.shares.next().is_some()
    }

    /// The lanes that wait for this limiter and have something to send.
    pub(super) fn waiting_for(&self, limiter: LimiterId) -> impl Iterator<Item = LaneId> {
        self.turns.waiting_for(limiter).flat_map(|group| self.groups.ready_lanes(group))
    }
}
