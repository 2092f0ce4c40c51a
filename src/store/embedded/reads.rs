//! Reads: the index says where, the journal has the bytes. A damaged block costs its own entries alone.
//!
//! Must not know: how anything is written.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use super::ids::{self, Home};
use super::indexer::Work;
use super::shared::Shared;
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey};
use crate::store::index::IndexError;
use crate::store::index::keys::DueKey;
use crate::store::index::read::Standing;
use crate::store::index::rows::BlockRow;
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
                Err(error) => return self.unreadable(lane, at, row, error, &mut failed),
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
        let walked = self.shared.reader.due(lane, |due, attempts| {
            if homes.contains(&(due.block, due.index)) {
                return ControlFlow::Continue(());
            }
            let due_at = Timestamp::from_millis(due.due_ms);
            if due_at <= until && !page.is_full() {
                let home = Home { block: due.block, index: due.index };
                match self.block(due.block) {
                    Ok(block) => {
                        let entry = self.entry(&block, home, Some(due_at), attempts);
                        if entry.is_none_or(|entry| page.take(entry)) {
                            return ControlFlow::Continue(());
                        }
                    }
                    Err(error) => return self.unreadable_due(due, error, &mut failed),
                }
            }
            next_due = Some(due_at);
            ControlFlow::Break(())
        });
        self.finish(walked, failed)?;
        Ok(DuePage { entries: page.entries, next_due })
    }

    pub(super) fn lookup(&self, id: EventId) -> Result<Lookup, StoreError> {
        let Some(home) = ids::decode(id, self.shared.salt) else { return Ok(Lookup::Unknown) };
        let block = match self.block(home.block) {
            Ok(block) => block,
            Err(ReadError::Store(error)) => return Err(error),
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

    fn unreadable(
        &self,
        lane_no: u32,
        at: Position,
        row: &BlockRow,
        error: ReadError,
        failed: &mut Option<StoreError>,
    ) -> ControlFlow<()> {
        let plain = (0..=u8::MAX).filter(|index| row.is_ready(*index));
        let entries =
            plain.map(|index| Settled { index, from_due_ms: None, what: What::Cancelled }).collect();
        self.lose(SettledRun { lane_no, block: at, entries }, error, failed)
    }

    fn unreadable_due(
        &self,
        due: DueKey,
        error: ReadError,
        failed: &mut Option<StoreError>,
    ) -> ControlFlow<()> {
        let settled = Settled { index: due.index, from_due_ms: Some(due.due_ms), what: What::Cancelled };
        self.lose(SettledRun { lane_no: due.lane, block: due.block, entries: vec![settled] }, error, failed)
    }

    /// Counts entries that cannot be read, takes them out of the index and goes on with the rest. A read that
    /// may succeed when it is tried again loses nothing.
    fn lose(&self, run: SettledRun, error: ReadError, failed: &mut Option<StoreError>) -> ControlFlow<()> {
        let figures = &self.shared.figures;
        if let ReadError::Store(error) = error {
            figures.errors.fetch_add(1, Ordering::Relaxed);
            *failed = Some(error);
            return ControlFlow::Break(());
        }
        // The row may have been read just before everything in it was settled and the file deleted.
        if !matches!(self.shared.reader.block(run.lane_no, run.block), Ok(Some(_))) {
            return ControlFlow::Continue(());
        }
        super::aside::keep(&self.shared.dir, run.block);
        figures.damaged_frames.fetch_add(1, Ordering::Relaxed);
        let lost = u64::try_from(run.entries.len()).unwrap_or(u64::MAX);
        figures.lost_entries.fetch_add(lost, Ordering::Relaxed);
        tracing::error!(%error, lost, "a damaged block was met; its bytes were set aside");
        // A stopped indexer meets the damage again after the next start.
        let _ = self.work.send(Work::Lost(run));
        ControlFlow::Continue(())
    }
}
