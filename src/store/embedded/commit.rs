//! One group commit in the making: requests become blocks and settlements, positions become answers.
//!
//! Must not know: threads, files, the index.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::ids::{self, Home};
use crate::clock::Timestamp;
use crate::event::LaneKey;
use crate::store::embedded::index::lanes::LaneNumbers;
use crate::store::embedded::journal::{
    DedupRow, FrameGroup, MAX_BLOCK_BYTES, MAX_BLOCK_ENTRIES, NewBlock, Position, Settled, SettledRun,
};
use crate::store::{Appended, Dedup, NewEntry, StoreError};
use crate::telemetry::defect;

/// A settlement of one entry on its way: lane number, block, what.
pub(super) type PlacedSettlement = (u32, Position, Settled);

/// One request's entries in this commit, answered as a whole after the sync and the index.
pub(super) struct AppendReply {
    pub answers: Vec<AppendAnswer>,
    pub reply: oneshot::Sender<Result<Vec<Appended>, StoreError>>,
    /// Room in the queue before the writer, given back with the answer.
    pub room: Option<OwnedSemaphorePermit>,
}

/// What will be answered for one entry.
#[derive(Clone, Copy)]
pub(super) enum AppendAnswer {
    Known(Appended),
    /// It stands in this block of the commit.
    Placed {
        block: usize,
        index: u8,
    },
    /// Its key came earlier in the same commit.
    Repeats {
        block: usize,
        index: u8,
        same: bool,
    },
}

/// Entries of one lane that share a frame: all plain or all delayed, within the bounds of a block.
pub(super) struct GatheredBlock {
    pub lane_no: u32,
    pub lane: LaneKey,
    pub records: Vec<Bytes>,
    pub due_ms: Vec<u64>,
    pub dedup: Vec<DedupRow>,
    raw_bytes: usize,
}

/// The blocks of one group while it is put together: an entry is known by block number and index until the journal
/// gives positions.
#[derive(Default)]
pub(super) struct Draft {
    pub blocks: Vec<GatheredBlock>,
    pub appends: Vec<AppendReply>,
    // By lane and whether delayed, the block that still takes entries.
    open: HashMap<(u32, bool), usize>,
    // Keys of this commit, with fingerprint, block and index: the index of keys learns of them only after the sync.
    keys: HashMap<[u8; 16], (u64, usize, u8)>,
}

impl Draft {
    /// Puts one entry at the end of its lane's block; `known` finds keys of earlier commits.
    pub(super) fn add<E>(
        &mut self,
        entry: NewEntry,
        lanes: &LaneNumbers,
        known: impl FnOnce(&Dedup) -> Result<Option<Appended>, E>,
    ) -> Result<AppendAnswer, E> {
        if let Some(dedup) = entry.dedup {
            // This commit's own keys first: two copies of an event may arrive within one sync.
            if let Some((fingerprint, block, index)) = self.keys.get(&dedup.key) {
                let same = *fingerprint == dedup.fingerprint;
                return Ok(AppendAnswer::Repeats { block: *block, index: *index, same });
            }
            if let Some(found) = known(&dedup)? {
                return Ok(AppendAnswer::Known(found));
            }
        }
        let (at, index) = self.place(entry.lane, entry.due_at, entry.record, lanes, entry.dedup);
        if let Some(dedup) = entry.dedup {
            self.keys.insert(dedup.key, (dedup.fingerprint, at, index));
        }
        Ok(AppendAnswer::Placed { block: at, index })
    }

    fn place(
        &mut self,
        lane: LaneKey,
        due_at: Option<Timestamp>,
        record: Bytes,
        lanes: &LaneNumbers,
        dedup: Option<Dedup>,
    ) -> (usize, u8) {
        // Counted now, so that the lane keeps its number until this entry is settled.
        let lane_no = lanes.assign(&lane, 1);
        // A body has four bytes of length for each record.
        let needed = record.len() + 4;
        // Plain and delayed entries never share a block: its head says which kind all of it is.
        let slot = (lane_no, due_at.is_some());
        let open = self.open.get(&slot).copied().filter(|at| {
            self.blocks.get(*at).is_some_and(|block| {
                block.records.len() < MAX_BLOCK_ENTRIES && block.raw_bytes + needed <= MAX_BLOCK_BYTES
            })
        });
        let at = open.unwrap_or_else(|| {
            self.blocks.push(GatheredBlock {
                lane_no,
                lane,
                records: Vec::new(),
                due_ms: Vec::new(),
                dedup: Vec::new(),
                raw_bytes: 0,
            });
            self.open.insert(slot, self.blocks.len() - 1);
            self.blocks.len() - 1
        });
        let Some(block) = self.blocks.get_mut(at) else {
            defect!("a block of a commit that is not there");
            return (at, 0);
        };
        // A block that holds fewer than MAX_BLOCK_ENTRIES has room for an index of eight bits.
        defect!(unless block.records.len() < MAX_BLOCK_ENTRIES, "a block with more entries than an id can name");
        let index = u8::try_from(block.records.len()).unwrap_or(u8::MAX);
        block.records.push(record);
        block.raw_bytes += needed;
        // Rounded up: an entry must not count as due before its time.
        block.due_ms.extend(due_at.map(Timestamp::ceil_millis));
        let is_of_one_kind = block.due_ms.is_empty() || block.due_ms.len() == block.records.len();
        defect!(unless is_of_one_kind, "a block of plain and delayed entries");
        defect!(unless block.raw_bytes <= MAX_BLOCK_BYTES, "a block that is longer than it may be");
        block.dedup.extend(dedup.map(|dedup| DedupRow { index: index.into(), dedup }));
        (at, index)
    }

    /// Answers every append with an error.
    pub(super) fn refuse(self, error: &StoreError) {
        for append in self.appends {
            // A caller that has gone away does not want to know.
            let _ = append.reply.send(Err(error.clone()));
        }
    }

    /// The number of new entries in this commit; repetitions are not among them.
    pub(super) fn entries(&self) -> u64 {
        self.blocks.iter().map(|block| block.records.len() as u64).sum()
    }

    /// Encodes the blocks and then the settlements into the group. After an error the group has to be cleared.
    pub(super) fn encode(
        &self,
        group: &mut FrameGroup,
        runs: &[SettledRun],
        accepted_ms: u64,
    ) -> Result<(), StoreError> {
        for block in &self.blocks {
            group.push_block(&NewBlock {
                lane_no: block.lane_no,
                lane: &block.lane,
                accepted_ms,
                records: &block.records,
                due_ms: &block.due_ms,
                dedup: &block.dedup,
            })?;
        }
        group.push_settlements(runs)
    }
}

/// The answer for an entry, now that the blocks have positions.
pub(super) fn answer(
    answer: AppendAnswer,
    positions: &[Position],
    accepted_ms: u64,
    salt: u64,
) -> Option<Appended> {
    let id = |block: usize, index| {
        positions.get(block).map(|at| ids::encode(accepted_ms, Home { block: *at, index }, salt))
    };
    match answer {
        AppendAnswer::Known(appended) => Some(appended),
        AppendAnswer::Placed { block, index } => id(block, index).map(Appended::New),
        AppendAnswer::Repeats { block, index, same: true } => id(block, index).map(Appended::Duplicate),
        AppendAnswer::Repeats { block, index, same: false } => id(block, index).map(Appended::Conflict),
    }
}

/// Groups decisions by block, in the order in which they came.
pub(super) fn runs(mut decisions: Vec<PlacedSettlement>) -> Vec<SettledRun> {
    // Stable: settlements of one entry keep the order in which they were decided.
    decisions.sort_by_key(|(lane, block, _)| (*lane, *block));
    decisions
        .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
        .filter_map(|chunk| {
            let (lane_no, block, _) = chunk.first()?;
            let entries = chunk.iter().map(|(.., settled)| *settled).collect();
            Some(SettledRun { lane_no: *lane_no, block: *block, entries })
        })
        .collect()
}
