//! The queue: acceptance, lanes with their counts, bounded read-ahead, settlement in batches.
//!
//! An entry is handed out once ([`Queue::load`]) and stays handed out until it is settled; a restart hands it
//! out again. The backlog itself is never in memory: a lane costs its counts and a cursor, and nothing once
//! it is empty.
//!
//! Must not know: policies, limits, HTTP.

mod counters;
mod ends;
mod hosts;
mod ledger;
mod load;
mod lost;
mod settle;
mod sizes;
mod standing;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::{self, Clock, Timestamp};
use crate::event::{CanonicalUrl, Event, EventId, Lane, LaneKey};
use crate::store::RunToEnd;
use crate::store::record::{self, RecordError};
use crate::store::{
    Appended, Dedup, Doubts, EntryStore, NewEntry, Owner, StoreError, StoreHealth, StoredEntry, Turn,
};
use crate::telemetry::{Defect, Source};

use counters::count_accepted;
pub use ends::End;
pub use ledger::Ledger;
pub use load::Loaded;
use lost::Stale;
pub use settle::Completed;
use settle::Settler;
pub use standing::{ReadAhead, Standing, Waiting};
pub use table::LaneCounts;
use table::LaneTable;

/// How long an acceptance waits for the store where nothing else is said.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How often whoever waits for other work looks whether the store answers.
const LOOK_AT_STORE_EVERY: Duration = Duration::from_millis(50);

/// An event that passed the door, with the lane that its policies give it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// Where it will stand.
    pub lane: Lane,
    /// The call to make, with the end of its life.
    pub event: Event,
    /// The key under which a repetition is recognised; `None` without an idempotency key.
    pub dedup: Option<Dedup>,
    /// The door it came through, under which it counts once it is durable.
    pub source: Source,
}

/// Why the queue could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A cheap handle; clones share the queue.
#[derive(Clone)]
pub struct Queue(Arc<Inner>);

struct Inner {
    store: Arc<dyn EntryStore>,
    /// In whose name entries are handed out and settled.
    owner: Owner,
    clock: Clock,
    lanes: Mutex<LaneTable>,
    settler: Settler,
    append_timeout: Duration,
    stale: Stale,
}

impl Inner {
    /// The table is plain counters: after a panic elsewhere it is still the best knowledge there is.
    fn lanes(&self) -> MutexGuard<'_, LaneTable> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the dispatcher hears from the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LaneSignal {
    /// The lane has new work; said at most once until it is loaded.
    Ready(LaneKey),
    /// An entry of the lane waits for this due time, earlier than all others that are known.
    PutOff(LaneKey, Timestamp),
    /// These entries of the lane were handed out and are no longer owed: an operator gave them up.
    GivenUp(LaneKey, HashSet<EventId>),
    /// Reads that failed are to be tried again now.
    ReadAgain,
}

/// Where the dispatcher hears which lanes have work.
pub struct LaneSignals(mpsc::UnboundedReceiver<LaneSignal>);

impl LaneSignals {
    /// Waits for signals and appends them; returns how many came, zero once the queue is gone.
    pub async fn recv_many(&mut self, into: &mut Vec<LaneSignal>, most: usize) -> usize {
        self.0.recv_many(into, most).await
    }

    /// Appends the signals that are there.
    pub fn take_all(&mut self, into: &mut Vec<LaneSignal>) {
        while let Ok(signal) = self.0.try_recv() {
            into.push(signal);
        }
    }
}

impl Queue {
    /// Opens the queue over a store and signals every lane that holds something.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the lanes cannot be read.
    pub async fn open(store: Arc<dyn EntryStore>, clock: Clock) -> Result<(Self, LaneSignals), QueueError> {
        Self::open_within(store, clock, APPEND_TIMEOUT).await
    }

    /// As [`Queue::open`]; acceptances wait for the store for at most `append_timeout`.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub async fn open_within(
        store: Arc<dyn EntryStore>,
        clock: Clock,
        append_timeout: Duration,
    ) -> Result<(Self, LaneSignals), QueueError> {
        // Unbounded in type, bounded in fact: a lane is in it once for new work, and once for each entry that is put off
        // ahead of all others.
        let (signal, signals) = mpsc::unbounded_channel();
        let mut lanes = LaneTable::new(signal);
        for summary in store.lanes().await? {
            lanes.restore(&summary);
        }
        let settler = Settler::default();
        let (lanes, stale) = (Mutex::new(lanes), Stale::default());
        let owner = store.owner();
        let queue = Self(Arc::new(Inner { store, owner, clock, lanes, settler, append_timeout, stale }));
        settle::spawn(&queue.0);
        Ok((queue, LaneSignals(signals)))
    }

    /// The lane for a call to this url that `governed` names the limits of: the part of that for the url's host and port, or,
    /// when there are very many hosts, one that several share.
    #[must_use]
    pub fn lane_at(&self, governed: &Lane, url: &CanonicalUrl) -> Lane {
        let host = url.host_and_port();
        let own = governed.at(&host);
        let is_taken = self.0.lanes().takes(own.key());
        if is_taken { own } else { governed.shared_at(&host) }
    }

    /// Makes a batch durable: when this returns, every entry that it calls new survives any crash. A caller that
    /// goes away in between cannot stop it half-way: it goes on in a task of its own.
    ///
    /// # Errors
    /// [`QueueError`]; nothing of the batch is acknowledged then. [`StoreError::Slow`] when the store did not take the
    /// batch in time: it was withdrawn and is not kept. [`StoreError::OutcomeUnknown`] when the store took it and did
    /// not confirm it in time: it may be kept, and its entries are counted when the store confirms them.
    pub async fn accept(&self, batch: Vec<NewEvent>) -> Result<Vec<Appended>, QueueError> {
        let mut entries = Vec::with_capacity(batch.len());
        let mut coming = Vec::with_capacity(batch.len());
        for NewEvent { lane, event, dedup, source } in batch {
            let (record, due_at) = (record::encode(&event)?, event.due_at);
            let bytes = record.len();
            entries.push(NewEntry { lane: lane.key().clone(), due_at, record, dedup });
            coming.push(Coming { lane, due_at, bytes, source });
        }
        let inner = Arc::clone(&self.0);
        let pending = PendingAppend::begin(&inner, coming);
        let turn = Arc::new(Turn::default());
        let taken = Arc::clone(&turn);
        let mut work = RunToEnd::new(async move {
            let appended = inner.store.append_in_turn(entries, taken).await?;
            pending.commit(&appended);
            Ok(appended)
        });
        match tokio::time::timeout(self.0.append_timeout, &mut work).await {
            Ok(done) => done,
            Err(_) if turn.withdraw() => {
                work.abandon();
                Err(StoreError::Slow.into())
            }
            // The work goes on without its caller.
            Err(_) => Err(StoreError::OutcomeUnknown.into()),
        }
    }

    /// What an acceptance under each of these keys would answer now, in order; `None` for those that are not on record.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store cannot be read, or not in time.
    pub async fn find_keys(&self, keys: Vec<Dedup>) -> Result<Vec<Option<Appended>>, QueueError> {
        match tokio::time::timeout(self.0.append_timeout, self.0.store.find_keys(keys)).await {
            Ok(found) => Ok(found?),
            Err(_) => Err(StoreError::Slow.into()),
        }
    }

    /// Waits for what the store is asked to do as long as the store answers; `work` must go on without whoever waits for
    /// it.
    ///
    /// # Errors
    /// [`StoreError::Slow`] when the store did not answer others before: `work` was not begun.
    /// [`StoreError::OutcomeUnknown`] when the store stopped answering before it ended.
    pub async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, StoreError> {
        if self.store_health().slow {
            return Err(StoreError::Slow);
        }
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(LOOK_AT_STORE_EVERY, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if self.store_health().slow => return Err(StoreError::OutcomeUnknown),
                Err(_) => {}
            }
        }
    }

    /// Reads a record. What was accepted while the clock was in doubt is not aged by its correction.
    fn event_of(&self, stored: &StoredEntry) -> Result<Event, RecordError> {
        let mut event = record::decode(&stored.record)?;
        let corrections = self.0.clock.corrections();
        event.expires_at = clock::corrected(&corrections, stored.id.accepted_at(), event.expires_at);
        Ok(event)
    }

    /// How many entries of a lane's plain order stand before this one and were not taken up yet.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store cannot be read.
    pub async fn not_taken_up_before(&self, lane: &LaneKey, id: EventId) -> Result<u64, QueueError> {
        let before = self.0.store.count_before(lane, id).await?;
        Ok(before.saturating_sub(self.0.lanes().plain_out_before(lane, id)))
    }

    /// What one lane holds; `None` when that is nothing.
    #[must_use]
    pub fn counts_of(&self, lane: &LaneKey) -> Option<LaneCounts> {
        self.0.lanes().counts_of(lane)
    }

    /// The lanes that hold something, with their counts.
    #[must_use]
    pub fn counts(&self) -> Vec<LaneCounts> {
        self.0.lanes().counts()
    }

    /// How many events of a lane are before one that is accepted now: those in plain order, calls under way included.
    #[must_use]
    pub fn waiting_in(&self, lane: &LaneKey) -> u64 {
        self.0.lanes().plain_in(lane)
    }

    /// Where all entries are, at one moment.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.0.lanes().ledger()
    }

    /// Whether no lane holds anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lanes().is_empty()
    }

    /// What the store could not establish.
    #[must_use]
    pub fn doubts(&self) -> Doubts {
        self.0.store.doubts()
    }

    /// The store's figures.
    #[must_use]
    pub fn store_health(&self) -> StoreHealth {
        let health = self.0.store.health();
        let slow = health.operation_age >= self.0.append_timeout;
        StoreHealth { slow, ..health }
    }
}

/// An entry on its way into the store.
struct Coming {
    lane: Lane,
    due_at: Option<Timestamp>,
    /// The size of its record.
    bytes: usize,
    source: Source,
}

/// The lanes that an acceptance touches, so that a concurrent load cannot take them for empty. Dropped
/// without [`PendingAppend::commit`] it undoes itself.
struct PendingAppend {
    inner: Arc<Inner>,
    /// In the order of the batch, as its answers are.
    entries: Vec<Coming>,
}

impl PendingAppend {
    fn begin(inner: &Arc<Inner>, entries: Vec<Coming>) -> Self {
        let mut lanes = inner.lanes();
        for entry in &entries {
            lanes.begin_append(entry.lane.key());
        }
        drop(lanes);
        Self { inner: Arc::clone(inner), entries }
    }

    /// Counts what became durable, whoever still waits for the answer.
    fn commit(mut self, appended: &[Appended]) {
        let entries = std::mem::take(&mut self.entries);
        if entries.len() != appended.len() {
            Defect { place: "a batch answered for another number of entries" }.emit();
        }
        let mut lanes = self.inner.lanes();
        for (entry, appended) in entries.iter().zip(appended) {
            let lane = entry.lane.key();
            match appended {
                Appended::New(id) => {
                    lanes.sized(lane, std::iter::once(entry.bytes));
                    lanes.appended(lane, *id, entry.due_at);
                }
                Appended::Duplicate(_) | Appended::Conflict(_) => lanes.end_append(lane),
            }
        }
        drop(lanes);
        let new = entries.iter().zip(appended).filter(|(_, appended)| matches!(appended, Appended::New(_)));
        count_accepted(new.map(|(entry, _)| (&entry.lane, entry.source)));
    }
}

impl Drop for PendingAppend {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            let mut lanes = self.inner.lanes();
            for entry in &self.entries {
                lanes.end_append(entry.lane.key());
            }
        }
    }
}
