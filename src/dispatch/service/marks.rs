//! Marks of calls under way, in a process that follows one that has ended without a stop: the way in which an event is
//! found that ends processes. In any other process nothing is marked.
//!
//! Must not know: who is suspected, how marks are kept.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::dispatch::planner::Planner;
use crate::dispatch::suspects::TRIAL;
use crate::event::{EventId, Reason, Settlement};
use crate::queue::Queue;
use crate::store::FlightMarks;

/// A process that has lasted for so long will end for the first time.
const CALM_AFTER: Duration = Duration::from_secs(60 * 60);

/// The marks of this process.
pub(super) struct CallMarks {
    /// `None` where nothing outlives a process.
    store: Option<Arc<dyn FlightMarks>>,
    /// When marking ends; `None` where nothing is marked.
    until: Option<Timestamp>,
    /// Those that this process has found set aside and that have not ended yet.
    set_aside: HashSet<EventId>,
}

impl CallMarks {
    /// Tells the planner what the process before has left, and marks calls if it has ended without a stop.
    pub(super) fn open(queue: &Queue, planner: &mut Planner, now: Timestamp) -> Self {
        let Some(store) = queue.flights() else {
            return Self { store: None, until: None, set_aside: HashSet::new() };
        };
        let found = store.found();
        if found.marks {
            let under_way = found.under_way.len();
            let hint = "calls are marked from now on, to find an event that ends processes";
            warn!(under_way, hint, "the process before has ended without a stop");
        }
        for entry in &found.set_aside {
            warn!(%entry, "this entry is set aside: three times in a row the process ended during its call");
        }
        planner.suspect(&found, now);
        let until = found.marks.then(|| now + CALM_AFTER);
        Self { store: Some(store), until, set_aside: found.set_aside.into_iter().collect() }
    }

    /// A call is about to start. Returns what clears it of suspicion, where it is under one.
    pub(super) fn begun(&self, entry: EventId, ends: u8) -> Option<impl Future<Output = ()> + use<>> {
        let (Some(store), Some(_)) = (&self.store, self.until) else { return None };
        store.begun(entry, ends);
        let store = Arc::clone(store);
        (ends > 1).then_some(async move {
            tokio::time::sleep(TRIAL).await;
            store.cleared(entry);
        })
    }

    /// A call has ended.
    pub(super) fn ended(&self, entry: EventId) {
        if let (Some(store), Some(_)) = (&self.store, self.until) {
            store.ended(entry);
        }
    }

    /// Whether a settlement ends an entry that is set aside: as one that ended processes, or in any other way before its
    /// turn came, as when its time is over or its policy is purged.
    pub(super) fn ends_aside(&mut self, entry: EventId, settlement: &Settlement) -> bool {
        let is_end = !matches!(settlement, Settlement::Reschedule { .. });
        let was_found = is_end && self.set_aside.remove(&entry);
        was_found || Reason::of(settlement) == Some(Reason::EndedProcess)
    }

    /// Forgets an entry that was set aside as soon as its end is durable.
    pub(super) fn is_aside(&self, queue: &Queue, entry: EventId) -> impl Future<Output = ()> + use<> {
        let (store, queue) = (self.store.clone(), queue.clone());
        async move {
            queue.flush().await;
            store.iter().for_each(|store| store.ended(entry));
        }
    }

    /// Ends the marking when the process has lasted.
    pub(super) fn look(&mut self, planner: &mut Planner, now: Timestamp) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            planner.calm();
            self.store.iter().for_each(|store| store.calm());
            info!("calls are not marked any more: the process has lasted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_of_an_entry_that_is_set_aside_goes_with_any_end_of_it() {
        let [aside, other, third] = [1, 2, 3].map(|n| EventId::new(1, n));
        let mut marks = CallMarks { store: None, until: None, set_aside: HashSet::from([aside, third]) };
        let put_off = Settlement::Reschedule {
            due_at: Timestamp::ZERO,
            tries: crate::event::Tries::NONE,
            doubted_at: None,
        };
        assert!(!marks.ends_aside(aside, &put_off), "it goes on");
        assert!(!marks.ends_aside(other, &Settlement::Expired), "it has no mark");
        assert!(
            marks.ends_aside(aside, &Settlement::Expired) && !marks.ends_aside(aside, &Settlement::Expired)
        );
        let ended = Settlement::Dead { reason: Reason::EndedProcess.word().to_owned(), attempts: 0 };
        assert!(marks.ends_aside(third, &ended));
        assert!(marks.ends_aside(other, &ended), "it was set aside by this process");
    }
}
