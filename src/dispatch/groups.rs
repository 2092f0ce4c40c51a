//! Groups: lanes that differ in their host alone. The same limits govern them, and they have one priority, so that they take turns as one: a policy
//! gets no further turn of a limit that it shares by calling more hosts. Of the lanes of a group that may send the one
//! whose next entry comes first goes: what is due, until it took its share of the starts of the group, then what was accepted
//! first.
//!
//! Only lanes that have something to send are looked at, and a group goes with its last lane.
//!
//! Must not know: how entries come in, what limiters count.

use std::collections::{BTreeSet, HashMap};

use crate::clock::Timestamp;
use crate::dispatch::lanes::LaneId;
use crate::dispatch::mix::{DueShare, RecentStarts};
use crate::event::{EventId, LaneKey, Priority};
use crate::limit::LimiterId;
use crate::telemetry::defect;

/// Names a group that is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(u64);

impl GroupId {
    /// None comes before it.
    pub(super) const LOWEST: Self = Self(0);
}

/// When the next entry of a lane goes, among those of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum EntryRank {
    /// An entry that was put off and is due since this moment.
    Due(Timestamp, EventId),
    /// An entry that was neither tried nor put off; they go in order of acceptance.
    Plain(EventId),
}

impl EntryRank {
    /// Whether an operator sends the entry now: it is due since its acceptance, and no share keeps it back.
    pub(super) fn is_sent_now(self) -> bool {
        matches!(self, Self::Due(due_at, id) if due_at == id.accepted_at())
    }
}

#[derive(Debug)]
struct Group {
    /// What it started: by failing, one host must not keep the others from what was never tried.
    recent: RecentStarts,
    priority: Priority,
    /// How many lanes of it are present, with something to send or not.
    lanes: usize,
    /// Those that have something to send.
    ready: BTreeSet<(EntryRank, LaneId)>,
    /// It stands in the planner's turns.
    is_in_line: bool,
    /// The limiter that stopped it last.
    home: Option<LimiterId>,
}

impl Group {
    fn new(share: DueShare, priority: Priority) -> Self {
        Self {
            recent: RecentStarts::new(share),
            priority,
            lanes: 0,
            ready: BTreeSet::new(),
            is_in_line: false,
            home: None,
        }
    }
}

/// The groups that are present, each with those of its lanes that have something to send.
#[derive(Debug)]
pub(super) struct Groups {
    /// Up to which due entries go first, of the starts of each.
    share: DueShare,
    /// By the keys of their lanes without the host.
    by_key: HashMap<Box<str>, GroupId>,
    groups: HashMap<GroupId, Group>,
    next: u64,
}

impl Groups {
    /// None yet. Due entries go first in each up to this share of its starts.
    pub(super) fn new(share: DueShare) -> Self {
        Self { share, by_key: HashMap::new(), groups: HashMap::new(), next: 0 }
    }

    /// The group of a lane that is added.
    pub(super) fn admit(&mut self, lane: &LaneKey) -> GroupId {
        let key = lane.without_host();
        let id = self.by_key.get(key).copied().unwrap_or_else(|| {
            // Never used again, unlike the numbers of lanes: a line may still hold a group whose last lane is gone.
            let id = GroupId(self.next);
            self.next += 1;
            self.by_key.insert(key.into(), id);
            id
        });
        self.groups.entry(id).or_insert_with(|| Group::new(self.share, lane.priority())).lanes += 1;
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

    /// Puts a lane among those of its group that have something to send; it stood there with the rank of `before`.
    pub(super) fn list(&mut self, id: GroupId, lane: LaneId, before: Option<EntryRank>, rank: EntryRank) {
        let Some(group) = self.groups.get_mut(&id) else {
            defect!("a lane in line of a group that is gone");
            return;
        };
        if let Some(before) = before {
            group.ready.remove(&(before, lane));
        }
        group.ready.insert((rank, lane));
    }

    /// The group is to stand in the planner's turns. Returns the limiter that stopped it last, if one did; `None` when
    /// it stands there already or has nothing to send.
    pub(super) fn enter_line(&mut self, id: GroupId) -> Option<Option<LimiterId>> {
        let group = self.groups.get_mut(&id)?;
        if group.is_in_line || group.ready.is_empty() {
            return None;
        }
        group.is_in_line = true;
        Some(group.home)
    }

    /// The priority of all its lanes.
    pub(super) fn priority(&self, id: GroupId) -> Priority {
        self.groups.get(&id).map(|group| group.priority).unwrap_or_default()
    }

    /// The lanes of the group that have something to send.
    pub(super) fn ready_lanes(&self, id: GroupId) -> impl Iterator<Item = LaneId> {
        self.groups.get(&id).into_iter().flat_map(|group| &group.ready).map(|(_, lane)| *lane)
    }

    /// The limiter that stopped the group last, while it stands in the planner's turns.
    pub(super) fn waits_for(&self, id: GroupId) -> Option<LimiterId> {
        self.groups.get(&id).filter(|group| group.is_in_line)?.home
    }

    /// The limits of all policies may have changed.
    pub(super) fn forget_homes(&mut self) {
        self.groups.values_mut().for_each(|group| group.home = None);
    }

    /// The limits of the group may have changed: the limiter that stopped it last may be none of them any more.
    pub(super) fn keep_home_if(&mut self, id: GroupId, is_bound: impl Fn(LimiterId) -> bool) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.home = group.home.filter(|home| is_bound(*home));
        }
    }

    /// Takes out the lane that goes first.
    pub(super) fn pop_first(&mut self, id: GroupId, now: Timestamp) -> Option<LaneId> {
        let group = self.groups.get_mut(&id)?;
        let (first, last) = (*group.ready.first()?, *group.ready.last()?);
        // Only where there is a choice is anything counted.
        let has_choice =
            matches!((first.0, last.0), (EntryRank::Due(..), EntryRank::Plain(_))) && !first.0.is_sent_now();
        let goes = if has_choice && group.recent.due_had_share(now) {
            let plain = (EntryRank::Plain(EventId::new(0, 0)), LaneId::LOWEST);
            group.ready.range(plain..).next().copied().unwrap_or(first)
        } else {
            first
        };
        group.ready.remove(&goes);
        Some(goes.1)
    }

    /// A call of the group has got its permit at `now`.
    pub(super) fn started(&mut self, id: GroupId, is_due: bool, now: Timestamp) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.recent.started(is_due, now);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_goes_with_its_last_lane() {
        let key = |text: &str| LaneKey::new(text).expect("a key");
        let mut groups = Groups::new(DueShare::HALF);
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
        let ranks = [
            EntryRank::Due(at(5), id(9)),
            EntryRank::Due(at(6), id(1)),
            EntryRank::Plain(id(2)),
            EntryRank::Plain(id(3)),
        ];
        assert!(ranks.is_sorted());
    }
}
