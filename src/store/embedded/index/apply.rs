//! What blocks and settlements do to the rows. Applying a frame twice changes nothing, so that a replay may
//! begin anywhere at or below the checkpoint's position.
//!
//! Must not know: threads, files.

use std::sync::Arc;

use super::IndexError;
use super::batch::RowWriter;
use super::keys::{DueKey, Key};
use super::lanes::LaneNumbers;
use super::lost::{self, LostBlocks, LostEntry};
use super::open::Noted;
use super::rows::{BlockRow, PutOff};
use super::segments::Segments;
use super::whys::WhyBlocks;
use crate::event::{LaneKey, Tries};
use crate::store::embedded::bits::Bits;
use crate::store::embedded::ends::Ended;
use crate::store::embedded::journal::{Position, Settled, SettledRun, What};
use crate::telemetry::defect;

/// Settlements that share an atomic batch: each touches up to four rows beside the block's two.
const SETTLED_TOGETHER: usize = 48;

/// A block of the journal as the index takes it up: no records.
pub(in crate::store::embedded) struct NewRow<'a> {
    pub at: Position,
    pub lane_no: u32,
    pub lane: &'a LaneKey,
    pub accepted_ms: u64,
    pub count: u16,
    /// One per entry of a delayed block.
    pub due_ms: &'a [u64],
    /// Those that are owed an end: all of a new block.
    pub living: Bits,
}

/// Changes rows, lane counts and segment counts together. There is one for each open index.
pub(in crate::store::embedded) struct Indexer {
    pub rows: RowWriter,
    pub lanes: Arc<LaneNumbers>,
    pub segments: Arc<Segments>,
    /// Set while the journal is replayed: settlements of blocks that have no row may then be of damaged ones.
    pub replays: bool,
    lost_blocks: LostBlocks,
    why_blocks: WhyBlocks,
    /// What ended as lost and was not taken yet.
    lost: Vec<LostEntry>,
    /// What ended and was not taken yet, in order.
    ended: Vec<Ended>,
}

impl Indexer {
    pub(super) fn new(
        rows: RowWriter,
        lanes: Arc<LaneNumbers>,
        segments: Arc<Segments>,
        noted: Noted,
    ) -> Self {
        let (lost_blocks, why_blocks) = (LostBlocks::new(noted.lost), WhyBlocks::new(noted.whys));
        Self {
            rows,
            lanes,
            segments,
            replays: false,
            lost_blocks,
            why_blocks,
            lost: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// What ended as lost since the last call: each entry once.
    pub(in crate::store::embedded) fn take_lost(&mut self) -> Vec<LostEntry> {
        std::mem::take(&mut self.lost)
    }

    /// What ended in whatever way since the last call, in the order of the settlements: each entry once.
    pub(in crate::store::embedded) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Whether the entry `index` of a run's block is owed an end.
    pub(in crate::store::embedded) fn lives(&self, run: &SettledRun, index: u8) -> Result<bool, IndexError> {
        let Some(lane) = self.lanes.canonical(run.lane_no) else { return Ok(false) };
        let row = self.block_row(lane, run.block)?;
        Ok(row.is_some_and(|(_, row)| row.living().has(index)))
    }

    /// Adds a block. Whether it was new: only then are its entries to be counted for the lane.
    pub(in crate::store::embedded) fn block(&mut self, block: &NewRow<'_>) -> Result<bool, IndexError> {
        let Some(lane) = self.lanes.canonical(block.lane_no) else {
            return Err(IndexError::Corrupt("block of an unknown lane"));
        };
        let ready = block.due_ms.is_empty();
        let has_all_due = ready || block.due_ms.len() == usize::from(block.count);
        defect!(unless has_all_due, "a delayed block without all of its due times");
        defect!(unless block.living == block.living.within(block.count), "living entries that a block does not have");
        // A replay meets blocks that the index has already: counting them twice would keep their segment for ever.
        for ready in [true, false] {
            if self.rows.get(Key::Block { ready, lane, at: block.at })?.is_some() {
                return Ok(false);
            }
        }
        let has_ended = |index: u8| !block.living.has(index);
        for (index, due_ms) in (0_u8..=u8::MAX).zip(block.due_ms).filter(|(index, _)| !has_ended(*index)) {
            // Due rows may be cut off from their block by a batch in between: the replay completes them.
            self.rows.make_room(1)?;
            let due = DueKey { lane, due_ms: *due_ms, block: block.at, index };
            self.rows.put(Key::Due(due), &PutOff::default().encode())?;
        }
        // The lane's row and the block's go into one batch: a block without its lane makes the index unusable.
        self.rows.make_room(2)?;
        let moved = if ready { Bits::default() } else { Bits::first(block.count) };
        let settled = Bits::first(block.count).without(&block.living);
        let row = BlockRow { accepted_ms: block.accepted_ms, count: block.count, settled, moved };
        self.rows.put(Key::Lane(block.lane_no), block.lane.as_str().as_bytes())?;
        self.rows.put(Key::Block { ready: row.ready() > 0, lane, at: block.at }, &row.encode())?;
        self.reach(block.lane_no, block.accepted_ms);
        self.segments.add(block.at, row.live().into());
        Ok(true)
    }

    /// Notes a block of which nothing lives: numbers of lanes and times ascend.
    pub(in crate::store::embedded) fn pass(&mut self, lane_no: u32, accepted_ms: u64) {
        self.reach(lane_no, accepted_ms);
        // A number that was used must not be given to another lane, though nothing of this one lives.
        self.lanes.start_at(lane_no.saturating_add(1));
    }

    fn reach(&mut self, lane_no: u32, accepted_ms: u64) {
        let checkpoint = self.rows.checkpoint();
        checkpoint.next_lane = checkpoint.next_lane.max(lane_no.saturating_add(1));
        checkpoint.newest_ms = checkpoint.newest_ms.max(accepted_ms);
    }

    /// Applies settlements where it is known already which entries have ended: they only move entries, and say which
    /// ended as lost.
    pub(in crate::store::embedded) fn moves(
        &mut self,
        segment: u32,
        run: &SettledRun,
    ) -> Result<(), IndexError> {
        self.lost_blocks.note(&mut self.rows, run.block, &lost::indexes(run))?;
        self.why_blocks.note(&mut self.rows, run.block, run.entries.iter())?;
        if !self.has_row(run)? {
            return Ok(());
        }
        self.refer(segment, run.block.segment)?;
        let moves = |settled: &&Settled| matches!(settled.what, What::Reschedule { .. });
        let entries = run.entries.iter().filter(moves).copied().collect();
        self.settle(segment, &SettledRun { entries, ..*run })
    }

    /// Applies settlements that stand in `segment`. Entries that no longer stand at the given place are left
    /// alone.
    pub(in crate::store::embedded) fn settle(
        &mut self,
        segment: u32,
        run: &SettledRun,
    ) -> Result<(), IndexError> {
        // The block may be damaged: its losses are noted here, since no row of it will say so.
        if self.replays && !self.has_row(run)? {
            self.lost_blocks.note(&mut self.rows, run.block, &lost::indexes(run))?;
            self.why_blocks.note(&mut self.rows, run.block, run.entries.iter())?;
        }
        for part in run.entries.chunks(SETTLED_TOGETHER) {
            // Up to four rows for each, and 12 for the block's two and what goes with them: they have to agree after a
            // crash.
            self.rows.make_room(4 * SETTLED_TOGETHER + 12)?;
            self.settle_part(segment, run, part)?;
        }
        Ok(())
    }

    fn settle_part(&mut self, segment: u32, run: &SettledRun, part: &[Settled]) -> Result<(), IndexError> {
        // Repeated settlements, as a replay brings them: the lane or the block is gone because everything in it has
        // ended.
        let Some(lane) = self.lanes.canonical(run.lane_no) else { return Ok(()) };
        let Some((was_ready, mut row)) = self.block_row(lane, run.block)? else { return Ok(()) };
        let before = row;
        let (mut lost, mut ends) = (Vec::new(), Vec::new());
        let key = self.lanes.key(lane);
        for settled in part {
            // Two who met the same damage may both have settled an entry: the first of them counts.
            let had_ended = row.settled.has(settled.index);
            let tries = self.tries(lane, run.block, settled)?;
            self.settle_one(lane, run.block, &mut row, settled)?;
            let ended = row.settled.has(settled.index) && !had_ended;
            if ended && settled.what == What::Lost {
                lost.push(*settled);
            }
            if ended {
                ends.push(*settled);
                self.ended.extend(key.clone().map(|lane| Ended {
                    lane,
                    block: run.block,
                    accepted_ms: row.accepted_ms,
                    settled: *settled,
                    tries: Some(tries),
                }));
            }
        }
        self.why_blocks.note(&mut self.rows, run.block, ends.iter())?;
        self.note_lost(lane, run.block, &row, &lost)?;
        let key = |ready| Key::Block { ready, lane, at: run.block };
        let ready = row.ready() > 0;
        if row.live() == 0 {
            self.rows.remove(key(was_ready))?;
        } else {
            // The key says whether plain entries are left, so that a read of plain order skips the block.
            if ready != was_ready {
                self.rows.remove(key(was_ready))?;
            }
            self.rows.put(key(ready), &row.encode())?;
        }
        self.refer(segment, run.block.segment)?;
        defect!(unless row.live() <= before.live(), "a settlement by which an entry lives again");
        let ended = u64::from(before.live().saturating_sub(row.live()));
        if ended > 0 {
            self.segments.settle(run.block.segment, ended);
            for no in self.lanes.settle(lane, ended) {
                self.rows.remove(Key::Lane(no))?;
            }
        }
        Ok(())
    }

    fn refer(&mut self, segment: u32, older: u32) -> Result<(), IndexError> {
        if self.segments.refer(segment, older) {
            self.rows.make_room(1)?;
            self.rows.put(Key::Refers { segment, older }, &[])?;
        }
        Ok(())
    }

    fn has_row(&self, run: &SettledRun) -> Result<bool, IndexError> {
        let Some(lane) = self.lanes.canonical(run.lane_no) else { return Ok(false) };
        Ok(self.block_row(lane, run.block)?.is_some())
    }

    /// The tries on record of an entry that is to end: one in plain order was never put off.
    fn tries(&self, lane: u32, block: Position, settled: &Settled) -> Result<Tries, IndexError> {
        let Some(due_ms) = settled.from_due_ms.filter(|_| !matches!(settled.what, What::Reschedule { .. }))
        else {
            return Ok(Tries::NONE);
        };
        let due = Key::Due(DueKey { lane, due_ms, block, index: settled.index });
        let put_off = self.rows.get(due)?.map(|value| PutOff::decode(&value)).transpose()?;
        Ok(put_off.map_or(Tries::NONE, |put_off| put_off.tries))
    }

    fn note_lost(
        &mut self,
        lane: u32,
        block: Position,
        row: &BlockRow,
        lost: &[Settled],
    ) -> Result<(), IndexError> {
        let Some(key) = self.lanes.key(lane).filter(|_| !lost.is_empty()) else { return Ok(()) };
        let indexes: Vec<u8> = lost.iter().map(|settled| settled.index).collect();
        self.lost_blocks.note(&mut self.rows, block, &indexes)?;
        self.lost.extend(lost.iter().map(|settled| LostEntry {
            lane: key.clone(),
            block,
            index: settled.index,
            accepted_ms: row.accepted_ms,
            from_due_ms: settled.from_due_ms,
        }));
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
        // A repetition, or a settlement of what was never there: the first one counts.
        if u16::from(index) >= row.count || row.settled.has(index) {
            return Ok(());
        }
        match settled.from_due_ms {
            // It was rescheduled since it was handed out: this settlement is of its earlier place.
            None if row.moved.has(index) => return Ok(()),
            None => {}
            Some(due_ms) => {
                let due = Key::Due(DueKey { lane, due_ms, block, index });
                // It stands at another due time by now.
                if self.rows.get(due)?.is_none() {
                    return Ok(());
                }
                self.rows.remove(due)?;
                self.rows.remove(Key::Moved { block, index })?;
            }
        }
        match settled.what {
            What::Reschedule { due_ms, tries, doubted_ms } => {
                row.moved.set(index);
                let put_off = PutOff { tries, doubted_ms };
                let due = DueKey { lane, due_ms, block, index };
                self.rows.put(Key::Due(due), &put_off.encode())?;
                self.rows.put(Key::Moved { block, index }, &put_off.encode_moved(due_ms))
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
    pub(in crate::store::embedded) fn forget_segment(&mut self, segment: u32) -> Result<(), IndexError> {
        for older in self.segments.remove(segment) {
            self.rows.make_room(1)?;
            self.rows.remove(Key::Refers { segment, older })?;
        }
        self.why_blocks.forget(&mut self.rows, segment)
    }
}
