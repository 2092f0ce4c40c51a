//! The walk over all that is owed an end: lane by lane in the order of their numbers, in a lane in the order of the
//! journal. An entry keeps its place in it as long as it lives, whatever is settled or put off meanwhile.
//!
//! Blocks are read beside the cache, so that a walk does not take from the dispatcher what it is about to need, and what
//! cannot be read is passed over and counted: the dispatcher's own reads decide about damage.
//!
//! Must not know: who looks, and for what.

use std::sync::Arc;

use bytes::Bytes;

use super::ids::Home;
use super::reads::Reads;
use crate::clock::Timestamp;
use crate::store::embedded::index::read::IndexStanding;
use crate::store::embedded::index::rows::{BlockRow, PutOff};
use crate::store::embedded::journal::{Block, Position};
use crate::store::{Scan, ScanPage, ScanPlace, Scanned, StoreError};

/// Rows that one step passes over at most: about 10 ms of look-ups.
const ROWS_AT_ONCE: usize = 2048;
/// Bytes that one step unpacks at most, by one block more; one counts as a 64th of it at least.
const UNPACKED_AT_ONCE: usize = 4 << 20;
const LEAST_PER_BLOCK: usize = UNPACKED_AT_ONCE / 64;
/// What a read that failed counts as: the system may have taken its time over it.
const PER_FAILURE: usize = UNPACKED_AT_ONCE / 8;
/// A record that is smaller than this part of its block is copied out of it: it would keep all of the block in memory.
const SMALL_PART: usize = 8;

/// Behind which entry a walk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Spot {
    lane: u32,
    block: Position,
    /// The number of its entries that are passed.
    passed: u16,
}

impl Spot {
    fn of(ScanPlace(bits): ScanPlace) -> Self {
        // Each part is masked to its bits before it is narrowed.
        let part = |shift: u32| u32::try_from((bits >> shift) & 0xffff_ffff).unwrap_or(u32::MAX);
        let passed = u16::try_from(bits & 0xffff).unwrap_or(u16::MAX);
        Self { lane: part(80), block: Position { segment: part(48), offset: part(16) }, passed }
    }

    fn place(self) -> ScanPlace {
        let Position { segment, offset } = self.block;
        ScanPlace(
            (u128::from(self.lane) << 80)
                | (u128::from(segment) << 48)
                | (u128::from(offset) << 16)
                | u128::from(self.passed),
        )
    }

    /// The beginning of the lane with the next number.
    const fn next_lane(self) -> Option<Self> {
        match self.lane.checked_add(1) {
            Some(lane) => Some(Self { lane, block: Position { segment: 0, offset: 0 }, passed: 0 }),
            None => None,
        }
    }

    /// Behind all of a block.
    const fn behind(self, block: Position) -> Self {
        Self { block, passed: u16::MAX, ..self }
    }
}

/// One step while it is taken.
struct Step<'r> {
    reads: &'r Reads,
    scan: &'r Scan,
    page: ScanPage,
    bytes: usize,
    /// What it has cost so far, in bytes unpacked.
    cost: usize,
}

impl Reads {
    /// One step of a walk.
    pub(super) fn scan(&self, scan: &Scan) -> Result<ScanPage, StoreError> {
        let mut step = Step { reads: self, scan, page: ScanPage::default(), bytes: 0, cost: 0 };
        let mut spot = scan.after.map(Spot::of).unwrap_or_default();
        let error = |error| self.shared.index_error(&error);
        for _ in 0..ROWS_AT_ONCE {
            let Some(lane) = self.shared.reader.lane_from(spot.lane).map_err(error)? else {
                return Ok(step.page);
            };
            if lane > spot.lane {
                spot = Spot { lane, ..Spot::default() };
            }
            let next = if step.walks(lane) {
                self.shared.reader.block_from(lane, spot.block, spot.passed == u16::MAX).map_err(error)?
            } else {
                None
            };
            let Some((at, row)) = next else {
                let Some(next) = spot.next_lane() else { return Ok(step.page) };
                spot = next;
                continue;
            };
            let passed = if at == spot.block { spot.passed } else { 0 };
            spot = Spot { block: at, passed, ..spot };
            let is_full = step.block(&mut spot, &row)?;
            if is_full {
                step.page.next = Some(spot.place());
                return Ok(step.page);
            }
            spot = spot.behind(at);
            // Also where nothing was found, so that it is bounded whatever lives of the blocks.
            if step.cost >= UNPACKED_AT_ONCE {
                break;
            }
        }
        step.page.next = Some(spot.place());
        Ok(step.page)
    }
}

impl Step<'_> {
    /// Whether the entries of this lane are looked at. A number that stands for a lane beside another one has no rows.
    fn walks(&self, lane: u32) -> bool {
        let lanes = &self.reads.shared.lanes;
        let is_own = lanes.canonical(lane) == Some(lane);
        is_own && lanes.key(lane).is_some_and(|key| self.scan.lanes.has(&key))
    }

    /// Takes what lives of a block from the spot on. Returns whether the step is full; the spot is then behind the last
    /// entry that it took.
    fn block(&mut self, spot: &mut Spot, row: &BlockRow) -> Result<bool, StoreError> {
        if Timestamp::from_millis(row.accepted_ms) < self.scan.accepted_from {
            return Ok(false);
        }
        let Some(block) = self.read(spot.block) else {
            self.cost += PER_FAILURE;
            // All of it may have been settled since its row was read, and its file be gone.
            let row = self.reads.shared.reader.block(spot.lane, spot.block);
            let row = row.map_err(|error| self.reads.shared.index_error(&error))?;
            self.page.unread += row.map_or(0, |row| row.live().into());
            return Ok(false);
        };
        self.cost += block.raw_bytes().max(LEAST_PER_BLOCK);
        let (passed, living) = (spot.passed, row.living());
        for index in (0..=u8::MAX).filter(|index| u16::from(*index) >= passed && living.has(*index)) {
            let Some(entry) = self.entry(spot, &block, row, index)? else { continue };
            let bytes = self.bytes.saturating_add(entry.entry.record.len());
            let is_full = self.page.entries.len() >= self.scan.limit.entries || bytes > self.scan.limit.bytes;
            // One is always taken, so that a walk goes on.
            if is_full && !self.page.entries.is_empty() {
                return Ok(true);
            }
            spot.passed = u16::from(index) + 1;
            self.bytes = bytes;
            self.page.entries.push(entry);
        }
        Ok(false)
    }

    fn read(&self, at: Position) -> Option<Arc<Block>> {
        let shared = &self.reads.shared;
        let kept = shared.cache.get(at);
        kept.or_else(|| shared.blocks.read_block(at).ok().map(Arc::new))
    }

    /// An entry as it stands now; `None` when it has ended since its row was read.
    fn entry(
        &self,
        spot: &Spot,
        block: &Block,
        row: &BlockRow,
        index: u8,
    ) -> Result<Option<Scanned>, StoreError> {
        let shared = &self.reads.shared;
        let is_delayed = row.moved.has(index);
        let standing = if is_delayed {
            let standing = shared.reader.standing(spot.lane, spot.block, index);
            standing.map_err(|error| shared.index_error(&error))?
        } else {
            IndexStanding::Plain
        };
        let (due_ms, put_off) = match standing {
            IndexStanding::Settled => return Ok(None),
            IndexStanding::Plain => (None, PutOff::default()),
            IndexStanding::Due { moved: Some((due_ms, put_off)) } => (Some(due_ms), put_off),
            // Never rescheduled: the due time is the one in the block.
            IndexStanding::Due { moved: None } => {
                (block.due_ms.get(usize::from(index)).copied(), PutOff::default())
            }
        };
        let home = Home { block: spot.block, index };
        let entry = self.reads.entry(block, home, due_ms.map(Timestamp::from_millis), put_off);
        let place = Spot { passed: u16::from(index) + 1, ..*spot }.place();
        Ok(entry.map(|mut entry| {
            if entry.record.len() < block.raw_bytes() / SMALL_PART {
                entry.record = Bytes::copy_from_slice(&entry.record);
            }
            Scanned { place, lane: block.lane.clone(), entry }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_back_and_are_in_the_order_of_the_walk() {
        let at = |lane, segment, offset, passed| Spot { lane, block: Position { segment, offset }, passed };
        let walk = [
            at(0, 0, 0, 0),
            at(0, 1, 64, 1),
            at(0, 1, 64, 256),
            at(0, 1, 64, u16::MAX),
            at(0, 1, 72, 1),
            at(0, 2, 64, 1),
            at(1, 0, 0, 0),
            at(u32::MAX, u32::MAX, u32::MAX, u16::MAX),
        ];
        for (spot, next) in walk.iter().zip(walk.iter().skip(1)) {
            assert_eq!(Spot::of(spot.place()), *spot);
            assert!(spot.place().to_bits() < next.place().to_bits());
        }
    }
}
