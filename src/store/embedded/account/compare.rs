//! The comparison of what the account says with what a scan of the journal has found. Pure: changes nothing.
//!
//! For each segment, the entries that are missing were accepted below its marked end and stand in no sound block. Not
//! all of them were owed an end: the settlements of missing entries that were found say of some that they were not,
//! and the living entries that the account counts, less those found, say how many are lost at least. When a
//! settlement is lost with them both bounds may differ; the difference is uncertain.
//!
//! After an orderly stop the closing list ([`super::living`]) says exactly which entries were owed an end; it then
//! takes the place of these bounds.
//!
//! Behind the last mark only bounds are known: that of the account, and what bytes that do not decode can hold. They
//! count when there is a sign of damage there.
//!
//! Must not know: the index, who is told.

use std::collections::{BTreeMap, HashSet};

use super::{AccountMark, NEXT_REACH, SegmentRow, StoredAccount};
use crate::store::embedded::journal::{Frame, Position, ScanReport, Walked, What};

/// What a scan has found, added up as the account counts. Fed with every frame in order.
#[derive(Default)]
pub(in crate::store::embedded) struct ScanTally {
    /// Where the mark ends in each segment, and which of them hold living entries by it.
    marked: BTreeMap<u32, SegmentRow>,
    end: Position,
    has_mark: bool,
    found: BTreeMap<u32, u64>,
    behind: BTreeMap<u32, u64>,
    blocks: HashSet<Position>,
    known: HashSet<(Position, u8)>,
    settled: BTreeMap<u32, u64>,
    settled_behind: BTreeMap<u32, u64>,
    /// Entries that were settled behind the mark: the first settlement counts.
    ended_behind: HashSet<(Position, u8)>,
    lost_behind: u64,
}

impl ScanTally {
    pub(in crate::store::embedded) fn new(mark: Option<&AccountMark>) -> Self {
        let Some(mark) = mark else { return Self::default() };
        Self { marked: mark.segments.clone(), end: mark.end, has_mark: true, ..Self::default() }
    }

    /// Whether this place lies behind the mark.
    pub(in crate::store::embedded) fn is_behind(&self, at: Position) -> bool {
        at >= self.end
    }

    /// Entries that were settled as lost behind the mark.
    pub(in crate::store::embedded) fn lost_behind(&self) -> u64 {
        self.lost_behind
    }

    /// Entries in sound blocks behind the mark.
    pub(in crate::store::embedded) fn found_behind(&self) -> u64 {
        self.behind.values().sum()
    }

    /// Entries of a segment in sound blocks that the scan met.
    pub(in crate::store::embedded) fn found_in(&self, segment: u32) -> (u64, u64) {
        let of = |counts: &BTreeMap<u32, u64>| counts.get(&segment).copied().unwrap_or(0);
        (of(&self.found), of(&self.behind))
    }

    pub(in crate::store::embedded) fn add(&mut self, at: Position, frame: &Frame<'_>) {
        match frame {
            Frame::Block(head) => {
                self.blocks.insert(at);
                if self.marked.get(&at.segment).is_some_and(|row| at.offset < row.end) {
                    *self.found.entry(at.segment).or_default() += u64::from(head.count);
                } else {
                    *self.behind.entry(at.segment).or_default() += u64::from(head.count);
                }
            }
            Frame::Settlements(runs) => {
                for run in runs.clone() {
                    // Only settlements of blocks that may be missing are remembered: their number bounds the memory.
                    let lives = |row: &SegmentRow| row.living > 0 && run.block.offset < row.end;
                    let is_missing = self.marked.get(&run.block.segment).is_some_and(lives)
                        && !self.blocks.contains(&run.block);
                    let ended =
                        run.entries.iter().filter(|entry| !matches!(entry.what, What::Reschedule { .. }));
                    for entry in ended {
                        let is_behind = self.has_mark && at >= self.end;
                        let is_first = is_behind && self.ended_behind.insert((run.block, entry.index));
                        self.lost_behind += u64::from(is_first && entry.what == What::Lost);
                        if !is_missing {
                            continue;
                        }
                        if self.known.insert((run.block, entry.index)) {
                            *self.settled.entry(run.block.segment).or_default() += 1;
                            let behind = self.settled_behind.entry(run.block.segment).or_default();
                            *behind += u64::from(at >= self.end);
                        }
                    }
                }
            }
            Frame::Dead(_) => {}
        }
    }
}

/// What the journal lacks against the account.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shortfall {
    /// Entries lost for certain, by segment.
    pub lost: BTreeMap<u32, u64>,
    /// Entries that may be lost beyond these, by segment: upper bounds.
    pub uncertain: BTreeMap<u32, u64>,
    /// Segments that the account knows to hold entries and that are not there.
    pub missing: Vec<u32>,
    /// Damaged places that were not counted before.
    pub damaged: u64,
}

impl Shortfall {
    /// Whether nothing is missing, not even possibly.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.lost.is_empty() && self.uncertain.is_empty() && self.missing.is_empty()
    }
}

/// How much of the journal a scan has read, and what it found to be alive.
pub(in crate::store::embedded) struct Extent<'a> {
    /// Where the scan began; the beginning of the journal by default.
    pub from: Position,
    /// Living entries by segment as of the mark; `None` when nobody counted: then all bounds are upper ones.
    pub living: Option<&'a BTreeMap<u32, u64>>,
    /// Entries by segment that the closing list has and the journal has not; `None` without a list.
    pub missing: Option<&'a BTreeMap<u32, u64>>,
}

/// Compares. `files` are the segments that are there.
pub(in crate::store::embedded) fn compare(
    found: &StoredAccount,
    tally: &ScanTally,
    report: &ScanReport,
    files: &BTreeMap<u32, u64>,
    extent: &Extent<'_>,
) -> Shortfall {
    // Without a mark nothing is expected, so that nothing can be missing.
    let Some(mark) = &found.mark else { return Shortfall::default() };
    let mut verdict = Shortfall::default();
    for (number, row) in &mark.segments {
        // A segment of which nothing lived may have been deleted after the mark.
        if !files.contains_key(number) && row.living > 0 {
            verdict.missing.push(*number);
        }
        if *number >= extent.from.segment && extent.missing.is_none() {
            let segment =
                SegmentComparison { number: *number, row, walked: report.walked.get(number), extent, tally };
            segment.judge(&mut verdict);
        }
    }
    if let Some(missing) = extent.missing {
        verdict.lost.clone_from(missing);
    }
    for (number, walked) in &report.walked {
        let known = mark.segments.get(number).map_or(0, |row| row.damaged);
        verdict.damaged += (walked.damaged + u64::from(walked.uncertain)).saturating_sub(known);
    }
    verdict.damaged += verdict.missing.len() as u64;
    behind(found, mark, tally, report, files, &mut verdict);
    verdict
}

struct SegmentComparison<'a> {
    number: u32,
    row: &'a SegmentRow,
    walked: Option<&'a Walked>,
    extent: &'a Extent<'a>,
    tally: &'a ScanTally,
}

impl SegmentComparison<'_> {
    fn judge(&self, verdict: &mut Shortfall) {
        let (most, least) = (self.most(), self.least());
        // The two come from different counts; a bound below the certain loss would hide it.
        let most = most.max(least);
        if least > 0 {
            verdict.lost.insert(self.number, least);
        }
        if most > least {
            verdict.uncertain.insert(self.number, most - least);
        }
    }

    /// Lost entries at most: those missing that nobody is known to have settled.
    fn most(&self) -> u64 {
        if self.row.living == 0 {
            return 0;
        }
        let found = self.tally.found.get(&self.number).copied().unwrap_or(0);
        let starts_within = self.number == self.extent.from.segment && self.extent.from.offset > 0;
        let before = match self.walked {
            _ if !starts_within => Some(0),
            // The scan began at or behind the marked end: everything below is known to the index.
            _ if self.extent.from.offset >= self.row.end => return 0,
            walked => walked.and_then(|walked| walked.before),
        };
        let is_damaged =
            self.walked.is_none_or(|walked| walked.damaged > self.row.damaged || walked.end < self.row.end);
        // Of a segment from before there was an account nobody knows how many entries it took.
        let accepted = (self.row.accepted >= self.row.living).then_some(self.row.accepted);
        let missing = match (accepted, before) {
            (Some(accepted), Some(before)) => accepted.saturating_sub(before.saturating_add(found)),
            _ if is_damaged => self.row.living,
            _ => 0,
        };
        let settled = self.tally.settled.get(&self.number).copied().unwrap_or(0);
        missing.saturating_sub(settled).min(self.row.living)
    }

    /// Lost entries at least: those alive by the account that were not found alive.
    fn least(&self) -> u64 {
        let Some(living) = self.extent.living else { return 0 };
        let found = living.get(&self.number).copied().unwrap_or(0);
        let since = self.tally.settled_behind.get(&self.number).copied().unwrap_or(0);
        self.row.living.saturating_sub(found).saturating_sub(since)
    }
}

/// Whatever may be missing behind the mark: at most what the account allowed for and was not found.
fn behind(
    found: &StoredAccount,
    mark: &AccountMark,
    tally: &ScanTally,
    report: &ScanReport,
    files: &BTreeMap<u32, u64>,
    verdict: &mut Shortfall,
) {
    if mark.closed {
        return;
    }
    // The copy that is lost may have held a newer mark, which allowed for more.
    let slack = if found.may_be_older() { NEXT_REACH } else { 0 };
    let reach = mark.may_reach.saturating_add(slack).saturating_sub(mark.accepted);
    let mut left = reach.saturating_sub(tally.found_behind());
    // Frames on both sides count what stood between them; which of it had ended is unknown.
    for (number, walked) in report.walked.iter().filter(|(_, walked)| walked.behind > 0) {
        *verdict.uncertain.entry(*number).or_default() += walked.behind;
        left = left.saturating_sub(walked.behind);
    }
    let is_short = |number: u32, row: &SegmentRow| match files.get(&number) {
        None => true,
        // As it was before the scan cut it. A full segment gave back what it did not use after the next one was begun.
        Some(length) => {
            let length = report.walked.get(&number).map_or(*length, |walked| walked.length);
            length < row.size
        }
    };
    let mut signs = mark.segments.range(mark.end.segment..).filter(|(number, row)| is_short(**number, row));
    if let Some((number, _)) = signs.next() {
        // What the missing bytes held only the reach can tell.
        *verdict.uncertain.entry(*number).or_default() += left;
        left = 0;
    }
    for (number, walked) in &report.walked {
        let bound = walked.hidden.min(left);
        // What one place may have held, another cannot: the reach bounds their sum.
        left -= bound;
        *verdict.uncertain.entry(*number).or_default() += bound;
    }
    verdict.uncertain.retain(|_, bound| *bound > 0);
}
