//! Calls in flight: how many there are, and how many there may be at once.
//!
//! Must not know: time, pace, what a call is.

use std::num::NonZeroU32;

use crate::policy::{Limits, Pace};
use crate::telemetry::defect;

/// Most calls under way at once under these limits, for each combination of label values.
#[must_use]
pub(crate) fn most_at_once(limits: &Limits) -> NonZeroU32 {
    Slots::default_for(limits.slots, limits.pace)
}

/// The count of calls in flight and the most that there may be.
#[derive(Debug)]
pub(in crate::limit) struct Slots {
    limit: Option<NonZeroU32>,
    inflight: u32,
}

impl Slots {
    /// Fewest slots that a policy gets when it names none: with fewer, calls that take long would keep a slow pace from
    /// being reached.
    const DEFAULT_MIN: u32 = 64;
    /// Most slots that a policy gets when it names none.
    const DEFAULT_MAX: u32 = 4096;

    /// Without a limit, nothing in flight.
    pub(in crate::limit) const fn unlimited() -> Self {
        Self { limit: None, inflight: 0 }
    }

    /// What a policy gets: what it names, else one second's worth of its pace within 64 to 4096.
    pub(in crate::limit) fn default_for(named: Option<NonZeroU32>, pace: Option<Pace>) -> NonZeroU32 {
        named.unwrap_or_else(|| {
            let worth = pace.map_or(f64::INFINITY, Pace::starts_per_second).ceil();
            // The cast saturates, the clamp keeps it within the default range.
            let slots = (worth as u32).clamp(Self::DEFAULT_MIN, Self::DEFAULT_MAX);
            NonZeroU32::new(slots).unwrap_or(NonZeroU32::MIN)
        })
    }

    /// Changes the limit; the count stays, so that a lower limit waits until enough calls have ended.
    pub(in crate::limit) fn set(&mut self, limit: Option<NonZeroU32>) {
        self.limit = limit;
    }

    /// The most calls at once; `None` means unlimited.
    pub(in crate::limit) const fn limit(&self) -> Option<NonZeroU32> {
        self.limit
    }

    /// Calls in flight now, also beyond a limit that was lowered.
    pub(in crate::limit) const fn inflight(&self) -> u32 {
        self.inflight
    }

    /// Whether one more may start; changes nothing.
    pub(in crate::limit) fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.inflight < limit.get())
    }

    /// One more is in flight. The caller has looked at [`Slots::has_room`].
    pub(in crate::limit) fn take(&mut self) {
        self.inflight = self.inflight.saturating_add(1);
    }

    /// One less is in flight: to be called once for each [`Slots::take`].
    pub(in crate::limit) fn give_back(&mut self) {
        defect!(unless self.inflight > 0, "more calls end than were in flight");
        self.inflight = self.inflight.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_limit_waits_until_enough_calls_have_ended() {
        let mut slots = Slots::unlimited();
        slots.set(NonZeroU32::new(3));
        for _ in 0..3 {
            assert!(slots.has_room());
            slots.take();
        }
        assert!(!slots.has_room());
        slots.set(NonZeroU32::new(1));
        slots.give_back();
        slots.give_back();
        assert!(!slots.has_room(), "one is still in flight");
        slots.give_back();
        assert!(slots.has_room());
    }

    #[test]
    fn a_policy_without_slots_gets_a_seconds_worth_within_bounds() {
        let of = |starts: f64| Slots::default_for(None, Pace::per_second(starts).ok()).get();
        assert_eq!([of(0.2), of(65.5), of(1000.0), of(5000.0)], [64, 66, 1000, 4096]);
        assert_eq!(Slots::default_for(None, None).get(), 4096);
        assert_eq!(Slots::default_for(NonZeroU32::new(7), None).get(), 7);
    }
}
