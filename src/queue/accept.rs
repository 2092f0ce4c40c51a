//! Acceptance: a batch is made durable, and counted in its lanes when it is.
//!
//! Must not know: how entries are handed out and settled.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::Lane;
use crate::queue::counters::Came;
use crate::queue::table::SharedTable;
use crate::queue::{NewEvent, QueueError};
use crate::store::record;
use crate::store::{AppendTurn, Appended, Dedup, EntryStore, NewEntry, RunToEnd, StoreError};
use crate::telemetry::{Defect, EventSource};

/// Takes events in: batches become durable, and then count in their lanes.
pub(super) struct Acceptance {
    pub(super) store: Arc<dyn EntryStore>,
    pub(super) lanes: SharedTable,
    /// How long it waits for the store.
    pub(super) timeout: Duration,
}

impl Acceptance {
    /// Makes a batch durable: see [`Queue::accept`](super::Queue::accept).
    pub(super) async fn accept(&self, batch: Vec<NewEvent>) -> Result<Vec<Appended>, QueueError> {
        let mut entries = Vec::with_capacity(batch.len());
        let mut coming = Vec::with_capacity(batch.len());
        for NewEvent { lane, event, dedup, source } in batch {
            let (record, due_at) = (record::encode(&event)?, event.due_at);
            let bytes = record.len();
            entries.push(NewEntry { lane: lane.key().clone(), due_at, record, dedup });
            coming.push(Coming { lane, due_at, bytes, source });
        }
        let store = Arc::clone(&self.store);
        let pending = PendingAppend::begin(&self.lanes, coming);
        let turn = Arc::new(AppendTurn::default());
        let taken = Arc::clone(&turn);
        let mut work = RunToEnd::new(async move {
            let appended = store.append_in_turn(entries, taken).await?;
            pending.commit(&appended);
            Ok(appended)
        });
        match tokio::time::timeout(self.timeout, &mut work).await {
            Ok(done) => done,
            // The store has not begun with the batch, and never will: the caller may hand it in again.
            Err(_) if turn.withdraw() => {
                work.abandon();
                Err(StoreError::Slow.into())
            }
            // The work goes on without its caller.
            Err(_) => Err(StoreError::OutcomeUnknown.into()),
        }
    }

    /// What is on record under these keys: see [`Queue::find_keys`](super::Queue::find_keys).
    pub(super) async fn find_keys(&self, keys: Vec<Dedup>) -> Result<Vec<Option<Appended>>, QueueError> {
        match tokio::time::timeout(self.timeout, self.store.find_keys(keys)).await {
            Ok(found) => Ok(found?),
            Err(_) => Err(StoreError::Slow.into()),
        }
    }
}

/// An entry on its way into the store.
struct Coming {
    lane: Lane,
    due_at: Option<Timestamp>,
    /// The size of its record, in bytes.
    bytes: usize,
    source: EventSource,
}

/// The lanes that an acceptance touches, so that a concurrent load cannot take them for empty. Dropped
/// without [`PendingAppend::commit`] it undoes itself.
struct PendingAppend {
    lanes: SharedTable,
    /// In the order of the batch.
    entries: Vec<Coming>,
}

impl PendingAppend {
    fn begin(shared: &SharedTable, entries: Vec<Coming>) -> Self {
        let mut lanes = shared.lock();
        for entry in &entries {
            lanes.begin_append(entry.lane.key());
        }
        drop(lanes);
        Self { lanes: shared.clone(), entries }
    }

    /// Counts what became durable, also when nobody waits for the answer any more.
    fn commit(mut self, appended: &[Appended]) {
        let entries = std::mem::take(&mut self.entries);
        if entries.len() != appended.len() {
            Defect { place: "a batch answered for another number of entries" }.emit();
        }
        let mut came: Vec<Came<'_>> = Vec::new();
        let mut lanes = self.lanes.lock();
        for (entry, appended) in entries.iter().zip(appended) {
            let (lane, source) = (entry.lane.key(), entry.source);
            match appended {
                Appended::New(id) => {
                    // Neighbours often share a lane.
                    match came.last_mut() {
                        Some(last) if last.lane == lane && last.source == source => last.count += 1,
                        _ => {
                            let series = lanes.series(&entry.lane);
                            came.push(Came { lane, series, source, count: 1 });
                        }
                    }
                    // First: a lane that is empty again after this append is forgotten by it.
                    lanes.sized(lane, std::iter::once(entry.bytes));
                    lanes.appended(lane, *id, entry.due_at);
                    if source == EventSource::Redrive {
                        lanes.redriven();
                    }
                }
                Appended::Duplicate(_) | Appended::Conflict(_) => lanes.end_append(lane),
            }
        }
        drop(lanes);
        // Outside the lock, which every door and every load needs.
        came.iter().for_each(Came::count);
    }
}

impl Drop for PendingAppend {
    fn drop(&mut self) {
        if !self.entries.is_empty() {
            let mut lanes = self.lanes.lock();
            for entry in &self.entries {
                lanes.end_append(entry.lane.key());
            }
        }
    }
}
