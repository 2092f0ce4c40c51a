//! The embedded store: journal and index in one directory, behind three threads.
//!
//! ```text
//! append, settle -> writer (one write, one sync) -> indexer (rows, answers) ; sweeper (flush, dead segments)
//! reads -> index -> journal blocks
//! ```
//!
//! Acknowledged means synced in the journal; visible means applied to the index; callers hear after both.
//! Callers wait for room in front of the writer, bounded by entries and bytes.
//!
//! Must not know: what a record means, policies, HTTP.

mod access;
pub(crate) mod account;
mod aside;
mod attempts;
pub(crate) mod backup;
mod ballast;
mod bits;
mod cache;
pub(crate) mod clock_mark;
mod closing;
mod commit;
mod consumption;
mod damaged;
mod dead_letters;
mod decisions;
pub(crate) mod directory;
mod disks;
pub(crate) mod documents;
mod doubts_file;
mod endings;
mod ends;
mod epoch;
mod error;
mod fetch;
mod files;
mod finds;
mod format;
mod give_up;
mod ids;
mod index;
mod indexer;
pub(crate) mod journal;
mod key_census;
mod keys;
mod letters;
mod losses;
mod lost;
mod missing;
mod names;
mod operations;
mod options;
mod owed;
mod parts;
mod reads;
mod rebuilding;
mod reclaim;
mod recover;
mod report;
pub(crate) mod restore;
mod restored;
mod retry;
pub(crate) mod rollback;
mod salt;
mod scan;
mod scrub;
mod sealed;
mod shared;
mod spare;
mod start;
#[cfg(test)]
mod tests;
mod threads;
mod tidy;
mod under_way;
mod unfinished;
mod unread;
pub(crate) mod verify;
mod writer;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};

use self::attempts::Attempts;
pub(crate) use self::consumption::UsageLog;
use self::decisions::decisions;
pub(crate) use self::disks::Disks;
use self::documents::Documents;
pub use self::error::DirectoryError;
use self::finds::Find;
use self::give_up::GivingUp;

pub use self::keys::{KeyRing, Keys};
use self::letters::NewLetters;
pub use self::options::EmbeddedOptions;
use self::parts::{PART_BYTES, PART_ENTRIES, parts};
use self::reads::Reads;
pub(crate) use self::report::RecoveryReport;
use self::shared::Shared;
use self::threads::Threads;
use self::under_way::UnderWay;
use self::writer::Request;
use super::doubts::Doubts;
use super::{
    AppendTurn, Appended, AttemptStore, DeadLetters, Dedup, DuePage, EndLog, EntryStore, FlightMarks, GiveUp,
    LaneSummary, LastRedrive, Lookup, Loss, MAX_RECORD_BYTES, NewEntry, Owner, ReadLimit, Scan, ScanPage,
    SettleRequest, StoreError, StoreHealth, StoredEntry,
};
use crate::clock::{Clock, Timestamp};
use crate::event::{EventId, LaneKey};

/// Settlements go to the writer in parts of at most this many.
const SETTLED_PART: usize = 4096;
/// One permit of room stands for this many bytes of records.
const ROOM_UNIT_BYTES: usize = 1024;

/// The store. Dropping it without closing it loses nothing that was answered; it waits for its threads.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    threads: Threads,
    room: Arc<Semaphore>,
    /// The right to walk over the dead letters: one reader at a time.
    walk: Arc<Semaphore>,
    documents: Documents,
    usages: UsageLog,
    attempts: Arc<Attempts>,
    flights: Arc<UnderWay>,
    report: RecoveryReport,
}

impl EmbeddedStore {
    /// Opens or creates the store in `root`, recovering whatever is there. Waits for the disk: not for a
    /// runtime thread.
    ///
    /// # Errors
    /// [`DirectoryError::Locked`], [`StoreError::Format`], or [`StoreError::Io`] when the system refuses.
    pub fn open(root: &Path, options: EmbeddedOptions, clock: Clock) -> Result<Self, StoreError> {
        Self::open_on(root, options, clock, Disks::default())
    }

    /// As [`EmbeddedStore::open`], with writes, syncs and reads of the segments by `disks`.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn open_on(
        root: &Path,
        options: EmbeddedOptions,
        clock: Clock,
        disks: Disks,
    ) -> Result<Self, StoreError> {
        let units = options.waiting_bytes.max(2 * PART_BYTES) / ROOM_UNIT_BYTES;
        let units = units.min(options.waiting_entries.max(2 * PART_ENTRIES) * 2).min(Semaphore::MAX_PERMITS);
        spare::keep(options.spare_descriptors);
        let attempts = Attempts::new(root, options.attempts_max_bytes, options.appends_need_bytes())
            .beside(&options.keys);
        let boot = clock.mark().map(|mark| mark.boot_id);
        let started = start::start(root, options, clock, disks)?;
        let usages = UsageLog::watched(
            &started.shared.dir.limits(),
            started.shared.owner,
            started.shared.clock.clone(),
            started.shared.figures.operations.clone(),
        );
        Ok(Self {
            shared: started.shared,
            threads: started.threads,
            room: Arc::new(Semaphore::new(units)),
            walk: Arc::new(Semaphore::new(1)),
            documents: started.documents,
            usages,
            attempts: Arc::new(attempts),
            flights: Arc::new(UnderWay::open(root, boot.as_deref())),
            report: started.report,
        })
    }

    /// Rebuilds the index of the directory from its journal. Nobody may be using it.
    ///
    /// # Errors
    /// As [`EmbeddedStore::open`].
    pub fn rebuild(
        root: &Path,
        options: &EmbeddedOptions,
        now: Timestamp,
    ) -> Result<RecoveryReport, StoreError> {
        spare::keep(options.spare_descriptors);
        start::rebuild(root, options, now)
    }

    /// What the opening of this store found and mended.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.report
    }

    /// The documents in the same directory.
    #[must_use]
    pub fn documents(&self) -> Documents {
        self.documents.clone()
    }

    /// The record of what limits have consumed, in the same directory; it is read when it is opened.
    #[must_use]
    pub fn usages(&self) -> UsageLog {
        self.usages.clone()
    }

    async fn append_all(
        &self,
        batch: Vec<NewEntry>,
        turn: Arc<AppendTurn>,
    ) -> Result<Vec<Appended>, StoreError> {
        self.shared.figures.writable()?;
        if let Some(reason) = self.shared.doubts.store_held() {
            return Err(StoreError::Held { reason });
        }
        if let Some(entry) = batch.iter().find(|entry| entry.record.len() > MAX_RECORD_BYTES) {
            return Err(StoreError::TooLarge { bytes: entry.record.len() });
        }
        let entries = batch.len();
        let mut waiting = Vec::new();
        for (part, bytes) in parts(batch) {
            // Two entries take a unit at least, so that many small ones are bounded as well.
            let units = (bytes / ROOM_UNIT_BYTES).max(part.len().div_ceil(2)).max(1);
            // A part is far smaller than all the room.
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            let room = Arc::clone(&self.room).acquire_many_owned(units).await.ok();
            // The wait for room may have outlasted the caller's deadline.
            if turn.is_withdrawn() {
                return Err(StoreError::Slow);
            }
            let (reply, answer) = oneshot::channel();
            self.send(Request::Append { entries: part, turn: Arc::clone(&turn), reply, room })?;
            waiting.push(answer);
        }
        let mut answers = Vec::with_capacity(entries);
        for answer in waiting {
            let gone = |_| if turn.is_withdrawn() { StoreError::Slow } else { self.gone() };
            answers.extend(answer.await.map_err(gone)??);
        }
        Ok(answers)
    }

    /// Hands a batch to the writer in parts, which keep its order, so that no commit outgrows a group.
    async fn settle_all(&self, owner: Owner, mut batch: Vec<SettleRequest>) -> Result<(), StoreError> {
        self.shared.figures.writable()?;
        self.shared.owner.check(owner)?;
        let mut waiting = Vec::new();
        while !batch.is_empty() {
            // Taken in order: of two settlements of one entry the first counts.
            let later = batch.split_off(batch.len().min(SETTLED_PART));
            let (mut decisions, dead) = decisions(&self.shared, std::mem::replace(&mut batch, later));
            if decisions.is_empty() {
                continue;
            }
            let heavy = !dead.is_empty();
            let mut letters = Vec::new();
            if heavy {
                let found = self.read(move |reads| NewLetters::read(reads, dead)).await?;
                found.amend(&mut decisions);
                letters = found.letters;
            }
            let (reply, answer) = oneshot::channel();
            self.send(Request::Settle { decisions, letters, reply })?;
            if heavy {
                // Letters carry their records: those of one part at a time are in memory.
                answer.await.map_err(|_| self.gone())??;
            } else {
                waiting.push(answer);
            }
        }
        for answer in waiting {
            answer.await.map_err(|_| self.gone())??;
        }
        Ok(())
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reads) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        Reads::apart(&self.shared, &self.threads, read).await
    }

    fn send(&self, request: Request) -> Result<(), StoreError> {
        self.threads.send(request).map_err(|()| self.gone())
    }

    /// Why a thread no longer answers.
    fn gone(&self) -> StoreError {
        self.shared.figures.writable().err().unwrap_or(StoreError::Closed)
    }
}

impl EntryStore for EmbeddedStore {
    fn append(&self, batch: Vec<NewEntry>) -> BoxFuture<'_, Result<Vec<Appended>, StoreError>> {
        Box::pin(self.append_all(batch, Arc::default()))
    }

    fn append_in_turn(
        &self,
        batch: Vec<NewEntry>,
        turn: Arc<AppendTurn>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, StoreError>> {
        Box::pin(self.append_all(batch, turn))
    }

    fn read_ready<'a>(
        &'a self,
        lane: &'a LaneKey,
        after: Option<EventId>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredEntry>, StoreError>> {
        let lane = lane.clone();
        Box::pin(self.read(move |reads| reads.ready(&lane, after, limit)))
    }

    fn read_due<'a>(
        &'a self,
        lane: &'a LaneKey,
        until: Timestamp,
        skip: &'a HashSet<EventId>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<DuePage, StoreError>> {
        // The walk runs on another thread; ids are sixteen bytes each and bounded by what is in flight.
        let (lane, skip) = (lane.clone(), skip.clone());
        Box::pin(self.read(move |reads| reads.due(&lane, until, &skip, limit)))
    }

    fn owner(&self) -> Owner {
        self.shared.owner
    }

    fn settle(&self, owner: Owner, batch: Vec<SettleRequest>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.settle_all(owner, batch))
    }

    fn give_up(
        &self,
        owner: Owner,
        what: GiveUp,
        handed_out: HashSet<EventId>,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.read(move |reads| GivingUp::new(reads, &handed_out).settle(owner, &what)))
    }

    fn take_losses(&self) -> Vec<Loss> {
        self.shared.losses.take()
    }

    fn find_keys(&self, keys: Vec<Dedup>) -> BoxFuture<'_, Result<Vec<Option<Appended>>, StoreError>> {
        Box::pin(async move {
            if self.shared.figures.closed.load(Ordering::Acquire) {
                return Err(StoreError::Closed);
            }
            let (reply, answer) = oneshot::channel();
            self.send(Request::Find(Find::Keys { keys, reply }))?;
            answer.await.map_err(|_| self.gone())?
        })
    }

    fn last_redrives(
        &self,
        names: Vec<EventId>,
    ) -> BoxFuture<'_, Result<Vec<Option<LastRedrive>>, StoreError>> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            self.send(Request::Find(Find::Redrives { names, reply }))?;
            answer.await.map_err(|_| self.gone())?
        })
    }

    fn lookup(&self, id: EventId) -> BoxFuture<'_, Result<Lookup, StoreError>> {
        Box::pin(self.read(move |reads| reads.lookup(id)))
    }

    fn scan(&self, scan: Scan) -> BoxFuture<'_, Result<ScanPage, StoreError>> {
        Box::pin(self.read(move |reads| reads.scan(&scan)))
    }

    fn count_before<'a>(&'a self, lane: &'a LaneKey, id: EventId) -> BoxFuture<'a, Result<u64, StoreError>> {
        let lane = lane.clone();
        Box::pin(self.read(move |reads| reads.count_before(&lane, id)))
    }

    fn lanes(&self) -> BoxFuture<'_, Result<Vec<LaneSummary>, StoreError>> {
        Box::pin(self.read(Reads::lanes))
    }

    fn health(&self) -> StoreHealth {
        let Shared { figures, id, doubts, clock, .. } = &*self.shared;
        figures.health(*id, doubts, clock.now())
    }

    fn doubts(&self) -> Doubts {
        self.shared.doubts.clone()
    }

    fn attempts(&self) -> Arc<dyn AttemptStore> {
        self.attempts.clone()
    }

    fn flights(&self) -> Option<Arc<dyn FlightMarks>> {
        Some(self.flights.clone())
    }

    fn letters(self: Arc<Self>) -> Arc<dyn DeadLetters> {
        self
    }

    fn ends(self: Arc<Self>) -> Arc<dyn EndLog> {
        self
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.shared.figures.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
            self.flights.stopped();
            // What finds no room now is applied by the next start.
            self.shared.room.set_waits(false);
            let (reply, answer) = oneshot::channel();
            if self.threads.send(Request::Close { reply }).is_err() {
                return self.shared.figures.sound();
            }
            let closed = answer.await.unwrap_or_else(|_| self.shared.figures.sound());
            // Last: it may wait for its disk, and what counts is durable by now.
            self.attempts.close().await;
            let shared = Arc::clone(&self.shared);
            // A runtime that shuts down leaves the epoch as it is.
            let ended = move || {
                // Room that the segments gave back is kept for the next start before other programs take it.
                shared.dir.keep_for_start();
                start::end_epoch(&shared);
            };
            let _ = tokio::task::spawn_blocking(ended).await;
            closed
        })
    }
}
