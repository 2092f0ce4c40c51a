//! The walk over the bytes of one segment, in windows: where frames, damage and the torn end lie. What it finds does
//! not depend on the size of the windows.
//!
//! Must not know: what frames hold, what becomes of damage.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;

use super::block::BlockHead;
use super::codec::len_u32;
use super::dead::LetterFrame;
use super::frame::{self, ALIGN, FRAME_HEADER_BYTES, FrameError, FrameKind, FramePlace, Header, MARK};
use super::scan::MAX_FILE_BYTES;
use super::window::FileWindow;
use crate::store::embedded::keys::KeyId;
use crate::telemetry::defect;

/// Damaged places that a report names; more are only counted.
const NAMED_DAMAGES: usize = 1000;

/// Bytes of a segment that should be frames and do not decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment in which they lie.
    pub segment: u32,
    /// Offset of the first of these bytes in the file.
    pub offset: u32,
    /// Number of bytes up to the next sound frame, or to the end of what was written.
    pub bytes: u64,
    /// Why the frame at `offset` was refused.
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

/// The sums over all segments that a scan has read, and each damaged place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Number of segments read, sound or damaged.
    pub segments: u64,
    /// Number of frames that passed their sum and have the form of their kind.
    pub frames: u64,
    /// Entries in sound blocks, or dead letters.
    pub entries: u64,
    /// Number of settlements in sound frames, repetitions included.
    pub settlements: u64,
    /// Length of the segments read, preallocation included.
    pub bytes: u64,
    /// Number of damaged places; a torn end is none.
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
    /// Length of its file, preallocation included.
    pub length: u64,
    /// Where its last sound frame ends.
    pub end: u32,
    /// Entries accepted before the scan's starting position; `None` when damage hides it.
    pub before: Option<u64>,
    /// Number of damaged places in it; torn and uncertain ends do not count.
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

/// One step over a segment: a frame, or bytes between frames.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WalkStep<'a> {
    /// A frame that passed its sum at this place.
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
    /// A sound frame of a newer version. The walk ends there.
    Newer(u32),
}

/// Walks the frames of one segment from a place on, past damage.
pub(super) struct Walk<'a> {
    window: FileWindow<'a>,
    at: usize,
    end: usize,
    place: FramePlace,
    /// Entries in the frames so far, as the frames themselves count; `None` until the first one.
    counted: Option<u32>,
}

impl<'a> Walk<'a> {
    /// `file` is the segment's; `at` where to begin.
    ///
    /// # Errors The error of the system when a read fails.
    pub(super) fn new(file: &'a File, at: usize, salt: u64, segment: u32) -> io::Result<Self> {
        Self::over(FileWindow::new(file, MAX_FILE_BYTES)?, at, salt, segment)
    }

    fn over(mut window: FileWindow<'a>, at: usize, salt: u64, segment: u32) -> io::Result<Self> {
        // Zeros at the end are preallocation; a frame's padding may be among them.
        let used = window.used_end(0)?;
        let end = used.next_multiple_of(ALIGN as u64).min(window.length());
        let end = usize::try_from(end).unwrap_or(usize::MAX);
        // From the middle nothing is counted yet: the first sound frame says how many entries lie before it.
        let counted = (at == super::HEAD_BYTES).then_some(0);
        Ok(Self { window, at, end, place: FramePlace { salt, segment, offset: 0 }, counted })
    }

    /// Whether the starting point lies in the preallocation beyond everything that was written. A written end of
    /// zeros looks the same: that costs a needless rebuild of the index, no entry.
    pub(super) fn starts_beyond_end(&self) -> bool {
        self.at > self.end && self.at as u64 != self.window.length() && self.at > super::HEAD_BYTES
    }

    /// Where the zeros begin that reach to the end of the file.
    pub(super) fn used_end(&self) -> usize {
        self.end
    }

    /// Entries before `at`, walking from the first frame; `None` when damage reaches over it.
    ///
    /// # Errors
    /// What the system says when it does not read.
    pub(super) fn count_before(mut self, at: usize) -> io::Result<Option<u32>> {
        while self.at < at {
            if self.next()?.is_none() {
                return Ok(None);
            }
        }
        Ok(self.counted.filter(|_| self.at == at))
    }

    /// Whether any sound frame is there: it proves the salt and the number.
    ///
    /// # Errors
    /// What the system says when it does not read.
    pub(super) fn has_frames(mut self) -> io::Result<bool> {
        while let Some(step) = self.next()? {
            if !matches!(step, WalkStep::Bad { .. }) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The key of the first frame whose records are encrypted: that of the whole segment.
    ///
    /// # Errors
    /// What the system says when it does not read.
    pub(super) fn key(mut self) -> io::Result<Option<KeyId>> {
        while let Some(step) = self.next()? {
            let WalkStep::Frame { header, payload, .. } = step else { continue };
            let key = match header.kind {
                FrameKind::Block => BlockHead::decode(payload).ok().and_then(|head| head.key()),
                FrameKind::Dead => {
                    LetterFrame::decode(payload, header.sealed).ok().and_then(|frame| frame.key())
                }
                FrameKind::Settlements => None,
            };
            if key.is_some() {
                return Ok(key);
            }
        }
        Ok(None)
    }

    /// Takes over how many entries lie before the starting point.
    pub(super) fn counted(mut self, counted: Option<u32>) -> Self {
        self.counted = counted;
        self
    }

    /// What comes next; `None` at the end of what was written.
    ///
    /// # Errors
    /// What the system says when it does not read.
    pub(super) fn next(&mut self) -> io::Result<Option<WalkStep<'_>>> {
        if self.at >= self.end {
            return Ok(None);
        }
        match self.open(self.at)? {
            Ok(header) => {
                let start = self.at;
                self.at += header.frame_bytes();
                // Taken from the frame and not added up, so that a gap before it does not shift what follows.
                self.counted = Some(header.entries_before.saturating_add(header.entries.into()));
                let payload = self.bytes(start + FRAME_HEADER_BYTES, header.payload_bytes)?;
                Ok(Some(WalkStep::Frame { offset: len_u32(start), header, payload }))
            }
            Err(FrameError::Version(version)) => {
                // Another version may have frames of another form: nothing behind it can be judged.
                (self.at, self.counted) = (self.end, None);
                Ok(Some(WalkStep::Newer(version.into())))
            }
            Err(error) => self.bad(error).map(Some),
        }
    }

    /// This many bytes from `at` on, or what there is. To the end of the file, not to the last byte that is set:
    /// payloads may end in zeros.
    fn bytes(&mut self, at: usize, count: usize) -> io::Result<&[u8]> {
        let bytes = self.window.bytes(at as u64, count)?;
        Ok(bytes.get(..count).unwrap_or(bytes))
    }

    fn open(&mut self, at: usize) -> io::Result<Result<Header, FrameError>> {
        let place = FramePlace { offset: len_u32(at), ..self.place };
        let payload_bytes = match frame::claimed_payload_bytes(self.bytes(at, FRAME_HEADER_BYTES)?) {
            Ok(payload_bytes) => payload_bytes,
            Err(error) => return Ok(Err(error)),
        };
        let bytes = self.bytes(at, FRAME_HEADER_BYTES + payload_bytes)?;
        Ok(frame::open(bytes, place).map(|(header, _)| header))
    }

    /// The next sound frame behind `start`, and whether one that begins a group follows: a group that was acknowledged
    /// before it.
    fn resume(&mut self, start: usize) -> io::Result<(Option<(usize, Header)>, bool)> {
        let mut found = None;
        // Every frame starts at a multiple of 8; a length in a broken header is not trusted.
        let mut at = start + ALIGN;
        while at < self.end {
            let is_marked = self.bytes(at, MARK.len())? == MARK;
            let header = if is_marked { self.open(at)?.ok() } else { None };
            if let Some(header) = header {
                found = found.or(Some((at, header)));
                // A group is begun only after the one before it was synced: what lies before this frame was
                // acknowledged.
                if header.first_of_group {
                    return Ok((found, true));
                }
                // Past the whole frame: its payload may hold the mark, put there by a producer.
                at += header.frame_bytes();
            } else {
                at += ALIGN;
            }
        }
        Ok((found, false))
    }

    fn bad(&mut self, error: FrameError) -> io::Result<WalkStep<'static>> {
        let start = self.at;
        let (found, acknowledged) = self.resume(start)?;
        let header = self.bytes(start, FRAME_HEADER_BYTES)?;
        let claimed = header.get(..FRAME_HEADER_BYTES).and_then(frame::claimed_entries);
        let (resume, lost) = match found {
            Some((at, header)) => {
                (at, self.counted.map_or(0, |counted| header.entries_before.saturating_sub(counted)))
            }
            // Nothing after it to count by: the broken frame's own claim, when it is in step.
            None => (
                self.end,
                claimed
                    .filter(|claim| Some(claim.0) == self.counted)
                    // 256: the most entries of a block, whatever a broken header claims.
                    .map_or(0, |claim| claim.1.min(256).into()),
            ),
        };
        defect!(unless resume > start, "a walk that stays where it is");
        let is_counted = found.is_some() && self.counted.is_some();
        self.counted = self.counted.map(|counted| counted.saturating_add(lost));
        self.at = resume;
        let unacknowledged = !acknowledged;
        let claimed = if found.is_none() { self.claim(start)? } else { None };
        let offset = len_u32(start);
        Ok(WalkStep::Bad { offset, bytes: resume - start, error, lost, is_counted, unacknowledged, claimed })
    }

    /// The entries that a broken last frame claims, if its header and its payload agree, it is in step, and nothing
    /// follows it. A claim is not protected by a sum that holds: it is only as good as these.
    fn claim(&mut self, start: usize) -> io::Result<Option<u64>> {
        let (counted, end) = (self.counted, self.end);
        let bytes = self.bytes(start, FRAME_HEADER_BYTES + BLOCK_COUNT.end)?;
        Ok(claim(bytes, start, end, counted))
    }
}

/// Where a block's payload has its number of entries.
const BLOCK_COUNT: std::ops::Range<usize> = 4..6;

fn claim(bytes: &[u8], start: usize, end: usize, counted: Option<u32>) -> Option<u64> {
    let header = bytes.get(..FRAME_HEADER_BYTES)?;
    let (before, entries) = frame::claimed_entries(header)?;
    let payload_bytes = frame::claimed_payload_bytes(header).ok()?;
    let payload = bytes.get(FRAME_HEADER_BYTES..)?;
    let in_payload = u16::from_le_bytes(payload.get(BLOCK_COUNT)?.try_into().ok()?);
    // Byte 5 is the kind: only the payload of a block repeats its number of entries.
    let is_block = header.get(5) == Some(&1);
    let is_last = (start + FRAME_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGN) >= end;
    // `counted` already holds what the claim added.
    let in_step = counted == Some(before.saturating_add(entries.min(256).into())) || counted == Some(before);
    (is_block && is_last && in_step && in_payload == entries && (1..=256).contains(&entries))
        .then_some(entries.into())
}
