//! What the gate has put on record, for limits that outlast a restart, and what it leaves there at an orderly end.
//!
//! Must not know: where the record is.

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::gate::Gate;
use crate::limit::history::record::{self, Ask, Asker, Consumed};
use crate::limit::limiter::Kind;
use crate::limit::meter::window::SILENT_AT_MOST;
use crate::limit::permit::STALE_AFTER;
use crate::limit::table::LimiterId;

/// The name under which a silence of all limits that are not on record is.
pub(in crate::limit) const SILENCE: &str = "silence";

impl Gate {
    /// What has to be put on record before more can start, since the last call.
    pub fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// It is on record, or could not be put there. Lanes that wait for one of these limiters are to be asked for again.
    pub fn answered(&mut self, ask: &Ask, is_recorded: bool, now: Timestamp) -> Vec<LimiterId> {
        let (id, kind, portion) = match &ask.of {
            Asker::Nobody => return Vec::new(),
            Asker::Mark(policy) => {
                self.edits.answered(policy, &ask.name, ask.consumed, is_recorded);
                return self.table.of_policy(policy, None).collect();
            }
            Asker::Limiter(id, kind, portion) => (*id, *kind, *portion),
        };
        let Some(limiter) = self.table.get_mut(id) else { return Vec::new() };
        // Another one may have its number by now.
        if record::name(&limiter.policy, &limiter.key, kind) != ask.name {
            return Vec::new();
        }
        limiter.answered(kind, portion, is_recorded, now);
        self.table.watch(id);
        vec![id]
    }

    /// Everything that still counts at `now`, for the record of an orderly end. Nothing may start afterwards.
    pub fn consumed(&mut self, now: Timestamp) -> Vec<(Box<str>, Consumed)> {
        let remembered =
            self.remembered.on_record().into_iter().filter(|(_, consumed)| consumed.over_at > now);
        let mut all: Vec<(Box<str>, Consumed)> = remembered.chain(self.edits.on_record()).collect();
        // A silence that is not over goes on after the next start.
        let before = self.blind.before.max(self.edits.latest_floor());
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

    pub(in crate::limit) fn ask_for_mark(&mut self, policy: &PolicyId) {
        if let Some((name, consumed)) = self.edits.missing(policy) {
            self.asks.push(Ask { name, consumed, of: Asker::Mark(policy.clone()) });
        }
    }

    /// Asks for what a limiter needs next: the mark of its policy first.
    pub(in crate::limit) fn ask(&mut self, id: LimiterId, now: Timestamp) {
        let Some(limiter) = self.table.get_mut(id).filter(|limiter| limiter.is_recorded()) else { return };
        if !self.edits.is_marked(&limiter.policy) {
            let policy = limiter.policy.clone();
            return self.ask_for_mark(&policy);
        }
        for (kind, length, portion) in limiter.asks(now).into_iter().flatten() {
            let name = record::name(&limiter.policy, &limiter.key, kind);
            // A start at the last moment of its portion may leave a little later.
            let at = portion.until + STALE_AFTER;
            let over_at = if kind == Kind::Quota { portion.until } else { at + length };
            let consumed = Consumed { count: portion.count, at, over_at };
            self.asks.push(Ask { name, consumed, of: Asker::Limiter(id, kind, portion) });
        }
    }
}
