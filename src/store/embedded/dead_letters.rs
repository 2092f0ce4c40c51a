//! The dead letters of the store: pages of them, and taking them.
//!
//! Letters are found by a walk over `dead/` on a thread that may wait; the writer puts on record what is taken.
//!
//! Must not know: when letters are written, the form of segments.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::EmbeddedStore;
use super::reads::Reads;
use super::shared::Shared;
use super::writer::{Request, Writer, with_ballast};
use crate::clock::Timestamp;
use crate::event::EventId;
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::embedded::journal::{Position, segment_name};
use crate::store::{
    DeadLetter, DeadLetters, LetterOrder, LetterPage, LetterPlace, Owner, PlacedLetter, ReadLimit, StoreError,
};

/// How long a reader waits for the walks of others: one that finds letters by their event walks over all of them.
const WAIT_FOR_WALKS: Duration = Duration::from_secs(30);

/// A change of the letters alone.
pub(super) enum LetterRequest {
    Take { places: Vec<Position>, reply: oneshot::Sender<Result<Vec<Position>, StoreError>> },
    Add { letters: Vec<DeadLetter>, reply: oneshot::Sender<Result<(), StoreError>> },
}

impl DeadLetters for EmbeddedStore {
    fn list(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<LetterPage, StoreError>> {
        Box::pin(self.walk_letters(move |letters| letters.page(order, after, limit)))
    }

    fn find(&self, name: EventId) -> BoxFuture<'_, Result<Vec<PlacedLetter>, StoreError>> {
        Box::pin(self.walk_letters(move |letters| letters.find(name)))
    }

    fn take(
        &self,
        owner: Owner,
        places: Vec<LetterPlace>,
    ) -> BoxFuture<'_, Result<Vec<LetterPlace>, StoreError>> {
        Box::pin(async move {
            self.shared.figures.writable()?;
            self.shared.owner.check(owner)?;
            if places.is_empty() {
                return Ok(Vec::new());
            }
            let (reply, answer) = oneshot::channel();
            let places = places.into_iter().map(from_place).collect();
            self.send(Request::Letters(LetterRequest::Take { places, reply }))?;
            let taken = answer.await.map_err(|_| self.gone())??;
            Ok(taken.into_iter().map(to_place).collect())
        })
    }

    fn add(&self, owner: Owner, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.shared.figures.writable()?;
            self.shared.owner.check(owner)?;
            let (reply, answer) = oneshot::channel();
            self.send(Request::Letters(LetterRequest::Add { letters, reply }))?;
            answer.await.map_err(|_| self.gone())?
        })
    }
}

impl EmbeddedStore {
    /// Reads letters when nobody else does.
    ///
    /// # Errors
    /// [`StoreError::Slow`] when others do for too long.
    async fn walk_letters<T: Send + 'static>(
        &self,
        read: impl FnOnce(LetterReads<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.may_walk().await?;
        self.read(move |reads| {
            // Also when the caller has gone: as long as the walk goes on.
            let _one = permit;
            read(letters_of(reads))
        })
        .await
    }

    /// Waits before a thread is taken: those are few, and the dispatcher reads with them.
    async fn may_walk(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        if let Ok(permit) = Arc::clone(&self.walk).try_acquire_owned() {
            return Ok(permit);
        }
        match tokio::time::timeout(WAIT_FOR_WALKS, Arc::clone(&self.walk).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| StoreError::Closed),
            Err(_) => Err(StoreError::Slow),
        }
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

fn placed((at, letter): (Position, DeadLetter)) -> PlacedLetter {
    PlacedLetter { place: to_place(at), letter }
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
        let letters = read.letters.into_iter().map(placed).collect();
        Ok(LetterPage { letters, next: read.next.map(to_place), unreadable: read.unreadable })
    }

    fn find(&self, name: EventId) -> Result<Vec<PlacedLetter>, StoreError> {
        let found = self.shared.letters.find(name)?;
        self.raise_damaged(&found.damaged);
        Ok(found.letters.into_iter().map(placed).collect())
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
    /// Changes letters, one request after the other.
    pub(super) fn change_letters(&mut self, requests: Vec<LetterRequest>, now: Timestamp) {
        for request in requests {
            // A caller that has gone away repeats it or does not want to know.
            match request {
                LetterRequest::Take { places, reply } => drop(reply.send(self.take(places, now))),
                LetterRequest::Add { letters, reply } => drop(reply.send(self.add(&letters, now))),
            }
        }
    }

    fn add(&mut self, letters: &[DeadLetter], now: Timestamp) -> Result<(), StoreError> {
        self.may_change()?;
        // They may wait: the room is kept for what is owed an end.
        let bytes: usize = letters.iter().map(|letter| letter.record.len()).sum();
        self.room(bytes)?;
        let added = self.dead.append(letters, now);
        self.changed(added)
    }

    /// Whether letters may be changed now.
    fn may_change(&self) -> Result<(), StoreError> {
        self.shared.figures.sound()?;
        self.shared.doubts.store_held().map_or(Ok(()), |reason| Err(StoreError::Held { reason }))
    }

    /// Counts the letters anew; a failure of the disk is one of the store.
    fn changed(&mut self, outcome: Result<(), StoreError>) -> Result<(), StoreError> {
        self.count_dead();
        outcome.map_err(|error| match error {
            error if error.is_refusal() || matches!(error, StoreError::TooLarge { .. }) => error,
            error => self.shared.figures.fail(&error),
        })
    }

    fn take(&mut self, mut places: Vec<Position>, now: Timestamp) -> Result<Vec<Position>, StoreError> {
        self.may_change()?;
        // Another call may have taken some since they were found, and one may be named twice.
        let mut seen = HashSet::new();
        let letters = self.shared.letters.clone();
        places.retain(|place| letters.is_kept(*place) && seen.insert((place.segment, place.offset)));
        if places.is_empty() {
            return Ok(places);
        }
        let shared = Arc::clone(&self.shared);
        let taken = with_ballast(&shared, true, || self.dead.take(&places, now));
        self.changed(taken).map(|()| places)
    }
}
