//! What counts of a limiter's limits, for whoever keeps it, and what an operator states about it.
//!
//! Must not know: where it is kept.

use std::num::NonZeroU32;

use crate::clock::Timestamp;
use crate::limit::Kind;
use crate::limit::history::record::{Consumed, Counted};
use crate::limit::limiter::Limiter;
use crate::limit::meter::quota::QuotaCount;
use crate::limit::stated::Stated;

impl Limiter {
    /// What still counts at `now`.
    pub(super) fn counted(&mut self, now: Timestamp, mut note: impl FnMut(Kind, Counted)) {
        let sliding = [
            (Kind::Pace, self.pace.as_deref().map(|limit| &limit.sliding)),
            (Kind::Window, self.window.as_deref()),
        ];
        for (kind, limit) in sliding {
            let Some(limit) = limit else { continue };
            let length = limit.allowed().length();
            let stated = limit.stated(now);
            if let Some(stated) = stated {
                note(kind, Counted::Stated(stated));
            }
            let unknown = limit.unknown_before().map(|at| (limit.allowed().calls().get(), at));
            let counts = |(_, at): &(u32, Timestamp)| {
                *at + length > now && stated.is_none_or(|stated| *at > stated.at)
            };
            for (count, at) in unknown.into_iter().chain(limit.starts()).filter(counts) {
                note(kind, Counted::Starts(Consumed { count, at, over_at: at + length }));
            }
        }
        match self.quota.as_mut().map(|limit| limit.counted(now)) {
            Some(QuotaCount::Stated(stated)) => note(Kind::Quota, Counted::Stated(stated)),
            Some(QuotaCount::Plain(consumed)) if consumed.count > 0 => {
                note(Kind::Quota, Counted::Starts(consumed));
            }
            Some(QuotaCount::Plain(_)) | None => {}
        }
    }

    /// The most that a limit allows, what is used of it, and the statement that `used` are; `None` without such a limit.
    pub(super) fn usage_to_state(
        &mut self,
        kind: Kind,
        used: u32,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<(NonZeroU32, u32, Stated)> {
        let (calls, (used_then, stated)) = match kind {
            Kind::Quota => {
                let limit = self.quota.as_mut()?;
                (limit.quota().calls, limit.usage_to_state(used, at, now))
            }
            Kind::Window => {
                let limit = self.window.as_mut()?;
                (limit.allowed().calls(), limit.usage_to_state(used, at, now))
            }
            Kind::Pace | Kind::Slots | Kind::Closed => return None,
        };
        Some((calls, used_then, stated))
    }

    /// Counts what an operator has stated when `used_then` were used.
    pub(super) fn state_usage(&mut self, kind: Kind, stated: Stated, used_then: u32, now: Timestamp) {
        let number = self.next_number();
        match kind {
            Kind::Quota => {
                if let Some(limit) = &mut self.quota {
                    limit.state(&stated, used_then, now);
                }
            }
            Kind::Window => {
                if let Some(limit) = &mut self.window {
                    limit.state(&stated, number);
                }
            }
            Kind::Pace | Kind::Slots | Kind::Closed => {}
        }
    }

    /// Counts what an operator stated earlier, after all else that was kept.
    pub(super) fn restore_stated(&mut self, kind: Kind, stated: &Stated) {
        let number = self.next_number();
        match kind {
            Kind::Quota => {
                if let Some(limit) = &mut self.quota {
                    limit.restore_stated(stated);
                }
            }
            Kind::Window => {
                if let Some(limit) = &mut self.window {
                    limit.state(stated, number);
                }
            }
            Kind::Pace | Kind::Slots | Kind::Closed => {}
        }
    }

    /// Whether an operator has stated what is used now.
    pub(super) fn is_stated(&self, kind: Kind, now: Timestamp) -> bool {
        match kind {
            Kind::Quota => self.quota.as_ref().is_some_and(|limit| limit.is_stated(now)),
            Kind::Window => self.window.as_ref().is_some_and(|limit| limit.stated(now).is_some()),
            Kind::Pace | Kind::Slots | Kind::Closed => false,
        }
    }
}
