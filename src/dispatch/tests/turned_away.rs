//! Refusing policies, promises, and limits that wait for their record.

use super::{Bench, FINE, book, lane, ms};
use crate::event::{EventId, Lane, LaneKey, Settlement};
use crate::limit::LimitKind;
use crate::policy::{Book, Family, Origin, Pause, Period, Quota, Window, testing};
use crate::store::FlightsFound;

/// A cap of three calls per second beside a pace that waits.
fn capped() -> Book {
    let mut book = book(&[("cap", None, 100), ("pace", Some(10.0), 100)]);
    let mut spec = book.get(&testing::id("cap")).and_then(|policy| policy.ruling().cloned()).expect("rules");
    spec.family = Family::Refuse;
    spec.limits.window = Window::new(3, 1000).ok();
    book.put(&Origin::new("test"), &testing::id("cap"), spec).expect("deployed");
    book
}

fn parsed(key: &LaneKey) -> Lane {
    Lane::parse(key).expect("a lane")
}

fn dead(bench: &Bench, reason: &str) -> usize {
    let is =
        |how: &Settlement| matches!(how, Settlement::Dead { reason: given, attempts: 0 } if given == reason);
    bench.settled.iter().filter(|(_, how)| is(how)).count()
}

#[test]
fn what_is_over_a_cap_when_its_turn_comes_ends_as_a_dead_letter() {
    let mut bench = Bench::new(&capped());
    let cap = lane(&[("cap", 1)]);
    bench.fill(&cap, 0..10);
    bench.announce(&cap);
    assert_eq!((bench.sent_ids(), dead(&bench, "over_window")), (vec![0, 1, 2], 7));
}

#[test]
fn behind_a_pace_a_cap_is_tried_only_when_the_turn_comes() {
    let mut bench = Bench::new(&capped());
    let both = lane(&[("cap", 1), ("pace", 1)]);
    bench.fill(&both, 0..10);
    bench.announce(&both);
    bench.pass(ms(2_500));
    // Three pass the cap at the pace; what it refuses uses no turn, so that the next one has it at once.
    assert_eq!((bench.sent_ids(), dead(&bench, "over_window")), (vec![0, 1, 2], 7));
    assert_eq!(bench.now, super::START + ms(2_500));
}

#[test]
fn promises_are_kept_against_those_who_have_none() {
    let mut bench = Bench::new(&capped());
    let cap = lane(&[("cap", 1)]);
    let promise = |bench: &mut Bench| bench.planner.promise(&parsed(&cap), bench.now);
    assert!((0..3).all(|_| promise(&mut bench) == Ok(true)));
    let refusal = promise(&mut bench).expect_err("three are promised");
    assert_eq!((refusal.policy, refusal.kind), (testing::id("cap"), LimitKind::Window));
    bench.planner.withdraw(&cap, 1, bench.now);
    assert_eq!(promise(&mut bench), Ok(true));
    bench.fill(&cap, 0..3);
    bench.announce(&cap);
    assert_eq!((bench.sent.len(), bench.settled.len()), (3, 0));
    (0..3).for_each(|nth| bench.finish(nth, FINE));
    bench.pass(ms(1_000));
    assert!((0..3).all(|_| promise(&mut bench) == Ok(true)), "the window is empty again");
    bench.planner.withdraw(&cap, 3, bench.now);
    assert_eq!(bench.planner.figures(bench.now).lanes, 0, "nothing is left behind");
    let pace = parsed(&lane(&[("cap", 1), ("pace", 1)]));
    assert_eq!(
        bench.planner.promise(&pace, bench.now),
        Ok(false),
        "a waiting policy tries nothing at the door"
    );
}

#[test]
fn a_stale_start_keeps_its_promise() {
    let mut bench = Bench::new(&capped());
    let cap = lane(&[("cap", 1)]);
    assert!((0..3).all(|_| bench.planner.promise(&parsed(&cap), bench.now) == Ok(true)));
    bench.fill(&cap, 0..3);
    bench.hold = Some(Vec::new());
    bench.announce(&cap);
    let held = bench.hold.take().expect("held");
    assert_eq!(held.len(), 3);
    bench.now = bench.now + ms(50);
    let mut effects = Vec::new();
    held.iter().for_each(|ticket| assert!(!bench.confirm(*ticket, &mut effects)));
    assert!(bench.planner.promise(&parsed(&cap), bench.now).is_err());
    bench.carry_out(effects);
    bench.pass(ms(5));
    assert_eq!((bench.sent_ids(), bench.settled.len()), (vec![0, 1, 2], 0));
}

#[test]
fn an_event_that_is_set_aside_uses_up_no_promise_of_another() {
    let mut bench = Bench::new(&capped());
    let cap = lane(&[("cap", 1)]);
    let of_before = EventId::new(super::START.as_millis(), 9);
    let found = FlightsFound { marks: true, set_aside: vec![of_before], ..FlightsFound::default() };
    bench.planner.suspect(&found, bench.now);
    assert!((0..3).all(|_| bench.planner.promise(&parsed(&cap), bench.now) == Ok(true)));
    bench.fill(&cap, [9]);
    bench.announce(&cap);
    let is_aside =
        |how: &Settlement| matches!(how, Settlement::Dead { reason, .. } if reason == "ended_process");
    assert!(bench.settled.len() == 1 && is_aside(&bench.settled[0].1), "{:?}", bench.settled);
    assert_eq!(bench.sent.len(), 0);
    assert!(bench.planner.promise(&parsed(&cap), bench.now).is_err(), "three are promised as before");
    bench.fill(&cap, 0..3);
    bench.announce(&cap);
    assert_eq!((bench.sent_ids(), bench.settled.len()), (vec![0, 1, 2], 1));
}

#[test]
fn a_quota_holds_over_many_turns_and_goes_on_with_its_period() {
    let mut book = book(&[("p", None, 1000)]);
    let mut spec = book.get(&testing::id("p")).and_then(|policy| policy.ruling().cloned()).expect("rules");
    spec.limits.quota = Quota::new(25, Period::Minute).ok();
    book.put(&Origin::new("test"), &testing::id("p"), spec).expect("deployed");
    let mut bench = Bench::new(&book);
    let p = lane(&[("p", 1)]);
    bench.fill(&p, 0..60);
    bench.announce(&p);
    assert_eq!(bench.sent.len(), 25);
    // The tests begin 20 seconds into a minute.
    bench.pass(ms(39_999));
    assert_eq!(bench.sent.len(), 25);
    bench.pass(ms(1));
    assert_eq!(bench.sent.len(), 50);
}

#[test]
fn promises_of_calls_that_were_dropped_with_their_policy_are_not_owed_for_ever() {
    let mut book = capped();
    let pause = Pause { reason: "a reason".to_owned(), since: super::START, until: None };
    book.pause(&testing::id("cap"), pause).expect("known");
    let mut bench = Bench::new(&book);
    let cap = lane(&[("cap", 1)]);
    assert!((0..3).all(|_| bench.planner.promise(&parsed(&cap), bench.now) == Ok(true)));
    bench.fill(&cap, 0..3);
    bench.announce(&cap);
    book.rest(&Origin::new("test"), &testing::id("cap"), bench.now, ms(5)).expect("deployed");
    bench.rule(&book);
    bench.pass(ms(100));
    assert_eq!((bench.sent.len(), bench.settled.len()), (0, 3));
    book.expire(bench.now);
    let spec = capped().get(&testing::id("cap")).and_then(|policy| policy.ruling().cloned()).expect("rules");
    book.put(&Origin::new("test"), &testing::id("cap"), spec).expect("idle");
    book.resume(&testing::id("cap")).expect("known");
    bench.rule(&book);
    bench.pass(ms(5_000));
    assert_eq!(bench.planner.figures(bench.now).lanes, 0);
    assert_eq!(bench.planner.promise(&parsed(&lane(&[("cap", 2)])), bench.now), Ok(true));
}
