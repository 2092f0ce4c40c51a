//! Bounds on what another policy counts, limits of single label values, closed ones, and the order in which they are asked.

use std::time::Duration;

use super::{START, decide, lane_of, policy, start, windowed};
use crate::clock::Timestamp;
use crate::limit::{Binding, Decision, Gate, Kind, Rules, STALE_AFTER};
use crate::policy::{Family, Limits, Overrides, Period, Quota, Scope};

fn refusing(limits: Limits, rank: u8, scope: &[&str]) -> Rules {
    Rules { rank, ..Rules::new(limits, Family::Refuse, Scope::new(scope).expect("valid")) }
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
    let endpoint = |limits| Rules { counts_on: Some(keys.clone()), ..refusing(limits, 3, &["key"]) };
    gate.set(&policy("a"), endpoint(Limits::default()), START);
    gate.set(&policy("b"), endpoint(bound), START);
    gate.set(&keys, Rules { overrides, ..refusing(Limits::closed(), 4, &["key"]) }, START);
    gate
}

fn started(gate: &mut Gate, lane: &Binding, most: usize, now: Timestamp) -> usize {
    (0..most).take_while(|_| start(gate, lane, now)).count()
}

fn refusal(gate: &mut Gate, lane: &Binding, now: Timestamp) -> Option<(String, Kind)> {
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
    assert_eq!(refusal(&mut gate, &b, START), Some(("b".to_owned(), Kind::Quota)));
    let figures = gate.figures_of(&policy("b"), None, 9, START);
    let shown = figures[0].counters.iter().map(|counter| (counter.kind, counter.used, counter.calls));
    assert_eq!(shown.collect::<Vec<_>>(), [(Kind::Quota, 500, 500)]);
    let (blocker, free_at) = gate.promise(&b, START).expect_err("no room");
    assert_eq!((blocker.kind, free_at.as_millis() % 86_400_000), (Kind::Quota, 0));
    assert!(free_at > START && free_at <= START + day);
    assert_eq!(started(&mut gate, &a, 1000, START), 500, "the other goes on");
    assert_eq!(refusal(&mut gate, &a, START), Some(("keys".to_owned(), Kind::Quota)));
    assert_eq!(refusal(&mut gate, &b, START), Some(("b".to_owned(), Kind::Quota)), "the lower rank names it");
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
        assert_eq!(refusal(&mut gate, &lane, START), Some(("keys".to_owned(), Kind::Closed)), "{key}");
        assert_eq!(gate.promise(&lane, START).map_err(|(_, at)| at), Err(Timestamp::MAX));
    }
    let known = gate.bind(&lane("known"), START);
    assert!(start(&mut gate, &known, START));
    // What waits for its start when the key is shut is turned away as well.
    let shut = Rules { ..refusing(Limits::closed(), 4, &["key"]) };
    gate.set(&policy("keys"), shut, START);
    assert_eq!(refusal(&mut gate, &known, START), Some(("keys".to_owned(), Kind::Closed)));
}
