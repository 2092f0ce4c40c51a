//! Lanes that may not send although their limits have room, and purges.

use std::time::Duration;

use super::{Bench, FINE, START, book, lane, ms};
use crate::dispatch::{BreakerPolicy, HoldReason, Input};
use crate::event::testing::{API_LIMIT, CAPACITY, NEXT_MESSAGE, SERVICE_OVER_QPS};
use crate::event::{Cause, Outcome, Said, Settlement, Tries, Wait};
use crate::policy::{Book, Pause, testing};

fn down() -> Outcome {
    Outcome::Retry { cause: Cause::Connect, retry_after: None }
}

pub(super) fn two_lanes() -> (Bench, crate::event::LaneKey, crate::event::LaneKey) {
    (Bench::new(&book(&[("p", None, 100), ("q", None, 100)])), lane(&[("p", 1)]), lane(&[("q", 1)]))
}

fn paused(book: &mut Book, until_ms: Option<u64>) {
    let until = until_ms.map(|until| START + ms(until));
    let pause = Pause { reason: "a reason".to_owned(), since: START, until };
    book.pause(&testing::id("p"), pause).expect("known");
}

#[test]
fn an_endpoint_that_asks_for_time_gets_it_for_its_whole_lane() {
    let (mut bench, held, other) = two_lanes();
    bench.fill(&held, 0..1);
    bench.announce(&held);
    bench.finish(0, Outcome::Retry { cause: Cause::Status(503), retry_after: Some(Duration::from_secs(30)) });
    bench.fill(&held, 1..50);
    bench.fill(&other, 100..110);
    bench.announce(&held);
    bench.announce(&other);
    bench.pass(ms(29_999));
    assert_eq!((bench.sent_of(&held), bench.sent_of(&other)), (1, 10));
    let figures = bench.planner.figures(bench.now);
    let hold = figures.held.first().expect("one lane is held").1;
    assert_eq!((hold.reason, hold.until), (HoldReason::RetryAfter, Some(START + ms(30_000))));
    bench.pass(ms(1));
    assert_eq!(bench.sent_of(&held), 50);
}

#[test]
fn a_lane_whose_page_cannot_be_read_is_held_and_others_go_on() {
    let (mut bench, unread, other) = two_lanes();
    let mut effects = Vec::new();
    bench.planner.step(Input::LaneReady(unread.clone()), bench.now, &mut effects);
    bench.step(Input::LoadFailed(unread.clone()));
    let lane_of = |key| crate::event::Lane::parse(key).expect("valid");
    let report = bench.planner.report(&lane_of(&unread), bench.now);
    let hold = report.hold.expect("it is held");
    assert_eq!((hold.reason, hold.until), (HoldReason::Unread, Some(START + ms(100))));
    assert_eq!(bench.planner.figures(bench.now).held, [(lane_of(&unread), hold)]);
    bench.fill(&unread, 0..5);
    bench.fill(&other, 100..105);
    bench.announce(&other);
    bench.announce(&unread);
    assert_eq!((bench.sent_of(&unread), bench.sent_of(&other)), (0, 5), "not before its time");
    bench.step(Input::ReadAgain);
    assert_eq!(bench.sent_of(&unread), 5, "unless an operator asks");
    assert_eq!(bench.planner.figures(bench.now).held, []);
}

#[test]
fn what_was_given_up_is_not_sent() {
    let mut book = book(&[("p", None, 100)]);
    paused(&mut book, None);
    let (mut bench, lane) = (Bench::new(&book), lane(&[("p", 1)]));
    bench.fill(&lane, 0..5);
    bench.announce(&lane);
    let given_up = (0..3).map(|n| super::entry(&lane, n).id).collect();
    bench.step(Input::GivenUp(lane.clone(), given_up));
    let lost = bench.settled.iter().filter(|(_, how)| *how == Settlement::Lost).count();
    assert_eq!((lost, bench.sent_of(&lane)), (3, 0));
    book.resume(&testing::id("p")).expect("known");
    let runtime = std::sync::Arc::new(crate::policy::Runtime::build(&book).expect("small"));
    bench.step(Input::Policies(runtime));
    assert_eq!(bench.sent_of(&lane), 2, "the control");
}

fn busy(said: Said, length: Duration) -> Outcome {
    Outcome::Wait(Wait::new(said, length))
}

/// Puts what was settled last back into the queue, as it would hand it out.
fn hand_back(bench: &mut Bench, lane: &crate::event::LaneKey, n: u128) {
    let Some((id, Settlement::Reschedule { due_at, tries, .. })) = bench.settled.pop() else {
        panic!("rescheduled")
    };
    let again = crate::event::Entry { due_at: Some(due_at), tries, ..super::entry(lane, n) };
    assert_eq!(again.id, id);
    bench.waiting.insert(lane.clone(), vec![again]);
}

#[test]
fn a_busy_endpoint_holds_its_whole_lane_for_the_length_it_names() {
    let (mut bench, held, other) = two_lanes();
    bench.fill(&held, 0..1);
    bench.announce(&held);
    bench.finish(0, busy(API_LIMIT, ms(30_000)));
    assert_eq!(bench.settled.len(), 1);
    hand_back(&mut bench, &held, 0);
    bench.waiting.entry(held.clone()).or_default().extend((1..50).map(|n| super::entry(&held, n)));
    bench.fill(&other, 100..110);
    bench.announce(&held);
    bench.announce(&other);
    bench.pass(ms(29_999));
    assert_eq!((bench.sent_of(&held), bench.sent_of(&other)), (1, 10));
    let figures = bench.planner.figures(bench.now);
    let hold = figures.held.first().expect("one lane is held").1;
    assert_eq!(
        (hold.reason, hold.until, hold.busy),
        (HoldReason::Busy, Some(START + ms(30_000)), Some(API_LIMIT))
    );
    bench.pass(ms(2));
    assert_eq!(bench.sent_of(&held), 51, "the one that was told to wait and those behind it");
}

#[test]
fn an_endpoint_that_is_always_busy_uses_up_no_attempt_and_opens_no_breaker_and_ends_with_the_ttl() {
    let (mut bench, held, _) = two_lanes();
    bench.fill(&held, 0..1);
    bench.announce(&held);
    let ttl = Duration::from_secs(6 * 3600);
    let mut calls = 0;
    while bench.now + Duration::from_secs(600) < START + ttl {
        bench.finish(calls, busy(CAPACITY, Duration::from_secs(600)));
        calls += 1;
        let figures = bench.planner.figures(bench.now);
        let reasons: Vec<_> = figures.held.iter().map(|(_, hold)| hold.reason).collect();
        assert_eq!(reasons, [HoldReason::Busy]);
        assert!(matches!(bench.settled.last(), Some((_, Settlement::Reschedule { tries: Tries::NONE, .. }))));
        hand_back(&mut bench, &held, 0);
        bench.pass(Duration::from_millis(600_001));
        assert_eq!(bench.sent_of(&held), calls + 1, "again after each wait, and not before");
    }
    assert!(calls > 30, "more calls than attempts and than the breaker's failures: {calls}");
    bench.finish(calls, busy(CAPACITY, Duration::from_secs(600)));
    let Some((_, Settlement::Reschedule { due_at, .. })) = bench.settled.last() else { panic!("it waits") };
    assert!(*due_at < START + ttl, "to the end of its life");
    hand_back(&mut bench, &held, 0);
    bench.pass(Duration::from_millis(600_001));
    assert_eq!(bench.sent_of(&held), calls + 1, "its lane is held beyond that");
    assert_eq!(bench.settled.pop().map(|(_, how)| how), Some(Settlement::Expired));
}

#[test]
fn waits_stand_beside_failures_without_counting() {
    let (mut bench, held, _) = two_lanes();
    bench.fill(&held, 0..1);
    bench.announce(&held);
    for (nth, (outcome, recorded)) in [
        (down(), 1),
        (busy(SERVICE_OVER_QPS, ms(1_000)), 1),
        (down(), 2),
        (busy(NEXT_MESSAGE, Duration::ZERO), 2),
    ]
    .into_iter()
    .enumerate()
    {
        bench.finish(nth, outcome);
        let Some((_, Settlement::Reschedule { due_at, tries, .. })) = bench.settled.last() else {
            panic!("rescheduled")
        };
        assert_eq!(*tries, Tries::of(recorded));
        assert!(nth != 3 || due_at.since(bench.now) >= ms(100), "no wait is no pause");
        let due_at = *due_at;
        hand_back(&mut bench, &held, 0);
        bench.pass(due_at.since(bench.now));
        assert_eq!(bench.sent_of(&held), nth + 2);
    }
}

#[test]
fn every_call_that_is_told_to_wait_has_used_its_permit() {
    let mut bench = Bench::new(&book(&[("p", Some(1.0), 100)]));
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..1);
    bench.announce(&p);
    bench.finish(0, busy(NEXT_MESSAGE, ms(200)));
    hand_back(&mut bench, &p, 0);
    bench.pass(ms(999));
    assert_eq!(bench.sent_of(&p), 1, "the wait is over, the second of the limit is not");
    bench.pass(ms(50));
    assert_eq!(bench.sent_of(&p), 2);
}

#[test]
fn without_a_policy_the_one_that_is_told_to_wait_waits_and_nobody_else() {
    let (mut bench, _, _) = two_lanes();
    let free = lane(&[]);
    bench.fill(&free, 0..1);
    bench.announce(&free);
    bench.finish(0, busy(NEXT_MESSAGE, Duration::ZERO));
    let Some((_, Settlement::Reschedule { due_at, tries: Tries::NONE, .. })) = bench.settled.last() else {
        panic!("rescheduled")
    };
    assert_eq!(due_at.since(START), Duration::from_secs(1));
    bench.fill(&free, 1..5);
    bench.announce(&free);
    assert_eq!(bench.sent_of(&free), 5);
    assert_eq!(bench.planner.figures(bench.now).held, []);
}

#[test]
fn a_hold_outlasts_the_lane_s_last_entry() {
    let (mut bench, held, _) = two_lanes();
    bench.fill(&held, 0..2);
    bench.announce(&held);
    bench.finish(0, Outcome::Retry { cause: Cause::Status(429), retry_after: Some(Duration::from_secs(30)) });
    bench.finish(1, FINE);
    bench.pass(ms(10_000));
    bench.fill(&held, 5..6);
    bench.announce(&held);
    assert_eq!(bench.sent_of(&held), 2);
    bench.pass(ms(20_000));
    assert_eq!(bench.sent_of(&held), 3);
}

#[test]
fn an_endpoint_that_fails_is_tried_by_single_calls_and_those_behind_spend_no_attempt() {
    let (mut bench, dead, other) = two_lanes();
    let failures = BreakerPolicy::default().failures as usize;
    bench.fill(&dead, 0..1000);
    bench.announce(&dead);
    let first = bench.sent_of(&dead);
    (0..first).for_each(|nth| bench.finish(nth, down()));
    let tried = bench.sent_of(&dead);
    assert!(tried < first + failures, "{tried} calls before the breaker opened");
    // What was under way when it opened comes back.
    (first..tried).for_each(|nth| bench.finish(nth, down()));
    for _ in 0..5 {
        let before = bench.sent_of(&dead);
        bench.pass(Duration::from_secs(60));
        assert_eq!(bench.sent_of(&dead), before + 1, "one call tries the endpoint");
        bench.finish(before, down());
    }
    bench.fill(&other, 5000..5010);
    bench.announce(&other);
    assert_eq!(bench.sent_of(&other), 10);
    let rescheduled =
        bench.settled.iter().filter(|(_, how)| matches!(how, Settlement::Reschedule { .. })).count();
    assert_eq!(rescheduled, bench.sent_of(&dead), "only what was sent has spent an attempt");

    let mut nth = bench.sent.len();
    bench.pass(Duration::from_secs(60));
    let mut at_once = Vec::new();
    while at_once.len() < 6 {
        let until = bench.sent.len();
        at_once.push(until - nth);
        (nth..until).for_each(|nth| bench.finish(nth, FINE));
        nth = until;
        bench.pass(ms(100));
    }
    assert!(at_once.starts_with(&[1, 2]) && at_once[2] <= 8, "few at a time at first: {at_once:?}");
}

#[test]
fn a_paused_policy_sends_nothing_until_it_is_resumed_or_its_time_is_over() {
    let mut book = book(&[("p", None, 100), ("q", None, 100)]);
    let mut bench = Bench::new(&book);
    let (p, both) = (lane(&[("p", 1)]), lane(&[("p", 1), ("q", 1)]));
    paused(&mut book, None);
    bench.rule(&book);
    bench.fill(&p, 0..5);
    bench.fill(&both, 10..15);
    bench.announce(&p);
    bench.announce(&both);
    bench.pass(Duration::from_secs(3600));
    assert_eq!((bench.sent_of(&p), bench.sent_of(&both)), (0, 0));
    book.resume(&testing::id("p")).expect("known");
    bench.rule(&book);
    assert_eq!((bench.sent_of(&p), bench.sent_of(&both)), (5, 5));

    paused(&mut book, Some(3_600_000 + 500));
    bench.rule(&book);
    bench.fill(&p, 20..25);
    bench.announce(&p);
    bench.pass(ms(499));
    assert_eq!(bench.sent_of(&p), 5);
    bench.pass(ms(1));
    assert_eq!(bench.sent_of(&p), 10);
}

#[test]
fn what_waits_in_a_paused_lane_still_expires() {
    let mut book = book(&[("p", None, 100)]);
    paused(&mut book, None);
    let mut bench = Bench::new(&book);
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..40);
    bench.announce(&p);
    bench.pass(Duration::from_secs(6 * 3600 + 2));
    assert_eq!(bench.settled.len(), 40);
    assert!(bench.settled.iter().all(|(_, how)| *how == Settlement::Expired) && bench.sent.is_empty());
}

#[test]
fn a_purge_drops_what_waits_and_leaves_what_is_under_way_or_comes_later() {
    let mut book = book(&[("p", None, 3), ("q", None, 3)]);
    let mut bench = Bench::new(&book);
    let (p, q) = (lane(&[("p", 1)]), lane(&[("q", 1)]));
    bench.fill(&p, 0..500);
    bench.fill(&q, 1000..1010);
    bench.announce(&p);
    bench.announce(&q);
    assert_eq!(bench.sent_of(&p), 3);
    let mut effects = Vec::new();
    let purge = bench.planner.purge(&testing::id("p"), bench.now, &mut effects);
    bench.carry_out(effects);
    bench.pass(ms(10));
    assert_eq!(bench.planner.take_purged(), [(purge, 497)]);
    assert_eq!(bench.settled.len(), 497);
    assert!(bench.settled.iter().all(|(_, how)| *how == Settlement::Cancelled));
    (0..3).for_each(|nth| bench.finish(nth, FINE));
    bench.now = bench.now + ms(1);
    let mut late = super::entry(&p, 7000);
    late.id = crate::event::EventId::new(bench.now.as_millis(), 7000);
    bench.waiting.entry(p.clone()).or_default().push(late);
    bench.announce(&p);
    assert_eq!(bench.sent_of(&p), 4, "what came later goes");

    paused(&mut book, None);
    bench.rule(&book);
    bench.fill(&p, 8000..8100);
    bench.announce(&p);
    let mut effects = Vec::new();
    let purge = bench.planner.purge(&testing::id("p"), bench.now, &mut effects);
    bench.carry_out(effects);
    bench.pass(ms(10));
    assert_eq!(bench.planner.take_purged(), [(purge, 100)], "also what is held");
    let empty = bench.planner.purge(&testing::id("none"), bench.now, &mut Vec::new());
    assert_eq!(bench.planner.take_purged(), [(empty, 0)]);
}

#[test]
fn a_pause_does_not_hide_what_the_endpoint_asked_for() {
    let mut book = book(&[("p", None, 100)]);
    let mut bench = Bench::new(&book);
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..2);
    bench.announce(&p);
    bench.finish(0, Outcome::Retry { cause: Cause::Status(429), retry_after: Some(Duration::from_secs(30)) });
    paused(&mut book, None);
    bench.rule(&book);
    bench.finish(1, FINE);
    bench.pass(ms(1_000));
    book.resume(&testing::id("p")).expect("known");
    bench.rule(&book);
    bench.fill(&p, 5..6);
    bench.announce(&p);
    assert_eq!(bench.sent_of(&p), 2);
}

#[test]
fn a_purge_ends_although_more_comes_than_is_read_ahead() {
    let mut book = book(&[("p", None, 3)]);
    paused(&mut book, None);
    let mut bench = Bench::new(&book);
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..500);
    bench.announce(&p);
    for n in 0..4_000 {
        let mut late = super::entry(&p, 7_000 + n);
        late.id = crate::event::EventId::new(START.as_millis() + 10, 7_000 + n);
        bench.waiting.entry(p.clone()).or_default().push(late);
    }
    let mut effects = Vec::new();
    let purge = bench.planner.purge(&testing::id("p"), bench.now, &mut effects);
    bench.carry_out(effects);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.settled.len(), 500);
    assert_eq!(bench.planner.take_purged(), [(purge, 500)]);
}

#[test]
fn a_purge_waits_for_a_retry_that_is_not_there_yet_without_asking_all_the_time() {
    let mut bench = Bench::new(&book(&[("p", None, 3)]));
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..1);
    bench.announce(&p);
    bench.finish(0, Outcome::Retry { cause: Cause::Timeout, retry_after: Some(Duration::from_secs(30)) });
    let before = bench.loads;
    let mut effects = Vec::new();
    bench.planner.purge(&testing::id("p"), bench.now, &mut effects);
    bench.carry_out(effects);
    bench.step(Input::Tick);
    assert!(bench.loads - before < 5, "{} pages at one moment", bench.loads - before);
}

#[test]
fn what_an_unknown_generation_governs_is_neither_sent_nor_drained_and_goes_once_it_is_known() {
    let mut known = book(&[("p", None, 100), ("q", None, 100)]);
    known.remove(&testing::id("q"), START, Duration::ZERO).expect("there");
    known.expire(START);
    let (unknown, ended) = (lane(&[("r", 1)]), lane(&[("q", 1)]));
    let mut bench = Bench::new(&known);
    for lane in [&unknown, &ended] {
        bench.fill(lane, 0..30);
        bench.announce(lane);
    }
    bench.pass(Duration::from_secs(3600));
    assert_eq!(bench.sent.len(), 0);
    assert_eq!(bench.settled.len(), 30, "the control: what has ended is drained");
    assert!(bench.settled.iter().all(|(_, settlement)| *settlement == Settlement::Drained));
    let figures = bench.planner.figures(bench.now);
    let holds: Vec<_> = figures.held.iter().map(|(lane, hold)| (lane.key().clone(), hold.reason)).collect();
    assert_eq!(holds, [(unknown.clone(), HoldReason::Generation)]);

    let test = crate::policy::Origin::new("test");
    known.put(&test, &testing::id("r"), testing::spec("https://r.org/*", 100.0)).expect("free");
    bench.rule(&known);
    bench.pass(ms(2_000));
    assert_eq!(bench.sent_of(&unknown), 30);
}

#[test]
fn a_store_that_is_held_is_left_alone() {
    for held in [true, false] {
        let mut bench = Bench::new(&book(&[("p", None, 100)]));
        bench.planner.held = held;
        let live = lane(&[("p", 1)]);
        bench.fill(&live, 0..30);
        bench.announce(&live);
        bench.pass(Duration::from_secs(7 * 3600));
        let moved = (bench.loads > 0, bench.sent.len() + bench.settled.len());
        assert_eq!(moved, if held { (false, 0) } else { (true, 30) });
    }
}
