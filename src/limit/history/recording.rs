//! What the gate has put on record, for limits that outlast a restart, and what it leaves there at an orderly end.
//!
//! Must not know: where the record is.

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::Kind;
use crate::limit::gate::Gate;
use crate::limit::history::record::{self, Consumed, Reservation, ReservedFor};
use crate::limit::meter::SILENT_AT_MOST;
use crate::limit::table::LimiterId;

/// The name under which a silence of all limits that are not on record is.
pub(in crate::limit) const SILENCE: &str = "silence";

impl Gate {
    /// What has to be put on record before more can start, since the last call.
    pub fn take_reservations(&mut self) -> Vec<Reservation> {
        std::mem::take(&mut self.reservations)
    }

    /// It is on record, or could not be put there. Lanes that wait for one of these limiters are to be asked for again.
    pub fn confirmed(
        &mut self,
        reservation: &Reservation,
        is_recorded: bool,
        now: Timestamp,
    ) -> Vec<LimiterId> {
        let (id, kind, chunk) = match &reservation.of {
            ReservedFor::Nobody => return Vec::new(),
            ReservedFor::Mark(policy) => {
                self.edits.confirmed(policy, &reservation.name, reservation.consumed, is_recorded);
                return self.table.of_policy(policy, None).collect();
            }
            ReservedFor::Limiter(id, kind, chunk) => (*id, *kind, *chunk),
        };
        let Some(limiter) = self.table.get_mut(id) else { return Vec::new() };
        // Another one may have its number by now.
        if record::name(&limiter.policy, &limiter.key, kind) != reservation.name {
            return Vec::new();
        }
        if let Some(meter) = limiter.meter_mut(kind) {
            meter.confirmed(chunk, is_recorded, now);
        }
        self.table.watch(id);
        vec![id]
    }

    /// Everything that still counts at `now`, for the record of an orderly end. Nothing may start afterwards.
    pub fn consumed(&mut self, now: Timestamp) -> Vec<(Box<str>, Consumed)> {
        let remembered =
            self.remembered.on_record().into_iter().filter(|(_, consumed)| consumed.over_at > now);
        let mut all: Vec<(Box<str>, Consumed)> = remembered.chain(self.edits.on_record()).collect();
        // A silence that is not over goes on after the next start.
        let before = self.gap.before.max(self.edits.latest_floor());
        let silence = Consumed { count: 1, at: before, over_at: before + SILENT_AT_MOST };
        all.extend((silence.over_at > now).then(|| (SILENCE.into(), silence)));
        for limiter in self.table.iter_mut() {
            let (policy, key) = (limiter.policy.clone(), limiter.key.clone());
            limiter.counted(now, |kind, counted| {
                all.push(counted.on_record(record::name(&policy, &key, kind)));
            });
        }
        all
    }

    pub(in crate::limit) fn reserve_mark(&mut self, policy: &PolicyId) {
        if let Some((name, consumed)) = self.edits.missing(policy) {
            self.reservations.push(Reservation { name, consumed, of: ReservedFor::Mark(policy.clone()) });
        }
    }

    /// Reserves what a limiter needs next: the mark of its policy first.
    pub(in crate::limit) fn reserve(&mut self, id: LimiterId, now: Timestamp) {
        let Some(limiter) = self.table.get_mut(id).filter(|limiter| limiter.is_recorded()) else { return };
        if !self.edits.is_marked(&limiter.policy) {
            let policy = limiter.policy.clone();
            return self.reserve_mark(&policy);
        }
        let (policy, key) = (limiter.policy.clone(), limiter.key.clone());
        for (kind, chunk, consumed) in limiter.reservations(now) {
            let name = record::name(&policy, &key, kind);
            self.reservations.push(Reservation { name, consumed, of: ReservedFor::Limiter(id, kind, chunk) });
        }
    }
}
