//! Losses: what the store lost, or an operator gave up, is taken off the lanes, counted once, and no longer owed by
//! whoever has it in hand.
//!
//! Must not know: why entries are lost.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::event::{EventId, LaneKey, Reason, Settlement, Why};
use crate::queue::QueueError;
use crate::queue::counters::count_losses;
use crate::queue::ends::RecentEnds;
use crate::queue::table::{LaneTable, SharedTable};
use crate::store::doubts::Doubt;
use crate::store::{EntryStore, GiveUp, Loss, Owner, SettleRequest, StoreError};

/// Entries that were given up while they were handed out: the settlement that is still to come counts for nothing.
#[derive(Default)]
struct Stale {
    by_id: Mutex<HashMap<EventId, LaneKey>>,
    /// How many those are: nearly always none, and settling then costs no lock.
    count: AtomicUsize,
}

impl Stale {
    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, LaneKey>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: EventId, lane: LaneKey) {
        let mut by_id = self.lock();
        by_id.insert(id, lane);
        self.count.store(by_id.len(), Ordering::Release);
    }

    /// Whether the entry was given up; from then on it is forgotten.
    fn take(&self, id: EventId) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut by_id = self.lock();
        let was_stale = by_id.remove(&id).is_some();
        self.count.store(by_id.len(), Ordering::Release);
        was_stale
    }

    fn of(&self, lane: &LaneKey) -> HashSet<EventId> {
        self.lock().iter().filter(|(_, of)| *of == lane).map(|(id, _)| *id).collect()
    }
}

/// How an entry ends that is lost.
fn ended_by(loss: Loss) -> SettleRequest {
    let why = Why { reason: Reason::Lost, status: None, limited: None };
    let Loss { lane, id, due_at } = loss;
    SettleRequest { lane, id, due_at, settlement: Settlement::Lost, why: Some(why) }
}

/// Books what the store lost and what an operator gave up.
pub(super) struct Losses {
    store: Arc<dyn EntryStore>,
    /// In whose name an operator gives up.
    owner: Owner,
    clock: Clock,
    ended: RecentEnds,
    stale: Stale,
}

impl Losses {
    /// Of a store; how their entries ended is noted in `ended`.
    pub(super) fn new(store: Arc<dyn EntryStore>, clock: Clock, ended: RecentEnds) -> Self {
        Self { owner: store.owner(), store, clock, ended, stale: Stale::default() }
    }

    /// Whether an entry was given up while it was handed out; from then on it is forgotten.
    pub(super) fn take_stale(&self, id: EventId) -> bool {
        self.stale.take(id)
    }

    /// Takes off the lanes what the store lost since the last call. Under the lock of the table, so that what is read
    /// of the store afterwards agrees with it.
    pub(super) fn take_in(&self, lanes: &mut LaneTable) {
        let losses = self.store.take_losses();
        for loss in &losses {
            if lanes.lost(loss) {
                self.stale.add(loss.id, loss.lane.clone());
            }
        }
        let ended: Vec<SettleRequest> = losses.into_iter().map(ended_by).collect();
        ended.iter().for_each(|end| self.ended.note(end));
        count_losses(self.clock.now(), &ended);
    }

    /// Settles as lost what an operator gives up: see [`Queue::give_up`](super::Queue::give_up).
    pub(super) async fn give_up(&self, what: GiveUp, shared: &SharedTable) -> Result<u64, QueueError> {
        // Of unread blocks only what was not handed out is given up; a lane is given up with all its calls.
        let handed_out = match &what {
            GiveUp::Lane(_) => HashSet::new(),
            GiveUp::Unread { .. } => shared.lock().all_out(),
        };
        let given_up = self.store.give_up(self.owner, what.clone(), handed_out).await;
        // Also after a failure: what was settled before that stays settled.
        let mut lanes = shared.lock();
        self.take_in(&mut lanes);
        match what {
            GiveUp::Lane(lane) => {
                let handed_out = self.stale.of(&lane);
                lanes.announce_given_up(lane, handed_out);
            }
            GiveUp::Unread { .. } => lanes.read_again(),
        }
        Ok(given_up?)
    }

    /// Why an event could not be read: see [`Queue::unread_reason`](super::Queue::unread_reason).
    pub(super) fn unread_reason(&self, error: &QueueError) -> Option<String> {
        let QueueError::Store(StoreError::Io { place, .. } | StoreError::Unread { place, .. }) = error else {
            return None;
        };
        Some(match self.store.doubts().about_reads_of(place) {
            Some(Doubt { id, detail, way_out, .. }) => format!("{detail} (doubt {id}). Way out: {way_out}"),
            None => error.to_string(),
        })
    }
}
