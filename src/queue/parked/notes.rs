//! What is noted of redrives under way, and what a start makes of it.
//!
//! The document `redrives` has the letters of the last batch: `{"format":1,"letters":[{"place":N,"event":"UUID","redrive":N}]}`,
//! `redrive` being the number of the redrive that was begun. It is empty when the batch has ended, which backups wait for. Where
//! it cannot be read, all letters are asked for instead.
//!
//! Must not know: who redrives what.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ParkedParts, just_before, redrive_key};
use crate::event::EventId;
use crate::queue::QueueError;
use crate::store::{
    Appended, DeadLetter, DocumentStore, Expect, LETTERS_UNDER_WAY, LastRedrive, LetterOrder, LetterPlace,
    PlacedLetter, ReadLimit, StoreError, Version, record,
};

const FORMAT: u32 = 1;
/// Keys that are asked for together: the writer of the store answers.
const KEYS_AT_ONCE: usize = 256;
/// Letters of which a start reads at once whether they are void.
const READ_AT_ONCE: ReadLimit = ReadLimit { entries: 1_024, bytes: 8 << 20 };

/// A letter whose redrive was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub place: LetterPlace,
    /// The id by which the event is known.
    pub name: EventId,
    /// Which redrive it is, from 1.
    pub count: u16,
}

/// What is still to be decided before the next change.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The present version of the document.
    version: Option<Version>,
    /// The document may have notes, which backups wait for.
    is_noted: bool,
    /// Redrives that were begun and may not have ended.
    pub(super) notes: Vec<Note>,
    /// Letters whose entries were owed an end when it was looked: void if they still are.
    suspects: Vec<(LetterPlace, EventId)>,
    /// A task ends what is pending: one is enough.
    pub(super) is_tended: bool,
}

/// What is here of letters that are to be added.
#[derive(Default)]
pub(super) struct LettersHere {
    /// Their entries that have a letter.
    pub(super) ids: HashSet<EventId>,
    /// Their next redrives that are those of a letter here, with its entry.
    pub(super) redrives: HashMap<(EventId, u16), EventId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotesFile {
    format: u32,
    letters: Vec<NoteOnFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteOnFile {
    place: u64,
    event: String,
    redrive: u16,
}

impl Pending {
    /// Whether nothing is left to be decided.
    pub(super) fn is_over(&self) -> bool {
        self.notes.is_empty() && self.suspects.is_empty() && !self.is_noted
    }

    pub(super) fn places(&self) -> impl Iterator<Item = LetterPlace> {
        let suspects = self.suspects.iter().map(|(place, _)| *place);
        self.notes.iter().map(|note| note.place).chain(suspects)
    }

    /// Notes that nothing is under way. Without it a backup waits, and the next start asks for what has ended: no more.
    /// Where it fails, that is left to be done.
    pub(super) async fn clear(&mut self, documents: &dyn DocumentStore) {
        if let Err(error) = self.note(documents, &[]).await {
            tracing::warn!(%error, "the note of redrives that have ended stays");
        }
    }

    /// Notes the letters of a batch, durably, before anything of it is handed in.
    pub(super) async fn note(
        &mut self,
        documents: &dyn DocumentStore,
        notes: &[Note],
    ) -> Result<(), StoreError> {
        // Also when the put fails: it may have been made.
        self.is_noted |= !notes.is_empty();
        let expect = self.version.map_or(Expect::Absent, Expect::At);
        match documents.put(LETTERS_UNDER_WAY, expect, written(notes)).await {
            Ok(version) => self.version = Some(version),
            // A put whose answer was lost may have been made.
            Err(StoreError::VersionConflict { found }) => {
                let expect = found.map_or(Expect::Absent, Expect::At);
                self.version = Some(documents.put(LETTERS_UNDER_WAY, expect, written(notes)).await?);
            }
            // All that was begun is settled by now. The store keeps what is damaged, and says so.
            Err(StoreError::Damaged { .. }) if self.version.is_some() => {
                let put = documents.put(LETTERS_UNDER_WAY, Expect::Absent, written(notes)).await?;
                self.version = Some(put);
            }
            Err(error) => return Err(error),
        }
        self.is_noted = !notes.is_empty();
        Ok(())
    }
}

fn written(notes: &[Note]) -> Bytes {
    if notes.is_empty() {
        return Bytes::new();
    }
    let letter = |note: &Note| NoteOnFile {
        place: note.place.number(),
        event: note.name.to_string(),
        redrive: note.count,
    };
    let file = NotesFile { format: FORMAT, letters: notes.iter().map(letter).collect() };
    // Numbers and texts always serialise.
    Bytes::from(serde_json::to_vec(&file).unwrap_or_default())
}

/// `None` when it is not what was written.
fn read(body: &[u8]) -> Option<Vec<Note>> {
    if body.is_empty() {
        return Some(Vec::new());
    }
    let file: NotesFile = serde_json::from_slice(body).ok()?;
    if file.format != FORMAT {
        return None;
    }
    let note = |letter: NoteOnFile| {
        let name = letter.event.parse().ok()?;
        Some(Note { place: LetterPlace::of_number(letter.place), name, count: letter.redrive })
    };
    file.letters.into_iter().map(note).collect()
}

impl ParkedParts {
    /// What an earlier process may have left half done.
    pub(super) async fn find_pending(&self) -> Result<Pending, QueueError> {
        let (version, notes) = match self.documents.get(LETTERS_UNDER_WAY).await {
            Ok(None) => (None, Some(Vec::new())),
            Ok(Some((version, body))) => (Some(version), read(&body)),
            Err(StoreError::Damaged { .. }) => (None, None),
            Err(error) => return Err(error.into()),
        };
        let is_noted = notes.as_ref().is_none_or(|notes| !notes.is_empty());
        let notes = match notes {
            Some(notes) => notes,
            None => {
                tracing::warn!(
                    "the note of redrives under way cannot be read: all dead letters are looked at"
                );
                self.all_begun().await?
            }
        };
        Ok(Pending { version, is_noted, notes, suspects: self.suspects().await?, is_tended: false })
    }

    /// The notes of all letters whose next redrive was begun.
    async fn all_begun(&self) -> Result<Vec<Note>, QueueError> {
        let (mut begun, mut after) = (Vec::new(), None);
        loop {
            let page = self.letters.list(LetterOrder::OldestFirst, after, READ_AT_ONCE).await?;
            let notes: Vec<Note> = page.letters.iter().map(Note::of).collect();
            let known = self.handed_in(&notes).await?;
            begun.extend(notes.into_iter().zip(known).filter(|(_, known)| *known).map(|(note, _)| note));
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(begun),
            }
        }
    }

    /// Letters whose entries are owed an end. Those are the last that were written: a letter is durable before the end of its
    /// entry, and no other is written until that end is. A restored backup has more of them, among others: its letters were
    /// copied after its entries, and whatever died in between is both. That was after the newest acceptance which it has, or
    /// just before.
    async fn suspects(&self) -> Result<Vec<(LetterPlace, EventId)>, QueueError> {
        let copied_from = just_before(self.entries.health().newest_at_start);
        let (mut suspects, mut after) = (Vec::new(), None);
        loop {
            let page = self.letters.list(LetterOrder::NewestFirst, after, READ_AT_ONCE).await?;
            let before = suspects.len();
            if page.unreadable > 0 {
                self.has_unasked.store(true, Ordering::Release);
            }
            let is_recent = page.unreadable > 0
                || page.letters.is_empty()
                || page.letters.iter().any(|placed| placed.letter.at >= copied_from);
            for PlacedLetter { place, letter } in page.letters {
                // Also when it cannot be read: the next look decides.
                if !matches!(self.has_ended(letter.id).await, Ok(true)) {
                    suspects.push((place, letter.id));
                }
            }
            match page.next {
                Some(next) if is_recent || suspects.len() > before => after = Some(next),
                _ => return Ok(suspects),
            }
        }
    }

    /// What is here of letters that are to be added, hidden or not. Costs a walk over all letters.
    pub(super) async fn here(&self, letters: &[DeadLetter]) -> Result<LettersHere, QueueError> {
        let ids: HashSet<EventId> = letters.iter().map(|letter| letter.id).collect();
        let redrives: HashSet<(EventId, u16)> = letters.iter().map(redrive_of).collect();
        let (mut here, mut after) = (LettersHere::default(), None);
        loop {
            let page = self.letters.list(LetterOrder::OldestFirst, after, READ_AT_ONCE).await?;
            for PlacedLetter { letter, .. } in &page.letters {
                if ids.contains(&letter.id) {
                    here.ids.insert(letter.id);
                }
                let redrive = redrive_of(letter);
                if redrives.contains(&redrive) {
                    here.redrives.insert(redrive, letter.id);
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(here),
            }
        }
    }

    /// Whether the redrives of these notes were handed in, in order.
    pub(super) async fn handed_in(&self, notes: &[Note]) -> Result<Vec<bool>, QueueError> {
        let mut known = Vec::with_capacity(notes.len());
        for notes in notes.chunks(KEYS_AT_ONCE) {
            // Under whichever name: the key alone counts.
            let keys = notes.iter().map(|note| redrive_key(note.name, note.count, false)).collect();
            let by_key = self.queue.find_keys(keys).await?;
            // Keys are kept for a day, and what was redriven for longer.
            let names = notes.iter().map(|note| note.name).collect();
            let by_name = self.entries.last_redrives(names).await?;
            let is_known = |((note, key), last): ((&Note, Option<Appended>), Option<LastRedrive>)| {
                key.is_some() || last.is_some_and(|last| last.redriven.count >= note.count)
            };
            known.extend(notes.iter().zip(by_key).zip(by_name).map(is_known));
        }
        Ok(known)
    }

    /// Takes the letters whose events live on, and shows the others again.
    pub(super) async fn settle(&self, pending: &mut Pending) -> Result<(), QueueError> {
        if pending.is_over() {
            return Ok(());
        }
        let known = self.handed_in(&pending.notes).await?;
        let mut void: Vec<LetterPlace> =
            pending.notes.iter().zip(known).filter(|(_, known)| *known).map(|(note, _)| note.place).collect();
        let mut unknown = Vec::new();
        for (place, id) in &pending.suspects {
            match self.has_ended(*id).await {
                Ok(false) => void.push(*place),
                Ok(true) => {}
                Err(_) => unknown.push((*place, *id)),
            }
        }
        let taken = self.letters.take(self.entries.owner(), void).await?.len();
        if taken > 0 {
            tracing::info!(letters = taken, "dead letters taken whose events live on");
        }
        let still: Vec<LetterPlace> = unknown.iter().map(|(place, _)| *place).collect();
        let settled = pending.places().filter(|place| !still.contains(place)).collect::<Vec<_>>();
        self.unhide(settled.into_iter()).await;
        (pending.notes, pending.suspects) = (Vec::new(), unknown);
        if pending.is_noted {
            pending.clear(&*self.documents).await;
        }
        Ok(())
    }
}

/// What the next redrive of a letter is known by: the name of its event, and its number.
pub(super) fn redrive_of(letter: &DeadLetter) -> (EventId, u16) {
    (letter.name(), record::redrives(&letter.record).saturating_add(1))
}

impl Note {
    /// The next redrive of a letter that lies there.
    pub(super) fn next(place: LetterPlace, letter: &DeadLetter) -> Self {
        let (name, count) = redrive_of(letter);
        Self { place, name, count }
    }

    /// The next redrive of a letter.
    pub(super) fn of(placed: &PlacedLetter) -> Self {
        Self::next(placed.place, &placed.letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_back_and_what_is_none_is_recognised() {
        let notes = [(7, 1), (u64::MAX, u16::MAX)].map(|(place, count)| Note {
            place: LetterPlace::of_number(place),
            name: EventId::new(5, 6),
            count,
        });
        assert_eq!(read(&written(&notes)), Some(notes.to_vec()));
        assert_eq!(read(&written(&[])), Some(Vec::new()));
        for wrong in ["?", "{}", r#"{"format":2,"letters":[]}"#, r#"{"format":1,"letters":[{"place":1}]}"#] {
            assert_eq!(read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
