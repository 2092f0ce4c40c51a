//! A store in memory: plain maps, nothing durable. The model that the embedded store is compared with, and
//! the store of simulations, which need to fail and to crash at a chosen moment.
//!
//! Must not know: files, threads, the index.

mod contents;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use self::contents::Contents;
use super::doubts::{DoubtKind, NewDoubt};
use super::{
    Appended, Dedup, DocumentStore, Doubts, DuePage, EntryStore, Expect, GiveUp, LaneSummary, Lookup, Loss,
    MAX_RECORD_BYTES, NewEntry, ReadLimit, SettleRequest, StoreError, StoreHealth, StoredEntry, Version,
};
use crate::clock::{Clock, Timestamp};
use crate::event::{EventId, LaneKey, Settlement};

/// A place where a test can make the store fail, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailPoint {
    /// The next append fails and leaves nothing behind; the store is poisoned.
    AppendLost,
    /// The next append fails towards its caller although the entries are durable; the store is poisoned.
    AppendKept,
    /// The next settle fails without effect; the store is poisoned.
    Settle,
    /// The next read or lookup fails; nothing else changes.
    Read,
    /// The next document write fails without effect; nothing else changes.
    Put,
    /// The next settle panics without effect; nothing else changes.
    SettlePanic,
    /// The next read or lookup panics; nothing else changes.
    ReadPanic,
}

/// An entry that was parked for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its name.
    pub id: EventId,
    /// Where it stood.
    pub lane: LaneKey,
    /// Why it was given up.
    pub reason: String,
    /// Attempts made in all.
    pub attempts: u16,
    /// The bytes.
    pub record: Bytes,
}

/// The store in memory. Clones share their content.
#[derive(Clone)]
pub struct MemoryStore {
    clock: Clock,
    state: Arc<Mutex<State>>,
    released: Arc<Notify>,
    doubts: Doubts,
}

#[derive(Clone, Default)]
struct State {
    contents: Contents,
    fail: BTreeSet<FailPoint>,
    hold_settlements: bool,
    /// Calls to come that cannot park entries.
    cannot_park: usize,
    hold_appends: bool,
    poisoned: Option<String>,
    closed: bool,
    errors: u64,
}

impl MemoryStore {
    /// An empty store whose ids take their time from `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), released: Arc::default(), doubts: Doubts::default() }
    }

    /// The store as it would be found after a crash now: what calls have returned for is there, settlements
    /// that are held back are not. Failures, poison and closing do not survive; handles to the old store
    /// answer [`StoreError::Closed`] from now on.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut state = self.lock();
        state.closed = true;
        let contents = state.contents.clone();
        drop(state);
        self.released.notify_waiters();
        let state = State { contents, ..State::default() };
        Self {
            clock: self.clock.clone(),
            state: Arc::new(Mutex::new(state)),
            released: Arc::default(),
            doubts: self.doubts.clone(),
        }
    }

    /// Makes the next call that passes `point` fail.
    pub fn fail_next(&self, point: FailPoint) {
        self.lock().fail.insert(point);
    }

    /// While `hold` is set, settle calls wait without effect, as they do before their sync; a crash loses them.
    pub fn hold_settlements(&self, hold: bool) {
        self.lock().hold_settlements = hold;
        self.released.notify_waiters();
    }

    /// The next `calls` that park an entry fail without effect, as when records cannot be read; nothing else changes.
    pub fn fail_parking(&self, calls: usize) {
        self.lock().cannot_park = calls;
    }

    /// While `hold` is set, append calls wait without effect, as they do before their sync.
    pub fn hold_appends(&self, hold: bool) {
        self.lock().hold_appends = hold;
        self.released.notify_waiters();
    }

    /// Everything parked for a person so far, oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.lock().contents.dead.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the maps half changed: they are changed after all checks.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn while_held(&self, held: impl Fn(&State) -> bool) {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // Registered before the look at the state: a release in between is not missed.
            released.as_mut().enable();
            let held = {
                let state = self.lock();
                held(&state) && !state.closed
            };
            if !held {
                return;
            }
            released.await;
        }
    }

    fn append_now(&self, batch: Vec<NewEntry>) -> Result<Vec<Appended>, StoreError> {
        let now_ms = self.clock.now().as_millis();
        let mut state = self.lock();
        state.writable()?;
        if let Some(entry) = batch.iter().find(|entry| entry.record.len() > MAX_RECORD_BYTES) {
            return Err(StoreError::TooLarge { bytes: entry.record.len() });
        }
        if state.fail.remove(&FailPoint::AppendLost) {
            return Err(state.poison("append failed before its sync"));
        }
        let answers = state.contents.append(batch, now_ms);
        if state.fail.remove(&FailPoint::AppendKept) {
            return Err(state.poison("append failed after its sync"));
        }
        Ok(answers)
    }

    fn settle_now(&self, batch: &[SettleRequest]) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.writable()?;
        if state.fail.remove(&FailPoint::Settle) {
            return Err(state.poison("settle failed before its sync"));
        }
        if state.fail.remove(&FailPoint::SettlePanic) {
            drop(state);
            std::panic::resume_unwind(Box::new("settle was made to panic"));
        }
        let parks = batch.iter().any(|settle| matches!(settle.settlement, Settlement::Dead { .. }));
        if parks && state.cannot_park > 0 {
            state.cannot_park -= 1;
            return Err(injected("read"));
        }
        for settle in batch {
            state.contents.settle(settle);
        }
        Ok(())
    }

    fn read<T>(&self, read: impl FnOnce(&Contents) -> T) -> Result<T, StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        if state.fail.remove(&FailPoint::Read) {
            state.errors += 1;
            return Err(injected("read"));
        }
        if state.fail.remove(&FailPoint::ReadPanic) {
            drop(state);
            std::panic::resume_unwind(Box::new("read was made to panic"));
        }
        Ok(read(&state.contents))
    }
}

impl State {
    fn writable(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            _ if self.closed => Err(StoreError::Closed),
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&mut self, reason: &str) -> StoreError {
        self.errors += 1;
        self.poisoned = Some(reason.to_owned());
        StoreError::Poisoned { reason: reason.to_owned() }
    }
}

fn injected(operation: &'static str) -> StoreError {
    StoreError::Io { operation, path: "memory".to_owned(), reason: "made to fail".to_owned() }
}

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

    fn settle(&self, batch: Vec<SettleRequest>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.while_held(|state| state.hold_settlements).await;
            self.settle_now(&batch)
        })
    }

    fn give_up(&self, what: GiveUp, handed_out: HashSet<EventId>) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.writable()?;
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

    fn lookup(&self, id: EventId) -> BoxFuture<'_, Result<Lookup, StoreError>> {
        Box::pin(async move { self.read(|contents| contents.lookup(id)) })
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
            full: false,
            free_bytes: u64::MAX,
            lost_entries: state.contents.lost.len() as u64,
            dead_entries: state.contents.dead.len() as u64,
            errors: state.errors,
            held: self.doubts.store_held(),
            ..StoreHealth::default()
        }
    }

    fn doubts(&self) -> Doubts {
        self.doubts.clone()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.lock().closed = true;
            self.released.notify_waiters();
            Ok(())
        })
    }
}

impl DocumentStore for MemoryStore {
    fn get(&self, name: &'static str) -> BoxFuture<'_, Result<Option<(Version, Bytes)>, StoreError>> {
        Box::pin(async move { self.read(|contents| contents.documents.get(name).cloned()) })
    }

    fn put(
        &self,
        name: &'static str,
        expect: Expect,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Version, StoreError>> {
        Box::pin(async move {
            let mut state = self.lock();
            if state.closed {
                return Err(StoreError::Closed);
            }
            if let Some(reason) = self.held() {
                return Err(StoreError::Held { reason });
            }
            if state.fail.remove(&FailPoint::Put) {
                state.errors += 1;
                return Err(injected("put"));
            }
            let found = state.contents.documents.get(name).map(|(version, _)| *version);
            let version = expect.next(found)?;
            state.contents.documents.insert(name, (version, body));
            Ok(version)
        })
    }

    fn held(&self) -> Option<String> {
        self.doubts.store_held()
    }

    fn reject(&self, name: &'static str, reason: &str) {
        let doubt = NewDoubt {
            kind: DoubtKind::Book,
            subject: name.to_owned(),
            detail: format!("the document cannot be understood ({reason})"),
            way_out: "write another one".to_owned(),
            events: 0,
        };
        self.doubts.raise(doubt, self.clock.now());
    }
}
