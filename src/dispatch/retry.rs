//! What follows an attempt: one pure, exhaustive function.
//!
//! - Waits grow exponentially with full jitter: uniformly between nothing and `base * 2^(tries - 1)`, at
//!   most `cap`. A `Retry-After` of the endpoint prevails when it asks for longer.
//! - A try is an attempt and counts against the limit of attempts, unless it is proven that the endpoint has processed
//!   nothing of it, or it was a probe of an open breaker: these cost no attempt, and what ends them is the TTL.
//! - After a shortage of tidegate's own the entry comes back soon, and nothing was tried. The same after the egress guard
//!   has withheld a call, at a slow pace.
//! - A wait that the endpoint imposes is as long as it says and uses up no attempt; what
//!   ends one that never ends is the TTL.
//! - A due time is a whole millisecond, rounded up, and strictly later than now.
//! - Attempts that are used up make a dead letter. While some are left and only the TTL forbids another one,
//!   the entry expires at once instead of resting until then: no attempt could start any more.
//!
//! Must not know: clocks, dice, the queue.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Cause, Outcome, Settlement, Tries, Wait};

/// The longest wait that an endpoint can ask for by `Retry-After`.
pub(crate) const MAX_RETRY_AFTER: Duration = Wait::LONGEST;

/// The longest wait after a shortage of tidegate's own; the shortest is half of it.
const SHORTAGE_WAIT: Duration = Duration::from_secs(1);

/// How often a call is tried whose address the egress guard denies: nothing is connected for it.
pub(super) const WITHHELD_WAIT: Duration = Duration::from_secs(30);

/// The shortest wait of an entry whose lane goes on meanwhile: others may be told to wait in the same moment.
const SHORTEST_WAIT_ALONE: Duration = Duration::from_secs(1);

/// How failed attempts are repeated, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The longest wait after the first try.
    pub base: Duration,
    /// The longest wait after any try.
    pub cap: Duration,
    /// Most attempts that count; those that are used up make a dead letter.
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
    /// The wait after these tries, for a `roll` in `0.0..=1.0`.
    fn backoff(&self, tries: Tries, roll: f64) -> Duration {
        let doublings = u32::from(tries.all().saturating_sub(1));
        // What does not fit, from 32 doublings on at the latest, is taken for longer than any cap.
        let longest = 2_u32
            .checked_pow(doublings)
            .and_then(|factor| self.base.checked_mul(factor))
            .map_or(self.cap, |wait| wait.min(self.cap));
        longest.mul_f64(share(roll))
    }
}

fn share(roll: f64) -> f64 {
    // `Duration::mul_f64` panics on a factor that is negative or no number.
    if roll.is_nan() { 0.0 } else { roll.clamp(0.0, 1.0) }
}

/// An attempt that has ended, with what its entry needs for what follows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EndedAttempt<'a> {
    /// What the delivery reported of it.
    pub outcome: &'a Outcome,
    /// Tries made before this one, counted and free.
    pub tries: Tries,
    /// Whether it was to find out whether the endpoint of an open breaker takes calls again.
    pub is_probe: bool,
    /// The moment at which its end was noticed.
    pub now: Timestamp,
    /// No attempt starts at or after this moment.
    pub expires_at: Timestamp,
    /// Whether its lane is held while the endpoint wants to be left alone.
    pub is_lane_held: bool,
    /// Whether it is certain how much time has passed.
    pub is_time_trusted: bool,
}

impl EndedAttempt<'_> {
    /// The entry comes back after `wait` with these tries on record, if it may still start then.
    fn put_off(&self, wait: Duration, tries: Tries) -> Settlement {
        let due_at = next_milli(self.now, wait);
        // No attempt could start any more: the entry need not rest until then.
        if due_at >= self.expires_at {
            Settlement::Expired
        } else {
            let doubted_at = (!self.is_time_trusted).then_some(self.now);
            Settlement::Reschedule { due_at, tries, doubted_at }
        }
    }
}

/// Decides what becomes of the entry. `roll` lies in `0.0..1.0`.
#[must_use]
pub(crate) fn settle(ended: EndedAttempt<'_>, policy: &RetryPolicy, roll: f64) -> Settlement {
    let (counted, free) = (ended.tries.and_attempt(), ended.tries.and_free());
    let attempts = counted.attempts();
    match ended.outcome.end() {
        // No end says anything of the next call.
        Outcome::Delivered { .. } | Outcome::Paced { .. } => Settlement::Delivered,
        Outcome::Reject { cause } => Settlement::Dead { reason: cause.to_string(), attempts },
        Outcome::Retry { cause, .. } if !ended.is_probe && attempts >= policy.max_attempts.get() => {
            Settlement::Dead { reason: exhausted(cause), attempts }
        }
        Outcome::Retry { retry_after, .. } => {
            let tries = if ended.is_probe { free } else { counted };
            // The bound of every wait that an endpoint imposes.
            let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
            ended.put_off(policy.backoff(tries, roll).max(asked), tries)
        }
        Outcome::Unprocessed { .. } => ended.put_off(policy.backoff(free, roll), free),
        Outcome::Shortage { .. } => {
            ended.put_off(SHORTAGE_WAIT.mul_f64(0.5 + 0.5 * share(roll)), ended.tries)
        }
        Outcome::Withheld => {
            // To the end of its life: the guard may allow it in the last moment.
            // By two milliseconds earlier: a due time is rounded up to a whole one and has to lie before the end.
            let left = ended.expires_at.since(ended.now).saturating_sub(Duration::from_millis(2));
            ended.put_off(WITHHELD_WAIT.min(left), ended.tries)
        }
        Outcome::Wait(wait) => {
            let shortest = if ended.is_lane_held { Duration::ZERO } else { SHORTEST_WAIT_ALONE };
            ended.put_off(wait.length().max(shortest), ended.tries)
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
    use crate::event::testing::API_LIMIT;
    use crate::event::{NameFailure, Shortage};

    const NOW: Timestamp = Timestamp::from_nanos(10_000_500_000);

    fn retry(cause: Cause, retry_after_s: Option<u64>) -> Outcome {
        Outcome::Retry { cause, retry_after: retry_after_s.map(Duration::from_secs) }
    }

    /// The end of an attempt after `tries`.
    fn ended(outcome: &Outcome, tries: Tries) -> EndedAttempt<'_> {
        EndedAttempt {
            outcome,
            tries,
            is_probe: false,
            now: NOW,
            expires_at: Timestamp::MAX,
            is_lane_held: true,
            is_time_trusted: true,
        }
    }

    /// After the attempt of that number.
    fn after(outcome: &Outcome, attempts: u16, roll: f64, ttl_ms: u64) -> Settlement {
        let expires_at = NOW + Duration::from_millis(ttl_ms);
        let ended = EndedAttempt { expires_at, ..ended(outcome, Tries::of(attempts - 1)) };
        settle(ended, &RetryPolicy::default(), roll)
    }

    fn due(due_ms: u64, attempts: u16) -> Settlement {
        due_after(due_ms, Tries::of(attempts))
    }

    fn due_after(due_ms: u64, tries: Tries) -> Settlement {
        Settlement::Reschedule { due_at: Timestamp::from_millis(due_ms), tries, doubted_at: None }
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
            (retry(Cause::Closed, None), 1_000, 0.5, long, dead("attempts_exhausted: closed", 1_000)),
            // Only the TTL forbids another attempt.
            (retry(Cause::Timeout, None), 1, 0.5, 500, Settlement::Expired),
            (retry(Cause::Timeout, None), 1, 0.5, 502, due(10_501, 1)),
            // Both forbid it: the attempts count.
            (retry(Cause::Timeout, None), 8, 0.5, 0, dead("attempts_exhausted: timeout", 8)),
        ];
        for (outcome, attempts, roll, ttl_ms, expected) in table {
            assert_eq!(after(&outcome, attempts, roll, ttl_ms), expected, "{outcome:?} {attempts} {roll}");
        }
    }

    #[test]
    fn a_wait_is_as_long_as_it_says_and_uses_up_no_attempt() {
        let wait = |ms| Outcome::Wait(Wait::new(API_LIMIT, Duration::from_millis(ms)));
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
        let outcome = wait(200);
        let alone = EndedAttempt { is_lane_held: false, ..ended(&outcome, Tries::NONE) };
        assert_eq!(settle(alone, &RetryPolicy::default(), 0.5), due(11_001, 0));
    }

    /// What costs no attempt, after any number of tries, however few attempts there are.
    #[test]
    fn what_is_unprocessed_or_a_probe_costs_no_attempt_and_the_backoff_grows_all_the_same() {
        let policy = RetryPolicy { max_attempts: NonZeroU16::MIN, ..RetryPolicy::default() };
        let unprocessed =
            [Cause::Connect, Cause::Timeout, Cause::Refused, Cause::Dns(NameFailure::NoSuchName)]
                .map(|cause| (Outcome::Unprocessed { cause }, false));
        let probe = (retry(Cause::Status(503), None), true);
        for (outcome, is_probe) in unprocessed.into_iter().chain([probe]) {
            let mut before = Tries::NONE;
            for wait_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000] {
                let tries = before.and_free();
                let end = EndedAttempt { is_probe, ..ended(&outcome, before) };
                assert_eq!(settle(end, &policy, 1.0), due_after(10_001 + wait_ms, tries), "{outcome:?}");
                let late = EndedAttempt { expires_at: NOW + Duration::from_millis(wait_ms), ..end };
                assert_eq!(settle(late, &policy, 1.0), Settlement::Expired, "the TTL ends it");
                before = tries;
            }
            // The control: the same failure of an attempt that counts.
            let Some(cause) = outcome.cause() else { panic!("it failed") };
            let counted = settle(ended(&retry(cause.clone(), None), before), &policy, 1.0);
            assert_eq!(counted, dead(&exhausted(&cause), 1));
        }
        let gone = Outcome::Reject { cause: Cause::Status(410) };
        let probe = EndedAttempt { is_probe: true, ..ended(&gone, Tries::NONE) };
        assert_eq!(settle(probe, &policy, 1.0), dead("http_410", 1), "an answer is an answer");
    }

    #[test]
    fn after_a_shortage_of_ours_the_entry_comes_back_soon_as_if_it_had_not_been_tried() {
        let policy = RetryPolicy { max_attempts: NonZeroU16::MIN, ..RetryPolicy::default() };
        for cause in [Cause::Shortage(Shortage::Descriptors), Cause::Dns(NameFailure::Shortage)] {
            let outcome = Outcome::Shortage { cause };
            for tries in [Tries::NONE, Tries::of(1), Tries::of(7).and_free()] {
                for (roll, due_ms) in [(0.0, 10_501), (1.0, 11_001)] {
                    let settlement = settle(ended(&outcome, tries), &policy, roll);
                    assert_eq!(settlement, due_after(due_ms, tries));
                }
            }
        }
    }

    #[test]
    fn what_the_guard_withholds_is_tried_slowly_to_the_end_of_its_life_and_spends_no_attempt() {
        let policy = RetryPolicy { max_attempts: NonZeroU16::MIN, ..RetryPolicy::default() };
        for tries in [Tries::NONE, Tries::of(7).and_free()] {
            let within = |ms| {
                let expires_at = NOW + Duration::from_millis(ms);
                settle(EndedAttempt { expires_at, ..ended(&Outcome::Withheld, tries) }, &policy, 0.5)
            };
            assert_eq!(within(3_600_000), due_after(40_001, tries));
            assert_eq!(within(10_000), due_after(19_999, tries), "not before it is over");
            assert_eq!(within(1), due_after(10_001, tries));
            assert_eq!(within(0), Settlement::Expired);
        }
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
            let ended = EndedAttempt { now, expires_at, ..ended(&outcome, Tries::of(attempts - 1)) };
            match settle(ended, &policy, roll) {
                Settlement::Reschedule { due_at, tries: recorded, doubted_at: None } => {
                    prop_assert!(due_at > now && due_at < expires_at);
                    prop_assert_eq!(due_at, Timestamp::from_millis(due_at.as_millis()));
                    prop_assert!(due_at >= now + asked);
                    prop_assert!(due_at <= now + policy.cap.max(asked) + Duration::from_millis(1));
                    prop_assert_eq!(recorded, Tries::of(attempts));
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
