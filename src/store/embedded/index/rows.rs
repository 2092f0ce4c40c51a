//! Values of the index. Small on purpose: large values make the library's memory explode.
//!
//! Must not know: keys, the tree.

use super::IndexError;
use crate::event::Tries;
use crate::store::embedded::bits::Bits;
use crate::store::embedded::journal::{MAX_BLOCK_ENTRIES, Position};

/// A block with living entries: accepted (8 bytes), entries (2), then which are settled and which stand in
/// due places (32 each; both are left out while the block is untouched).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::embedded) struct BlockRow {
    pub accepted_ms: u64,
    pub count: u16,
    pub settled: Bits,
    pub moved: Bits,
}

impl BlockRow {
    /// Entries that are owed an end.
    pub(in crate::store::embedded) fn live(&self) -> u32 {
        u32::from(self.count).saturating_sub(self.settled.count())
    }

    /// Which entries are owed an end.
    pub(in crate::store::embedded) fn living(&self) -> Bits {
        Bits::first(self.count).without(&self.settled)
    }

    /// The number of entries in plain order.
    pub(in crate::store::embedded) fn ready(&self) -> u32 {
        u32::from(self.count).saturating_sub(self.settled.union(&self.moved).count())
    }

    /// Whether this entry stands in plain order.
    pub(in crate::store::embedded) fn is_ready(&self, index: u8) -> bool {
        u16::from(index) < self.count && !self.settled.has(index) && !self.moved.has(index)
    }

    pub(in crate::store::embedded) fn encode(&self) -> Vec<u8> {
        // 8 + 2 + 32 + 32.
        let mut out = Vec::with_capacity(74);
        out.extend_from_slice(&self.accepted_ms.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        // Nearly all blocks of a backlog are untouched: 10 bytes each and not 74.
        if self.settled != Bits::default() || self.moved != Bits::default() {
            out.extend_from_slice(&self.settled.encode());
            out.extend_from_slice(&self.moved.encode());
        }
        debug_assert_eq!(Self::decode(&out).ok(), Some(*self));
        out
    }

    pub(in crate::store::embedded) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
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
pub(in crate::store::embedded) fn lost(value: &[u8]) -> Result<Bits, IndexError> {
    Bits::decode(value).ok_or(IndexError::Corrupt("row of lost entries"))
}

/// What the index reflects, and the sum by which it is checked when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store::embedded) struct Checkpoint {
    /// Every frame below is applied, none at or above.
    pub reflects: Position,
    /// Rows in the tree, without this one.
    pub rows: u64,
    /// The sum of all rows' digests.
    pub sum: u64,
    /// The number that the next new lane gets.
    pub next_lane: u32,
    /// When the newest entry was accepted, Unix ms.
    pub newest_ms: u64,
    /// That of the directory; 0 in a row of an earlier version, which has none.
    pub salt: u64,
    /// The first block from which on every end that was no success is in a row. Earlier versions kept none or not all:
    /// in a row of theirs it is where they stopped.
    pub ends_from: Position,
}

const CHECKPOINT_VERSION: u8 = 1;

impl Checkpoint {
    pub(in crate::store::embedded) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(57);
        out.push(CHECKPOINT_VERSION);
        out.extend_from_slice(&self.reflects.segment.to_be_bytes());
        out.extend_from_slice(&self.reflects.offset.to_be_bytes());
        out.extend_from_slice(&self.rows.to_be_bytes());
        out.extend_from_slice(&self.sum.to_be_bytes());
        out.extend_from_slice(&self.next_lane.to_be_bytes());
        out.extend_from_slice(&self.newest_ms.to_be_bytes());
        out.extend_from_slice(&self.salt.to_be_bytes());
        out.extend_from_slice(&self.ends_from.segment.to_be_bytes());
        out.extend_from_slice(&self.ends_from.offset.to_be_bytes());
        debug_assert_eq!(Self::decode(&out).ok(), Some(*self));
        out
    }

    pub(in crate::store::embedded) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let read = || {
            let (version, rest) = bytes.split_first()?;
            (*version == CHECKPOINT_VERSION).then_some(())?;
            let (segment, rest) = rest.split_first_chunk()?;
            let (offset, rest) = rest.split_first_chunk()?;
            let (rows, rest) = rest.split_first_chunk()?;
            let (sum, rest) = rest.split_first_chunk()?;
            let (next_lane, rest) = rest.split_first_chunk()?;
            let (newest_ms, rest) = rest.split_first_chunk()?;
            let reflects =
                Position { segment: u32::from_be_bytes(*segment), offset: u32::from_be_bytes(*offset) };
            // Rows of earlier versions end here, or after the salt.
            let (salt, rest) = if rest.is_empty() { (&[0; 8], rest) } else { rest.split_first_chunk()? };
            let (ends_from, rest) = match rest.split_first_chunk() {
                None => (reflects, rest),
                Some((segment, rest)) => {
                    let (offset, rest) = rest.split_first_chunk()?;
                    let (segment, offset) = (u32::from_be_bytes(*segment), u32::from_be_bytes(*offset));
                    (Position { segment, offset }, rest)
                }
            };
            rest.is_empty().then_some(Self {
                reflects,
                rows: u64::from_be_bytes(*rows),
                sum: u64::from_be_bytes(*sum),
                next_lane: u32::from_be_bytes(*next_lane),
                newest_ms: u64::from_be_bytes(*newest_ms),
                salt: u64::from_be_bytes(*salt),
                ends_from,
            })
        };
        read().ok_or(IndexError::Corrupt("checkpoint"))
    }
}

/// The digest of one row (FNV-1a with a final mix). Digests are added up: the order of changes does not matter, and a
/// change takes the old one off without a walk. It finds mistakes and damage, no intent.
pub(in crate::store::embedded) fn digest(key: &[u8], value: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    // 0xff separates them: bytes that move from key to value must change the digest.
    for byte in key.iter().chain(&[0xff]).chain(value) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The value of a due row: tries (2 bytes, see [`Tries`]) and, of an entry that was put off while the clock was in
/// doubt, when that was (8 bytes, Unix ms). A moved row has the due time (8) before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::store::embedded) struct PutOff {
    pub tries: Tries,
    pub doubted_ms: Option<u64>,
}

impl PutOff {
    pub(in crate::store::embedded) fn encode(self) -> Vec<u8> {
        let mut out = self.tries.to_bits().to_be_bytes().to_vec();
        // Only where it is known: due rows are many, and the clock is rarely in doubt.
        out.extend(self.doubted_ms.into_iter().flat_map(u64::to_be_bytes));
        debug_assert_eq!(Self::decode(&out).ok(), Some(self));
        out
    }

    pub(in crate::store::embedded) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let wrong = IndexError::Corrupt("due row");
        let (tries, rest) = bytes.split_first_chunk().ok_or_else(|| wrong.clone())?;
        let doubted_ms = match rest {
            [] => None,
            rest => Some(u64::from_be_bytes(rest.try_into().map_err(|_| wrong)?)),
        };
        Ok(Self { tries: Tries::from_bits(u16::from_be_bytes(*tries)), doubted_ms })
    }

    /// The value of a moved row.
    pub(in crate::store::embedded) fn encode_moved(self, due_ms: u64) -> Vec<u8> {
        let mut out = due_ms.to_be_bytes().to_vec();
        out.extend(self.encode());
        out
    }

    /// Due time and the rest of a moved row.
    pub(in crate::store::embedded) fn decode_moved(bytes: &[u8]) -> Result<(u64, Self), IndexError> {
        let (due_ms, rest) = bytes.split_first_chunk().ok_or(IndexError::Corrupt("moved row"))?;
        Ok((u64::from_be_bytes(*due_ms), Self::decode(rest)?))
    }
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
    fn a_row_of_what_was_put_off_reads_back_with_and_without_a_doubt() {
        for (doubted_ms, length) in [(None, 2), (Some(u64::MAX), 10)] {
            let put_off = PutOff { tries: Tries::from_bits(u16::MAX), doubted_ms };
            assert_eq!(put_off.encode().len(), length);
            assert_eq!(PutOff::decode(&put_off.encode()).ok(), Some(put_off));
            assert_eq!(PutOff::decode_moved(&put_off.encode_moved(7)).ok(), Some((7, put_off)));
        }
        for length in [0, 1, 3, 9, 11] {
            assert!(PutOff::decode(&vec![0; length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_checkpoint_of_an_earlier_version_has_no_salt_and_vouches_for_no_earlier_end() {
        let reflects = Position { segment: 7, offset: 11 };
        let new = Checkpoint { reflects, rows: 3, newest_ms: 9, salt: u64::MAX, ..Checkpoint::default() };
        let bytes = new.encode();
        assert_eq!(Checkpoint::decode(&bytes).ok(), Some(new));
        let earlier = Checkpoint { ends_from: reflects, ..new };
        for (length, salt) in [(37, 0), (45, u64::MAX)] {
            assert_eq!(Checkpoint::decode(&bytes[..length]).ok(), Some(Checkpoint { salt, ..earlier }));
        }
        for length in [36, 38, 49, 52] {
            assert!(Checkpoint::decode(&bytes[..length]).is_err(), "{length}");
        }
        assert!(Checkpoint::decode(&[bytes, vec![0]].concat()).is_err());
    }

    #[test]
    fn digests_depend_on_key_value_and_their_border() {
        assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
        assert_ne!(digest(b"a", b"b"), digest(b"b", b"a"));
    }
}
