//! The times within which all tries of some events have to lie, from the start of the first one on.
//!
//! They are in memory alone: after a restart, and of the oldest beyond a bound, the time of an event begins anew with its
//! next try, while the number of its attempts is on record.
//!
//! Must not know: what is tried, why it failed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::dispatch::retry::exhausted;
use crate::event::{Cause, EventId, Outcome, Settlement, Tries};

/// Events whose times are remembered at most.
const MOST: usize = 65_536;

/// The time of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RetryWindow {
    /// No try starts at or after this moment.
    pub(super) until: Timestamp,
    /// Why its last try failed; `None` before the first one has ended.
    pub(super) cause: Option<Cause>,
}

/// The times of all events that have one.
#[derive(Debug, Default)]
pub(super) struct RetryWindows {
    by_event: HashMap<EventId, RetryWindow>,
    /// Those that end first go first when there are too many.
    in_order: BTreeSet<(Timestamp, EventId)>,
}

impl RetryWindows {
    /// The time of an event that has begun.
    pub(super) fn get(&self, id: EventId) -> Option<&RetryWindow> {
        // Most installations set no such time for any endpoint.
        if self.by_event.is_empty() { None } else { self.by_event.get(&id) }
    }

    /// A try of the event starts at `now`; returns when its time ends.
    pub(super) fn begin(&mut self, id: EventId, within: Duration, now: Timestamp) -> Timestamp {
        if let Some(known) = self.by_event.get(&id) {
            return known.until;
        }
        let until = now + within;
        self.by_event.insert(id, RetryWindow { until, cause: None });
        self.in_order.insert((until, id));
        if self.by_event.len() > MOST
            && let Some((_, first)) = self.in_order.pop_first()
        {
            self.by_event.remove(&first);
        }
        until
    }

    /// A try of the event has ended, and this is what becomes of it.
    pub(super) fn tried(&mut self, id: EventId, outcome: &Outcome, settlement: &Settlement) {
        let is_failure = matches!(outcome.end(), Outcome::Retry { .. } | Outcome::Unprocessed { .. });
        if is_failure && matches!(settlement, Settlement::Reschedule { .. }) {
            if let Some(window) = self.by_event.get_mut(&id) {
                window.cause = outcome.cause();
            }
        } else {
            // Also where it was told to wait, or could not be tried: its time begins with its next try.
            self.forget(id);
        }
    }

    /// The time of the event was over before its next try: what becomes of it.
    pub(super) fn over(&mut self, id: EventId, tries: Tries) -> Settlement {
        let cause = self.get(id).and_then(|window| window.cause.clone()).unwrap_or(Cause::Timeout);
        self.forget(id);
        Settlement::Dead { reason: exhausted(&cause), attempts: tries.attempts() }
    }

    /// The time of the event begins anew with its next try.
    pub(super) fn forget(&mut self, id: EventId) {
        if let Some(window) = self.by_event.remove(&id) {
            self.in_order.remove(&(window.until, id));
        }
    }

    /// The line of time has leapt: what is left of a time lasts as long as before.
    pub(super) fn leap(&mut self, leap: &Leap) {
        self.in_order.clear();
        for (id, window) in &mut self.by_event {
            window.until = leap.moved(window.until);
            self.in_order.insert((window.until, *id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Wait;
    use crate::event::testing::API_LIMIT;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_time_begins_with_the_first_try_and_ends_with_the_event() {
        let (mut windows, id) = (RetryWindows::default(), EventId::new(1, 1));
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1_000);
        assert_eq!(windows.get(id), None);
        assert_eq!(windows.begin(id, 5 * SECOND, at(10)), at(15));
        let again = Settlement::Reschedule { due_at: at(11), tries: Tries::of(1), doubted_at: None };
        let failed = Outcome::Retry { cause: Cause::Closed, retry_after: None };
        windows.tried(id, &failed, &again);
        assert_eq!(windows.begin(id, 5 * SECOND, at(12)), at(15), "the same");
        let dead = |reason: &str| Settlement::Dead { reason: reason.to_owned(), attempts: 2 };
        assert_eq!(windows.over(id, Tries::of(2)), dead("attempts_exhausted: closed"));
        assert_eq!(windows.begin(id, 5 * SECOND, at(20)), at(25), "anew");
        let wait = Outcome::Wait(Wait::new(API_LIMIT, SECOND));
        for (outcome, settlement) in [(&wait, &again), (&failed, &Settlement::Expired)] {
            windows.tried(id, outcome, settlement);
            assert_eq!(windows.get(id), None, "{outcome:?}");
            windows.begin(id, SECOND, at(30));
        }
    }

    #[test]
    fn of_too_many_those_that_end_first_are_forgotten() {
        let mut windows = RetryWindows::default();
        for n in 0..=MOST as u64 {
            windows.begin(EventId::new(1, u128::from(n)), SECOND, Timestamp::from_millis(n));
        }
        assert_eq!((windows.by_event.len(), windows.in_order.len()), (MOST, MOST));
        assert_eq!(windows.get(EventId::new(1, 0)), None);
        assert!(windows.get(EventId::new(1, 1)).is_some());
    }
}
