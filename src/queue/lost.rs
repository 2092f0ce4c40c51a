//! Losses: what the store lost, or an operator gave up, is taken off the lanes, counted once, and no longer owed by
//! whoever has it in hand.
//!
//! Must not know: why entries are lost.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::{EventId, LaneKey, Settlement};
use crate::queue::counters::count_ends;
use crate::queue::table::LaneTable;
use crate::queue::{Inner, Queue, QueueError};
use crate::store::doubts::Doubt;
use crate::store::{GiveUp, RunToEnd, StoreError};

/// Entries that were given up while they were handed out: the settlement that is still to come counts for nothing.
#[derive(Default)]
pub(super) struct Stale {
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
    pub(super) fn take(&self, id: EventId) -> bool {
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

impl Inner {
    /// Takes off the lanes what the store lost since the last call. For whoever holds the table, so that what is read
    /// of the store afterwards agrees with it.
    pub(super) fn take_in_losses(&self, lanes: &mut LaneTable) {
        let losses = self.store.take_losses();
        for loss in &losses {
            if lanes.lost(loss) {
                self.stale.add(loss.id, loss.lane.clone());
            }
            self.settler.ended(loss.id, &Settlement::Lost);
        }
        count_ends(self.clock.now(), losses.iter().map(|loss| (&loss.lane, loss.id, &Settlement::Lost)));
    }
}

impl Queue {
    /// Settles as lost what an operator gives up; returns how many entries those are. Of a lane that is everything it
    /// owes, calls under way included: they may still arrive, but count as lost. Of unread blocks it is what was not
    /// handed out. Durable on return; a caller that goes away cannot stop it half-way.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store refuses; what was settled before stays settled.
    pub async fn give_up(&self, what: GiveUp) -> Result<u64, QueueError> {
        let inner = Arc::clone(&self.0);
        RunToEnd::new(async move {
            let handed_out = match &what {
                GiveUp::Lane(_) => HashSet::new(),
                GiveUp::Unread { .. } => inner.lanes().all_out(),
            };
            let given_up = inner.store.give_up(what.clone(), handed_out).await;
            let mut lanes = inner.lanes();
            inner.take_in_losses(&mut lanes);
            match what {
                GiveUp::Lane(lane) => {
                    let handed_out = inner.stale.of(&lane);
                    lanes.announce_given_up(lane, handed_out);
                }
                GiveUp::Unread { .. } => lanes.read_again(),
            }
            Ok(given_up?)
        })
        .await
    }

    /// Why an event could not be read, and the way out, when `error` is a read that the system has refused.
    #[must_use]
    pub fn unread_reason(&self, error: &QueueError) -> Option<String> {
        let QueueError::Store(StoreError::Io { place, .. } | StoreError::Unread { place, .. }) = error else {
            return None;
        };
        Some(match self.doubts().about_reads_of(place) {
            Some(Doubt { id, detail, way_out, .. }) => format!("{detail} (doubt {id}). Way out: {way_out}"),
            None => error.to_string(),
        })
    }

    /// Has reads that failed tried again now, without waiting for the end of their pauses.
    pub fn read_again(&self) {
        self.0.lanes().read_again();
    }
}
