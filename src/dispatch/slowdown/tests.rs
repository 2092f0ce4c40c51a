//! Rates that are halved, restored and ramped up, at paused time.

use super::*;

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

/// A refusal now of a call that started now, in a lane with so many starts in the last second.
fn refuse(slow: &mut Slowdown, starts: u32, at_ms: u64) -> bool {
    slow.refused(Refusal { started_at: ms(at_ms), starts, held_until: None }, ms(at_ms))
}

/// Two refusals, a second apart: the second one halves the rate.
fn refuse_twice(slow: &mut Slowdown, starts: u32, at_ms: u64) -> bool {
    assert!(!refuse(slow, starts, at_ms - 1_000));
    refuse(slow, starts, at_ms)
}

fn rate(slow: &Slowdown, at_ms: u64) -> Option<f64> {
    slow.rate(ms(at_ms)).map(|rate| (rate.calls_per_second * 1_000.0).round() / 1_000.0)
}

#[test]
fn a_rate_is_halved_and_grows_again_by_even_steps_up_to_what_it_was() {
    let mut slow = Slowdown::default();
    assert!(refuse_twice(&mut slow, 100, 10_000));
    assert_eq!(rate(&slow, 10_000), Some(50.0));
    assert_eq!((rate(&slow, 11_000), rate(&slow, 12_000)), (Some(55.0), Some(60.0)));
    assert_eq!(rate(&slow, 19_999), Some(99.995));
    assert_eq!(rate(&slow, 20_000), None, "the limits alone rule again");
    assert_eq!(slow.over_at(), ms(20_000));
    assert!(refuse_twice(&mut slow, 100, 60_000) && refuse_twice(&mut slow, 100, 62_000));
    assert_eq!(rate(&slow, 62_000), Some(30.0), "of the rate that held");
    assert_eq!(slow.over_at(), ms(62_000 + 14_000), "up to the first one");
    // What a lane does not use is no rate.
    assert!(refuse_twice(&mut slow, 8, 64_000));
    assert_eq!(rate(&slow, 64_000), Some(4.0));
}

#[test]
fn what_started_before_tells_nothing_new() {
    let mut slow = Slowdown::default();
    assert!(refuse_twice(&mut slow, 100, 2_000));
    for started_ms in 0..2_000 {
        let refusal = Refusal { started_at: ms(started_ms), starts: 100, held_until: None };
        assert!(!slow.refused(refusal, ms(2_000 + started_ms)));
    }
    assert_eq!(rate(&slow, 2_000), Some(50.0));
    assert!((2_000..3_000).all(|at| !refuse(&mut slow, 100, at)), "once in a second");
    assert!(refuse(&mut slow, 100, 3_000), "the control");
}

#[test]
fn a_healthy_endpoint_is_not_slowed_down() {
    let mut slow = Slowdown::default();
    // One in a thousand, at 1000 per second, for a minute.
    for second in 0..60 {
        assert!(!refuse(&mut slow, 1_000, second * 1_000));
        assert_eq!(rate(&slow, second * 1_000), None);
    }
    assert!(slow.over_at() <= ms(62_000));
    // One moment, however many calls it concerns, also of a lane that has just begun.
    let mut moment = Slowdown::default();
    assert!((0..1_000_u32).all(|n| !refuse(&mut moment, n, u64::from(n))));
    assert!(!refuse(&mut moment, 1_000, 5_000));
    // A lane with few calls: no rate below one per second.
    let mut quiet = Slowdown::default();
    assert!(!refuse_twice(&mut quiet, 1, 2_000));
    assert!(refuse(&mut quiet, 4, 2_500) && refuse_twice(&mut quiet, 2, 4_000));
    for second in 5..40 {
        refuse(&mut quiet, 1, second * 1_000);
        assert!(rate(&quiet, second * 1_000).is_none_or(|rate| rate >= LOWEST));
    }
    // One in a hundred is enough.
    let mut busy = Slowdown::default();
    assert!(!refuse(&mut busy, 1_000, 0));
    let halved: Vec<bool> = (0..10).map(|n| refuse(&mut busy, 1_000, 1_000 + n)).collect();
    assert_eq!(halved.iter().position(|halved| *halved), Some(8));
}

#[test]
fn an_endpoint_that_refuses_for_ever_is_called_at_a_tenth_of_the_rate() {
    let mut slow = Slowdown::default();
    let mut starts = 1_000;
    for second in 1..60 {
        for _ in 0..20 {
            refuse(&mut slow, starts, second * 1_000);
        }
        starts = slow.rate(ms(second * 1_000 + 500)).map_or(1_000, |rate| rate.calls_per_second as u32);
    }
    assert!((70..=80).contains(&starts), "{starts}");
}

#[test]
fn while_the_endpoint_wants_to_be_left_alone_the_rate_does_not_grow() {
    let mut slow = Slowdown::default();
    let held_until = Some(ms(30_000));
    assert!(!refuse(&mut slow, 100, 0));
    assert!(slow.refused(Refusal { started_at: ms(0), starts: 100, held_until }, ms(1_000)));
    for (at, wanted) in [(1_000, 50.0), (30_000, 50.0), (31_000, 55.0)] {
        assert_eq!(rate(&slow, at), Some(wanted));
    }
}

#[test]
fn starts_come_at_the_rate_and_never_far_ahead_of_it() {
    let mut slow = Slowdown::default();
    assert!(refuse_twice(&mut slow, 100, 1_000));
    let full = slow.reduced.expect("reduced");
    slow.reduced = Some(Reduced { rate: 200.0, full: 200.000_1, grows_from: ms(1 << 40), ..full });
    let mut starts = Vec::new();
    // A timer that fires every three milliseconds.
    for at in (0..10_000).step_by(3) {
        while slow.waits_until(ms(at)).is_none() {
            slow.started(ms(at));
            starts.push(at);
        }
    }
    let most =
        starts.iter().map(|from| starts.iter().filter(|at| (*from..from + 1_000).contains(at)).count());
    assert!((1_990..=2_004).contains(&starts.len()), "{}", starts.len());
    assert!(most.max().is_some_and(|most| most <= 204));
}

#[test]
fn a_ramp_begins_low_and_doubles_in_each_second() {
    let mut slow = Slowdown::default();
    slow.begin_ramp(ms(0));
    let mut per_second = Vec::new();
    for second in 0..11 {
        let mut starts = 0_u32;
        for at in second * 1_000..second * 1_000 + 1_000 {
            // What the limits allow: 1000 per second.
            if slow.waits_until(ms(at)).is_none() {
                slow.started(ms(at));
                starts += 1;
            }
        }
        per_second.push(starts);
    }
    assert!(per_second[0] <= 16 && per_second.is_sorted(), "{per_second:?}");
    assert!(per_second.windows(2).all(|two| two[1] <= two[0] * 2 + 2), "{per_second:?}");
    assert_eq!(per_second.last(), Some(&1_000));
    assert_eq!((slow.rate(ms(11_000)), slow.over_at()), (None, ms(11_000)));
    assert!(slow.waits_until(ms(11_000)).is_none());
}

#[test]
fn of_both_the_lower_rate_holds() {
    let mut slow = Slowdown::default();
    assert!(refuse_twice(&mut slow, 40, 1_000));
    slow.begin_ramp(ms(1_000));
    let reason = |at| slow.rate(ms(at)).map(|rate| rate.reason);
    assert_eq!(reason(1_000), Some(SlowReason::Ramp));
    assert_eq!(reason(3_000), Some(SlowReason::Reduced), "24 against 40");
    assert_eq!(reason(11_500), Some(SlowReason::Ramp));
}
