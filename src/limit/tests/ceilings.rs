//! Bounds on what another policy counts, limits of single label values, closed ones, and the order in which they are
//! asked.

use std::time::Duration;

use super::{START, decide, lane_of, policy, start, windowed};
use crate::clock::Timestamp;
use crate::limit::{Binding, Decision, Gate, HistoryGap, LimitKind, STALE_AFTER};
use crate::policy::{Family, Limits, Overrides, Period, Quota, Scope, Spec, Window};

fn refusing(limits: Limits, rank: u8, scope: &[&str]) -> Spec {
    let scope = Scope::new(scope).expect("valid");
    Spec { family: Family::Refuse, scope, rank, ..Spec::new(Vec::new(), limits) }
}

fn daily(calls: i64) -> Limits {
    Limits { quota: Quota::new(calls, Period::Day).ok(), ..Limits::default() }
}

/// A service that counts each key's calls, two endpoints of it, one with a lower bound on the same count.
fn service(bound: Limits, counter: Limits) -> Gate {
    let mut gate = Gate::new();
    let keys = policy("keys");
    let overrides = Overrides::new(
        &Scope::new(&["key"]).expect("valid"),
        [(vec!["known".into()], counter), (vec!["off".into()], Limits::closed())],
    );
    let endpoint = |limits| Spec { bounds_on: Some(keys.clone()), ..refusing(limits, 3, &["key"]) };
    gate.set(&policy("a"), endpoint(Limits::default()), START);
    gate.set(&policy("b"), endpoint(bound), START);
    gate.set(&keys, Spec { overrides, ..refusing(Limits::closed(), 4, &["key"]) }, START);
    gate
}

fn started(gate: &mut Gate, lane: &Binding, most: usize, now: Timestamp) -> usize {
    (0..most).take_while(|_| start(gate, lane, now)).count()
}

fn refusal(gate: &mut Gate, lane: &Binding, now: Timestamp) -> Option<(String, LimitKind)> {
    match decide(gate, lane, now) {
        Decision::Refuse(blocker) => {
            gate.whose(blocker.limiter).map(|(policy, _)| (policy.to_string(), blocker.kind))
        }
        _ => None,
    }
}

#[test]
fn a_ceiling_is_tried_against_what_all_of_them_used() {
    let mut gate = service(daily(500), daily(1000));
    let (a, b) = (lane_of(&["a", "keys"], &[("key", "known")]), lane_of(&["b", "keys"], &[("key", "known")]));
    let (a, b) = (gate.bind(&a, START), gate.bind(&b, START));
    assert_eq!(started(&mut gate, &b, 100, START), 100);
    assert_eq!(started(&mut gate, &a, 400, START), 400);
    let day = Duration::from_secs(86_400);
    assert_eq!(refusal(&mut gate, &b, START), Some(("b".to_owned(), LimitKind::Quota)));
    let figures = gate.figures_of(&policy("b"), None, 9, START);
    let shown = figures[0].counters.iter().map(|counter| (counter.kind, counter.used, counter.calls));
    assert_eq!(shown.collect::<Vec<_>>(), [(LimitKind::Quota, 500, 500)]);
    let (blocker, free_at) = gate.promise(&b, START).expect_err("no room");
    assert_eq!((blocker.kind, free_at.as_millis() % 86_400_000), (LimitKind::Quota, 0));
    assert!(free_at > START && free_at <= START + day);
    assert_eq!(started(&mut gate, &a, 1000, START), 500, "the other goes on");
    assert_eq!(refusal(&mut gate, &a, START), Some(("keys".to_owned(), LimitKind::Quota)));
    assert_eq!(
        refusal(&mut gate, &b, START),
        Some(("b".to_owned(), LimitKind::Quota)),
        "the lower rank names it"
    );
    assert_eq!(started(&mut gate, &b, 1000, START + day), 500, "a new day");
}

#[test]
fn a_ceiling_on_a_window_slides_with_it_and_minds_promises() {
    let mut gate = service(windowed(2, 1000), windowed(5, 1000));
    let (a, b) = (lane_of(&["a", "keys"], &[("key", "known")]), lane_of(&["b", "keys"], &[("key", "known")]));
    let (a, b) = (gate.bind(&a, START), gate.bind(&b, START));
    assert!(start(&mut gate, &a, START));
    let later = START + Duration::from_millis(300);
    gate.promise(&a, later).expect("room for four more");
    let (blocker, _) = gate.promise(&b, later).expect_err("one started, one promised");
    assert_eq!(gate.whose(blocker.limiter).map(|(policy, _)| policy.as_str()), Some("b"));
    gate.redeem(&a, 1);
    assert!(start(&mut gate, &b, later));
    let (_, free_at) = gate.promise(&b, later).expect_err("two in the window");
    let first_leaves = START + Duration::from_secs(1);
    assert!(free_at >= first_leaves && free_at <= first_leaves + STALE_AFTER, "{free_at}");
    assert!(start(&mut gate, &b, free_at));
}

#[test]
fn closed_names_the_refusal_before_all_else_and_has_no_end() {
    let mut gate = service(windowed(1, 1000), windowed(1, 1000));
    let lane = |key: &str| lane_of(&["b", "keys"], &[("key", key)]);
    for key in ["off", "unknown"] {
        let lane = gate.bind(&lane(key), START);
        assert_eq!(refusal(&mut gate, &lane, START), Some(("keys".to_owned(), LimitKind::Closed)), "{key}");
        assert_eq!(gate.promise(&lane, START).map_err(|(_, at)| at), Err(Timestamp::MAX));
    }
    let known = gate.bind(&lane("known"), START);
    assert!(start(&mut gate, &known, START));
    // What waits for its start when the key is shut is turned away as well.
    let shut = refusing(Limits::closed(), 4, &["key"]);
    gate.set(&policy("keys"), shut, START);
    assert_eq!(refusal(&mut gate, &known, START), Some(("keys".to_owned(), LimitKind::Closed)));
}

/// Counted, and not limited.
fn endless(length_ms: u64) -> Limits {
    Limits { window: Some(Window::counting(Duration::from_millis(length_ms))), ..Limits::default() }
}

#[test]
fn a_ceiling_on_an_unlimited_key_sees_calls_leave_while_others_come() {
    let mut gate = service(windowed(5, 1000), endless(1000));
    let b = gate.bind(&lane_of(&["b", "keys"], &[("key", "known")]), START);
    // Two per second, under a bound of five per second.
    for nth in 0..20 {
        let now = START + Duration::from_millis(500 * nth);
        assert!(start(&mut gate, &b, now), "call {nth} is turned away");
    }
}

#[test]
fn an_edit_elsewhere_leaves_ceilings_on_unlimited_keys_open() {
    let mut gate = service(windowed(5, 1000), endless(1000));
    let b = gate.bind(&lane_of(&["b", "keys"], &[("key", "known")]), START);
    assert!(start(&mut gate, &b, START));
    // Another key is added to the service.
    let overrides = Overrides::new(
        &Scope::new(&["key"]).expect("valid"),
        [(vec!["known".into()], endless(1000)), (vec!["new".into()], endless(1000))],
    );
    gate.set(&policy("keys"), Spec { overrides, ..refusing(Limits::closed(), 4, &["key"]) }, START);
    assert!(start(&mut gate, &b, START + Duration::from_millis(10)));
}

fn keyed(rows: Vec<(&str, Limits)>) -> Spec {
    let rows = rows.into_iter().map(|(key, limits)| (vec![Box::from(key)], limits));
    let overrides = Overrides::new(&Scope::new(&["key"]).expect("valid"), rows);
    Spec { overrides, ..refusing(Limits::default(), 1, &["key"]) }
}

fn burst(gate: &mut Gate, key: &str, at_ms: u64) -> usize {
    let now = START + Duration::from_millis(at_ms);
    let lane = gate.bind(&lane_of(&["p"], &[("key", key)]), now);
    let count = started(gate, &lane, 100, now);
    gate.unbind(&lane);
    gate.forget_idle(now);
    count
}

#[test]
fn a_longer_window_of_one_key_brings_no_budget_back() {
    let mut gate = Gate::new();
    let long = || windowed(10, 60_000);
    gate.set(&policy("p"), keyed(vec![("a", windowed(10, 1000)), ("b", long())]), START);
    assert_eq!(burst(&mut gate, "a", 0), 10);
    gate.forget_idle(START + Duration::from_millis(5_000));
    gate.set(&policy("p"), keyed(vec![("a", long()), ("b", long())]), START + Duration::from_millis(5_000));
    assert_eq!(burst(&mut gate, "a", 6_000), 0, "ten started six seconds ago");
}

#[test]
fn a_key_that_is_taken_out_and_put_back_has_no_fresh_budget() {
    for out in [None, Some(Limits::closed())] {
        let mut gate = Gate::new();
        let long = || windowed(10, 60_000);
        let both = || keyed(vec![("a", long()), ("b", long())]);
        let at = |s: u64| START + Duration::from_secs(s);
        gate.set(&policy("p"), both(), at(0));
        let lane = gate.bind(&lane_of(&["p"], &[("key", "a")]), at(0));
        assert_eq!(started(&mut gate, &lane, 100, at(0)), 10);
        // The lane is still there, say with a call in flight.
        let without = out.clone().map(|out| ("a", out)).into_iter().chain([("b", long())]).collect();
        gate.set(&policy("p"), keyed(without), at(1));
        gate.unbind(&lane);
        gate.forget_idle(at(2));
        gate.set(&policy("p"), both(), at(5));
        assert_eq!(burst(&mut gate, "a", 6_000), 0, "ten started six seconds ago; out: {out:?}");
    }
}

#[test]
fn a_bound_that_becomes_a_counter_is_silent_for_what_went_before() {
    let mut gate = Gate::new();
    let own = || refusing(windowed(10, 60_000), 3, &["key"]);
    let bound = || Spec { bounds_on: Some(policy("q")), ..own() };
    gate.set(&policy("q"), refusing(windowed(1000, 60_000), 4, &["key"]), START);
    gate.set(&policy("p"), bound(), START);
    assert_eq!(burst(&mut gate, "a", 0), 10);
    gate.forget_idle(START + Duration::from_millis(100));
    gate.set(&policy("p"), own(), START + Duration::from_millis(5_000));
    assert_eq!(burst(&mut gate, "a", 6_000), 0, "ten started six seconds ago");
}

#[test]
fn a_kill_forfeits_little_of_a_bound_on_an_unlimited_key() {
    let endless = || Limits { quota: Some(Quota::counting(Period::Day)), ..Limits::default() };
    let mut gate = service(daily(500), endless());
    let a = gate.bind(&lane_of(&["a", "keys"], &[("key", "known")]), START);
    let mut record = Vec::new();
    let mut starts = 0;
    for _ in 0..100_000 {
        let decision = gate.decide(&a, false, START);
        let reservations = gate.take_reservations();
        record.extend(reservations.iter().map(|made| (made.name.clone(), made.consumed)));
        reservations.iter().for_each(|made| drop(gate.confirmed(made, true, START)));
        if let Decision::Go(mut permit) = decision {
            gate.confirm(&mut permit, START).expect("in time");
            let _ = gate.release(permit);
            starts += 1;
        }
        if starts == 300 {
            break;
        }
    }
    let gap = HistoryGap { before: START, on_record_before: Timestamp::ZERO };
    let mut after = Gate::after(gap, START, record, []);
    let keys = policy("keys");
    let scope = Scope::new(&["key"]).expect("valid");
    let overrides = Overrides::new(&scope, [(vec!["known".into()], endless())]);
    after.set(
        &policy("b"),
        Spec { bounds_on: Some(keys.clone()), ..refusing(daily(500), 3, &["key"]) },
        START,
    );
    after.set(&keys, Spec { overrides, ..refusing(Limits::closed(), 4, &["key"]) }, START);
    let b = after.bind(&lane_of(&["b", "keys"], &[("key", "known")]), START);
    let left = started(&mut after, &b, 500, START + Duration::from_secs(5));
    assert!((200 - 2 * 500 / 16..=200).contains(&left), "{left} of 200");
}

#[test]
fn a_new_key_begins_at_once_beside_those_that_are_busy() {
    let mut gate = Gate::new();
    gate.set(&policy("p"), keyed(vec![("a", windowed(10, 60_000))]), START);
    assert_eq!(burst(&mut gate, "a", 0), 10);
    gate.set(&policy("p"), keyed(vec![("a", windowed(10, 60_000)), ("b", windowed(5, 60_000))]), START);
    assert_eq!((burst(&mut gate, "a", 100), burst(&mut gate, "b", 100)), (0, 5));
}

#[test]
fn what_is_counted_without_a_limit_is_kept_in_bounded_memory() {
    let mut gate = service(windowed(5, 1000), endless(1000));
    let a = gate.bind(&lane_of(&["a", "keys"], &[("key", "known")]), START);
    let b = gate.bind(&lane_of(&["b", "keys"], &[("key", "known")]), START);
    assert_eq!(started(&mut gate, &a, 70_000, START), 70_000);
    assert_eq!(started(&mut gate, &b, 9, START + Duration::from_millis(999)), 0);
    assert_eq!(started(&mut gate, &b, 9, START + Duration::from_millis(1010)), 5);
}
