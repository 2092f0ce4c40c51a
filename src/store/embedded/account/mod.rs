//! The account of what should be there: apart from journal and index, so that what either of them has lost is known.
//!
//! # Files
//! `account.a` and `account.b` in the data directory, two sealed files ([`crate::store::embedded::sealed`]) of the same
//! form, filled up with spaces to a multiple of 16 KiB. A *mark* is written over the older of the two and synced, in
//! place, so that a mark costs no change of the file system's own records. The whole copy with the highest version
//! counts. Both are written when the store is opened, when a segment is begun (before its first group is acknowledged),
//! and as the closing mark of an orderly stop. Format 1; the body is JSON:
//!
//! | member | content |
//! |---|---|
//! | `salt` | that of the directory |
//! | `closed` | the closing mark: nothing was written after it |
//! | `end` | segment and offset at which the journal ended |
//! | `accepted`, `lost`, `damaged_frames` | totals since the directory was made |
//! | `may_reach` | `accepted` never exceeds this without a newer mark: the bound of what a crash can hide |
//! | `segments` | for each segment of the journal: number, entries accepted, of these owed an end, end offset, bytes preallocated (0: unknown), damaged places known |
//! | `dead` | for each segment of `dead/`: number, letters |
//! | `gone` | ranges of the journal whose entries were lost: segment, from offset, to offset |
//! | `epoch` | the epoch that the start took which wrote it; older marks have none |
//! | `book` | the newest version of the policy book that is on record; older marks have none |
//!
//! # Order
//! A mark reflects the commits that the index has applied. A segment is deleted, or renamed to settled, only after a
//! mark that says that nothing in it is owed an end. After a power cut more may be found than was marked; only what
//! is missing against the mark is lost.
//!
//! A copy of another directory, or whose epoch is below the one that the last start took, counts as missing; of an
//! older one the totals are kept, which only grow.
//!
//! Must not know: rows of the index, frames, who is told of a loss.

pub(in crate::store::embedded) mod compare;
mod file;
pub(in crate::store::embedded) mod living;
mod mark;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use self::file::{AccountDefect, StoredAccount, read, read_own};
use self::file::{Copies, Pair};
pub(crate) use self::mark::{AccountMark, Gone, SegmentRow};
use super::journal::Position;
use crate::store::StoreError;
use crate::telemetry::defect;

/// How far acceptance may run ahead of the last mark, in entries: twice what was accepted between the last two marks,
/// within these bounds. What is accepted faster extends it, each time by twice as much.
pub(in crate::store::embedded) const LEAST_REACH: u64 = 4 * 1024;
pub(in crate::store::embedded) const MOST_REACH: u64 = 256 * 1024;
/// No group holds more entries: twice what the writer gathers for a commit.
const GROUP_ENTRIES: u64 = 32 * 1024;
/// How far beyond the reach of a mark the next one may reach.
pub(in crate::store::embedded) const NEXT_REACH: u64 = MOST_REACH + GROUP_ENTRIES;

/// What a mark takes from the rest of the store, all as of one commit.
#[derive(Debug, Clone, Default)]
pub(in crate::store::embedded) struct AccountSnapshot {
    /// Living entries of every segment of the journal.
    pub living: Vec<(u32, u64)>,
    /// Entries lost since the directory was made.
    pub lost: u64,
    /// Damaged places found since the directory was made.
    pub damaged_frames: u64,
    /// The newest version of the policy book.
    pub book: u64,
}

/// The account of an open store. Cheap to clone; clones share it.
#[derive(Clone)]
pub(crate) struct Account(Arc<Inner>);

struct Inner {
    /// Locked before any lock that a snapshot takes, so that marks are written in the order of their content.
    pair: Mutex<Pair>,
    counts: Mutex<Counts>,
    /// Entries handed to the journal, and how far they may go.
    written: AtomicU64,
    reach: AtomicU64,
    /// What the last mark reaches beyond the entries written before it. Changed with the pair locked.
    ahead: AtomicU64,
}

/// What the commits add up to.
struct Counts {
    accepted: u64,
    end: Position,
    segments: BTreeMap<u32, SegmentRow>,
    dead: BTreeMap<u32, u64>,
}

impl Account {
    /// Begins to keep the account in `root` from `mark` on, and writes both copies. `version` is the highest one met.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the system refuses.
    pub(in crate::store::embedded) fn begin(
        root: &Path,
        mut mark: AccountMark,
        version: u64,
    ) -> Result<Self, StoreError> {
        // What is written from now on is not covered by the closing mark before.
        mark.closed = false;
        mark.may_reach = mark.accepted.saturating_add(LEAST_REACH);
        let counts = Counts {
            accepted: mark.accepted,
            end: mark.end,
            segments: mark.segments.clone(),
            dead: mark.dead.clone(),
        };
        let (written, reach) = (AtomicU64::new(mark.accepted), AtomicU64::new(mark.may_reach));
        let mut pair = Pair::new(root, mark, version);
        pair.write(Copies::Both)?;
        let (pair, counts) = (Mutex::new(pair), Mutex::new(counts));
        Ok(Self(Arc::new(Inner { pair, counts, written, reach, ahead: AtomicU64::new(LEAST_REACH) })))
    }

    /// Notes a commit that the index has applied: where the journal ends after it, and the entries of its blocks.
    pub(in crate::store::embedded) fn applied(&self, end: Position, accepted: u64) {
        let mut counts = self.counts();
        defect!(unless counts.end <= end, "a commit that lies before one that was counted");
        counts.accepted = counts.accepted.saturating_add(accepted);
        counts.end = end;
        let row = counts.segments.entry(end.segment).or_default();
        row.accepted = row.accepted.saturating_add(accepted);
        row.end = end.offset;
    }

    /// Notes a damaged place that was counted: the next scan meets it again.
    pub(in crate::store::embedded) fn damaged(&self, segment: u32) {
        let mut counts = self.counts();
        let row = counts.segments.entry(segment).or_default();
        row.damaged = row.damaged.saturating_add(1);
    }

    /// Notes how many letters each segment of `dead/` holds; the next mark has them.
    pub(in crate::store::embedded) fn letters(&self, letters: BTreeMap<u32, u64>) {
        self.counts().dead = letters;
    }

    /// Lets `entries` more go into the journal; beyond the reach of the last mark it is extended first.
    pub(in crate::store::embedded) fn admit(&self, entries: u64) -> Result<(), StoreError> {
        // Counted first: a mark that is written at the same time sees these entries and reaches beyond them.
        let written = self.0.written.fetch_add(entries, Ordering::SeqCst).saturating_add(entries);
        if written <= self.0.reach.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut pair = self.pair();
        let ahead = self.0.ahead.load(Ordering::Relaxed).saturating_mul(2).min(MOST_REACH);
        // Only the reach: the rest of the mark stays as of its commit.
        let mark = AccountMark { may_reach: written.saturating_add(ahead), ..pair.mark.clone() };
        self.put(&mut pair, mark, Copies::Older, ahead)
    }

    /// Notes a segment that was begun, and where the one before it ends for good, in both copies. To be called before
    /// its first group is acknowledged.
    pub(in crate::store::embedded) fn begin_segment(
        &self,
        number: u32,
        size: u64,
        full: Position,
    ) -> Result<(), StoreError> {
        let mut pair = self.pair();
        let note = |segments: &mut BTreeMap<u32, SegmentRow>| {
            if let Some(row) = segments.get_mut(&full.segment) {
                row.size = full.offset.into();
            }
            segments.entry(number).or_insert(SegmentRow::begun(size));
        };
        // Both: the mark that is written now, and the counts from which the next one is made.
        note(&mut self.counts().segments);
        note(&mut pair.mark.segments);
        pair.write(Copies::Both)
    }

    /// Writes a mark when something has changed. `snapshot` is called with the account locked; while what it returns
    /// beside the snapshot lives, no commit is applied.
    pub(in crate::store::embedded) fn mark<G>(
        &self,
        snapshot: impl FnOnce() -> (G, AccountSnapshot),
    ) -> Result<(), StoreError> {
        self.write(Copies::Older, false, snapshot)
    }

    /// Writes the closing mark; later marks change nothing.
    pub(in crate::store::embedded) fn close<G>(
        &self,
        snapshot: impl FnOnce() -> (G, AccountSnapshot),
    ) -> Result<(), StoreError> {
        self.write(Copies::Both, true, snapshot)
    }

    fn write<G>(
        &self,
        copies: Copies,
        closed: bool,
        snapshot: impl FnOnce() -> (G, AccountSnapshot),
    ) -> Result<(), StoreError> {
        // Held over the snapshot: marks are written in the order of their content.
        let mut pair = self.pair();
        if pair.mark.closed {
            return Ok(());
        }
        let mut mark = self.taken(&pair.mark, snapshot);
        mark.closed = closed;
        let ahead = self.ahead_after(&pair.mark, &mark);
        mark.may_reach = self.reach_of(&mark, ahead);
        defect!(unless mark.accepted <= mark.may_reach, "a mark that does not reach what it counts");
        defect!(unless mark.accepted >= pair.mark.accepted, "a mark that counts less than the one before");
        // The sweeper asks ten times a second by default: an idle store writes nothing.
        if mark == pair.mark {
            return Ok(());
        }
        self.put(&mut pair, mark, copies, ahead)
    }

    /// Writes a mark, which reaches `ahead` of what was written before it.
    fn put(&self, pair: &mut Pair, mark: AccountMark, copies: Copies, ahead: u64) -> Result<(), StoreError> {
        let before = std::mem::replace(&mut pair.mark, mark);
        // The mark that is on disk has to be the one in memory: the next call compares with it.
        pair.write(copies).inspect_err(|_| pair.mark = before)?;
        self.0.ahead.store(ahead, Ordering::Relaxed);
        // After the write: entries beyond a reach that is not on disk could be lost in a crash without being counted.
        self.0.reach.store(pair.mark.may_reach, Ordering::SeqCst);
        Ok(())
    }

    /// How far the mark after `before` reaches beyond what was written before it.
    fn ahead_after(&self, before: &AccountMark, mark: &AccountMark) -> u64 {
        let since = before.may_reach.saturating_sub(self.0.ahead.load(Ordering::Relaxed));
        self.written(mark).saturating_sub(since).saturating_mul(2).clamp(LEAST_REACH, MOST_REACH)
    }

    /// How far a mark may reach that is about to be written. Until it is, entries are admitted by the nearer one of its
    /// reach and the one on disk.
    fn reach_of(&self, mark: &AccountMark, ahead: u64) -> u64 {
        let reach = self.written(mark).saturating_add(ahead);
        // Before the write: what is admitted while it goes on has to lie within it, and within the mark before if it
        // fails.
        self.0.reach.fetch_min(reach, Ordering::SeqCst);
        // Entries that were admitted by a farther reach before are in this figure; later ones see the nearer one.
        reach.max(self.written(mark))
    }

    /// What was handed to the journal, which may be ahead of what the index has applied.
    fn written(&self, mark: &AccountMark) -> u64 {
        self.0.written.load(Ordering::SeqCst).max(mark.accepted)
    }

    /// The mark after `before`, not closed, with its `may_reach`.
    fn taken<G>(&self, before: &AccountMark, snapshot: impl FnOnce() -> (G, AccountSnapshot)) -> AccountMark {
        let (_applying, AccountSnapshot { living, lost, damaged_frames, book }) = snapshot();
        let counts = self.counts();
        let mut mark = before.clone();
        (mark.accepted, mark.end) = (counts.accepted, counts.end);
        (mark.lost, mark.damaged_frames) = (lost, damaged_frames);
        mark.book = mark.book.max(book);
        mark.dead.clone_from(&counts.dead);
        let row = |(number, living)| {
            let row = counts.segments.get(&number).copied().unwrap_or_default();
            (number, SegmentRow { living, ..row })
        };
        mark.segments = living.into_iter().map(row).collect();
        mark
    }

    /// Where the journal ends as of the last commit applied.
    pub(in crate::store::embedded) fn end(&self) -> Position {
        self.counts().end
    }

    /// Whether the bytes at this place of the journal were lost without anybody knowing which entries they held.
    pub(in crate::store::embedded) fn is_gone(&self, at: Position) -> bool {
        self.pair().mark.is_gone(at)
    }

    fn pair(&self) -> MutexGuard<'_, Pair> {
        self.0.pair.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_disk(root: &Path) -> u64 {
        read(root).expect("reads").mark.expect("whole").may_reach
    }

    #[test]
    fn the_reach_follows_what_is_accepted_between_marks_and_shrinks_again() {
        let temp = tempfile::tempdir().expect("temp");
        let account = Account::begin(temp.path(), AccountMark::default(), 0).expect("begins");
        let mark = || account.mark(|| ((), AccountSnapshot::default())).expect("writes");
        assert_eq!(on_disk(temp.path()), LEAST_REACH);
        let mut written = 0;
        for _ in 0..200 {
            written += 1_000;
            account.admit(1_000).expect("writes");
            let reach = on_disk(temp.path());
            assert!(written <= reach && reach <= written + 2 * written.max(LEAST_REACH), "{written} {reach}");
        }
        assert_eq!(read(temp.path()).expect("reads").version, 2 + 5, "a burst costs few marks");
        account.applied(Position { segment: 1, offset: 4096 }, written);
        mark();
        assert_eq!(on_disk(temp.path()), written + 2 * 70_000, "as since the last mark");
        account.admit(3_000).expect("writes");
        mark();
        assert_eq!(on_disk(temp.path()), written + 3_000 + 6_000);
        mark();
        assert_eq!(on_disk(temp.path()), written + 3_000 + LEAST_REACH);
        let version = read(temp.path()).expect("reads").version;
        mark();
        assert_eq!(read(temp.path()).expect("reads").version, version, "nothing has changed");
    }

    /// A mark that reaches farther than the one before, and whose write fails or not: only what is on disk counts.
    #[test]
    fn a_mark_that_is_not_on_disk_lets_nothing_beyond_the_reach_of_the_one_before() {
        for fails in [false, true] {
            let temp = tempfile::tempdir().expect("temp");
            let (root, away) = (temp.path().join("here"), temp.path().join("away"));
            std::fs::create_dir(&root).expect("makes");
            let account = Account::begin(&root, AccountMark::default(), 0).expect("begins");
            account.admit(3_000).expect("within reach");
            assert_eq!(on_disk(&root), LEAST_REACH);
            if fails {
                std::fs::rename(&root, &away).expect("renames");
            }
            let marked = account.mark(|| ((), AccountSnapshot::default()));
            assert_eq!(marked.is_err(), fails, "{marked:?}");
            if fails {
                std::fs::rename(&away, &root).expect("renames");
            }
            assert_eq!(on_disk(&root), if fails { LEAST_REACH } else { 3_000 + 6_000 });
            account.admit(3_000).expect("writes");
            assert!(on_disk(&root) >= 6_000, "admitted beyond what a crash would count: {}", on_disk(&root));
            account.mark(|| ((), AccountSnapshot::default())).expect("writes");
            assert_eq!(on_disk(&root), account.pair().mark.may_reach);
        }
    }

    #[test]
    fn no_mark_reaches_less_far_than_what_is_admitted_meanwhile() {
        let temp = tempfile::tempdir().expect("temp");
        let account = Account::begin(temp.path(), AccountMark::default(), 0).expect("begins");
        std::thread::scope(|scope| {
            let marks = scope.spawn(|| {
                for _ in 0..300 {
                    account.mark(|| ((), AccountSnapshot::default())).expect("writes");
                }
            });
            let mut written = 0;
            while !marks.is_finished() {
                written += 700;
                account.admit(700).expect("writes");
                assert!(on_disk_of(&account) >= written, "{written}");
            }
        });
    }

    /// What the newest mark says; it is written before the lock is given back.
    fn on_disk_of(account: &Account) -> u64 {
        account.pair().mark.may_reach
    }
}
