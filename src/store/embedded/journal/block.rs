//! Blocks: accepted entries of one lane. The head carries what the index needs; the body is unpacked when read.

use bytes::Bytes;

use super::Position;
use super::codec::{PayloadReader, len_u16, len_u32};
use super::frame::{ALIGN, FRAME_HEADER_BYTES, FrameError, FramePlace};
use super::sealing::{Opener, SealedPart};
use crate::event::LaneKey;
use crate::store::embedded::keys::{KeyId, Keys, Sealer};
use crate::store::{Dedup, MAX_RECORD_BYTES, StoreError};
use crate::telemetry::defect;

/// Most entries of a block: an index of eight bits names each.
pub const MAX_BLOCK_ENTRIES: usize = 256;
/// Longest body before compression: all records and four bytes for each.
pub(crate) const MAX_BLOCK_BYTES: usize = 4 * 1024 * 1024;

/// No frame of a block is shorter: header, head, a lane key and a body of one byte each, padded.
const MIN_FRAME_BYTES: usize = (FRAME_HEADER_BYTES + HEAD_BYTES + 2).next_multiple_of(ALIGN);
/// The fields before the lane key.
const HEAD_BYTES: usize = 24;
/// Flag: the entries have due times.
const DELAYED: u8 = 1;
/// Flag: the body is an LZ4 block.
const LZ4: u8 = 2;
/// Flag: the body is encrypted.
const SEALED: u8 = 4;
/// Entry (2), key (16), fingerprint (8).
const DEDUP_ROW_BYTES: usize = 26;
/// Shorter bodies are left as they are: what could be saved is lost again in padding.
const MIN_PACKED_BYTES: usize = 128;

/// A block to be written. Entries must be all plain or all delayed.
#[derive(Debug, Clone, Copy)]
pub struct NewBlock<'a> {
    /// The store's number for the lane.
    pub lane_no: u32,
    /// The lane's name: a rebuild needs no other source.
    pub lane: &'a LaneKey,
    /// Unix ms; must not decrease over the journal.
    pub accepted_ms: u64,
    /// The records, 1 to [`MAX_BLOCK_ENTRIES`].
    pub records: &'a [Bytes],
    /// One due time per record for a delayed block; empty for a plain one.
    pub due_ms: &'a [u64],
    /// Rows for the entries that came with a key.
    pub dedup: &'a [DedupRow],
}

/// Which entry of a block came with which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DedupRow {
    /// Index of the entry in its block.
    pub index: u16,
    /// Digests of its key and its content.
    pub dedup: Dedup,
}

/// Memory that encoding reuses from block to block.
pub(super) struct Packer {
    // Kept from block to block: an allocation for each would lie in the way of every commit.
    table: lz4_flex::block::CompressTable,
    plain: Vec<u8>,
}

impl Default for Packer {
    fn default() -> Self {
        Self { table: lz4_flex::block::CompressTable::large(), plain: Vec::new() }
    }
}

/// The most entries that the blocks in this many bytes of a segment can hold.
pub(super) fn most_entries(bytes: usize) -> u64 {
    bytes.div_ceil(MIN_FRAME_BYTES).saturating_mul(MAX_BLOCK_ENTRIES) as u64
}

/// Appends the payload of `block` to `out`, with room for what encryption adds when it is `sealed`. Returns the byte of
/// `out` at which the body begins.
pub(super) fn encode(
    block: &NewBlock<'_>,
    sealed: bool,
    packer: &mut Packer,
    out: &mut Vec<u8>,
) -> Result<usize, StoreError> {
    let raw_bytes = check(block)?;
    let delayed = !block.due_ms.is_empty();
    let key = block.lane.as_str().as_bytes();
    out.extend_from_slice(&block.lane_no.to_le_bytes());
    out.extend_from_slice(&len_u16(block.records.len()).to_le_bytes());
    let flags_at = out.len();
    let flags = if delayed { DELAYED } else { 0 } | if sealed { SEALED } else { 0 };
    out.extend_from_slice(&[flags, 0]);
    out.extend_from_slice(&block.accepted_ms.to_le_bytes());
    out.extend_from_slice(&len_u32(raw_bytes).to_le_bytes());
    out.extend_from_slice(&len_u16(key.len()).to_le_bytes());
    out.extend_from_slice(&len_u16(block.dedup.len()).to_le_bytes());
    out.extend_from_slice(key);
    for due in block.due_ms {
        out.extend_from_slice(&due.to_le_bytes());
    }
    for row in block.dedup {
        out.extend_from_slice(&row.index.to_le_bytes());
        out.extend_from_slice(&row.dedup.key);
        out.extend_from_slice(&row.dedup.fingerprint.to_le_bytes());
    }
    let body_at = out.len();
    if sealed {
        Sealer::begin(out);
    }
    packer.plain.clear();
    let plain = &mut packer.plain;
    plain.reserve(raw_bytes);
    for record in block.records {
        plain.extend_from_slice(&len_u32(record.len()).to_le_bytes());
    }
    for record in block.records {
        plain.extend_from_slice(record);
    }
    defect!(unless plain.len() == raw_bytes, "a block whose body has another length than its head says");
    if pack(plain, &mut packer.table, out) {
        if let Some(flags) = out.get_mut(flags_at) {
            *flags |= LZ4;
        }
    } else {
        out.extend_from_slice(plain);
    }
    if sealed {
        Sealer::end(out);
    }
    Ok(body_at)
}

/// Appends the compressed body when that saves an eighth.
fn pack(plain: &[u8], table: &mut lz4_flex::block::CompressTable, out: &mut Vec<u8>) -> bool {
    if plain.len() < MIN_PACKED_BYTES {
        return false;
    }
    let start = out.len();
    out.resize(start + lz4_flex::block::get_maximum_output_size(plain.len()), 0);
    let packed = out
        .get_mut(start..)
        .and_then(|room| lz4_flex::block::compress_into_with_table(plain, room, table).ok())
        .filter(|packed| *packed <= plain.len() - plain.len() / 8);
    // Without a gain nothing of the attempt may stay: the caller appends the plain body here.
    out.truncate(start + packed.unwrap_or(0));
    packed.is_some()
}

/// Length of the body, or why the block may not be written.
fn check(block: &NewBlock<'_>) -> Result<usize, StoreError> {
    let count = block.records.len();
    // An id has eight bits for the index and a reader trusts the counts, so that a wrong block must not be written.
    let wrong = count == 0
        || count > MAX_BLOCK_ENTRIES
        || (!block.due_ms.is_empty() && block.due_ms.len() != count)
        || block.dedup.len() > count
        || block.dedup.iter().any(|row| usize::from(row.index) >= count);
    if wrong {
        return Err(StoreError::TooLarge { bytes: count });
    }
    if let Some(long) = block.records.iter().find(|record| record.len() > MAX_RECORD_BYTES) {
        return Err(StoreError::TooLarge { bytes: long.len() });
    }
    let raw_bytes = block.records.iter().map(|record| record.len() + 4).sum::<usize>();
    if raw_bytes > MAX_BLOCK_BYTES { Err(StoreError::TooLarge { bytes: raw_bytes }) } else { Ok(raw_bytes) }
}

/// What a block says of itself without unpacking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockHead<'a> {
    /// The store's number for the lane.
    pub lane_no: u32,
    /// The lane's name; checked for UTF-8 and length alone.
    pub lane: &'a str,
    /// When its entries were accepted, Unix ms.
    pub accepted_ms: u64,
    /// Entries, 1 to [`MAX_BLOCK_ENTRIES`].
    pub count: u16,
    delayed: bool,
    packed: bool,
    raw_bytes: usize,
    due: &'a [u8],
    dedup: &'a [u8],
    body: &'a [u8],
    sealed: Option<SealedPart<'a>>,
}

impl<'a> BlockHead<'a> {
    /// Reads the payload of a block frame. Below the checksum: what it returns is only as good as the bytes.
    pub(super) fn decode(payload: &'a [u8]) -> Result<Self, FrameError> {
        let mut input = PayloadReader::new(payload);
        let lane_no = input.u32()?;
        let count = input.u16()?;
        let flags = input.u8()?;
        input.u8()?;
        let accepted_ms = input.u64()?;
        let raw_bytes = input.u32()? as usize;
        let key_bytes = usize::from(input.u16()?);
        let rows = usize::from(input.u16()?);
        let entries = usize::from(count);
        if entries == 0 || entries > MAX_BLOCK_ENTRIES || rows > entries {
            return Err(FrameError::Payload("counts out of bounds"));
        }
        if raw_bytes > MAX_BLOCK_BYTES || key_bytes == 0 || key_bytes > LaneKey::MAX_BYTES {
            return Err(FrameError::Payload("lengths out of bounds"));
        }
        if flags & !(DELAYED | LZ4 | SEALED) != 0 {
            return Err(FrameError::Payload("unknown flags"));
        }
        let lane = input.text(key_bytes)?;
        let delayed = flags & DELAYED != 0;
        let due = input.take(if delayed { entries * 8 } else { 0 })?;
        let dedup = input.take(rows * DEDUP_ROW_BYTES)?;
        let packed = flags & LZ4 != 0;
        let body = input.rest();
        let body_at = payload.len() - body.len();
        let sealed = (flags & SEALED != 0).then(|| SealedPart::split(payload, body_at)).transpose()?;
        Ok(Self { lane_no, lane, accepted_ms, count, delayed, packed, raw_bytes, due, dedup, body, sealed })
    }

    /// Whether every entry has a due time.
    #[cfg(test)]
    #[must_use]
    pub fn is_delayed(&self) -> bool {
        self.delayed
    }

    /// The due time of each entry, in order; nothing for a plain block.
    pub fn due_ms(&self) -> impl Iterator<Item = u64> + 'a {
        self.due.chunks_exact(8).filter_map(|chunk| PayloadReader::new(chunk).u64().ok())
    }

    /// The dedup rows. An index at or above [`BlockHead::count`] is left out.
    pub fn dedup(&self) -> impl Iterator<Item = DedupRow> + 'a {
        // An entry that is not there has no id; a row that names it would answer with a wrong one.
        let count = self.count;
        self.dedup.chunks_exact(DEDUP_ROW_BYTES).filter_map(dedup_row).filter(move |row| row.index < count)
    }

    /// The key that its records need; `None` when they are not encrypted.
    pub(crate) fn key(&self) -> Option<KeyId> {
        self.sealed.as_ref().map(SealedPart::key)
    }

    /// As [`BlockHead::unpack`], of a block that stands at `at` in the journal with this salt.
    pub(in crate::store::embedded) fn unpack_at(
        &self,
        at: Position,
        salt: u64,
        keys: &Keys,
    ) -> Result<Block, FrameError> {
        let place = FramePlace { salt, segment: at.segment, offset: at.offset };
        self.unpack(Opener { keys, place })
    }

    /// Decrypts and unpacks the records and checks that their lengths add up.
    pub(super) fn unpack(&self, opener: Opener<'_>) -> Result<Block, FrameError> {
        let opened = self.sealed.as_ref().map(|part| part.open(opener)).transpose()?;
        let stored = opened.as_deref().unwrap_or(self.body);
        let body = if self.packed {
            // Bounded by `decode`: a damaged length cannot ask for more than 4 MiB.
            let mut out = vec![0; self.raw_bytes];
            let got = lz4_flex::block::decompress_into(stored, &mut out)
                .map_err(|_| FrameError::Payload("body does not unpack"))?;
            if got != self.raw_bytes {
                return Err(FrameError::Payload("body has another length"));
            }
            out
        } else if stored.len() == self.raw_bytes {
            opened.unwrap_or_else(|| self.body.to_vec())
        } else {
            return Err(FrameError::Payload("body has another length"));
        };
        let mut lengths = PayloadReader::new(&body);
        let mut ends = Vec::with_capacity(usize::from(self.count));
        let mut end = usize::from(self.count) * 4;
        for _ in 0..self.count {
            // Saturating: a damaged length must fail the comparison below and not wrap into a sound one.
            end = end.saturating_add(lengths.u32()? as usize);
            ends.push(len_u32(end));
        }
        if end != body.len() {
            return Err(FrameError::Payload("lengths do not add up"));
        }
        Ok(Block {
            lane_no: self.lane_no,
            lane: LaneKey::new(self.lane).map_err(|_| FrameError::Payload("not a lane key"))?,
            accepted_ms: self.accepted_ms,
            due_ms: self.due_ms().collect(),
            body: body.into(),
            ends,
        })
    }
}

fn dedup_row(chunk: &[u8]) -> Option<DedupRow> {
    let mut input = PayloadReader::new(chunk);
    let index = input.u16().ok()?;
    let dedup = Dedup { key: input.array().ok()?, fingerprint: input.u64().ok()? };
    Some(DedupRow { index, dedup })
}

/// A block read back. Records share its memory: keep few of them for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The store's number for the lane.
    pub lane_no: u32,
    /// The name of the lane in which they stand.
    pub lane: LaneKey,
    /// When its entries were accepted, Unix ms.
    pub accepted_ms: u64,
    /// One due time per entry for a delayed block; empty for a plain one.
    pub due_ms: Vec<u64>,
    body: Bytes,
    ends: Vec<u32>,
}

impl Block {
    /// The number of entries: their indexes run from 0 to one less.
    #[must_use]
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Bytes that its records keep in memory.
    #[must_use]
    pub fn raw_bytes(&self) -> usize {
        self.body.len()
    }

    /// The record at `index`, without copying; `None` beyond the last.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<Bytes> {
        let end = *self.ends.get(index)? as usize;
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)? as usize,
            None => self.ends.len() * 4,
        };
        debug_assert!(
            start <= end && end <= self.body.len(),
            "entries of a block that do not follow each other"
        );
        // Ends ascend and the last one is the body's length: `unpack` has checked it.
        Some(self.body.slice(start..end))
    }
}
