//! Settlement: decisions are gathered for a few milliseconds and go to the store in batches, which are synced
//! within about 100 ms. Several batches may be under way; the store keeps their order per entry, because an
//! entry is handed out again only after its last settlement is durable.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{error, warn};

use crate::event::{Entry, EventId, Settlement};
use crate::queue::counters::count_ends;
use crate::queue::ends::{End, Ends};
use crate::queue::{Inner, Queue};
use crate::store::{SettleRequest, StoreError};
use crate::telemetry::defect;

/// How long decisions are gathered before they go to the store together.
const GATHER: Duration = Duration::from_millis(5);

/// How long the end waits for a settlement to become durable.
const FLUSH_WAIT: Duration = Duration::from_secs(30);

/// Entries that reached their end since the queue was opened, on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Completed {
    /// Their endpoint has them.
    pub delivered: u64,
    /// Parked for a person.
    pub dead: u64,
    /// Outlived their time.
    pub expired: u64,
    /// Dropped on request or with their drained policy.
    pub dropped: u64,
    /// Given up by an operator because they could not be read or placed.
    pub lost: u64,
}

#[derive(Default)]
pub(super) struct Settler {
    ends: Mutex<Ends>,
    pending: Mutex<Vec<SettleRequest>>,
    /// Decisions handed in and not durable yet.
    owed: AtomicUsize,
    wake: Notify,
    settled: Notify,
    /// Nothing became durable since somebody waited for it in vain.
    is_stuck: AtomicBool,
}

impl Settler {
    /// Remembers how an entry ended, if it did.
    pub(super) fn ended(&self, id: EventId, settlement: &Settlement) {
        if let Some(end) = End::of(settlement) {
            self.ends.lock().unwrap_or_else(PoisonError::into_inner).note(id, end);
        }
    }

    /// How an event ended, if that is not too long ago.
    pub(super) fn end_of(&self, id: EventId) -> Option<End> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).of(id)
    }

    fn take(&self) -> Vec<SettleRequest> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Queue {
    /// Records what becomes of an entry that was handed out. Returns at once; durable within about 100 ms. False when
    /// the entry was given up meanwhile: it counts as lost and nothing else.
    pub fn settle(&self, entry: &Entry, settlement: Settlement) -> bool {
        if self.0.stale.take(entry.id) {
            return false;
        }
        self.settle_stored(SettleRequest {
            lane: entry.lane.clone(),
            id: entry.id,
            due_at: entry.due_at,
            settlement,
        });
        true
    }

    pub(super) fn settle_stored(&self, settle: SettleRequest) {
        let settler = &self.0.settler;
        settler.owed.fetch_add(1, Ordering::AcqRel);
        settler.pending.lock().unwrap_or_else(PoisonError::into_inner).push(settle);
        settler.wake.notify_one();
    }

    /// What reached its end since the queue was opened.
    #[must_use]
    pub fn completed(&self) -> Completed {
        let lanes = self.0.lanes();
        let ends = lanes.books().ledger();
        Completed {
            delivered: ends.delivered,
            dead: ends.dead,
            expired: ends.expired,
            dropped: ends.drained + ends.cancelled,
            lost: ends.lost,
        }
    }

    /// Waits until every settlement handed in so far is durable, the store has failed for good, or none became durable
    /// for 30 s, as on a disk without room: the calls of those that are left may be repeated after the next start. Whoever
    /// waits after that waits no more until something becomes durable again.
    pub async fn flush(&self) {
        loop {
            let settled = self.0.settler.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            let settler = &self.0.settler;
            let is_over =
                settler.owed.load(Ordering::Acquire) == 0 || settler.is_stuck.load(Ordering::Acquire);
            if is_over || self.store_health().poisoned.is_some() {
                return;
            }
            if tokio::time::timeout(FLUSH_WAIT, settled).await.is_err() {
                settler.is_stuck.store(true, Ordering::Release);
                warn!("settlements do not become durable: their calls may be repeated");
                return;
            }
        }
    }
}

/// Starts the gatherer; it ends when the last handle of the queue is gone.
pub(super) fn spawn(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    tokio::spawn(gather(weak));
}

async fn gather(queue: Weak<Inner>) {
    loop {
        let Some(inner) = queue.upgrade() else { return };
        inner.take_in_losses(&mut inner.lanes());
        let batch = inner.settler.take();
        if batch.is_empty() {
            // The timeout lets go of the queue now and then, so that a dropped queue is noticed.
            let _ = tokio::time::timeout(Duration::from_secs(1), inner.settler.wake.notified()).await;
        } else {
            tokio::spawn(commit(inner, batch));
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// Decisions on their way to the store. No longer owed when it is dropped, also by a panic: whoever waits for
/// them is not left waiting.
struct Owed {
    inner: Arc<Inner>,
    count: usize,
}

impl Drop for Owed {
    fn drop(&mut self) {
        let settler = &self.inner.settler;
        let owed = settler.owed.fetch_sub(self.count, Ordering::AcqRel);
        settler.is_stuck.store(false, Ordering::Release);
        settler.settled.notify_waiters();
        if std::thread::panicking() {
            error!(count = self.count, "settlements not recorded after a panic: their calls may be repeated");
        } else {
            defect!(unless self.count <= owed, "more settlements recorded than were owed");
        }
    }
}

/// How often settlements are tried that the store did not take, and the first pause between two tries; each is twice
/// as long as the one before.
const TRIES: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

async fn commit(inner: Arc<Inner>, batch: Vec<SettleRequest>) {
    let count = batch.len();
    let _owed = Owed { inner: Arc::clone(&inner), count };
    // Parking an entry reads its record back. A record that cannot be read keeps no other decision from being made.
    let is_dead = |settle: &SettleRequest| matches!(settle.settlement, Settlement::Dead { .. });
    let (dead, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_dead);
    let dead = park(&inner, dead);
    let rest = async {
        if let Err(error) = record(&inner, rest).await {
            not_recorded(&error, count);
        }
    };
    futures_util::future::join(rest, dead).await;
}

/// Records decisions and counts what ended.
async fn record(inner: &Inner, batch: Vec<SettleRequest>) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    inner.store.settle(inner.owner, batch.clone()).await?;
    let mut lanes = inner.lanes();
    // What was given up before the store was asked is on record as lost.
    inner.take_in_losses(&mut lanes);
    let mut booked = batch;
    booked.retain(|settle| !inner.stale.take(settle.id));
    for settle in &booked {
        lanes.settled(&settle.lane, settle.id, settle.due_at, &settle.settlement);
        inner.settler.ended(settle.id, &settle.settlement);
    }
    drop(lanes);
    count_ends(inner.clock.now(), booked.iter().map(|end| (&end.lane, end.id, &end.settlement)));
    Ok(())
}

/// Parks entries: all at once, and when that fails each by itself, a few times.
async fn park(inner: &Inner, mut dead: Vec<SettleRequest>) {
    let Err(mut last) = record(inner, dead.clone()).await else { return };
    for pause in (0..TRIES).map(|tried| FIRST_PAUSE * 2_u32.pow(tried)) {
        if matches!(last, StoreError::Poisoned { .. } | StoreError::Fenced { .. } | StoreError::Closed) {
            break;
        }
        let tried = dead.into_iter().map(async |settle| (record(inner, vec![settle.clone()]).await, settle));
        let tried = futures_util::future::join_all(tried).await;
        dead = Vec::new();
        for (outcome, settle) in tried {
            if let Err(error) = outcome {
                last = error;
                dead.push(settle);
            }
        }
        if dead.is_empty() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    not_recorded(&last, dead.len());
}

/// The entries stay handed out; the next start hands them out again.
fn not_recorded(error: &StoreError, count: usize) {
    error!(%error, count, "settlements not recorded: their calls may be repeated");
}
