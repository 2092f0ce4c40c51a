//! The promises for entries, kept in memory.
//!
//! Must not know: how the maps are laid out.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::contents::Contents;
use super::{FailPoint, MemoryStore, injected};
use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey};
use crate::store::{
    Appended, AttemptStore, DeadLetters, Dedup, Doubts, DuePage, EndLog, EntryStore, GiveUp, LaneSummary,
    LastRedrive, Lookup, Loss, NewEntry, Owner, ReadLimit, Scan, ScanPage, SettleRequest, StoreError,
    StoreHealth, StoredEntry,
};

impl EntryStore for MemoryStore {
    fn append(&self, batch: Vec<NewEntry>) -> BoxFuture<'_, Result<Vec<Appended>, StoreError>> {
        Box::pin(async move {
            self.while_held(|state| state.hold_appends).await;
            self.append_now(batch)
        })
    }

    fn read_ready<'a>(
        &'a self,
        lane: &'a LaneKey,
        after: Option<EventId>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredEntry>, StoreError>> {
        Box::pin(async move { self.read(|contents| contents.ready(lane, after, limit)) })
    }

    fn read_due<'a>(
        &'a self,
        lane: &'a LaneKey,
        until: Timestamp,
        skip: &'a HashSet<EventId>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<DuePage, StoreError>> {
        Box::pin(async move { self.read(|contents| contents.due(lane, until, skip, limit)) })
    }

    fn owner(&self) -> Owner {
        self.lock().owner()
    }

    fn settle(&self, owner: Owner, batch: Vec<SettleRequest>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.while_held(|state| state.hold_settlements).await;
            self.settle_now(owner, &batch)
        })
    }

    fn give_up(
        &self,
        owner: Owner,
        what: GiveUp,
        handed_out: HashSet<EventId>,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.writable()?;
            state.owner().check(owner)?;
            // Whatever is in memory can be read.
            let GiveUp::Lane(lane) = what else { return Ok(0) };
            Ok(state.contents.give_up(&lane, &handed_out))
        })
    }

    fn take_losses(&self) -> Vec<Loss> {
        std::mem::take(&mut self.lock().contents.losses)
    }

    fn find_keys(&self, keys: Vec<Dedup>) -> BoxFuture<'_, Result<Vec<Option<Appended>>, StoreError>> {
        Box::pin(async move {
            self.read(|contents| keys.iter().map(|key| contents.repeated(Some(*key))).collect())
        })
    }

    fn last_redrives(
        &self,
        names: Vec<EventId>,
    ) -> BoxFuture<'_, Result<Vec<Option<LastRedrive>>, StoreError>> {
        Box::pin(async move {
            self.read(|contents| names.iter().map(|name| contents.last_redrive(*name)).collect())
        })
    }

    fn lookup(&self, id: EventId) -> BoxFuture<'_, Result<Lookup, StoreError>> {
        Box::pin(async move {
            if self.lock().fail.remove(&FailPoint::Lookup) {
                return Err(injected("look up"));
            }
            self.read(|contents| contents.lookup(id))
        })
    }

    fn scan(&self, scan: Scan) -> BoxFuture<'_, Result<ScanPage, StoreError>> {
        Box::pin(async move { self.read(|contents| contents.scan(&scan)) })
    }

    fn count_before<'a>(&'a self, lane: &'a LaneKey, id: EventId) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move { self.read(|contents| contents.count_before(lane, id)) })
    }

    fn lanes(&self) -> BoxFuture<'_, Result<Vec<LaneSummary>, StoreError>> {
        Box::pin(async move {
            self.lock().contents.losses.clear();
            self.read(Contents::summaries)
        })
    }

    fn health(&self) -> StoreHealth {
        let state = self.lock();
        StoreHealth {
            poisoned: state.poisoned.clone(),
            free_bytes: u64::MAX,
            lost_entries: state.contents.lost.len() as u64,
            owes_settlements: state.owes_settlements,
            newest_at_start: state.newest_at_start,
            dead_entries: state.contents.dead.len() as u64,
            errors: state.errors,
            held: self.doubts.store_held(),
            ..StoreHealth::default()
        }
    }

    fn doubts(&self) -> Doubts {
        self.doubts.clone()
    }

    fn attempts(&self) -> Arc<dyn AttemptStore> {
        self.attempts.clone()
    }

    fn letters(self: Arc<Self>) -> Arc<dyn DeadLetters> {
        self
    }

    fn ends(self: Arc<Self>) -> Arc<dyn EndLog> {
        self
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.lock().closed = true;
            self.released.notify_waiters();
            Ok(())
        })
    }
}
