//! The indexer thread: applies commits to the index and answers their callers, so that what they were answered
//! for is visible. And the sweeper thread: hands the index to the system and lets settled segments go.
//!
//! Must not know: how commits are formed, reads.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::closing;
use super::key_census::KeyCensus;
use super::shared::Shared;
use crate::event::LaneKey;
use crate::store::embedded::bits::Bits;
use crate::store::embedded::clock_mark::Keeper;
use crate::store::embedded::index::apply::{Indexer, NewRow};
use crate::store::embedded::index::room;
use crate::store::embedded::index::segments::SegmentFate;
use crate::store::embedded::index::{IndexError, guarded};
use crate::store::embedded::journal::{self, Journal, Position, SettledRun};
use crate::store::embedded::operations::Operation;
use crate::store::embedded::{files, spare};
use crate::store::{Appended, StoreError};
use crate::telemetry::defect;

type ReplyToSend =
    (oneshot::Sender<Result<Vec<Appended>, StoreError>>, Vec<Appended>, Option<OwnedSemaphorePermit>);

/// What a group that is durable changes in the index, and the callers that are answered afterwards.
pub(super) struct Commit {
    /// Position, lane number, lane, entries, due times.
    pub blocks: Vec<(Position, u32, LaneKey, usize, Vec<u64>)>,
    pub accepted_ms: u64,
    pub runs: Vec<SettledRun>,
    /// Where the journal ends after it.
    pub end: Position,
    pub replies: Vec<ReplyToSend>,
    pub settles: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

/// A piece of work, done in the order in which it was sent.
pub(super) enum Work {
    Commit(Commit),
    /// A segment whose file is gone.
    Forget(u32),
    /// The store is being closed: no work comes after it.
    Close {
        reply: Option<oneshot::Sender<Result<(), StoreError>>>,
        journal: Box<Journal>,
    },
}

/// What the indexer thread owns. It alone changes rows.
pub(super) struct IndexThread {
    pub shared: Arc<Shared>,
    pub indexer: Indexer,
    /// The segment of the last commit applied: nothing below it is written any more.
    pub active: Arc<AtomicU32>,
    /// The store is being closed while the disk is full: what the journal has is not applied any more. The next start
    /// does it.
    pub is_behind: bool,
}

impl IndexThread {
    /// Until the store is closed or every sender is gone.
    pub(super) fn run(mut self, work: &Receiver<Work>) {
        for work in work {
            let done = match work {
                Work::Commit(commit) => self.commit(commit),
                Work::Forget(_) if self.is_behind => Ok(()),
                Work::Forget(segment) => guarded(|| {
                    self.indexer.forget_segment(segment)?;
                    self.keep_place()
                }),
                Work::Close { reply, journal } => {
                    let closed = self.close(*journal);
                    if let Some(reply) = reply {
                        let _ = reply.send(closed);
                    }
                    return;
                }
            };
            if let Err(error) = done {
                // Callers see that their reply was dropped. What they handed in is in the journal: the next start finds
                // it there.
                self.shared.figures.poison(&error.to_string());
                tracing::error!(%error, "the index failed; it is rebuilt at the next start");
                return;
            }
        }
    }

    /// An orderly stop: the index is handed to the system, the closing list says what lives, and the closing mark where
    /// the journal ends.
    fn close(&self, journal: Journal) -> Result<(), StoreError> {
        let shared = &self.shared;
        let has_room = match shared.flush_index() {
            Err(error) if error.is_refusal() => false,
            flushed => flushed.map(|()| true)?,
        };
        if shared.figures.sound().is_err() || self.is_behind || !has_room {
            // The next start has to find out how far the journal goes.
            return Ok(());
        }
        if let Err(error) = shared.ends.sync() {
            tracing::warn!(%error, "the ends are not synced; the next start makes up for it");
        }
        // Before the closing mark, which says that the list is complete.
        closing::leave(&shared.reader, shared.dir.root(), shared.salt, shared.account.end());
        let closed =
            shared.close_account().inspect_err(|error| tracing::warn!(%error, "there is no closing mark"));
        match closed {
            Ok(()) => journal.close(),
            // As above: nothing is wrong with the store.
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn keep_place(&mut self) -> Result<(), IndexError> {
        let place = self.indexer.rows.checkpoint().reflects;
        self.indexer.rows.commit(place)
    }

    /// Applies a commit once there is room for it, and answers its callers.
    fn commit(&mut self, commit: Commit) -> Result<(), IndexError> {
        // Before anything is locked: it may take long.
        self.is_behind = self.is_behind || !self.shared.room.wait_for(room::COMMIT_BYTES);
        if !self.is_behind {
            self.apply(&commit)?;
        }
        // A caller that has gone away does not want to know.
        for (reply, answers, room) in commit.replies {
            let _ = reply.send(Ok(answers));
            drop(room);
        }
        for reply in commit.settles {
            let _ = reply.send(Ok(()));
        }
        Ok(())
    }

    fn apply(&mut self, commit: &Commit) -> Result<(), IndexError> {
        let shared = Arc::clone(&self.shared);
        let _under_way = shared.figures.operations.begin(Operation::Index, shared.clock.now());
        let reflects = self.indexer.rows.checkpoint().reflects;
        defect!(unless reflects <= commit.end, "a commit that lies before what the index has already");
        debug_assert!(commit.blocks.iter().all(|(at, ..)| *at < commit.end), "a block behind its commit");
        let applying = shared.applying.lock();
        guarded(|| {
            for (at, lane_no, lane, entries, due_ms) in &commit.blocks {
                let count = u16::try_from(*entries).map_err(|_| IndexError::Corrupt("block too long"))?;
                let accepted_ms = commit.accepted_ms;
                let living = Bits::first(count);
                let block = NewRow { at: *at, lane_no: *lane_no, lane, accepted_ms, count, due_ms, living };
                self.indexer.block(&block)?;
            }
            for run in &commit.runs {
                self.indexer.settle(commit.end.segment, run)?;
            }
            // Under the lock: the count of losses and the rows that show them change together for those who hold it.
            let lost = self.indexer.take_lost();
            if !lost.is_empty() {
                shared.losses.report(&lost, &shared);
            }
            // Before the rows: an index that has an end the log has not would have to be made up for by the journal.
            shared.ends.append(&self.indexer.take_ended(), commit.accepted_ms, commit.end);
            self.indexer.segments.begin(commit.end.segment);
            self.indexer.rows.commit(commit.end)
        })?;
        let accepted = commit.blocks.iter().map(|(.., entries, _)| *entries as u64).sum();
        shared.account.applied(commit.end, accepted);
        drop(applying);
        // After the rows: the sweeper deletes below this segment what the counts call settled.
        self.active.store(commit.end.segment, Ordering::Release);
        Ok(())
    }
}

/// What the sweeper thread owns: it flushes the index, writes marks and deletes segments.
pub(super) struct Sweeper {
    pub shared: Arc<Shared>,
    pub work: SyncSender<Work>,
    pub active: Arc<AtomicU32>,
    pub settled: HashSet<u32>,
    pub mark: Keeper,
    pub keys: KeyCensus,
}

/// Ends are synced once in this many rounds: with the default of 100 ms that is every second.
const ROUNDS_PER_ENDS_SYNC: u32 = 10;
/// Disk use is measured once in this many rounds: with the default of 100 ms that is every 2 s.
const ROUNDS_PER_MEASURE: u32 = 20;

impl Sweeper {
    /// Runs until `asked` is closed. A request for a round is answered when that round has ended.
    pub(super) fn run(mut self, asked: &Receiver<oneshot::Sender<()>>) {
        let (mut round, mut is_failing) = (0_u32, false);
        loop {
            let done = match asked.recv_timeout(self.shared.options.sweep_every) {
                Ok(done) => Some(done),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    self.save_doubts();
                    let kept = self.mark.keep(&self.shared.clock);
                    self.note("mark of the clock", kept);
                    return;
                }
            };
            self.recount_unread();
            self.save_doubts();
            let kept = self.mark.keep_when_due(&self.shared.clock);
            self.note("mark of the clock", kept);
            if round.is_multiple_of(ROUNDS_PER_MEASURE) {
                self.measure();
                let counted = self.keys.take(&self.shared);
                self.note("count of keys", counted);
            }
            if round.is_multiple_of(ROUNDS_PER_ENDS_SYNC) {
                self.sync_ends();
            }
            round = round.wrapping_add(1);
            spare::refill();
            let swept = self.sweep();
            let has_failed = std::mem::replace(&mut is_failing, swept.is_err());
            if let Err(error) = swept {
                self.shared.figures.errors.fetch_add(1, Ordering::Relaxed);
                // One line for each run of failures: by default a round comes every 100 ms.
                if !has_failed {
                    tracing::warn!(%error, "sweeping settled segments failed; it is tried again");
                }
            }
            if let Some(done) = done {
                let _ = done.send(());
            }
        }
    }

    /// Events that cannot be read expire or are cancelled meanwhile.
    fn recount_unread(&self) {
        let Shared { reader, unread, doubts, .. } = &*self.shared;
        let owed = |at, lane| match reader.block(lane, at) {
            Ok(row) => Some(row.map_or(0, |row| row.live().into())),
            Err(_) => None,
        };
        unread.recount(owed, doubts);
    }

    /// A full or failing disk keeps them in memory until the next round.
    fn save_doubts(&self) {
        self.note("list of doubts", self.shared.doubts.save(self.shared.dir.root()));
    }

    fn note(&self, what: &str, written: Result<(), StoreError>) {
        if let Err(error) = written {
            self.shared.figures.errors.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%error, "the {what} could not be made; it is tried again");
        }
    }

    fn sync_ends(&self) {
        if self.shared.ends.is_dirty() {
            self.note("log of ends", self.shared.ends.sync());
        }
    }

    fn measure(&self) {
        let figures = &self.shared.figures;
        if let Ok(bytes) = self.shared.dir.disk_bytes() {
            figures.disk_bytes.store(bytes, Ordering::Relaxed);
        }
        self.measure_room();
        self.shared.dir.fill_ballast(self.shared.options.appends_need_bytes());
    }

    /// Whether appends have room. Before the first round, too: a disk that is full at the start is to be seen at once.
    pub(super) fn measure_room(&self) {
        // The figures say it; a look that fails leaves them as they are.
        let _ = self.shared.measure_room(0);
    }

    /// A flush of the index does not survive a power cut. Before files go, what says that they are settled has
    /// to: else they would be taken for lost.
    fn sync_index(&self) -> Result<(), StoreError> {
        let path = self.shared.dir.index();
        let failed = |error| StoreError::io("sync", &path, error);
        for entry in files::list(&path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match files::read(&path) {
                Ok(Some(file)) => file.sync_data().map_err(failed)?,
                // One that has just been replaced needs no sync, nor does what is no file.
                Ok(None) => {}
                Err(error) if files::is_foreign(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<(), StoreError> {
        // Asked before the flush: what it counts as settled is then handed to the system with it.
        let applying = self.shared.applying.lock();
        let fates = self.shared.segments.fates(self.active.load(Ordering::Acquire));
        drop(applying);
        self.shared.flush_index()?;
        // What is deleted below has to be on record as settled first: otherwise the next start takes it for a loss.
        self.shared.mark()?;
        if self.shared.doubts.store_held().is_some() {
            // Nothing is deleted on doubt.
            return Ok(());
        }
        let dir = self.shared.dir.journal();
        let has_work = |(segment, fate): &(u32, SegmentFate)| {
            *fate == SegmentFate::Gone || !self.settled.contains(segment)
        };
        if fates.iter().any(has_work) {
            self.sync_index()?;
            // What says how their entries ended has to stay as well. That it cannot be synced keeps no file.
            self.sync_ends();
        }
        for (segment, fate) in fates {
            // An open descriptor would keep the space of a deleted file.
            self.shared.blocks.forget(segment);
            match fate {
                SegmentFate::Settled if self.settled.insert(segment) => journal::mark_settled(&dir, segment)?,
                SegmentFate::Settled => {}
                SegmentFate::Gone => {
                    journal::remove(&dir, segment)?;
                    // The system may have refused to read it; nothing in it is owed any more.
                    self.shared.unread.forget(segment, &self.shared.doubts);
                    // A number is never used again; this only keeps the set small.
                    self.settled.remove(&segment);
                    if self.work.send(Work::Forget(segment)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
