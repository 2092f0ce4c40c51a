//! Values of the index. Small on purpose: large values make the library's memory explode.
//!
//! Must not know: keys, the tree.

use super::IndexError;
use crate::store::bits::Bits;
use crate::store::journal::{MAX_BLOCK_ENTRIES, Position};

/// A block with living entries: accepted (8 bytes), entries (2), then which are settled and which stand in
/// due places (32 each; both are left out while the block is untouched).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct BlockRow {
    pub accepted_ms: u64,
    pub count: u16,
    pub settled: Bits,
    pub moved: Bits,
}

impl BlockRow {
    /// Entries that are owed an end.
    pub(in crate::store) fn live(&self) -> u32 {
        u32::from(self.count).saturating_sub(self.settled.count())
    }

    /// Which entries are owed an end.
    pub(in crate::store) fn living(&self) -> Bits {
        Bits::first(self.count).without(&self.settled)
    }

    /// Entries in plain order.
    pub(in crate::store) fn ready(&self) -> u32 {
        u32::from(self.count).saturating_sub(self.settled.union(&self.moved).count())
    }

    /// Whether this entry stands in plain order.
    pub(in crate::store) fn is_ready(&self, index: u8) -> bool {
        u16::from(index) < self.count && !self.settled.has(index) && !self.moved.has(index)
    }

    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(74);
        out.extend_from_slice(&self.accepted_ms.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        if self.settled != Bits::default() || self.moved != Bits::default() {
            out.extend_from_slice(&self.settled.encode());
            out.extend_from_slice(&self.moved.encode());
        }
        debug_assert_eq!(Self::decode(&out).ok(), Some(*self));
        out
    }

    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let wrong = IndexError::Corrupt("block row");
        let (accepted_ms, rest) = bytes.split_first_chunk().ok_or_else(|| wrong.clone())?;
        let (count, rest) = rest.split_first_chunk().ok_or_else(|| wrong.clone())?;
        let count = u16::from_be_bytes(*count);
        if count == 0 || usize::from(count) > MAX_BLOCK_ENTRIES || !matches!(rest.len(), 0 | 64) {
            return Err(wrong);
        }
        let (settled, moved) = rest.split_at(rest.len() / 2);
        let bits = |bytes: &[u8]| Bits::decode(bytes).unwrap_or_default();
        let (settled, moved) = (bits(settled), bits(moved));
        Ok(Self { accepted_ms: u64::from_be_bytes(*accepted_ms), count, settled, moved })
    }
}

/// The value of a row of lost entries.
pub(in crate::store) fn lost(value: &[u8]) -> Result<Bits, IndexError> {
    Bits::decode(value).ok_or(IndexError::Corrupt("row of lost entries"))
}

/// What the index reflects, and the sum by which it is checked when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store) struct Checkpoint {
    /// Every frame below is applied, none at or above.
    pub reflects: Position,
    /// Rows in the tree, without this one.
    pub rows: u64,
    /// The sum of all rows' digests.
    pub sum: u64,
    /// The next lane's number.
    pub next_lane: u32,
    /// The newest acceptance, Unix ms.
    pub newest_ms: u64,
}

const CHECKPOINT_VERSION: u8 = 1;

impl Checkpoint {
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(37);
        out.push(CHECKPOINT_VERSION);
        out.extend_from_slice(&self.reflects.segment.to_be_bytes());
        out.extend_from_slice(&self.reflects.offset.to_be_bytes());
        out.extend_from_slice(&self.rows.to_be_bytes());
        out.extend_from_slice(&self.sum.to_be_bytes());
        out.extend_from_slice(&self.next_lane.to_be_bytes());
        out.extend_from_slice(&self.newest_ms.to_be_bytes());
        debug_assert_eq!(Self::decode(&out).ok(), Some(*self));
        out
    }

    pub(in crate::store) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let read = || {
            let (version, rest) = bytes.split_first()?;
            (*version == CHECKPOINT_VERSION).then_some(())?;
            let (segment, rest) = rest.split_first_chunk()?;
            let (offset, rest) = rest.split_first_chunk()?;
            let (rows, rest) = rest.split_first_chunk()?;
            let (sum, rest) = rest.split_first_chunk()?;
            let (next_lane, rest) = rest.split_first_chunk()?;
            let (newest_ms, rest) = rest.split_first_chunk()?;
            rest.is_empty().then_some(Self {
                reflects: Position {
                    segment: u32::from_be_bytes(*segment),
                    offset: u32::from_be_bytes(*offset),
                },
                rows: u64::from_be_bytes(*rows),
                sum: u64::from_be_bytes(*sum),
                next_lane: u32::from_be_bytes(*next_lane),
                newest_ms: u64::from_be_bytes(*newest_ms),
            })
        };
        read().ok_or(IndexError::Corrupt("checkpoint"))
    }
}

/// The digest of one row (FNV-1a with a final mix): digests are added up, in any order.
pub(in crate::store) fn digest(key: &[u8], value: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key.iter().chain(&[0xff]).chain(value) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Attempts of a due row.
pub(in crate::store) fn attempts(value: &[u8]) -> Result<u16, IndexError> {
    value.try_into().map(u16::from_be_bytes).map_err(|_| IndexError::Corrupt("due row"))
}

/// Due time and attempts of a rescheduled entry.
pub(in crate::store) fn moved(value: &[u8]) -> Result<(u64, u16), IndexError> {
    let (due_ms, rest) = value.split_first_chunk().ok_or(IndexError::Corrupt("moved row"))?;
    Ok((u64::from_be_bytes(*due_ms), attempts(rest)?))
}

/// The value of a moved row.
pub(in crate::store) fn encode_moved(due_ms: u64, attempts: u16) -> [u8; 10] {
    let mut out = [0; 10];
    let (due, rest) = out.split_at_mut(8);
    due.copy_from_slice(&due_ms.to_be_bytes());
    rest.copy_from_slice(&attempts.to_be_bytes());
    debug_assert_eq!(moved(&out).ok(), Some((due_ms, attempts)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_row_counts_what_is_live_and_what_is_ready() {
        let mut row =
            BlockRow { accepted_ms: 5, count: 256, settled: Bits::default(), moved: Bits::default() };
        assert_eq!((row.live(), row.ready(), row.encode().len()), (256, 256, 10));
        row.settled.set(255);
        row.moved.set(0);
        assert_eq!((row.live(), row.ready()), (255, 254));
        assert!(row.is_ready(1) && !row.is_ready(0) && !row.is_ready(255));
        assert_eq!(BlockRow::decode(&row.encode()).ok(), Some(row));
        assert!(BlockRow::decode(&[0; 10]).is_err());
    }

    #[test]
    fn digests_depend_on_key_value_and_their_border() {
        assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
        assert_ne!(digest(b"a", b"b"), digest(b"b", b"a"));
    }
}
