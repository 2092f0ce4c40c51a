//! Why entries ended: one row for each block that has entries which did not succeed, so that an id of it can be answered
//! for as long as its segment is there. The rows of the newest blocks are kept, and the checkpoint says from which block on
//! none is missing: from there, what has ended and is in no row has succeeded, which costs nothing to keep.
//!
//! Must not know: why entries end, who asks.

use std::collections::BTreeSet;

use super::IndexError;
use super::batch::RowWriter;
use super::keys::Key;
use crate::event::Why;
use crate::store::embedded::journal::{Position, Settled, What};

/// Blocks whose ends are remembered: of up to 256 entries each.
const MAX_BLOCKS: usize = 65_536;
/// Bytes of one end in a row: the index of the entry, and why.
const END_BYTES: usize = 1 + Why::BYTES;
/// Stands for an end whose reason was not recorded, as earlier versions recorded none. No reason has this form.
const NOT_RECORDED: [u8; Why::BYTES] = [0; Why::BYTES];

/// The blocks that have a row.
pub(super) struct WhyBlocks(BTreeSet<Position>);

impl WhyBlocks {
    pub(super) fn new(blocks: BTreeSet<Position>) -> Self {
        Self(blocks)
    }

    /// Adds the ends of entries of a block; rows of the oldest blocks go.
    pub(super) fn note<'s>(
        &mut self,
        rows: &mut RowWriter,
        at: Position,
        settled: impl Iterator<Item = &'s Settled>,
    ) -> Result<(), IndexError> {
        let ends: Vec<(u8, [u8; Why::BYTES])> = settled
            .filter(|settled| !matches!(settled.what, What::Delivered | What::Reschedule { .. }))
            .map(|settled| (settled.index, settled.why.map_or(NOT_RECORDED, Why::to_bytes)))
            .collect();
        if ends.is_empty() {
            return Ok(());
        }
        rows.make_room(2)?;
        let mut row = rows.get(Key::Why(at))?.map(|value| value.to_vec()).unwrap_or_default();
        for (index, why) in ends {
            // A replay brings an end once more, and the first one counts.
            if find(&row, index).is_none() {
                row.push(index);
                row.extend_from_slice(&why);
            }
        }
        rows.put(Key::Why(at), &row)?;
        self.0.insert(at);
        if self.0.len() > MAX_BLOCKS
            && let Some(oldest) = self.0.pop_first()
        {
            rows.remove(Key::Why(oldest))?;
            let checkpoint = rows.checkpoint();
            let next = Position { offset: oldest.offset.saturating_add(1), ..oldest };
            checkpoint.ends_from = checkpoint.ends_from.max(next);
        }
        Ok(())
    }

    /// Forgets the ends of a segment that is gone.
    pub(super) fn forget(&mut self, rows: &mut RowWriter, segment: u32) -> Result<(), IndexError> {
        let of = Position { segment, offset: 0 }..=Position { segment, offset: u32::MAX };
        let gone: Vec<Position> = self.0.range(of).copied().collect();
        for at in gone {
            rows.make_room(1)?;
            rows.remove(Key::Why(at))?;
            self.0.remove(&at);
        }
        Ok(())
    }
}

/// Why an entry ended, by the row of its block; `Some(None)` when that was not recorded, or by a newer version.
pub(super) fn find(row: &[u8], index: u8) -> Option<Option<Why>> {
    let end = row.chunks_exact(END_BYTES).find(|end| end.first() == Some(&index))?;
    Some(end.get(1..).and_then(|why| why.first_chunk()).and_then(|why| Why::from_bytes(*why)))
}

/// Checks the value of a row.
pub(super) fn check(value: &[u8]) -> Result<(), IndexError> {
    let is_sound = !value.is_empty() && value.len().is_multiple_of(END_BYTES);
    if is_sound { Ok(()) } else { Err(IndexError::Corrupt("row of ends")) }
}
