//! Several limits at once, live changes, silence.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{START, gate_with, go, paced, policy};
use crate::clock::Timestamp;
use crate::limit::{Binding, BlockerKind, Decision, Gate, Permit, STALE_AFTER, Stale};
use crate::policy::Limits;

fn slots(count: u32) -> Limits {
    Limits { slots: NonZeroU32::new(count), ..Limits::default() }
}

fn ms(ms: u64) -> Timestamp {
    START + Duration::from_millis(ms)
}

/// Starts all that is allowed, tick by tick.
fn drain(gate: &mut Gate, lane: &Binding, from_ms: u64, to_ms: u64) -> usize {
    let mut count = 0;
    for tick in from_ms..to_ms {
        while let Some(permit) = go(gate, lane, ms(tick)) {
            permit.confirm(ms(tick)).expect("in time");
            let _ = gate.release(permit);
            count += 1;
        }
    }
    count
}

fn not_before(gate: &mut Gate, lane: &Binding, now: Timestamp) -> Timestamp {
    match gate.decide(lane, now) {
        Decision::NotBefore(at, blocker) => {
            assert_eq!(blocker.kind, BlockerKind::Pace);
            at
        }
        other => panic!("expected NotBefore, got {other:?}"),
    }
}

#[test]
fn a_refusal_by_one_limit_takes_nothing_from_the_others() {
    let mut gate = Gate::new(Timestamp::ZERO);
    gate.set(&policy("fast"), &paced(5000.0), START);
    gate.set(&policy("slow"), &paced(0.5), START);
    let both = gate.bind(&[policy("fast"), policy("slow"), policy("fast")]);
    let fast = gate.bind(&[policy("fast")]);
    assert_eq!(drain(&mut gate, &both, 0, 1), 1);
    for tick in 1..1000 {
        assert_eq!(not_before(&mut gate, &both, ms(tick)), ms(2000));
    }
    let figures: Vec<_> = gate.figures(ms(1000)).map(|figures| figures.window_peak).collect();
    assert_eq!(figures, [1, 1]);
    assert!(drain(&mut gate, &fast, 1000, 2000) >= 4990);
}

#[test]
fn a_start_counts_from_when_it_has_left_not_from_its_confirmation() {
    for (left_ms, next_ms) in [(0, 2000), (40, 2040)] {
        let mut gate = Gate::new(Timestamp::ZERO);
        gate.set(&policy("p"), &paced(0.5), START);
        let lane = gate.bind(&[policy("p")]);
        let permit = go(&mut gate, &lane, START).expect("the first");
        permit.confirm(START).expect("in time");
        permit.under_way(START, ms(left_ms));
        assert_eq!(drain(&mut gate, &lane, 1, next_ms), 0);
        assert_eq!(drain(&mut gate, &lane, next_ms, next_ms + 1), 1, "left after {left_ms} ms");
    }
}

#[test]
fn slots_are_waited_for_and_told_when_free() {
    let mut gate = Gate::new(Timestamp::ZERO);
    for name in ["a", "b", "c"] {
        gate.set(&policy(name), &slots(2), START);
    }
    let all = gate.bind(&[policy("a"), policy("b"), policy("c")]);
    let b = gate.bind(&[policy("b")]);
    let first = go(&mut gate, &all, START).expect("room");
    let second = go(&mut gate, &b, START).expect("room");
    let Decision::Wait(blocker) = gate.decide(&all, START) else { panic!("b is full") };
    assert_eq!((blocker.kind, gate.policy(blocker.limiter)), (BlockerKind::Slots, Some(&policy("b"))));
    let a = gate.bind(&[policy("a")]);
    let third = go(&mut gate, &a, START).expect("room in a");
    gate.set(&policy("b"), &slots(1), START);
    assert_eq!(gate.release(second).iter().count(), 0, "one is in flight, one is allowed");
    assert_eq!(gate.release(first).iter().count(), 3);
    assert_eq!(gate.put_back(third).iter().count(), 1);
    assert!(gate.figures(START).all(|figures| figures.inflight == 0));
}

#[test]
fn a_stale_permit_starts_nothing_and_goes_back() {
    let (mut gate, lane) = gate_with(&paced(1.0));
    let permit = go(&mut gate, &lane, START).expect("room");
    let late = START + STALE_AFTER + Duration::from_nanos(1);
    assert_eq!(permit.confirm(late), Err(Stale));
    let _ = gate.put_back(permit);
    let permit = go(&mut gate, &lane, late).expect("as if never taken");
    assert_eq!(permit.confirm(late + STALE_AFTER), Ok(()));
    assert_eq!(permit.confirm(late + STALE_AFTER), Err(Stale), "one start per permit");
    let _ = gate.put_back(permit);
    assert_eq!(not_before(&mut gate, &lane, ms(500)), late + STALE_AFTER + Duration::from_secs(1));
}

#[test]
fn a_confirmation_after_the_slot_was_granted_again_is_refused() {
    let (mut gate, lane) = gate_with(&paced(1.0));
    let forgotten: Permit = go(&mut gate, &lane, START).expect("room");
    let next = go(&mut gate, &lane, ms(1004)).expect("room again");
    assert_eq!(forgotten.confirm(ms(1)), Err(Stale));
    assert_eq!(next.confirm(ms(1004)), Ok(()));
    let _ = gate.put_back(forgotten);
    assert_eq!(not_before(&mut gate, &lane, ms(1500)), ms(2004));
    let _ = gate.release(next);
}

#[test]
fn a_lowered_pace_is_silent_until_its_window_has_room() {
    let (mut gate, lane) = gate_with(&paced(5000.0));
    assert!(drain(&mut gate, &lane, 0, 1000) >= 4975);
    gate.set(&policy("a"), &paced(200.0), ms(1000));
    assert_eq!(drain(&mut gate, &lane, 1000, 1950), 0);
    let count = drain(&mut gate, &lane, 1950, 2950);
    assert!((190..=200).contains(&count), "{count}");
}

#[test]
fn a_pace_lowered_and_raised_again_gives_no_fresh_burst() {
    let (mut gate, lane) = gate_with(&paced(5000.0));
    let before = drain(&mut gate, &lane, 0, 500);
    for edit in 0..1000 {
        let pace = if edit % 2 == 0 { 200.0 } else { 5000.0 };
        gate.set(&policy("a"), &paced(pace), ms(500));
        gate.remove(&policy("a"));
        gate.set(&policy("a"), &paced(pace), ms(500));
        assert!(drain(&mut gate, &lane, 500, 501) == 0, "edit {edit}");
    }
    assert!(before + drain(&mut gate, &lane, 501, 1000) <= 5000);
}

#[test]
fn a_raised_pace_counts_what_was_started() {
    let (mut gate, lane) = gate_with(&paced(200.0));
    let before = drain(&mut gate, &lane, 0, 1000);
    gate.set(&policy("a"), &paced(300.0), ms(900));
    let after = drain(&mut gate, &lane, 1000, 1500);
    assert!((195..=200).contains(&before), "{before}");
    assert!((149..=155).contains(&after), "300/s for half a second, not {after}");
}

#[test]
fn silence_holds_every_limited_lane_back() {
    let mut gate = Gate::new(ms(1000));
    gate.set(&policy("a"), &slots(5), START);
    let limited = gate.bind(&[policy("a")]);
    let free = gate.bind(&[]);
    assert_eq!(not_before(&mut gate, &limited, ms(1)), ms(1000));
    assert!(go(&mut gate, &free, ms(1)).is_some());
    assert!(go(&mut gate, &limited, ms(1000)).is_some());
}

#[test]
fn a_binding_follows_a_policy_that_comes_and_goes() {
    let mut gate = Gate::new(Timestamp::ZERO);
    let lane = gate.bind(&[policy("a")]);
    assert!((0..100).all(|_| go(&mut gate, &lane, START).is_some()), "unknown policies do not limit");
    gate.set(&policy("a"), &paced(1.0), START);
    assert_eq!(drain(&mut gate, &lane, 0, 900), 1);
    gate.remove(&policy("a"));
    assert!((0..100).all(|_| go(&mut gate, &lane, ms(900)).is_some()));
    gate.set(&policy("a"), &paced(1.0), ms(900));
    assert_eq!(not_before(&mut gate, &lane, ms(900)), ms(1000));
    gate.remove(&policy("a"));
    gate.set(&policy("b"), &paced(1.0), ms(5000));
    assert_eq!(gate.figures(ms(5000)).count(), 1);
}
