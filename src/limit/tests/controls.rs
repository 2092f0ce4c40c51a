//! Negative controls: what would break the promise does break it under the very check that the room passes.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};

use super::{START, peak};
use crate::clock::Timestamp;
use crate::limit::STALE_AFTER;
use crate::limit::meter::ring::Ring;
use crate::policy::Window;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn governor_alone_with_its_default_burst_lets_nearly_twice_the_limit_through() {
    let clock = FakeRelativeClock::default();
    let quota = Quota::per_second(NonZeroU32::new(200).expect("not zero"));
    let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
    let mut starts = Vec::new();
    for tick in 0..3000 {
        while limiter.check().is_ok() {
            starts.push(START + Duration::from_millis(tick));
        }
        clock.advance(Duration::from_millis(1));
    }
    assert!(peak(starts, SECOND) > 390);
}

/// Two bursts of starts, one a window after the other; the first starts late, the second at once.
fn two_bursts(record_grants: bool) -> usize {
    let mut ring = Ring::new(Window::new(100, 1000).expect("valid"), Timestamp::ZERO, 1);
    let mut starts = Vec::new();
    for (burst, delay) in [(Duration::ZERO, STALE_AFTER), (SECOND, Duration::ZERO)] {
        let granted = START + burst;
        while let Some(claim) = ring.claim(granted) {
            let started = granted + delay;
            ring.confirm(claim, if record_grants { granted } else { started });
            starts.push(started);
        }
    }
    peak(starts, SECOND)
}

#[test]
fn a_ring_that_records_grants_instead_of_starts_exceeds_the_limit() {
    assert_eq!(two_bursts(true), 200);
    assert_eq!(two_bursts(false), 100);
}
