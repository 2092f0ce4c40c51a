//! Policies come, change and go: what was consumed, granted and is in flight keeps counting, and what cannot be known is
//! assumed.
//!
//! Must not know: lanes, what is granted.

use std::collections::HashSet;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::Kind;
use crate::limit::gate::{Gate, HistoryGap};
use crate::limit::history::record::{self, Consumed, Reservation};
use crate::limit::limiter::Limiter;
use crate::limit::meter::Unknown;
use crate::limit::rules::Rules;
use crate::limit::table::LimiterId;
use crate::policy::Limits;

impl Gate {
    /// Brings a policy in or changes its limits. What was consumed, granted and is in flight keeps counting; there is
    /// never a fresh burst, also when the policy was removed a moment ago. Lanes that wait may have room now: ask for
    /// them again; those of a policy whose scope has changed are to be bound again. Without slots of its own a policy
    /// gets one second's worth of its pace within 64 to 4096.
    ///
    /// Where that cannot be known (see [`Edits`]), windows are silent until it does not matter. A quota counts from when it
    /// is brought in, and begins anew for other label values.
    pub fn set(&mut self, policy: &PolicyId, rules: Rules, now: Timestamp) {
        let before = self.policies.get(policy);
        let came_back = before.is_none() && self.edits.came_back(policy);
        let reaches_further = came_back || before.is_some_and(|before| rules.reach_further_than(before));
        let ids: Vec<LimiterId> = self.table.of_policy(policy, None).collect();
        let floor = if reaches_further { self.latest_start(policy, &ids) } else { self.edits.floor(policy) };
        let further_keys = self.raise_floors(policy, &rules, now);
        self.edits.rule(policy, rules.reach(), floor);
        for id in ids {
            let Some(limiter) = self.table.get(id) else { continue };
            // What an earlier process started.
            let is_unknown = reaches_further || further_keys.contains(&limiter.key);
            let prior = if is_unknown { self.opened_at } else { Timestamp::ZERO };
            self.keep_leaving(id, &rules, now);
            self.apply(id, &rules, prior, now);
        }
        if let Some(counter) = &rules.bounds_on {
            self.bound(counter, &rules.limits);
        }
        self.policies.insert(policy.clone(), rules);
        self.reserve_mark(policy);
    }

    /// What this policy counts is bounded: it is to put little of that on record ahead.
    fn bound(&mut self, counter: &PolicyId, limits: &Limits) {
        self.bounds.add(counter, limits);
        let ids: Vec<LimiterId> = self.table.of_policy(counter, None).collect();
        for id in ids {
            if let Some(limiter) = self.table.get_mut(id) {
                self.bounds.apply(limiter);
            }
        }
    }

    /// Has the label values that reach further than before count what may have started under them; returns them. Those that
    /// are new begin at once.
    fn raise_floors(&mut self, policy: &PolicyId, rules: &Rules, now: Timestamp) -> HashSet<Box<str>> {
        self.edits.forget_floors(policy, rules.reach(), now);
        let Some(before) = self.policies.get(policy) else { return HashSet::new() };
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
            let living = self.table.find(policy, key).and_then(|id| self.table.get(id));
            let latest =
                living.map_or(Timestamp::ZERO, Limiter::last_start).max(self.edits.latest_gone(policy));
            self.edits.raise_floor(policy, key, latest.max(self.opened_at));
        }
        further
    }

    /// The latest moment at which something may have started under a policy, in this process or before.
    fn latest_start(&self, policy: &PolicyId, limiters: &[LimiterId]) -> Timestamp {
        let living = limiters.iter().filter_map(|id| Some(self.table.get(*id)?.last_start()));
        living.max().unwrap_or_default().max(self.edits.latest_gone(policy)).max(self.opened_at)
    }

    /// Takes a policy's limits away; its calls in flight stay counted.
    pub fn remove(&mut self, policy: &PolicyId) {
        if self.policies.remove(policy).is_some() {
            self.edits.removed(policy);
        }
        let ids: Vec<LimiterId> = self.table.of_policy(policy, None).collect();
        for id in ids {
            if let Some(limiter) = self.table.get_mut(id) {
                limiter.active = false;
            }
        }
    }

    /// What was used of a quota that is taken away counts again when one comes back.
    fn keep_leaving(&mut self, id: LimiterId, next: &Rules, now: Timestamp) {
        let Some(limiter) = self.table.get_mut(id) else { return };
        let (policy, key, remembered) = (limiter.policy.clone(), limiter.key.clone(), &mut self.remembered);
        limiter.leaving(next, now, |kind, counted| {
            remembered.take_in(record::name(&policy, &key, kind), counted);
        });
    }

    /// Applies rules to a limiter, and counts what was remembered of limits that it did not have before. It knows
    /// nothing of what was started before `floor`.
    pub(super) fn apply(&mut self, id: LimiterId, rules: &Rules, floor: Timestamp, now: Timestamp) {
        let Some(limiter) = self.table.get_mut(id) else { return };
        let HistoryGap { before, on_record_before } = self.gap;
        let unknown = Unknown {
            before: before.max(floor),
            on_record_before: on_record_before.max(floor),
            lost_before: on_record_before,
        };
        let (policy, key, reservations) =
            (limiter.policy.clone(), limiter.key.clone(), &mut self.reservations);
        let mut note = |kind: Kind, used: Consumed| {
            reservations.push(Reservation::note(record::name(&policy, &key, kind), used));
        };
        let begun = limiter.apply(rules, now, unknown, &mut note);
        self.bounds.apply(limiter);
        // What belongs to a limit that is still not there is kept for when it comes.
        for kind in begun {
            for consumed in self.remembered.take(&policy, &key, kind) {
                if let Some(used) = limiter.meter_mut(kind).and_then(|meter| meter.restore(&consumed)) {
                    note(kind, used);
                }
            }
            if let Some(stated) = self.remembered.take_stated(&policy, &key, kind) {
                limiter.restore_stated(kind, &stated);
            }
        }
    }
}
