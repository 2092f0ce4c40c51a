//! Opening is recovering: the index is checked, or set aside and rebuilt, and the journal is replayed from
//! where the index ends. A new store is the recovery of an empty one.
//!
//! Must not know: threads, callers.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use super::EmbeddedOptions;
use crate::event::LaneKey;
use crate::store::StoreError;
use crate::store::directory::DataDir;
use crate::store::index::apply::NewRow;
use crate::store::index::open::{self, Opened};
use crate::store::index::rows::Checkpoint;
use crate::store::index::{IndexError, guarded};
use crate::store::journal::{
    self, BlockHead, FRAME_HEADER_BYTES, Frame, Position, RunReader, Scan, ScanReport, SegmentFile,
};

/// What a recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Why the index was rebuilt from the journal; `None` when it was sound.
    pub rebuilt: Option<String>,
    /// What was read of the journal.
    pub journal: ScanReport,
    /// Segments that are gone or cut short although the index had entries there; they count as damage of the
    /// journal, too. Without a sound index nobody knows of them.
    pub missing: Vec<Missing>,
    /// Entries that are owed an end.
    pub living: u64,
    /// Lanes that hold some.
    pub lanes: u64,
}

/// Entries that the index had where the journal has nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// In which segment.
    pub segment: u32,
    /// How many were owed an end, by the index.
    pub entries: u64,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rebuilt {
            Some(reason) => writeln!(f, "index: rebuilt ({reason})")?,
            None => writeln!(f, "index: sound")?,
        }
        let journal = &self.journal;
        writeln!(f, "journal read: {} segments, {} bytes", journal.segments, journal.bytes)?;
        writeln!(f, "  {} entries, {} settlements", journal.entries, journal.settlements)?;
        writeln!(f, "  {} damaged places, {} entries lost", journal.damaged, journal.lost_entries)?;
        writeln!(f, "  {} bytes of a torn end, never acknowledged", journal.torn_bytes)?;
        for damage in &journal.damages {
            writeln!(f, "  {damage}")?;
        }
        for Missing { segment, entries } in &self.missing {
            writeln!(f, "  segment {segment} is gone or cut short: {entries} entries lost")?;
        }
        write!(f, "waiting: {} entries in {} lanes", self.living, self.lanes)
    }
}

/// An index that reflects the whole journal.
pub(super) struct Recovered {
    pub opened: Opened,
    pub report: RecoveryReport,
    pub files: Vec<SegmentFile>,
    pub newest_ms: u64,
    /// The highest segment that the index knows.
    pub seen_segment: u32,
}

/// Recovers the directory; `rebuild` says why its index is not to be used.
pub(super) fn recover(
    dir: &DataDir,
    options: &EmbeddedOptions,
    salt: u64,
    rebuild: Option<&str>,
) -> Result<Recovered, StoreError> {
    let files = journal::list(&dir.journal())?;
    let mut reason = rebuild.map(str::to_owned);
    let mut seen_segment = 0;
    let mut lost = Vec::new();
    if reason.is_none() {
        match open(dir, options) {
            Ok(mut opened) => {
                let start = opened.checkpoint;
                seen_segment = start.reflects.segment;
                let existed = start != Checkpoint::default() || files.is_empty();
                match replay(dir, &mut opened, start.reflects, salt) {
                    Ok(report) => {
                        lost = missing(dir, &opened)?;
                        if !report.start_missing && lost.is_empty() {
                            let reason = (!existed).then(|| "there was none".to_owned());
                            return Ok(finish(opened, report, reason, files, seen_segment));
                        }
                        reason = Some(why(&report, &lost));
                    }
                    Err(ReplayError::Journal(error)) => return Err(error),
                    Err(ReplayError::Index(error)) => reason = Some(error.to_string()),
                }
            }
            Err(error) => reason = Some(error.to_string()),
        }
    }
    set_aside(dir)?;
    let mut opened = open(dir, options).map_err(|error| index_failed(dir, &error))?;
    let mut report = replay(dir, &mut opened, Position::default(), salt).map_err(|error| match error {
        ReplayError::Journal(error) => error,
        ReplayError::Index(error) => index_failed(dir, &error),
    })?;
    for missing in &lost {
        let told = report.damages.iter().any(|damage| damage.segment == missing.segment);
        report.damaged += u64::from(!told);
        report.lost_entries += missing.entries;
    }
    let mut recovered = finish(opened, report, reason, files, seen_segment);
    recovered.report.missing = lost;
    Ok(recovered)
}

fn why(report: &ScanReport, lost: &[Missing]) -> String {
    if report.start_missing {
        "the journal ends before it"
    } else {
        "segments that it knows are gone or cut short"
    }
    .to_owned()
        + if lost.is_empty() { "" } else { ", entries are lost" }
}

/// What the index has where no frame can be. What lies within a segment but does not decode is found when it is
/// read.
fn missing(dir: &DataDir, opened: &Opened) -> Result<Vec<Missing>, StoreError> {
    let mut lengths = BTreeMap::new();
    // Of settled segments only the settlements count; none of their entries is owed an end.
    for file in journal::list(&dir.journal())?.iter().filter(|file| !file.settled) {
        let length =
            fs::metadata(&file.path).map_err(|error| StoreError::io("read", &file.path, error))?.len();
        lengths.insert(file.number, length);
    }
    let within = |at: Position| {
        let end = u64::from(at.offset) + FRAME_HEADER_BYTES as u64;
        lengths.get(&at.segment).is_some_and(|length| end <= *length)
    };
    let mut found = BTreeMap::new();
    if !opened.indexer.segments.all_within(within) {
        let walked = opened.reader.blocks(|at, living| {
            if !within(at) && living > 0 {
                *found.entry(at.segment).or_insert(0) += u64::from(living);
            }
        });
        walked.map_err(|error| index_failed(dir, &error))?;
    }
    Ok(found.into_iter().map(|(segment, entries)| Missing { segment, entries }).collect())
}

fn open(dir: &DataDir, options: &EmbeddedOptions) -> Result<Opened, IndexError> {
    open::open(&dir.index(), options.cache_bytes, options.dedup_window)
}

fn finish(
    opened: Opened,
    journal: ScanReport,
    rebuilt: Option<String>,
    files: Vec<SegmentFile>,
    seen_segment: u32,
) -> Recovered {
    for file in &files {
        opened.indexer.segments.begin(file.number);
    }
    let (lanes, living) = opened.indexer.lanes.totals();
    let newest_ms = opened.checkpoint.newest_ms.max(journal.newest_ms);
    let report = RecoveryReport { rebuilt, journal, missing: Vec::new(), living, lanes };
    Recovered { opened, report, files, newest_ms, seen_segment }
}

enum ReplayError {
    Journal(StoreError),
    Index(IndexError),
}

/// Applies every frame from `from` on.
fn replay(dir: &DataDir, opened: &mut Opened, from: Position, salt: u64) -> Result<ScanReport, ReplayError> {
    let mut broken = None;
    opened.indexer.replays = true;
    let scanned = journal::scan(&dir.journal(), Scan { from, repair: true }, |at, frame| {
        let applied = guarded(|| {
            opened.indexer.rows.checkpoint().reflects = at;
            match frame {
                Frame::Block(head) => block(opened, at, &head, salt),
                Frame::Settlements(runs) => settlements(opened, at, runs),
                Frame::Dead(_) => Ok(()),
            }
        });
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
        let place = opened.indexer.rows.checkpoint().reflects;
        opened.indexer.rows.commit(place)
    })
    .map_err(ReplayError::Index)?;
    opened.indexer.replays = false;
    // Counted when they were lost.
    opened.indexer.take_lost();
    Ok(report)
}

fn block(opened: &mut Opened, at: Position, head: &BlockHead<'_>, salt: u64) -> Result<(), IndexError> {
    let lane = LaneKey::new(head.lane).map_err(|_| IndexError::Corrupt("lane key in the journal"))?;
    opened.indexer.lanes.adopt(head.lane_no, &lane);
    let due_ms: Vec<u64> = head.due_ms().collect();
    let (count, accepted_ms) = (head.count, head.accepted_ms);
    let row = NewRow { at, lane_no: head.lane_no, lane: &lane, accepted_ms, count, due_ms: &due_ms };
    if opened.indexer.block(&row)? {
        opened.indexer.lanes.add(&lane, count.into());
    }
    for row in head.dedup() {
        if let (Ok(index), None) = (u8::try_from(row.index), opened.dedup.find(&row.dedup)?) {
            let home = super::ids::Home { block: at, index };
            let id = super::ids::encode(accepted_ms, home, salt);
            opened.dedup.insert(&row.dedup, id)?;
        }
    }
    Ok(())
}

fn settlements(opened: &mut Opened, at: Position, runs: RunReader<'_>) -> Result<(), IndexError> {
    for run in runs {
        opened.indexer.settle(at.segment, &run)?;
    }
    Ok(())
}

/// Puts the index out of the way; the one that was put there before goes.
fn set_aside(dir: &DataDir) -> Result<(), StoreError> {
    let (index, aside) = (dir.index(), dir.root().join("index.aside"));
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| StoreError::Io {
            operation: "set aside",
            path,
            reason: error.to_string(),
        }
    };
    if !index.exists() {
        return Ok(());
    }
    if aside.exists() {
        fs::remove_dir_all(&aside).or_else(|_| fs::remove_file(&aside)).map_err(failed(&aside))?;
    }
    fs::rename(&index, &aside).map_err(failed(&index))
}

fn index_failed(dir: &DataDir, error: &IndexError) -> StoreError {
    let path = dir.index().display().to_string();
    StoreError::Io { operation: "rebuild", path, reason: error.to_string() }
}
