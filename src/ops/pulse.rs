//! The pulse of the process: since when it runs, and how many events came and went of late.
//!
//! Must not know: where the counts come from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::telemetry::defect;

/// Rates are taken over about this long.
const OVER: Duration = Duration::from_secs(10);

/// Events per second, over the last seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rates {
    pub accepted: f64,
    pub delivered: f64,
    /// How long that was, in seconds.
    pub over_seconds: f64,
}

/// What was counted at one moment.
#[derive(Debug, Clone, Copy)]
struct Beat {
    at: Timestamp,
    delivered: u64,
    /// Events that came: those that have ended and those that are there.
    came: u64,
}

/// Remembers the last beats. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    started_at: Timestamp,
    beats: Arc<Mutex<VecDeque<Beat>>>,
}

impl Pulse {
    /// Of a process that starts now.
    #[must_use]
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { started_at: now, beats: Arc::default() }
    }

    /// Counts, about once a second: `delivered` events and `ended` ones altogether since the start, and those that are
    /// `here` and have not ended.
    pub(crate) fn beat(&self, at: Timestamp, delivered: u64, ended: u64, here: u64) {
        let mut beats = self.lock();
        let is_later = |last: &Beat| last.at <= at && last.delivered <= delivered;
        defect!(unless beats.back().is_none_or(is_later), "a count that is less than the one before");
        // An event that came is here or has ended: their sum needs no counter of its own.
        beats.push_back(Beat { at, delivered, came: ended.saturating_add(here) });
        // The oldest beat stays as long as the second is younger than the span: rates are over the whole span and not
        // less.
        while beats.get(1).is_some_and(|second| at.since(second.at) >= OVER) {
            beats.pop_front();
        }
    }

    pub(super) const fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// `None` until two beats were counted.
    pub(super) fn rates(&self) -> Option<Rates> {
        let beats = self.lock();
        let (first, last) = (beats.front()?, beats.back()?);
        let over_seconds = last.at.since(first.at).as_secs_f64();
        let rate =
            // The sum may fall a little, because its parts are not counted at one moment.
            |from: u64, to: u64| (per_second(to.saturating_sub(from), over_seconds) * 10.0).round() / 10.0;
        // One beat alone spans no time.
        (over_seconds > 0.0).then(|| Rates {
            accepted: rate(first.came, last.came),
            delivered: rate(first.delivered, last.delivered),
            over_seconds,
        })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Beat>> {
        // Nothing that holds the lock can leave it half changed.
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::cast_precision_loss, reason = "no process counts 2^53 events in seconds")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_ten_seconds() {
        let start = Timestamp::from_millis(1_900_000_000_000);
        let pulse = Pulse::new(start);
        assert_eq!(pulse.rates(), None);
        for second in 0..100 {
            let at = start + Duration::from_secs(second);
            assert_eq!(pulse.rates().is_some(), second > 1);
            // Slow at first; from the 50th second on, 30 come and 20 go.
            let gone = second.saturating_sub(50) * 20 + second;
            pulse.beat(at, gone, gone, second.saturating_sub(50) * 10);
        }
        let rates = Rates { accepted: 31.0, delivered: 21.0, over_seconds: 10.0 };
        assert_eq!(pulse.rates(), Some(rates));
    }
}
