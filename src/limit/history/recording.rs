//! What the gate knows over restarts and edits: what it found on record, what it puts there, and from when on nothing
//! is unknown.
//!
//! Must not know: where the record is, how limits count, what is granted.

use std::collections::{HashMap, HashSet};

use crate::clock::{Leap, Timestamp};
use crate::event::PolicyId;
use crate::limit::LimitKind;
use crate::limit::history::edits::Edits;
use crate::limit::history::record::{self, Consumed, Remembered, Reservation, ReservedFor};
use crate::limit::limiter::Limiter;
use crate::limit::meter::{SILENT_AT_MOST, Unknown};
use crate::limit::rules::Rules;
use crate::limit::stated::Stated;
use crate::limit::table::{LimiterId, LimiterTable};

/// The name under which a silence of all limits that are not on record is.
const SILENCE: &str = "silence";

/// The moments before which nobody knows what an earlier process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryGap {
    /// Under limits whose starts are not on record: the start of this process after a disorderly end.
    pub before: Timestamp,
    /// Under those whose starts are: the loss of the record.
    pub on_record_before: Timestamp,
}

/// See the head of this file.
#[derive(Debug)]
pub(in crate::limit) struct Recording {
    gap: HistoryGap,
    /// What was started before then, an earlier process did.
    opened_at: Timestamp,
    remembered: Remembered,
    edits: Edits,
    reservations: Vec<Reservation>,
}

/// What a change of its rules leaves unknown under the limiters of a policy.
#[derive(Debug)]
pub(in crate::limit) struct Forgotten {
    opened_at: Timestamp,
    is_everything: bool,
    /// Where not everything is forgotten: the label values for which it is.
    keys: HashSet<Box<str>>,
}

impl Forgotten {
    /// Nobody knows what was started before then under these label values: an earlier process did that.
    pub(in crate::limit) fn before(&self, key: &str) -> Timestamp {
        if self.is_everything || self.keys.contains(key) { self.opened_at } else { Timestamp::ZERO }
    }
}

impl Recording {
    /// After an earlier process that left this on record, and had these policies.
    pub(in crate::limit) fn after(
        gap: HistoryGap,
        opened_at: Timestamp,
        on_record: impl IntoIterator<Item = (Box<str>, Consumed)>,
        knew: &HashMap<PolicyId, Rules>,
    ) -> Self {
        let (mut remembered, mut edits) = (Remembered::default(), Edits::default());
        let is_orderly = gap.before == Timestamp::ZERO;
        let mut gap = gap;
        for (name, consumed) in on_record {
            if &*name == SILENCE {
                // The process before was still silent when it ended: that goes on.
                gap.before = gap.before.max(consumed.at);
            } else if let Some((limit, stated)) = Stated::recognise(&name, consumed) {
                remembered.add_stated(limit, stated);
            } else if !edits.recognise(&name, consumed) {
                remembered.add(name, consumed);
            }
        }
        for (policy, rules) in knew {
            edits.knew(policy, rules.reach(), is_orderly, opened_at);
        }
        Self { gap, opened_at, remembered, edits, reservations: Vec::new() }
    }

    /// What has to be put on record before more can start, since the last call.
    pub(in crate::limit) fn take_reservations(&mut self) -> Vec<Reservation> {
        std::mem::take(&mut self.reservations)
    }

    /// It is on record, or could not be put there. Returns the limiters that may have waited for that.
    pub(in crate::limit) fn confirmed(
        &mut self,
        reservation: &Reservation,
        is_recorded: bool,
        table: &mut LimiterTable,
        now: Timestamp,
    ) -> Vec<LimiterId> {
        let (id, kind, chunk) = match &reservation.of {
            ReservedFor::Nobody => return Vec::new(),
            ReservedFor::Mark(policy) => {
                self.edits.confirmed(policy, &reservation.name, reservation.consumed, is_recorded);
                return table.of_policy(policy, None).collect();
            }
            ReservedFor::Limiter(id, kind, chunk) => (*id, *kind, *chunk),
        };
        // What it awaited was given up by a change or a leap meanwhile, and it was forgotten since.
        let Some(limiter) = table.get_mut(id) else { return Vec::new() };
        // Another one may have its number by now.
        if record::name(&limiter.policy, &limiter.key, kind) != reservation.name {
            return Vec::new();
        }
        if let Some(meter) = limiter.meter_mut(kind) {
            meter.confirmed(chunk, is_recorded, now);
        }
        // It could not be forgotten while the answer was awaited.
        table.watch(id);
        vec![id]
    }

    /// Reserves what a limiter needs next: the mark of its policy first.
    pub(in crate::limit) fn reserve(&mut self, id: LimiterId, limiter: &mut Limiter, now: Timestamp) {
        if !limiter.is_recorded() {
            return;
        }
        if !self.edits.is_marked(&limiter.policy) {
            // An older mark would tell the next process that the record is complete from an earlier floor on, so that
            // no start may be on record before the new mark is.
            return self.reserve_mark(&limiter.policy);
        }
        let Limiter { policy, key, meters, .. } = limiter;
        for meter in meters {
            let Some((chunk, consumed)) = meter.reserve(now) else { continue };
            let name = record::name(policy, key, meter.kind());
            let of = ReservedFor::Limiter(id, meter.kind(), chunk);
            self.reservations.push(Reservation { name, consumed, of });
        }
    }

    /// Reserves the mark that has to be on record before any start under a policy is.
    pub(in crate::limit) fn reserve_mark(&mut self, policy: &PolicyId) {
        if let Some((name, consumed)) = self.edits.missing(policy) {
            self.reservations.push(Reservation { name, consumed, of: ReservedFor::Mark(policy.clone()) });
        }
    }

    /// Everything that still counts at `now`, for the record of an orderly end.
    pub(in crate::limit) fn consumed(
        &self,
        table: &mut LimiterTable,
        now: Timestamp,
    ) -> Vec<(Box<str>, Consumed)> {
        let remembered =
            self.remembered.on_record().into_iter().filter(|(_, consumed)| consumed.over_at > now);
        let mut all: Vec<(Box<str>, Consumed)> = remembered.chain(self.edits.on_record()).collect();
        // A silence that is not over goes on after the next start.
        let before = self.gap.before.max(self.edits.latest_floor());
        let silence = Consumed { count: 1, at: before, over_at: before + SILENT_AT_MOST };
        all.extend((silence.over_at > now).then(|| (SILENCE.into(), silence)));
        for limiter in table.iter_mut() {
            let (policy, key) = (limiter.policy.clone(), limiter.key.clone());
            limiter.counted(now, |kind, counted| {
                all.push(counted.on_record(record::name(&policy, &key, kind)));
            });
        }
        all
    }

    /// The rules of a policy change: from now on its windows reach as far back as those of `rules`. Returns what the
    /// limiters that it has do not know for them.
    pub(in crate::limit) fn change(
        &mut self,
        policy: &PolicyId,
        before: Option<&Rules>,
        rules: &Rules,
        table: &LimiterTable,
        now: Timestamp,
    ) -> Forgotten {
        // A policy that is brought in for the first time has no past; one that comes back may have another scope or
        // longer windows than its limiters remember.
        let came_back = before.is_none() && self.edits.came_back(policy);
        let is_everything = came_back || before.is_some_and(|before| rules.reach_further_than(before));
        let floor = if is_everything { self.latest_start(policy, table) } else { self.edits.floor(policy) };
        // Here, because the new windows decide how long a floor matters.
        self.edits.forget_floors(policy, rules.reach(), now);
        let keys = before.map(|before| self.raise_floors(policy, before, rules, table)).unwrap_or_default();
        self.edits.rule(policy, rules.reach(), floor);
        Forgotten { opened_at: self.opened_at, is_everything, keys }
    }

    /// Has the label values that reach further than before count what may have started under them; returns them. Those
    /// that are new begin at once.
    fn raise_floors(
        &mut self,
        policy: &PolicyId,
        before: &Rules,
        rules: &Rules,
        table: &LimiterTable,
    ) -> HashSet<Box<str>> {
        for key in rules.keys_taken_away(before) {
            self.edits.removed_key(policy, key);
        }
        let mut further: HashSet<Box<str>> = HashSet::new();
        for key in rules.keys_that_reach_further(before) {
            if self.edits.key_came_back(policy, key) || before.lets_start(key) {
                further.insert(key.into());
            }
        }
        for key in &further {
            let living = table.find(policy, key).and_then(|id| table.get(id));
            let latest =
                living.map_or(Timestamp::ZERO, Limiter::last_start).max(self.edits.latest_gone(policy));
            // Which of the limiters that are gone had these label values is not kept: the latest start of any of them
            // counts. An earlier process may have started something until it ended.
            self.edits.raise_floor(policy, key, latest.max(self.opened_at));
        }
        further
    }

    /// The latest moment at which something may have started under a policy, in this process or before.
    fn latest_start(&self, policy: &PolicyId, table: &LimiterTable) -> Timestamp {
        let living = table.of_policy(policy, None).filter_map(|id| Some(table.get(id)?.last_start()));
        living.max().unwrap_or_default().max(self.edits.latest_gone(policy)).max(self.opened_at)
    }

    /// A policy is taken away. When it comes back, everything that its limiters know counts as too little.
    pub(in crate::limit) fn removed(&mut self, policy: &PolicyId) {
        self.edits.removed(policy);
    }

    /// The moment before which a limiter that is made knows nothing.
    pub(in crate::limit) fn floor_of_key(&self, policy: &PolicyId, key: &str) -> Timestamp {
        self.edits.floor_of_key(policy, key)
    }

    /// Applies rules to a limiter that knows nothing of what was started before `floor`, and counts what was remembered
    /// of limits that it did not have before.
    pub(in crate::limit) fn apply(
        &mut self,
        limiter: &mut Limiter,
        rules: &Rules,
        floor: Timestamp,
        now: Timestamp,
    ) {
        let HistoryGap { before, on_record_before } = self.gap;
        let unknown = Unknown {
            before: before.max(floor),
            on_record_before: on_record_before.max(floor),
            // Without the floor: a quota counts from when it is brought in, so that an edit leaves nothing unknown
            // under it.
            lost_before: on_record_before,
        };
        let (policy, key) = (limiter.policy.clone(), limiter.key.clone());
        let (remembered, reservations) = (&mut self.remembered, &mut self.reservations);
        // What was used of a limit that is taken away counts again when one comes back.
        limiter.leaving(rules, now, |kind, counted| {
            remembered.take_in(record::name(&policy, &key, kind), counted);
        });
        let mut note = |kind: LimitKind, used: Consumed| {
            reservations.push(Reservation::note(record::name(&policy, &key, kind), used));
        };
        let begun = limiter.apply(rules, now, unknown, &mut note);
        // What belongs to a limit that is still not there is kept for when it comes.
        for kind in begun {
            for consumed in remembered.take(&policy, &key, kind) {
                if let Some(used) = limiter.meter_mut(kind).and_then(|meter| meter.restore(&consumed)) {
                    note(kind, used);
                }
            }
            if let Some(stated) = remembered.take_stated(&policy, &key, kind) {
                limiter.restore_stated(kind, &stated);
            }
        }
    }

    /// Lets go of limiters that nobody uses and that are empty, and of what is over, a few at a time.
    pub(in crate::limit) fn forget_idle(&mut self, table: &mut LimiterTable, now: Timestamp) {
        self.remembered.forget(now);
        let (remembered, edits) = (&mut self.remembered, &mut self.edits);
        table.forget(now, |mut limiter| {
            let (policy, key) = (limiter.policy.clone(), limiter.key.clone());
            // Its windows are empty, but a longer one may be brought in that reaches back to it.
            edits.forgotten(&policy, limiter.last_start());
            limiter
                .counted(now, |kind, counted| remembered.take_in(record::name(&policy, &key, kind), counted));
        });
    }

    /// The line of time has leapt to `now`.
    pub(in crate::limit) fn leap(&mut self, leap: &Leap, table: &mut LimiterTable, now: Timestamp) {
        // Hardly any time has passed in fact: a silence must not end early by the leap.
        self.gap.before = leap.moved(self.gap.before);
        self.gap.on_record_before = leap.moved(self.gap.on_record_before);
        self.opened_at = leap.moved(self.opened_at);
        self.edits.leap(leap);
        let reservations = &mut self.reservations;
        let moved = self.remembered.leap(leap, now);
        reservations.extend(moved.into_iter().map(|(name, consumed)| Reservation::note(name, consumed)));
        for limiter in table.iter_mut() {
            let (policy, key) = (limiter.policy.clone(), limiter.key.clone());
            limiter.leap(leap, now, |kind, counted| {
                let (name, consumed) = counted.on_record(record::name(&policy, &key, kind));
                reservations.push(Reservation::note(name, consumed));
            });
        }
    }

    /// Before then the record lacks what was consumed; [`Timestamp::ZERO`] when it lacks nothing.
    pub(in crate::limit) const fn lost_before(&self) -> Timestamp {
        self.gap.on_record_before
    }

    /// Whether a statement counts at `now` about a limit that is not there.
    pub(in crate::limit) fn is_stated(&self, policy: &PolicyId, kind: LimitKind, now: Timestamp) -> bool {
        self.remembered.is_stated(policy, "", kind, now)
    }
}
