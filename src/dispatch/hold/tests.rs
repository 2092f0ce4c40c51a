//! What holds a lane, and for how long.

use super::*;
use crate::event::Shortage;
use crate::event::testing::{API_LIMIT, CAPACITY, NEXT_MESSAGE, SERVICE_OVER_QPS};

const POLICY: BreakerPolicy =
    BreakerPolicy { failures: 3, min_hold: Duration::from_secs(1), max_hold: Duration::from_secs(4) };
const FINE: Outcome = Outcome::Delivered { status: 200 };

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_millis(100_000 + ms)
}

fn down() -> Outcome {
    Outcome::Retry { cause: Cause::Connect, retry_after: None }
}

fn held_until(holds: &Holds, now: Timestamp) -> Option<Timestamp> {
    holds.current(now).and_then(|hold| hold.until)
}

#[test]
fn the_breaker_opens_after_failures_in_a_row_only() {
    let mut holds = Holds::default();
    for outcome in [down(), down(), FINE, down(), down()] {
        holds.ended(&outcome, &POLICY, 1.0, ms(0));
        assert!(holds.allow(500, ms(0)));
    }
    holds.ended(&down(), &POLICY, 1.0, ms(0));
    let open = Hold { reason: HoldReason::Breaker, until: Some(ms(1000)), busy: None, is_partial: false };
    assert_eq!(holds.current(ms(0)), Some(open));
    assert!(!holds.allow(0, ms(999)));
}

#[test]
fn one_call_tries_the_endpoint_and_its_success_ramps_up() {
    let mut holds = Holds::default();
    (0..9).for_each(|_| holds.ended(&down(), &POLICY, 1.0, ms(0)));
    assert_eq!(held_until(&holds, ms(0)), Some(ms(1000)), "what comes back late changes nothing");
    assert!(holds.allow(0, ms(1000)) && !holds.allow(1, ms(1000)));
    for (end, until) in [(1000, 3000), (3000, 7000), (7000, 11_000)] {
        holds.ended(&down(), &POLICY, 1.0, ms(end));
        assert_eq!(held_until(&holds, ms(end)), Some(ms(until)));
    }
    holds.ended(&FINE, &POLICY, 1.0, ms(11_000));
    assert!(holds.allow(1, ms(11_000)) && !holds.allow(2, ms(11_000)));
    (0..20).for_each(|_| holds.ended(&FINE, &POLICY, 1.0, ms(11_000)));
    assert!(holds.allow(100_000, ms(11_000)));
}

#[test]
fn the_endpoint_s_wish_holds_and_does_not_count_as_a_failure() {
    let mut holds = Holds::default();
    let wish = Outcome::Retry { cause: Cause::Status(503), retry_after: Some(Duration::from_secs(30)) };
    (0..9).for_each(|_| holds.ended(&wish, &POLICY, 1.0, ms(0)));
    assert_eq!(
        holds.current(ms(0)),
        Some(Hold { reason: HoldReason::RetryAfter, until: Some(ms(30_000)), busy: None, is_partial: false })
    );
    assert!(holds.allow(99, ms(30_000)));
    assert_eq!((holds.outlasts(ms(0)), holds.outlasts(ms(30_000))), (Some(ms(30_000)), None));
}

#[test]
fn a_busy_endpoint_is_left_alone_and_neither_fails_nor_recovers() {
    let mut holds = Holds::default();
    let busy = |busy, seconds| Outcome::Wait(Wait::new(busy, Duration::from_secs(seconds)));
    (0..2).for_each(|_| holds.ended(&down(), &POLICY, 1.0, ms(0)));
    (0..9).for_each(|_| holds.ended(&busy(API_LIMIT, 30), &POLICY, 1.0, ms(0)));
    holds.ended(&busy(SERVICE_OVER_QPS, 1), &POLICY, 1.0, ms(1));
    let hold =
        Hold { reason: HoldReason::Busy, until: Some(ms(30_000)), busy: Some(API_LIMIT), is_partial: false };
    assert_eq!(holds.current(ms(1)), Some(hold), "the longest wait holds");
    assert!(!holds.allow(0, ms(29_999)) && holds.allow(99, ms(30_000)));
    assert_eq!((holds.outlasts(ms(0)), holds.outlasts(ms(30_000))), (Some(ms(30_000)), None));

    holds.ended(&down(), &POLICY, 1.0, ms(30_000));
    assert_eq!(holds.current(ms(30_000)).map(|hold| hold.reason), Some(HoldReason::Breaker));
    holds.ended(&busy(CAPACITY, 1), &POLICY, 1.0, ms(31_000));
    assert!(holds.allow(0, ms(32_000)) && !holds.allow(1, ms(32_000)), "single calls go on trying it");
}

#[test]
fn an_answer_that_paces_the_next_call_holds_the_lane_and_counts_as_what_it_is() {
    let next = Wait::new(NEXT_MESSAGE, Duration::from_secs(2));
    let paced = |end: Outcome| Outcome::Paced { end: Box::new(end), next };
    let mut holds = Holds::default();
    holds.ended(&FINE, &POLICY, 1.0, ms(0));
    assert_eq!(holds.current(ms(0)), None, "the control");
    holds.ended(&paced(FINE), &POLICY, 1.0, ms(0));
    let hold = Hold {
        reason: HoldReason::Busy,
        until: Some(ms(2_000)),
        busy: Some(NEXT_MESSAGE),
        is_partial: false,
    };
    assert_eq!((holds.current(ms(0)), holds.outlasts(ms(0))), (Some(hold), Some(ms(2_000))));
    assert!(!holds.allow(0, ms(1_999)) && holds.allow(99, ms(2_000)));
    (0..3).for_each(|_| holds.ended(&paced(down()), &POLICY, 1.0, ms(10_000)));
    assert!(holds.allow(0, ms(12_000)) && !holds.allow(1, ms(12_000)), "three failures in a row");
}

#[test]
fn what_was_not_processed_counts_for_the_breaker_and_a_shortage_of_ours_holds_without_counting() {
    let mut holds = Holds::default();
    let short = Outcome::Shortage { cause: Cause::Shortage(Shortage::Ports) };
    (0..9).for_each(|_| holds.ended(&short, &POLICY, 0.0, ms(0)));
    let hold = Hold { reason: HoldReason::Shortage, until: Some(ms(500)), busy: None, is_partial: false };
    assert_eq!((holds.current(ms(0)), holds.outlasts(ms(0))), (Some(hold), Some(ms(500))));
    assert!(holds.allow(99, ms(500)) && !holds.is_probing());
    for cause in [Cause::Connect, Cause::Refused, Cause::Tls] {
        assert!(!holds.is_probing());
        holds.ended(&Outcome::Unprocessed { cause }, &POLICY, 1.0, ms(500));
    }
    assert_eq!(holds.current(ms(500)).map(|hold| hold.reason), Some(HoldReason::Breaker));
    assert!(holds.is_probing());
    // A shortage tells the probe nothing.
    holds.ended(&short, &POLICY, 0.0, ms(1_500));
    assert!(holds.is_probing() && holds.allow(0, ms(2_000)));
    holds.ended(&FINE, &POLICY, 1.0, ms(2_000));
    assert!(!holds.is_probing(), "calls while it ramps up count again");
}

#[test]
fn a_pause_without_an_end_outlasts_the_others() {
    let mut holds = Holds::default();
    (0..9).for_each(|_| holds.ended(&down(), &POLICY, 1.0, ms(0)));
    holds.pause(Some(None));
    assert_eq!(
        holds.current(ms(0)),
        Some(Hold { reason: HoldReason::Paused, until: None, busy: None, is_partial: false })
    );
    holds.pause(Some(Some(ms(500))));
    assert_eq!(holds.current(ms(0)).map(|hold| hold.reason), Some(HoldReason::Breaker));
    holds.pause(None);
    assert!(holds.allow(0, ms(1000)));
}

#[test]
fn a_breaker_of_no_failures_never_opens() {
    let mut holds = Holds::default();
    let never = BreakerPolicy { failures: 0, ..POLICY };
    (0..99).for_each(|_| holds.ended(&down(), &never, 1.0, ms(0)));
    assert!(holds.allow(99, ms(0)));
}
