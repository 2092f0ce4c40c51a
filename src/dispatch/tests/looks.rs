//! What a look at all lanes finds: lanes that stand still without a reason, and events near the end of their life.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Bench, FINE, START, book, entry, lane, ms};
use crate::dispatch::planner::looks::{Looks, STALLED_AFTER};
use crate::dispatch::shares::Shares;
use crate::dispatch::turns::Turns;
use crate::dispatch::{BreakerPolicy, Input};
use crate::event::{Cause, LaneKey, Outcome};
use crate::policy::{Pause, testing};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// Looks once a second for so long.
fn look_on(bench: &mut Bench, time: Duration) -> Looks {
    let mut last = Looks::default();
    for _ in 0..time.as_secs() {
        bench.pass(SECOND);
        last = bench.planner.look(bench.now);
    }
    last
}

fn of(names: &[&str]) -> BTreeMap<String, u64> {
    names.iter().map(|name| ((*name).to_owned(), 1)).collect()
}

fn failed(retry_after: Duration) -> Outcome {
    Outcome::Retry { cause: Cause::Status(503), retry_after: Some(retry_after) }
}

#[test]
fn a_lane_that_has_lost_its_turn_is_stalled_after_a_minute_whatever_holds_others() {
    let mut policies = book(&[("p", Some(2.0), 100), ("also", None, 100), ("paused", None, 100)]);
    let pause = Pause { reason: "a reason".to_owned(), since: START, until: None };
    policies.pause(&testing::id("paused"), pause).expect("known");
    let mut bench = Bench::new(&policies);
    let (both, paused) = (lane(&[("also", 1), ("p", 1)]), lane(&[("paused", 1)]));
    bench.fill(&both, 0..200);
    bench.fill(&paused, 1000..1100);
    bench.announce(&both);
    bench.announce(&paused);
    assert_eq!(look_on(&mut bench, Duration::from_secs(30)).stalled, of(&[]), "the control: calls start");
    let sent = bench.sent_of(&both);
    assert!(sent > 50, "{sent}");
    bench.planner.roster.order_mut().turns = Turns::default();
    assert_eq!(look_on(&mut bench, STALLED_AFTER).stalled, of(&[]), "not yet");
    assert_eq!(look_on(&mut bench, SECOND).stalled, of(&["also", "p"]), "under each of its policies");
    assert_eq!(bench.sent_of(&both), sent);
}

#[test]
fn a_page_that_never_comes_stalls_its_lane() {
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    let lane = lane(&[("p", 1)]);
    bench.planner.step(Input::LaneReady(lane.clone()), bench.now, &mut Vec::new());
    assert_eq!(look_on(&mut bench, STALLED_AFTER + SECOND).stalled, of(&["p"]));
    let loaded = crate::queue::LoadedPage { entries: vec![entry(&lane, 1)], ..Default::default() };
    bench.step(Input::Loaded(lane.clone(), loaded));
    assert_eq!((look_on(&mut bench, SECOND).stalled, bench.sent_of(&lane)), (of(&[]), 1), "until it does");
}

/// One lane for each reason why nothing starts.
#[test]
fn a_lane_that_something_known_keeps_back_is_not_stalled() {
    let names = ["slow", "slots", "paused", "asked", "broken", "empty"];
    let pace = |name| if name == "slow" { Some(0.001) } else { None };
    let mut policies = book(&names.map(|name| (name, pace(name), if name == "slots" { 2 } else { 100 })));
    let pause = Pause { reason: "a reason".to_owned(), since: START, until: None };
    policies.pause(&testing::id("paused"), pause).expect("known");
    let mut bench = Bench::new(&policies);
    bench.planner.starts.options.breaker = BreakerPolicy { failures: 1, min_hold: HOUR, max_hold: HOUR };
    let lanes: Vec<LaneKey> = names.iter().map(|name| lane(&[(name, 1)])).collect();
    for (n, lane) in lanes.iter().enumerate() {
        let first = n as u128 * 1000;
        bench.fill(lane, first..first + if n == 5 { 1 } else { 200 });
        bench.announce(lane);
    }
    for (nth, outcome) in [
        (&lanes[3], failed(HOUR)),
        (&lanes[4], Outcome::Retry { cause: Cause::Connect, retry_after: None }),
        (&lanes[5], FINE),
    ] {
        let nth = bench.sent.iter().position(|(_, of, _)| of == nth).expect("sent");
        bench.finish(nth, outcome);
    }
    assert_eq!(look_on(&mut bench, STALLED_AFTER * 3).stalled, of(&[]));
    let waiting: usize = bench.planner.figures(bench.now).read_ahead;
    assert!(waiting > 100, "the control: events wait: {waiting}");
}

#[test]
fn lanes_without_a_share_of_the_calls_are_not_stalled() {
    let mut bench = Bench::new(&book(&[("p", None, 100), ("q", None, 100)]));
    bench.planner.roster.order_mut().shares = Shares::new(2);
    for (n, name) in ["p", "q"].into_iter().enumerate() {
        let lane = lane(&[(name, 1)]);
        bench.fill(&lane, n as u128 * 100..n as u128 * 100 + 50);
        bench.announce(&lane);
    }
    assert_eq!(look_on(&mut bench, STALLED_AFTER * 3).stalled, of(&[]));
    assert_eq!(bench.sent.len(), 2, "the control");
}

#[test]
fn an_event_that_waits_is_near_its_end_when_two_thirds_of_its_life_are_over() {
    let mut policies = book(&[("p", None, 100), ("q", None, 100)]);
    for name in ["p", "q"] {
        let pause = Pause { reason: "a reason".to_owned(), since: START, until: None };
        policies.pause(&testing::id(name), pause).expect("known");
    }
    let mut bench = Bench::new(&policies);
    let (plain, delayed) = (lane(&[("p", 1)]), lane(&[("q", 1)]));
    bench.fill(&plain, 0..3);
    bench.announce(&plain);
    let due_at = START + HOUR * 3;
    bench.pass(HOUR * 3);
    let mut late = entry(&delayed, 11);
    (late.due_at, late.event.due_at) = (Some(due_at), Some(due_at));
    bench.waiting.entry(delayed.clone()).or_default().push(late);
    bench.announce(&delayed);
    let near = |bench: &mut Bench| bench.planner.look(bench.now).near_expiry;
    bench.pass(HOUR - ms(1));
    assert_eq!(near(&mut bench), of(&[]), "both wait");
    bench.pass(ms(1));
    assert_eq!(near(&mut bench), of(&["p"]), "4 of 6 hours");
    bench.pass(HOUR);
    assert_eq!(near(&mut bench), of(&["p", "q"]), "2 of the 3 hours after its delay");
    bench.pass(HOUR);
    assert_eq!((near(&mut bench), bench.settled.len()), (of(&[]), 4), "all have ended");
}

#[test]
fn a_retry_is_near_its_end_while_it_is_put_off_and_while_it_is_tried() {
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    let lane = lane(&[("p", 1)]);
    let near = |bench: &mut Bench| bench.planner.look(bench.now).near_expiry;
    bench.fill(&lane, [1]);
    bench.announce(&lane);
    bench.pass(HOUR);
    bench.finish(0, failed(HOUR));
    assert_eq!(near(&mut bench), of(&[]), "it is due after 2 of 6 hours");
    let again = |bench: &mut Bench, due_at| {
        bench.now = due_at;
        let mut retry = entry(&lane, 1);
        (retry.due_at, retry.tries) = (Some(due_at), crate::event::Tries::of(1));
        bench.waiting.entry(lane.clone()).or_default().push(retry);
        bench.announce(&lane);
    };
    again(&mut bench, START + HOUR * 2);
    assert_eq!((bench.sent.len(), near(&mut bench)), (2, of(&[])));
    bench.now = START + HOUR * 7 / 2;
    bench.finish(1, failed(HOUR));
    assert_eq!(near(&mut bench), of(&["p"]), "it is due after 4.5 of 6 hours");
    bench.now = START + HOUR * 4;
    assert_eq!(near(&mut bench), of(&["p"]), "until then");
    again(&mut bench, START + HOUR * 9 / 2);
    bench.now = bench.now + Duration::from_secs(60);
    assert_eq!((bench.sent.len(), near(&mut bench)), (3, of(&["p"])), "while the call is under way");
    bench.finish(2, FINE);
    assert_eq!(near(&mut bench), of(&[]));
}
