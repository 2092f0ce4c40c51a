//! What follows every outcome, after any number of tries.

use proptest::prelude::*;

use super::*;
use crate::event::testing::API_LIMIT;
use crate::event::{NameFailure, Shortage};

const NOW: Timestamp = Timestamp::from_nanos(10_000_500_000);
const EIGHT: RetryPolicy = up_to(8);

const fn up_to(attempts: u16) -> RetryPolicy {
    let (base, cap) = (Duration::from_secs(1), Duration::from_secs(300));
    RetryPolicy { base, cap, max_attempts: NonZeroU16::new(attempts) }
}

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
        retry_until: None,
        is_parked: false,
        is_lane_held: true,
        is_time_trusted: true,
    }
}

/// After the attempt of that number.
fn after(outcome: &Outcome, attempts: u16, roll: f64, ttl_ms: u64) -> Settlement {
    let expires_at = NOW + Duration::from_millis(ttl_ms);
    let ended = EndedAttempt { expires_at, ..ended(outcome, Tries::of(attempts - 1)) };
    settle(ended, &EIGHT, roll)
}

fn due(due_ms: u64, attempts: u16) -> Settlement {
    due_after(due_ms, Tries::of(attempts))
}

/// After this many tries, of which the last one was free.
fn free(tries: u16) -> Tries {
    Tries::of(tries - 1).and_free()
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
        // A time to come back costs no attempt, not even the last one.
        (retry(Cause::Status(503), Some(30)), 1, 0.5, long, due_after(40_001, free(1))),
        (retry(Cause::Status(403), Some(7_200)), 8, 0.5, long, due_after(7_210_001, free(8))),
        // The longer of both prevails.
        (retry(Cause::Status(503), Some(1)), 7, 1.0, long, due_after(74_001, free(7))),
        // To the end of its life at most.
        (retry(Cause::Status(429), Some(u64::MAX)), 1, 0.5, long, due_after(21_609_999, free(1))),
        (retry(Cause::Status(429), Some(30)), 1, 0.5, 500, due_after(10_499, free(1))),
        (retry(Cause::Status(429), Some(30)), 1, 0.5, 100, Settlement::Expired),
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
            (wait(1_500), 1_502, due(11_501, attempts - 1)),
            (wait(1_500), 1_000, due(11_000 - 1, attempts - 1)),
            (wait(u64::MAX), 3_600_000, due(3_610_000 - 1, attempts - 1)),
            (wait(1_500), 100, Settlement::Expired),
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
    let policy = up_to(1);
    let unprocessed = [Cause::Connect, Cause::Timeout, Cause::Refused, Cause::Dns(NameFailure::NoSuchName)]
        .map(|cause| (Outcome::Unprocessed { cause }, false));
    let probe = (retry(Cause::Status(503), None), true);
    for (outcome, is_probe) in unprocessed.into_iter().chain([probe]) {
        let mut before = Tries::NONE;
        for wait_ms in [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000] {
            let tries = before.and_free();
            let end = EndedAttempt { is_probe, ..ended(&outcome, before) };
            assert_eq!(settle(end, &policy, 1.0), due_after(10_001 + wait_ms, tries), "{outcome:?}");
            let late = EndedAttempt { expires_at: NOW + Duration::from_millis(1_000), ..end };
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
    let policy = up_to(1);
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
    let policy = up_to(1);
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
fn without_a_bound_it_is_tried_until_the_end_of_its_life() {
    let outcome = retry(Cause::Status(503), None);
    for attempts in [1, 8, 9, 1_000, 1_023] {
        let end = ended(&outcome, Tries::of(attempts));
        let due_at = Timestamp::from_millis(10_001 + if attempts == 1 { 2_000 } else { 300_000 });
        let due_at = if attempts == 8 { Timestamp::from_millis(266_001) } else { due_at };
        let tries = Tries::of(attempts).and_attempt();
        let again = Settlement::Reschedule { due_at, tries, doubted_at: None };
        assert_eq!(settle(end, &RetryPolicy::default(), 1.0), again, "{attempts}");
        let last = EndedAttempt { expires_at: NOW + Duration::from_millis(1_000), ..end };
        assert_eq!(settle(last, &RetryPolicy::default(), 1.0), Settlement::Expired);
    }
}

#[test]
fn a_wait_beyond_the_end_of_its_life_is_drawn_from_what_is_left_of_it() {
    let (outcome, asked) = (retry(Cause::Closed, None), retry(Cause::Status(503), Some(60)));
    let after = |outcome, left_ms: u64, roll| {
        let expires_at = NOW + Duration::from_millis(left_ms);
        settle(EndedAttempt { expires_at, ..ended(outcome, Tries::of(20)) }, &RetryPolicy::default(), roll)
    };
    assert_eq!(after(&outcome, 300_000, 0.5), due(160_001, 21), "it fits");
    assert_eq!(after(&outcome, 60_000, 0.5), due(40_000, 21));
    assert_eq!(after(&outcome, 60_000, 1.0), due(69_999, 21));
    assert_eq!(after(&outcome, 1_001, 0.5), due(10_500, 21));
    assert_eq!(after(&outcome, 1_000, 0.5), Settlement::Expired, "less than the bound of the first wait");
    let last = due_after(69_999, Tries::of(20).and_free());
    assert_eq!(after(&asked, 60_000, 0.5), last, "its endpoint has asked for more");
}

#[test]
fn all_tries_lie_within_their_time_and_each_is_an_attempt() {
    let policy = RetryPolicy { base: Duration::from_millis(100), ..up_to(4) };
    let within = |left_ms| Some(NOW + Duration::from_millis(left_ms));
    let refused = Outcome::Unprocessed { cause: Cause::Connect };
    let status = |retry_after_s| retry(Cause::Status(503), retry_after_s);
    for (outcome, before, is_probe, left_ms, expected) in [
        (status(None), 0, false, 30_000, due(10_101, 1)),
        (status(None), 2, false, 30_000, due(10_401, 3)),
        (status(None), 3, false, 30_000, dead("attempts_exhausted: http_503", 4)),
        // What costs no attempt elsewhere does here.
        (refused.clone(), 0, false, 30_000, due(10_101, 1)),
        (refused.clone(), 3, false, 30_000, dead("attempts_exhausted: connect", 4)),
        (status(None), 3, true, 30_000, dead("attempts_exhausted: http_503", 4)),
        // Half of what is left, for the call that follows.
        (status(None), 0, false, 100, due(10_051, 1)),
        (status(None), 0, false, 0, dead("attempts_exhausted: http_503", 1)),
        (status(Some(2)), 0, false, 30_000, due(12_001, 1)),
        (status(Some(2)), 0, false, 1_000, dead("attempts_exhausted: http_503", 1)),
    ] {
        let end =
            EndedAttempt { is_probe, retry_until: within(left_ms), ..ended(&outcome, Tries::of(before)) };
        assert_eq!(settle(end, &policy, 1.0), expected, "{outcome:?} {before} {left_ms}");
    }
    // The control: the endpoint of all other calls.
    let free = settle(ended(&refused, Tries::of(3)), &policy, 1.0);
    assert_eq!(free, due_after(10_801, Tries::of(3).and_free()));
}

#[test]
fn what_is_parked_is_not_repeated() {
    let outcome = retry(Cause::Closed, None);
    let end = EndedAttempt { is_parked: true, ..ended(&outcome, Tries::NONE) };
    assert_eq!(settle(end, &RetryPolicy::default(), 1.0), dead("ambiguous: closed", 1));
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
        let policy = EIGHT;
        let now = Timestamp::from_nanos(now);
        let expires_at = now + Duration::from_nanos(ttl_ns);
        let outcome = Outcome::Retry {
            cause: Cause::Timeout,
            retry_after: asked_ms.map(Duration::from_millis),
        };
        let asked = Duration::from_millis(asked_ms.unwrap_or(0));
        let before = Tries::of(attempts - 1);
        let ended = EndedAttempt { now, expires_at, ..ended(&outcome, before) };
        match settle(ended, &policy, roll) {
            Settlement::Reschedule { due_at, tries: recorded, doubted_at: None } => {
                prop_assert!(due_at > now && due_at < expires_at);
                prop_assert_eq!(due_at, Timestamp::from_millis(due_at.as_millis()));
                // As asked, or at the end of its life.
                let is_last = asked_ms.is_some() && due_at + Duration::from_millis(3) >= expires_at;
                prop_assert!(due_at >= now + asked || is_last);
                let longest = policy.cap.max(asked).max(Wait::SHORTEST);
                prop_assert!(due_at <= now + longest + Duration::from_millis(1));
                let wanted = if asked_ms.is_some() { before.and_free() } else { before.and_attempt() };
                prop_assert_eq!(recorded, wanted);
            }
            Settlement::Expired => {
                let longest = if asked_ms.is_some() { Wait::SHORTEST } else { policy.cap };
                prop_assert!(now + longest + Duration::from_millis(1) >= expires_at);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
