//! The store: what is accepted stays. Traits and promises here: entries, documents, dead letters, the record of what
//! limits consume. Each implementation has a folder: `embedded` keeps them in a directory, `memory` is the model that
//! it is compared with. One suite, `conformance`, runs against all of them.
//!
//! A store keeps *records* (opaque bytes, see [`record`]) in *lanes* (opaque keys) and hands out the ids.
//! Every call is asynchronous and speaks in batches, so that a group commit, a network or a SQL statement
//! fits behind it.
//!
//! Must not know: policies, limits, HTTP. No type of the index library leaves this room.

pub(crate) mod attempts;
#[cfg(test)]
mod conformance;
mod consumption;
mod dead;
pub(crate) mod doubts;
pub(crate) mod embedded;
mod ends;
mod error;
mod flights;
mod health;
#[cfg(test)]
pub(crate) mod memory;
mod owner;
pub mod record;
mod run_to_end;
mod scan;
mod turn;

pub(crate) use attempts::AttemptStore;
pub(crate) use attempts::NoAttempts;
#[cfg(test)]
pub(crate) use consumption::MAX_LIMIT_NAME_BYTES;
pub use consumption::{Usage, UsageFound, UsageStore};
pub(crate) use dead::{
    DeadLetter, DeadLetters, LETTERS_UNDER_WAY, LetterOrder, LetterPage, LetterPlace, PlacedLetter,
};
pub(crate) use doubts::Doubts;
pub use embedded::DirectoryError;
pub(crate) use ends::{EndLog, EndPlace, EndRecord, EndsKept, EndsPage, EndsRead};
pub use error::StoreError;
pub(crate) use flights::{FlightMarks, FlightsFound};
pub(crate) use health::{KeyUse, StoreHealth};
pub(crate) use owner::Owner;
pub(crate) use run_to_end::RunToEnd;
pub(crate) use scan::{LanePick, Scan, ScanPage, ScanPlace, Scanned};
pub(crate) use turn::AppendTurn;

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Redriven, Settlement, Tries, Why};

/// A record on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// The lane in which it will stand.
    pub lane: LaneKey,
    /// Not to be handed out before; `None` puts it at the end of its lane's plain order.
    pub due_at: Option<Timestamp>,
    /// The bytes to keep, at most [`MAX_RECORD_BYTES`].
    pub record: Bytes,
    /// By which a repetition is recognised; `None` for an event without a key.
    pub dedup: Option<Dedup>,
}

/// Longest record: the largest event with its head and headers.
pub(crate) const MAX_RECORD_BYTES: usize = 512 * 1024;

/// How a repeated hand-in is recognised, for at least the configured time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dedup {
    /// Digest of the producer's idempotency key.
    pub key: [u8; 16],
    /// Digest of what was handed in under it.
    pub fingerprint: u64,
}

impl Dedup {
    /// Fingerprints of the keys under which dead letters are handed in again: of one that keeps its id, and of one that got a new
    /// id. They are on disk. What producers hand in has others, but for a chance of next to nothing.
    pub(crate) const REDRIVES: [u64; 2] = [1, 2];

    /// Whether it may be such a key.
    pub(crate) fn is_of_redrive(&self) -> bool {
        Self::REDRIVES.contains(&self.fingerprint)
    }
}

/// The last redrive of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastRedrive {
    /// The entry as which it was handed in.
    pub entry: EventId,
    /// What its record says of it.
    pub redriven: Redriven,
}

/// What an append answers for one [`NewEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It was added and is durable under this id.
    New(EventId),
    /// The same key with the same content is already here; nothing was added.
    Duplicate(EventId),
    /// The same key came with other content; nothing was added.
    Conflict(EventId),
}

/// A record that is still owed an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The name by which callers know it.
    pub id: EventId,
    /// The tries that settlements have put on record.
    pub tries: Tries,
    /// The moment for which it was put off; `None` in the lane's plain order. Rounded up to a millisecond.
    pub due_at: Option<Timestamp>,
    /// When it was put off, if the clock was in doubt then.
    pub doubted_at: Option<Timestamp>,
    /// The record as it was appended.
    pub record: Bytes,
}

/// One decision about one entry that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleRequest {
    /// The lane in which the entry stands.
    pub lane: LaneKey,
    /// The id of the entry.
    pub id: EventId,
    /// Its `due_at` as it was handed out: the place from which it is taken.
    pub due_at: Option<Timestamp>,
    /// What becomes of the entry.
    pub settlement: Settlement,
    /// Why the event ended, for those who ask later; `None` while it lives on, and where nobody knows.
    pub why: Option<Why>,
}

/// What an operator gives up: it is settled as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiveUp {
    /// Everything that a lane still owes an end.
    Lane(LaneKey),
    /// What a doubt of the kind `unread` is about, as far as it cannot be read at the time of the call.
    Unread {
        /// The subject of that doubt, such as `journal/0000000007.seg`.
        subject: String,
        /// How many entries the operator has confirmed: nothing is given up when it would be more.
        at_most: u64,
    },
}

/// An entry that ended as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The lane in which it stood.
    pub lane: LaneKey,
    /// The id of the entry.
    pub id: EventId,
    /// The due time under which it stood; `None` in the lane's plain order.
    pub due_at: Option<Timestamp>,
}

/// The state of one event id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is owed an end: the lane and the entry as it stands now.
    Waiting(LaneKey, StoredEntry),
    /// Its end is on record: delivered, expired, parked or the like; and why, where that is kept.
    Settled(Option<KeptEnd>),
    /// Its bytes were damaged or gone, or an operator gave it up.
    Lost,
    /// Never seen, or settled before [`EndsKept::known_since`].
    Unknown,
}

/// What is kept of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEnd {
    /// The lane in which the entry stood; `None` when its block cannot be read any more.
    pub lane: Option<LaneKey>,
    /// The reason with the facts that were kept of it.
    pub why: Why,
}

/// A page of entries that are due, and when the lane has to be asked again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DuePage {
    /// In order of their due time.
    pub entries: Vec<StoredEntry>,
    /// The due time of the first entry that was neither returned nor skipped; `None` when there is none.
    pub next_due: Option<Timestamp>,
}

/// What a lane holds when the store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSummary {
    /// The name by which callers know it.
    pub lane: LaneKey,
    /// Entries in plain order that are owed an end.
    pub ready: u64,
    /// Entries put off that are owed an end.
    pub delayed: u64,
    /// The earliest due time among them.
    pub next_due: Option<Timestamp>,
    /// When its oldest block was accepted: a lower bound for the age of its oldest entry.
    pub oldest: Option<Timestamp>,
}

/// Bounds of one read, whichever is met first; at least one entry is returned when there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimit {
    /// The number of entries at most.
    pub entries: usize,
    /// The sum of the records' lengths at most, in bytes.
    pub bytes: usize,
}

/// Entries. Promises of every implementation:
///
/// - `append` is durable when it returns; ids ascend in the order in which entries became durable. Of a batch,
///   those of one lane that are plain, or that are delayed, keep the batch's order; between lanes the order
///   within a batch is open. Entries of one lane are read in id order.
/// - `settle` is durable when it returns, at the latest about 100 ms after the call; until then a crash may
///   bring the entry back, never lose it. An id that is already settled, or that no longer stands at the given
///   place, is left alone. `Dead` entries are
///   kept apart for a person before they leave their lane.
/// - Each opening has an [`Owner`] of its own. What was handed out to one may be settled, or given up, by it alone: a
///   call for an earlier one fails with [`StoreError::Fenced`] and changes nothing.
/// - What `append` or `settle` has returned for is visible to every later read.
/// - Reads have no side effect: an entry is returned again until it is settled. `read_ready` yields ids above
///   `after` and never entries with a due time.
/// - A read that fails loses nothing; it fails for its lane alone. What is damaged is settled as lost before the read
///   that met it returns. `handed_out` entries are never taken for lost: they are in the caller's memory.
/// - While the store is held as a whole ([`StoreHealth::held`]), `append` fails with [`StoreError::Held`], and nothing is
///   deleted.
/// - No call blocks a runtime thread. After a failed write or sync every append and settle fails with
///   [`StoreError::Poisoned`]; reads go on. A lack of room, or of descriptors or memory of the system, is no such
///   failure: appends are then refused with an error for which [`StoreError::is_refusal`] holds, and settlements wait.
pub trait EntryStore: Send + Sync + 'static {
    /// Makes a batch durable. One answer per entry, in order.
    fn append(&self, batch: Vec<NewEntry>) -> BoxFuture<'_, Result<Vec<Appended>, StoreError>>;

    /// As [`EntryStore::append`]; the batch can be withdrawn by `turn` until the writer has taken it. A store that
    /// has no queue before its writer takes it at once.
    ///
    /// Answers [`StoreError::Slow`] for a withdrawn batch: nothing of it is kept.
    fn append_in_turn(
        &self,
        batch: Vec<NewEntry>,
        turn: Arc<AppendTurn>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, StoreError>> {
        if turn.take() { self.append(batch) } else { Box::pin(std::future::ready(Err(StoreError::Slow))) }
    }

    /// The next entries of a lane in plain order.
    fn read_ready<'a>(
        &'a self,
        lane: &'a LaneKey,
        after: Option<EventId>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredEntry>, StoreError>>;

    /// Entries of a lane that are due at `until`, without those in `skip` (already handed out).
    fn read_due<'a>(
        &'a self,
        lane: &'a LaneKey,
        until: Timestamp,
        skip: &'a HashSet<EventId>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<DuePage, StoreError>>;

    /// The owner to whom this opening of the store hands entries out.
    fn owner(&self) -> Owner;

    /// Records what becomes of entries that were handed out to `owner`.
    fn settle(&self, owner: Owner, batch: Vec<SettleRequest>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Settles as lost, for `owner`, what is meant and was accepted before the call, without reading it; entries in
    /// `handed_out` are left alone. Returns how many those are. Durable on return. [`StoreError::WrongCount`] when it
    /// would be more than the operator has confirmed; nothing is settled then, and the doubt says how many it concerns.
    fn give_up(
        &self,
        owner: Owner,
        what: GiveUp,
        handed_out: HashSet<EventId>,
    ) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Entries that ended as lost since the last call of this or [`EntryStore::lanes`], whatever the cause: each is
    /// returned once, before the call that lost it returns.
    fn take_losses(&self) -> Vec<Loss>;

    /// What an append under each of these keys would answer now, in order; `None` for those that are not on record.
    fn find_keys(&self, keys: Vec<Dedup>) -> BoxFuture<'_, Result<Vec<Option<Appended>>, StoreError>>;

    /// The last redrives of the events that go by these ids, in order; also of events that have ended since. Those of entries
    /// that are owed an end are known, and of others a bounded number, the newest: 65 536 at least.
    fn last_redrives(
        &self,
        names: Vec<EventId>,
    ) -> BoxFuture<'_, Result<Vec<Option<LastRedrive>>, StoreError>>;

    /// One step of a walk over all that is owed an end, in an order of the store's own. An entry that is owed an end from
    /// the first step of a walk to its last is returned by one of them, and none twice, whatever is settled meanwhile.
    fn scan(&self, scan: Scan) -> BoxFuture<'_, Result<ScanPage, StoreError>>;

    /// Where the event of this id stands, as far as that is known.
    fn lookup(&self, id: EventId) -> BoxFuture<'_, Result<Lookup, StoreError>>;

    /// How many entries in a lane's plain order are owed an end and have smaller ids than this one, which is an id
    /// of this store. Costs a walk over the lane's blocks up to there.
    fn count_before<'a>(&'a self, lane: &'a LaneKey, id: EventId) -> BoxFuture<'a, Result<u64, StoreError>>;

    /// Every lane that holds something, after all losses so far: those are no longer returned by
    /// [`EntryStore::take_losses`]. Costs a walk over all lanes: for the start.
    fn lanes(&self) -> BoxFuture<'_, Result<Vec<LaneSummary>, StoreError>>;

    /// Cheap figures for probes and metrics.
    fn health(&self) -> StoreHealth;

    /// What the store could not establish. Shared with all who raise or clear doubts.
    fn doubts(&self) -> Doubts;

    /// What the same store keeps of attempts.
    fn attempts(&self) -> Arc<dyn AttemptStore> {
        Arc::new(NoAttempts)
    }

    /// Where calls under way are marked in the same store; `None` where nothing outlives a process.
    fn flights(&self) -> Option<Arc<dyn FlightMarks>> {
        None
    }

    /// What the same store keeps for a person.
    fn letters(self: Arc<Self>) -> Arc<dyn DeadLetters>;

    /// How events ended, in order.
    fn ends(self: Arc<Self>) -> Arc<dyn EndLog>;

    /// Makes durable what is pending and ends; later calls answer [`StoreError::Closed`].
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// The version of a document: grows by one with every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// What a writer believes the present version to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The document does not exist yet.
    Absent,
    /// The document exists and is at this version.
    At(Version),
}

impl Expect {
    /// The version that a write over `found` makes.
    ///
    /// # Errors
    /// [`StoreError::VersionConflict`] when `found` is not what was expected.
    pub(crate) fn next(self, found: Option<Version>) -> Result<Version, StoreError> {
        let expected = match self {
            Self::Absent => None,
            Self::At(version) => Some(version),
        };
        if found != expected {
            return Err(StoreError::VersionConflict { found });
        }
        Ok(Version(found.map_or(1, |version| version.0.saturating_add(1))))
    }
}

/// Small named documents under compare-and-set, such as the policy book. Durable on return.
pub trait DocumentStore: Send + Sync + 'static {
    /// The document and its version.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when what is there is not what was written.
    fn get(&self, name: &'static str) -> BoxFuture<'_, Result<Option<(Version, Bytes)>, StoreError>>;

    /// Replaces the document if it is as expected. One that is damaged or newer and not vital counts as absent: its bytes are kept,
    /// and a doubt says so.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a version of a damaged document, [`StoreError::VersionConflict`] when somebody else wrote in between, [`StoreError::Held`] while
    /// [`DocumentStore::held`]; nothing was changed.
    fn put(
        &self,
        name: &'static str,
        expect: Expect,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Version, StoreError>>;

    /// Why no document may be changed now, if that is so: the store is held as a whole.
    fn held(&self) -> Option<String>;

    /// The reader of this document cannot make sense of its body. It counts as damaged: if the document is vital, the
    /// store is held from now on.
    fn reject(&self, name: &'static str, reason: &str);
}
