//! What the gate answers, and what it decides that from: nothing here changes what counts.
//!
//! Must not know: entries, how a limit counts.

use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::limit::LimitKind;
use crate::limit::admission;
use crate::limit::meter::Ready;
use crate::limit::permit::Permit;
use crate::limit::table::{LimiterId, LimiterTable};
use crate::policy::Family;

/// The limiters of one lane. It goes back to its gate through [`crate::limit::Gate::unbind`].
#[derive(Debug)]
pub struct Binding(pub(super) Box<[LimiterId]>);

/// What stands in the way of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocker {
    /// The limiter that has no room.
    pub limiter: LimiterId,
    /// Which of its limits has none.
    pub kind: LimitKind,
}

/// The answer of the gate to one lane that wants to start a call.
#[derive(Debug)]
#[must_use = "a permit that does not go back to its gate keeps its slots taken"]
pub enum Decision {
    /// Start within [`crate::limit::STALE_AFTER`], after [`crate::limit::Gate::confirm`] agreed.
    Go(Permit),
    /// Ask again then, not earlier: the moment at which the last of the lane's limits has room.
    NotBefore(Timestamp, Blocker),
    /// Ask again when a call under this limiter ends (see [`crate::limit::Gate::release`]), or when more of its starts
    /// are on record (see [`crate::limit::Gate::confirmed`]).
    Wait(Blocker),
    /// A policy that turns calls away has no room: all waiting ones have.
    Refuse(Blocker),
}

/// The limiters that have room for calls again; each may have waiters.
#[derive(Debug)]
pub struct Freed(pub(super) SmallVec<[LimiterId; 4]>);

/// Why nothing may start; it becomes a [`Decision`] once what follows from it is done.
pub(super) enum Obstacle {
    /// Ask again then: the latest of the moments that the limits name.
    Until(Timestamp, Blocker),
    /// Ask again when a call ends.
    NoSlot(Blocker),
    /// Ask again when more is on record.
    Unrecorded(Blocker),
    /// It is to be turned away.
    Refused(Blocker),
}

/// What stands in the way of a start at `now`. A call that was `promised` one is not turned away for the sake of other
/// promises.
pub(super) fn obstacle(
    table: &mut LimiterTable,
    lane: &Binding,
    promised: bool,
    now: Timestamp,
) -> Option<Obstacle> {
    let mut worst: Option<Obstacle> = None;
    let mut refuses = false;
    for id in &*lane.0 {
        let Some(limiter) = table.get_mut(*id) else { continue };
        if !limiter.has_slot() {
            // No moment can be named for it: only the end of a call frees a slot, and the lane is asked for again then.
            // A moment that another limit names would wake the lane for nothing.
            return Some(Obstacle::NoSlot(Blocker { limiter: *id, kind: LimitKind::Slots }));
        }
        refuses |= limiter.turns_away();
        let Err(refused) = limiter.check(now) else { continue };
        let blocker = Blocker { limiter: *id, kind: refused.kind };
        match (refused.ready, &worst) {
            // Waiting would not help its family. Whether the call is turned away is decided below, after all waiting
            // limits.
            (Ready::At(_), _) if limiter.family == Family::Refuse && limiter.is_full(now) => {}
            (Ready::At(at), Some(Obstacle::Until(later, _))) if at <= *later => {}
            (Ready::At(at), _) => worst = Some(Obstacle::Until(at, blocker)),
            // A write takes moments, so that any moment that a limit names outweighs it.
            (Ready::OnceRecorded, None) => worst = Some(Obstacle::Unrecorded(blocker)),
            (Ready::OnceRecorded | Ready::Now, _) => {}
        }
    }
    match worst {
        Some(Obstacle::Until(..)) => worst,
        // Only when all waiting limits have room is a call turned away.
        worst if refuses => admission::first_without_room(table, lane, u32::from(promised), now)
            .map(Obstacle::Refused)
            .or(worst),
        worst => worst,
    }
}

impl Binding {
    /// The limiters, each once, in ascending order.
    #[must_use]
    pub fn limiters(&self) -> &[LimiterId] {
        &self.0
    }
}

impl Freed {
    /// The limiters, each once, in the order of the permit.
    pub fn iter(&self) -> impl Iterator<Item = LimiterId> {
        self.0.iter().copied()
    }
}
