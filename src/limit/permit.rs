//! The right to start one attempt now, under every limit of its lane.
//!
//! Must not know: how limits are counted.

use std::time::Duration;

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limit::meter::Claim;
use crate::limit::table::LimiterId;

/// How long after its grant a permit may be used: a stall must not turn into a burst. More would cost pace: until it is
/// confirmed, a start counts at the last moment at which it may happen.
pub(crate) const STALE_AFTER: Duration = Duration::from_millis(3);

/// A permit that may not be used (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the permit is older than {} ms, or was used before", STALE_AFTER.as_millis())]
pub struct StalePermit;

/// The right to start once, within [`STALE_AFTER`] of its grant and after [`crate::limit::Gate::confirm`] agreed. It
/// must go back to the gate that granted it: through [`crate::limit::Gate::put_back`] when nothing started, else
/// through [`crate::limit::Gate::release`] when the call has ended. One that is dropped keeps its slots taken.
#[derive(Debug)]
#[must_use = "a permit that does not go back to its gate keeps its slots taken"]
pub struct Permit {
    pub(super) granted_at: Timestamp,
    pub(super) is_confirmed: bool,
    /// Limiter by limiter. Most lanes have one or two limits, and a decision for them must not allocate.
    pub(super) held: SmallVec<[PermitPart; 2]>,
}

/// What a permit holds of one limiter: its slot, and a start under one of its limits.
#[derive(Debug)]
pub(super) struct PermitPart {
    pub(super) limiter: LimiterId,
    /// `None` of a limiter that only counts calls in flight.
    pub(super) claim: Option<Claim>,
}

impl Permit {
    /// The moment of its grant, from which [`STALE_AFTER`] is counted.
    #[cfg(test)]
    #[must_use]
    pub const fn granted_at(&self) -> Timestamp {
        self.granted_at
    }

    /// Whether a start at this moment is still within its time.
    pub(super) fn is_fresh(&self, at: Timestamp) -> bool {
        !self.is_confirmed && at <= self.granted_at + STALE_AFTER
    }

    /// What is held, limiter by limiter.
    pub(super) fn by_limiter(&self) -> impl Iterator<Item = (LimiterId, &[PermitPart])> {
        let groups = self.held.chunk_by(|one, next| one.limiter == next.limiter);
        groups.filter_map(|held| Some((held.first()?.limiter, held)))
    }
}
