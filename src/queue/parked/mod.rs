//! Dead letters, as operators see them: shown, handed in again, purged. What lives on in the queue is no letter.
//!
//! A redrive puts an entry into the journal and then takes the letter, which lies in another file. Between the two the event
//! would be both. Therefore a batch goes in four steps:
//!
//! 1. its letters are noted in the document `redrives`, and hidden from here on;
//! 2. its events are appended, each under a key that is made of the id and the number of the redrive: a repetition adds
//!    nothing, and the key says afterwards whether the event was handed in;
//! 3. the letters are taken;
//! 4. they are hidden no longer, and the document is empty again.
//!
//! Where a step fails, and when the store is opened again, the keys of the noted letters are asked for, and those are taken
//! whose event was handed in (`notes`, `finish`). In the same way a letter is void whose event is still owed an end: it died, and a crash undid that.
//!
//! Must not know: policies, HTTP, what letters are looked for.

mod finish;
mod notes;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::RwLock;

use crate::clock::{Clock, Timestamp};
use crate::event::{EventId, digest128};
use crate::queue::{Queue, QueueError};
use crate::store::{
    DeadLetters, Dedup, DocumentStore, EntryStore, LetterOrder, LetterPage, LetterPlace, Lookup,
    PlacedLetter, ReadLimit, StoreError,
};

use notes::Pending;
pub(crate) use turn::{Imported, Remade, Turn};

/// The end of an event is on record about 100 ms after its letter; a letter that is older than this is looked at no more.
const FRESH: Duration = Duration::from_secs(10);

/// A cheap handle; clones share everything.
#[derive(Clone)]
pub(crate) struct Parked(Arc<ParkedParts>);

struct ParkedParts {
    queue: Queue,
    entries: Arc<dyn EntryStore>,
    letters: Arc<dyn DeadLetters>,
    documents: Arc<dyn DocumentStore>,
    clock: Clock,
    /// At the start there were letters that could not be read: whether their events live on was not asked, however old they
    /// are, and they may be readable by now.
    has_unasked: AtomicBool,
    /// Letters of events that live on, or of which that is not known.
    hidden: Mutex<HashSet<LetterPlace>>,
    /// Held for reading over a page: what a page has read is hidden until it was looked through.
    showing: RwLock<()>,
    /// Changes are made one after the other.
    turn: tokio::sync::Mutex<Pending>,
}

/// The key under which an event is handed in again, and what is kept of the name that it goes by.
pub(super) fn redrive_key(name: EventId, count: u16, is_renamed: bool) -> Dedup {
    // No idempotency key holds a zero byte.
    let [kept, renamed] = Dedup::REDRIVES;
    let text = [&b"redrive\0"[..], &name.to_bytes(), &count.to_le_bytes()].concat();
    Dedup { key: digest128(&text).to_be_bytes(), fingerprint: if is_renamed { renamed } else { kept } }
}

/// The moment from which on a letter was fresh then.
fn just_before(then: Timestamp) -> Timestamp {
    let fresh_ms = u64::try_from(FRESH.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(then.as_millis().saturating_sub(fresh_ms))
}

impl Parked {
    /// Opens the letters of the store under `queue`, before anything of it is handed out, and ends what a crash has left
    /// half done.
    ///
    /// # Errors
    /// [`QueueError`] when the store cannot be read.
    pub(crate) async fn open(
        queue: &Queue,
        documents: Arc<dyn DocumentStore>,
        clock: Clock,
    ) -> Result<Self, QueueError> {
        let entries = Arc::clone(&queue.0.store);
        let parts = ParkedParts {
            queue: queue.clone(),
            letters: Arc::clone(&entries).letters(),
            entries,
            documents,
            clock,
            has_unasked: AtomicBool::new(false),
            hidden: Mutex::default(),
            showing: RwLock::default(),
            turn: tokio::sync::Mutex::default(),
        };
        let pending = parts.find_pending().await?;
        parts.hide(pending.places());
        *parts.turn.lock().await = pending;
        let parked = Self(Arc::new(parts));
        // While the store is held nothing can be taken: what is hidden stays so until it can.
        if let Err(error) = parked.turn().await.map(drop) {
            tracing::warn!(%error, "redriven dead letters could not be taken yet; they stay hidden");
        }
        Ok(parked)
    }

    /// The next letters in this order: see [`DeadLetters::list`]. It may have fewer than there are.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store cannot be read.
    pub(crate) async fn page(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> Result<LetterPage, QueueError> {
        self.0.page(order, after, limit).await
    }

    /// The next letters that are on record, oldest first, for those who count them: also the few that may be void, for which
    /// [`Parked::page`] asks the store one by one.
    ///
    /// # Errors
    /// As [`Parked::page`].
    pub(crate) async fn on_record(
        &self,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> Result<LetterPage, QueueError> {
        Ok(self.0.letters.list(LetterOrder::OldestFirst, after, limit).await?)
    }

    /// The letters of the events that are known by this id, in the order in which they were parked.
    ///
    /// # Errors
    /// As [`Parked::page`].
    pub(crate) async fn find(&self, name: EventId) -> Result<Vec<PlacedLetter>, QueueError> {
        self.0.find(name).await
    }

    /// The right to change letters, as soon as nobody else has it.
    ///
    /// # Errors
    /// [`QueueError::Store`] when an earlier change is not ended and cannot be ended now.
    pub(crate) async fn turn(&self) -> Result<Turn<'_>, QueueError> {
        Turn::begin(&self.0).await
    }
}

impl ParkedParts {
    async fn page(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> Result<LetterPage, QueueError> {
        let _shown = self.showing.read().await;
        let mut page = self.letters.list(order, after, limit).await?;
        page.letters = self.sifted(page.letters).await?;
        Ok(page)
    }

    async fn find(&self, name: EventId) -> Result<Vec<PlacedLetter>, QueueError> {
        let _shown = self.showing.read().await;
        let found = self.letters.find(name).await?;
        let mut found = self.sifted(found).await?;
        // A damaged record of what was taken may have brought one back.
        let notes: Vec<notes::Note> = found.iter().map(notes::Note::of).collect();
        let mut handed_in = self.handed_in(&notes).await?.into_iter();
        found.retain(|_| handed_in.next() == Some(false));
        Ok(found)
    }

    /// Those that are letters and nothing else.
    ///
    /// # Errors
    /// [`QueueError::Store`] when that cannot be read of one: it would look absent.
    async fn sifted(&self, mut letters: Vec<PlacedLetter>) -> Result<Vec<PlacedLetter>, QueueError> {
        self.leave_out_hidden(&mut letters);
        // A settlement for which there was no room, or no descriptor, may be missing however old its letter is.
        let health = self.entries.health();
        let has_unasked = self.has_unasked.load(Ordering::Acquire);
        let since = if health.no_room.is_some() || health.owes_settlements || has_unasked {
            Timestamp::ZERO
        } else {
            just_before(self.clock.now())
        };
        let mut kept = Vec::with_capacity(letters.len());
        for placed in letters {
            if placed.letter.at < since || self.has_ended(placed.letter.id).await? {
                kept.push(placed);
            }
        }
        Ok(kept)
    }

    fn leave_out_hidden(&self, letters: &mut Vec<PlacedLetter>) {
        let hidden = self.hidden();
        letters.retain(|placed| !hidden.contains(&placed.place));
    }

    /// Whether an entry is owed no end any more.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be read: it is unknown.
    async fn has_ended(&self, id: EventId) -> Result<bool, StoreError> {
        match self.entries.lookup(id).await? {
            Lookup::Waiting(..) => Ok(false),
            Lookup::Settled(_) | Lookup::Lost | Lookup::Unknown => Ok(true),
        }
    }

    fn hidden(&self) -> MutexGuard<'_, HashSet<LetterPlace>> {
        // Every change is complete before anything can panic.
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hide(&self, places: impl Iterator<Item = LetterPlace>) {
        self.hidden().extend(places);
    }

    /// Hides them no longer. Waits for pages that were read before the letters were taken.
    async fn unhide(&self, places: impl Iterator<Item = LetterPlace>) {
        let _nobody_shows = self.showing.write().await;
        let mut hidden = self.hidden();
        for place in places {
            hidden.remove(&place);
        }
    }
}
