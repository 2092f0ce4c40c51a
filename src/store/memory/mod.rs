//! A store in memory: plain maps, nothing durable. The model that the embedded store is compared with, and
//! the store of simulations, which need to fail and to crash at a chosen moment.
//!
//! Must not know: files, threads, the index.

mod attempts;
mod conformance;
mod consumption;
mod contents;
mod dead;
mod documents;
mod ends;
mod entries;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use self::attempts::MemoryAttempts;
pub(crate) use self::consumption::{MemoryUsages, RecordFails};
use self::contents::Contents;
use super::{Appended, DeadLetter, Doubts, MAX_RECORD_BYTES, NewEntry, Owner, SettleRequest, StoreError};
use crate::clock::{Clock, Timestamp};
use crate::event::Settlement;

/// A place where a test can make the store fail, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FailPoint {
    /// The next append fails and leaves nothing behind; the store is poisoned.
    AppendLost,
    /// The next append fails towards its caller although the entries are durable; the store is poisoned.
    AppendKept,
    /// The next settle fails without effect; the store is poisoned.
    Settle,
    /// The next read or lookup fails; nothing else changes.
    Read,
    /// The next dead letters that are to be taken stay; nothing else changes.
    Take,
    /// The next lookup of an entry fails; nothing else changes.
    Lookup,
    /// The next document write fails without effect; nothing else changes.
    Put,
    /// The next settle panics without effect; nothing else changes.
    SettlePanic,
    /// The next read or lookup panics; nothing else changes.
    ReadPanic,
}

/// The store in memory. Clones share their content.
#[derive(Clone)]
pub(crate) struct MemoryStore {
    clock: Clock,
    state: Arc<Mutex<State>>,
    released: Arc<Notify>,
    doubts: Doubts,
    attempts: Arc<MemoryAttempts>,
    /// Tells the number of the next end.
    grown: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct State {
    contents: Contents,
    fail: BTreeSet<FailPoint>,
    hold_settlements: bool,
    /// Calls to come that cannot park entries.
    cannot_park: usize,
    hold_appends: bool,
    owes_settlements: bool,
    poisoned: Option<String>,
    closed: bool,
    newest_at_start: Timestamp,
    /// How many crashes there were.
    crashes: u64,
    errors: u64,
}

impl MemoryStore {
    /// An empty store whose ids take their time from `clock`.
    #[must_use]
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            state: Arc::default(),
            released: Arc::default(),
            doubts: Doubts::default(),
            attempts: Arc::default(),
            grown: watch::Sender::new(0),
        }
    }

    /// The store as it would be found after a crash now: what calls have returned for is there, settlements
    /// that are held back are not. Failures, poison and closing do not survive; handles to the old store
    /// answer [`StoreError::Closed`] from now on.
    #[must_use]
    pub(crate) fn crash(&self) -> Self {
        let mut state = self.lock();
        state.closed = true;
        let (contents, crashes) = (state.contents.clone(), state.crashes + 1);
        drop(state);
        self.released.notify_waiters();
        let newest_at_start = contents.newest();
        let grown = watch::Sender::new(contents.ends.len() as u64);
        let state = State { contents, newest_at_start, crashes, ..State::default() };
        Self {
            clock: self.clock.clone(),
            state: Arc::new(Mutex::new(state)),
            released: Arc::default(),
            doubts: self.doubts.clone(),
            attempts: Arc::clone(&self.attempts),
            grown,
        }
    }

    /// Makes the next call that passes `point` fail.
    pub(crate) fn fail_next(&self, point: FailPoint) {
        self.lock().fail.insert(point);
    }

    /// While `hold` is set, settle calls wait without effect, as they do before their sync; a crash loses them.
    pub(crate) fn hold_settlements(&self, hold: bool) {
        self.lock().hold_settlements = hold;
        self.released.notify_waiters();
    }

    /// The next `calls` that park an entry fail without effect, as when records cannot be read; nothing else changes.
    pub(crate) fn fail_parking(&self, calls: usize) {
        self.lock().cannot_park = calls;
    }

    /// The store says of itself that settlements wait.
    pub(crate) fn owe_settlements(&self, owes: bool) {
        self.lock().owes_settlements = owes;
    }

    /// While `hold` is set, append calls wait without effect, as they do before their sync.
    pub(crate) fn hold_appends(&self, hold: bool) {
        self.lock().hold_appends = hold;
        self.released.notify_waiters();
    }

    /// From now on the document is not what was written.
    pub(crate) fn damage(&self, document: &'static str) {
        self.lock().contents.damaged.insert(document);
    }

    /// Everything parked for a person so far, oldest first.
    #[must_use]
    pub(crate) fn dead_letters(&self) -> Vec<DeadLetter> {
        self.lock().contents.dead.values().cloned().collect()
    }

    /// Parks a letter and leaves its entry where it is, as a crash between the two does.
    pub(crate) fn park_alone(&self, letter: DeadLetter) {
        self.lock().contents.park(letter);
    }

    /// As after the time for which keys are kept.
    pub(crate) fn forget_keys(&self) {
        self.lock().contents.forget_keys();
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
        if let Some(reason) = self.doubts.store_held() {
            return Err(StoreError::Held { reason });
        }
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

    fn settle_now(&self, owner: Owner, batch: &[SettleRequest]) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.writable()?;
        state.owner().check(owner)?;
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
        let now_ms = self.clock.now().as_millis();
        for settle in batch {
            state.contents.settle(settle, now_ms);
        }
        self.grown.send_replace(state.contents.ends.len() as u64);
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
    const fn owner(&self) -> Owner {
        Owner { epoch: 1 + self.crashes }
    }

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
    StoreError::Io { operation, place: "memory".to_owned(), reason: "made to fail".to_owned() }
}
