//! Priorities: how lanes that differ in them share a limit, and that they share what their endpoint says.

use std::time::Duration;

use proptest::prelude::*;

use super::{Bench, FINE, START, book, entry, lane, ms};
use crate::dispatch::{BreakerPolicy, HoldReason, PlannerOptions};
use crate::event::{Cause, Lane, LaneKey, Outcome, Priority};
use crate::policy::Book;

/// The part of a lane for a priority.
fn of(lane: &LaneKey, priority: Priority) -> LaneKey {
    lane.with_priority(priority).expect("short")
}

fn at(policies: &[(&str, u32)], host: &str, priority: Priority) -> LaneKey {
    of(Lane::parse(&lane(policies)).expect("a lane").at(host).key(), priority)
}

/// How many of the first starts were of each priority.
fn counts(bench: &Bench, from: usize, starts: usize) -> [usize; 3] {
    let mut counts = [0; 3];
    for (_, lane, _) in bench.sent.iter().skip(from).take(starts) {
        counts[lane.priority().place()] += 1;
    }
    counts
}

/// Lets time pass; calls are answered soon, so that slots and shares of them are no matter.
fn run(bench: &mut Bench, seconds: u64) {
    let mut answered = 0;
    for _ in 0..seconds * 20 {
        bench.pass(ms(50));
        while answered < bench.sent.len() {
            bench.finish(answered, FINE);
            answered += 1;
        }
    }
}

fn filled(book: &Book, lanes: &[(LaneKey, u128)]) -> Bench {
    let mut bench = Bench::new(book);
    for (nth, (lane, count)) in lanes.iter().enumerate() {
        let first = nth as u128 * 100_000;
        bench.fill(lane, first..first + count);
        bench.announce(lane);
    }
    bench
}

#[test]
fn a_contended_pace_is_shared_eight_to_four_to_one() {
    let p = lane(&[("p", 1)]);
    let all = Priority::ALL.map(|priority| (of(&p, priority), 5_000));
    let mut bench = filled(&book(&[("p", Some(130.0), 4_000)]), &all);
    run(&mut bench, 20);
    let shared = counts(&bench, 13, 2_600 - 26);
    assert!(shared[0].abs_diff(1_584) <= 8, "{shared:?}");
    assert!(shared[1].abs_diff(792) <= 8, "{shared:?}");
    assert!(shared[2].abs_diff(198) <= 8, "{shared:?}");
    for (lane, _) in &all {
        let of_lane: Vec<_> = bench.sent.iter().filter(|(_, of, _)| of == lane).map(|sent| sent.2).collect();
        assert!(of_lane.is_sorted(), "in the order of acceptance");
    }
}

#[test]
fn slots_are_shared_the_same_way_and_what_one_does_not_take_goes_to_the_others() {
    let p = lane(&[("p", 1)]);
    let lanes = [(of(&p, Priority::High), 400), (of(&p, Priority::Low), 5_000)];
    let mut bench = filled(&book(&[("p", None, 1)]), &lanes);
    let mut nth = 0;
    while nth < 1_000 {
        bench.finish(nth, FINE);
        nth += 1;
    }
    let shared = counts(&bench, 0, 450);
    assert!(shared[0].abs_diff(400) <= 2 && shared[2].abs_diff(50) <= 2, "{shared:?}");
    assert_eq!(counts(&bench, 460, 500), [0, 0, 500], "nobody else waits");
}

#[test]
fn many_lanes_of_one_priority_do_not_take_the_share_of_another() {
    let names: Vec<String> = (0..20).map(|n| format!("low{n}")).collect();
    let mut policies = vec![("shared", Some(100.0), 4_000), ("high", None, 4_000)];
    policies.extend(names.iter().map(|name| (name.as_str(), None, 4_000)));
    let mut lanes: Vec<(LaneKey, u128)> = names
        .iter()
        .map(|name| (of(&lane(&[(name.as_str(), 1), ("shared", 1)]), Priority::Low), 300))
        .collect();
    lanes.push((of(&lane(&[("high", 1), ("shared", 1)]), Priority::High), 2_000));
    let mut bench = filled(&book(&policies), &lanes);
    run(&mut bench, 10);
    let shared = counts(&bench, 100, 800);
    assert!(shared[0].abs_diff(711) <= 12, "{shared:?}");
    for (lane, _) in lanes.iter().take(20) {
        assert!(bench.sent_of(lane) >= 2, "nobody is passed over");
    }
}

#[test]
fn what_is_due_goes_first_within_its_priority_only() {
    let p = lane(&[("p", 1)]);
    let (high, low) = (of(&p, Priority::High), of(&p, Priority::Low));
    let mut bench = Bench::new(&book(&[("p", Some(100.0), 4_000)]));
    let late = |n: u128| crate::event::Entry { due_at: Some(START), ..entry(&low, 5_000 + n) };
    bench.waiting.insert(low.clone(), (0..100).map(late).collect());
    bench.fill(&low, 0..100);
    bench.fill(&high, 10_000..10_500);
    bench.announce(&low);
    bench.announce(&high);
    bench.pass(Duration::from_secs(3));
    let shared = counts(&bench, 10, 270);
    assert!(shared[0].abs_diff(240) <= 4, "{shared:?}");
    let of_low: Vec<u128> = bench.sent_ids().into_iter().filter(|id| *id < 10_000).collect();
    assert!(of_low.iter().all(|id| *id >= 5_000), "{of_low:?}");
}

#[test]
fn one_endpoint_is_probed_once_for_all_priorities_and_holds_all_of_them() {
    let breaker =
        BreakerPolicy { failures: 3, min_hold: Duration::from_secs(1), max_hold: Duration::from_secs(1) };
    let options = PlannerOptions { breaker, ..PlannerOptions::default() };
    let mut bench = Bench::over(&book(&[("p", None, 100)]), options);
    let p: &[(&str, u32)] = &[("p", 1)];
    let lanes = Priority::ALL.map(|priority| at(p, "sick.org:443", priority));
    let other = at(p, "well.org:443", Priority::Low);
    bench.fill(&lanes[0], 0..3);
    bench.announce(&lanes[0]);
    let down = || Outcome::Retry { cause: Cause::Connect, retry_after: None };
    for nth in 0..3 {
        bench.finish(nth, down());
    }
    for (nth, lane) in lanes.iter().enumerate() {
        bench.fill(lane, (nth as u128 + 1) * 1_000..(nth as u128 + 1) * 1_000 + 50);
        bench.announce(lane);
    }
    assert_eq!(bench.sent.len(), 3, "what one priority met holds the others");
    bench.fill(&other, 9_000..9_010);
    bench.announce(&other);
    assert_eq!(bench.sent.len(), 13, "the control: another host goes on");
    let held = bench.planner.figures(bench.now).held;
    assert_eq!(held.len(), 3);
    assert!(held.iter().all(|(_, hold)| hold.reason == HoldReason::Breaker));
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.sent.len(), 14, "one probe for all three");
    bench.finish(13, FINE);
    assert_eq!(bench.sent.len(), 16, "two calls at a time, whatever their priorities");
    bench.finish(14, FINE);
    bench.finish(15, FINE);
    assert_eq!(bench.sent.len(), 17, "one of each lane: the ramps begin with 10 calls a second");
    assert!(lanes[1..].iter().all(|lane| bench.sent_of(lane) > 0), "the one probe was for all of them");
    bench.pass(ms(200));
    assert!(bench.sent.len() > 17, "and more with each that goes well");
}

#[test]
fn a_sibling_that_comes_later_is_held_as_well_and_goes_on_with_the_others() {
    let p: &[(&str, u32)] = &[("p", 1)];
    let (normal, high) = (at(p, "busy.org:443", Priority::Normal), at(p, "busy.org:443", Priority::High));
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    bench.fill(&normal, 0..1);
    bench.announce(&normal);
    bench.finish(0, Outcome::Retry { cause: Cause::Status(503), retry_after: Some(Duration::from_secs(30)) });
    bench.fill(&high, 10..20);
    bench.announce(&high);
    bench.pass(ms(29_999));
    assert_eq!(bench.sent_of(&high), 0);
    bench.pass(ms(2));
    assert_eq!(bench.sent_of(&high), 10);
}

#[test]
fn a_lane_made_for_a_question_alone_goes_when_the_hold_that_it_shares_is_over() {
    let p: &[(&str, u32)] = &[("p", 1)];
    let (normal, high) = (at(p, "busy.org:443", Priority::Normal), at(p, "busy.org:443", Priority::High));
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    bench.fill(&normal, 0..1);
    bench.announce(&normal);
    bench.finish(0, Outcome::Retry { cause: Cause::Status(503), retry_after: Some(Duration::from_secs(30)) });
    let report = bench.planner.report(&Lane::parse(&high).expect("a lane"), bench.now);
    assert!(report.hold.is_some_and(|hold| hold.reason == HoldReason::RetryAfter), "{report:?}");
    assert_eq!(bench.planner.figures(bench.now).lanes, 2, "the control: it is held as its sibling is");
    // Also the retry of the other one is looked for in vain for a minute.
    bench.pass(Duration::from_secs(120));
    assert_eq!(bench.planner.figures(bench.now).lanes, 0);
}

#[test]
fn a_restart_keeps_priorities_and_the_shares_of_what_is_left() {
    let p = lane(&[("p", 1)]);
    let all = Priority::ALL.map(|priority| (of(&p, priority), 3_000));
    let policies = book(&[("p", Some(130.0), 4_000)]);
    let mut before = filled(&policies, &all);
    run(&mut before, 5);
    // All that a restart leaves of a lane is its key, and its entries that did not start.
    let mut after = Bench::new(&policies);
    for (lane, count) in &all {
        let started = before.sent_of(lane) as u128;
        let parsed = Lane::parse(&LaneKey::new(lane.as_str()).expect("a key")).expect("a lane");
        assert_eq!(parsed.priority(), lane.priority());
        after.fill(parsed.key(), started..*count);
        after.announce(parsed.key());
    }
    run(&mut after, 10);
    let shared = counts(&after, 13, 1_250);
    assert!(shared[0].abs_diff(769) <= 8 && shared[2].abs_diff(96) <= 8, "{shared:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the pace, and whoever waits: the shares keep to the weights, and nobody is passed over.
    #[test]
    fn shares_keep_to_the_weights(pace in 20_u32..500, waits in prop::collection::vec(any::<bool>(), 3)) {
        let p = lane(&[("p", 1)]);
        let waiting: Vec<Priority> =
            Priority::ALL.into_iter().zip(&waits).filter(|(_, waits)| **waits).map(|(of, _)| of).collect();
        let lanes: Vec<_> = waiting.iter().map(|priority| (of(&p, *priority), 3_000)).collect();
        let mut bench = filled(&book(&[("p", Some(f64::from(pace)), 4_000)]), &lanes);
        run(&mut bench, 6);
        let starts = bench.sent.len().saturating_sub(20);
        let shared = counts(&bench, 20, starts);
        let weights: u64 = waiting.iter().map(|priority| priority.weight()).sum();
        for priority in Priority::ALL {
            let part = if waiting.contains(&priority) { priority.weight() } else { 0 };
            let expected = if weights == 0 { 0.0 } else { starts as f64 * part as f64 / weights as f64 };
            let found = shared[priority.place()] as f64;
            prop_assert!((found - expected).abs() <= 9.0, "{priority:?}: {found} of {starts}, not {expected}");
        }
    }
}
