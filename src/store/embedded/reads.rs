//! Reads: the index says where, the journal has the bytes. A damaged block costs its own entries alone.
//!
//! Must not know: how anything is written.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use super::damaged::Part;
use super::ids::{self, Home};
use super::indexer::Work;
use super::shared::Shared;
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey};
use crate::store::index::IndexError;
use crate::store::index::keys::DueKey;
use crate::store::index::read::Standing;
use crate::store::journal::{Block, Position, ReadError, Settled, SettledRun, What};
use crate::store::{DuePage, LaneSummary, Lookup, ReadLimit, StoreError, StoredEntry};

/// For one read on a thread that may wait.
pub(super) struct Reads {
    pub shared: Arc<Shared>,
    pub work: SyncSender<Work>,
}

/// A page under construction.
struct Page {
    entries: Vec<StoredEntry>,
    bytes: usize,
    limit: ReadLimit,
}

impl Page {
    fn new(limit: ReadLimit) -> Self {
        Self { entries: Vec::new(), bytes: 0, limit }
    }

    /// Takes the entry if it fits; the first one always does.
    fn take(&mut self, entry: StoredEntry) -> bool {
        let bytes = self.bytes.saturating_add(entry.record.len());
        if self.is_full() || (!self.entries.is_empty() && bytes > self.limit.bytes) {
            return false;
        }
        self.bytes = bytes;
        self.entries.push(entry);
        true
    }

    fn is_full(&self) -> bool {
        !self.entries.is_empty()
            && (self.entries.len() >= self.limit.entries || self.bytes >= self.limit.bytes)
    }
}

impl Reads {
    pub(super) fn ready(
        &self,
        lane: &LaneKey,
        after: Option<EventId>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let Some(lane) = self.shared.lanes.number(lane) else { return Ok(Vec::new()) };
        let after = after.and_then(|id| ids::decode(id, self.shared.salt));
        let from = after.map_or_else(Position::default, |home| home.block);
        let mut page = Page::new(limit);
        let mut failed = None;
        let walked = self.shared.reader.ready(lane, from, |at, row| {
            let block = match self.block(at) {
                Ok(block) => block,
                Err(ReadError::Store(error)) => return self.try_again(error, &mut failed),
                Err(error) => {
                    let lost = (0..=u8::MAX).filter(|index| {
                        row.is_ready(*index) && Some(Home { block: at, index: *index }) > after
                    });
                    self.lose_plain(lane, at, lost, &error);
                    return ControlFlow::Continue(());
                }
            };
            for index in 0..=u8::MAX {
                let home = Home { block: at, index };
                if row.is_ready(index) && Some(home) > after {
                    let Some(entry) = self.entry(&block, home, None, 0) else { continue };
                    if !page.take(entry) {
                        return ControlFlow::Break(());
                    }
                }
            }
            if page.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.finish(walked, failed)?;
        Ok(page.entries)
    }

    pub(super) fn due(
        &self,
        lane: &LaneKey,
        until: Timestamp,
        skip: &HashSet<EventId>,
        limit: ReadLimit,
    ) -> Result<DuePage, StoreError> {
        let Some(lane) = self.shared.lanes.number(lane) else { return Ok(DuePage::default()) };
        let homes: HashSet<(Position, u8)> = skip
            .iter()
            .filter_map(|id| ids::decode(*id, self.shared.salt))
            .map(|home| (home.block, home.index))
            .collect();
        let mut page = Page::new(limit);
        let mut next_due = None;
        let mut failed = None;
        let mut lost: BTreeMap<Position, Vec<Settled>> = BTreeMap::new();
        let walked = self.shared.reader.due(lane, |due, attempts| {
            if homes.contains(&(due.block, due.index)) {
                return ControlFlow::Continue(());
            }
            let due_at = Timestamp::from_millis(due.due_ms);
            if due_at <= until && !page.is_full() {
                let settled =
                    Settled { index: due.index, from_due_ms: Some(due.due_ms), what: What::Cancelled };
                if let Some(lost) = lost.get_mut(&due.block) {
                    lost.push(settled);
                    return ControlFlow::Continue(());
                }
                let home = Home { block: due.block, index: due.index };
                match self.block(due.block) {
                    Ok(block) => {
                        let entry = self.entry(&block, home, Some(due_at), attempts);
                        if entry.is_none_or(|entry| page.take(entry)) {
                            return ControlFlow::Continue(());
                        }
                    }
                    Err(ReadError::Store(error)) => return self.try_again(error, &mut failed),
                    Err(error) => {
                        if self.met_put_off(&due, &homes, &error) {
                            lost.entry(due.block).or_default().push(settled);
                        }
                        return ControlFlow::Continue(());
                    }
                }
            }
            next_due = Some(due_at);
            ControlFlow::Break(())
        });
        for (block, entries) in lost {
            self.forget(SettledRun { lane_no: lane, block, entries });
        }
        self.finish(walked, failed)?;
        Ok(DuePage { entries: page.entries, next_due })
    }

    pub(super) fn lookup(&self, id: EventId) -> Result<Lookup, StoreError> {
        let Some(home) = ids::decode(id, self.shared.salt) else { return Ok(Lookup::Unknown) };
        let block = match self.block(home.block) {
            Ok(block) => block,
            Err(ReadError::Store(error)) => return Err(error),
            Err(_) if self.shared.account.is_gone(home.block) => return Ok(Lookup::Lost),
            Err(ReadError::Gone { segment }) if self.shared.segments.exists(segment) => {
                return Ok(Lookup::Settled);
            }
            // The id may be made up: this is no evidence of damage.
            Err(_) => return Ok(Lookup::Unknown),
        };
        let index = usize::from(home.index);
        if index >= block.count() || ids::encode(block.accepted_ms, home, self.shared.salt) != id {
            return Ok(Lookup::Unknown);
        }
        let standing = self.shared.reader.standing(block.lane_no, home.block, home.index);
        let (due_ms, attempts) = match standing.map_err(|error| self.broken(&error))? {
            Standing::Settled => return Ok(Lookup::Settled),
            Standing::Plain => (None, 0),
            Standing::Due { moved: Some((due_ms, attempts)) } => (Some(due_ms), attempts),
            Standing::Due { moved: None } => (block.due_ms.get(index).copied(), 0),
        };
        let entry = self.entry(&block, home, due_ms.map(Timestamp::from_millis), attempts);
        Ok(entry.map_or(Lookup::Unknown, |entry| Lookup::Waiting(block.lane.clone(), entry)))
    }

    /// The rows say it: no block is read.
    pub(super) fn count_before(&self, lane: &LaneKey, id: EventId) -> Result<u64, StoreError> {
        let Some(lane) = self.shared.lanes.number(lane) else { return Ok(0) };
        let Some(home) = ids::decode(id, self.shared.salt) else { return Ok(0) };
        let mut before = 0_u64;
        let walked = self.shared.reader.ready(lane, Position::default(), |at, row| {
            if at < home.block {
                before += u64::from(row.ready());
                return ControlFlow::Continue(());
            }
            if at == home.block {
                before += (0..home.index).filter(|index| row.is_ready(*index)).count() as u64;
            }
            ControlFlow::Break(())
        });
        self.finish(walked, None)?;
        Ok(before)
    }

    pub(super) fn lanes(&self) -> Result<Vec<LaneSummary>, StoreError> {
        self.shared.reader.summaries().map_err(|error| self.broken(&error))
    }

    fn entry(
        &self,
        block: &Block,
        home: Home,
        due_at: Option<Timestamp>,
        attempts: u16,
    ) -> Option<StoredEntry> {
        let id = ids::encode(block.accepted_ms, home, self.shared.salt);
        let record = block.record(home.index.into())?;
        Some(StoredEntry { id, attempts, due_at, record })
    }

    fn block(&self, at: Position) -> Result<Arc<Block>, ReadError> {
        if let Some(block) = self.shared.cache.get(at) {
            return Ok(block);
        }
        let block = Arc::new(self.shared.blocks.read_block(at)?);
        self.shared.cache.put(at, Arc::clone(&block));
        Ok(block)
    }

    fn finish(&self, walked: Result<(), IndexError>, failed: Option<StoreError>) -> Result<(), StoreError> {
        walked.map_err(|error| self.broken(&error))?;
        failed.map_or(Ok(()), Err)
    }

    fn broken(&self, error: &IndexError) -> StoreError {
        self.shared.figures.errors.fetch_add(1, Ordering::Relaxed);
        StoreError::Io {
            operation: "read",
            path: self.shared.dir.index().display().to_string(),
            reason: error.to_string(),
        }
    }

    /// A read that may succeed when it is tried again loses nothing.
    fn try_again(&self, error: StoreError, failed: &mut Option<StoreError>) -> ControlFlow<()> {
        self.shared.figures.errors.fetch_add(1, Ordering::Relaxed);
        *failed = Some(error);
        ControlFlow::Break(())
    }

    /// Counts the plain entries of a damaged block that were not handed out, and takes them out of the index.
    fn lose_plain(&self, lane_no: u32, at: Position, lost: impl Iterator<Item = u8>, error: &ReadError) {
        let entries: Vec<Settled> =
            lost.map(|index| Settled { index, from_due_ms: None, what: What::Cancelled }).collect();
        // The row may have been read just before everything in it was settled and the file deleted.
        if entries.is_empty() || !matches!(self.shared.reader.block(lane_no, at), Ok(Some(_))) {
            return;
        }
        self.count_lost(at, Part::Plain, entries.len() as u64, error);
        self.forget(SettledRun { lane_no, block: at, entries });
    }

    /// Counts the put off entries of a damaged block, all at once: those that are due later are met later. False
    /// when everything in it was settled meanwhile.
    fn met_put_off(&self, due: &DueKey, handed_out: &HashSet<(Position, u8)>, error: &ReadError) -> bool {
        let Ok(Some(row)) = self.shared.reader.block(due.lane, due.block) else { return false };
        let put_off = u64::from(row.live().saturating_sub(row.ready()));
        let out = |index: &u8| row.is_put_off(*index) && handed_out.contains(&(due.block, *index));
        let out = (0..=u8::MAX).filter(out).count() as u64;
        self.count_lost(due.block, Part::PutOff, put_off.saturating_sub(out), error);
        true
    }

    fn count_lost(&self, at: Position, part: Part, lost: u64, error: &ReadError) {
        let (figures, news) = (&self.shared.figures, self.shared.damaged.note(at, part));
        if news.block {
            super::aside::keep(&self.shared.dir, at);
            figures.damaged_frames.fetch_add(1, Ordering::Relaxed);
        }
        if news.part {
            figures.lost_entries.fetch_add(lost, Ordering::Relaxed);
            tracing::error!(%error, lost, "a damaged block was met; its bytes were set aside");
        }
    }

    /// A stopped indexer meets the damage again after the next start.
    fn forget(&self, run: SettledRun) {
        let _ = self.work.send(Work::Lost(run));
    }
}
