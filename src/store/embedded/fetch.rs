//! Getting one block, and what follows when that fails. A failure of the system is reported and tried again, and so is
//! a segment that is not there: it may come back. What was read and is damaged is read once more through another
//! descriptor, and only the same damage twice makes its entries lost.
//!
//! Must not know: who wants the entries, how they are settled as lost.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::{Shared, segment_name};
use crate::store::StoreError;
use crate::store::embedded::index::rows::BlockRow;
use crate::store::embedded::journal::{Block, Position, ReadError};

/// Why a block was not returned: the three cases have different consequences for its entries.
pub(super) enum Unreadable {
    /// Nothing is known about it: it is to be tried again.
    Failed(StoreError),
    /// It is damaged or gone for good.
    Lost,
    /// Everything in it was settled in the meantime.
    Settled,
}

/// Reads blocks for whoever wants their entries.
#[derive(Clone, Copy)]
pub(super) struct BlockFetcher<'s> {
    pub shared: &'s Shared,
}

impl BlockFetcher<'_> {
    /// A block of a lane, from memory if it is there.
    pub(super) fn block(&self, lane: u32, at: Position) -> Result<Arc<Block>, Unreadable> {
        // Declared damaged before, or being given up: its entries are settled as lost whatever a later read returns.
        if self.shared.damaged.is_closed(at) {
            return Err(Unreadable::Lost);
        }
        match self.cached(at) {
            Ok(block) => Ok(block),
            Err(ReadError::Store(error)) => Err(self.failed(lane, at, error)),
            Err(first) => self.again(lane, at, &first),
        }
    }

    /// A block without a look at what memory holds of it, and without leaving anything there.
    pub(super) fn block_from_disk(&self, lane: u32, at: Position) -> Result<Arc<Block>, Unreadable> {
        match self.shared.blocks.read_block_afresh(at) {
            Ok(block) => {
                self.shared.unread.ended(at, &self.shared.doubts);
                Ok(Arc::new(block))
            }
            Err(ReadError::Store(error)) => Err(self.failed(lane, at, error)),
            Err(first) => self.again(lane, at, &first),
        }
    }

    pub(super) fn cached(&self, at: Position) -> Result<Arc<Block>, ReadError> {
        if let Some(block) = self.shared.cache.get(at) {
            return Ok(block);
        }
        let block = Arc::new(self.shared.blocks.read_block(at)?);
        self.shared.unread.ended(at, &self.shared.doubts);
        self.shared.cache.put(at, Arc::clone(&block));
        Ok(block)
    }

    /// Reads a block that was found damaged once more.
    fn again(&self, lane: u32, at: Position, first: &ReadError) -> Result<Arc<Block>, Unreadable> {
        let second = match self.shared.blocks.read_block_afresh(at) {
            Ok(block) => {
                // The file that is kept open may be what is wrong.
                self.shared.blocks.forget(at.segment);
                self.shared.unread.ended(at, &self.shared.doubts);
                tracing::warn!(%first, "a block was read wrongly once; the second read was right");
                return Ok(Arc::new(block));
            }
            Err(ReadError::Store(error)) => return Err(self.failed(lane, at, error)),
            Err(ReadError::Gone { .. }) => return Err(self.failed(lane, at, self.absent(at))),
            Err(second) => second,
        };
        // Bytes that change between two reads point at memory, cable or device and not at what was written.
        if !first.is_same_damage(&second) {
            let path = self.shared.dir.journal().display().to_string();
            let reason = format!("two reads differ: {first}; {second}");
            return Err(self.failed(lane, at, StoreError::Io { operation: "read", place: path, reason }));
        }
        match self.shared.reader.block(lane, at) {
            Ok(Some(row)) => self.declare(at, &row, &second),
            // The row may have been read just before everything in it was settled and the file deleted.
            Ok(None) => return Err(Unreadable::Settled),
            Err(error) => return Err(Unreadable::Failed(self.shared.index_error(&error))),
        }
        Err(Unreadable::Lost)
    }

    /// The error for a segment whose file is not there. It may be moved away, deleted, or on a file system that is not
    /// mounted: that is no damage, because nothing was read.
    pub(super) fn absent(&self, at: Position) -> StoreError {
        let path = self.shared.dir.root().join(segment_name(at.segment)).display().to_string();
        StoreError::Io { operation: "open", place: path, reason: "it is not there".to_owned() }
    }

    fn declare(&self, at: Position, row: &BlockRow, error: &ReadError) {
        // True the first time only, so that the damage is counted and its bytes are kept once.
        if self.shared.damaged.declare(at, error.to_string()) {
            super::aside::keep(&self.shared.dir, at);
            self.shared.unread.ended(at, &self.shared.doubts);
            self.shared.figures.damaged_frames.fetch_add(1, Ordering::Relaxed);
            self.shared.account.damaged(at.segment);
            let living = row.live();
            tracing::error!(%error, living, "a damaged block was met; its bytes were set aside");
        }
    }

    fn failed(&self, lane: u32, at: Position, error: StoreError) -> Unreadable {
        self.shared.figures.errors.fetch_add(1, Ordering::Relaxed);
        match self.shared.reader.block(lane, at) {
            Ok(Some(row)) => {
                let (doubts, now) = (&self.shared.doubts, self.shared.clock.now());
                self.shared.unread.failed((at, lane), row.live().into(), &error, doubts, now);
            }
            Ok(None) => return Unreadable::Settled,
            // The index cannot be read either; the error of the block says enough.
            Err(_) => {}
        }
        Unreadable::Failed(error)
    }

    /// Ends the doubts about blocks in which nothing is owed any more.
    pub(super) fn end_settled_doubts(&self) {
        for (at, lane) in self.shared.unread.blocks() {
            if let Ok(None) = self.shared.reader.block(lane, at) {
                self.shared.unread.ended(at, &self.shared.doubts);
            }
        }
    }
}
