//! The walk over the bytes of one segment, apart from files: where frames, damage and the torn end lie.

use std::collections::BTreeMap;
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
    /// The starting position lies beyond what its segment holds: what was written before the index's checkpoint is
    /// not all there. The segment, and the byte at which it ends.
    pub start_beyond: Option<(u32, u32)>,
    /// Where the last segment is to be cut: its number, and the byte behind what it keeps.
    pub cut: Option<(u32, u32)>,
    /// Each segment that was walked, by number.
    pub walked: BTreeMap<u32, Walked>,
}

/// What a scan met in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walked {
    /// Bytes of its file.
    pub length: u64,
    /// Where its last sound frame ends.
    pub end: u32,
    /// Entries accepted before the scan's starting position; `None` when damage hides it.
    pub before: Option<u64>,
    /// Damaged places.
    pub damaged: u64,
    /// Entries that damage behind the account's last mark has cost, by the counts of the frames around it. How many
    /// of them were settled is unknown.
    pub behind: u64,
    /// Bad bytes at its end that may be a torn group or damage.
    pub uncertain: bool,
    /// Entries that the uncertain bytes hold at most: what they claim, when the claim is consistent, else what fits.
    pub hidden: u64,
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
    Bad {
        offset: u32,
        bytes: usize,
        error: FrameError,
        lost: u32,
        /// Whether the frames around it tell `lost`.
        is_counted: bool,
        unacknowledged: bool,
        claimed: Option<u64>,
    },
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

    /// Where the zeros begin that reach to the end of the file.
    pub(super) fn used_end(&self) -> usize {
        self.end
    }

    /// Entries before `at`, walking from the first frame; `None` when damage reaches over it.
    pub(super) fn count_before(bytes: &'a [u8], at: usize, salt: u64, segment: u32) -> Option<u32> {
        let mut walk = Self::new(bytes, super::HEAD_BYTES, salt, segment);
        while walk.at < at {
            walk.next()?;
        }
        walk.counted.filter(|_| walk.at == at)
    }

    /// Takes over how many entries lie before the starting point.
    pub(super) fn counted(mut self, counted: Option<u32>) -> Self {
        self.counted = counted;
        self
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
        let is_counted = found.is_some() && self.counted.is_some();
        self.counted = self.counted.map(|counted| counted.saturating_add(lost));
        self.at = resume;
        let unacknowledged = !acknowledged;
        let claimed = if found.is_none() { self.claim(start) } else { None };
        Step::Bad {
            offset: len_u32(start),
            bytes: resume - start,
            error,
            lost,
            is_counted,
            unacknowledged,
            claimed,
        }
    }

    /// The entries that a broken last frame claims, if its header and its payload agree, it is in step, and nothing
    /// follows it. A claim is not protected by a sum that holds: it is only as good as these.
    fn claim(&self, start: usize) -> Option<u64> {
        let bytes = self.bytes.get(start..)?;
        let header = bytes.get(..FRAME_HEADER_BYTES)?;
        let (before, entries) = frame::claimed_entries(header)?;
        let payload_bytes = frame::claimed_payload_bytes(header).ok()?;
        let payload = bytes.get(FRAME_HEADER_BYTES..)?;
        let in_payload = u16::from_le_bytes(payload.get(4..6)?.try_into().ok()?);
        let is_block = header.get(5) == Some(&1);
        let is_last = (start + FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN) >= self.end;
        // `counted` already holds what the claim added.
        let in_step = self.counted == Some(before.saturating_add(entries.min(256).into()))
            || self.counted == Some(before);
        (is_block && is_last && in_step && in_payload == entries && (1..=256).contains(&entries))
            .then_some(entries.into())
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
