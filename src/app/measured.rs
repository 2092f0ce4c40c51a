//! A store whose operations are timed and whose failures are counted.
//!
//! Must not know: which store it is.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::clock::{Clock, Timestamp};
use crate::event::{EventId, LaneKey};
use crate::store::{
    AppendTurn, Appended, AttemptStore, DeadLetters, Dedup, Doubts, DuePage, EndLog, EntryStore, FlightMarks,
    GiveUp, LaneSummary, LastRedrive, Lookup, Loss, NewEntry, Owner, ReadLimit, Scan, ScanPage,
    SettleRequest, StoreError, StoreHealth, StoredEntry,
};
use crate::telemetry::{StoreFailed, StoreOperation};

/// Passes every call on to the store within.
pub(super) struct Measured {
    store: Arc<dyn EntryStore>,
    clock: Clock,
}

impl Measured {
    pub(super) fn new(store: Arc<dyn EntryStore>, clock: Clock) -> Self {
        for op in [
            "append",
            "read_ready",
            "read_due",
            "settle",
            "give_up",
            "find_keys",
            "last_redrives",
            "lookup",
            "count_before",
            "scan",
            "lanes",
            "close",
        ] {
            // At zero from the start on, so that the first failure is seen as an increase.
            StoreFailed { op }.show();
        }
        Self { store, clock }
    }

    async fn measure<T>(
        &self,
        op: &'static str,
        operation: BoxFuture<'_, Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = self.clock.now();
        let outcome = operation.await;
        match &outcome {
            Ok(_) => StoreOperation { op, took: self.clock.now().since(started) }.emit(),
            // A full disk, a shortage and a withdrawal are refusals that the door counts, not failures.
            Err(error) if error.is_refusal() || matches!(error, StoreError::Slow) => {}
            Err(_) => StoreFailed { op }.emit(),
        }
        outcome
    }
}

impl EntryStore for Measured {
    fn append(&self, batch: Vec<NewEntry>) -> BoxFuture<'_, Result<Vec<Appended>, StoreError>> {
        Box::pin(self.measure("append", self.store.append(batch)))
    }

    fn append_in_turn(
        &self,
        batch: Vec<NewEntry>,
        turn: Arc<AppendTurn>,
    ) -> BoxFuture<'_, Result<Vec<Appended>, StoreError>> {
        Box::pin(self.measure("append", self.store.append_in_turn(batch, turn)))
    }

    fn read_ready<'a>(
        &'a self,
        lane: &'a LaneKey,
        after: Option<EventId>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredEntry>, StoreError>> {
        Box::pin(self.measure("read_ready", self.store.read_ready(lane, after, limit)))
    }

    fn read_due<'a>(
        &'a self,
        lane: &'a LaneKey,
        until: Timestamp,
        skip: &'a HashSet<EventId>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<DuePage, StoreError>> {
        Box::pin(self.measure("read_due", self.store.read_due(lane, until, skip, limit)))
    }

    fn owner(&self) -> Owner {
        self.store.owner()
    }

    fn settle(&self, owner: Owner, batch: Vec<SettleRequest>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.measure("settle", self.store.settle(owner, batch)))
    }

    fn give_up(
        &self,
        owner: Owner,
        what: GiveUp,
        handed_out: HashSet<EventId>,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(self.measure("give_up", self.store.give_up(owner, what, handed_out)))
    }

    fn take_losses(&self) -> Vec<Loss> {
        self.store.take_losses()
    }

    fn find_keys(&self, keys: Vec<Dedup>) -> BoxFuture<'_, Result<Vec<Option<Appended>>, StoreError>> {
        Box::pin(self.measure("find_keys", self.store.find_keys(keys)))
    }

    fn last_redrives(
        &self,
        names: Vec<EventId>,
    ) -> BoxFuture<'_, Result<Vec<Option<LastRedrive>>, StoreError>> {
        Box::pin(self.measure("last_redrives", self.store.last_redrives(names)))
    }

    fn lookup(&self, id: EventId) -> BoxFuture<'_, Result<Lookup, StoreError>> {
        Box::pin(self.measure("lookup", self.store.lookup(id)))
    }

    fn scan(&self, scan: Scan) -> BoxFuture<'_, Result<ScanPage, StoreError>> {
        Box::pin(self.measure("scan", self.store.scan(scan)))
    }

    fn count_before<'a>(&'a self, lane: &'a LaneKey, id: EventId) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(self.measure("count_before", self.store.count_before(lane, id)))
    }

    fn lanes(&self) -> BoxFuture<'_, Result<Vec<LaneSummary>, StoreError>> {
        Box::pin(self.measure("lanes", self.store.lanes()))
    }

    fn health(&self) -> StoreHealth {
        self.store.health()
    }

    fn doubts(&self) -> Doubts {
        self.store.doubts()
    }

    fn attempts(&self) -> Arc<dyn AttemptStore> {
        self.store.attempts()
    }

    fn flights(&self) -> Option<Arc<dyn FlightMarks>> {
        self.store.flights()
    }

    fn letters(self: Arc<Self>) -> Arc<dyn DeadLetters> {
        Arc::clone(&self.store).letters()
    }

    fn ends(self: Arc<Self>) -> Arc<dyn EndLog> {
        Arc::clone(&self.store).ends()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.measure("close", self.store.close()))
    }
}
