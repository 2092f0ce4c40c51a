//! The gate: decides over all limits of a lane at once. It checks all of them without side effects and only
//! then takes all of them.
//!
//! Must not know: entries, how a limit counts.

use std::collections::{BTreeMap, HashMap};

use smallvec::SmallVec;

use crate::clock::{Leap, Timestamp};
use crate::event::{Lane, PolicyId};
use crate::limit::bound::LeastBounds;
use crate::limit::decision::{Binding, Blocker, Decision, Freed, Obstacle, obstacle};
use crate::limit::figures::{self, LimiterFigures};
use crate::limit::history::record::{Consumed, Reservation};
use crate::limit::history::recording::{HistoryGap, Recording};
use crate::limit::limiter::Limiter;
use crate::limit::meter::Ready;
use crate::limit::permit::{Permit, PermitPart, StalePermit};
use crate::limit::rules::Rules;
use crate::limit::stated::{self, StateUsageError, UsageToState};
use crate::limit::table::{LimiterId, LimiterTable};
use crate::limit::tally::{Tallies, Worked};
use crate::limit::{LimitKind, admission};
use crate::telemetry::defect;

/// All limits of all policies. One task owns it.
#[derive(Debug)]
pub struct Gate {
    policies: HashMap<PolicyId, Rules>,
    table: LimiterTable,
    bounds: LeastBounds,
    recording: Recording,
    tallies: Tallies,
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
        let policies: HashMap<PolicyId, Rules> = knew.into_iter().collect();
        Self {
            recording: Recording::after(gap, opened_at, on_record, &policies),
            policies,
            table: LimiterTable::default(),
            bounds: LeastBounds::default(),
            tallies: Tallies::default(),
        }
    }

    /// Brings a policy in or changes its limits. What was consumed, granted and is in flight keeps counting; there is
    /// never a fresh burst, also when the policy was removed a moment ago. Lanes that wait may have room now: ask for
    /// them again; those of a policy whose scope has changed are to be bound again. Without slots of its own a policy
    /// gets one second's worth of its pace within 64 to 4096.
    ///
    /// Where that cannot be known, windows are silent until it does not matter. A quota counts from when it is brought
    /// in, and begins anew for other label values.
    pub fn set(&mut self, policy: &PolicyId, rules: impl Into<Rules>, now: Timestamp) {
        let rules = rules.into();
        let forgotten = self.recording.change(policy, self.policies.get(policy), &rules, &self.table, now);
        let ids: Vec<LimiterId> = self.table.of_policy(policy, None).collect();
        for id in ids {
            if let Some(limiter) = self.table.get_mut(id) {
                let floor = forgotten.before(&limiter.key);
                self.recording.apply(limiter, &rules, floor, now);
                self.bounds.apply(limiter);
            }
        }
        if let Some(counter) = &rules.bounds_on {
            self.bounds.add(counter, &rules.limits);
            let ids: Vec<LimiterId> = self.table.of_policy(counter, None).collect();
            for id in ids {
                if let Some(limiter) = self.table.get_mut(id) {
                    self.bounds.apply(limiter);
                }
            }
        }
        self.policies.insert(policy.clone(), rules);
        self.recording.reserve_mark(policy);
    }

    /// Takes a policy's limits away; its calls in flight stay counted.
    pub fn remove(&mut self, policy: &PolicyId) {
        if self.policies.remove(policy).is_some() {
            self.recording.removed(policy);
        }
        let ids: Vec<LimiterId> = self.table.of_policy(policy, None).collect();
        for id in ids {
            if let Some(limiter) = self.table.get_mut(id) {
                limiter.active = false;
            }
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

    /// Asks for one start now: all limits grant it, or nothing changes. A lack of slots is reported before a lack of
    /// anything else. A call that was promised a start ([`Gate::promise`]) is not turned away for the sake of other
    /// promises.
    pub fn decide(&mut self, lane: &Binding, promised: bool, now: Timestamp) -> Decision {
        match obstacle(&mut self.table, lane, promised, now) {
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
        Some(match obstacle(&mut self.table, lane, false, now)? {
            Obstacle::Until(at, blocker) => (blocker, Some(at)),
            Obstacle::NoSlot(blocker) | Obstacle::Refused(blocker) => (blocker, None),
            Obstacle::Unrecorded(_) => return None,
        })
    }

    /// Whether a limiter has no room for a start at `now`. Starts that are yet to be put on record take none.
    pub fn is_full(&mut self, limiter: LimiterId, now: Timestamp) -> bool {
        self.table.get_mut(limiter).is_some_and(|limiter| {
            let refused = limiter.check(now).err();
            !limiter.has_slot() || refused.is_some_and(|refused| matches!(refused.ready, Ready::At(_)))
        })
    }

    /// The last question before a call starts: its request starts at `at`. Until then every limit counts the start at
    /// the latest moment at which it could happen.
    ///
    /// # Errors
    /// [`StalePermit`] when `at` lies more than [`crate::limit::STALE_AFTER`] after the grant, or when the permit was
    /// confirmed before. Nothing may start then; the permit goes back with [`Gate::put_back`].
    pub fn confirm(&mut self, permit: &mut Permit, at: Timestamp) -> Result<(), StalePermit> {
        if !permit.is_fresh(at) {
            return Err(StalePermit);
        }
        permit.is_confirmed = true;
        // A start that claims to precede its grant counts at the grant.
        let at = at.max(permit.granted_at);
        for (id, held) in permit.by_limiter() {
            let Some(limiter) = self.table.get_mut(id) else {
                defect!("a start under a limiter that is gone");
                continue;
            };
            limiter.confirm(held, at, |policy, kind| self.tallies.violated(policy, kind));
        }
        Ok(())
    }

    /// The request that was confirmed has left by `at`. A thread may lose the processor between the two: the limits
    /// count the start at the later moment, so that it is the start itself, not its confirmation, that no window holds
    /// too often.
    pub fn under_way(&mut self, permit: &Permit, at: Timestamp) {
        for PermitPart { limiter, claim } in &permit.held {
            if let Some(limiter) = self.table.get_mut(*limiter) {
                limiter.under_way(claim.as_ref(), at);
            }
        }
    }

    /// Takes an unused permit back: everything is as if it had never been granted. A permit that was confirmed
    /// stays counted as a start. Returns the limiters that have room again.
    pub fn put_back(&mut self, permit: Permit) -> Freed {
        for PermitPart { limiter, claim } in permit.held.iter().rev().filter(|_| !permit.is_confirmed) {
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
            let Some(limiter) = self.table.get_mut(id) else {
                defect!("a permit of a limiter that is gone");
                continue;
            };
            limiter.slots.give_back();
            if limiter.slots.has_room() {
                freed.push(id);
            }
            self.table.watch(id);
        }
        Freed(freed)
    }

    /// Promises a start to a call that no waiting limit governs, so that it can be turned away before it is taken in:
    /// `Err` names the limit that has no room and when it may have some again.
    ///
    /// # Errors
    /// The blocker; nothing is promised then.
    pub fn promise(&mut self, lane: &Binding, now: Timestamp) -> Result<(), (Blocker, Timestamp)> {
        admission::promise(&mut self.table, lane, now)
    }

    /// This many calls were promised a start, whatever the room.
    pub fn owe(&mut self, lane: &Binding, count: u32) {
        admission::owe(&mut self.table, lane, count);
    }

    /// This many of the calls that were promised a start have started, or have come to nothing.
    pub fn redeem(&mut self, lane: &Binding, count: u32) {
        admission::redeem(&mut self.table, lane, count);
    }

    /// What has to be put on record before more can start, since the last call.
    pub fn take_reservations(&mut self) -> Vec<Reservation> {
        self.recording.take_reservations()
    }

    /// It is on record, or could not be put there. Lanes that wait for one of these limiters are to be asked for again.
    pub fn confirmed(
        &mut self,
        reservation: &Reservation,
        is_recorded: bool,
        now: Timestamp,
    ) -> Vec<LimiterId> {
        self.recording.confirmed(reservation, is_recorded, &mut self.table, now)
    }

    /// Everything that still counts at `now`, for the record of an orderly end. Nothing may start afterwards.
    pub fn consumed(&mut self, now: Timestamp) -> Vec<(Box<str>, Consumed)> {
        self.recording.consumed(&mut self.table, now)
    }

    /// The line of time has leapt to `now`. Lanes that wait are to be asked for again.
    pub fn leap(&mut self, leap: &Leap, now: Timestamp) {
        if !leap.by.is_zero() {
            self.recording.leap(leap, &mut self.table, now);
        }
    }

    /// Prepares the statement that `used` starts are used of a quota or window. Changes nothing.
    ///
    /// # Errors
    /// [`StateUsageError`] when there is no such limit, or the figure is above it.
    pub fn usage_to_state(
        &mut self,
        policy: &PolicyId,
        key: &str,
        kind: LimitKind,
        used: u32,
        now: Timestamp,
    ) -> Result<UsageToState, StateUsageError> {
        if !self.policies.contains_key(policy) {
            return Err(StateUsageError::NoPolicy);
        }
        let id = self.find_or_make(policy, key, now);
        let usage = match self.table.get_mut(id) {
            Some(limiter) => UsageToState::prepare(limiter, kind, used, now),
            None => Err(StateUsageError::NoLimit),
        };
        self.table.watch(id);
        usage
    }

    /// The statement is on record: it counts from now on. Lanes that wait may have room: ask for them again.
    pub fn state_usage(&mut self, usage: &UsageToState, now: Timestamp) {
        let (policy, key) = usage.of();
        let id = self.find_or_make(policy, key, now);
        if let Some(limiter) = self.table.get_mut(id) {
            usage.count(limiter, now);
        }
        self.table.watch(id);
    }

    /// Until when limits count as spent because nobody knows what was consumed under them; `None` when none does. A
    /// quota whose label values are told apart counts until the end of its period whatever was stated: nobody knows
    /// all of its label values.
    #[must_use]
    pub fn spent_until(&self, now: Timestamp) -> Option<Timestamp> {
        stated::spent_until(&self.policies, &self.table, &self.recording, now)
    }

    /// The state of up to `most` limiters from place `from` on, and the place at which to go on. Those of policies
    /// that are gone are left out.
    pub fn figures(
        &mut self,
        from: usize,
        most: usize,
        now: Timestamp,
    ) -> (Vec<LimiterFigures>, Option<usize>) {
        figures::page(&mut self.table, from, most, now)
    }

    /// The state of up to `most` limiters of a policy, in order of their keys, those after `after`.
    pub fn figures_of(
        &mut self,
        policy: &PolicyId,
        after: Option<&str>,
        most: usize,
        now: Timestamp,
    ) -> Vec<LimiterFigures> {
        let ids: Vec<_> = self.table.of_policy(policy, after).take(most).collect();
        figures::of(&mut self.table, &ids, now)
    }

    /// The state of the limiters of a lane.
    pub fn figures_of_lane(&mut self, lane: &Binding, now: Timestamp) -> Vec<LimiterFigures> {
        figures::of(&mut self.table, lane.limiters(), now)
    }

    /// The limiters of a policy, also of one that was taken away.
    pub fn limiters_of(&self, policy: &PolicyId) -> impl Iterator<Item = LimiterId> + use<'_> {
        self.table.of_policy(policy, None)
    }

    /// How many limiters there are, bound or not yet forgotten.
    #[cfg(test)]
    #[must_use]
    pub fn limiters(&self) -> usize {
        self.table.len()
    }

    /// Starts beyond a limit since the process began, by policy and kind: any is a defect.
    #[must_use]
    pub fn violations(&self) -> &BTreeMap<(PolicyId, LimitKind), u64> {
        self.tallies.violations()
    }

    /// What limits did since the process began, with the time until `now` of those that let nothing start at present.
    /// `waits` says whether anything is ready that a limiter has stopped.
    pub fn worked(&mut self, now: Timestamp, waits: impl Fn(LimiterId) -> bool) -> Vec<(PolicyId, Worked)> {
        self.tallies.go_on(now, waits);
        self.tallies.worked(|policy| self.policies.contains_key(policy))
    }

    /// The policy and the label values behind a limiter.
    #[must_use]
    pub fn whose(&self, limiter: LimiterId) -> Option<(&PolicyId, &str)> {
        self.table.get(limiter).map(|limiter| (&limiter.policy, &*limiter.key))
    }

    /// Lets go of limiters that nobody uses and that are empty, a few at a time.
    pub fn forget_idle(&mut self, now: Timestamp) {
        self.recording.forget_idle(&mut self.table, now);
    }

    /// When [`Gate::forget_idle`] has something to do.
    #[must_use]
    pub fn next_idle(&self) -> Option<Timestamp> {
        self.table.next_idle()
    }

    fn refused(&mut self, blocker: Blocker, now: Timestamp) {
        if let Some(limiter) = self.table.get(blocker.limiter) {
            self.tallies.refused(blocker.limiter, blocker.kind, &limiter.tally, now);
        }
    }

    fn reserve(&mut self, id: LimiterId, now: Timestamp) {
        if let Some(limiter) = self.table.get_mut(id) {
            self.recording.reserve(id, limiter, now);
        }
    }

    fn take(&mut self, lane: &Binding, now: Timestamp) -> Decision {
        let held = SmallVec::with_capacity(lane.0.len());
        let mut permit = Permit { granted_at: now, is_confirmed: false, held };
        for id in &*lane.0 {
            let Some(limiter) = self.table.get_mut(*id) else { continue };
            if !limiter.take(*id, now, &mut permit.held) {
                // `decide` has just found it ready, and a binding names no limiter twice.
                defect!("a limit that was ready grants nothing");
                self.put_back(permit);
                return Decision::NotBefore(now, Blocker { limiter: *id, kind: LimitKind::Pace });
            }
        }
        lane.0.iter().for_each(|id| self.tallies.allowed(*id, now));
        lane.0.iter().for_each(|id| self.reserve(*id, now));
        Decision::Go(permit)
    }

    fn find_or_make(&mut self, policy: &PolicyId, key: &str, now: Timestamp) -> LimiterId {
        if let Some(id) = self.table.find(policy, key) {
            return id;
        }
        let tally = self.tallies.of(policy);
        let id = self.table.insert(Limiter::new(policy.clone(), key.into(), Timestamp::ZERO, tally));
        if let (Some(rules), Some(limiter)) = (self.policies.get(policy), self.table.get_mut(id)) {
            let floor = self.recording.floor_of_key(policy, key);
            self.recording.apply(limiter, rules, floor, now);
            self.bounds.apply(limiter);
        }
        id
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
