//! Reads: walks over the rows of one lane. None changes anything; each costs what it returns or skips.
//!
//! Must not know: records, the journal's files.

use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::database::Tree;
use super::keys::{DueKey, Key};
use super::lanes::LaneNumbers;
use super::rows::{self, BlockRow, Checkpoint, PutOff};
use super::{IndexError, guarded, whys};
use crate::clock::Timestamp;
use crate::event::{LaneKey, Why};
use crate::store::LaneSummary;
use crate::store::embedded::bits::Bits;
use crate::store::embedded::journal::{Position, Settled, SettledRun, What};

/// The end of every range of positions. A segment's number has 24 bits, so that none lies there.
const LAST: Position = Position { segment: u32::MAX, offset: u32::MAX };

/// Where an entry stands according to the index; the journal may be ahead by what is not applied yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store::embedded) enum IndexStanding {
    Settled,
    Plain,
    /// `moved` is the due time of a rescheduled entry and what is known of that, `None` while it waits for its first.
    Due {
        moved: Option<(u64, PutOff)>,
    },
}

/// Reads rows, from any thread and beside the one writer. Cheap to clone.
#[derive(Clone)]
pub(in crate::store::embedded) struct IndexReader {
    tree: Tree,
    lanes: Arc<LaneNumbers>,
}

impl IndexReader {
    pub(in crate::store::embedded) fn new(tree: Tree, lanes: Arc<LaneNumbers>) -> Self {
        Self { tree, lanes }
    }

    /// Shows the lane's blocks with plain entries from `from` on, in order, until `visit` breaks off.
    pub(in crate::store::embedded) fn ready(
        &self,
        lane: u32,
        from: Position,
        mut visit: impl FnMut(Position, &BlockRow) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        guarded(|| {
            let first = Key::Block { ready: true, lane, at: from }.encode();
            let last = Key::Block { ready: true, lane, at: LAST }.encode();
            for row in self.tree.range(first..=last) {
                let (key, value) = row?;
                let Some(Key::Block { at, .. }) = Key::decode(&key) else {
                    return Err(IndexError::Corrupt("key"));
                };
                if visit(at, &BlockRow::decode(&value)?).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Shows the lane's entries that were put off, in due order, until `visit` breaks off.
    pub(in crate::store::embedded) fn due(
        &self,
        lane: u32,
        mut visit: impl FnMut(DueKey, PutOff) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        guarded(|| {
            let zero = Position::default();
            let first = Key::Due(DueKey { lane, due_ms: 0, block: zero, index: 0 }).encode();
            let last = Key::Due(DueKey { lane, due_ms: u64::MAX, block: LAST, index: u8::MAX }).encode();
            for row in self.tree.range(first..=last) {
                let (key, value) = row?;
                let Some(Key::Due(due)) = Key::decode(&key) else {
                    return Err(IndexError::Corrupt("key"));
                };
                if visit(due, PutOff::decode(&value)?).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The lowest number of a lane that is at least `from`.
    pub(in crate::store::embedded) fn lane_from(&self, from: u32) -> Result<Option<u32>, IndexError> {
        guarded(|| {
            let (first, last) = (Key::Lane(from).encode(), Key::Lane(u32::MAX).encode());
            let Some(row) = self.tree.range(first..=last).next() else { return Ok(None) };
            match Key::decode(&row?.0) {
                Some(Key::Lane(lane)) => Ok(Some(lane)),
                _ => Err(IndexError::Corrupt("key")),
            }
        })
    }

    /// The lane's first block with living entries at or behind `from`; behind it when it `is_passed`.
    pub(in crate::store::embedded) fn block_from(
        &self,
        lane: u32,
        from: Position,
        is_passed: bool,
    ) -> Result<Option<(Position, BlockRow)>, IndexError> {
        use std::ops::Bound::{Excluded, Included};
        let next = |ready: bool| -> Result<Option<(Position, BlockRow)>, IndexError> {
            let (first, last) =
                (Key::Block { ready, lane, at: from }.encode(), Key::Block { ready, lane, at: LAST });
            let first = if is_passed { Excluded(first) } else { Included(first) };
            let Some(row) = self.tree.range((first, Included(last.encode()))).next() else { return Ok(None) };
            let (key, value) = row?;
            match Key::decode(&key) {
                Some(Key::Block { at, .. }) => Ok(Some((at, BlockRow::decode(&value)?))),
                _ => Err(IndexError::Corrupt("key")),
            }
        };
        guarded(|| {
            // In this order: a block goes from those with plain entries to the others and never back, so that one that moves
            // between the two looks is found by one of them.
            let (ready, parked) = (next(true)?, next(false)?);
            Ok(match (ready, parked) {
                (Some(ready), Some(parked)) => Some(if parked.0 <= ready.0 { parked } else { ready }),
                (ready, parked) => ready.or(parked),
            })
        })
    }

    /// The row of one block; `None` when all its entries are settled.
    pub(in crate::store::embedded) fn block(
        &self,
        lane: u32,
        at: Position,
    ) -> Result<Option<BlockRow>, IndexError> {
        guarded(|| {
            for ready in [true, false] {
                if let Some(value) = self.tree.get(Key::Block { ready, lane, at }.encode())? {
                    return BlockRow::decode(&value).map(Some);
                }
            }
            Ok(None)
        })
    }

    /// Where the entry `index` of a block stands.
    pub(in crate::store::embedded) fn standing(
        &self,
        lane_no: u32,
        block: Position,
        index: u8,
    ) -> Result<IndexStanding, IndexError> {
        // A lane that became empty is forgotten: whatever it held is settled.
        let Some(lane) = self.lanes.canonical(lane_no) else { return Ok(IndexStanding::Settled) };
        let Some(row) = self.block(lane, block)? else { return Ok(IndexStanding::Settled) };
        if row.settled.has(index) {
            return Ok(IndexStanding::Settled);
        }
        if !row.moved.has(index) {
            return Ok(IndexStanding::Plain);
        }
        // Only rescheduled entries have such a row: the first due time stands in the block.
        let value = guarded(|| Ok(self.tree.get(Key::Moved { block, index }.encode())?))?;
        Ok(IndexStanding::Due { moved: value.map(|value| PutOff::decode_moved(&value)).transpose()? })
    }

    /// Whether the entry `index` of a block ended as lost, as far as that is remembered.
    pub(in crate::store::embedded) fn is_lost(&self, block: Position, index: u8) -> Result<bool, IndexError> {
        guarded(|| {
            let value = self.tree.get(Key::Lost(block).encode())?;
            Ok(value.map(|value| rows::lost(&value)).transpose()?.is_some_and(|bits| bits.has(index)))
        })
    }

    /// Why the entry `index` of a block ended, of which it is known that it has; `None` when that is not kept.
    pub(in crate::store::embedded) fn why(
        &self,
        block: Position,
        index: u8,
    ) -> Result<Option<Why>, IndexError> {
        guarded(|| {
            let row = self.tree.get(Key::Why(block).encode())?;
            if let Some(end) = row.and_then(|row| whys::find(&row, index)) {
                return Ok(end);
            }
            // Read after the row: an end goes into the tree together with its row, and a row that is dropped with its limit.
            let checkpoint = self.tree.get(Key::Checkpoint.encode())?;
            let checkpoint = checkpoint.map(|value| Checkpoint::decode(&value)).transpose()?;
            let is_complete = checkpoint.is_some_and(|checkpoint| block >= checkpoint.ends_from);
            Ok(is_complete.then_some(Why::DELIVERED))
        })
    }

    /// The `most` first blocks after `after` that hold living entries, of any lane, in order, with their lanes. Walks
    /// all rows.
    pub(in crate::store::embedded) fn blocks_after(
        &self,
        after: Position,
        most: usize,
    ) -> Result<Vec<(Position, u32)>, IndexError> {
        let mut first = BinaryHeap::new();
        guarded(|| {
            for row in self.tree.iter() {
                let (key, _) = row?;
                let Some(Key::Block { lane, at, .. }) = Key::decode(&key) else { continue };
                if at > after {
                    // Rows are ordered by lane and not by position: the lowest `most` are kept while all are walked.
                    first.push((at, lane));
                    if first.len() > most {
                        first.pop();
                    }
                }
            }
            Ok(())
        })?;
        Ok(first.into_sorted_vec())
    }

    /// Shows every block with its living entries. Walks all rows.
    pub(in crate::store::embedded) fn blocks(
        &self,
        mut visit: impl FnMut(Position, u32),
    ) -> Result<(), IndexError> {
        guarded(|| {
            for row in self.tree.iter() {
                let (key, value) = row?;
                if let Some(Key::Block { at, .. }) = Key::decode(&key) {
                    visit(at, BlockRow::decode(&value)?.live());
                }
            }
            Ok(())
        })
    }

    /// Shows every block that holds living entries, with these, until `visit` breaks off. Walks the rows of blocks.
    pub(in crate::store::embedded) fn living(
        &self,
        mut visit: impl FnMut(Position, Bits) -> ControlFlow<()>,
    ) -> Result<(), IndexError> {
        let first = Key::Block { ready: true, lane: 0, at: Position::default() }.encode();
        let last = Key::Block { ready: false, lane: u32::MAX, at: LAST }.encode();
        guarded(|| {
            for row in self.tree.range(first..=last) {
                let (key, value) = row?;
                let Some(Key::Block { at, .. }) = Key::decode(&key) else {
                    return Err(IndexError::Corrupt("key"));
                };
                if visit(at, BlockRow::decode(&value)?.living()).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// The settlements that end, as `what`, every living entry of the blocks that `is_meant` picks. Walks all rows.
    pub(in crate::store::embedded) fn endings(
        &self,
        is_meant: impl Fn(Position) -> bool,
        what: What,
    ) -> Result<Vec<SettledRun>, IndexError> {
        let mut runs: BTreeMap<(u32, Position), Vec<Settled>> = BTreeMap::new();
        guarded(|| {
            for row in self.tree.iter() {
                let (key, value) = row?;
                let (lane, block, entries) = match Key::decode(&key) {
                    Some(Key::Block { lane, at, .. }) if is_meant(at) => {
                        let row = BlockRow::decode(&value)?;
                        let plain = (0..=u8::MAX).filter(|index| row.is_ready(*index));
                        let entries = plain
                            .map(|index| Settled { why: None, index, from_due_ms: None, what })
                            .collect();
                        (lane, at, entries)
                    }
                    Some(Key::Due(due)) if is_meant(due.block) => {
                        let settled =
                            Settled { why: None, index: due.index, from_due_ms: Some(due.due_ms), what };
                        (due.lane, due.block, vec![settled])
                    }
                    _ => continue,
                };
                runs.entry((lane, block)).or_default().extend(entries);
            }
            Ok(())
        })?;
        let run = |((lane_no, block), entries)| SettledRun { lane_no, block, entries };
        Ok(runs.into_iter().map(run).filter(|run| !run.entries.is_empty()).collect())
    }

    /// Every lane that holds something. Walks all rows.
    pub(in crate::store::embedded) fn summaries(&self) -> Result<Vec<LaneSummary>, IndexError> {
        let mut found: HashMap<u32, LaneSummary> = HashMap::new();
        guarded(|| {
            for row in self.tree.iter() {
                let (key, value) = row?;
                let (no, ready, delayed, due, oldest) = match Key::decode(&key) {
                    Some(Key::Block { lane, .. }) => {
                        let block = BlockRow::decode(&value)?;
                        (lane, block.ready(), 0, None, Some(Timestamp::from_millis(block.accepted_ms)))
                    }
                    Some(Key::Due(due)) => (due.lane, 0, 1, Some(Timestamp::from_millis(due.due_ms)), None),
                    _ => continue,
                };
                // A lane without a key became empty while the rows were walked.
                let Some(summary) = summary(&mut found, &self.lanes, no) else { continue };
                summary.ready += u64::from(ready);
                summary.delayed += delayed;
                summary.next_due = earlier(summary.next_due, due);
                summary.oldest = earlier(summary.oldest, oldest);
            }
            Ok(())
        })?;
        let mut lanes: Vec<_> = found.into_values().collect();
        lanes.sort_unstable_by(|a, b| a.lane.cmp(&b.lane));
        Ok(lanes)
    }
}

fn summary<'a>(
    found: &'a mut HashMap<u32, LaneSummary>,
    lanes: &LaneNumbers,
    no: u32,
) -> Option<&'a mut LaneSummary> {
    let entry = match found.entry(no) {
        std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
        std::collections::hash_map::Entry::Vacant(entry) => {
            let lane: LaneKey = lanes.key(no)?;
            entry.insert(LaneSummary { lane, ready: 0, delayed: 0, next_due: None, oldest: None })
        }
    };
    Some(entry)
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
