//! Opening is recovering: the index is checked, or set aside and rebuilt, the journal is replayed from where the index
//! ends, and what is there is compared with the account. A new store is the recovery of an empty one.
//!
//! A sound index is kept whatever the journal lacks: it knows which entries lived where nothing is any more, and a
//! rebuild would bring back what was settled there. After an orderly stop the closing list knows it as well: a rebuild
//! then takes from it what lives, and from the journal where it stands.
//!
//! Must not know: threads, callers.

use std::collections::BTreeMap;

use super::EmbeddedOptions;
use super::closing::ListComparison;
use super::endings::{endings, lengths, lost_by_the_index};
use super::ends::{Ends, Replay};
use super::finds;
use super::missing::{FoundLosses, INDEX_OF_ANOTHER};
use super::rebuilding;
use super::report::RecoveryReport;
use super::restored::ReturnedSegments;
use crate::event::LaneKey;
use crate::store::embedded::account::compare::{self, Extent, ScanTally};
use crate::store::embedded::account::{self, AccountDefect, AccountMark};
use crate::store::embedded::bits::Bits;
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::index::apply::NewRow;
use crate::store::embedded::index::open::{self, Opened};
use crate::store::embedded::index::rows::Checkpoint;
use crate::store::embedded::index::{IndexError, guarded};
use crate::store::embedded::journal::{
    self, Arrange, ArrangeFinding, BlockHead, Frame, HeadState, Marked, Position, RunReader, Scan,
    ScanReport, SegmentFile, SettledRun,
};
use crate::store::embedded::{ballast, retry};
use crate::store::{DirectoryError, StoreError};

/// An index that reflects the whole journal.
pub(super) struct Recovered {
    pub opened: Opened,
    pub report: RecoveryReport,
    pub files: Vec<SegmentFile>,
    pub newest_ms: u64,
    /// The highest segment that the index or the account knows.
    pub seen_segment: u32,
    /// What the account goes on from.
    pub mark: AccountMark,
    /// Settlements of entries whose block is gone: to be made durable and applied.
    pub ended: Vec<SettledRun>,
    /// What is wrong with the closing list, if it was needed.
    pub defects: Vec<AccountDefect>,
}

/// What a recovery starts from: the locked directory and its account.
pub(super) struct RecoverFrom<'a> {
    pub dir: &'a DataDir,
    pub options: &'a EmbeddedOptions,
    pub salt: u64,
    /// The account as it was found.
    pub found: &'a account::StoredAccount,
    /// Why the index is not to be used.
    pub rebuild: Option<&'a str>,
    /// Segments that came back after their entries were settled as lost.
    pub restored: &'a ReturnedSegments,
    /// The log that takes the ends which the journal has beyond it.
    pub ends: &'a Ends,
}

impl RecoverFrom<'_> {
    /// Whether an empty index means that one was lost: the directory has an account or a segment.
    fn holds_something(&self) -> Result<bool, StoreError> {
        Ok(self.found.exists || !journal::list(&self.dir.journal())?.is_empty())
    }
}

/// Recovers the directory. A read that the system fails is repeated: see `retry`.
pub(super) fn recover(given: &RecoverFrom<'_>) -> Result<Recovered, StoreError> {
    let root = given.dir.root();
    let findings = retry::reading(|| ballast::with_room(root, 0, || arrange(given)))?;
    let reason = given.restored.reason().or_else(|| given.rebuild.map(str::to_owned));
    let mut index = IndexState { reason, is_aside: false };
    retry::reading(|| recover_once(given, &mut index, &findings))
}

/// What is known of the index. It outlasts an attempt: what was found to be of no use stays out of use.
struct IndexState {
    /// Why it cannot be used; `None` while nothing speaks against it.
    reason: Option<String>,
    /// It was set aside. What is in its place since is an attempt to make it anew.
    is_aside: bool,
}

fn recover_once(
    given: &RecoverFrom<'_>,
    index: &mut IndexState,
    findings: &[ArrangeFinding],
) -> Result<Recovered, StoreError> {
    let RecoverFrom { dir, found, .. } = given;
    let files = journal::list(&dir.journal())?;
    let mut seen_segment = found.mark.as_ref().map_or(0, highest);
    if index.reason.is_none() && rebuilding::is_unfinished(dir.root())? {
        index.reason = Some("an earlier rebuild was cut short".to_owned());
    }
    if index.reason.is_none() {
        match ballast::with_room(dir.root(), 0, || catch_up(given, &mut seen_segment))? {
            Ok(replayed) => {
                let existed = replayed.opened.checkpoint != Checkpoint::default() || files.is_empty();
                let reason = (!existed).then(|| "there was none".to_owned());
                return finish(given, replayed, reason, files, seen_segment, findings);
            }
            Err(error) => index.reason = Some(error),
        }
    }
    if !index.is_aside {
        ballast::with_room(dir.root(), 0, || {
            rebuilding::begin(dir.root()).and_then(|()| rebuilding::set_aside(dir))
        })?;
        index.is_aside = true;
    }
    let replayed = ballast::with_room(dir.root(), 0, || rebuild(given))?;
    finish(given, replayed, index.reason.clone(), files, seen_segment, findings)
}

/// Opens the index and applies what the journal has beyond it. The inner error says why the index cannot be used. A
/// full disk says nothing about the index: it is an error of the store, after which this may be repeated.
fn catch_up(given: &RecoverFrom<'_>, seen_segment: &mut u32) -> Result<Result<Replayed, String>, StoreError> {
    let opened = match retry::reading(|| open(given.dir, given.options)) {
        Ok(opened) => opened,
        // Setting a sound index aside for want of room would cost a rebuild, which needs more of it.
        Err(error) if error.is_full() => return Err(error),
        Err(error) => return Ok(Err(error.to_string())),
    };
    // 0: a new index, or one of a version that kept no salt in it.
    if ![0, given.salt].contains(&opened.checkpoint.salt) {
        return Ok(Err(INDEX_OF_ANOTHER.to_owned()));
    }
    let start = opened.checkpoint.reflects;
    *seen_segment = (*seen_segment).max(start.segment);
    if opened.checkpoint == Checkpoint::default() && given.holds_something()? {
        rebuilding::begin(given.dir.root())?;
    }
    let from = replay_from(start, given.found).min(given.ends.marked().unwrap_or(Position::MAX));
    match replay(given, opened, from) {
        Ok(replayed) => Ok(Ok(replayed)),
        Err(ReplayError::Journal(error)) => Err(error),
        Err(ReplayError::Index(error @ IndexError::NoRoom(_))) => Err(index_failed(given.dir, &error)),
        Err(ReplayError::Index(error)) => Ok(Err(error.to_string())),
    }
}

/// Makes the index anew. Where it finds no room the old index goes, and it is tried once more.
fn rebuild(given: &RecoverFrom<'_>) -> Result<Replayed, StoreError> {
    match rebuild_once(given) {
        Err(error) if error.is_full() && rebuilding::is_there(&rebuilding::aside(given.dir)) => {
            rebuilding::discard(&rebuilding::aside(given.dir))?;
            rebuild_once(given)
        }
        other => other,
    }
}

/// What an attempt before has left goes, so that this may be repeated.
fn rebuild_once(given: &RecoverFrom<'_>) -> Result<Replayed, StoreError> {
    let RecoverFrom { dir, options, .. } = given;
    rebuilding::discard(&dir.index())?;
    let opened = open(dir, options)?;
    replay(given, opened, Position::default()).map_err(|error| match error {
        ReplayError::Journal(error) => error,
        ReplayError::Index(error) => index_failed(dir, &error),
    })
}

/// The highest segment that the account knows of.
fn highest(mark: &AccountMark) -> u32 {
    mark.segments.keys().next_back().copied().unwrap_or(0).max(mark.end.segment)
}

/// Frames behind the last mark are read even when the index has them: they are counted. Applying one twice changes
/// nothing.
fn replay_from(reflects: Position, found: &account::StoredAccount) -> Position {
    let marked = found.mark.as_ref().map_or(reflects, |mark| mark.end);
    // A mark more than two segments behind is too old to be worth reading from.
    if marked.segment.saturating_add(2) >= reflects.segment { reflects.min(marked) } else { reflects }
}

/// Gives the segments the names that their heads say.
fn arrange(given: &RecoverFrom<'_>) -> Result<Vec<ArrangeFinding>, StoreError> {
    let RecoverFrom { dir, salt, found, .. } = given;
    let mark = found.mark.as_ref();
    let is_ours =
        |one: &journal::SegmentHead| matches!(one.head, HeadState::Sound { salt: its, .. } if its == *salt);
    let is_salt_proven =
        mark.is_some_and(|mark| mark.salt == *salt) || journal::heads(&dir.journal())?.iter().any(is_ours);
    // A mark that says that nothing in a segment lives is written before the segment is renamed.
    let is_settled =
        |number| mark.is_none_or(|mark| mark.segments.get(&number).is_none_or(|row| row.living == 0));
    let is_known = |number: u32| mark.map(|mark| number <= highest(mark) + 1);
    let options =
        Arrange { salt: *salt, is_salt_proven, is_settled: &is_settled, is_known: &is_known, repair: true };
    journal::arrange(&dir.journal(), &options)
}

fn open(dir: &DataDir, options: &EmbeddedOptions) -> Result<Opened, StoreError> {
    let opened = open::open(&dir.index(), Some(dir.root()), options.cache_bytes, options.dedup_window);
    opened.map_err(|error| {
        let (operation, path, reason) = ("open", dir.index().display().to_string(), error.to_string());
        match error {
            IndexError::NoRoom(_) => {
                StoreError::Directory(DirectoryError::NoRoom { operation, path, reason })
            }
            IndexError::System(_) => StoreError::Unread { operation, place: path, reason },
            _ => StoreError::Io { operation, place: path, reason },
        }
    })
}

/// An index to which the journal was applied, and what was seen meanwhile.
struct Replayed {
    opened: Opened,
    from: Position,
    report: ScanReport,
    tally: ScanTally,
    /// Living entries by segment as of the last mark of the account.
    living: BTreeMap<u32, u64>,
    /// Entries by segment that the closing list has and the journal has not; `None` when there was no list to use.
    missing: Option<BTreeMap<u32, u64>>,
    defects: Vec<AccountDefect>,
}

enum ReplayError {
    Journal(StoreError),
    Index(IndexError),
}

/// Applies every frame from `from` on.
fn replay(given: &RecoverFrom<'_>, mut opened: Opened, from: Position) -> Result<Replayed, ReplayError> {
    let mark = given.found.mark.as_ref();
    let mut defects = Vec::new();
    // Only for a new index: one that reflects something knows better than the closing list which entries live.
    let is_new = opened.checkpoint == Checkpoint::default() && !given.restored.is_any_new();
    let listed = if is_new { ListComparison::open(given.dir.root(), mark, &mut defects) } else { Ok(None) };
    let mut listed = listed.map_err(ReplayError::Journal)?;
    let ends = Replay::new(given.ends, &given.dir.journal(), given.salt, &given.options.keys);
    let mut tally = ScanTally::new(mark);
    let mut living = None;
    let mut broken = None;
    opened.indexer.replays = true;
    opened.indexer.rows.checkpoint().salt = given.salt;
    let reflected = opened.checkpoint.reflects;
    let marked = mark.map(|mark| Marked { end: mark.end, closed: mark.closed });
    let scan = Scan { from, repair: true, salt: Some(given.salt), marked };
    let scanned = journal::scan(&given.dir.journal(), scan, |at, frame| {
        if living.is_none() && tally.is_behind(at) {
            living = Some(opened.indexer.segments.living());
        }
        tally.add(at, &frame);
        let is_listed = listed.is_some();
        let living = match (&frame, &mut listed) {
            (Frame::Block(_), Some(listed)) => listed.living(at)?,
            _ => Bits::first(u16::MAX),
        };
        let mut ends_read = Ok(());
        let applied = guarded(|| {
            // A batch may be written in the middle of a frame: the checkpoint then names this frame, which is applied
            // again.
            opened.indexer.rows.checkpoint().reflects = at;
            match frame {
                Frame::Block(head) => block(&mut opened, at, &head, living, given),
                Frame::Settlements(runs) => {
                    ends_read = settlements(&mut opened, at, runs, is_listed, given.restored, &ends)?;
                    Ok(())
                }
                Frame::Dead(_) => Ok(()),
            }
        });
        ends_read?;
        applied.map_err(|error| {
            broken = Some(error);
            // Ends the scan; `broken` is what counts.
            StoreError::Closed
        })
    });
    if let Some(error) = broken {
        return Err(ReplayError::Index(error));
    }
    let report = scanned.map_err(ReplayError::Journal)?;
    guarded(|| {
        let place = opened.indexer.rows.checkpoint().reflects.max(reflected);
        opened.indexer.rows.commit(place)
    })
    .map_err(ReplayError::Index)?;
    opened.indexer.replays = false;
    // A replay repeats losses that were counted when they happened.
    opened.indexer.take_lost();
    let living = living.unwrap_or_else(|| opened.indexer.segments.living()).into_iter().collect();
    let missing = listed.map(ListComparison::missing).transpose().map_err(ReplayError::Journal)?;
    Ok(Replayed { opened, from, report, tally, living, missing, defects })
}

fn block(
    opened: &mut Opened,
    at: Position,
    head: &BlockHead<'_>,
    living: Bits,
    given: &RecoverFrom<'_>,
) -> Result<(), IndexError> {
    let lane = LaneKey::new(head.lane).map_err(|_| IndexError::Corrupt("lane key in the journal"))?;
    let (lane_no, count, accepted_ms) = (head.lane_no, head.count, head.accepted_ms);
    let living = living.within(count);
    if living == Bits::default() {
        opened.indexer.pass(lane_no, accepted_ms);
    } else {
        opened.indexer.lanes.adopt(lane_no, &lane);
        let due_ms: Vec<u64> = head.due_ms().collect();
        let row = NewRow { at, lane_no, lane: &lane, accepted_ms, count, due_ms: &due_ms, living };
        if opened.indexer.block(&row)? {
            opened.indexer.lanes.add(&lane, living.count().into());
        }
    }
    finds::replay(head, at, (given.salt, &given.options.keys), &mut opened.dedup)?;
    Ok(())
}

fn settlements(
    opened: &mut Opened,
    at: Position,
    runs: RunReader<'_>,
    is_listed: bool,
    restored: &ReturnedSegments,
    ends: &Replay<'_>,
) -> Result<Result<(), StoreError>, IndexError> {
    for mut run in runs {
        restored.void(at, &mut run);
        if is_listed {
            opened.indexer.moves(at.segment, &run)?;
        } else {
            opened.indexer.settle(at.segment, &run)?;
        }
        let newly = opened.indexer.take_ended();
        let now_ms = opened.indexer.rows.checkpoint().newest_ms;
        let indexer = &opened.indexer;
        ends.run(at, &run, newly, now_ms, |index| indexer.lives(&run, index))?;
    }
    Ok(Ok(()))
}

fn finish(
    given: &RecoverFrom<'_>,
    replayed: Replayed,
    rebuilt: Option<String>,
    files: Vec<SegmentFile>,
    seen_segment: u32,
    findings: &[ArrangeFinding],
) -> Result<Recovered, StoreError> {
    let mut lengths = lengths(given.dir)?;
    let Replayed { opened, from, report: journal, tally, living, missing, defects } = replayed;
    if let Some((segment, keep)) = journal.cut {
        // What is to be cut holds nothing.
        lengths.insert(segment, keep.into());
    }
    let ended = endings(given, &opened, &journal, &lengths)?;
    let living = (from == Position::default()).then_some(&living);
    let extent = Extent { from, living, missing: missing.as_ref() };
    let found = given.found;
    let mut verdict = compare::compare(found, &tally, &journal, &lengths, &extent);
    lost_by_the_index(&mut verdict, &ended, &journal, found.mark.is_some());
    for file in &files {
        opened.indexer.segments.begin(file.number);
    }
    let losses = FoundLosses { verdict: &verdict, journal: &journal, tally: &tally, from };
    let mark = losses.next_mark(found, given.salt, lengths.keys().copied());
    let (lanes, living) = opened.indexer.lanes.totals();
    let newest_ms = opened.checkpoint.newest_ms.max(journal.newest_ms);
    let report = RecoveryReport { rebuilt, journal, verdict, findings: findings.to_vec(), living, lanes };
    Ok(Recovered { opened, report, files, newest_ms, seen_segment, mark, ended, defects })
}

pub(super) fn index_failed(dir: &DataDir, error: &IndexError) -> StoreError {
    let (operation, path, reason) = ("write", dir.index().display().to_string(), error.to_string());
    match error {
        IndexError::NoRoom(_) => StoreError::Directory(DirectoryError::NoRoom { operation, path, reason }),
        _ => StoreError::Io { operation, place: path, reason },
    }
}
