//! The gate: decides over all limits of a lane at once. It checks all of them without side effects and only
//! then takes all of them.
//!
//! Must not know: entries, how a limit counts.

use std::collections::{BTreeMap, HashMap};

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::event::{Lane, PolicyId};
use crate::limit::Kind;
use crate::limit::bound::Bounds;
use crate::limit::history::edits::Edits;
use crate::limit::history::record::{self, Consumed, Remembered, Reservation};
use crate::limit::history::recording::SILENCE;
use crate::limit::limiter::Limiter;
use crate::limit::meter::Ready;
use crate::limit::permit::{Held, Permit, Stale};
use crate::limit::rules::Rules;
use crate::limit::stated::Stated;
use crate::limit::table::{LimiterId, Table};
use crate::limit::tally::{Tallies, Worked};
use crate::policy::Family;

/// The limiters of one lane. It goes back to its gate through [`Gate::unbind`].
#[derive(Debug)]
pub struct Binding(Box<[LimiterId]>);

/// What stands in the way of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocker {
    /// The limiter that has no room.
    pub limiter: LimiterId,
    /// Which of its limits.
    pub kind: Kind,
}

/// The answer of the gate.
#[derive(Debug)]
#[must_use = "a permit that does not go back to its gate keeps its slots taken"]
#[expect(clippy::large_enum_variant, reason = "a box would cost an allocation for each start")]
pub enum Decision {
    /// Start within [`crate::limit::STALE_AFTER`].
    Go(Permit),
    /// Ask again then, not earlier: the moment at which the last of the lane's limits has room.
    NotBefore(Timestamp, Blocker),
    /// Ask again when a call under this limiter ends (see [`Gate::release`]), or when more of its starts are on record
    /// (see [`Gate::confirmed`]).
    Wait(Blocker),
    /// A policy that turns calls away has no room: all waiting ones have.
    Refuse(Blocker),
}

/// The limiters that have room for calls again; each may have waiters.
#[derive(Debug)]
pub struct Freed(SmallVec<[LimiterId; 4]>);

/// The moments before which nobody knows what an earlier process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryGap {
    /// Under limits whose starts are not on record: the start of this process after a disorderly end.
    pub before: Timestamp,
    /// Under those whose starts are: the loss of the record.
    pub on_record_before: Timestamp,
}

/// Why nothing may start.
enum Obstacle {
    /// Ask again then.
    Until(Timestamp, Blocker),
    /// Ask again when a call ends.
    NoSlot(Blocker),
    /// Ask again when more is on record.
    Unrecorded(Blocker),
    /// It is to be turned away.
    Refused(Blocker),
}

/// All limits of all policies. One task owns it.
#[derive(Debug)]
pub struct Gate {
    pub(super) gap: HistoryGap,
    pub(super) remembered: Remembered,
    pub(super) policies: HashMap<PolicyId, Rules>,
    pub(super) edits: Edits,
    /// What was started before then, an earlier process did.
    pub(super) opened_at: Timestamp,
    pub(super) table: Table,
    pub(super) bounds: Bounds,
    pub(super) reservations: Vec<Reservation>,
    tallies: Tallies,
    /// Starts beyond a limit since the process began.
    violations: BTreeMap<(PolicyId, Kind), u64>,
}

impl Gate {
    /// Without policies, and without a past.
    #[must_use]
    pub fn new() -> Self {
        Self::after(HistoryGap::default(), Timestamp::ZERO, [], [])
    }

    /// After an earlier process, at `opened_at`: with what it left on record, and the policies that it `knew`, to be
    /// brought in by [`Gate::set`] as they are now. Their sliding windows stay silent for their length from the moment
    /// before which nobody knows what was started under them.
    #[must_use]
    pub fn after(
        gap: HistoryGap,
        opened_at: Timestamp,
        on_record: impl IntoIterator<Item = (Box<str>, Consumed)>,
        knew: impl IntoIterator<Item = (PolicyId, Rules)>,
    ) -> Self {
        let (mut remembered, mut edits) = (Remembered::default(), Edits::default());
        let is_orderly = gap.before == Timestamp::ZERO;
        let mut gap = gap;
        for (name, consumed) in on_record {
            if &*name == SILENCE {
                gap.before = gap.before.max(consumed.at);
            } else if let Some((limit, stated)) = Stated::recognise(&name, consumed) {
                remembered.add_stated(limit, stated);
            } else if !edits.recognise(&name, consumed) {
                remembered.add(name, consumed);
            }
        }
        let policies: HashMap<PolicyId, Rules> = knew.into_iter().collect();
        for (policy, rules) in &policies {
            edits.knew(policy, rules.reach(), is_orderly, opened_at);
        }
        Self {
            gap,
            remembered,
            policies,
            edits,
            opened_at,
            table: Table::default(),
            bounds: Bounds::default(),
            reservations: Vec::new(),
            tallies: Tallies::default(),
            violations: BTreeMap::new(),
        }
    }

    /// Resolves the limits of a lane. The binding stays valid over [`Gate::set`] and [`Gate::remove`] of its policies;
    /// a policy that is unknown does not limit until it is set.
    #[must_use]
    pub fn bind(&mut self, lane: &Lane, now: Timestamp) -> Binding {
        self.forget_idle(now);
        let mut ids: Vec<LimiterId> = Vec::with_capacity(lane.policies().len());
        for part in lane.policies() {
            let rules = self.policies.get(&part.policy);
            let key = lane.scope_key(rules.map(|rules| rules.scope.labels()).unwrap_or_default());
            let bounds_on = rules.and_then(|rules| rules.bounds_on.clone());
            let id = self.find_or_make(&part.policy, &key, now);
            ids.push(id);
            if let Some(policy) = bounds_on {
                // What is bounded has to be counted, whether or not that policy governs the lane.
                let counter = self.find_or_make(&policy, &key, now);
                ids.push(counter);
                if let Some(bound) = self.table.get_mut(id).and_then(|limiter| limiter.bound.as_mut()) {
                    bound.counter = Some(counter);
                }
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids.iter().for_each(|id| self.table.bind(*id));
        Binding(ids.into())
    }

    /// The lane is gone, or is bound anew. Limiters without bindings are forgotten when they are empty.
    pub fn unbind(&mut self, binding: &Binding) {
        binding.0.iter().for_each(|id| self.table.unbind(*id));
    }

    /// Asks for one start now: all limits grant it, or nothing changes. A lack of slots is told before a lack of
    /// anything else. A call that was promised a start ([`Gate::promise`]) is not turned away for the sake of other
    /// promises.
    pub fn decide(&mut self, lane: &Binding, promised: bool, now: Timestamp) -> Decision {
        match self.obstacle(lane, promised, now) {
            None => self.take(lane, now),
            Some(Obstacle::Until(at, blocker)) => {
                self.refused(blocker, now);
                Decision::NotBefore(at, blocker)
            }
            Some(Obstacle::NoSlot(blocker)) => {
                self.refused(blocker, now);
                Decision::Wait(blocker)
            }
            Some(Obstacle::Refused(blocker)) => Decision::Refuse(blocker),
            Some(Obstacle::Unrecorded(blocker)) => {
                self.refused(blocker, now);
                self.reserve(blocker.limiter, now);
                Decision::Wait(blocker)
            }
        }
    }

    /// What stands in the way of a start at `now` and, when it is known, until when. Changes nothing. Starts that are
    /// yet to be put on record are in nobody's way: that takes moments, and begins when a call wants to go.
    pub fn blocker(&mut self, lane: &Binding, now: Timestamp) -> Option<(Blocker, Option<Timestamp>)> {
        Some(match self.obstacle(lane, false, now)? {
            Obstacle::Until(at, blocker) => (blocker, Some(at)),
            Obstacle::NoSlot(blocker) | Obstacle::Refused(blocker) => (blocker, None),
            Obstacle::Unrecorded(_) => return None,
        })
    }

    fn obstacle(&mut self, lane: &Binding, promised: bool, now: Timestamp) -> Option<Obstacle> {
        let mut worst: Option<Obstacle> = None;
        let mut refuses = false;
        for id in &*lane.0 {
            let Some(limiter) = self.table.get_mut(*id) else { continue };
            if !limiter.has_slot() {
                return Some(Obstacle::NoSlot(Blocker { limiter: *id, kind: Kind::Slots }));
            }
            refuses |= limiter.turns_away();
            let Err(refused) = limiter.check(now) else { continue };
            let blocker = Blocker { limiter: *id, kind: refused.kind };
            match (refused.ready, &worst) {
                (Ready::At(_), _)
                    if limiter.family == Family::Refuse
                        && limiter.room(now).is_some_and(|(room, _)| room == 0) => {}
                (Ready::At(at), Some(Obstacle::Until(later, _))) if at <= *later => {}
                (Ready::At(at), _) => worst = Some(Obstacle::Until(at, blocker)),
                (Ready::OnceRecorded, None) => worst = Some(Obstacle::Unrecorded(blocker)),
                (Ready::OnceRecorded | Ready::Now, _) => {}
            }
        }
        match worst {
            Some(Obstacle::Until(..)) => worst,
            // Only when all waiting limits have room is a call turned away.
            worst if refuses => self.refusal(lane, promised, now).map(Obstacle::Refused).or(worst),
            worst => worst,
        }
    }

    /// The last question before a call starts: its request starts at `at`. Until then every limit counts the start at
    /// the latest moment at which it could happen.
    ///
    /// # Errors
    /// [`Stale`] when `at` lies more than [`crate::limit::STALE_AFTER`] after the grant, or when the permit was
    /// confirmed before. Nothing may start then; the permit goes back with [`Gate::put_back`].
    pub fn confirm(&mut self, permit: &mut Permit, at: Timestamp) -> Result<(), Stale> {
        if !permit.is_fresh(at) {
            return Err(Stale);
        }
        permit.is_confirmed = true;
        // A start that claims to precede its grant counts at the grant.
        let at = at.max(permit.granted_at);
        for (id, held) in permit.by_limiter() {
            let Some(limiter) = self.table.get_mut(id) else { continue };
            limiter.confirm(held, at, |policy, kind| {
                *self.violations.entry((policy.clone(), kind)).or_default() += 1;
            });
        }
        Ok(())
    }

    /// The request that was confirmed has left by `at`. A thread may lose the processor between the two: the limits
    /// count the start at the later moment, so that it is the start itself, not its confirmation, that no window claims
    /// too often.
    pub fn under_way(&mut self, permit: &Permit, at: Timestamp) {
        for Held { limiter, claim } in &permit.held {
            if let Some(limiter) = self.table.get_mut(*limiter) {
                limiter.under_way(claim.as_ref(), at);
            }
        }
    }

    /// Takes an unused permit back: everything is as if it had never been granted. A permit that was confirmed
    /// stays counted as a start. Also tells who has room again.
    pub fn put_back(&mut self, permit: Permit) -> Freed {
        for Held { limiter, claim } in permit.held.iter().rev().filter(|_| !permit.is_confirmed) {
            if let (Some(limiter), Some(claim)) = (self.table.get_mut(*limiter), claim) {
                limiter.undo(claim);
            }
        }
        self.release(permit)
    }

    /// The call of this permit has ended, its slots are free. Returns the limiters of the permit that have room
    /// now; only these can have got it.
    pub fn release(&mut self, permit: Permit) -> Freed {
        let mut freed = SmallVec::new();
        for (id, _) in permit.by_limiter() {
            let Some(limiter) = self.table.get_mut(id) else { continue };
            limiter.slots.give_back();
            if limiter.slots.has_room() {
                freed.push(id);
            }
            self.table.watch(id);
        }
        Freed(freed)
    }

    /// Starts beyond a limit since the process began, by policy and kind: any is a defect.
    #[must_use]
    pub fn violations(&self) -> &BTreeMap<(PolicyId, Kind), u64> {
        &self.violations
    }

    /// What limits did since the process began, with the time until `now` of those that let nothing start at present.
    /// `waits` says whether anything is ready that a limiter has stopped.
    pub fn worked(&mut self, now: Timestamp, waits: impl Fn(LimiterId) -> bool) -> Vec<(PolicyId, Worked)> {
        self.tallies.go_on(now, waits);
        self.tallies.worked(|policy| self.policies.contains_key(policy))
    }

    fn refused(&mut self, blocker: Blocker, now: Timestamp) {
        if let Some(limiter) = self.table.get(blocker.limiter) {
            self.tallies.refused(blocker.limiter, blocker.kind, &limiter.tally, now);
        }
    }

    /// The policy and the label values behind a limiter.
    #[must_use]
    pub fn whose(&self, limiter: LimiterId) -> Option<(&PolicyId, &str)> {
        self.table.get(limiter).map(|limiter| (&limiter.policy, &*limiter.key))
    }

    /// Lets go of limiters that nobody uses and that are empty, a few at a time.
    pub fn forget_idle(&mut self, now: Timestamp) {
        self.remembered.forget(now);
        let (remembered, edits) = (&mut self.remembered, &mut self.edits);
        self.table.forget(now, |mut limiter| {
            let (policy, key) = (limiter.policy.clone(), limiter.key.clone());
            edits.forgotten(&policy, limiter.last_start());
            limiter
                .counted(now, |kind, counted| remembered.take_in(record::name(&policy, &key, kind), counted));
        });
    }

    /// When [`Gate::forget_idle`] has something to do.
    #[must_use]
    pub fn next_idle(&self) -> Option<Timestamp> {
        self.table.next_idle()
    }

    fn take(&mut self, lane: &Binding, now: Timestamp) -> Decision {
        let held = SmallVec::with_capacity(lane.0.len());
        let mut permit = Permit { granted_at: now, is_confirmed: false, held };
        for id in &*lane.0 {
            let Some(limiter) = self.table.get_mut(*id) else { continue };
            if !limiter.take(*id, now, &mut permit.held) {
                // Cannot be: `decide` has just found it ready, and a binding names no limiter twice.
                self.put_back(permit);
                return Decision::NotBefore(now, Blocker { limiter: *id, kind: Kind::Pace });
            }
        }
        lane.0.iter().for_each(|id| self.tallies.allowed(*id, now));
        lane.0.iter().for_each(|id| self.reserve(*id, now));
        Decision::Go(permit)
    }

    pub(super) fn find_or_make(&mut self, policy: &PolicyId, key: &str, now: Timestamp) -> LimiterId {
        if let Some(id) = self.table.find(policy, key) {
            return id;
        }
        let id = self.table.insert(Limiter::new(
            policy.clone(),
            key.into(),
            Timestamp::ZERO,
            self.tallies.of(policy),
        ));
        if let Some(rules) = self.policies.get(policy).cloned() {
            self.apply(id, &rules, self.edits.floor_of_key(policy, key), now);
        }
        id
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Binding {
    /// The limiters, sorted.
    #[must_use]
    pub fn limiters(&self) -> &[LimiterId] {
        &self.0
    }
}

impl Freed {
    /// The limiters.
    pub fn iter(&self) -> impl Iterator<Item = LimiterId> {
        self.0.iter().copied()
    }
}
