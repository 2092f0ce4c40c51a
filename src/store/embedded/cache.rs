//! The few blocks that were unpacked last: reads of one block in several pages unpack it once.
//!
//! Must not know: the index, files.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::embedded::journal::{Block, Position};
use crate::telemetry::defect;

/// Bounded by count and bytes; the least recently used goes first.
pub(super) struct BlockCache {
    held: Mutex<VecDeque<(Position, Arc<Block>)>>,
    max_bytes: usize,
}

/// Blocks at most: a look-up walks over them.
const MAX_BLOCKS: usize = 64;

impl BlockCache {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { held: Mutex::default(), max_bytes }
    }

    pub(super) fn get(&self, at: Position) -> Option<Arc<Block>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let found = held.iter().rposition(|(position, _)| *position == at)?;
        let hit = held.remove(found)?;
        let block = Arc::clone(&hit.1);
        held.push_back(hit);
        Some(block)
    }

    pub(super) fn holds(&self, at: Position) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().any(|(position, _)| *position == at)
    }

    /// With no room at all nothing is kept.
    pub(super) fn put(&self, at: Position, block: Arc<Block>) {
        if self.max_bytes == 0 {
            return;
        }
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.push_back((at, block));
        let mut bytes: usize = held.iter().map(|(_, block)| block.raw_bytes()).sum();
        while held.len() > MAX_BLOCKS || (bytes > self.max_bytes && held.len() > 1) {
            let Some((_, gone)) = held.pop_front() else { break };
            defect!(unless gone.raw_bytes() <= bytes, "a kept block that was never weighed");
            bytes = bytes.saturating_sub(gone.raw_bytes());
        }
    }
}
