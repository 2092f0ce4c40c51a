//! Admission: calls that no waiting limit governs are tried when they are handed in. What passes is promised a start,
//! so that calls that are on their way to their start count as well; what does not is turned away.
//!
//! Must not know: entries, HTTP, how limits count.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::clock::Timestamp;
use crate::event::{Lane, PolicyId};
use crate::limit::LimitKind;
use crate::limit::decision::{Binding, Blocker};
use crate::limit::figures::LimiterFigures;
use crate::limit::limiter::Limiter;
use crate::limit::meter::Ready;
use crate::limit::table::{LimiterId, LimiterTable};
use crate::telemetry::defect;

/// A call that is over a limit of a policy that turns calls away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OverLimit {
    /// The policy whose limit has no room for the call.
    pub policy: PolicyId,
    /// Which of its limits has none; with several, the first in the order in which they are asked.
    pub kind: LimitKind,
    /// The earliest moment at which the call could be tried again; [`Timestamp::MAX`] when that is never.
    pub free_at: Timestamp,
}

/// What came of a call that was tried: a promise where a policy turns calls away, nothing where none does, or why it is
/// turned away.
pub(crate) type Tried = Result<Option<Promise>, OverLimit>;

/// Tries calls before they are taken in.
pub(crate) trait Admission: Send + Sync + 'static {
    /// One answer for each lane, in order. `None` while nobody keeps the limits.
    fn promise(&self, lanes: Vec<Lane>) -> BoxFuture<'_, Option<Vec<Tried>>>;

    /// How far the limits of a lane are used; empty while nobody keeps the limits.
    fn used(&self, lane: Lane) -> BoxFuture<'_, Vec<LimiterFigures>>;
}

/// A start that was promised to a call. Dropped, it is given back; a call that was taken in keeps it
/// ([`Promise::keep`]) until it starts.
#[must_use = "a promise that is dropped is given back"]
pub(crate) struct Promise(Option<Box<dyn FnOnce() + Send>>);

impl Promise {
    /// Made by the owner of the limits, which takes it back through `give_back`.
    pub(crate) fn new(give_back: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(give_back)))
    }

    /// The call was taken in: its start redeems the promise.
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}

/// When to come again for a start that others have been promised: they go within moments.
const SOON: Duration = Duration::from_secs(1);

/// Promises a start to a call that no waiting limit governs, or names the limit that has no room and when it may have
/// some again.
pub(super) fn promise(
    table: &mut LimiterTable,
    lane: &Binding,
    now: Timestamp,
) -> Result<(), (Blocker, Timestamp)> {
    match first_without_room(table, lane, 0, now) {
        Some(blocker) => Err((blocker, free_at(table, blocker, now))),
        None => {
            owe(table, lane, 1);
            Ok(())
        }
    }
}

/// This many calls were promised a start, whatever the room.
pub(super) fn owe(table: &mut LimiterTable, lane: &Binding, count: u32) {
    // Also the counter that a bound of the lane looks at: a promise is a start that it will count.
    change_promises(table, lane, |promised| promised.saturating_add(count));
}

/// This many of the calls that were promised a start have started, or have come to nothing.
pub(super) fn redeem(table: &mut LimiterTable, lane: &Binding, count: u32) {
    change_promises(table, lane, |promised| {
        defect!(unless count <= promised, "more promises kept than were made");
        promised.saturating_sub(count)
    });
}

fn change_promises(table: &mut LimiterTable, lane: &Binding, change: impl Fn(u32) -> u32) {
    for id in lane.limiters() {
        if let Some(limiter) = table.get_mut(*id) {
            limiter.promised = change(limiter.promised);
        }
    }
}

/// The first refusing limiter of a lane, in the order in which they are asked, that has no room beyond what others were
/// promised: all promises but `own`.
pub(super) fn first_without_room(
    table: &mut LimiterTable,
    lane: &Binding,
    own: u32,
    now: Timestamp,
) -> Option<Blocker> {
    let mut first: Option<Blocker> = None;
    for id in lane.limiters() {
        let Some(limiter) = table.get(*id).filter(|limiter| limiter.turns_away()) else { continue };
        // Bindings are sorted by number, which depends on what was bound first; the order of the answers must not.
        let before = first.and_then(|blocker| table.get(blocker.limiter));
        if before.is_some_and(|before| place(before) <= place(limiter)) {
            continue;
        }
        if let Some((0, kind)) = room(table, *id, own, now) {
            first = Some(Blocker { limiter: *id, kind });
        }
    }
    first
}

/// How many more calls a limiter lets start, and which of its limits is the narrowest; `None` when none limits that.
fn room(table: &mut LimiterTable, id: LimiterId, own: u32, now: Timestamp) -> Option<(u32, LimitKind)> {
    let limiter = table.get_mut(id)?;
    let unpromised =
        // More may be promised than there is room: a limit was lowered since, or calls that were found at the start of
        // the process are owed their start whatever the room.
        |(room, kind): (u32, LimitKind), promised: u32| (room.saturating_sub(promised.saturating_sub(own)), kind);
    let here = limiter.room(now).map(|room| unpromised(room, limiter.promised));
    let there = limiter.bound.clone().and_then(|bound| {
        let counter = table.get_mut(bound.counter?)?;
        bound.room(counter, now).map(|room| unpromised(room, counter.promised))
    });
    // A policy with bounds has no meters of its own, so that at most one of the two says anything.
    there.into_iter().chain(here).min_by_key(|(room, _)| *room)
}

/// When this limit may have room again; [`Timestamp::MAX`] when that is never.
fn free_at(table: &mut LimiterTable, blocker: Blocker, now: Timestamp) -> Timestamp {
    if blocker.kind == LimitKind::Closed {
        return Timestamp::MAX;
    }
    let Some(limiter) = table.get_mut(blocker.limiter) else { return now + SOON };
    let at = match (limiter.bound.clone(), limiter.check(now).map_err(|refused| refused.ready)) {
        (None, Err(Ready::At(at))) => Some(at),
        // All the room is promised: those calls start within moments and leave as others do.
        (None, _) => limiter.meter_mut(blocker.kind).map(|meter| meter.frees_at(now)),
        (Some(bound), _) => {
            let counter = bound.counter.and_then(|counter| table.get_mut(counter));
            counter.and_then(|counter| bound.free_at(blocker.kind, counter, now))
        }
    };
    // No moment is known, or it has passed: what room there is, is promised to others.
    at.filter(|at| *at > now).unwrap_or(now + SOON)
}

/// Its place in the order in which limiters are asked: closed ones first, equals by their policies' names.
fn place(limiter: &Limiter) -> (bool, u8, &PolicyId) {
    (!limiter.closed, limiter.rank, &limiter.policy)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_promise_is_given_back_once_unless_it_is_kept() {
        let given_back = Arc::new(AtomicUsize::new(0));
        let promise = || {
            let given_back = Arc::clone(&given_back);
            Promise::new(move || {
                given_back.fetch_add(1, Ordering::SeqCst);
            })
        };
        promise().keep();
        assert_eq!(given_back.load(Ordering::SeqCst), 0);
        drop(promise());
        assert_eq!(given_back.load(Ordering::SeqCst), 1);
    }
}
