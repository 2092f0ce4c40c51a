//! Which entries are lost: one small row for each block, so that an id of it can be answered for although the block
//! cannot be read. The rows of the newest blocks are kept.
//!
//! Must not know: why entries are lost, who asks.

use std::collections::BTreeSet;

use super::IndexError;
use super::batch::RowWriter;
use super::keys::Key;
use super::rows;
use crate::event::LaneKey;
use crate::store::embedded::journal::{Position, SettledRun, What};

/// Blocks whose lost entries are remembered: their rows take some megabytes at most.
const MAX_BLOCKS: usize = 65_536;

/// An entry that a settlement ended as lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::embedded) struct LostEntry {
    pub lane: LaneKey,
    pub block: Position,
    pub index: u8,
    pub accepted_ms: u64,
    pub from_due_ms: Option<u64>,
}

/// The blocks that have a row.
pub(super) struct LostBlocks(BTreeSet<Position>);

impl LostBlocks {
    pub(super) fn new(blocks: BTreeSet<Position>) -> Self {
        Self(blocks)
    }

    /// Adds entries of a block; rows of the oldest blocks go.
    pub(super) fn note(
        &mut self,
        rows: &mut RowWriter,
        at: Position,
        indexes: &[u8],
    ) -> Result<(), IndexError> {
        if indexes.is_empty() {
            return Ok(());
        }
        rows.make_room(2)?;
        let known = rows.get(Key::Lost(at))?.map(|value| rows::lost(&value)).transpose()?;
        // Further entries of a block may be lost later; earlier ones stay noted.
        let mut bits = known.unwrap_or_default();
        indexes.iter().for_each(|index| bits.set(*index));
        rows.put(Key::Lost(at), &bits.encode())?;
        self.0.insert(at);
        if self.0.len() > MAX_BLOCKS
            && let Some(oldest) = self.0.pop_first()
        {
            rows.remove(Key::Lost(oldest))?;
        }
        Ok(())
    }
}

/// Which entries a settlement calls lost.
pub(super) fn indexes(run: &SettledRun) -> Vec<u8> {
    run.entries.iter().filter(|settled| settled.what == What::Lost).map(|settled| settled.index).collect()
}
