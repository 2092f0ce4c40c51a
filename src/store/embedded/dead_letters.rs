//! The dead letters of the store: pages of them, and taking them.
//!
//! Places are found by a walk over `dead/` on a thread that may wait; the writer puts on record what is taken.
//!
//! Must not know: when letters are written, the form of segments.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::EmbeddedStore;
use super::reads::Reads;
use super::shared::Shared;
use super::writer::{Request, Writer, with_ballast};
use crate::clock::Timestamp;
use crate::event::EventId;
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::embedded::journal::{Position, segment_name};
use crate::store::{DeadLetters, LetterOrder, LetterPage, LetterPlace, Owner, ReadLimit, StoreError};

/// Letters to take, with the places at which a walk has found them.
pub(super) struct TakeRequest {
    pub letters: Vec<(EventId, Position)>,
    pub reply: oneshot::Sender<Result<Vec<EventId>, StoreError>>,
}

impl DeadLetters for EmbeddedStore {
    fn list(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<LetterPage, StoreError>> {
        Box::pin(self.read(move |reads| letters_of(reads).page(order, after, limit)))
    }

    fn take(&self, owner: Owner, ids: Vec<EventId>) -> BoxFuture<'_, Result<Vec<EventId>, StoreError>> {
        Box::pin(async move {
            self.shared.figures.writable()?;
            self.shared.owner.check(owner)?;
            let wanted: HashSet<EventId> = ids.iter().copied().collect();
            let letters = self.read(move |reads| letters_of(reads).places_of(&wanted)).await?;
            if letters.is_empty() {
                return Ok(Vec::new());
            }
            let (reply, answer) = oneshot::channel();
            self.send(Request::Take(TakeRequest { letters, reply }))?;
            let mut left: HashSet<EventId> = answer.await.map_err(|_| self.gone())??.into_iter().collect();
            // Each once, however often it was asked for or parked.
            Ok(ids.into_iter().filter(|id| left.remove(id)).collect())
        })
    }
}

/// A place as callers know it.
fn to_place(at: Position) -> LetterPlace {
    let place = LetterPlace((u64::from(at.segment) << 32) | u64::from(at.offset));
    debug_assert_eq!(from_place(place), at);
    place
}

fn from_place(place: LetterPlace) -> Position {
    let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    Position { segment: half(place.0 >> 32), offset: half(place.0) }
}

fn letters_of(reads: &Reads) -> LetterReads<'_> {
    LetterReads { shared: &reads.shared }
}

/// Reads letters, and reports what of them is damaged.
struct LetterReads<'s> {
    shared: &'s Shared,
}

impl LetterReads<'_> {
    fn page(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> Result<LetterPage, StoreError> {
        let read = self.shared.letters.page(order, after.map(from_place), limit)?;
        self.raise_damaged(&read.damaged);
        let (letters, unreadable) = (read.letters, read.unreadable);
        Ok(LetterPage { letters, next: read.next.map(to_place), unreadable })
    }

    fn places_of(&self, ids: &HashSet<EventId>) -> Result<Vec<(EventId, Position)>, StoreError> {
        let found = self.shared.letters.find(ids)?;
        self.raise_damaged(&found.damaged);
        Ok(found.letters)
    }

    /// Damage is reported, and nothing is settled by it: what is lost for certain the next start says, which compares
    /// with the account.
    fn raise_damaged(&self, damaged: &[(u32, u64)]) {
        for (number, events) in damaged {
            let doubt = NewDoubt {
                kind: DoubtKind::Files,
                subject: format!("dead/{}", segment_name(*number, false)),
                detail: "not as the store left it: bytes of dead letters, or of the record of which were taken, do not \
                         decode or are gone; letters may be missing, or listed although they were taken"
                    .to_owned(),
                way_out: "stop tidegate, restore the file and start again; or acknowledge".to_owned(),
                events: *events,
            };
            self.shared.doubts.raise(doubt, self.shared.clock.now());
        }
    }
}

impl Writer {
    /// Answers each with the ids of those that were there.
    pub(super) fn take_letters(&mut self, takes: Vec<TakeRequest>, now: Timestamp) {
        for TakeRequest { letters, reply } in takes {
            // A caller that has gone away repeats it or does not want to know.
            let _ = reply.send(self.take(letters, now));
        }
    }

    fn take(
        &mut self,
        mut letters: Vec<(EventId, Position)>,
        now: Timestamp,
    ) -> Result<Vec<EventId>, StoreError> {
        self.shared.figures.sound()?;
        if let Some(reason) = self.shared.doubts.store_held() {
            return Err(StoreError::Held { reason });
        }
        // Another call may have taken some since they were found.
        letters.retain(|(_, place)| self.shared.letters.is_kept(*place));
        let places: Vec<Position> = letters.iter().map(|(_, place)| *place).collect();
        let shared = Arc::clone(&self.shared);
        let taken = with_ballast(&shared, true, || self.dead.take(&places, now));
        self.count_dead();
        match taken {
            Ok(()) => Ok(letters.into_iter().map(|(id, _)| id).collect()),
            Err(error) if error.is_refusal() => Err(error),
            Err(error) => Err(shared.figures.fail(&error)),
        }
    }
}
