//! Time in doubt: nothing ends because time has passed, until it is trusted again.

use super::*;
use crate::clock::{Clock, ClockMark, Leap, Script};
use crate::dispatch::{Endpoint, HoldReason, RetryPolicy, RetryRules};
use crate::policy::{Pause, UrlPattern};

const HOUR: Duration = Duration::from_secs(3600);
const TTL: Duration = Duration::from_secs(6 * 3600);

/// What ends a doubt that began at `START`, ten minutes later, with a wall clock that is `by` ahead.
fn leap(by: Duration) -> Leap {
    if by.is_zero() {
        return Leap::default();
    }
    let script = Script::new("another", START + by);
    let clock = Clock::scripted(&script);
    clock.begin(Some(&ClockMark::unknown(START)), Timestamp::ZERO, TTL);
    script.advance(Duration::from_secs(600));
    clock.trust().expect("in doubt")
}

fn doubtful(book: &Book) -> Bench {
    let mut bench = Bench::new(book);
    bench.planner.doubt_time();
    bench
}

fn trust(bench: &mut Bench, by: Duration) {
    bench.now = bench.now + by;
    bench.step(Input::TimeTrusted(leap(by)));
}

fn short_lived(bench: &mut Bench, lane: &LaneKey, ids: std::ops::Range<u128>) {
    bench.fill(lane, ids);
    for entry in bench.waiting.get_mut(lane).expect("filled") {
        entry.event.expires_at = START + ms(1_000);
    }
}

#[test]
fn what_has_outlived_its_time_is_kept_in_doubt_and_expires_when_time_is_trusted() {
    let lane = lane(&[("p", 1)]);
    for is_trusted in [false, true] {
        let mut bench = Bench::new(&book(&[("p", None, 100)]));
        if !is_trusted {
            bench.planner.doubt_time();
        }
        short_lived(&mut bench, &lane, 0..40);
        bench.fill(&lane, 100..105);
        bench.now = START + ms(1_000);
        bench.announce(&lane);
        bench.pass(ms(60_000));
        if is_trusted {
            assert_eq!(bench.settled.len(), 40, "the control");
            continue;
        }
        assert_eq!((bench.settled.len(), bench.sent_ids()), (0, (100..105).collect()));
        let held = bench.planner.figures(bench.now).held;
        assert_eq!(held.iter().map(|(_, hold)| hold.reason).collect::<Vec<_>>(), [HoldReason::Clock]);
        assert!(bench.planner.next_wake().is_none_or(|wake| wake > bench.now), "nobody is in a hurry");
        trust(&mut bench, Duration::ZERO);
        bench.pass(ms(1));
        assert_eq!(bench.settled.len(), 40);
        assert!(bench.settled.iter().all(|(_, how)| *how == Settlement::Expired));
        assert_eq!(bench.planner.figures(bench.now).held, []);
    }
}

#[test]
fn a_real_outage_expires_what_waited_and_spares_what_was_accepted_in_doubt() {
    let mut bench = doubtful(&book(&[("p", Some(0.001), 100)]));
    let lane = lane(&[("p", 1)]);
    let accepted = |at: Timestamp, n| Entry { id: EventId::new(at.as_millis(), n), ..entry(&lane, n) };
    let before = accepted(START - HOUR, 1);
    let in_doubt = accepted(START + ms(60_000), 2);
    // The first takes the only start there is.
    let first = accepted(START - HOUR, 0);
    bench.waiting.insert(lane.clone(), vec![first, before.clone(), in_doubt.clone()]);
    bench.now = START + Duration::from_secs(600);
    bench.announce(&lane);
    trust(&mut bench, HOUR * 8);
    bench.pass(ms(1_100));
    assert_eq!(bench.settled, [(before.id, Settlement::Expired)]);
    bench.pass(HOUR * 7);
    assert!(bench.sent.len() > 1, "the other one was sent when there was room");
}

#[test]
fn an_event_with_a_date_that_was_given_in_doubt_waits_for_its_end() {
    let lane = lane(&[("p", 1)]);
    // The doubt ends with a leap, or with a line that is an hour ahead of the right time.
    for (is_dated, by, ahead, expected) in [
        (false, HOUR * 8, Duration::ZERO, [true, true, true]),
        (true, HOUR * 8, Duration::ZERO, [false, true, true]),
        (true, Duration::ZERO, HOUR, [false, false, false]),
        (true, Duration::ZERO, ms(500), [false, true, true]),
    ] {
        let mut bench = doubtful(&book(&[("p", None, 100)]));
        bench.now = START + ms(10_000);
        bench.fill(&lane, [1]);
        for entry in bench.waiting.get_mut(&lane).expect("filled") {
            entry.due_at = Some(START + ms(9_000));
            entry.event.due_at = entry.due_at;
            entry.event.is_dated = is_dated;
            entry.event.expires_at = Timestamp::MAX;
        }
        bench.announce(&lane);
        bench.pass(ms(2_000));
        let in_doubt = bench.sent.len() == 1;
        bench.now = bench.now + by;
        bench.step(Input::TimeTrusted(Leap { ahead, ..leap(by) }));
        let at_once = bench.sent.len() == 1;
        bench.pass(ms(2_000));
        assert_eq!([in_doubt, at_once, bench.sent.len() == 1], expected, "{is_dated} {by:?} {ahead:?}");
        let put_off = bench.settled.iter().find_map(|(_, how)| match how {
            Settlement::Reschedule { due_at, .. } => Some(*due_at),
            _ => None,
        });
        assert_eq!(put_off, (ahead == HOUR).then(|| START + ms(9_000) + HOUR));
    }
}

#[test]
fn no_drain_and_no_pause_ends_in_doubt() {
    let mut all = book(&[("p", Some(0.001), 1), ("q", None, 1)]);
    let mut bench = doubtful(&all);
    let (p, q) = (lane(&[("p", 1)]), lane(&[("q", 1)]));
    all.rest(&Origin::new("test"), &testing::id("p"), START, HOUR).expect("deployed");
    let pause = Pause { reason: "x".to_owned(), since: START, until: Some(START + HOUR) };
    all.pause(&testing::id("q"), pause).expect("known");
    bench.rule(&all);
    for lane in [&p, &q] {
        bench.fill(lane, 0..5);
        for entry in bench.waiting.get_mut(lane).expect("filled") {
            entry.event.expires_at = Timestamp::MAX;
        }
        bench.announce(lane);
    }
    bench.pass(HOUR * 2);
    bench.rule(&all);
    assert_eq!((bench.settled.len(), bench.sent_of(&q)), (0, 0));
    assert!(bench.planner.next_wake().is_none_or(|wake| wake > bench.now), "nobody is in a hurry");
    trust(&mut bench, Duration::ZERO);
    bench.pass(ms(1));
    assert!(bench.settled.iter().filter(|(_, how)| *how == Settlement::Drained).count() >= 4);
    assert_eq!(bench.sent_of(&q), 1);
}

#[test]
fn a_call_that_fails_in_doubt_is_put_off_and_not_expired() {
    let lane = lane(&[("p", 1)]);
    for (is_trusted, ends) in [(false, false), (true, true)] {
        let mut bench = Bench::new(&book(&[("p", None, 10)]));
        if !is_trusted {
            bench.planner.doubt_time();
        }
        short_lived(&mut bench, &lane, 1..2);
        bench.announce(&lane);
        bench.now = START + ms(1_500);
        bench.finish(0, Outcome::Retry { cause: Cause::Timeout, retry_after: None });
        assert_eq!(bench.settled[0].1 == Settlement::Expired, ends);
        let doubted = match bench.settled[0].1 {
            Settlement::Reschedule { doubted_at, .. } => doubted_at,
            _ => None,
        };
        assert_eq!(doubted, (!is_trusted).then_some(bench.now), "a correction will move it");
    }
}

#[test]
fn the_edge_of_a_life_is_exact_to_the_millisecond() {
    let lane = lane(&[("p", 1)]);
    for (at, is_sent) in [(TTL - ms(1), true), (TTL, false), (TTL + ms(1), false)] {
        let mut bench = Bench::new(&book(&[("p", None, 10)]));
        bench.fill(&lane, [1]);
        bench.now = START + at;
        bench.announce(&lane);
        assert_eq!((bench.sent.len() == 1, bench.settled.is_empty()), (is_sent, is_sent), "{at:?}");
        if is_sent {
            // Under way at the edge: it may end, and counts once.
            bench.now = START + TTL + ms(5);
            bench.finish(0, FINE);
            bench.pass(HOUR);
            assert_eq!(bench.settled.len(), 1);
            assert_eq!(bench.settled[0].1, Settlement::Delivered);
        }
    }
}

/// What is left of the time for all tries is what it was, also for the call that is under way.
#[test]
fn a_leap_takes_nothing_from_the_time_for_the_tries_of_a_call_under_way() {
    let base = ms(100);
    let policy = RetryPolicy { base, ..RetryPolicy::default() };
    let rules = RetryRules { within: Some(ms(5_000)), ..RetryRules::of(policy) };
    let url = UrlPattern::parse("https://h.org/*").expect("valid");
    for leap in [ms(0), HOUR * 8] {
        let (mut bench, key) = (doubtful(&book(&[("p", None, 100)])), lane(&[("p", 1)]));
        let endpoint =
            Endpoint { name: "crm".into(), url: url.clone(), retry: rules.clone(), calls: Arc::default() };
        bench.endpoints = Endpoints::compile(vec![endpoint]).expect("small");
        // Its life is another matter.
        let mut call = entry(&key, 1);
        call.event.expires_at = START + HOUR * 48;
        bench.waiting.insert(key.clone(), vec![call]);
        bench.announce(&key);
        assert_eq!(bench.sent.len(), 1);
        bench.now = bench.now + ms(1_000);
        trust(&mut bench, leap);
        bench.finish(0, Outcome::Retry { cause: Cause::Closed, retry_after: None });
        let settled = bench.settled.pop().map(|(_, settlement)| settlement);
        assert!(matches!(settled, Some(Settlement::Reschedule { .. })), "{leap:?}: {settled:?}");
    }
}
