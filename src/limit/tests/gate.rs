//! Several limits at once, live changes, silence.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{START, bind, decide, drain, gate_with, go, knew, ms, paced, policy, set, windowed};
use crate::clock::Timestamp;
use crate::limit::permit::StalePermit;
use crate::limit::{Binding, Consumed, Decision, Gate, HistoryGap, LimitKind, STALE_AFTER};
use crate::policy::Limits;

fn slots(count: u32) -> Limits {
    Limits { slots: NonZeroU32::new(count), ..Limits::default() }
}

fn not_before(gate: &mut Gate, lane: &Binding, now: Timestamp) -> Timestamp {
    match decide(gate, lane, now) {
        Decision::NotBefore(at, blocker) => {
            assert_ne!(blocker.kind, LimitKind::Slots);
            at
        }
        other => panic!("expected NotBefore, got {other:?}"),
    }
}

#[test]
fn a_refusal_by_one_limit_takes_nothing_from_the_others() {
    let mut gate = Gate::new();
    set(&mut gate, "fast", &paced(5000.0), START);
    set(&mut gate, "slow", &paced(0.5), START);
    let both = bind(&mut gate, &["fast", "slow", "fast"]);
    let fast = bind(&mut gate, &["fast"]);
    assert_eq!(drain(&mut gate, &both, 0, 1), 1);
    for tick in 1..1000 {
        assert_eq!(not_before(&mut gate, &both, ms(tick)), ms(2000));
    }
    let figures = gate.figures(0, 9, ms(1000)).0;
    assert!(figures.iter().all(|figures| figures.counters.iter().all(|counter| counter.window_peak == 1)));
    assert!(drain(&mut gate, &fast, 1000, 2000) >= 4990);
}

#[test]
fn a_start_counts_from_when_it_has_left_not_from_its_confirmation() {
    for (left_ms, next_ms) in [(0, 2000), (40, 2040)] {
        let mut gate = Gate::new();
        set(&mut gate, "p", &paced(0.5), START);
        let lane = bind(&mut gate, &["p"]);
        let mut permit = go(&mut gate, &lane, START).expect("the first");
        gate.confirm(&mut permit, START).expect("in time");
        gate.under_way(&permit, ms(left_ms));
        assert_eq!(drain(&mut gate, &lane, 1, next_ms), 0);
        assert_eq!(drain(&mut gate, &lane, next_ms, next_ms + 1), 1, "left after {left_ms} ms");
    }
}

#[test]
fn slots_are_waited_for_and_told_when_free() {
    let mut gate = Gate::new();
    for name in ["a", "b", "c"] {
        set(&mut gate, name, &slots(2), START);
    }
    let all = bind(&mut gate, &["a", "b", "c"]);
    let b = bind(&mut gate, &["b"]);
    let first = go(&mut gate, &all, START).expect("room");
    let second = go(&mut gate, &b, START).expect("room");
    let Decision::Wait(blocker) = decide(&mut gate, &all, START) else { panic!("b is full") };
    assert_eq!((blocker.kind, gate.whose(blocker.limiter)), (LimitKind::Slots, Some((&policy("b"), ""))));
    let a = bind(&mut gate, &["a"]);
    let third = go(&mut gate, &a, START).expect("room in a");
    set(&mut gate, "b", &slots(1), START);
    assert_eq!(gate.release(second).iter().count(), 0, "one is in flight, one is allowed");
    assert_eq!(gate.release(first).iter().count(), 3);
    assert_eq!(gate.put_back(third).iter().count(), 1);
    assert!(gate.figures(0, 9, START).0.iter().all(|figures| figures.inflight == 0));
}

#[test]
fn a_stale_permit_starts_nothing_and_goes_back() {
    for limits in [paced(1.0), windowed(1, 1000)] {
        let (mut gate, lane) = gate_with(&limits);
        let mut permit = go(&mut gate, &lane, START).expect("room");
        let late = START + STALE_AFTER + Duration::from_nanos(1);
        assert_eq!(gate.confirm(&mut permit, late), Err(StalePermit));
        let _ = gate.put_back(permit);
        let mut permit = go(&mut gate, &lane, late).expect("as if never taken");
        assert_eq!(gate.confirm(&mut permit, late + STALE_AFTER), Ok(()));
        assert_eq!(gate.confirm(&mut permit, late + STALE_AFTER), Err(StalePermit), "one start per permit");
        let _ = gate.put_back(permit);
        assert_eq!(not_before(&mut gate, &lane, ms(500)), late + STALE_AFTER + Duration::from_secs(1));
    }
}

#[test]
fn a_lowered_pace_is_silent_until_its_window_has_room() {
    let (mut gate, lane) = gate_with(&paced(5000.0));
    assert!(drain(&mut gate, &lane, 0, 1000) >= 4975);
    set(&mut gate, "a", &paced(200.0), ms(1000));
    assert_eq!(drain(&mut gate, &lane, 1000, 1950), 0);
    let count = drain(&mut gate, &lane, 1950, 2950);
    assert!((190..=200).contains(&count), "{count}");
}

#[test]
fn a_pace_lowered_and_raised_again_gives_no_fresh_burst() {
    let (mut gate, lane) = gate_with(&paced(5000.0));
    let before = drain(&mut gate, &lane, 0, 500);
    let mut during = 0;
    for edit in 0..1000 {
        let pace = if edit % 2 == 0 { 200.0 } else { 5000.0 };
        set(&mut gate, "a", &paced(pace), ms(500));
        gate.remove(&policy("a"));
        set(&mut gate, "a", &paced(pace), ms(500));
        during += drain(&mut gate, &lane, 500, 501);
    }
    assert!(during <= 1, "{during} starts at one moment");
    assert!(before + during + drain(&mut gate, &lane, 501, 1000) <= 5000);
}

#[test]
fn a_raised_pace_counts_what_was_started() {
    let (mut gate, lane) = gate_with(&paced(200.0));
    let before = drain(&mut gate, &lane, 0, 1000);
    set(&mut gate, "a", &paced(300.0), ms(900));
    let after = drain(&mut gate, &lane, 1000, 1500);
    assert!((195..=200).contains(&before), "{before}");
    assert!((149..=155).contains(&after), "300/s for half a second, not {after}");
}

#[test]
fn silence_lasts_for_the_window_of_each_limit() {
    let mark = Consumed { count: 1, at: Timestamp::ZERO, over_at: Timestamp::MAX };
    let gap = HistoryGap { before: ms(0), on_record_before: Timestamp::ZERO };
    let long = windowed(5, 60_000);
    let knew = [knew("recorded", &long), knew("unmarked", &long)];
    let mut gate = Gate::after(gap, ms(0), [("mark recorded 60000".into(), mark)], knew);
    set(&mut gate, "second", &paced(200.0), START);
    set(&mut gate, "short", &windowed(5, 100), START);
    set(&mut gate, "recorded", &long, START);
    set(&mut gate, "unmarked", &long, START);
    set(&mut gate, "new", &long, START);
    set(&mut gate, "slots", &slots(5), START);
    for (name, free_ms) in
        [("second", 1000), ("short", 100), ("recorded", 0), ("unmarked", 60_000), ("new", 0), ("slots", 0)]
    {
        let lane = bind(&mut gate, &[name]);
        for tick in (0..free_ms).step_by(50) {
            assert_eq!(not_before(&mut gate, &lane, ms(tick)), ms(free_ms), "{name}");
        }
        assert!(go(&mut gate, &lane, ms(free_ms)).is_some(), "{name}");
    }
}

#[test]
fn a_binding_follows_a_policy_that_comes_and_goes() {
    let mut gate = Gate::new();
    let lane = bind(&mut gate, &["a"]);
    assert!((0..100).all(|_| go(&mut gate, &lane, START).is_some()), "unknown policies do not limit");
    set(&mut gate, "a", &paced(1.0), START);
    assert_eq!(not_before(&mut gate, &lane, ms(1)), ms(1000) + STALE_AFTER, "what was granted counts");
    assert_eq!(drain(&mut gate, &lane, 1003, 1900), 1);
    gate.remove(&policy("a"));
    assert!((0..100).all(|_| go(&mut gate, &lane, ms(1900)).is_some()));
    set(&mut gate, "a", &paced(1.0), ms(1900));
    assert_eq!(not_before(&mut gate, &lane, ms(1900)), ms(2003));
    gate.remove(&policy("a"));
    assert_eq!(gate.figures(0, 9, ms(5000)).0.len(), 0);
}

#[test]
fn a_window_takes_its_burst_beside_a_pace_that_spreads() {
    let (mut gate, lane) = gate_with(&windowed(100, 1000));
    assert_eq!(drain(&mut gate, &lane, 0, 1), 100);
    assert_eq!(drain(&mut gate, &lane, 1, 1000), 0);
    assert_eq!(drain(&mut gate, &lane, 1000, 1001), 100);
    set(&mut gate, "b", &paced(1000.0), ms(1000));
    let both = bind(&mut gate, &["a", "b"]);
    assert!((5..10).contains(&drain(&mut gate, &both, 2000, 2001)), "the pace lets few go at once");
    assert_eq!(drain(&mut gate, &both, 2001, 3000) + 5, 100);
}
