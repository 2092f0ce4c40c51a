//! Putting the store together, step by step: the small files, recovery, new segments, the account, the threads.
//!
//! Must not know: how the threads are begun and ended, what travels through them.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::cache::BlockCache;
use super::clock_mark::{self, Keeper};
use super::closing;
use super::damaged::DamagedBlocks;
use super::ends::Ends;
use super::epoch::Epoch;
use super::losses::UnreportedLosses;
use super::missing;
use super::rebuilding;
use super::recover::{self, RecoverFrom, Recovered};
use super::report::RecoveryReport;
use super::restored::ReturnedSegments;
use super::shared::{Shared, StoreFigures};
use super::threads::{self, ThreadParts, Threads};
use super::unread::Unread;
use super::{Disks, EmbeddedOptions, salt};
use crate::clock::{Clock, Timestamp};
use crate::store::doubts::{DoubtKind, Doubts, NewDoubt};
use crate::store::embedded::UsageLog;
use crate::store::embedded::account::living;
use crate::store::embedded::account::{self, Account, AccountMark, AccountSnapshot, SegmentRow};
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::documents::Documents;
use crate::store::embedded::documents::book::Newest as NewestBook;
use crate::store::embedded::index::guarded;
use crate::store::embedded::index::open::Opened;
use crate::store::embedded::index::segments::Segments;
use crate::store::embedded::journal::{
    self, Arrange, BlockReader, DeadLog, Disk, FoundLetters, Journal, JournalOptions, LetterRetention,
    Marked, Position,
};
use crate::store::embedded::operations::Operations;
use crate::store::embedded::retry;
use crate::store::embedded::rollback::Epochs;
use crate::store::embedded::tidy::STRAYS;
use crate::store::{Owner, StoreError};

/// A store whose threads run, and what the start found.
pub(super) struct Started {
    pub shared: Arc<Shared>,
    pub threads: Threads,
    pub report: RecoveryReport,
    pub documents: Documents,
}

/// Opens or creates the store in `root`: each step is in the order that a crash in between needs.
pub(super) fn start(
    root: &Path,
    options: EmbeddedOptions,
    clock: Clock,
    disks: Disks,
) -> Result<Started, StoreError> {
    let begun = begin(root, &options, &clock)?;
    let (mut recovered, clock_mark, now) = recover_journal(&begun, &options, &clock)?;
    let (journal, dead) = open_logs(&begun, &options, &mut recovered, now, disks.journal, disks.dead)?;
    let Recovered { mut opened, report, files, newest_ms, mark, .. } = recovered;
    let settled = files.iter().filter(|file| file.settled).map(|file| file.number).collect();
    take_up(&mut opened, &journal, &begun)?;
    let mark = next_mark(mark, &journal, &dead, &opened.indexer.segments);
    let (figures, owner, account) = go_on(&begun, &options, mark, &dead, &report, now)?;
    figures.newest_at_start_ms.store(newest_ms, Ordering::Relaxed);
    let StartInputs { doubts, salt, book, documents, id, dir, ends, .. } = begun;
    let Opened { db, indexer, reader, dedup, room, .. } = opened;
    let shared = Arc::new(Shared {
        reader,
        db,
        room,
        lanes: Arc::clone(&indexer.lanes),
        segments: Arc::clone(&indexer.segments),
        blocks: BlockReader::over(
            &dir.journal(),
            salt,
            disks.reads,
            options.open_segments,
            options.keys.clone(),
        ),
        cache: BlockCache::new(options.block_cache_bytes),
        damaged: DamagedBlocks::default(),
        unread: Unread::new(&doubts),
        losses: UnreportedLosses::default(),
        letters: dead.letters(),
        ends: Arc::new(ends),
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
    let parts = ThreadParts { journal, dead, dedup, indexer, newest_ms, settled, clock_mark };
    let threads = threads::launch(&shared, parts)?;
    shared.dir.refill_ballast();
    Ok(Started { shared, threads, report, documents })
}

/// What a start has read before it recovers the journal. The directory's lock is given back after everything else.
struct StartInputs {
    doubts: Doubts,
    salt: u64,
    /// The account as it was found.
    found: account::StoredAccount,
    operations: Operations,
    /// The newest version of the policy book that is on record.
    book: NewestBook,
    documents: Documents,
    /// Names the directory to clients.
    id: u64,
    /// The epoch that this start takes; `None` when the directory may be an older copy.
    epoch: Option<Epoch>,
    restored: ReturnedSegments,
    ends: Ends,
    dir: DataDir,
}

impl StartInputs {
    /// What the recovery starts from: an index that is there is used.
    fn given<'a>(&'a self, options: &'a EmbeddedOptions) -> RecoverFrom<'a> {
        let Self { dir, salt, found, restored, ends, .. } = self;
        RecoverFrom { dir, options, salt: *salt, found, rebuild: None, restored, ends }
    }

    fn epochs<'a>(&'a self, options: &'a EmbeddedOptions) -> Epochs<'a> {
        let file = options.epoch_file.as_deref();
        Epochs { root: self.dir.root(), file, salt: self.salt, doubts: &self.doubts }
    }
}

/// Locks the directory and reads what stands beside journal and index.
fn begin(root: &Path, options: &EmbeddedOptions, clock: &Clock) -> Result<StartInputs, StoreError> {
    let mut dir = retry::reading(|| retry::locking(|| DataDir::open(root)))?;
    let doubts = retry::reading(|| Doubts::open(root, clock.now()))?;
    note(dir.take_findings(), &doubts, clock);
    // The salt before the account: the account's own copies are checked against it.
    let salt::DirectorySalt { salt, report } =
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
    let look = || ReturnedSegments::look(root, &dir.journal(), found.mark.as_ref(), &doubts);
    let restored = retry::reading(look)?;
    let ends = open_ends(&dir, options, salt, found.exists, clock.now())?;
    Ok(StartInputs { doubts, salt, found, operations, book, documents, id, epoch, restored, ends, dir })
}

/// The log of ends. Only in a directory that never held anything a new one has all ends there are.
fn open_ends(
    dir: &DataDir,
    options: &EmbeddedOptions,
    salt: u64,
    has_account: bool,
    now: Timestamp,
) -> Result<Ends, StoreError> {
    let journal = journal::list(&dir.journal())?;
    let is_new = !has_account && !dir.has_run() && journal.is_empty();
    let before = if is_new { Timestamp::ZERO } else { now };
    let ends = retry::reading(|| Ends::open(&dir.ends(), salt, options.ends_max_bytes, before))?;
    // A segment goes only when the mark is beyond it. If that of the mark is gone, so are the ends behind it.
    let is_gone = |at: Position| journal.iter().all(|file| file.number != at.segment);
    if ends.marked().is_some_and(is_gone) {
        ends.leave_gap(now.as_millis());
    }
    Ok(ends)
}

/// Recovers journal and index, begins the line of time, and raises what is missing. Returns the time as of then.
fn recover_journal(
    begun: &StartInputs,
    options: &EmbeddedOptions,
    clock: &Clock,
) -> Result<(Recovered, Keeper, Timestamp), StoreError> {
    let StartInputs { dir, doubts, found, restored, .. } = begun;
    // The clock begins after this, because it may not start before the newest entry of the journal.
    let mut recovered = recover::recover(&begun.given(options))?;
    let newest = Timestamp::from_millis(recovered.newest_ms);
    let clock_mark =
        retry::reading(|| clock_mark::begin(dir.root(), clock, newest, options.clock_bound, doubts))?;
    let now = clock.now();
    restored.found_again(&mut recovered, doubts);
    missing::raise(doubts, &recovered, now);
    let has_account = found.exists || dir.has_run();
    if has_account {
        missing::account(doubts, &found.defects, now);
        // A sound index says by itself what waits; only without it and without a mark nothing bounds the loss.
        let is_index_lost = recovered.files.is_empty() || recovered.report.rebuilt.is_some();
        if found.mark.is_none() && (is_index_lost || found.outdated.is_some()) {
            missing::unknown(doubts, now);
        }
    }
    missing::list(doubts, &recovered.defects, now);
    if recovered.files.is_empty() && recovered.report.rebuilt.is_none() && !has_account {
        // No segment, nor an index or an account that knows of one, nor was there ever a start: nothing was ever
        // accepted. Before the first segment is begun: a directory that has one and no record has lost the record.
        UsageLog::lay(&dir.limits())?;
    }
    Ok((recovered, clock_mark, now))
}

/// Begins the segments into which this run writes, and ends there what is gone.
fn open_logs(
    begun: &StartInputs,
    options: &EmbeddedOptions,
    recovered: &mut Recovered,
    now: Timestamp,
    journal_disk: Box<dyn Disk>,
    dead_disk: Box<dyn Disk>,
) -> Result<(Journal, DeadLog), StoreError> {
    let StartInputs { dir, doubts, salt, .. } = begun;
    let journal_options = JournalOptions {
        segment_bytes: options.segment_bytes,
        segment_age: options.segment_age,
        salt: *salt,
    };
    // The index may have used what was made free before.
    dir.release_for_start()?;
    let (seen, keys) = (recovered.seen_segment, options.keys.clone());
    let mut journal = Journal::open_on(&dir.journal(), journal_options, seen, now, journal_disk, keys)?;
    let dead = open_dead(&begun.given(options), journal_options, doubts, now, dead_disk)?;
    // A loss is on record before the account no longer expects what is lost.
    doubts.save(dir.root())?;
    // Into the new segment: the endings have to survive a crash before the account stops expecting the entries.
    missing::settle(&recovered.ended, &mut journal, &mut recovered.opened, now)?;
    Ok((journal, dead))
}

/// Has the index go on from where the journal begins to be written.
fn take_up(opened: &mut Opened, journal: &Journal, begun: &StartInputs) -> Result<(), StoreError> {
    let (indexer, end, dir) = (&mut opened.indexer, journal.end(), &begun.dir);
    let ended = indexer.take_ended();
    begun.ends.append(&ended, indexer.rows.checkpoint().newest_ms.max(begun.ends.last_ms()), end);
    indexer.segments.begin(end.segment);
    guarded(|| indexer.rows.commit(end)).map_err(|error| StoreError::Io {
        operation: "write",
        place: dir.index().display().to_string(),
        reason: error.to_string(),
    })
}

/// Has the account go on from what was found, and only then lets go what an earlier attempt would need.
fn go_on(
    begun: &StartInputs,
    options: &EmbeddedOptions,
    mut mark: AccountMark,
    dead: &DeadLog,
    report: &RecoveryReport,
    now: Timestamp,
) -> Result<(StoreFigures, Owner, Account), StoreError> {
    let root = begun.dir.root();
    mark.epoch = mark.epoch.max(begun.epoch.map_or(0, |epoch| epoch.number));
    mark.book = mark.book.max(begun.book.get());
    let figures = StoreFigures::new(begun.operations.clone());
    figures.damaged_frames.store(mark.damaged_frames, Ordering::Relaxed);
    figures.lost_entries.store(mark.lost, Ordering::Relaxed);
    figures.dead_entries.store(dead.letters().count(), Ordering::Relaxed);
    // The directory lock admits one process at a time, and each raises the epoch that the one before has recorded. A
    // directory that may be an older copy keeps its epoch: nothing is handed out then.
    let owner = Owner { epoch: mark.epoch };
    let account = Account::begin(root, mark, begun.found.version)?;
    // Only after the account is on disk: a directory with this epoch therefore has an account.
    let epochs = begun.epochs(options);
    begun.epoch.into_iter().for_each(|epoch| epochs.take(epoch, now));
    // Not before the new mark is durable: an attempt that is cut off before it still needs the closing list.
    living::remove(root)?;
    rebuilding::end(root)?;
    // Last: a torn end that is cut before the account goes on would look like a loss to the next start.
    journal::cut(&begun.dir.journal(), &report.journal)?;
    Ok((figures, owner, account))
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
    given: &RecoverFrom<'_>,
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
    let retention = LetterRetention {
        age: given.options.dead_retention,
        letters: given.options.dead_letters,
        bytes: given.options.dead_bytes,
    };
    let letters = retry::reading(|| FoundLetters::scan(&dir, options.salt, marked))?;
    let letters = letters.with_keys(given.options.keys.clone());
    let (dead, report) = DeadLog::open_on(&dir, options, retention, now, letters, above, disk)?;
    missing::letters(doubts, found, &report, &dead.by_segment(), now);
    Ok(dead)
}

/// The first mark of this run.
fn next_mark(mut mark: AccountMark, journal: &Journal, dead: &DeadLog, segments: &Segments) -> AccountMark {
    mark.end = journal.end();
    let begun = SegmentRow::begun(journal.preallocated_bytes());
    mark.segments.insert(mark.end.segment, SegmentRow { end: mark.end.offset, ..begun });
    count_living(&mut mark, &segments.living());
    mark.dead = dead.by_segment();
    mark
}

fn count_living(mark: &mut AccountMark, living: &[(u32, u64)]) {
    for (number, living) in living {
        if let Some(row) = mark.segments.get_mut(number) {
            row.living = *living;
        }
    }
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
    let look = || ReturnedSegments::look(root, &dir.journal(), found.mark.as_ref(), &doubts);
    let restored = &retry::reading(look)?;
    let ends = &open_ends(&dir, options, salt, found.exists, now)?;
    let rebuild = Some("as asked");
    let given = RecoverFrom { dir: &dir, options, salt, found: &found, rebuild, restored, ends };
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
    account.close(|| ((), AccountSnapshot { living, lost, damaged_frames, book }))?;
    journal::cut(&dir.journal(), &recovered.report.journal)?;
    Ok(recovered.report)
}
