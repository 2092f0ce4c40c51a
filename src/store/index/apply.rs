//! What blocks and settlements do to the rows. Applying a frame twice changes nothing, so that a replay may
//! begin anywhere at or below the checkpoint's position.
//!
//! Must not know: threads, files.

use std::sync::Arc;

use super::IndexError;
use super::batch::Rows;
use super::keys::{DueKey, Key};
use super::lanes::Lanes;
use super::rows::{self, Bits, BlockRow};
use super::segments::Segments;
use crate::event::LaneKey;
use crate::store::journal::{Position, Settled, SettledRun, What};

/// Settlements that share an atomic batch: each touches up to four rows beside the block's two.
const SETTLED_TOGETHER: usize = 48;

/// A block as the index sees it.
pub(in crate::store) struct NewRow<'a> {
    pub at: Position,
    pub lane_no: u32,
    pub lane: &'a LaneKey,
    pub accepted_ms: u64,
    pub count: u16,
    /// One per entry of a delayed block.
    pub due_ms: &'a [u64],
}

/// The one who changes rows, lane counts and segment counts.
pub(in crate::store) struct Indexer {
    pub rows: Rows,
    pub lanes: Arc<Lanes>,
    pub segments: Arc<Segments>,
}

impl Indexer {
    /// Adds a block. Whether it was new: only then are its entries to be counted for the lane.
    pub(in crate::store) fn block(&mut self, block: &NewRow<'_>) -> Result<bool, IndexError> {
        let Some(lane) = self.lanes.canonical(block.lane_no) else {
            return Err(IndexError::Corrupt("block of an unknown lane"));
        };
        let ready = block.due_ms.is_empty();
        for ready in [true, false] {
            if self.rows.get(Key::Block { ready, lane, at: block.at })?.is_some() {
                return Ok(false);
            }
        }
        for (index, due_ms) in (0_u8..=u8::MAX).zip(block.due_ms) {
            self.rows.make_room(1)?;
            let due = DueKey { lane, due_ms: *due_ms, block: block.at, index };
            self.rows.put(Key::Due(due), &0_u16.to_be_bytes())?;
        }
        self.rows.make_room(2)?;
        let moved = if ready { Bits::default() } else { Bits::first(block.count) };
        let row =
            BlockRow { accepted_ms: block.accepted_ms, count: block.count, settled: Bits::default(), moved };
        self.rows.put(Key::Lane(block.lane_no), block.lane.as_str().as_bytes())?;
        self.rows.put(Key::Block { ready, lane, at: block.at }, &row.encode())?;
        let checkpoint = self.rows.checkpoint();
        checkpoint.next_lane = checkpoint.next_lane.max(block.lane_no.saturating_add(1));
        checkpoint.newest_ms = checkpoint.newest_ms.max(block.accepted_ms);
        self.segments.add(block.at, block.count.into());
        Ok(true)
    }

    /// Applies settlements that stand in `segment`. Entries that no longer stand at the given place are left
    /// alone.
    pub(in crate::store) fn settle(&mut self, segment: u32, run: &SettledRun) -> Result<(), IndexError> {
        for part in run.entries.chunks(SETTLED_TOGETHER) {
            self.rows.make_room(4 * SETTLED_TOGETHER + 8)?;
            self.settle_part(segment, run, part)?;
        }
        Ok(())
    }

    fn settle_part(&mut self, segment: u32, run: &SettledRun, part: &[Settled]) -> Result<(), IndexError> {
        let Some(lane) = self.lanes.canonical(run.lane_no) else { return Ok(()) };
        let Some((was_ready, mut row)) = self.block_row(lane, run.block)? else { return Ok(()) };
        let before = row.live();
        for settled in part {
            self.settle_one(lane, run.block, &mut row, settled)?;
        }
        let key = |ready| Key::Block { ready, lane, at: run.block };
        let ready = row.ready() > 0;
        if row.live() == 0 {
            self.rows.remove(key(was_ready))?;
        } else {
            if ready != was_ready {
                self.rows.remove(key(was_ready))?;
            }
            self.rows.put(key(ready), &row.encode())?;
        }
        if self.segments.refer(segment, run.block.segment) {
            self.rows.put(Key::Refers { segment, older: run.block.segment }, &[])?;
        }
        let ended = u64::from(before.saturating_sub(row.live()));
        if ended > 0 {
            self.segments.settle(run.block.segment, ended);
            for no in self.lanes.settle(lane, ended) {
                self.rows.remove(Key::Lane(no))?;
            }
        }
        Ok(())
    }

    fn settle_one(
        &mut self,
        lane: u32,
        block: Position,
        row: &mut BlockRow,
        settled: &Settled,
    ) -> Result<(), IndexError> {
        let index = settled.index;
        if u16::from(index) >= row.count || row.settled.has(index) {
            return Ok(());
        }
        match settled.from_due_ms {
            None if row.moved.has(index) => return Ok(()),
            None => {}
            Some(due_ms) => {
                let due = Key::Due(DueKey { lane, due_ms, block, index });
                if self.rows.get(due)?.is_none() {
                    return Ok(());
                }
                self.rows.remove(due)?;
                self.rows.remove(Key::Moved { block, index })?;
            }
        }
        match settled.what {
            What::Reschedule { due_ms, attempts } => {
                row.moved.set(index);
                let due = DueKey { lane, due_ms, block, index };
                self.rows.put(Key::Due(due), &attempts.to_be_bytes())?;
                self.rows.put(Key::Moved { block, index }, &rows::encode_moved(due_ms, attempts))
            }
            _ => {
                row.settled.set(index);
                Ok(())
            }
        }
    }

    fn block_row(&self, lane: u32, at: Position) -> Result<Option<(bool, BlockRow)>, IndexError> {
        for ready in [true, false] {
            if let Some(value) = self.rows.get(Key::Block { ready, lane, at })? {
                return Ok(Some((ready, BlockRow::decode(&value)?)));
            }
        }
        Ok(None)
    }

    /// Forgets a segment whose file is gone.
    pub(in crate::store) fn forget_segment(&mut self, segment: u32) -> Result<(), IndexError> {
        for older in self.segments.remove(segment) {
            self.rows.make_room(1)?;
            self.rows.remove(Key::Refers { segment, older })?;
        }
        Ok(())
    }
}
