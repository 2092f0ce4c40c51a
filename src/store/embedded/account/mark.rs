//! What a mark of the account holds, and its form as JSON.
//!
//! Must not know: files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::embedded::journal::{HEAD_BYTES, Position};

/// What the account keeps of one segment of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SegmentRow {
    /// Number of entries accepted into it up to `end`.
    pub accepted: u64,
    /// Number of those that were owed an end at the mark.
    pub living: u64,
    /// The offset at which its last group ends.
    pub end: u32,
    /// Bytes that its file has at least: those that it had from the beginning, or that were in use when the next one
    /// was begun; 0 when that is unknown.
    pub size: u64,
    /// Damaged places in it that were counted.
    pub damaged: u64,
}

impl SegmentRow {
    /// An empty segment of `size` bytes.
    #[must_use]
    pub(crate) fn begun(size: u64) -> Self {
        // The head is 64 bytes long.
        Self { end: u32::try_from(HEAD_BYTES).unwrap_or(0), size, ..Self::default() }
    }
}

/// A range of the journal whose entries were lost without anybody knowing which they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32, u32)", into = "(u32, u32, u32)")]
pub struct Gone {
    /// Number of the segment.
    pub segment: u32,
    /// Offset of the first byte that is gone.
    pub from: u32,
    /// Offset behind the last byte that is gone.
    pub to: u32,
}

impl From<(u32, u32, u32)> for Gone {
    fn from((segment, from, to): (u32, u32, u32)) -> Self {
        Self { segment, from, to }
    }
}

impl From<Gone> for (u32, u32, u32) {
    fn from(Gone { segment, from, to }: Gone) -> Self {
        (segment, from, to)
    }
}

/// The account as of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub(crate) struct AccountMark {
    /// The salt of the directory.
    pub salt: u64,
    /// Nothing was written after this mark.
    pub closed: bool,
    /// Where the journal ended as of that commit.
    pub end: Position,
    /// Entries accepted since the directory was made.
    pub accepted: u64,
    /// Entries lost since the directory was made.
    pub lost: u64,
    /// Damaged places found since the directory was made.
    pub damaged_frames: u64,
    /// `accepted` does not exceed this without a newer mark.
    pub may_reach: u64,
    /// The rows of the segments, by number.
    pub segments: BTreeMap<u32, SegmentRow>,
    /// Letters in the segments of `dead/`, by number.
    pub dead: BTreeMap<u32, u64>,
    /// Ranges that were lost without anybody knowing which entries they held.
    pub gone: Vec<Gone>,
    /// The epoch of the directory that the start took which wrote it; 0 when that is unknown.
    pub epoch: u64,
    /// The newest version of the policy book; 0 when none is known.
    pub book: u64,
}

impl AccountMark {
    /// What of an older mark still holds: totals only grow.
    #[must_use]
    pub(crate) fn totals(&self) -> Self {
        let Self { accepted, lost, damaged_frames, book, .. } = *self;
        Self { accepted, lost, damaged_frames, book, ..Self::default() }
    }

    /// Whether the bytes at this place of the journal were lost without anybody knowing which entries they held.
    #[must_use]
    pub(crate) fn is_gone(&self, at: Position) -> bool {
        let is_in = |gone: &Gone| gone.segment == at.segment && (gone.from..gone.to).contains(&at.offset);
        self.gone.iter().any(is_in)
    }
}

#[derive(Serialize, Deserialize)]
// Strict: a member that this version does not know would be lost with the next mark.
#[serde(deny_unknown_fields)]
struct Wire {
    salt: u64,
    closed: bool,
    end: (u32, u32),
    accepted: u64,
    lost: u64,
    damaged_frames: u64,
    may_reach: u64,
    segments: Vec<(u32, u64, u64, u32, u64, u64)>,
    dead: Vec<(u32, u64)>,
    gone: Vec<Gone>,
    #[serde(default)]
    epoch: u64,
    #[serde(default)]
    book: u64,
}

impl From<Wire> for AccountMark {
    fn from(wire: Wire) -> Self {
        let row = |(number, accepted, living, end, size, damaged)| {
            (number, SegmentRow { accepted, living, end, size, damaged })
        };
        Self {
            salt: wire.salt,
            closed: wire.closed,
            end: Position { segment: wire.end.0, offset: wire.end.1 },
            accepted: wire.accepted,
            lost: wire.lost,
            damaged_frames: wire.damaged_frames,
            may_reach: wire.may_reach,
            segments: wire.segments.into_iter().map(row).collect(),
            dead: wire.dead.into_iter().collect(),
            gone: wire.gone,
            epoch: wire.epoch,
            book: wire.book,
        }
    }
}

impl From<AccountMark> for Wire {
    fn from(mark: AccountMark) -> Self {
        let row = |(number, row): (u32, SegmentRow)| {
            (number, row.accepted, row.living, row.end, row.size, row.damaged)
        };
        Self {
            salt: mark.salt,
            closed: mark.closed,
            end: (mark.end.segment, mark.end.offset),
            accepted: mark.accepted,
            lost: mark.lost,
            damaged_frames: mark.damaged_frames,
            may_reach: mark.may_reach,
            segments: mark.segments.into_iter().map(row).collect(),
            dead: mark.dead.into_iter().collect(),
            gone: mark.gone,
            epoch: mark.epoch,
            book: mark.book,
        }
    }
}
