//! Settlement: decisions are gathered for a few milliseconds and go to the store in batches, which are synced
//! within about 100 ms. Several batches may be under way; the store keeps their order per entry, because an
//! entry is handed out again only after its last settlement is durable.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{error, warn};

use crate::clock::Clock;
use crate::event::{Entry, EventId, Facts, LaneKey, Reason, Settlement, Why};
use crate::queue::Queue;
use crate::queue::counters::count_end;
use crate::queue::ends::RecentEnds;
use crate::queue::last_calls::LastCalls;
use crate::queue::ledger::Ledger;
use crate::queue::lost::Losses;
use crate::queue::table::SharedTable;
use crate::store::{EntryStore, Owner, SettleRequest, StoreError};
use crate::telemetry::defect;

/// How long decisions are gathered before they go to the store together: short against the 100 ms in which they become
/// durable, and many decisions share a write.
const GATHER: Duration = Duration::from_millis(5);

/// How long the end waits for a settlement to become durable.
const FLUSH_WAIT: Duration = Duration::from_secs(30);

/// Entries that reached their end since the queue was opened, on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Completed {
    /// Their endpoint has accepted the calls.
    pub delivered: u64,
    /// Parked for a person, as dead letters.
    pub dead: u64,
    /// They outlived their time, held by doubt or not.
    pub expired: u64,
    /// Dropped on request or with their drained policy.
    pub dropped: u64,
    /// Given up by an operator because they could not be read or placed.
    pub lost: u64,
}

impl Completed {
    /// The ends that the books count, in the terms of those who wait for them.
    pub(crate) const fn of(ends: &Ledger) -> Self {
        Self {
            delivered: ends.delivered,
            dead: ends.dead,
            expired: ends.expired,
            dropped: ends.drained + ends.cancelled,
            lost: ends.lost,
        }
    }
}

/// Decisions about entries, on their way to the store.
pub(super) struct Settler {
    store: Arc<dyn EntryStore>,
    /// In whose name entries are handed out and settled.
    owner: Owner,
    clock: Clock,
    lanes: SharedTable,
    losses: Arc<Losses>,
    ended: RecentEnds,
    pending: Mutex<Vec<SettleRequest>>,
    /// Entries that end with the call that is under way, whatever comes of it.
    last_calls: LastCalls,
    /// Decisions handed in and not durable yet.
    owed: AtomicUsize,
    wake: Notify,
    settled: Notify,
    /// Nothing became durable since somebody waited for it in vain.
    is_stuck: AtomicBool,
}

impl Queue {
    /// What becomes of an entry whose call came back, where an operator purges it: it is neither repeated nor parked.
    pub(crate) fn last_call(&self, entry: &Entry, settlement: Settlement) -> Settlement {
        self.0.settler.last_calls.ended(entry, settlement)
    }
}

impl Settler {
    /// Starts the gatherer; it ends with the last handle of the settler.
    pub(super) fn spawn(
        store: Arc<dyn EntryStore>,
        clock: Clock,
        lanes: SharedTable,
        losses: Arc<Losses>,
        ended: RecentEnds,
    ) -> Arc<Self> {
        let settler = Arc::new(Self {
            owner: store.owner(),
            store,
            clock,
            lanes,
            losses,
            ended,
            pending: Mutex::default(),
            last_calls: LastCalls::default(),
            owed: AtomicUsize::new(0),
            wake: Notify::new(),
            settled: Notify::new(),
            is_stuck: AtomicBool::new(false),
        });
        tokio::spawn(gather(Arc::downgrade(&settler)));
        settler
    }

    fn take(&self) -> Vec<SettleRequest> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records what becomes of an entry: see [`Queue::settle_because`](super::Queue::settle_because).
    pub(super) fn settle(&self, entry: &Entry, settlement: Settlement, facts: Facts) -> bool {
        if self.losses.take_stale(entry.id) {
            return false;
        }
        let settlement = self.last_calls.ended(entry, settlement);
        let why = match Reason::of(&settlement) {
            None => {
                self.ended.answered(entry.id, facts.status);
                None
            }
            // Nothing more is known of a success, and most ends are one: the list of answers is left alone.
            Some(Reason::Delivered) => Some(Why { reason: Reason::Delivered, status: None, limited: None }),
            Some(reason) => {
                let of_reason = if let Reason::Status(status) = reason { Some(status) } else { None };
                let status = of_reason.or(facts.status).or_else(|| self.ended.last_status(entry.id));
                Some(Why { reason, status, limited: facts.limited })
            }
        };
        self.settle_stored(SettleRequest {
            lane: entry.lane.clone(),
            id: entry.id,
            due_at: entry.due_at,
            settlement,
            why,
        });
        true
    }

    /// The call of this entry that is under way is to be its last one: where it would be repeated or parked, it is cancelled.
    pub(super) fn let_no_more(&self, id: EventId) {
        self.last_calls.mark(id);
    }

    /// It was no call that was under way.
    pub(super) fn spare(&self, id: EventId) {
        self.last_calls.spare(id);
    }

    /// Those that were cancelled by that, since the last call.
    pub(super) fn take_last_calls(&self) -> Vec<(LaneKey, EventId)> {
        self.last_calls.take_cancelled()
    }

    /// Forgets all of these.
    pub(super) fn spare_all(&self) {
        self.last_calls.spare_all();
    }

    /// The same of an entry that was not handed out.
    pub(super) fn settle_stored(&self, settle: SettleRequest) {
        // Before the decision can be taken from the list: no more is ever subtracted than was added.
        self.owed.fetch_add(1, Ordering::AcqRel);
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).push(settle);
        self.wake.notify_one();
    }

    /// Records a decision about an entry that an operator has in hand: durable and booked when this answers true. False
    /// when the entry was lost meanwhile, which is its end.
    pub(super) async fn settle_at_once(&self, settle: SettleRequest) -> Result<bool, StoreError> {
        if self.losses.take_stale(settle.id) {
            return Ok(false);
        }
        Ok(record(self, vec![settle]).await? > 0)
    }

    /// Waits until every settlement is durable: see [`Queue::flush`](super::Queue::flush).
    pub(super) async fn flush(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            // Before `owed` is looked at: what becomes durable between the two wakes this wait.
            settled.as_mut().enable();
            let is_over = self.owed.load(Ordering::Acquire) == 0 || self.is_stuck.load(Ordering::Acquire);
            if is_over || self.store.health().poisoned.is_some() {
                return;
            }
            if tokio::time::timeout(FLUSH_WAIT, settled).await.is_err() {
                self.is_stuck.store(true, Ordering::Release);
                warn!("settlements do not become durable: their calls may be repeated");
                return;
            }
        }
    }
}

async fn gather(settler: Weak<Settler>) {
    loop {
        let Some(settler) = settler.upgrade() else { return };
        // Also in rounds without decisions: nothing else may happen for a long time that takes losses in.
        settler.losses.take_in(&mut settler.lanes.lock());
        let batch = settler.take();
        if batch.is_empty() {
            // The timeout lets go of the settler now and then, so that a dropped queue is noticed.
            let _ = tokio::time::timeout(Duration::from_secs(1), settler.wake.notified()).await;
        } else {
            // Without waiting for it: the next batch shares the same sync when the store is slow.
            tokio::spawn(commit(settler, batch));
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// Decisions on their way to the store. No longer owed when it is dropped, also by a panic: nobody waits for them in
/// vain.
struct Owed {
    settler: Arc<Settler>,
    count: usize,
}

impl Drop for Owed {
    fn drop(&mut self) {
        let settler = &self.settler;
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

/// How often settlements are tried that the store did not take, and the first pause between two tries; each is twice as
/// long as the one before: about 13 s in all.
const TRIES: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

async fn commit(settler: Arc<Settler>, batch: Vec<SettleRequest>) {
    let count = batch.len();
    let _owed = Owed { settler: Arc::clone(&settler), count };
    // Parking an entry reads its record back. A record that cannot be read keeps no other decision from being made.
    let is_dead = |settle: &SettleRequest| matches!(settle.settlement, Settlement::Dead { .. });
    let (dead, rest): (Vec<_>, Vec<_>) = batch.into_iter().partition(is_dead);
    let dead = park(&settler, dead);
    let rest = async {
        if let Err(error) = record(&settler, rest).await {
            not_recorded(&error, count);
        }
    };
    futures_util::future::join(rest, dead).await;
}

/// Records decisions and counts what ended. Returns how many of them count: not those of entries that were lost.
async fn record(settler: &Settler, batch: Vec<SettleRequest>) -> Result<usize, StoreError> {
    if batch.is_empty() {
        return Ok(0);
    }
    // Noted before it is on record: whoever then finds that an event has ended finds out how. Until then nobody asks.
    batch.iter().for_each(|settle| settler.ended.note(settle));
    settler.store.settle(settler.owner, batch.clone()).await?;
    let mut lanes = settler.lanes.lock();
    // What was given up before the store was asked is on record as lost.
    settler.losses.take_in(&mut lanes);
    let mut booked = batch;
    booked.retain(|settle| !settler.losses.take_stale(settle.id));
    let mut ends = Vec::with_capacity(booked.len());
    for settle in &booked {
        let series = lanes.settled(&settle.lane, settle.id, settle.due_at, &settle.settlement);
        ends.extend(series.map(|series| (settle, series)));
    }
    drop(lanes);
    // Outside the lock, which every door and every load needs.
    let now = settler.clock.now();
    for (end, series) in &ends {
        count_end(now, series, end);
    }
    Ok(booked.len())
}

/// Parks entries: all at once, and when that fails each by itself, a few times.
async fn park(settler: &Settler, mut dead: Vec<SettleRequest>) {
    let Err(mut last) = record(settler, dead.clone()).await else { return };
    for pause in (0..TRIES).map(|tried| FIRST_PAUSE * 2_u32.pow(tried)) {
        // The store has failed for good, or is another's by now: no further try can succeed.
        if matches!(last, StoreError::Poisoned { .. } | StoreError::Fenced { .. } | StoreError::Closed) {
            break;
        }
        // Each by itself: one record that cannot be read back must not keep the others from being parked.
        let tried =
            dead.into_iter().map(async |settle| (record(settler, vec![settle.clone()]).await, settle));
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
