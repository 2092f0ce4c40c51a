//! Policies that turn calls away.

use super::{bind, decide, go, ms, paced, policy, set, start, windowed};
use crate::limit::{Binding, Decision, Gate, LimitKind, Rules};
use crate::policy::{Family, Limits, Scope};

fn refusing(gate: &mut Gate, name: &str, limits: &Limits) {
    let rules = Rules::new(limits.clone(), Family::Refuse, Scope::default());
    gate.set(&policy(name), rules, ms(0));
}

fn refused(gate: &mut Gate, lane: &Binding, at_ms: u64) -> Option<LimitKind> {
    match decide(gate, lane, ms(at_ms)) {
        Decision::Refuse(blocker) => Some(blocker.kind),
        Decision::Go(permit) => {
            let _ = gate.put_back(permit);
            None
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_finds_all_room_promised_is_told_when_the_promised_will_have_left() {
    let mut gate = Gate::new();
    refusing(&mut gate, "a", &windowed(2, 60_000));
    let lane = bind(&mut gate, &["a"]);
    assert!(gate.promise(&lane, ms(0)).is_ok() && gate.promise(&lane, ms(0)).is_ok());
    assert_eq!(gate.promise(&lane, ms(0)).map_err(|(_, at)| at), Err(ms(60_000)));
    gate.redeem(&lane, 1);
    assert!(start(&mut gate, &lane, ms(10_000)));
    let (_, free_at) = gate.promise(&lane, ms(20_000)).expect_err("one started, one promised");
    assert!(free_at >= ms(70_000) && free_at < ms(70_100), "{free_at}");
}

#[test]
fn a_burst_within_the_window_passes_and_the_rest_is_turned_away() {
    for (limits, kind) in [(windowed(10, 1000), LimitKind::Window), (paced(10.0), LimitKind::Pace)] {
        let mut gate = Gate::new();
        refusing(&mut gate, "cap", &limits);
        let lane = bind(&mut gate, &["cap"]);
        assert!((0..10).all(|_| start(&mut gate, &lane, ms(0))));
        assert_eq!(refused(&mut gate, &lane, 999), Some(kind));
        assert_eq!(refused(&mut gate, &lane, 1000), None);
    }
}

#[test]
fn nothing_is_turned_away_before_the_waiting_limits_have_room_nor_does_it_use_them() {
    let mut gate = Gate::new();
    refusing(&mut gate, "cap", &windowed(1, 10_000));
    set(&mut gate, "pace", &paced(1.0), ms(0));
    let both = bind(&mut gate, &["cap", "pace"]);
    let pace = bind(&mut gate, &["pace"]);
    assert!(start(&mut gate, &both, ms(0)));
    assert!(matches!(decide(&mut gate, &both, ms(1)), Decision::NotBefore(at, _) if at == ms(1000)));
    assert_eq!(refused(&mut gate, &both, 1000), Some(LimitKind::Window));
    assert!(start(&mut gate, &pace, ms(1000)), "the refused call has used nothing");
}

#[test]
fn slots_wait_whatever_the_family() {
    let mut gate = Gate::new();
    let slots = std::num::NonZeroU32::new(1);
    refusing(&mut gate, "cap", &Limits { slots, ..windowed(10, 1000) });
    let lane = bind(&mut gate, &["cap"]);
    let held = go(&mut gate, &lane, ms(0)).expect("room");
    assert!(
        matches!(decide(&mut gate, &lane, ms(0)), Decision::Wait(blocker) if blocker.kind == LimitKind::Slots)
    );
    let _ = gate.release(held);
}

#[test]
fn promises_leave_no_more_room_than_there_is() {
    let mut gate = Gate::new();
    refusing(&mut gate, "cap", &windowed(3, 1000));
    let lane = bind(&mut gate, &["cap"]);
    assert!((0..3).all(|_| gate.promise(&lane, ms(0)).is_ok()));
    let (blocker, free_at) = gate.promise(&lane, ms(0)).expect_err("three are promised");
    assert_eq!((blocker.kind, free_at), (LimitKind::Window, ms(1000)));
    assert_eq!(
        refused(&mut gate, &lane, 0),
        Some(LimitKind::Window),
        "what was promised is not given to others"
    );
    for _ in 0..3 {
        let Decision::Go(mut permit) = gate.decide(&lane, true, ms(5)) else { panic!("promised") };
        gate.confirm(&mut permit, ms(5)).expect("in time");
        gate.redeem(&lane, 1);
        let _ = gate.release(permit);
    }
    assert_eq!(gate.promise(&lane, ms(900)).map_err(|(_, at)| at), Err(ms(1005)));
    assert!(gate.promise(&lane, ms(1005)).is_ok());
    gate.redeem(&lane, 1);
    assert!((0..3).all(|_| gate.promise(&lane, ms(1005)).is_ok()), "a promise given back is room again");
}
