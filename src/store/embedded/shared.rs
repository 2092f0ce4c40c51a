//! What the threads of the store and its callers share: the directory, counters, and whether writes go on.
//!
//! Must not know: what travels through the threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::EmbeddedOptions;
use super::cache::BlockCache;
use super::damaged::DamagedBlocks;
use super::ends::Ends;
use super::losses::UnreportedLosses;
use super::unread::Unread;
use crate::clock::{Clock, Timestamp};
use crate::store::doubts::Doubts;
use crate::store::embedded::account::{Account, AccountSnapshot};
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::documents::book::Newest as NewestBook;
use crate::store::embedded::index::IndexError;
use crate::store::embedded::index::database::Database;
use crate::store::embedded::index::lanes::LaneNumbers;
use crate::store::embedded::index::read::IndexReader;
use crate::store::embedded::index::room::{self, IndexRoom};
use crate::store::embedded::index::segments::Segments;
use crate::store::embedded::journal::{self, BlockReader, Letters};
use crate::store::embedded::operations::{Operation, Operations};
use crate::store::{DirectoryError, KeyUse, Owner, StoreError, StoreHealth};

/// One for each open store. The index is closed before the directory's lock is given back: fields are dropped
/// in this order.
pub(super) struct Shared {
    pub reader: IndexReader,
    pub db: Database,
    pub room: Arc<IndexRoom>,
    pub lanes: Arc<LaneNumbers>,
    pub segments: Arc<Segments>,
    pub blocks: BlockReader,
    pub cache: BlockCache,
    pub damaged: DamagedBlocks,
    pub unread: Unread,
    pub losses: UnreportedLosses,
    pub letters: Letters,
    pub ends: Arc<Ends>,
    pub clock: Clock,
    pub options: EmbeddedOptions,
    /// By which ids and frames of this directory are distinguished from others.
    pub salt: u64,
    /// Names this directory to clients: see [`StoreHealth::id`].
    pub id: u64,
    /// This opening: its epoch is that of the directory.
    pub owner: Owner,
    pub figures: StoreFigures,
    pub doubts: Doubts,
    pub account: Account,
    /// The newest version of the policy book, for the account.
    pub book: NewestBook,
    /// Held while a commit changes counts and rows: a reader that holds it sees both agree.
    pub applying: Mutex<()>,
    pub dir: DataDir,
}

/// A flush of the index that takes longer is not waited for: an orderly stop must end, on a slow disk too.
const FLUSH_WITHIN: Duration = Duration::from_secs(10);

impl Shared {
    /// Whether appends of this many bytes have room, asked of the system; the figures say it from then on.
    pub(super) fn measure_room(&self, append_bytes: u64) -> Result<(), StoreError> {
        let room = self.dir.room(self.options.appends_need_bytes().saturating_add(append_bytes))?;
        let checked = room.check();
        self.figures.free_bytes.store(room.free_bytes, Ordering::Relaxed);
        self.figures.full.store(checked.is_err(), Ordering::Relaxed);
        checked
    }

    /// Hands the index to the system. Without room it is not tried: after a failure nothing is written any more.
    pub(super) fn flush_index(&self) -> Result<(), StoreError> {
        if !self.room.has(room::BATCH_BYTES) {
            return Err(StoreError::Directory(DirectoryError::NoRoom {
                operation: "flush",
                path: self.dir.index().display().to_string(),
                reason: "no blocks are left for what the index has in memory".to_owned(),
            }));
        }
        self.db.flush(FLUSH_WITHIN).map_err(|error| match error {
            // A slow flush goes on and says nothing about the index.
            IndexError::Slow(_) => StoreError::Io {
                operation: "flush",
                place: self.dir.index().display().to_string(),
                reason: error.to_string(),
            },
            _ => self.figures.poison(&error.to_string()),
        })
    }

    /// An index that cannot be read loses nothing; one that holds nonsense is made anew at the next start.
    pub(super) fn index_error(&self, error: &IndexError) -> StoreError {
        // Answers from rows that contradict themselves could send an event twice.
        if let IndexError::Corrupt(_) = error {
            return self.figures.poison(&error.to_string());
        }
        self.figures.errors.fetch_add(1, Ordering::Relaxed);
        StoreError::Io {
            operation: "read",
            place: self.dir.index().display().to_string(),
            reason: error.to_string(),
        }
    }

    /// Writes a mark of the account when something has changed. Waits for the disk.
    pub(super) fn mark(&self) -> Result<(), StoreError> {
        self.account.mark(|| self.snapshot())
    }

    /// Writes the closing mark of an orderly stop.
    pub(super) fn close_account(&self) -> Result<(), StoreError> {
        self.account.close(|| self.snapshot())
    }

    /// What a mark reflects; no commit is applied while the guard lives.
    fn snapshot(&self) -> (MutexGuard<'_, ()>, AccountSnapshot) {
        // The lock outlives the call: the account takes its own counts under it, as of the same commit.
        let applying = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = AccountSnapshot {
            living: self.segments.living(),
            lost: self.figures.lost_entries.load(Ordering::Relaxed),
            damaged_frames: self.figures.damaged_frames.load(Ordering::Relaxed),
            book: self.book.get(),
        };
        (applying, snapshot)
    }
}

/// A segment's file as doubts name it: relative to the data directory.
pub(super) fn segment_name(segment: u32) -> String {
    format!("journal/{}", journal::segment_name(segment, false))
}

/// Counters and states, cheap to read.
#[derive(Default)]
pub(super) struct StoreFigures {
    pub closed: AtomicBool,
    pub full: AtomicBool,
    /// See [`StoreHealth::owes_settlements`].
    pub owes_settlements: AtomicBool,
    pub disk_bytes: AtomicU64,
    pub free_bytes: AtomicU64,
    /// Since the directory was made; on record in the account.
    pub damaged_frames: AtomicU64,
    /// Since the directory was made; on record in the account.
    pub lost_entries: AtomicU64,
    pub dead_entries: AtomicU64,
    /// See [`StoreHealth::newest_at_start`], Unix ms.
    pub newest_at_start_ms: AtomicU64,
    pub errors: AtomicU64,
    pub operations: Operations,
    keys: Mutex<Arc<[KeyUse]>>,
    poisoned: Mutex<Option<String>>,
}

impl StoreFigures {
    /// Of a store whose operations under way are noted in `operations`.
    pub(super) fn new(operations: Operations) -> Self {
        Self { operations, ..Self::default() }
    }

    /// Notes the first failure and returns it to every caller.
    pub(super) fn poison(&self, reason: &str) -> StoreError {
        self.errors.fetch_add(1, Ordering::Relaxed);
        let mut poisoned = self.poisoned.lock().unwrap_or_else(PoisonError::into_inner);
        // The first reason stays: it is the cause, and every caller gets the same.
        let reason = poisoned.get_or_insert_with(|| reason.to_owned()).clone();
        StoreError::Poisoned { reason }
    }

    /// As [`StoreFigures::poison`], for what a part of the store returned.
    pub(super) fn fail(&self, error: &StoreError) -> StoreError {
        match error {
            StoreError::Poisoned { reason } => self.poison(reason),
            other => self.poison(&other.to_string()),
        }
    }

    /// Replaces what [`StoreHealth::keys`] shows.
    pub(super) fn set_keys(&self, keys: Vec<KeyUse>) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    /// Notes whether settlements wait to be written.
    pub(super) fn note_owed(&self, owes: bool) {
        self.owes_settlements.store(owes, Ordering::Release);
    }

    /// Whether writes go on: the store is neither closed nor poisoned.
    pub(super) fn writable(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) { Err(StoreError::Closed) } else { self.sound() }
    }

    /// As [`StoreFigures::writable`], also for what was handed in before the store was closed.
    pub(super) fn sound(&self) -> Result<(), StoreError> {
        match &*self.poisoned.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn health(&self, id: u64, doubts: &Doubts, now: Timestamp) -> StoreHealth {
        let (operation, operation_age) = self.operations.oldest(now).unzip();
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        let is_full = self.full.load(Ordering::Relaxed);
        StoreHealth {
            id,
            poisoned: self.poisoned.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            no_room: is_full.then(|| format!("the disk is nearly full: {free_bytes} bytes left")),
            owes_settlements: self.owes_settlements.load(Ordering::Acquire),
            operation: operation.map(Operation::word),
            operation_age: operation_age.unwrap_or_default(),
            slow: false,
            used_bytes: self.disk_bytes.load(Ordering::Relaxed),
            free_bytes,
            damaged: self.damaged_frames.load(Ordering::Relaxed),
            lost_entries: self.lost_entries.load(Ordering::Relaxed),
            newest_at_start: Timestamp::from_millis(self.newest_at_start_ms.load(Ordering::Relaxed)),
            dead_entries: self.dead_entries.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            held: doubts.store_held(),
            keys: Arc::clone(&self.keys.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}
