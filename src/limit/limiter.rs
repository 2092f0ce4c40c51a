//! The limits of one policy for one combination of label values: all of them are asked, taken and given back together.
//!
//! Must not know: other limiters, lanes, entries, which kinds of limits there are.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::clock::{Leap, Timestamp};
use crate::event::PolicyId;
use crate::limit::bound::Bound;
use crate::limit::forecast::LimitOutlook;
use crate::limit::history::record::{Consumed, RecordedCount};
use crate::limit::meter::slots::Slots;
use crate::limit::meter::{Claim, Meter, Ready, Terms, Unknown};
use crate::limit::permit::{PermitPart, STALE_AFTER};
use crate::limit::rules::Rules;
use crate::limit::stated::Stated;
use crate::limit::table::LimiterId;
use crate::limit::tally::Tally;
use crate::policy::{Family, LimitKind};

/// Why a limiter grants nothing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom {
    pub(super) kind: LimitKind,
    pub(super) ready: Ready,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Limiter {
    pub(super) policy: PolicyId,
    /// The label values, as in [`crate::event::Lane::scope_key`].
    pub(super) key: Box<str>,
    /// Whether the policy is present; else it only remembers what was consumed.
    pub(super) active: bool,
    pub(super) family: Family,
    /// In which order it is asked.
    pub(super) rank: u8,
    /// Nothing may start under these label values until the policy says otherwise.
    pub(super) closed: bool,
    /// What it allows of what another one counts.
    pub(super) bound: Option<Box<Bound>>,
    /// One for each limit that counts starts; nearly always there is one.
    pub(super) meters: SmallVec<[Meter; 1]>,
    pub(super) slots: Slots,
    /// Calls that were promised a start when they were taken in.
    pub(super) promised: u32,
    /// The latest moment at which something may have started under it.
    pub(super) last_start: Timestamp,
    /// Where it counts what it does.
    pub(super) tally: Arc<Tally>,
    /// How many times its limits were applied or usage was stated: the claims of one ring differ by it from those of
    /// the next.
    applied: u64,
}

/// Far more than one ring ever claims: at 10 000 starts a second it lasts for three years. `u64` leaves room for 16
/// million changes of one limiter.
const CLAIMS_MAX: u64 = 1 << 40;

impl Limiter {
    /// Without limits; nothing shares a sliding window with `last_start`.
    pub(super) fn new(policy: PolicyId, key: Box<str>, last_start: Timestamp, tally: Arc<Tally>) -> Self {
        Self {
            policy,
            key,
            active: false,
            family: Family::Wait,
            rank: 0,
            closed: false,
            bound: None,
            meters: SmallVec::new(),
            slots: Slots::unlimited(),
            promised: 0,
            last_start,
            tally,
            applied: 0,
        }
    }

    /// Limits this from now on. What was consumed, granted and is in flight keeps counting; there is never a fresh
    /// burst. Returns the kinds that are new, and gives `note` what has to be put on record for the others.
    pub(super) fn apply(
        &mut self,
        rules: &Rules,
        now: Timestamp,
        unknown: Unknown,
        mut note: impl FnMut(LimitKind, Consumed),
    ) -> SmallVec<[LimitKind; 4]> {
        let limits = rules.of_key(&self.key);
        self.active = true;
        (self.family, self.rank, self.closed) = (rules.family, rules.rank, limits.closed);
        self.slots.set(Some(Slots::default_for(limits.slots, limits.pace)));
        // Lanes stay bound over a change: who counts is found out when a lane is bound, and is kept.
        let counter = self.bound.as_ref().and_then(|bound| bound.counter);
        self.bound = rules.bounds_on.is_some().then(|| Box::new(Bound::new(limits, counter)));
        let spread = self.family == Family::Wait;
        let terms = Terms { now, spread, last_start: self.last_start, unknown, number: self.next_number() };
        let mut before = std::mem::take(&mut self.meters);
        let mut begun = SmallVec::new();
        // A policy with bounds counts nothing itself.
        for limit in limits.metered().filter(|_| self.bound.is_none()) {
            let kind = limit.kind();
            let meter = match before.iter().position(|meter| meter.kind() == kind) {
                Some(at) => {
                    // The order of what is left does not matter: the new list is in the order of the limits.
                    let mut meter = before.swap_remove(at);
                    if let Some(consumed) = meter.change(limit, &terms) {
                        note(kind, consumed);
                    }
                    meter
                }
                None => {
                    begun.push(kind);
                    Meter::new(limit, &terms)
                }
            };
            self.meters.push(meter);
        }
        begun
    }

    /// Above the number of every claim so far.
    pub(super) fn next_number(&mut self) -> u64 {
        self.applied += 1;
        self.applied * CLAIMS_MAX
    }

    /// What counts under the limit of this kind.
    pub(super) fn meter_mut(&mut self, kind: LimitKind) -> Option<&mut Meter> {
        self.meters.iter_mut().find(|meter| meter.kind() == kind)
    }

    /// Whether one more may be in flight.
    pub(super) fn has_slot(&self) -> bool {
        !self.active || self.slots.has_room()
    }

    /// Whether calls without room are turned away.
    pub(super) fn turns_away(&self) -> bool {
        self.active && (self.closed || self.family == Family::Refuse)
    }

    /// Whether a start is possible at `now`, slots aside; `Err` names the limit that says no, the last to have room.
    /// Changes nothing that counts.
    pub(super) fn check(&mut self, now: Timestamp) -> Result<(), NoRoom> {
        if !self.active {
            return Ok(());
        }
        let mut worst: Option<NoRoom> = None;
        for meter in &mut self.meters {
            let ready = meter.ready(now);
            worst = match (ready, worst.map(|worst| worst.ready)) {
                // The latest moment counts. Waiting for the record is a matter of moments: any time that a limit names
                // outweighs it.
                (Ready::Now, _) | (Ready::OnceRecorded, Some(Ready::At(_))) => worst,
                (Ready::At(at), Some(Ready::At(later))) if at <= later => worst,
                _ => Some(NoRoom { kind: meter.kind(), ready }),
            };
        }
        worst.map_or(Ok(()), Err)
    }

    /// Of a refusing limiter: how many more starts its limits allow at `now`, and which of them is the narrowest;
    /// `None` when none of them limits that.
    pub(super) fn room(&mut self, now: Timestamp) -> Option<(u32, LimitKind)> {
        if self.closed {
            return Some((0, LimitKind::Closed));
        }
        let rooms = self.meters.iter_mut().filter_map(|meter| Some((meter.room(now)?, meter.kind())));
        rooms.min_by_key(|(room, _)| *room)
    }

    /// Of a refusing limiter: whether one of its limits has no room at all.
    pub(super) fn is_full(&mut self, now: Timestamp) -> bool {
        self.room(now).is_some_and(|(room, _)| room == 0)
    }

    /// Takes a start and a slot after [`Limiter::check`] allowed it, and adds them to what is `held`; `false` when that
    /// was not so: then nothing is taken.
    pub(super) fn take(
        &mut self,
        id: LimiterId,
        now: Timestamp,
        held: &mut SmallVec<[PermitPart; 2]>,
    ) -> bool {
        let before = held.len();
        for meter in self.meters.iter_mut().filter(|_| self.active) {
            let Some(claim) = meter.take(now) else {
                for PermitPart { claim, .. } in held.drain(before..) {
                    claim.iter().for_each(|claim| self.undo(claim));
                }
                return false;
            };
            held.push(PermitPart { limiter: id, claim: Some(claim) });
        }
        if held.len() == before {
            // The slot is held even so, and goes back by way of this entry.
            held.push(PermitPart { limiter: id, claim: None });
        }
        self.slots.take();
        // Until it is confirmed it may happen as late as this.
        self.last_start = self.last_start.max(now + STALE_AFTER);
        true
    }

    /// Takes an unconfirmed start back; its slot stays taken.
    pub(super) fn undo(&mut self, claim: &Claim) {
        self.meters.iter_mut().for_each(|meter| meter.put_back(claim));
    }

    /// The start happens at `at`. Gives `violated` the limits under which that is one too many, which is a defect.
    pub(super) fn confirm(
        &mut self,
        held: &[PermitPart],
        at: Timestamp,
        mut violated: impl FnMut(&PolicyId, LimitKind),
    ) {
        for claim in held.iter().filter_map(|held| held.claim.as_ref()) {
            self.tally.granted(claim.kind());
            if self.meters.iter_mut().any(|meter| meter.confirm(claim, at)) {
                violated(&self.policy, claim.kind());
            }
        }
        if self.active {
            self.tally.granted(LimitKind::Slots);
        }
    }

    /// The confirmed start has happened by `at`: it counts then, should that be later.
    pub(super) fn under_way(&mut self, claim: Option<&Claim>, at: Timestamp) {
        if let Some(claim) = claim {
            self.meters.iter_mut().for_each(|meter| meter.under_way(claim, at));
        }
        self.last_start = self.last_start.max(at);
    }

    /// Whether any of its limits has its starts put on record before they are made.
    pub(super) fn is_recorded(&self) -> bool {
        self.active && self.meters.iter().any(Meter::is_recorded)
    }

    /// The latest moment at which something may have started under it.
    pub(super) fn last_start(&self) -> Timestamp {
        self.last_start
    }

    /// What still counts at `now`, for the record or for memory.
    pub(super) fn counted(&mut self, now: Timestamp, mut note: impl FnMut(LimitKind, RecordedCount)) {
        for meter in &mut self.meters {
            let kind = meter.kind();
            meter.counted(now, &mut |counted| note(kind, counted));
        }
    }

    /// What counts of limits that `next` does not have and that is one sum per period: it counts again when they come
    /// back. Sliding windows that come back mind the latest start.
    pub(super) fn leaving(
        &mut self,
        next: &Rules,
        now: Timestamp,
        mut note: impl FnMut(LimitKind, RecordedCount),
    ) {
        let limits = next.of_key(&self.key);
        for meter in &mut self.meters {
            let kind = meter.kind();
            // A meter that stays keeps its count itself; what is kept elsewhere as well would count twice.
            let stays = next.bounds_on.is_none() && limits.metered_by(kind).is_some();
            if kind.has_periods() && !stays {
                meter.counted(now, &mut |counted| note(kind, counted));
            }
        }
    }

    /// Counts what an operator stated earlier, after all else that was kept.
    pub(super) fn restore_stated(&mut self, kind: LimitKind, stated: &Stated) {
        let number = self.next_number();
        if let Some(meter) = self.meter_mut(kind) {
            meter.restore_stated(stated, number);
        }
    }

    /// Whether an operator has stated what is used now.
    pub(super) fn is_stated(&self, kind: LimitKind, now: Timestamp) -> bool {
        self.meters.iter().any(|meter| meter.kind() == kind && meter.is_stated(now))
    }

    /// The line of time has leapt to `now`. Gives `note` what counts and has to be put on record anew.
    pub(super) fn leap(
        &mut self,
        leap: &Leap,
        now: Timestamp,
        mut note: impl FnMut(LimitKind, RecordedCount),
    ) {
        self.last_start = leap.moved(self.last_start);
        for meter in &mut self.meters {
            let kind = meter.kind();
            if meter.leap(leap, now) {
                meter.counted(now, &mut |counted| note(kind, counted));
            }
        }
    }

    /// When it need not be remembered any more: all its windows are empty then. [`Timestamp::MAX`] while calls are in
    /// flight or awaited. What was used of a quota is not in this: see [`Limiter::counted`].
    pub(super) fn idle_at(&self) -> Timestamp {
        if self.slots.inflight() > 0 || self.promised > 0 {
            return Timestamp::MAX;
        }
        // Without windows nothing has to leave: what a quota counts is kept elsewhere.
        self.meters.iter().filter_map(Meter::idle_at).max().unwrap_or(self.last_start)
    }

    /// What it means for calls to come.
    pub(super) fn outlook(&mut self, now: Timestamp) -> Vec<LimitOutlook> {
        self.meters.iter_mut().filter_map(|meter| meter.outlook(now)).collect()
    }
}
