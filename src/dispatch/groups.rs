//! Groups: lanes that differ in their host alone. The same limits govern them, so that they take turns as one: a policy
//! gets no further turn of a limit that it shares by calling more hosts. Of the lanes of a group that may send the one
//! whose next entry comes first goes: what is due, then what was accepted first.
//!
//! Only lanes that have something to send are looked at, and a group goes with its last lane.
//!
//! Must not know: how entries come in, what limiters count.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::dispatch::lanes::{LaneId, Place};
use crate::dispatch::planner::Planner;
use crate::event::{EventId, LaneKey};
use crate::limit::LimiterId;
use crate::telemetry::defect;

/// Names a group that is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(u64);

/// When the next entry of a lane goes, among those of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// It is due since then.
    Due(Timestamp, EventId),
    /// It was not tried yet.
    Plain(EventId),
}

#[derive(Debug, Default)]
struct Group {
    /// How many lanes are present.
    lanes: usize,
    /// Those that have something to send.
    ready: BTreeSet<(Rank, LaneId)>,
    /// It stands in the planner's turns.
    is_in_line: bool,
    /// The limiter that stopped it last.
    home: Option<LimiterId>,
}

/// The groups that are present.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// By the keys of their lanes without the host.
    by_key: HashMap<Box<str>, GroupId>,
    groups: HashMap<GroupId, Group>,
    next: u64,
}

impl Groups {
    /// The group of a lane that is added.
    pub(super) fn admit(&mut self, lane: &LaneKey) -> GroupId {
        let key = lane.without_host();
        let id = self.by_key.get(key).copied().unwrap_or_else(|| {
            let id = GroupId(self.next);
            self.next += 1;
            self.by_key.insert(key.into(), id);
            id
        });
        self.groups.entry(id).or_default().lanes += 1;
        id
    }

    /// A lane of the group is gone.
    pub(super) fn dismiss(&mut self, id: GroupId, lane: &LaneKey) {
        defect!(unless self.groups.contains_key(&id), "a lane of a group that is gone");
        if let Some(group) = self.groups.get_mut(&id) {
            group.lanes -= 1;
            if group.lanes == 0 {
                defect!(unless group.ready.is_empty(), "a group that goes with lanes that would send");
                self.groups.remove(&id);
                self.by_key.remove(lane.without_host());
            }
        }
    }

    /// The lanes of the group that have something to send.
    pub(super) fn ready_lanes(&self, id: GroupId) -> impl Iterator<Item = LaneId> {
        self.groups.get(&id).into_iter().flat_map(|group| &group.ready).map(|(_, lane)| *lane)
    }

    /// The limiter that stopped the group last, while it stands in the planner's turns.
    pub(super) fn waits_for(&self, id: GroupId) -> Option<LimiterId> {
        self.groups.get(&id).filter(|group| group.is_in_line)?.home
    }

    /// The limits may have changed.
    pub(super) fn forget_homes(&mut self) {
        self.groups.values_mut().for_each(|group| group.home = None);
    }

    /// Takes out the lane that goes first.
    pub(super) fn pop_first(&mut self, id: GroupId) -> Option<LaneId> {
        self.groups.get_mut(&id)?.ready.pop_first().map(|(_, lane)| lane)
    }

    /// The group has been taken out of the planner's turns.
    pub(super) fn left_line(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.is_in_line = false;
        }
    }

    /// The group waits in the line of this limiter.
    pub(super) fn stopped_by(&mut self, id: GroupId, limiter: LimiterId) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.is_in_line = true;
            group.home = Some(limiter);
        }
    }
}

/// Where a group joins the turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joins {
    /// Behind all others.
    Last,
    /// Before all others: it keeps its turn.
    First,
}

impl Planner {
    /// Puts a lane that has something to send in line with those of its group, or brings its place there up to date.
    pub(super) fn line_up(&mut self, id: LaneId, joins: Joins, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let Some(rank) = lane.buffer.rank(now) else { return };
        let Some(group) = self.groups.groups.get_mut(&lane.group) else { return };
        match (lane.place, lane.rank.replace(rank)) {
            (Place::InLine, Some(before)) if before == rank => return,
            (Place::InLine, Some(before)) => {
                group.ready.remove(&(before, id));
            }
            _ => lane.place = Place::InLine,
        }
        group.ready.insert((rank, id));
        let (group, is_draining) = (lane.group, lane.is_draining());
        self.bring_into_line(group, joins, is_draining);
    }

    /// Puts a group that has lanes with something to send into the turns, unless it is there.
    pub(super) fn bring_into_line(&mut self, id: GroupId, joins: Joins, is_draining: bool) {
        let Some(group) = self.groups.groups.get_mut(&id) else { return };
        if group.is_in_line || group.ready.is_empty() {
            return;
        }
        group.is_in_line = true;
        match joins {
            Joins::Last => self.turns.join(id, group.home, is_draining),
            Joins::First => self.turns.rejoin_first(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_goes_with_its_last_lane() {
        let key = |text: &str| LaneKey::new(text).expect("a key");
        let mut groups = Groups::default();
        let lanes = ["a@1;~host=x:80", "a@1;~host=y:80", "a@1", "b@1;~host=x:80"].map(key);
        let ids = lanes.each_ref().map(|lane| groups.admit(lane));
        assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3]);
        for (id, lane) in ids.into_iter().zip(&lanes).skip(1) {
            groups.dismiss(id, lane);
        }
        assert_eq!((groups.groups.len(), groups.by_key.len()), (1, 1));
        assert_eq!(groups.admit(&lanes[2]), ids[0]);
        groups.dismiss(ids[0], &lanes[0]);
        groups.dismiss(ids[0], &lanes[2]);
        assert_eq!((groups.groups.len(), groups.by_key.len()), (0, 0));
    }

    #[test]
    fn what_is_due_ranks_before_what_was_not_tried() {
        let at = Timestamp::from_millis;
        let id = |n| EventId::new(1, n);
        let ranks =
            [Rank::Due(at(5), id(9)), Rank::Due(at(6), id(1)), Rank::Plain(id(2)), Rank::Plain(id(3))];
        assert!(ranks.is_sorted());
    }
}
