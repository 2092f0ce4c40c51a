//! Entries whose call under way is to be the last one: an operator purges them, and a call is never torn.
//!
//! Must not know: who purges, how calls end.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::event::{Entry, EventId, LaneKey, Settlement};

/// The marked entries: at most as many as there are calls under way, and as long as a purge goes on.
#[derive(Default)]
pub(super) struct LastCalls {
    entries: Mutex<Entries>,
    /// How many are marked, so that nobody takes the lock while no purge goes on.
    count: AtomicUsize,
}

#[derive(Default)]
struct Entries {
    marked: HashSet<EventId>,
    /// Those that were cancelled: the dispatcher may wait for one that would have been repeated.
    cancelled: Vec<(LaneKey, EventId)>,
}

impl LastCalls {
    pub(super) fn mark(&self, id: EventId) {
        self.change(|entries| {
            entries.marked.insert(id);
        });
    }

    pub(super) fn spare(&self, id: EventId) {
        self.change(|entries| {
            entries.marked.remove(&id);
        });
    }

    pub(super) fn spare_all(&self) {
        self.change(|entries| *entries = Entries::default());
    }

    /// What becomes of an entry that would be settled so: a marked one is neither repeated nor parked.
    pub(super) fn ended(&self, entry: &Entry, settlement: Settlement) -> Settlement {
        if self.count.load(Ordering::Acquire) == 0 {
            return settlement;
        }
        let mut entries = self.lock();
        if !entries.marked.contains(&entry.id) {
            return settlement;
        }
        match settlement {
            Settlement::Reschedule { .. } | Settlement::Dead { .. } => {
                entries.cancelled.push((entry.lane.clone(), entry.id));
                Settlement::Cancelled
            }
            ended => ended,
        }
    }

    /// Those that were cancelled, since the last call.
    pub(super) fn take_cancelled(&self) -> Vec<(LaneKey, EventId)> {
        std::mem::take(&mut self.lock().cancelled)
    }

    fn change(&self, change: impl FnOnce(&mut Entries)) {
        let mut entries = self.lock();
        change(&mut entries);
        self.count.store(entries.marked.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Each change is complete before anything can panic.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Tries;
    use crate::queue::testing::entry;

    #[test]
    fn a_marked_entry_is_neither_repeated_nor_parked() {
        let calls = LastCalls::default();
        let (marked, other) = (entry(EventId::new(1, 1)), entry(EventId::new(1, 2)));
        calls.mark(marked.id);
        let again = Settlement::Reschedule { due_at: Timestamp::ZERO, tries: Tries::of(1), doubted_at: None };
        let dead = Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 };
        for settlement in [again.clone(), dead.clone()] {
            assert_eq!(calls.ended(&marked, settlement.clone()), Settlement::Cancelled);
            assert_eq!(calls.ended(&other, settlement.clone()), settlement, "the control");
        }
        let cancelled = (marked.lane.clone(), marked.id);
        assert_eq!(calls.take_cancelled(), [cancelled.clone(), cancelled]);
        assert_eq!(calls.take_cancelled(), []);
        assert_eq!(calls.ended(&marked, Settlement::Delivered), Settlement::Delivered);
        calls.spare(marked.id);
        assert_eq!(calls.ended(&marked, dead.clone()), dead);
        calls.mark(marked.id);
        calls.spare_all();
        assert_eq!(calls.ended(&marked, again.clone()), again);
    }
}
