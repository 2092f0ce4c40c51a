//! The right to start one attempt now, under every limit of its lane.
//!
//! Must not know: how limits are counted.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limit::few::Few;
use crate::limit::gate::LimiterId;
use crate::limit::pace::PaceHold;

/// How long after its grant a permit may be used: a stall must not turn into a burst.
pub const STALE_AFTER: Duration = Duration::from_millis(3);

/// A permit that may not be used (any more).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the permit is older than {} ms, or was used before", STALE_AFTER.as_millis())]
pub struct Stale;

/// The right to start once. It must go back to the gate that granted it: through [`crate::limit::Gate::put_back`]
/// when nothing started, else through [`crate::limit::Gate::release`] when the call has ended. One that is
/// dropped keeps its slots taken.
#[derive(Debug)]
#[must_use = "a permit that does not go back to its gate keeps its slots taken"]
pub struct Permit {
    pub(super) granted_at: Timestamp,
    pub(super) holds: Few<Hold>,
}

/// What a permit holds of one limiter.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) limiter: LimiterId,
    pub(super) pace: Option<PaceHold>,
}

impl Permit {
    /// The request starts at `started_at`: the last thing before it does. Until then every limit counts the
    /// start at the latest moment at which it could happen.
    ///
    /// # Errors
    /// [`Stale`] when `started_at` lies more than [`STALE_AFTER`] after the grant, or when the permit was
    /// confirmed before. Nothing may start then; the permit goes back with [`crate::limit::Gate::put_back`].
    pub fn confirm(&self, started_at: Timestamp) -> Result<(), Stale> {
        if started_at > self.granted_at + STALE_AFTER {
            return Err(Stale);
        }
        // A start that claims to precede its grant counts at the grant.
        let started_at = started_at.max(self.granted_at);
        let paces = self.holds.iter().filter_map(|hold| hold.pace.as_ref());
        for pace in paces {
            if !pace.claim.confirm(started_at) {
                return Err(Stale);
            }
        }
        Ok(())
    }

    /// The request that was confirmed at `started_at` has left by `under_way_at`. A thread may lose the
    /// processor between the two: the limits count the start at the later moment, so that it is the start
    /// itself, not its confirmation, that no window holds too often.
    pub fn under_way(&self, started_at: Timestamp, under_way_at: Timestamp) {
        let started_at = started_at.max(self.granted_at);
        for pace in self.holds.iter().filter_map(|hold| hold.pace.as_ref()) {
            pace.claim.under_way(started_at, under_way_at);
        }
    }

    /// When it was granted.
    #[must_use]
    pub const fn granted_at(&self) -> Timestamp {
        self.granted_at
    }
}
