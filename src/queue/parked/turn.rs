//! One change of the letters at a time: a batch is handed in again, or purged.
//!
//! Must not know: which letters are wanted, where their events go.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::finish::finish_later;
use super::notes::{Note, Pending, redrive_of};
use super::{ParkedParts, redrive_key};
use crate::event::{Event, EventId, Lane, Redriven};
use crate::queue::{NewEvent, QueueError};
use crate::store::{
    Appended, DeadLetter, LetterOrder, LetterPage, LetterPlace, PlacedLetter, ReadLimit, StoreError,
};
use crate::telemetry::{EventSource, LettersRemoved, defect};

/// The place of letters that have none yet.
const NOWHERE: LetterPlace = LetterPlace::of_number(0);

/// A letter's event, as it is handed in again.
#[derive(Debug, Clone)]
pub(crate) struct Remade {
    /// The lane in which it will stand.
    pub lane: Lane,
    /// The call to make, with the end of its new life; it says what is kept of the redrive.
    pub event: Event,
}

/// What came of letters that were to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Imported {
    /// So many were added; the others were known.
    Added(u64),
    /// Nothing was added: the letter at this place in the list goes by the same id as a letter of another entry, and was
    /// redriven as often. A redrive of one would pass for that of the other, which would never be sent.
    Twin(usize),
}

/// The right to change letters.
pub(crate) struct Turn<'p> {
    parts: &'p Arc<ParkedParts>,
    pending: MutexGuard<'p, Pending>,
}

impl<'p> Turn<'p> {
    /// Waits for the changes before this one, and ends what they have left half done.
    pub(super) async fn begin(parts: &'p Arc<ParkedParts>) -> Result<Self, QueueError> {
        let mut turn = Self { parts, pending: parts.turn.lock().await };
        parts.settle(&mut turn.pending).await?;
        Ok(turn)
    }

    /// As [`Parked::page`](super::Parked::page), oldest first: nobody changes these letters before this turn ends.
    pub(crate) async fn page(
        &self,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> Result<LetterPage, QueueError> {
        self.parts.page(LetterOrder::OldestFirst, after, limit).await
    }

    /// As [`Parked::find`](super::Parked::find).
    ///
    /// # Errors
    /// [`QueueError`] when the store cannot be read.
    pub(crate) async fn find(&self, name: EventId) -> Result<Vec<PlacedLetter>, QueueError> {
        self.parts.find(name).await
    }

    /// Hands in the events of letters that this turn has read, and takes the letters. Returns the ids by which the events are
    /// known from now on, in order. Of letters of several entries whose redrives could not be told apart the first one is
    /// handed in, and the others stay. The batch has to fit into one group of the store: at most 256 letters and 2 MiB.
    ///
    /// # Errors
    /// [`QueueError`] when the store refuses or fails; [`StoreError::OutcomeUnknown`] when the events were handed in and
    /// their letters could not be taken yet. What was handed in by then is no letter any more, and what was not handed in is
    /// one: a task sees to it, or the next turn.
    pub(crate) async fn redrive(
        &mut self,
        batch: Vec<(PlacedLetter, Remade)>,
    ) -> Result<Vec<EventId>, QueueError> {
        let parts = self.parts;
        let batch = without_twins(batch);
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let notes: Vec<Note> = batch.iter().map(|(placed, _)| Note::of(placed)).collect();
        let places: Vec<LetterPlace> = notes.iter().map(|note| note.place).collect();
        self.pending.note(&*parts.documents, &notes).await?;
        parts.hide(places.iter().copied());
        // Until this call has come to its end, also when it is dropped: whether they were handed in is unknown.
        self.pending.notes.clone_from(&notes);
        let events: Vec<NewEvent> =
            batch.into_iter().zip(&notes).map(|((_, remade), note)| handed_in(remade, *note)).collect();
        let is_renamed: Vec<bool> = events.iter().map(|new| is_renamed(&new.event)).collect();
        let appended = match parts.queue.accept(events).await {
            Ok(appended) => appended,
            Err(error) => {
                if keeps_nothing(&error) {
                    self.pending.notes.clear();
                    parts.unhide(places.into_iter()).await;
                    // Or no backup could be made before the next redrive.
                    self.pending.clear(&*parts.documents).await;
                }
                return Err(error);
            }
        };
        if let Err(error) = parts.letters.take(parts.entries.owner(), places.clone()).await {
            tracing::warn!(%error, "dead letters were handed in and cannot be taken yet; they stay hidden until they are");
            return Err(StoreError::OutcomeUnknown.into());
        }
        parts.unhide(places.iter().copied()).await;
        self.pending.notes.clear();
        self.pending.clear(&*parts.documents).await;
        LettersRemoved { how: "redriven", count: places.len() as u64 }.emit();
        let ids = appended.into_iter().zip(notes).zip(is_renamed);
        Ok(ids
            .map(|((appended, note), is_renamed)| match appended {
                Appended::New(id) | Appended::Duplicate(id) | Appended::Conflict(id) if is_renamed => id,
                _ => note.name,
            })
            .collect())
    }

    /// Adds letters that were exported, here or elsewhere, but for those that are here and those whose event lives on or was
    /// redriven since. Nothing is added where one is the twin of another.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store refuses; a repetition adds the rest.
    pub(crate) async fn import(&mut self, letters: Vec<DeadLetter>) -> Result<Imported, QueueError> {
        let parts = self.parts;
        let mut here = parts.here(&letters).await?;
        let notes: Vec<Note> = letters.iter().map(|letter| Note::next(NOWHERE, letter)).collect();
        let redriven = parts.handed_in(&notes).await?;
        let mut new = Vec::with_capacity(letters.len());
        for (at, (letter, is_redriven)) in letters.into_iter().zip(redriven).enumerate() {
            if !is_redriven && here.ids.insert(letter.id) && parts.has_ended(letter.id).await? {
                if *here.redrives.entry(redrive_of(&letter)).or_insert(letter.id) != letter.id {
                    return Ok(Imported::Twin(at));
                }
                new.push(letter);
            }
        }
        let added = new.len() as u64;
        if added > 0 {
            parts.letters.add(parts.entries.owner(), new).await?;
        }
        Ok(Imported::Added(added))
    }

    /// Purges letters that this turn has read; returns how many were there.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store refuses; a repetition purges the rest.
    pub(crate) async fn purge(&mut self, places: Vec<LetterPlace>) -> Result<u64, QueueError> {
        let purged = self.parts.letters.take(self.parts.entries.owner(), places).await?.len() as u64;
        LettersRemoved { how: "purged", count: purged }.emit();
        Ok(purged)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        finish_later(self.parts, &mut self.pending);
    }
}

/// The first letter of each redrive; a letter that is listed twice has one entry.
fn without_twins(mut batch: Vec<(PlacedLetter, Remade)>) -> Vec<(PlacedLetter, Remade)> {
    let mut first = HashMap::with_capacity(batch.len());
    batch.retain(|(PlacedLetter { letter, .. }, _)| {
        *first.entry(redrive_of(letter)).or_insert(letter.id) == letter.id
    });
    batch
}

fn handed_in(remade: Remade, note: Note) -> NewEvent {
    let Remade { lane, event } = remade;
    let kept = event.redriven.as_ref().map(|redriven| (redriven.origin, redriven.count));
    defect!(unless kept == Some((note.name, note.count)), "a redrive that does not know which one it is");
    let dedup = Some(redrive_key(note.name, note.count, is_renamed(&event)));
    NewEvent { lane, event, dedup, source: EventSource::Redrive }
}

fn is_renamed(event: &Event) -> bool {
    event.redriven.as_deref().is_some_and(|Redriven { is_renamed, .. }| *is_renamed)
}

/// Whether it is certain that nothing of a batch was kept.
fn keeps_nothing(error: &QueueError) -> bool {
    match error {
        QueueError::Record(_) => true,
        QueueError::Store(error) => {
            error.is_refusal()
                || matches!(error, StoreError::Slow | StoreError::Held { .. } | StoreError::TooLarge { .. })
        }
    }
}
