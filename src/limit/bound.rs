//! Bounds on what another limiter counts: an endpoint that is shut once so many calls were made to the whole service,
//! wherever they went.
//!
//! Must not know: lanes, how a limiter counts.

use crate::clock::Timestamp;
use crate::limit::Kind;
use crate::limit::limiter::Limiter;
use crate::limit::table::LimiterId;
use crate::policy::Limits;

/// What is allowed of what another limiter counts. It takes nothing itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    window: Option<u32>,
    quota: Option<u32>,
    /// Who counts, as long as a lane is bound to both.
    pub(super) counter: Option<LimiterId>,
}

impl Bound {
    pub(super) fn new(limits: &Limits, counter: Option<LimiterId>) -> Self {
        let window = limits.window.map(|window| window.calls().get());
        Self { window, quota: limits.quota.map(|quota| quota.calls.get()), counter }
    }

    /// Its bound on one kind of counter.
    pub(super) const fn of(&self, kind: Kind) -> Option<u32> {
        match kind {
            Kind::Window => self.window,
            Kind::Quota => self.quota,
            Kind::Pace | Kind::Slots | Kind::Closed => None,
        }
    }

    /// How many more starts it allows beyond those that are promised, and which bound is the narrowest.
    pub(super) fn room(&self, counter: &mut Limiter, now: Timestamp) -> (u32, Kind) {
        let window = self.window.zip(counter.window.as_mut());
        let window = window.map(|(most, limit)| (limit.room_below(most, now), Kind::Window));
        let quota = self.quota.zip(counter.quota.as_mut());
        let quota = quota.map(|(most, limit)| (most.saturating_sub(limit.used(now)), Kind::Quota));
        window.into_iter().chain(quota).min_by_key(|(room, _)| *room).unwrap_or((u32::MAX, Kind::Slots))
    }

    /// When this bound has room again, as far as is known.
    pub(super) fn free_at(&self, kind: Kind, counter: &mut Limiter, now: Timestamp) -> Option<Timestamp> {
        match kind {
            Kind::Window => {
                self.window.zip(counter.window.as_mut()).map(|(most, limit)| limit.below_at(most, now))
            }
            Kind::Quota => counter.quota.as_ref().map(|limit| limit.span().end),
            Kind::Pace | Kind::Slots | Kind::Closed => None,
        }
    }
}
