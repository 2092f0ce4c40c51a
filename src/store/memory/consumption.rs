//! The record in memory: the model that the embedded one is compared with, and the record of simulations, which
//! need to fail, to wait, to be lost and to crash at a chosen moment.
//!
//! Must not know: files, threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::store::consumption::{Merged, check, rounded};
use crate::store::{Owner, StoreError, Usage, UsageFound, UsageStore};

/// How the next `record` is made to fail; the record is poisoned by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordFails {
    /// Nothing is left behind.
    Lost,
    /// The usages are on record although their caller is told otherwise.
    Kept,
}

/// The record in memory. Clones share their content.
#[derive(Clone, Default)]
pub(crate) struct MemoryUsages {
    state: Arc<Mutex<State>>,
    released: Arc<Notify>,
}

#[derive(Default)]
struct State {
    kept: Kept,
    opened: bool,
    closed: bool,
    held: bool,
    fail: Option<RecordFails>,
    poisoned: Option<String>,
    /// How many crashes there were.
    crashes: u64,
}

/// What a crash leaves.
#[derive(Clone)]
struct Kept {
    usages: Vec<Usage>,
    orderly: bool,
    complete_from: Timestamp,
    /// There is a record at all.
    there: bool,
}

impl Default for Kept {
    fn default() -> Self {
        Self { usages: Vec::new(), orderly: true, complete_from: Timestamp::ZERO, there: true }
    }
}

/// A usage as a record keeps it.
fn as_kept(usage: Usage) -> Usage {
    Usage { at: rounded(usage.at), over_at: rounded(usage.over_at), ..usage }
}

impl MemoryUsages {
    /// The record of a new directory.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The record as the next process finds it, after a crash or an orderly end; handles to the old one answer
    /// [`StoreError::Closed`] from now on, and calls that were held have had no effect.
    #[must_use]
    pub(crate) fn crash(&self) -> Self {
        let mut state = self.lock();
        state.closed = true;
        let (kept, crashes) = (state.kept.clone(), state.crashes + 1);
        drop(state);
        self.released.notify_waiters();
        let state = State { kept, crashes, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), released: Arc::default() }
    }

    /// As [`MemoryUsages::crash`], with the record gone.
    #[must_use]
    pub(crate) fn lose(&self) -> Self {
        let next = self.crash();
        next.lock().kept = Kept { orderly: false, there: false, ..Kept::default() };
        next
    }

    /// Makes the next `record` fail.
    pub(crate) fn fail_next(&self, how: RecordFails) {
        self.lock().fail = Some(how);
    }

    /// While `hold` is set, `record` waits without effect, as it does before its sync.
    pub(crate) fn hold(&self, hold: bool) {
        self.lock().held = hold;
        self.released.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Changed only after all checks: a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn while_held(&self) {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            // Registered before the look at the state: a release in between is not missed.
            released.as_mut().enable();
            let held = {
                let state = self.lock();
                state.held && !state.closed
            };
            if !held {
                return;
            }
            released.await;
        }
    }
}

impl State {
    const fn owner(&self) -> Owner {
        Owner { epoch: 1 + self.crashes }
    }

    fn sound(&self) -> Result<(), StoreError> {
        match &self.poisoned {
            _ if self.closed => Err(StoreError::Closed),
            Some(reason) => Err(StoreError::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn writable(&self) -> Result<(), StoreError> {
        if self.opened { self.sound() } else { Err(StoreError::Closed) }
    }

    fn open(&mut self, now: Timestamp) -> Result<UsageFound, StoreError> {
        self.sound()?;
        if !self.kept.there {
            self.kept = Kept { orderly: false, complete_from: rounded(now), ..Kept::default() };
        }
        let mut merged = Merged::new(now);
        self.kept.usages.drain(..).for_each(|usage| merged.add(usage));
        self.kept.usages = merged.usages;
        let Kept { usages, orderly, complete_from, .. } = self.kept.clone();
        self.kept.orderly = false;
        self.opened = true;
        Ok(UsageFound { usages, orderly, damaged: 0, complete_from })
    }

    fn record(&mut self, usages: Vec<Usage>) -> Result<(), StoreError> {
        check(&usages, || "memory".to_owned())?;
        self.writable()?;
        let failed = self.fail.take();
        if failed != Some(RecordFails::Lost) {
            self.kept.usages.extend(usages.into_iter().map(as_kept));
        }
        let Some(how) = failed else { return Ok(()) };
        let reason = format!("record was made to fail: {how:?}");
        self.poisoned = Some(reason.clone());
        Err(StoreError::Poisoned { reason })
    }

    fn close(&mut self, usages: Vec<Usage>) -> Result<(), StoreError> {
        check(&usages, || "memory".to_owned())?;
        let writable = self.writable();
        self.closed |= self.opened;
        writable?;
        self.kept.usages = usages.into_iter().map(as_kept).collect();
        self.kept.orderly = true;
        Ok(())
    }
}

impl UsageStore for MemoryUsages {
    fn open(&self, now: Timestamp) -> BoxFuture<'_, Result<UsageFound, StoreError>> {
        Box::pin(async move { self.lock().open(now) })
    }

    fn owner(&self) -> Owner {
        self.lock().owner()
    }

    fn record(&self, owner: Owner, usages: Vec<Usage>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.while_held().await;
            let mut state = self.lock();
            state.owner().check(owner)?;
            state.record(usages)
        })
    }

    fn close(&self, owner: Owner, usages: Vec<Usage>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.lock().owner().check(owner)?;
            let closed = self.lock().close(usages);
            self.released.notify_waiters();
            closed
        })
    }

    fn poisoned(&self) -> Option<String> {
        self.lock().poisoned.clone()
    }
}
