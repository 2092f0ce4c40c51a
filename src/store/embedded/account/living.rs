//! The closing list: which entries lived when the store was closed in good order. After that stop it replaces what a
//! damaged journal no longer tells: which entries of missing blocks were owed an end, and which entries had ended.
//!
//! # File
//! `living` in the data directory, written once at an orderly stop, before the closing mark of the account. It belongs
//! to the mark whose salt and end it names: no position is used twice, so that no other stop has the same. It is
//! removed when the store is opened again. Format 1, numbers are little-endian:
//!
//! | at | bytes | content |
//! |---|---|---|
//! | 0 | 8 | `TIDELIVE` |
//! | 8 | 4 | format, 1 |
//! | 12 | 4 | number of runs |
//! | 16 | 8 | salt of the directory |
//! | 24 | 8 | where the journal ended: segment (4), offset (4) |
//! | 32 | 8 | bytes of all runs |
//! | 40 | 4 | CRC-32C of all runs |
//! | 44 | 4 | CRC-32C of bytes 0..44 |
//! | 48 | .. | the runs |
//!
//! A run is its length without these 8 bytes (4), the number of its blocks (4), and the blocks in ascending order; runs
//! overlap and are merged when they are read. A block is the segment as the difference to that of the block before
//! (varint), an eighth of the offset (varint; the difference in the same segment), and its living entries: a zero byte
//! and n - 1 for the first n entries, or a byte k and k bytes of a bitmap, entry 0 in the lowest bit of the first.
//! Varints are LEB128.
//!
//! Runs bound the memory of the writer; a reader holds one small window of each.
//!
//! Must not know: the index, frames, what follows from the list.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;

pub(in crate::store::embedded) use self::reader::{Living, StoredList, open};
pub(in crate::store::embedded) use self::writer::write;
use crate::store::StoreError;
use crate::store::embedded::files;
use crate::store::embedded::journal::Position;

/// The name in the data directory.
pub(in crate::store::embedded) const NAME: &str = "living";

const MAGIC: [u8; 8] = *b"TIDELIVE";
const FORMAT: u32 = 1;
const HEAD_BYTES: usize = 48;
const RUN_HEAD_BYTES: usize = 8;
/// Blocks of one run: what the writer holds in memory, 40 bytes each.
const RUN_BLOCKS: usize = 64 * 1024;
/// Offsets of blocks are multiples of this.
const ALIGN: u32 = 8;
/// The longest encoded block: two varints, a bitmap.
const MAX_BLOCK_BYTES: usize = 5 + 5 + 1 + 32;

/// The head of a closing list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct ListHead {
    runs: u32,
    salt: u64,
    end: Position,
    bytes: u64,
    crc: u32,
}

impl ListHead {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&self.runs.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.end.segment.to_le_bytes());
        out.extend_from_slice(&self.end.offset.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// The format and the head; `None` when the bytes are not a head.
    fn decode(bytes: &[u8]) -> Option<(u32, Self)> {
        let (fields, sum) = bytes.split_last_chunk::<4>()?;
        // The sum before anything of it is used.
        if bytes.len() != HEAD_BYTES || crc32c::crc32c(fields).to_le_bytes() != *sum {
            return None;
        }
        let mut rest = fields.strip_prefix(&MAGIC)?;
        let mut word = || {
            let (word, after) = rest.split_first_chunk::<4>()?;
            rest = after;
            Some(u32::from_le_bytes(*word))
        };
        let (format, runs) = (word()?, word()?);
        let salt = long(word()?, word()?);
        let end = Position { segment: word()?, offset: word()? };
        let (bytes, crc) = (long(word()?, word()?), word()?);
        Some((format, Self { runs, salt, end, bytes, crc }))
    }
}

fn long(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Removes the list: it says nothing of a store that has begun again.
///
/// # Errors
/// [`StoreError::Io`] when the system refuses; the list is not used for all that.
pub(in crate::store::embedded) fn remove(root: &Path) -> Result<(), StoreError> {
    let path = root.join(NAME);
    files::remove(&path).map_err(|error| StoreError::io("delete", &path, error))
}
