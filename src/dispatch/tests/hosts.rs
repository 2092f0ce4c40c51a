//! Lanes that differ in their host alone: they share limits, turns and order, and no hold.

use std::time::Duration;

use super::{Bench, FINE, START, book, entry, lane, ms};
use crate::dispatch::{DueShare, HoldReason, PlannerOptions};
use crate::event::testing::API_LIMIT;
use crate::event::{Cause, Labels, Lane, LaneKey, Outcome, PolicyRef, Wait};
use crate::policy::{Book, Pause, testing};

const HOUR: Duration = Duration::from_secs(3600);

/// The part of a lane for one host.
fn at(policies: &[(&str, u32)], host: &str) -> LaneKey {
    Lane::parse(&lane(policies)).expect("a lane").at(host).key().clone()
}

/// Everything is read ahead before the first call starts.
fn held_back(book: &Book, lanes: &[(&LaneKey, std::ops::Range<u128>)]) -> Bench {
    let mut paused = book.clone();
    let pause = Pause { reason: "a test".to_owned(), since: START, until: None };
    paused.pause(&testing::id("p"), pause).expect("known");
    let mut bench = Bench::new(&paused);
    for (lane, ids) in lanes {
        bench.fill(lane, ids.clone());
        bench.announce(lane);
    }
    bench
}

#[test]
fn a_host_that_asks_for_time_or_fails_holds_no_other_one() {
    let outcomes = [
        (HoldReason::RetryAfter, Outcome::Retry { cause: Cause::Status(503), retry_after: Some(HOUR) }),
        (HoldReason::Busy, Outcome::Wait(Wait::new(API_LIMIT, HOUR))),
        (HoldReason::Breaker, Outcome::Retry { cause: Cause::Connect, retry_after: None }),
    ];
    let p: &[(&str, u32)] = &[("p", 1)];
    let hosts = (at(p, "sick.org:443"), at(p, "well.org:443"));
    // The control: one lane for both hosts, as it was named before.
    for (reason, outcome) in outcomes {
        for ((sick, well), arrive) in [(hosts.clone(), 10), ((lane(p), lane(p)), 0)] {
            let mut bench = Bench::new(&book(&[("p", None, 100)]));
            bench.fill(&sick, 0..1_000);
            bench.fill(&well, 5_000..5_010);
            bench.announce(&sick);
            bench.announce(&well);
            let mut nth = 0;
            while nth < bench.sent.len() {
                let is_sick = bench.sent[nth].2.tail() < 5_000;
                bench.finish(nth, if is_sick { outcome.clone() } else { FINE });
                nth += 1;
            }
            let arrived = bench.sent_ids().into_iter().filter(|id| *id >= 5_000).count();
            assert_eq!(arrived, arrive, "{reason:?}");
            let figures = bench.planner.figures(bench.now);
            let held: Vec<_> =
                figures.held.iter().map(|(lane, hold)| (lane.key().clone(), hold.reason)).collect();
            assert_eq!(held, [(sick, reason)]);
            assert_eq!(figures.cautious.len(), usize::from(reason == HoldReason::Breaker));
        }
    }
}

#[test]
fn hosts_under_the_same_limits_go_in_the_order_of_acceptance() {
    let p: &[(&str, u32)] = &[("p", 1)];
    let book = book(&[("p", Some(100.0), 100)]);
    let (first, second, third) = (at(p, "z.org:443"), at(p, "a.org:443"), lane(p));
    let mut bench = held_back(&book, &[(&third, 40..60), (&second, 20..40), (&first, 0..20)]);
    bench.rule(&book);
    bench.pass(Duration::from_secs(2));
    assert_eq!(bench.sent_ids(), (0..60).collect::<Vec<_>>());
}

#[test]
fn what_is_due_at_one_host_takes_no_more_than_its_share_from_the_others() {
    let p: &[(&str, u32)] = &[("p", 1)];
    let (due, plain) = (at(p, "z.org:443"), at(p, "a.org:443"));
    // The control: without a share nothing else goes.
    for (share, starts) in [(DueShare::HALF, 45..=60), (DueShare::ALL, 0..=0)] {
        let options = PlannerOptions { due_share: share, ..PlannerOptions::default() };
        let mut bench = Bench::over(&book(&[("p", None, 1)]), options);
        bench.fill(&plain, 0..200);
        let late = |n| crate::event::Entry { due_at: Some(START - HOUR), ..entry(&due, 1_000 + n) };
        bench.waiting.insert(due.clone(), (0..200_u128).map(late).collect());
        bench.announce(&due);
        bench.announce(&plain);
        for nth in 0..100 {
            bench.now = bench.now + Duration::from_millis(20);
            bench.finish(nth, FINE);
        }
        let sent = bench.sent_of(&plain);
        assert!(starts.contains(&sent), "{sent} of 100 with {share:?}");
        let of_plain: Vec<u128> = bench.sent_ids().into_iter().filter(|id| *id < 1_000).collect();
        assert!(of_plain.is_sorted(), "in their order");
    }
}

#[test]
fn what_is_due_at_one_host_goes_ahead_of_what_no_host_was_sent_yet() {
    let p: &[(&str, u32)] = &[("p", 1)];
    let book = book(&[("p", Some(100.0), 100)]);
    let (plain, due) = (at(p, "a.org:443"), at(p, "z.org:443"));
    let mut bench = held_back(&book, &[(&plain, 0..10)]);
    let late = crate::event::Entry { due_at: Some(START), ..entry(&due, 99) };
    bench.waiting.entry(due.clone()).or_default().push(late);
    bench.announce(&due);
    bench.rule(&book);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.sent_ids(), [99, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn hosts_give_a_policy_no_further_turns_of_a_limit_that_it_shares() {
    let parts = |name: &str| {
        let part = |name: &str| PolicyRef { policy: testing::id(name), generation: 1 };
        vec![part(name), part("shared")]
    };
    let by_host = |n: u32| Lane::of(parts("a")).expect("few").at(&format!("h{n}.org:443"));
    // The control: a label splits a lane and gives each part a turn.
    let by_label = |n: u32| {
        let labels = Labels::new([("fairness_key".to_owned(), n.to_string())]).expect("valid");
        Lane::scoped(parts("a"), &labels, &["fairness_key"]).expect("short")
    };
    let share = |split: &dyn Fn(u32) -> Lane| {
        let unlimited = [("shared", Some(100.0), 1000), ("a", None, 1000), ("b", None, 1000)];
        let mut bench = Bench::new(&book(&unlimited));
        let other = lane(&[("b", 1), ("shared", 1)]);
        bench.fill(&other, 10_000..10_300);
        bench.announce(&other);
        for n in 0..3 {
            let key = split(n).key().clone();
            bench.fill(&key, u128::from(n) * 1_000..u128::from(n) * 1_000 + 300);
            bench.announce(&key);
        }
        bench.pass(Duration::from_secs(1));
        bench.sent_of(&other) as f64 / bench.sent.len() as f64
    };
    let (by_host, by_label) = (share(&by_host), share(&by_label));
    assert!((0.45..0.55).contains(&by_host), "{by_host} for the other policy");
    assert!((0.20..0.35).contains(&by_label), "the control: {by_label} for the other policy");
}

#[test]
fn calls_that_no_policy_governs_are_held_by_host() {
    let mut bench = Bench::new(&book(&[]));
    let (sick, well, any) = (at(&[], "sick.org:443"), at(&[], "well.org:443"), lane(&[]));
    for (lane, id) in [(&sick, 0), (&any, 1)] {
        bench.fill(lane, id..id + 1);
        bench.announce(lane);
    }
    let asks = Outcome::Retry { cause: Cause::Status(503), retry_after: Some(HOUR) };
    bench.finish(0, asks.clone());
    bench.finish(1, asks);
    for (lane, id) in [(&sick, 10), (&well, 20), (&any, 30)] {
        bench.fill(lane, id..id + 5);
        bench.announce(lane);
    }
    bench.pass(ms(100));
    assert_eq!(
        [&sick, &well, &any].map(|lane| bench.sent_of(lane)),
        [1, 5, 6],
        "several hosts share the last"
    );
}

#[test]
fn lanes_of_very_many_hosts_are_forgotten_with_their_last_event() {
    let mut bench = Bench::new(&book(&[("p", None, 1_000)]));
    for n in 0..3_000 {
        let lane = at(&[("p", 1)], &format!("h{n}.org:443"));
        bench.fill(&lane, n..n + 1);
        bench.announce(&lane);
    }
    let mut nth = 0;
    while nth < bench.sent.len() {
        bench.finish(nth, FINE);
        nth += 1;
    }
    assert_eq!(bench.sent_ids(), (0..3_000).collect::<Vec<_>>());
    let figures = bench.planner.figures(bench.now);
    assert_eq!((figures.lanes, figures.read_ahead, bench.planner.is_quiet()), (0, 0, true));
}
