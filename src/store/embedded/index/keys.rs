//! Keys of the index: encoding and decoding, which check each other.
//!
//! Must not know: values, the tree.

use crate::store::embedded::journal::Position;

/// Where an entry that was put off stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::store::embedded) struct DueKey {
    pub lane: u32,
    pub due_ms: u64,
    pub block: Position,
    pub index: u8,
}

/// The key of a row; the table is in the head of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::store::embedded) enum Key {
    Lane(u32),
    /// `ready`: the block has entries in plain order.
    Block {
        ready: bool,
        lane: u32,
        at: Position,
    },
    Due(DueKey),
    Moved {
        block: Position,
        index: u8,
    },
    Checkpoint,
    Refers {
        segment: u32,
        older: u32,
    },
    /// A block of which entries are lost.
    Lost(Position),
    /// A block of which entries ended for a reason that is kept.
    Why(Position),
}

/// Tags, the first byte of each key. They are on the disk: none may change its number or be used again.
const LANE: u8 = 1;
const READY: u8 = 2;
const PARKED: u8 = 3;
const DUE: u8 = 4;
const MOVED: u8 = 5;
const CHECKPOINT: u8 = 6;
const REFERS: u8 = 7;
const LOST: u8 = 8;
const WHY: u8 = 9;

/// The longest key: fits into the library's inline form.
const MAX_BYTES: usize = 22;

/// An encoded key on the stack: a look-up allocates nothing.
#[derive(Clone, Copy)]
pub(in crate::store::embedded) struct KeyBytes {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl KeyBytes {
    fn new(tag: u8) -> Self {
        Self { bytes: [0; MAX_BYTES], len: 0 }.put(&[tag])
    }

    /// Appends; the fields of every key add up to at most [`MAX_BYTES`].
    fn put(mut self, part: &[u8]) -> Self {
        if let Some(room) = self.bytes.get_mut(self.len..self.len + part.len()) {
            room.copy_from_slice(part);
            self.len += part.len();
        }
        self
    }

    fn at(self, at: Position) -> Self {
        self.put(&at.segment.to_be_bytes()).put(&at.offset.to_be_bytes())
    }
}

impl AsRef<[u8]> for KeyBytes {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

impl Key {
    /// The key as it stands in the tree.
    pub(in crate::store::embedded) fn encode(self) -> KeyBytes {
        let bytes = match self {
            Self::Lane(lane) => KeyBytes::new(LANE).put(&lane.to_be_bytes()),
            Self::Block { ready, lane, at } => {
                KeyBytes::new(if ready { READY } else { PARKED }).put(&lane.to_be_bytes()).at(at)
            }
            Self::Due(due) => KeyBytes::new(DUE)
                .put(&due.lane.to_be_bytes())
                .put(&due.due_ms.to_be_bytes())
                .at(due.block)
                .put(&[due.index]),
            Self::Moved { block, index } => KeyBytes::new(MOVED).at(block).put(&[index]),
            Self::Checkpoint => KeyBytes::new(CHECKPOINT),
            Self::Refers { segment, older } => {
                KeyBytes::new(REFERS).put(&segment.to_be_bytes()).put(&older.to_be_bytes())
            }
            Self::Lost(at) => KeyBytes::new(LOST).at(at),
            Self::Why(at) => KeyBytes::new(WHY).at(at),
        };
        debug_assert_eq!(Self::decode(bytes.as_ref()), Some(self));
        bytes
    }

    /// Reads a key back; `None` when it is none.
    pub(in crate::store::embedded) fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        let mut input = Fields(rest);
        let key = match *tag {
            LANE => Self::Lane(input.u32()?),
            READY | PARKED => Self::Block { ready: *tag == READY, lane: input.u32()?, at: input.at()? },
            DUE => Self::Due(DueKey {
                lane: input.u32()?,
                due_ms: u64::from_be_bytes(input.array()?),
                block: input.at()?,
                index: u8::from_be_bytes(input.array()?),
            }),
            MOVED => Self::Moved { block: input.at()?, index: u8::from_be_bytes(input.array()?) },
            CHECKPOINT => Self::Checkpoint,
            REFERS => Self::Refers { segment: input.u32()?, older: input.u32()? },
            LOST => Self::Lost(input.at()?),
            WHY => Self::Why(input.at()?),
            _ => return None,
        };
        // A longer key is none: two keys must not stand for the same row.
        input.0.is_empty().then_some(key)
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn at(&mut self) -> Option<Position> {
        Some(Position { segment: self.u32()?, offset: self.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn due() -> impl Strategy<Value = DueKey> {
        (0..3_u32, 0..1000_u64, 0..3_u32, 0..1000_u32, any::<u8>()).prop_map(
            |(lane, due_ms, segment, offset, index)| DueKey {
                lane,
                due_ms,
                block: Position { segment, offset },
                index,
            },
        )
    }

    proptest! {
        #[test]
        fn byte_order_of_due_keys_is_due_order(a in due(), b in due()) {
            let (left, right) = (Key::Due(a).encode(), Key::Due(b).encode());
            prop_assert_eq!(left.as_ref().cmp(right.as_ref()), a.cmp(&b));
        }
    }

    #[test]
    fn every_kind_of_key_reads_back_and_foreign_bytes_do_not() {
        let at = Position { segment: 7, offset: 64 };
        for key in [
            Key::Lane(9),
            Key::Block { ready: true, lane: 9, at },
            Key::Block { ready: false, lane: 9, at },
            Key::Moved { block: at, index: 255 },
            Key::Checkpoint,
            Key::Refers { segment: 7, older: 3 },
            Key::Lost(at),
            Key::Why(at),
        ] {
            let bytes = key.encode();
            assert_eq!(Key::decode(bytes.as_ref()), Some(key));
            let longer = [bytes.as_ref(), &[0]].concat();
            assert_eq!(Key::decode(&longer), None);
        }
        assert_eq!(Key::decode(&[]), None);
        assert_eq!(Key::decode(&[99]), None);
    }
}
