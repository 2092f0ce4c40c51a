//! Endings of what the index has where no frame of the journal can be, and what they say of losses.
//!
//! Must not know: how the journal is applied.

use std::collections::BTreeMap;
use std::fs;

use super::recover::{RecoverFrom, index_failed};
use crate::store::StoreError;
use crate::store::embedded::account::compare::Shortfall;
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::index::IndexError;
use crate::store::embedded::index::open::Opened;
use crate::store::embedded::journal::{self, FRAME_HEADER_BYTES, Position, ScanReport, SettledRun, What};

/// The length of each segment's file.
pub(super) type Lengths = BTreeMap<u32, u64>;

pub(super) fn lengths(dir: &DataDir) -> Result<Lengths, StoreError> {
    let mut lengths = Lengths::new();
    for file in journal::list(&dir.journal())? {
        let meta = fs::symlink_metadata(&file.path);
        let length = meta.map_err(|error| StoreError::io("read", &file.path, error))?.len();
        lengths.insert(file.number, length);
    }
    Ok(lengths)
}

/// The endings of what the index has where no frame can be: lost, or settled long ago where the account knows better
/// than an index that is older. What lies within a segment but does not decode is found when it is read.
pub(super) fn endings(
    given: &RecoverFrom<'_>,
    opened: &Opened,
    report: &ScanReport,
    lengths: &Lengths,
) -> Result<Vec<SettledRun>, StoreError> {
    let lies_within = |at: Position| {
        let end = u64::from(at.offset) + FRAME_HEADER_BYTES as u64;
        let is_beyond =
            report.start_beyond.is_some_and(|(segment, used)| at.segment == segment && at.offset >= used);
        !is_beyond && lengths.get(&at.segment).is_some_and(|length| end <= *length)
    };
    let mut short = BTreeMap::new();
    for segment in opened.indexer.segments.too_short(lies_within) {
        short.insert(segment, journal::sound_frames(&given.dir.journal(), segment, given.salt)?);
    }
    if short.is_empty() {
        return Ok(Vec::new());
    }
    let is_there = |at: Position| short.get(&at.segment).is_none_or(|sound| sound.contains(&at.offset));
    let is_ended = |at: Position| {
        given.found.mark.as_ref().is_some_and(|mark| {
            at < mark.end && mark.segments.get(&at.segment).is_none_or(|row| row.living == 0)
        })
    };
    let failed = |error: IndexError| index_failed(given.dir, &error);
    let endings = |what, ended| opened.reader.endings(|at| !is_there(at) && is_ended(at) == ended, what);
    let mut runs = endings(What::Lost, false).map_err(failed)?;
    runs.extend(endings(What::Cancelled, true).map_err(failed)?);
    Ok(runs)
}

/// What the index knows exactly takes the place of what the account bounds. Without an account the counts of the
/// frames around a damage are all there is.
pub(super) fn lost_by_the_index(
    verdict: &mut Shortfall,
    ended: &[SettledRun],
    journal: &ScanReport,
    has_account: bool,
) {
    let mut segments = BTreeMap::new();
    for run in ended {
        let lost = run.entries.iter().filter(|entry| entry.what == What::Lost).count() as u64;
        if lost > 0 {
            *segments.entry(run.block.segment).or_insert(0) += lost;
        }
    }
    for (segment, lost) in segments {
        let is_damaged = journal.walked.get(&segment).is_some_and(|walked| walked.damaged > 0);
        verdict.damaged += u64::from(!is_damaged && !verdict.missing.contains(&segment));
        *verdict.lost.entry(segment).or_default() += lost;
        if let Some(most) = verdict.uncertain.get_mut(&segment) {
            *most = most.saturating_sub(lost);
        }
    }
    verdict.uncertain.retain(|_, most| *most > 0);
    if !has_account {
        verdict.damaged += journal.damaged;
        if journal.lost_entries > 0 {
            let first = journal.damages.iter().find(|damage| !damage.torn).map_or(0, |damage| damage.segment);
            *verdict.lost.entry(first).or_default() += journal.lost_entries;
        }
    }
}
