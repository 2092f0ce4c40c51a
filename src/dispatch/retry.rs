//! What follows an attempt: one pure, exhaustive function.
//!
//! - Waits grow exponentially with full jitter: uniformly between nothing and `base * 2^(attempts - 1)`, at
//!   most `cap`. A `Retry-After` of the endpoint prevails when it asks for longer.
//! - A wait that the endpoint imposes (contracts.md 7, item 6) is as long as it says and uses up no attempt; what
//!   ends one that never ends is the TTL.
//! - A due time is a whole millisecond, rounded up, and strictly later than now.
//! - Attempts that are used up make a dead letter. While some are left and only the TTL forbids another one,
//!   the entry expires at once instead of resting until then: no attempt could start any more.
//!
//! Must not know: clocks, dice, the queue.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Cause, Outcome, Settlement, Wait};

/// The longest wait that an endpoint can ask for by `Retry-After`.
pub const MAX_RETRY_AFTER: Duration = Wait::LONGEST;

/// The shortest wait of an entry whose lane goes on meanwhile: others may be told to wait in the same moment.
const SHORTEST_WAIT_ALONE: Duration = Duration::from_secs(1);

/// How failed attempts are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest wait after the first attempt.
    pub base: Duration,
    /// The longest wait after any attempt.
    pub cap: Duration,
    /// Most attempts in all.
    pub max_attempts: NonZeroU16,
}

impl Default for RetryPolicy {
    /// 1 s, 5 min, 8 attempts.
    fn default() -> Self {
        const EIGHT: NonZeroU16 = NonZeroU16::MIN.saturating_add(7);
        Self { base: Duration::from_secs(1), cap: Duration::from_secs(300), max_attempts: EIGHT }
    }
}

impl RetryPolicy {
    /// The wait after `attempts` attempts, for a `roll` in `0.0..=1.0`.
    fn backoff(&self, attempts: u16, roll: f64) -> Duration {
        let doublings = u32::from(attempts.saturating_sub(1));
        let longest = 2_u32
            .checked_pow(doublings)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.cap, |wait| wait.min(self.cap));
        let share = if roll.is_nan() { 0.0 } else { roll.clamp(0.0, 1.0) };
        longest.mul_f64(share)
    }
}

/// An attempt that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// What the delivery reported.
    pub outcome: &'a Outcome,
    /// Attempts made so far, this one included.
    pub attempts: u16,
    /// When its end was noticed.
    pub now: Timestamp,
    /// No attempt starts at or after this moment.
    pub expires_at: Timestamp,
    /// Whether its lane is held while the endpoint wants to be left alone.
    pub is_lane_held: bool,
    /// Whether it is certain how much time has passed.
    pub is_time_trusted: bool,
}

impl Ended<'_> {
    /// The entry comes back after `wait` with so many attempts on record, if it may still start then.
    fn put_off(&self, wait: Duration, attempts: u16) -> Settlement {
        let due_at = next_milli(self.now, wait);
        if due_at >= self.expires_at {
            Settlement::Expired
        } else {
            let doubted_at = (!self.is_time_trusted).then_some(self.now);
            Settlement::Reschedule { due_at, attempts, doubted_at }
        }
    }
}

/// Decides what becomes of the entry. `roll` lies in `0.0..1.0`.
#[must_use]
pub fn settle(ended: Ended<'_>, policy: &RetryPolicy, roll: f64) -> Settlement {
    let attempts = ended.attempts;
    match ended.outcome {
        Outcome::Delivered { .. } => Settlement::Delivered,
        Outcome::Reject { cause } => Settlement::Dead { reason: cause.to_string(), attempts },
        Outcome::Retry { cause, .. } if attempts >= policy.max_attempts.get() => {
            Settlement::Dead { reason: exhausted(cause), attempts }
        }
        Outcome::Retry { retry_after, .. } => {
            let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
            ended.put_off(policy.backoff(attempts, roll).max(asked), attempts)
        }
        Outcome::Wait(wait) => {
            let shortest = if ended.is_lane_held { Duration::ZERO } else { SHORTEST_WAIT_ALONE };
            ended.put_off(wait.length().max(shortest), attempts.saturating_sub(1))
        }
    }
}

fn exhausted(cause: &Cause) -> String {
    format!("attempts_exhausted: {cause}")
}

/// The first whole millisecond at or after `now + wait` that is later than `now`.
pub(super) fn next_milli(now: Timestamp, wait: Duration) -> Timestamp {
    let due = (now + wait).ceil_millis();
    Timestamp::from_millis(due.max(now.as_millis().saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{Busy, NameFailure};

    const NOW: Timestamp = Timestamp::from_nanos(10_000_500_000);

    fn retry(cause: Cause, retry_after_s: Option<u64>) -> Outcome {
        Outcome::Retry { cause, retry_after: retry_after_s.map(Duration::from_secs) }
    }

    fn after(outcome: &Outcome, attempts: u16, roll: f64, ttl_ms: u64) -> Settlement {
        let expires_at = NOW + Duration::from_millis(ttl_ms);
        let ended =
            Ended { outcome, attempts, now: NOW, expires_at, is_lane_held: true, is_time_trusted: true };
        settle(ended, &RetryPolicy::default(), roll)
    }

    fn due(due_ms: u64, attempts: u16) -> Settlement {
        Settlement::Reschedule { due_at: Timestamp::from_millis(due_ms), attempts, doubted_at: None }
    }

    fn dead(reason: &str, attempts: u16) -> Settlement {
        Settlement::Dead { reason: reason.to_owned(), attempts }
    }

    #[test]
    fn every_outcome_has_its_settlement() {
        let long = 6 * 3_600_000;
        let table = [
            (Outcome::Delivered { status: 204 }, 1, 0.5, long, Settlement::Delivered),
            // An attempt that was under way at the TTL may finish.
            (Outcome::Delivered { status: 200 }, 1, 0.5, 0, Settlement::Delivered),
            (Outcome::Reject { cause: Cause::Status(404) }, 1, 0.5, long, dead("http_404", 1)),
            (Outcome::Reject { cause: Cause::Blocked }, 3, 0.5, long, dead("blocked", 3)),
            (retry(Cause::Timeout, None), 1, 0.5, long, due(10_501, 1)),
            (retry(Cause::Timeout, None), 1, 0.0, long, due(10_001, 1)),
            (retry(Cause::Timeout, None), 3, 1.0, long, due(14_001, 3)),
            (retry(Cause::Status(503), Some(30)), 1, 0.5, long, due(40_001, 1)),
            // The longer of both prevails.
            (retry(Cause::Status(503), Some(1)), 7, 1.0, long, due(74_001, 7)),
            (retry(Cause::Status(429), Some(u64::MAX)), 1, 0.5, long, due(3_610_001, 1)),
            (retry(Cause::Status(500), None), 8, 0.5, long, dead("attempts_exhausted: http_500", 8)),
            (retry(Cause::Connect, None), u16::MAX, 0.5, long, dead("attempts_exhausted: connect", u16::MAX)),
            // Only the TTL forbids another attempt.
            (retry(Cause::Timeout, None), 1, 0.5, 500, Settlement::Expired),
            (retry(Cause::Timeout, None), 1, 0.5, 502, due(10_501, 1)),
            // Both forbid it: the attempts count.
            (
                retry(Cause::Dns(NameFailure::NoSuchName), None),
                8,
                0.5,
                0,
                dead("attempts_exhausted: dns_no_such_name", 8),
            ),
        ];
        for (outcome, attempts, roll, ttl_ms, expected) in table {
            assert_eq!(after(&outcome, attempts, roll, ttl_ms), expected, "{outcome:?} {attempts} {roll}");
        }
    }

    #[test]
    fn a_wait_is_as_long_as_it_says_and_uses_up_no_attempt() {
        let wait = |ms| Outcome::Wait(Wait::new(Busy::ApiLimit, Duration::from_millis(ms)));
        for (attempts, roll) in [(1, 0.0), (1, 1.0), (8, 0.5), (800, 0.5)] {
            let table = [
                (wait(0), 3_600_000, due(10_101, attempts - 1)),
                (wait(1_500), 3_600_000, due(11_501, attempts - 1)),
                // The TTL alone ends it.
                (wait(1_500), 1_501, due(11_501, attempts - 1)),
                (wait(1_500), 1_500, Settlement::Expired),
                (wait(u64::MAX), 3_600_000, Settlement::Expired),
            ];
            for (outcome, ttl_ms, expected) in table {
                assert_eq!(after(&outcome, attempts, roll, ttl_ms), expected, "{outcome:?} {attempts}");
            }
        }
        let alone = Ended {
            outcome: &wait(200),
            attempts: 1,
            now: NOW,
            expires_at: Timestamp::MAX,
            is_lane_held: false,
            is_time_trusted: true,
        };
        assert_eq!(settle(alone, &RetryPolicy::default(), 0.5), due(11_001, 0));
    }

    #[test]
    fn a_roll_that_is_no_number_does_no_harm() {
        assert_eq!(after(&retry(Cause::Timeout, None), 1, f64::NAN, 10_000), due(10_001, 1));
    }

    proptest! {
        #[test]
        fn retries_are_later_whole_milliseconds_within_their_bounds(
            now in 0..u64::MAX / 2, attempts in 1..8_u16, roll in 0.0..1.0_f64,
            asked_ms in proptest::option::of(0..10_000_000_u64), ttl_ns in 0..30_000_000_000_000_u64,
        ) {
            let policy = RetryPolicy::default();
            let now = Timestamp::from_nanos(now);
            let expires_at = now + Duration::from_nanos(ttl_ns);
            let outcome = Outcome::Retry {
                cause: Cause::Timeout,
                retry_after: asked_ms.map(Duration::from_millis),
            };
            let asked = Duration::from_millis(asked_ms.unwrap_or(0)).min(MAX_RETRY_AFTER);
            let ended = Ended {
                outcome: &outcome,
                attempts,
                now,
                expires_at,
                is_lane_held: true,
                is_time_trusted: true,
            };
            match settle(ended, &policy, roll) {
                Settlement::Reschedule { due_at, attempts: recorded, doubted_at: None } => {
                    prop_assert!(due_at > now && due_at < expires_at);
                    prop_assert_eq!(due_at, Timestamp::from_millis(due_at.as_millis()));
                    prop_assert!(due_at >= now + asked);
                    prop_assert!(due_at <= now + policy.cap.max(asked) + Duration::from_millis(1));
                    prop_assert_eq!(recorded, attempts);
                }
                Settlement::Expired => {
                    let longest = policy.cap.max(asked) + Duration::from_millis(1);
                    prop_assert!(now + longest >= expires_at);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
