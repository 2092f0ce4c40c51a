//! Dead letters: entries that were parked for a person, whole, until they are taken or have outlived their time.
//!
//! Must not know: why an entry ends, who hands one in again.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{Owner, ReadLimit, StoreError, record};
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey};

/// An entry that was parked for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id under which the entry was accepted. After a redrive the event is known by another one: see
    /// [`DeadLetter::name`].
    pub id: EventId,
    /// The lane in which it stood: it names the policies that governed the entry.
    pub lane: LaneKey,
    /// When it was parked, rounded down to a millisecond.
    pub at: Timestamp,
    /// Attempts that were made before it was parked.
    pub attempts: u16,
    /// A short fact such as `http_404` or `attempts_exhausted: timeout`; at most its first 1024 bytes are kept.
    pub reason: String,
    /// The record as it was accepted.
    pub record: Bytes,
}

impl DeadLetter {
    /// The id by which people and endpoints know the event.
    #[must_use]
    pub fn name(&self) -> EventId {
        record::name(&self.record, self.id)
    }

    /// The HTTP status that the last attempt was answered with, if its reason is one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let (_, status) = self.reason.rsplit_once("http_")?;
        status.parse().ok()
    }
}

/// In which order dead letters are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetterOrder {
    /// In the order in which they were parked.
    OldestFirst,
    /// The letter that was parked last comes first.
    NewestFirst,
}

/// Where a letter lies among those of its store. Opaque; it means nothing to another store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterPlace(pub(super) u64);

impl LetterPlace {
    /// The place as a number, for cursors and documents.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The place of this number, which [`LetterPlace::number`] has given. Another number leads to no letter.
    #[must_use]
    pub const fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// A letter and where it lies. No two letters ever have the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLetter {
    /// By which it is taken.
    pub place: LetterPlace,
    /// The letter as a whole.
    pub letter: DeadLetter,
}

/// A page of dead letters, and how to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LetterPage {
    /// The letters, in the order that was asked for.
    pub letters: Vec<PlacedLetter>,
    /// After which letter the next page begins; `None` when there is none.
    pub next: Option<LetterPlace>,
    /// Letters on record among these, or right behind them, that cannot be read because they are damaged or gone: a
    /// doubt names where they lie. Those of all pages add up.
    pub unreadable: u64,
}

/// The document in which whoever hands letters in again notes those that are on their way. Its body is empty while none is:
/// a copy of the store that is made meanwhile may lack them.
pub(crate) const LETTERS_UNDER_WAY: &str = "redrives";

/// What is kept for a person. Promises of every implementation:
///
/// - A letter is listed from the return of the settlement that parked it until it is taken or has outlived its time.
///   After a crash it may be listed twice, never not at all.
/// - `list` and `find` have no side effect. What is damaged is counted in the page and raises a doubt; what cannot be read at
///   present is an error: an absence is always a fact.
/// - `take` is durable when it returns. Whoever hands a letter in again does so first and takes it then: a crash in
///   between leaves it twice.
/// - While the store is held as a whole, `take` fails with [`StoreError::Held`]; for another [`Owner`] than the present
///   one of its entries it fails with [`StoreError::Fenced`] and takes nothing.
pub trait DeadLetters: Send + Sync + 'static {
    /// The next letters in this order behind `after`, a place that an earlier page of the same order has returned.
    /// The letter there may have been taken since.
    fn list(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<LetterPage, StoreError>>;

    /// The letters of the events that are known by this id, in the order in which they were parked. Costs a walk over all
    /// letters.
    fn find(&self, name: EventId) -> BoxFuture<'_, Result<Vec<PlacedLetter>, StoreError>>;

    /// Removes the letters at these places, and returns the places of those that were there, each once and in the order
    /// given. Places without a letter are passed over, so that a repetition does nothing.
    ///
    /// # Errors
    /// [`StoreError`] when not all of them could be taken: a repetition takes the rest.
    fn take(
        &self,
        owner: Owner,
        places: Vec<LetterPlace>,
    ) -> BoxFuture<'_, Result<Vec<LetterPlace>, StoreError>>;

    /// Adds letters whose entries are not owed an end here. Durable on return, but for those that were before the first one
    /// that was refused.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for a record longer than [`MAX_RECORD_BYTES`](super::MAX_RECORD_BYTES); others as
    /// [`DeadLetters::take`].
    fn add(&self, owner: Owner, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_knows_the_status_that_it_died_of() {
        let of = |reason: &str| {
            let lane = LaneKey::new("a@1").expect("valid");
            let (id, at, reason) = (EventId::new(1, 1), Timestamp::ZERO, reason.to_owned());
            DeadLetter { id, lane, at, attempts: 1, reason, record: Bytes::new() }.status()
        };
        assert_eq!(of("http_404"), Some(404));
        assert_eq!(of("attempts_exhausted: http_503"), Some(503));
        assert_eq!(of("attempts_exhausted: timeout"), None);
        assert_eq!(of("http_"), None);
    }
}
