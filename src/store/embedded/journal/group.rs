//! A group under construction: the frames of one write, encoded once into a buffer that is reused.

use super::block::{self, NewBlock, Packer};
use super::codec::{len_u16, len_u32};
use super::dead;
use super::frame::{ALIGN, FRAME_HEADER_BYTES, FrameKind, FramePlace, Header, MAX_PAYLOAD_BYTES};
use super::settlements::{self, MAX_ENTRY_BYTES, RUN_HEAD_BYTES, SettledRun, WHY_BYTES};
use super::{MAX_BLOCK_BYTES, Position};
use crate::event::LaneKey;
use crate::store::embedded::keys::{NoRandom, SEALED_EXTRA_BYTES, Sealer};
use crate::store::{DeadLetter, StoreError};
use crate::telemetry::defect;

/// Longest group: bounds what one write and its memory take, and how far a file outgrows its segment.
pub(crate) const MAX_GROUP_BYTES: usize = 32 * 1024 * 1024;

/// A settlements frame is closed at this length and the next run starts another.
const SETTLEMENTS_FRAME_BYTES: usize = 1024 * 1024;
/// What a block can need beside its body: header, lane key, due times, dedup rows, and LZ4's worst case.
const BLOCK_OVERHEAD_BYTES: usize = 64 + SEALED_EXTRA_BYTES + LaneKey::MAX_BYTES + 256 * (8 + 26);

/// Frames for one [`super::Journal::append`]. Keep one and use it again: it keeps its memory.
#[derive(Default)]
pub struct FrameGroup {
    bytes: Vec<u8>,
    frames: Vec<OpenFrame>,
    /// Frames that get a position: all but settlements.
    numbered: usize,
    packer: Packer,
    /// Whether records get room for what encryption adds.
    sealed: bool,
    /// The group as it is written, where records are encrypted: `bytes` stays, for another place if need be.
    written: Vec<u8>,
}

struct OpenFrame {
    at: usize,
    /// Where the part to be encrypted begins.
    sealed_at: Option<usize>,
    kind: FrameKind,
    entries: u16,
    payload_bytes: usize,
    payload_crc: u32,
}

impl FrameGroup {
    /// For a journal that encrypts records, or for one that does not.
    #[must_use]
    pub fn of(sealed: bool) -> Self {
        Self { sealed, ..Self::default() }
    }

    /// Whether it holds records, and not settlements alone.
    pub(super) fn has_records(&self) -> bool {
        self.numbered > 0
    }

    /// Whether it holds records that are to be written as they are.
    pub(super) fn has_plain(&self) -> bool {
        !self.sealed && self.has_records()
    }

    /// Bytes of the frames added so far, padding included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Whether a block with a body of `raw_bytes` (four per record and the records) can be added for certain.
    #[must_use]
    pub fn fits(&self, raw_bytes: usize) -> bool {
        raw_bytes <= MAX_BLOCK_BYTES && self.bytes.len() + worst_case(raw_bytes) <= MAX_GROUP_BYTES
    }

    /// Adds a block and returns its number among the blocks and dead letters of this group: the place of its
    /// position in the answer of [`super::Journal::append`].
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when the block or the group would exceed its bound; the group is as before.
    pub fn push_block(&mut self, block: &NewBlock<'_>) -> Result<usize, StoreError> {
        let raw_bytes = block.records.iter().map(|record| record.len() + 4).sum::<usize>();
        if self.bytes.len() + worst_case(raw_bytes) > MAX_GROUP_BYTES {
            return Err(StoreError::TooLarge { bytes: raw_bytes });
        }
        let at = self.begin();
        match block::encode(block, self.sealed, &mut self.packer, &mut self.bytes) {
            Ok(body_at) => {
                let entries = len_u16(block.records.len());
                Ok(self.finish(at, self.sealed.then_some(body_at), FrameKind::Block, entries))
            }
            Err(error) => Err(self.give_up(at, error)),
        }
    }

    /// Adds settlements, in as few frames as their number allows.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when the group would exceed its bound; some of the runs may have been added.
    pub fn push_settlements(&mut self, runs: &[SettledRun]) -> Result<(), StoreError> {
        let mut rest = runs;
        while !rest.is_empty() {
            let mut bytes = 0_usize;
            let fitting = rest
                .iter()
                .take_while(|run| {
                    bytes += 2 * RUN_HEAD_BYTES + run.entries.len() * (MAX_ENTRY_BYTES + WHY_BYTES);
                    bytes <= SETTLEMENTS_FRAME_BYTES
                })
                .count()
                // A run is not split: one that is longer than a frame should be gets a frame of its own.
                .max(1);
            let (now, later) = rest.split_at(fitting);
            if self.bytes.len() + bytes + FRAME_HEADER_BYTES + ALIGN > MAX_GROUP_BYTES {
                return Err(StoreError::TooLarge { bytes });
            }
            let at = self.begin();
            now.iter().for_each(|run| settlements::encode(run, &mut self.bytes));
            self.finish(at, None, FrameKind::Settlements, 0);
            rest = later;
        }
        Ok(())
    }

    /// Adds a dead letter; only for a journal of dead letters.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] when its record or the group would exceed its bound; the group is as before.
    pub fn push_dead(&mut self, letter: &DeadLetter) -> Result<usize, StoreError> {
        if !self.fits(letter.record.len()) {
            return Err(StoreError::TooLarge { bytes: letter.record.len() });
        }
        let at = self.begin();
        match dead::encode(letter, self.sealed, &mut self.bytes) {
            Ok(record_at) => Ok(self.finish(at, self.sealed.then_some(record_at), FrameKind::Dead, 1)),
            Err(error) => Err(self.give_up(at, error)),
        }
    }

    /// Empties the group and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.numbered = 0;
    }

    fn begin(&mut self) -> usize {
        let at = self.bytes.len();
        defect!(unless at.is_multiple_of(ALIGN), "a frame that begins off its alignment");
        // Filled in by `seal`: the sum needs the place, which is known only when the group is written.
        self.bytes.resize(at + FRAME_HEADER_BYTES, 0);
        at
    }

    fn give_up(&mut self, at: usize, error: StoreError) -> StoreError {
        // The encoder may have left part of a frame.
        self.bytes.truncate(at);
        error
    }

    fn finish(&mut self, at: usize, sealed_at: Option<usize>, kind: FrameKind, entries: u16) -> usize {
        defect!(unless at + FRAME_HEADER_BYTES <= self.bytes.len(), "a frame without room for its header");
        let payload = self.bytes.get(at + FRAME_HEADER_BYTES..).unwrap_or_default();
        // Summed here, once: a group that is refused and sealed again at another place sums only its headers anew.
        let payload_bytes = payload.len();
        let payload_crc = if sealed_at.is_some() { 0 } else { crc32c::crc32c(payload) };
        defect!(unless payload_bytes <= MAX_PAYLOAD_BYTES, "a payload that no reader would believe");
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN), 0);
        self.frames.push(OpenFrame { at, sealed_at, kind, entries, payload_bytes, payload_crc });
        let number = self.numbered;
        self.numbered += usize::from(kind != FrameKind::Settlements);
        defect!(unless self.bytes.len() <= MAX_GROUP_BYTES, "a group that is longer than it may be");
        number
    }

    /// Encrypts the records for the place where the group will lie, fills in the headers, and returns the positions of
    /// its blocks or dead letters, the bytes to write and the entries in them.
    pub(super) fn seal(
        &mut self,
        place: FramePlace,
        entries_before: u32,
        sealer: Option<&mut Sealer>,
    ) -> Result<(Vec<Position>, &[u8], u32), NoRandom> {
        if self.sealed {
            self.encrypt(place, sealer.ok_or(NoRandom)?)?;
        }
        let bytes = if self.sealed { &mut self.written } else { &mut self.bytes };
        let is_aligned = (place.offset as usize).is_multiple_of(ALIGN);
        defect!(unless is_aligned, "a group that begins off its alignment");
        let mut positions = Vec::with_capacity(self.frames.len());
        let mut total = 0_u32;
        for (number, frame) in self.frames.iter().enumerate() {
            let offset = place.offset + len_u32(frame.at);
            let header = Header {
                kind: frame.kind,
                sealed: frame.sealed_at.is_some(),
                first_of_group: number == 0,
                entries_before: entries_before.saturating_add(total),
                entries: frame.entries,
                payload_bytes: frame.payload_bytes,
            };
            match bytes.get_mut(frame.at..).and_then(<[u8]>::first_chunk_mut) {
                Some(out) => header.seal(out, frame.payload_crc, FramePlace { offset, ..place }),
                None => defect!("a frame of a group behind its end"),
            }
            if frame.kind != FrameKind::Settlements {
                positions.push(Position { segment: place.segment, offset });
            }
            total = total.saturating_add(u32::from(frame.entries));
        }
        defect!(unless positions.len() == self.numbered, "frames of a group without a position");
        Ok((positions, bytes.as_slice(), total))
    }

    /// Makes the group anew as it is written at this place. What was pushed stays as it is.
    fn encrypt(&mut self, place: FramePlace, sealer: &mut Sealer) -> Result<(), NoRandom> {
        self.written.clear();
        self.written.extend_from_slice(&self.bytes);
        for frame in &mut self.frames {
            let Some(sealed_at) = frame.sealed_at else { continue };
            let place = FramePlace { offset: place.offset + len_u32(frame.at), ..place };
            let payload_at = frame.at + FRAME_HEADER_BYTES;
            let end = payload_at + frame.payload_bytes;
            // Each is within the bytes: `finish` has measured them.
            let whole = self.written.get_mut(payload_at..end).ok_or(NoRandom)?;
            let (clear, part) = whole.split_at_mut_checked(sealed_at - payload_at).ok_or(NoRandom)?;
            sealer.seal(part, &[&place.bytes(), clear])?;
            frame.payload_crc = crc32c::crc32c(whole);
        }
        Ok(())
    }
}

fn worst_case(raw_bytes: usize) -> usize {
    // An eighth: at worst LZ4 asks for a tenth more room than the body has, and some bytes.
    raw_bytes + raw_bytes / 8 + BLOCK_OVERHEAD_BYTES
}
