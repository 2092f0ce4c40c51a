//! Reads: the index says where, the journal has the bytes. A damaged block costs its own entries alone, and a block
//! that cannot be read now holds its own lane alone.
//!
//! Must not know: how anything is written, when a block counts as damaged.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use super::fetch::{BlockFetcher, Unreadable};
use super::ids::{self, Home};
use super::lost::{LossSettler, decision};
use super::shared::Shared;
use super::threads::Threads;
use super::writer::Request;
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Reason};
use crate::store::embedded::index::keys::DueKey;
use crate::store::embedded::index::read::IndexStanding;
use crate::store::embedded::index::rows::PutOff;
use crate::store::embedded::journal::{Block, Position, ReadError};
use crate::store::{DuePage, KeptEnd, LaneSummary, Lookup, ReadLimit, StoreError, StoredEntry};

/// The means of one read. Its calls wait for the disk and for the writer: not for a runtime thread.
pub(super) struct Reads {
    pub shared: Arc<Shared>,
    /// To the writer: what is lost is settled like everything else.
    pub requests: Sender<Request>,
}

/// The entries of one answer, up to the caller's limits.
struct ReadPage {
    entries: Vec<StoredEntry>,
    bytes: usize,
    limit: ReadLimit,
}

impl ReadPage {
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

    /// What it holds; the error that stopped it when that is nothing.
    fn or_failed(self, failed: Option<StoreError>) -> Result<Vec<StoredEntry>, StoreError> {
        match failed {
            Some(error) if self.entries.is_empty() => Err(error),
            _ => Ok(self.entries),
        }
    }

    fn is_full(&self) -> bool {
        !self.entries.is_empty()
            && (self.entries.len() >= self.limit.entries || self.bytes >= self.limit.bytes)
    }
}

impl Reads {
    /// Reads on a thread that may wait for the disk.
    ///
    /// # Errors
    /// Those of `read`; [`StoreError::Closed`] when the store is closed, and [`StoreError::Io`] when the thread ends.
    pub(super) async fn apart<T: Send + 'static>(
        shared: &Arc<Shared>,
        threads: &Threads,
        read: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = shared.figures.closed.load(Ordering::Acquire);
        let Some(requests) = threads.requests().filter(|_| !closed) else {
            return Err(StoreError::Closed);
        };
        let reads = Self { shared: Arc::clone(shared), requests };
        let done = tokio::task::spawn_blocking(move || read(&reads)).await;
        done.unwrap_or_else(|error| {
            let place = shared.dir.root().display().to_string();
            Err(StoreError::Io { operation: "read", place, reason: error.to_string() })
        })
    }

    pub(super) fn fetcher(&self) -> BlockFetcher<'_> {
        BlockFetcher { shared: &self.shared }
    }

    pub(super) fn losses(&self) -> LossSettler<'_> {
        LossSettler { shared: &self.shared, requests: &self.requests }
    }

    pub(super) fn ready(
        &self,
        lane: &LaneKey,
        after: Option<EventId>,
        limit: ReadLimit,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let Some(lane) = self.shared.lanes.number(lane) else { return Ok(Vec::new()) };
        let after = after.and_then(|id| ids::decode(id, self.shared.salt));
        let from = after.map_or_else(Position::default, |home| home.block);
        let mut page = ReadPage::new(limit);
        let mut failed = None;
        let mut lost = Vec::new();
        let walked = self.shared.reader.ready(lane, from, |at, row| {
            let homes = || (0..=u8::MAX).map(|index| Home { block: at, index });
            let mut wanted =
                homes().filter(|home| row.is_ready(home.index) && Some(*home) > after).peekable();
            if wanted.peek().is_none() {
                return ControlFlow::Continue(());
            }
            // The whole block counts as handed out, because the page may take any of its entries.
            let last = Home { block: at, index: u8::MAX };
            let block = match self.fetcher().block(lane, at) {
                // It may have been declared damaged, or closed by an operator, since it was read: then its entries are
                // settled as lost and must not be handed out as well.
                Ok(block) if self.shared.damaged.hand_out(lane, last, |lane| self.exists(lane)) => block,
                Ok(_) | Err(Unreadable::Lost) => {
                    lost.extend(wanted.map(|home| decision(lane, home, None)));
                    return ControlFlow::Continue(());
                }
                Err(Unreadable::Settled) => return ControlFlow::Continue(()),
                Err(Unreadable::Failed(error)) => return stop(error, &mut failed),
            };
            // A page that is full ends inside a block; the next read begins behind the last id that was returned.
            for home in wanted {
                let Some(entry) = self.entry(&block, home, None, PutOff::default()) else { continue };
                if !page.take(entry) {
                    return ControlFlow::Break(());
                }
            }
            if page.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        walked.map_err(|error| self.shared.index_error(&error))?;
        // Durable before the answer: the caller must not see a gap that a crash could undo.
        self.losses().settle(&lost)?;
        debug_assert!(page.entries.is_sorted_by(|a, b| a.id < b.id), "plain order is the order of ids");
        page.or_failed(failed)
    }

    pub(super) fn due(
        &self,
        lane: &LaneKey,
        until: Timestamp,
        skip: &HashSet<EventId>,
        limit: ReadLimit,
    ) -> Result<DuePage, StoreError> {
        let Some(lane) = self.shared.lanes.number(lane) else { return Ok(DuePage::default()) };
        let handed_out = ids::homes(skip, self.shared.salt);
        let mut page = ReadPage::new(limit);
        let mut next_due = None;
        let mut failed = None;
        let mut lost = HashSet::new();
        let walked = self.shared.reader.due(lane, |due, put_off| {
            let home = Home { block: due.block, index: due.index };
            // An entry that is handed out still has its row; it would be sent twice.
            if handed_out.contains(&home) || lost.contains(&due.block) {
                return ControlFlow::Continue(());
            }
            let due_at = Timestamp::from_millis(due.due_ms);
            // Stays set only if the walk stops here: it is the first entry that this page leaves.
            next_due = Some(due_at);
            if due_at > until || page.is_full() {
                return ControlFlow::Break(());
            }
            let exists = |lane| self.exists(lane);
            let block = match self.fetcher().block(lane, due.block) {
                Ok(block) if self.shared.damaged.hand_out_due(lane, due.block, due.due_ms, exists) => block,
                Ok(_) | Err(Unreadable::Lost) => {
                    lost.insert(due.block);
                    next_due = None;
                    return ControlFlow::Continue(());
                }
                Err(Unreadable::Settled) => {
                    next_due = None;
                    return ControlFlow::Continue(());
                }
                Err(Unreadable::Failed(error)) => return stop(error, &mut failed),
            };
            let entry = self.entry(&block, home, Some(due_at), put_off);
            if entry.is_none_or(|entry| page.take(entry)) {
                next_due = None;
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        });
        walked.map_err(|error| self.shared.index_error(&error))?;
        debug_assert!(page.entries.is_sorted_by_key(|entry| entry.due_at), "due order");
        debug_assert!(
            page.entries.iter().all(|entry| entry.due_at <= Some(until)),
            "nothing before it is due"
        );
        if !lost.is_empty() {
            // Also what is due later, so that all of a damage is known at once.
            let is_lost = |due: &DueKey, home: &Home| lost.contains(&due.block) && !handed_out.contains(home);
            self.losses().settle(&self.losses().put_off(lane, is_lost)?)?;
        }
        Ok(DuePage { entries: page.or_failed(failed)?, next_due })
    }

    /// Where an event stands; what the index does not know any more, the log of ends may.
    pub(super) fn lookup(&self, id: EventId) -> Result<Lookup, StoreError> {
        let found = self.indexed(id)?;
        if !matches!(found, Lookup::Unknown | Lookup::Settled(None)) {
            return Ok(found);
        }
        Ok(match self.shared.ends.why(id)? {
            // That it ended for another reason says no more than that it ended.
            Some(why) if found == Lookup::Unknown || why.reason != Reason::Other => {
                Lookup::Settled(Some(KeptEnd { lane: None, why }))
            }
            _ => found,
        })
    }

    fn indexed(&self, id: EventId) -> Result<Lookup, StoreError> {
        let Some(home) = ids::decode(id, self.shared.salt) else { return Ok(Lookup::Unknown) };
        // First: a lost entry's block may be unreadable or gone, and the id has to be answered even so.
        if self
            .shared
            .reader
            .is_lost(home.block, home.index)
            .map_err(|error| self.shared.index_error(&error))?
        {
            return Ok(Lookup::Lost);
        }
        let fetcher = self.fetcher();
        let block = match fetcher.cached(home.block) {
            Ok(block) => block,
            Err(ReadError::Store(error)) => return Err(error),
            // The account names the ranges whose loss was reported.
            Err(_) if self.shared.account.is_gone(home.block) => return Ok(Lookup::Lost),
            Err(ReadError::Gone { .. }) if self.shared.unread.holds(home.block) => {
                return Err(fetcher.absent(home.block));
            }
            Err(ReadError::Gone { segment }) if self.shared.segments.exists(segment) => {
                return self.settled(home, None);
            }
            // The id may be made up: this is no evidence of damage.
            Err(_) => return Ok(Lookup::Unknown),
        };
        let index = usize::from(home.index);
        // An id that was made up may name an existing block; only one that is made the same way from it is ours.
        if index >= block.count() || ids::encode(block.accepted_ms, home, self.shared.salt) != id {
            return Ok(Lookup::Unknown);
        }
        let standing = self.shared.reader.standing(block.lane_no, home.block, home.index);
        let (due_ms, put_off) = match standing.map_err(|error| self.shared.index_error(&error))? {
            IndexStanding::Settled => return self.settled(home, Some(&block.lane)),
            IndexStanding::Plain => (None, PutOff::default()),
            IndexStanding::Due { moved: Some((due_ms, put_off)) } => (Some(due_ms), put_off),
            // Never rescheduled: the due time is the one in the block.
            IndexStanding::Due { moved: None } => (block.due_ms.get(index).copied(), PutOff::default()),
        };
        let entry = self.entry(&block, home, due_ms.map(Timestamp::from_millis), put_off);
        Ok(entry.map_or(Lookup::Unknown, |entry| Lookup::Waiting(block.lane.clone(), entry)))
    }

    /// An entry that has ended, with why.
    fn settled(&self, home: Home, lane: Option<&LaneKey>) -> Result<Lookup, StoreError> {
        let why = self
            .shared
            .reader
            .why(home.block, home.index)
            .map_err(|error| self.shared.index_error(&error))?;
        Ok(Lookup::Settled(why.map(|why| KeptEnd { lane: lane.cloned(), why })))
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
        walked.map_err(|error| self.shared.index_error(&error))?;
        Ok(before)
    }

    pub(super) fn lanes(&self) -> Result<Vec<LaneSummary>, StoreError> {
        // What is lost from now on is not part of it.
        // Summaries and losses belong to one moment: no commit is applied between the two.
        let applying = self.shared.applying.lock();
        self.shared.losses.take();
        let summaries = self.shared.reader.summaries();
        drop(applying);
        summaries.map_err(|error| self.shared.index_error(&error))
    }

    /// Whether the lane still holds living entries: an empty lane gives its number up.
    fn exists(&self, lane: u32) -> bool {
        self.shared.lanes.key(lane).is_some()
    }

    pub(super) fn entry(
        &self,
        block: &Block,
        home: Home,
        due_at: Option<Timestamp>,
        put_off: PutOff,
    ) -> Option<StoredEntry> {
        let id = ids::encode(block.accepted_ms, home, self.shared.salt);
        let record = block.record(home.index.into())?;
        let PutOff { tries, doubted_ms } = put_off;
        let doubted_at = doubted_ms.map(Timestamp::from_millis);
        Some(StoredEntry { id, tries, due_at, doubted_at, record })
    }
}

/// Ends a walk whose next block cannot be read now.
fn stop(error: StoreError, failed: &mut Option<StoreError>) -> ControlFlow<()> {
    *failed = Some(error);
    ControlFlow::Break(())
}
