//! What follows from a loss that was found at the start: the account goes on from what is there, the entries are
//! settled as lost, and the doubts say so until an operator has seen them.
//!
//! Must not know: how a loss is found.

use std::collections::BTreeMap;

use super::recover::Recovered;
use super::report::RecoveryReport;
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::doubts::{DoubtKind, Doubts, NewDoubt};
use crate::store::embedded::account::compare::{ScanTally, Shortfall};
use crate::store::embedded::account::{AccountDefect, AccountMark, Gone, SegmentRow, StoredAccount};
use crate::store::embedded::index::open::Opened;
use crate::store::embedded::index::{IndexError, guarded};
use crate::store::embedded::journal::{
    ArrangeFinding, FrameGroup, HEAD_BYTES, Journal, Position, ScanReport, SettledRun, What, segment_name,
};

/// Ranges that the account names; more are not named.
const MAX_GONE: usize = 4096;
/// Beyond this number of segments one doubt stands for all.
const MAX_NAMED: usize = 32;
/// Settlements that go into one group.
const GROUP_ENTRIES: usize = 8 * 1024;

const RESTORE: &str = "stop tidegate, restore a file that is missing and start again: what is in it waits again; or \
                       acknowledge the loss";

/// Why an index is not used that bears another salt.
pub(super) const INDEX_OF_ANOTHER: &str = "it belongs to another data directory";

/// What doubts about a segment of the journal are about.
pub(super) fn subject(number: u32) -> String {
    format!("journal/{}", segment_name(number, false))
}

/// What one doubt is about that stands for many segments of the journal.
pub(super) fn all() -> String {
    "journal".to_owned()
}

/// Of what was reported as lost, this many are there again.
pub(super) fn found_again(doubts: &Doubts, subject: &str, events: u64) {
    let Some(doubt) = doubts.find(DoubtKind::Lost, subject) else { return };
    let left = doubt.events.saturating_sub(events);
    if left == 0 {
        return doubts.clear(DoubtKind::Lost, subject);
    }
    doubts.recount(DoubtKind::Lost, subject, left);
}

/// What a scan and its comparison have found.
pub(super) struct FoundLosses<'a> {
    pub verdict: &'a Shortfall,
    pub journal: &'a ScanReport,
    pub tally: &'a ScanTally,
    pub from: Position,
}

impl FoundLosses<'_> {
    /// What the account goes on from: what is there now. Living entries are not filled in.
    pub(super) fn next_mark(
        &self,
        found: &StoredAccount,
        salt: u64,
        segments: impl Iterator<Item = u32>,
    ) -> AccountMark {
        let mut mark = found.base();
        let before = std::mem::take(&mut mark.segments);
        mark.salt = salt;
        // Durable and not marked before the crash.
        mark.accepted = mark.accepted.saturating_add(self.tally.found_behind());
        // The mark before did not count what was settled as lost behind it.
        let lost = self.verdict.lost.values().sum::<u64>() + self.tally.lost_behind();
        mark.lost = mark.lost.saturating_add(lost);
        mark.damaged_frames = mark.damaged_frames.saturating_add(self.verdict.damaged);
        for number in segments {
            mark.segments.insert(number, self.row(number, before.get(&number).copied().unwrap_or_default()));
        }
        if self.from == Position::default() {
            self.name_gone(&before, &mut mark);
        }
        mark
    }

    /// What is missing is not expected any more.
    fn row(&self, number: u32, before: SegmentRow) -> SegmentRow {
        let (found, behind) = self.tally.found_in(number);
        let Some(walked) = self.journal.walked.get(&number) else {
            // How many were settled of those that are gone is unknown.
            let accepted = if self.verdict.lost.contains_key(&number) { 0 } else { before.accepted };
            return SegmentRow { accepted, size: 0, ..before };
        };
        let starts_within = number == self.from.segment && self.from.offset > 0;
        let first = if starts_within { walked.before } else { Some(0) };
        let accepted = first.map_or(0, |first| first + found + behind);
        let damaged = before.damaged.max(walked.damaged + u64::from(walked.uncertain));
        SegmentRow { accepted, end: before.end.max(walked.end), size: 0, damaged, ..before }
    }

    /// Names the ranges in which entries were lost, so that a look-up of one of them answers that it is lost.
    fn name_gone(&self, before: &BTreeMap<u32, SegmentRow>, mark: &mut AccountMark) {
        let mut segments: Vec<u32> =
            self.verdict.lost.keys().chain(self.verdict.uncertain.keys()).copied().collect();
        segments.dedup();
        for segment in segments {
            let head = u32::try_from(HEAD_BYTES).unwrap_or(0);
            let end = self.journal.walked.get(&segment).map_or(head, |walked| walked.end);
            let expected = before.get(&segment).map_or(u32::MAX, |row| row.end);
            if end < expected {
                mark.gone.push(Gone { segment, from: end, to: expected });
            }
            let damages = self.journal.damages.iter().filter(|damage| damage.segment == segment);
            for damage in damages.filter(|damage| damage.offset >= head) {
                let bytes = u32::try_from(damage.bytes).unwrap_or(u32::MAX);
                let to = damage.offset.saturating_add(bytes);
                mark.gone.push(Gone { segment, from: damage.offset, to });
            }
        }
        mark.gone.sort_unstable_by_key(|gone| (gone.segment, gone.from, gone.to));
        mark.gone.dedup();
        // Bounds the mark, which is written often; an id beyond is answered as unknown.
        mark.gone.truncate(MAX_GONE);
    }
}

/// Raises what the recovery of the journal found.
pub(super) fn raise(doubts: &Doubts, recovered: &Recovered, now: Timestamp) {
    let RecoveryReport { verdict, findings, rebuilt, .. } = &recovered.report;
    if rebuilt.as_deref() == Some(INDEX_OF_ANOTHER) {
        index(doubts, now);
    }
    files(doubts, "journal", findings, now);
    let lost = "entries that were owed an end are gone with the bytes that held them";
    by_segment(doubts, DoubtKind::Lost, "journal", &verdict.lost, lost, now);
    let uncertain = "entries may be gone with bytes that do not decode; the count is an upper bound";
    by_segment(doubts, DoubtKind::Uncertain, "journal", &verdict.uncertain, uncertain, now);
}

/// Files of a room that were not as the store left them.
pub(super) fn files(doubts: &Doubts, room: &str, findings: &[ArrangeFinding], now: Timestamp) {
    for ArrangeFinding { name, detail } in findings {
        let doubt = NewDoubt {
            kind: DoubtKind::Files,
            subject: format!("{room}/{name}"),
            detail: format!("not as the store left it: {detail}"),
            way_out: "find out who changes the data directory, then acknowledge".to_owned(),
            events: 0,
        };
        doubts.raise(doubt, now);
    }
}

fn by_segment(
    doubts: &Doubts,
    kind: DoubtKind,
    room: &str,
    segments: &BTreeMap<u32, u64>,
    detail: &str,
    now: Timestamp,
) {
    let raise = |subject: String, events| {
        let (detail, way_out) = (detail.to_owned(), RESTORE.to_owned());
        doubts.add_found(NewDoubt { kind, subject, detail, way_out, events }, now);
    };
    // A list of hundreds would hide everything else.
    if segments.len() > MAX_NAMED {
        return raise(room.to_owned(), segments.values().sum());
    }
    for (number, events) in segments {
        raise(format!("{room}/{}", segment_name(*number, false)), *events);
    }
}

/// Copies of the account that are missing or damaged.
pub(super) fn account(doubts: &Doubts, defects: &[AccountDefect], now: Timestamp) {
    for AccountDefect { file, reason } in defects {
        let doubt = NewDoubt {
            kind: DoubtKind::Account,
            subject: (*file).to_owned(),
            detail: format!("a copy of the account was unusable: {reason}; it was made anew"),
            way_out: "find out who changes the data directory, then acknowledge".to_owned(),
            events: 0,
        };
        doubts.raise(doubt, now);
    }
}

/// Nothing says what should be there: neither an account nor an index.
pub(super) fn unknown(doubts: &Doubts, now: Timestamp) {
    let doubt = NewDoubt {
        kind: DoubtKind::Uncertain,
        subject: "account".to_owned(),
        detail: "events may be gone and nobody knows how many: the account is missing or older, and no index says \
                 what waited"
            .to_owned(),
        way_out: "stop tidegate, restore the newest copy of the data directory and start again; or acknowledge the loss"
            .to_owned(),
        events: 0,
    };
    doubts.raise(doubt, now);
}

/// An index of another directory was not used.
fn index(doubts: &Doubts, now: Timestamp) {
    let doubt = NewDoubt {
        kind: DoubtKind::Files,
        subject: "index".to_owned(),
        detail: format!("not as the store left it: {INDEX_OF_ANOTHER}; it was made anew from the journal"),
        way_out: "find out who changes the data directory, then acknowledge".to_owned(),
        events: 0,
    };
    doubts.raise(doubt, now);
}

/// A closing list that was needed and is damaged.
pub(super) fn list(doubts: &Doubts, defects: &[AccountDefect], now: Timestamp) {
    for AccountDefect { file, reason } in defects {
        let doubt = NewDoubt {
            kind: DoubtKind::Account,
            subject: (*file).to_owned(),
            detail: format!(
                "the list of what lived at the last stop was unusable: {reason}; what is lost is told by bounds"
            ),
            way_out: "find out who changes the data directory, then acknowledge".to_owned(),
            events: 0,
        };
        doubts.raise(doubt, now);
    }
}

/// Compares the letters that are kept with the account and raises what is missing.
pub(super) fn letters(
    doubts: &Doubts,
    found: &StoredAccount,
    report: &ScanReport,
    kept: &BTreeMap<u32, u64>,
    now: Timestamp,
) {
    let Some(mark) = &found.mark else { return };
    let missing = |(number, letters): (&u32, &u64)| {
        let lost = letters.saturating_sub(kept.get(number).copied().unwrap_or(0));
        (lost > 0).then_some((*number, lost))
    };
    let lost: BTreeMap<u32, u64> = mark.dead.iter().filter_map(missing).collect();
    by_segment(
        doubts,
        DoubtKind::Lost,
        "dead",
        &lost,
        "dead letters are gone with the bytes that held them",
        now,
    );
    // A closing mark says that nothing was acknowledged behind: a torn end then cost nothing.
    if !mark.closed && report.torn_bytes > 0 {
        // No letter takes fewer bytes.
        let most = report.torn_bytes.div_ceil(64);
        let last = report.walked.keys().next_back().copied().unwrap_or(0);
        let detail = "dead letters may be gone with bytes that do not decode; the count is an upper bound";
        by_segment(doubts, DoubtKind::Uncertain, "dead", &BTreeMap::from([(last, most)]), detail, now);
    }
}

/// Makes the endings of what is gone durable in the journal, and applies them to the index.
pub(super) fn settle(
    ended: &[SettledRun],
    journal: &mut Journal,
    opened: &mut Opened,
    now: Timestamp,
) -> Result<(), StoreError> {
    let is_lost = |run: &&SettledRun| run.entries.iter().any(|entry| entry.what == What::Lost);
    let mut group = FrameGroup::default();
    let mut entries = 0;
    for run in ended.iter().filter(is_lost) {
        // A start may have to end any number of entries; a group is bounded.
        if entries + run.entries.len() > GROUP_ENTRIES {
            journal.append(&mut group, now)?;
            entries = 0;
        }
        entries += run.entries.len();
        group.push_settlements(std::slice::from_ref(run))?;
    }
    journal.append(&mut group, now)?;
    let segment = journal.end().segment;
    let applied: Result<(), IndexError> = guarded(|| {
        for run in ended {
            opened.indexer.settle(segment, run)?;
        }
        // They are counted and reported already.
        opened.indexer.take_lost();
        Ok(())
    });
    applied.map_err(|error| StoreError::Io {
        operation: "write",
        place: "index".to_owned(),
        reason: error.to_string(),
    })
}
