//! The walk over the bytes of one segment, apart from files: where frames, damage and the torn end lie.

use std::fmt;

use super::codec::len_u32;
use super::frame::{self, ALIGN, FRAME_HEADER_BYTES, FrameError, Header, MARK, Place};

/// Damaged places that a report names; more are only counted.
const NAMED_DAMAGES: usize = 1000;

/// A place that does not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// In which segment.
    pub segment: u32,
    /// From which byte on.
    pub offset: u32,
    /// How many bytes.
    pub bytes: u64,
    /// What is wrong there.
    pub error: FrameError,
    /// It is the never acknowledged end of the last group.
    pub torn: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.torn { "torn end" } else { "damage" };
        write!(
            f,
            "segment {} offset {}: {what}, {} bytes: {}",
            self.segment, self.offset, self.bytes, self.error
        )
    }
}

/// What a scan met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Segments walked.
    pub segments: u64,
    /// Sound frames.
    pub frames: u64,
    /// Entries in sound blocks, or dead letters.
    pub entries: u64,
    /// Settlements of entries.
    pub settlements: u64,
    /// Bytes of segments read.
    pub bytes: u64,
    /// Damaged places, torn ends aside.
    pub damaged: u64,
    /// Entries that the damage has cost, as far as the counts of the frames around it tell.
    pub lost_entries: u64,
    /// Bytes of the torn end: never acknowledged.
    pub torn_bytes: u64,
    /// Each place, up to a thousand.
    pub damages: Vec<Damage>,
    /// Damaged bytes could not be copied aside (they are still in the segment).
    pub set_aside_failures: u64,
    /// The newest accepted time met, Unix ms: no clock may start before it.
    pub newest_ms: u64,
    /// The starting position lies beyond the end of its segment, or its segment is gone: what was
    /// written after the index's checkpoint is not all there.
    pub start_missing: bool,
}

impl ScanReport {
    pub(super) fn note(&mut self, damage: Damage) {
        if damage.torn {
            self.torn_bytes += damage.bytes;
        } else {
            self.damaged += 1;
        }
        if self.damages.len() < NAMED_DAMAGES {
            self.damages.push(damage);
        }
    }
}

/// What the walk meets next.
pub(super) enum Step<'a> {
    /// A sound frame.
    Frame { offset: u32, header: Header, payload: &'a [u8] },
    /// Bytes that are none, up to the next sound frame or the end.
    Bad { offset: u32, bytes: usize, error: FrameError, lost: u32, unacknowledged: bool },
    /// A sound frame of a newer version.
    Newer(u32),
}

/// Walks the frames of one segment.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    place: Place,
    /// Entries in the frames so far, as the frames themselves count; `None` until the first one.
    counted: Option<u32>,
}

impl<'a> Walk<'a> {
    /// `bytes` is the whole segment; `at` where to begin.
    pub(super) fn new(bytes: &'a [u8], at: usize, salt: u64, segment: u32) -> Self {
        // Zeros at the end are preallocation; a frame's padding may be among them.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let end = used.next_multiple_of(ALIGN).min(bytes.len());
        let counted = (at == super::HEAD_BYTES).then_some(0);
        Self { bytes, at, end, place: Place { salt, segment, offset: 0 }, counted }
    }

    /// Whether the starting point lies in the preallocation beyond everything that was written. A written end of
    /// zeros looks the same: that costs a needless rebuild of the index, no entry.
    pub(super) fn starts_beyond_end(&self) -> bool {
        self.at > self.end && self.at != self.bytes.len() && self.at > super::HEAD_BYTES
    }

    /// Where the walk stands.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn open(&self, at: usize) -> Result<(Header, &'a [u8]), FrameError> {
        // To the end of the file, not to the last byte that is set: payloads may end in zeros.
        let bytes = self.bytes.get(at..).ok_or(FrameError::Short)?;
        frame::open(bytes, Place { offset: len_u32(at), ..self.place })
    }

    fn bad(&mut self, error: FrameError) -> Step<'a> {
        let start = self.at;
        let mut found = None;
        let mut acknowledged = false;
        let mut at = start + ALIGN;
        while at < self.end {
            if self.bytes.get(at..at + 4) == Some(&MARK[..])
                && let Ok((header, _)) = self.open(at)
            {
                found = found.or(Some((at, header)));
                acknowledged |= header.first_of_group;
                if acknowledged {
                    break;
                }
                at += header.frame_bytes();
            } else {
                at += ALIGN;
            }
        }
        let claimed = self
            .bytes
            .get(start..)
            .and_then(|bytes| frame::claimed_entries(bytes.get(..FRAME_HEADER_BYTES)?));
        let (resume, lost) = match found {
            Some((at, header)) => {
                (at, self.counted.map_or(0, |counted| header.entries_before.saturating_sub(counted)))
            }
            // Nothing after it to count by: the broken frame's own claim, when it is in step.
            None => (
                self.end,
                claimed
                    .filter(|claim| Some(claim.0) == self.counted)
                    .map_or(0, |claim| claim.1.min(256).into()),
            ),
        };
        self.counted = self.counted.map(|counted| counted.saturating_add(lost));
        self.at = resume;
        let unacknowledged = !acknowledged;
        Step::Bad { offset: len_u32(start), bytes: resume - start, error, lost, unacknowledged }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        if self.at >= self.end {
            return None;
        }
        match self.open(self.at) {
            Ok((header, payload)) => {
                let offset = len_u32(self.at);
                self.at += header.frame_bytes();
                self.counted = Some(header.entries_before.saturating_add(header.entries.into()));
                Some(Step::Frame { offset, header, payload })
            }
            Err(FrameError::Version(version)) => Some(Step::Newer(version.into())),
            Err(error) => Some(self.bad(error)),
        }
    }
}
