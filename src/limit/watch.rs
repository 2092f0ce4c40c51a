//! The self-check of a pace: counts the starts that really happened, knowing nothing of how they were granted.
//! A window that holds more than the limit is a defect of this room, and shows up as a violation.
//!
//! A short lock guards the counts, because a permit is confirmed without the gate at hand; in the daemon one
//! task takes all permits, so it is never contended.
//!
//! Must not know: permits, smoothing.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;

const MINUTE_S: usize = 60;
const SECOND_NS: u64 = 1_000_000_000;

/// What the self-check of one pace has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// Most starts in any sliding window during the last minute.
    pub(super) window_peak: u32,
    /// Starts that came when their window was full already, since the start of the process.
    pub(super) violations: u64,
}

/// Counts the starts of one pace.
#[derive(Debug)]
pub(super) struct Watch(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    capacity: u32,
    window_ns: u64,
    /// The starts of the newest window, oldest first.
    starts_ns: VecDeque<u64>,
    /// Per second of the last minute: which second, and the peak in it.
    peaks: [(u64, u32); MINUTE_S],
    violations: u64,
}

impl Watch {
    /// Expects at most `capacity` starts in every sliding window.
    pub(super) fn new(capacity: u32, window: Duration) -> Self {
        let counts = Counts {
            capacity,
            window_ns: nanos(window),
            starts_ns: VecDeque::new(),
            peaks: [(0, 0); MINUTE_S],
            violations: 0,
        };
        Self(Mutex::new(counts))
    }

    /// From now on expects this; the starts so far keep counting.
    pub(super) fn expect(&self, capacity: u32, window: Duration) {
        self.with(|counts| {
            counts.capacity = capacity;
            counts.window_ns = nanos(window);
        });
    }

    /// A request has started.
    pub(super) fn started(&self, at: Timestamp) {
        self.with(|counts| counts.started(at.as_nanos()));
    }

    /// What it has seen until `now`.
    pub(super) fn seen(&self, now: Timestamp) -> Seen {
        let newest_s = now.as_nanos() / SECOND_NS;
        self.with(|counts| {
            let recent = counts
                .peaks
                .iter()
                .filter(|(second, _)| second + MINUTE_S as u64 > newest_s)
                .map(|peak| peak.1);
            Seen { window_peak: recent.max().unwrap_or(0), violations: counts.violations }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Counts) -> T) -> T {
        // Counts stay usable whatever interrupted their last change.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Counts {
    fn started(&mut self, at_ns: u64) {
        // Nearly always at the end; a start that is reported late is put where it belongs.
        let later = self.starts_ns.iter().rev().take_while(|start| **start > at_ns).count();
        self.starts_ns.insert(self.starts_ns.len() - later, at_ns);
        let newest_ns = self.starts_ns.back().copied().unwrap_or(at_ns);
        while self.starts_ns.front().is_some_and(|start| start.saturating_add(self.window_ns) <= newest_ns) {
            self.starts_ns.pop_front();
        }
        let in_window = u32::try_from(self.starts_ns.len()).unwrap_or(u32::MAX);
        if in_window > self.capacity {
            self.violations += 1;
        }
        let second = newest_ns / SECOND_NS;
        // The remainder is below the length.
        if let Some(peak) = self.peaks.get_mut((second % MINUTE_S as u64) as usize) {
            *peak = if peak.0 == second { (second, peak.1.max(in_window)) } else { (second, in_window) };
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_millis(100_000 + ms)
    }

    #[test]
    fn one_start_too_many_is_a_violation_and_the_peak_fades_after_a_minute() {
        let watch = Watch::new(2, Duration::from_secs(1));
        for at in [0, 500, 1000, 1500] {
            watch.started(ms(at));
        }
        assert_eq!(watch.seen(ms(1500)), Seen { window_peak: 2, violations: 0 });
        watch.started(ms(1999));
        assert_eq!(watch.seen(ms(2000)), Seen { window_peak: 3, violations: 1 });
        assert_eq!(watch.seen(ms(62_000)), Seen { window_peak: 0, violations: 1 });
    }

    #[test]
    fn starts_reported_out_of_order_count_where_they_belong() {
        let watch = Watch::new(2, Duration::from_secs(1));
        for at in [0, 1002, 1001] {
            watch.started(ms(at));
        }
        assert_eq!(watch.seen(ms(1002)), Seen { window_peak: 2, violations: 0 });
    }

    #[test]
    fn a_lowered_limit_blames_only_starts_that_come_after() {
        let watch = Watch::new(3, Duration::from_secs(1));
        (0..3).for_each(|at| watch.started(ms(at)));
        watch.expect(1, Duration::from_secs(1));
        assert_eq!(watch.seen(ms(5)).violations, 0);
        watch.started(ms(1001));
        assert_eq!(watch.seen(ms(1001)).violations, 1, "the start at 2 ms is still in the window");
        watch.started(ms(2001));
        assert_eq!(watch.seen(ms(2001)).violations, 1);
    }
}
