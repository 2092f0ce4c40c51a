//! Policies that turn calls away: whether they have room, and what room is promised already.
//!
//! A call that no waiting limit governs is tried when it is handed in. What passes is promised a start, so that calls
//! that are on their way to their start count as well.
//!
//! Must not know: lanes' names, entries.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limit::gate::{Binding, Blocker, Gate};
use crate::limit::tokens::Ready;
use crate::policy::Family;

/// When to come again for a start that others have been promised: they go within moments.
const SOON: Duration = Duration::from_secs(1);

impl Gate {
    /// Promises a start to a call that no waiting limit governs, so that it can be turned away before it is taken in:
    /// `Err` names the limit that has no room and when it may have some again.
    ///
    /// # Errors
    /// The blocker; nothing is promised then.
    pub fn promise(&mut self, lane: &Binding, now: Timestamp) -> Result<(), (Blocker, Timestamp)> {
        for id in lane.limiters() {
            let Some(limiter) = self.table.get_mut(*id).filter(|limiter| limiter.active) else { continue };
            let (room, kind) = limiter.room(now);
            if room <= limiter.promised {
                let free_at = match limiter.check(now).map_err(|refused| refused.ready) {
                    Err(Ready::At(at)) => at,
                    _ => now + SOON,
                };
                return Err((Blocker { limiter: *id, kind }, free_at));
            }
        }
        self.owe(lane, 1);
        Ok(())
    }

    /// So many calls were promised a start, whatever the room.
    pub fn owe(&mut self, lane: &Binding, count: u32) {
        self.change_promises(lane, |promised| promised.saturating_add(count));
    }

    /// So many of the calls that were promised a start have started, or have come to nothing.
    pub fn redeem(&mut self, lane: &Binding, count: u32) {
        self.change_promises(lane, |promised| promised.saturating_sub(count));
    }

    fn change_promises(&mut self, lane: &Binding, change: impl Fn(u32) -> u32) {
        for id in lane.limiters() {
            if let Some(limiter) = self.table.get_mut(*id) {
                limiter.promised = change(limiter.promised);
            }
        }
    }

    /// Which refusing limit of a lane has no room.
    pub(super) fn refusal(&mut self, lane: &Binding, promised: bool, now: Timestamp) -> Option<Blocker> {
        lane.limiters().iter().find_map(|id| {
            let limiter = self.table.get_mut(*id)?;
            let (room, kind) =
                Some(limiter.room(now)).filter(|_| limiter.active && limiter.family == Family::Refuse)?;
            let owed = limiter.promised.saturating_sub(u32::from(promised));
            (room <= owed).then_some(Blocker { limiter: *id, kind })
        })
    }
}
