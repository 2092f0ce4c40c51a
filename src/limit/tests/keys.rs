//! Limits told apart by label values: counters of their own, found again, and forgotten when they are empty.

use super::{drain, go, lane_of, ms, paced, policy, rules, set, start};
use crate::limit::Gate;
use crate::policy::Limits;

fn scoped(gate: &mut Gate, limits: &Limits) {
    gate.set(&policy("p"), rules(limits, &["org", "datamart"]), ms(0));
}

fn labels(n: usize) -> [(&'static str, String); 2] {
    [("org", format!("o{}", n / 10)), ("datamart", format!("d{n}"))]
}

fn lane_for(n: usize) -> crate::event::Lane {
    let labels = labels(n);
    lane_of(&["p"], &[(labels[0].0, &labels[0].1), (labels[1].0, &labels[1].1)])
}

#[test]
fn each_combination_has_counters_of_its_own() {
    let mut gate = Gate::new();
    scoped(&mut gate, &paced(50.0));
    set(&mut gate, "all", &paced(70.0), ms(0));
    let both = |n: usize| lane_of(&["all", "p"], &[("datamart", &format!("d{n}")), ("org", "o")]);
    let lanes: Vec<_> = (0..3).map(|n| gate.bind(&both(n), ms(0))).collect();
    let mut started = [0; 3];
    for tick in 0..1000 {
        // They take turns, as in the planner.
        for turn in 0..3 {
            let lane = (tick as usize + turn) % 3;
            started[lane] += usize::from(start(&mut gate, &lanes[lane], ms(tick)));
        }
    }
    assert!(started.iter().all(|count| (1..=50).contains(count)), "{started:?}");
    assert!((69..=70).contains(&started.iter().sum::<usize>()), "{started:?}");
    let keys: Vec<_> = gate.figures_of(&policy("p"), None, 2, ms(1000)).into_iter().map(|f| f.key).collect();
    assert_eq!(keys, ["datamart=d0;org=o".into(), "datamart=d1;org=o".into()]);
    let rest = gate.figures_of(&policy("p"), Some("datamart=d1;org=o"), 9, ms(1000));
    assert_eq!(rest.len(), 1);
}

#[test]
fn lanes_with_the_same_values_share_their_counters() {
    let mut gate = Gate::new();
    gate.set(&policy("p"), rules(&paced(1.0), &["org"]), ms(0));
    let one = gate.bind(&lane_of(&["p"], &[("org", "a"), ("fairness_key", "x")]), ms(0));
    let other = gate.bind(&lane_of(&["p"], &[("org", "a"), ("fairness_key", "y")]), ms(0));
    let elsewhere = gate.bind(&lane_of(&["p"], &[("org", "b")]), ms(0));
    assert!(start(&mut gate, &one, ms(0)));
    assert!(!start(&mut gate, &other, ms(999)) && start(&mut gate, &elsewhere, ms(999)));
    assert!(start(&mut gate, &other, ms(1000)));
}

#[test]
fn idle_keys_are_forgotten_when_they_are_empty_and_not_before() {
    let mut gate = Gate::new();
    scoped(&mut gate, &paced(2.0));
    for n in 0..1000 {
        let lane = gate.bind(&lane_for(n), ms(0));
        assert!(start(&mut gate, &lane, ms(0)));
        gate.unbind(&lane);
    }
    (0..100).for_each(|_| gate.forget_idle(ms(999)));
    assert_eq!(gate.limiters(), 1000);
    let again = gate.bind(&lane_for(7), ms(999));
    assert_eq!(gate.next_idle(), Some(ms(1000)));
    (0..100).for_each(|_| gate.forget_idle(ms(1000)));
    assert_eq!((gate.limiters(), gate.next_idle()), (1, None));
    assert!(start(&mut gate, &again, ms(1000)));
}

#[test]
fn a_key_in_use_is_kept_until_its_call_ends() {
    let mut gate = Gate::new();
    scoped(&mut gate, &paced(2.0));
    let lane = gate.bind(&lane_for(0), ms(0));
    let mut permit = go(&mut gate, &lane, ms(0)).expect("room");
    gate.confirm(&mut permit, ms(0)).expect("in time");
    gate.unbind(&lane);
    gate.forget_idle(ms(60_000));
    assert_eq!(gate.limiters(), 1);
    let _ = gate.release(permit);
    gate.forget_idle(ms(60_000));
    assert_eq!(gate.limiters(), 0);
}

#[test]
fn an_edit_reaches_every_key_and_keeps_what_it_used() {
    let mut gate = Gate::new();
    scoped(&mut gate, &paced(200.0));
    let lanes: Vec<_> = (0..5).map(|n| gate.bind(&lane_for(n), ms(0))).collect();
    let before: Vec<usize> = lanes.iter().map(|lane| drain(&mut gate, lane, 0, 500)).collect();
    assert!(before.iter().all(|count| (99..=102).contains(count)), "{before:?}");
    scoped(&mut gate, &paced(100.0));
    assert!(lanes.iter().all(|lane| drain(&mut gate, lane, 500, 990) < 3));
}
