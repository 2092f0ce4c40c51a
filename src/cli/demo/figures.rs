//! What the receiver's record says, computed from nothing but the record and what was acknowledged.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::cli::demo::receiver::Arrival;
use crate::clock::Timestamp;

const SECOND: Duration = Duration::from_secs(1);

/// The figures of one run of the demo.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DemoFigures {
    /// Number of events that were acknowledged at the door.
    pub(super) accepted: usize,
    /// Number of acknowledged events that arrived at the receiver.
    pub(super) delivered: usize,
    /// Number of acknowledged events that never arrived.
    pub(super) lost: usize,
    /// Arrivals beyond the first of their event.
    pub(super) duplicates: usize,
    /// The limit, in calls per second.
    pub(super) limit: u32,
    /// Most arrivals in any sliding second.
    pub(super) peak: usize,
    /// Most starts in any sliding second, by the limiter's own count.
    pub(super) sender_peak: Option<u64>,
    /// Share of the limit that was used from one second after the first arrival to the last one; `None` when
    /// that is no time.
    pub(super) used: Option<f64>,
    /// From the first arrival to the last.
    pub(super) duration: Duration,
    /// From the hand-in at the door to the first arrival of each event, ascending.
    pub(super) latencies: Vec<Duration>,
}

impl DemoFigures {
    /// Measures `arrivals` against what was `accepted` and when each event was handed in.
    pub(super) fn measure(
        accepted: &HashMap<String, Timestamp>,
        arrivals: &[Arrival],
        limit: u32,
        sender_peak: Option<u64>,
    ) -> Self {
        let mut times: Vec<Timestamp> = arrivals.iter().map(|arrival| arrival.at).collect();
        times.sort_unstable();
        let mut seen = HashSet::new();
        let mut latencies = Vec::with_capacity(arrivals.len());
        let mut duplicates = 0;
        for arrival in arrivals {
            match accepted.get(&arrival.id) {
                Some(_) if !seen.insert(&*arrival.id) => duplicates += 1,
                Some(sent_at) => latencies.push(arrival.at.since(*sent_at)),
                // Nobody handed it in under this id: an event was sent twice under two names.
                None => duplicates += 1,
            }
        }
        latencies.sort_unstable();
        debug_assert!(seen.len() <= accepted.len(), "more events arrived than were accepted");
        let first = times.first().copied().unwrap_or_default();
        let last = times.last().copied().unwrap_or_default();
        Self {
            accepted: accepted.len(),
            delivered: seen.len(),
            // Only ids that were accepted are among those that were seen.
            lost: accepted.len() - seen.len(),
            duplicates,
            limit,
            peak: peak(&times),
            sender_peak,
            used: used(&times, limit),
            duration: last.since(first),
            latencies,
        }
    }

    /// The latency that `share` (0 to 1) of the delivered events did not exceed.
    pub(super) fn latency(&self, share: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank within a list: small and not negative"
        )]
        let rank = (self.latencies.len() as f64 * share).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

/// Most of the ascending `times` within any half-open second.
fn peak(times: &[Timestamp]) -> usize {
    debug_assert!(times.is_sorted(), "a sliding window needs times in their order");
    let mut window = VecDeque::new();
    let mut most = 0;
    for time in times {
        window.push_back(*time);
        while window.front().is_some_and(|oldest| time.since(*oldest) >= SECOND) {
            window.pop_front();
        }
        most = most.max(window.len());
    }
    most
}

fn used(times: &[Timestamp], limit: u32) -> Option<f64> {
    let from = *times.first()? + SECOND;
    let span = times.last()?.since(from).as_secs_f64();
    let count = u32::try_from(times.iter().filter(|time| **time > from).count()).ok()?;
    (span > 0.0).then(|| f64::from(count) / (f64::from(limit) * span))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(times_ms: impl IntoIterator<Item = u64>) -> Vec<Arrival> {
        times_ms
            .into_iter()
            .enumerate()
            .map(|(n, ms)| Arrival { at: Timestamp::from_millis(ms), id: n.to_string() })
            .collect()
    }

    fn handed_in(count: usize) -> HashMap<String, Timestamp> {
        (0..count).map(|n| (n.to_string(), Timestamp::from_millis(0))).collect()
    }

    #[test]
    fn an_even_stream_uses_the_whole_limit_and_never_more() {
        let figures = DemoFigures::measure(&handed_in(100), &arrivals((0..100).map(|n| n * 100)), 10, None);
        assert_eq!((figures.delivered, figures.lost, figures.duplicates, figures.peak), (100, 0, 0, 10));
        assert!((figures.used.expect("nine seconds") - 1.0).abs() < 0.01, "{figures:?}");
        assert_eq!(figures.latency(0.5), Duration::from_millis(4_900));
        assert_eq!(figures.latency(1.0), Duration::from_millis(9_900));
    }

    #[test]
    fn a_second_that_straddles_two_calendar_seconds_is_seen() {
        let figures =
            DemoFigures::measure(&handed_in(20), &arrivals((0..20).map(|n| 1_500 + 50 * n)), 10, None);
        assert_eq!(figures.peak, 20);
        let apart = DemoFigures::measure(&handed_in(2), &arrivals([0, 1_000]), 1, None);
        assert_eq!(apart.peak, 1, "the window is half-open");
    }

    #[test]
    fn losses_and_repetitions_are_told_apart() {
        let mut record = arrivals([1, 2, 3]);
        record.push(Arrival { at: Timestamp::from_millis(9), id: "0".to_owned() });
        let figures = DemoFigures::measure(&handed_in(5), &record, 10, None);
        assert_eq!((figures.delivered, figures.lost, figures.duplicates), (3, 2, 1));
        assert_eq!(figures.used, None);
        let nothing = DemoFigures::measure(&handed_in(1), &[], 10, None);
        assert_eq!((nothing.lost, nothing.latency(0.99)), (1, Duration::ZERO));
    }
}
