//! The lanes that hold entries or wait for some: their read-ahead, their due times, what the policies say about them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::ahead::{LaneBuffered, ReadWindow};
use crate::dispatch::buffer::{Buffer, Dues};
use crate::dispatch::groups::{EntryRank, GroupId};
use crate::dispatch::hold::Holds;
use crate::dispatch::mix::{DueShare, RecentStarts};
use crate::dispatch::planner::looks::LaneWatch;
use crate::dispatch::planner::purge::Purging;
use crate::dispatch::ruled::{Fate, LanePolicies};
use crate::dispatch::shares::Share;
use crate::dispatch::siblings::{self, Siblings};
use crate::dispatch::slowdown::{SlowRate, Slowdown};
use crate::dispatch::unread::UnreadTime;
use crate::event::{Lane, LaneKey, PolicyId, Priority};
use crate::limit::Binding;
use crate::telemetry::{LaneSeries, defect};

/// Index of a lane that is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(u32);

impl LaneId {
    /// None comes before it.
    pub(super) const LOWEST: Self = Self(0);
}

/// While more lanes than this are present, those that are empty are forgotten although their endpoint asked for time:
/// memory has to stay bounded.
const MOST_LANES: usize = 65_536;

/// How often the entries read ahead are searched for expired ones: each search looks at all of them.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);

/// Where a lane stands in the planner's turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TurnPlace {
    /// Nowhere: it has nothing to send, or is held.
    Out,
    /// Among those of its group that take turns.
    InLine,
    /// In `Shares`: it has as many calls in flight as it may have.
    Full,
}

pub(super) struct DispatchLane {
    pub(super) lane: Lane,
    /// What happens in it counts there; see [`DispatchLane::series`].
    series: LaneSeries,
    pub(super) binding: Binding,
    pub(super) fate: Fate,
    pub(super) timeout: Option<Duration>,
    pub(super) place: TurnPlace,
    /// Lanes that differ from it in their host alone.
    pub(super) group: GroupId,
    /// Under which it stands in line last.
    pub(super) rank: Option<EntryRank>,
    pub(super) inflight: usize,
    pub(super) share: Share,
    /// Some of what it keeps aside is stopped by an operator.
    pub(super) keeps_stopped: bool,
    /// It joins the turns before all others: its turn had come when it had to wait for a page.
    pub(super) keeps_turn: bool,
    pub(super) holds: Holds,
    pub(super) siblings: Siblings,
    /// While it starts less than its limits allow, or may soon.
    pub(super) slowdown: Option<Box<Slowdown>>,
    /// Calls that were promised a start and have not had it.
    pub(super) promises: u32,
    /// Whose entries, up to a moment, are dropped.
    pub(super) purge: Option<Purging>,
    pub(super) window: ReadWindow,
    pub(super) unread: UnreadTime,
    pub(super) watch: LaneWatch,
    pub(super) recent: RecentStarts,
    pub(super) buffer: Buffer,
    pub(super) dues: Dues,
    /// For when its timer is set.
    pub(super) armed: Option<Timestamp>,
    /// When the read-ahead is searched for expired entries.
    pub(super) expiry_check: Option<Timestamp>,
}

impl DispatchLane {
    /// A lane without entries, in the place that the policies give it now.
    pub(super) fn new(
        lane: Lane,
        binding: Binding,
        ruled: LanePolicies,
        group: GroupId,
        due_share: DueShare,
    ) -> Self {
        let LanePolicies { fate, timeout, paused, stopped } = ruled;
        let mut holds = Holds::default();
        holds.doubt(fate == Fate::Unknown);
        holds.pause(paused);
        holds.stop(stopped);
        Self {
            series: LaneSeries::of(&lane),
            lane,
            binding,
            fate,
            timeout,
            place: TurnPlace::Out,
            group,
            rank: None,
            inflight: 0,
            share: Share::default(),
            keeps_stopped: false,
            keeps_turn: false,
            holds,
            siblings: Siblings::default(),
            slowdown: None,
            promises: 0,
            purge: None,
            window: ReadWindow::new(due_share),
            unread: UnreadTime::default(),
            watch: LaneWatch::default(),
            recent: RecentStarts::new(due_share),
            buffer: Buffer::default(),
            dues: Dues::default(),
            armed: None,
            expiry_check: None,
        }
    }

    /// The series in which it counts now.
    pub(super) fn series(&mut self) -> &LaneSeries {
        if !self.series.are_current() {
            self.series = LaneSeries::of(&self.lane);
        }
        &self.series
    }

    /// Whether nothing would be lost by forgetting it; with `holds_too` what its endpoint asked for would be.
    pub(super) fn is_idle(&self, holds_too: bool, now: Timestamp) -> bool {
        self.place == TurnPlace::Out
            && self.inflight == 0
            && self.promises == 0
            && self.purge.is_none()
            && (holds_too || (self.holds.outlasts(now).is_none() && self.slowdown.is_none()))
            && self.buffer.is_empty()
            && self.window.is_idle()
            && self.dues.next().is_none()
    }

    /// Whether what its endpoint says concerns the whole lane. It does not where no policy governs calls to several
    /// hosts.
    pub(super) fn has_endpoint(&self) -> bool {
        !self.lane.policies().is_empty() || self.lane.key().host().is_some()
    }

    /// Whether one more call may start at `now` as far as its endpoint goes, whose word counts for its siblings as well.
    pub(super) fn may_start(&self, now: Timestamp) -> bool {
        self.holds.allow(self.inflight + self.siblings.inflight(), now) && self.start_at(now).is_none()
    }

    /// The rate at which it starts calls at `now`, while that is lower than its limits allow.
    pub(super) fn slow_rate(&self, now: Timestamp) -> Option<SlowRate> {
        self.slowdown.as_ref()?.rate(now)
    }

    /// When its slowdown lets the next call start, if that is later than `now`.
    fn start_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.slowdown.as_ref()?.waits_until(now)
    }

    /// Whether it has something to send at `now`. What was never tried waits while the page is on its way that brings
    /// what is due, unless due entries have had their share.
    pub(super) fn has_work(&self, now: Timestamp) -> bool {
        self.buffer.has_due(now)
            || self.buffer.has_plain() && (!self.awaits_due(now) || self.recent.due_had_share(now))
    }

    /// Which entry goes next, of those that are read ahead and may go at `now`.
    pub(super) fn rank(&self, now: Timestamp) -> Option<EntryRank> {
        let first = self.buffer.rank(false, now)?;
        // Only where there is a choice is anything counted.
        let has_choice =
            matches!(first, EntryRank::Due(..)) && !first.is_sent_now() && self.buffer.has_plain();
        if has_choice && self.recent.due_had_share(now) { self.buffer.rank(true, now) } else { Some(first) }
    }

    /// Whether something is due in the queue and a page of the lane is on its way, or is asked for next.
    pub(super) fn awaits_due(&self, now: Timestamp) -> bool {
        let held = self.held(now);
        held.due_pending && (self.window.is_asked() || self.window.wants(held, 0, now) > 0)
    }

    /// Whether it goes ahead of other generations.
    pub(super) fn is_draining(&self) -> bool {
        matches!(self.fate, Fate::Draining(_))
    }

    /// Sets the time of the next search for expired entries after entries came in or were searched.
    /// There is none while `now` is in doubt.
    pub(super) fn plan_expiry(&mut self, now: Option<Timestamp>, searched: bool) {
        let soonest = now.map(|now| if searched { now + EXPIRY_PERIOD } else { now });
        let first = self.buffer.first_expiry().zip(soonest);
        self.expiry_check = first.map(|(first, soonest)| first.max(soonest));
    }

    /// What it holds and waits for, as the read-ahead needs it.
    pub(super) fn held(&self, now: Timestamp) -> LaneBuffered {
        LaneBuffered {
            entries: self.buffer.len(),
            bytes: self.buffer.bytes(),
            due_loaded: self.buffer.first_due().is_some(),
            due: if self.buffer.has_due(now) { self.buffer.due_len() } else { 0 },
            due_pending: self.next_due().is_some_and(|at| at <= now),
        }
    }

    /// When the queue has to be asked for entries that were put off; a purge wants all of them at once.
    fn next_due(&self) -> Option<Timestamp> {
        if self.purge.is_some() { self.dues.next_of_any() } else { self.dues.next() }
    }

    /// When it has to be looked after next, if nothing happens to it before.
    pub(super) fn timer(&self, now: Timestamp) -> Option<Timestamp> {
        let until = match self.fate {
            Fate::Draining(until) => Some(until).filter(|until| *until > now),
            Fate::Live | Fate::Over | Fate::Unknown => None,
        };
        // What is due already waits for room in the read-ahead, not for time.
        let due = self.next_due().filter(|at| *at > now);
        // A purge reads entries that are not due yet; those that it leaves wait here.
        let buffered = self.buffer.first_due().filter(|at| *at > now);
        let reload = self.window.retry_at().filter(|at| *at > now);
        let held = self.holds.current(now).and_then(|hold| hold.until);
        let slow = self.start_at(now).or_else(|| Some(self.slowdown.as_ref()?.over_at()));
        let held = held.into_iter().chain(slow.filter(|at| *at > now));
        until.into_iter().chain(due).chain(buffered).chain(reload).chain(held).chain(self.expiry_check).min()
    }

    /// Applies what the policies say now.
    pub(super) fn rule(&mut self, ruled: &LanePolicies) {
        (self.fate, self.timeout) = (ruled.fate, ruled.timeout);
        self.holds.doubt(ruled.fate == Fate::Unknown);
        self.holds.pause(ruled.paused);
        self.holds.stop(ruled.stopped);
    }
}

/// The lanes that are present, found by key, by policy and by number.
#[derive(Default)]
pub(super) struct Lanes {
    by_key: HashMap<LaneKey, LaneId>,
    /// Those that a policy governs, so that a change of it need not look at all others.
    by_policy: HashMap<PolicyId, BTreeSet<LaneId>>,
    slots: Vec<Option<DispatchLane>>,
    free: Vec<LaneId>,
    /// How many are of another priority than the normal one: without any no lane has siblings.
    prioritised: usize,
}

impl Lanes {
    pub(super) fn find(&self, key: &LaneKey) -> Option<LaneId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn insert(&mut self, mut state: DispatchLane) -> LaneId {
        let siblings = self.siblings_of(state.lane.key());
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // Lanes are bounded by memory long before this number ends.
            LaneId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        for part in state.lane.policies() {
            match self.by_policy.get_mut(&part.policy) {
                Some(lanes) => drop(lanes.insert(id)),
                None => drop(self.by_policy.insert(part.policy.clone(), BTreeSet::from([id]))),
            }
        }
        self.by_key.insert(state.lane.key().clone(), id);
        let priority = state.lane.priority();
        self.prioritised += usize::from(priority != Priority::Normal);
        for (of, sibling) in siblings {
            if let Some(lane) = self.get_mut(sibling) {
                // What its endpoint has said holds it as well.
                state.holds = lane.holds.clone();
                state.siblings.met(of, sibling, lane.inflight);
                lane.siblings.met(priority, id, 0);
            }
        }
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            *slot = Some(state);
        }
        id
    }

    /// The lanes that differ from this one in their priority alone.
    fn siblings_of(&self, key: &LaneKey) -> Vec<(Priority, LaneId)> {
        // Most installations use one priority.
        if self.prioritised == 0 && key.priority() == Priority::Normal {
            return Vec::new();
        }
        siblings::keys(key).filter_map(|(priority, key)| Some((priority, self.find(&key)?))).collect()
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut DispatchLane> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&DispatchLane> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn remove(&mut self, id: LaneId) -> Option<DispatchLane> {
        let state = self.slots.get_mut(id.0 as usize).and_then(Option::take)?;
        // Before its number is used again: nothing may find the next lane by this key.
        let named = self.by_key.remove(state.lane.key());
        defect!(unless named == Some(id), "a lane that goes under another name than it came");
        let priority = state.lane.priority();
        self.prioritised -= usize::from(priority != Priority::Normal);
        for sibling in state.siblings.ids() {
            if let Some(lane) = self.get_mut(sibling) {
                lane.siblings.left(priority);
            }
        }
        for part in state.lane.policies() {
            // A lane may name a policy twice, in two generations.
            if let Some(lanes) = self.by_policy.get_mut(&part.policy) {
                lanes.remove(&id);
                if lanes.is_empty() {
                    self.by_policy.remove(&part.policy);
                }
            }
        }
        self.free.push(id);
        Some(state)
    }

    /// Those that any of these policies governs, in order.
    pub(super) fn of_policies<'p>(
        &self,
        policies: impl IntoIterator<Item = &'p PolicyId>,
    ) -> BTreeSet<LaneId> {
        let lanes = policies.into_iter().filter_map(|policy| self.by_policy.get(policy));
        lanes.flatten().copied().collect()
    }

    /// Up to `most` places from `from` on with the lanes in them, and the place after them.
    pub(super) fn page_mut(
        &mut self,
        from: usize,
        most: usize,
    ) -> (impl Iterator<Item = (LaneId, &mut DispatchLane)>, Option<usize>) {
        let until = from.saturating_add(most).min(self.slots.len());
        let next = (until < self.slots.len()).then_some(until);
        let page = self.slots.get_mut(from.min(until)..until).unwrap_or_default();
        let ids = (u32::try_from(from).unwrap_or(u32::MAX)..).map(LaneId);
        (ids.zip(page).filter_map(|(id, slot)| Some((id, slot.as_mut()?))), next)
    }

    pub(super) fn ids(&self) -> Vec<LaneId> {
        let present = (0..).map(LaneId).zip(&self.slots).filter(|(_, slot)| slot.is_some());
        present.map(|(id, _)| id).collect()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &DispatchLane> {
        self.slots.iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether there are more than [`MOST_LANES`]: holds of empty ones are not kept then.
    pub(super) fn are_too_many(&self) -> bool {
        self.len() > MOST_LANES
    }
}
