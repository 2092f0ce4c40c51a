//! Putting the store together: recovery, a new segment, the three threads; and taking the threads down.
//!
//! Must not know: what travels through the threads.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::cache::BlockCache;
use super::closing;
use super::damaged::DamagedBlocks;
use super::indexer::{IndexThread, Sweeper};
use super::losses::Losses;
use super::missing;
use super::owed::Owed;
use super::reads::Reads;
use super::rebuilding;
use super::recover::{self, Given};
use super::report::RecoveryReport;
use super::restored::Restored;
use super::scrub::Scrub;
use super::shared::{Figures, Shared};
use super::unread::Unread;
use super::writer::{Pending, Request, Writer};
use super::{Disks, EmbeddedOptions, salt};
use crate::clock::{Clock, Timestamp};
use crate::store::doubts::{DoubtKind, Doubts, NewDoubt};
use crate::store::embedded::UsageLog;
use crate::store::embedded::account::living;
use crate::store::embedded::account::{self, Account, Mark, SegmentRow, Snapshot};
use crate::store::embedded::clock_mark;
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::documents::Documents;
use crate::store::embedded::documents::book::Newest as NewestBook;
use crate::store::embedded::index::guarded;
use crate::store::embedded::index::open::Opened;
use crate::store::embedded::index::room::IndexRoom;
use crate::store::embedded::index::segments::Segments;
use crate::store::embedded::journal::{
    self, Arrange, DeadLog, Disk, FoundLetters, Group, Journal, JournalOptions, Marked, Position, Reader,
};
use crate::store::embedded::operations::Operations;
use crate::store::embedded::retry;
use crate::store::embedded::rollback::Epochs;
use crate::store::embedded::tidy::STRAYS;
use crate::store::{Owner, StoreError};

/// Commits that may wait for the indexer.
const COMMITS_AHEAD: usize = 4;

/// A store whose threads run, and what the start found.
pub(super) struct Started {
    pub shared: Arc<Shared>,
    pub threads: Threads,
    pub report: RecoveryReport,
    pub documents: Documents,
}

/// The channels into the threads, and their handles. Dropping it closes the channels and waits for the threads.
pub(super) struct Threads {
    requests: Option<Sender<Request>>,
    /// Asks the sweeper for a round; it stops when this is closed.
    sweeps: Option<Sender<oneshot::Sender<()>>>,
    /// Asks the scrub for a pass; it stops when this is closed.
    scrubs: Option<Sender<oneshot::Sender<()>>>,
    handles: Vec<JoinHandle<()>>,
    room: Arc<IndexRoom>,
}

impl Threads {
    pub(super) fn send(&self, request: Request) -> Result<(), ()> {
        self.requests.as_ref().ok_or(())?.send(request).map_err(|_| ())
    }

    /// Returns after a round of the sweeper that began after the call.
    #[cfg(test)]
    pub(super) fn sweep(&self) {
        let (done, swept) = oneshot::channel();
        self.sweeps.as_ref().expect("runs").send(done).expect("sweeps");
        swept.blocking_recv().expect("sweeps");
    }

    /// Returns after a pass of the scrub that began after the call.
    #[cfg(test)]
    pub(super) fn scrub(&self) {
        let (done, scrubbed) = oneshot::channel();
        self.scrubs.as_ref().expect("runs").send(done).expect("scrubs");
        scrubbed.blocking_recv().expect("scrubs");
    }

    pub(super) fn requests(&self) -> Option<Sender<Request>> {
        self.requests.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The sweeper and the scrub end when they are stopped, the writer when no request can come from callers, reads
        // or the scrub, the indexer when neither the writer nor the sweeper can send it anything.
        self.requests = None;
        self.sweeps = None;
        self.scrubs = None;
        self.room.set_waits(false);
        for handle in self.handles.drain(..) {
            // A panic of a thread was reported when it happened: `spawn` catches it and poisons the store.
            let _ = handle.join();
        }
    }
}

pub(super) fn start(
    root: &Path,
    options: EmbeddedOptions,
    clock: Clock,
    disks: Disks,
) -> Result<Started, StoreError> {
    let mut dir = retry::reading(|| retry::locking(|| DataDir::open(root)))?;
    let doubts = retry::reading(|| Doubts::open(root, clock.now()))?;
    note(dir.take_findings(), &doubts, &clock);
    // The salt before the account: the account's own copies are checked against it.
    let salt::Kept { salt, report } =
        retry::reading(|| salt::keep(root, options.salt, account::read(root)?.salt()))?;
    if let Some(report) = report {
        doubts.raise(report, clock.now());
    }
    let found = retry::reading(|| account::read_own(root, salt))?;
    doubts.expect(found.base().lost, clock.now());
    // Before any thread runs: a doubt about the policy book holds deletions.
    let (operations, book) = (Operations::default(), NewestBook::new(found.base().book));
    let open_documents =
        || Documents::open(root, doubts.clone(), operations.clone(), clock.clone(), book.clone());
    let documents = retry::reading(open_documents)?;
    let epochs = Epochs { root, file: options.epoch_file.as_deref(), salt, doubts: &doubts };
    let id = retry::reading(|| epochs.id())?;
    let epoch = retry::reading(|| epochs.start(clock.now()))?;
    doubts.found_against(found.version);
    let look = || Restored::look(root, &dir.journal(), found.mark.as_ref(), &doubts);
    let restored = retry::reading(look)?;
    let given =
        Given { dir: &dir, options: &options, salt, found: &found, rebuild: None, restored: &restored };
    // The clock begins after this, because it may not start before the newest entry of the journal.
    let mut recovered = recover::recover(&given)?;
    let newest = Timestamp::from_millis(recovered.newest_ms);
    let clock_mark =
        retry::reading(|| clock_mark::begin(root, &clock, newest, options.clock_bound, &doubts))?;
    let now = clock.now();
    restored.found_again(&mut recovered, &doubts);
    missing::raise(&doubts, &recovered, now);
    let has_account = found.exists || dir.has_run();
    if has_account {
        missing::account(&doubts, &found.defects, now);
        // A sound index says by itself what waits; only without it and without a mark nothing bounds the loss.
        let is_index_lost = recovered.files.is_empty() || recovered.report.rebuilt.is_some();
        if found.mark.is_none() && (is_index_lost || found.outdated.is_some()) {
            missing::unknown(&doubts, now);
        }
    }
    missing::list(&doubts, &recovered.defects, now);
    if recovered.files.is_empty() && recovered.report.rebuilt.is_none() && !has_account {
        // No segment, nor an index or an account that knows of one, nor was there ever a start: nothing was ever accepted. Before the first segment
        // is begun: a directory that has one and no record has lost the record.
        UsageLog::lay(&dir.limits())?;
    }
    let journal_options =
        JournalOptions { segment_bytes: options.segment_bytes, segment_age: options.segment_age, salt };
    // The index may have used what was made free before.
    dir.release_for_start()?;
    let mut journal =
        Journal::open_on(&dir.journal(), journal_options, recovered.seen_segment, now, disks.journal)?;
    let dead = open_dead(&given, journal_options, &doubts, now, disks.dead)?;
    // A loss is on record before the account no longer expects what is lost.
    doubts.save(root)?;
    // Into the new segment: the endings have to survive a crash before the account stops expecting the entries.
    missing::settle(&recovered.ended, &mut journal, &mut recovered.opened, now)?;
    let settled = recovered.files.iter().filter(|file| file.settled).map(|file| file.number).collect();
    let Opened { db, mut indexer, reader, dedup, room, .. } = recovered.opened;
    let end = journal.end();
    indexer.segments.begin(end.segment);
    guarded(|| indexer.rows.commit(end)).map_err(|error| StoreError::Io {
        operation: "write",
        place: dir.index().display().to_string(),
        reason: error.to_string(),
    })?;
    let report = recovered.report;
    let mut mark = next_mark(recovered.mark, &journal, &dead, &indexer.segments);
    mark.epoch = mark.epoch.max(epoch.map_or(0, |epoch| epoch.number));
    mark.book = mark.book.max(book.get());
    let figures = Figures::new(operations);
    figures.damaged_frames.store(mark.damaged_frames, Ordering::Relaxed);
    figures.lost_entries.store(mark.lost, Ordering::Relaxed);
    figures.dead_entries.store(dead.letters().count(), Ordering::Relaxed);
    // The directory lock admits one process at a time, and each raises the epoch that the one before has recorded. A
    // directory that may be an older copy keeps its epoch: nothing is handed out then.
    let owner = Owner { epoch: mark.epoch };
    let account = Account::begin(root, mark, found.version)?;
    // Only after the account is on disk: a directory with this epoch therefore has an account.
    epoch.into_iter().for_each(|epoch| epochs.take(epoch, now));
    // Not before the new mark is durable: an attempt that is cut off before it still needs the closing list.
    living::remove(root)?;
    rebuilding::end(root)?;
    // Last: a torn end that is cut before the account goes on would look like a loss to the next start.
    journal::cut(&dir.journal(), &report.journal)?;
    let shared = Arc::new(Shared {
        reader,
        db,
        room,
        lanes: Arc::clone(&indexer.lanes),
        segments: Arc::clone(&indexer.segments),
        blocks: Reader::over(&dir.journal(), salt, disks.reads, options.open_segments),
        cache: BlockCache::new(options.block_cache_bytes),
        damaged: DamagedBlocks::default(),
        unread: Unread::new(&doubts),
        losses: Losses::default(),
        letters: dead.letters(),
        clock,
        options,
        salt,
        id,
        owner,
        figures,
        doubts,
        account,
        book,
        applying: Mutex::new(()),
        dir,
    });
    let (work, works) = mpsc::sync_channel(COMMITS_AHEAD);
    let (requests, received) = mpsc::channel();
    let (sweeps, asked) = mpsc::channel();
    let active = Arc::new(AtomicU32::new(end.segment));
    let writer = Writer {
        shared: Arc::clone(&shared),
        journal,
        dead,
        dedup,
        indexer: work.clone(),
        newest_ms: recovered.newest_ms,
        group: Group::default(),
        pending: Pending::default(),
        owed: Owed::default(),
        upkeep_done: Timestamp::ZERO,
        full: end,
        on_record: end.segment,
    };
    let index =
        IndexThread { shared: Arc::clone(&shared), indexer, active: Arc::clone(&active), is_behind: false };
    // Until here a missing room is an error of the start; the threads wait for it instead.
    shared.room.set_waits(true);
    let (scrubs, scrub_asked) = mpsc::channel();
    let scrub = Scrub {
        reads: Reads { shared: Arc::clone(&shared), requests: requests.clone() },
        bytes_per_second: shared.options.scrub_bytes_per_second,
        active: Arc::clone(&active),
    };
    let sweeper =
        Sweeper { shared: Arc::clone(&shared), work: work.clone(), active, settled, mark: clock_mark };
    // At once, not after the first round: a disk that is full at the start has to refuse appends from the beginning.
    sweeper.measure_room();
    let handles = vec![
        spawn("store-writer", &shared, move || writer.run(&received))?,
        spawn("store-sweeper", &shared, move || sweeper.run(&asked))?,
        spawn("store-index", &shared, move || index.run(&works))?,
        spawn("store-scrub", &shared, move || scrub.run(&scrub_asked))?,
    ];
    shared.dir.refill_ballast();
    let room = Arc::clone(&shared.room);
    let threads =
        Threads { requests: Some(requests), sweeps: Some(sweeps), scrubs: Some(scrubs), handles, room };
    Ok(Started { shared, threads, report, documents })
}

/// Gives the directory another epoch at an orderly stop.
pub(super) fn end_epoch(shared: &Shared) {
    let (root, file) = (shared.dir.root(), shared.options.epoch_file.as_deref());
    let epochs = Epochs { root, file, salt: shared.salt, doubts: &shared.doubts };
    epochs.stop(shared.clock.now());
}

/// Strays that are gone are no longer reported; what was moved or healed stays so until an operator has seen it.
fn note(findings: Vec<NewDoubt>, doubts: &Doubts, clock: &Clock) {
    if !findings.iter().any(|doubt| doubt.subject == STRAYS) {
        doubts.clear(DoubtKind::Files, STRAYS);
    }
    for doubt in findings {
        doubts.raise(doubt, clock.now());
    }
}

/// The dead letters, with what is missing of them raised as a doubt.
fn open_dead(
    given: &Given<'_>,
    options: JournalOptions,
    doubts: &Doubts,
    now: Timestamp,
    disk: Box<dyn Disk>,
) -> Result<DeadLog, StoreError> {
    let (dir, found) = (given.dir.dead(), given.found);
    let mark = found.mark.as_ref();
    let is_known = |number: u32| {
        mark.map(|mark| mark.dead.keys().next_back().is_some_and(|highest| number <= highest + 1))
    };
    let arrange = Arrange {
        salt: given.salt,
        is_salt_proven: mark.is_some_and(|mark| mark.salt == given.salt),
        is_settled: &|_| true,
        is_known: &is_known,
        repair: true,
    };
    missing::files(doubts, "dead", &retry::reading(|| journal::arrange(&dir, &arrange))?, now);
    // After a closing mark every byte was acknowledged: what does not decode is damage.
    let marked = mark.filter(|mark| mark.closed).map(|_| Marked { end: Position::MAX, closed: true });
    let above = mark.and_then(|mark| mark.dead.keys().next_back().copied()).unwrap_or(0);
    let retention = given.options.dead_retention;
    let letters = retry::reading(|| FoundLetters::scan(&dir, options.salt, marked))?;
    let (dead, report) = DeadLog::open_on(&dir, options, retention, now, letters, above, disk)?;
    missing::letters(doubts, found, &report, &dead.by_segment(), now);
    Ok(dead)
}

/// The first mark of this run.
fn next_mark(mut mark: Mark, journal: &Journal, dead: &DeadLog, segments: &Segments) -> Mark {
    mark.end = journal.end();
    let begun = SegmentRow::begun(journal.preallocated_bytes());
    mark.segments.insert(mark.end.segment, SegmentRow { end: mark.end.offset, ..begun });
    count_living(&mut mark, &segments.living());
    mark.dead = dead.by_segment();
    mark
}

fn count_living(mark: &mut Mark, living: &[(u32, u64)]) {
    for (number, living) in living {
        if let Some(row) = mark.segments.get_mut(number) {
            row.living = *living;
        }
    }
}

fn spawn(
    name: &'static str,
    shared: &Arc<Shared>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let watched = Arc::clone(shared);
    let guarded = move || {
        // A thread that vanished silently would leave callers without answers and the store looking sound.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            watched.figures.poison("a thread of the store panicked");
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(guarded).map_err(|error| StoreError::Io {
        operation: "start thread",
        place: name.to_owned(),
        reason: error.to_string(),
    })
}

/// Rebuilds the index and leaves the store closed. What is found to be lost is on record as after a start.
pub(super) fn rebuild(
    root: &Path,
    options: &EmbeddedOptions,
    now: Timestamp,
) -> Result<RecoveryReport, StoreError> {
    let dir = retry::reading(|| DataDir::open(root))?;
    let doubts = retry::reading(|| Doubts::open(root, now))?;
    let salt = retry::reading(|| salt::keep(root, options.salt, account::read(root)?.salt()))?.salt;
    let found = retry::reading(|| account::read_own(root, salt))?;
    doubts.expect(found.base().lost, now);
    doubts.found_against(found.version);
    let look = || Restored::look(root, &dir.journal(), found.mark.as_ref(), &doubts);
    let restored = &retry::reading(look)?;
    let given = Given { dir: &dir, options, salt, found: &found, rebuild: Some("as asked"), restored };
    let mut recovered = recover::recover(&given)?;
    restored.found_again(&mut recovered, &doubts);
    missing::raise(&doubts, &recovered, now);
    if found.exists || dir.has_run() {
        missing::account(&doubts, &found.defects, now);
        if found.mark.is_none() {
            missing::unknown(&doubts, now);
        }
    }
    recovered.opened.db.flush(Duration::MAX).map_err(|error| StoreError::Io {
        operation: "flush",
        place: dir.index().display().to_string(),
        reason: error.to_string(),
    })?;
    doubts.save(root)?;
    let mut mark = recovered.mark;
    let living = recovered.opened.indexer.segments.living();
    count_living(&mut mark, &living);
    if let Some((number, walked)) = recovered.report.journal.walked.iter().next_back() {
        mark.end = Position { segment: *number, offset: walked.end };
    }
    let (lost, damaged_frames, book) = (mark.lost, mark.damaged_frames, mark.book);
    let account = Account::begin(root, mark, found.version)?;
    living::remove(root)?;
    rebuilding::end(root)?;
    closing::leave(&recovered.opened.reader, root, salt, account.end());
    account.close(|| ((), Snapshot { living, lost, damaged_frames, book }))?;
    journal::cut(&dir.journal(), &recovered.report.journal)?;
    Ok(recovered.report)
}
