//! Edits never bring a budget back, whatever happens around them: kills, orderly ends, forgotten limiters, other label
//! values.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{START, bind, gate_with, go, knew, lane_of, ms, paced, policy, rules, set, windowed};
use crate::clock::Timestamp;
use crate::event::Lane;
use crate::limit::{Binding, Consumed, Decision, Gate, HistoryGap, Reservation};
use crate::policy::{Limits, Period, Quota};

type Record = Vec<(Box<str>, Consumed)>;

fn quota(calls: i64, per: Period) -> Limits {
    Limits { quota: Quota::new(calls, per).ok(), ..Limits::default() }
}

fn slots() -> Limits {
    Limits { slots: NonZeroU32::new(9), ..Limits::default() }
}

/// Starts up to this many calls at one moment; what has to be on record is, at once.
fn burst(gate: &mut Gate, lane: &Binding, at_ms: u64, most: usize, record: &mut Record) -> usize {
    let mut started = 0;
    for _ in 0..most * 4 + 8 {
        let decision = gate.decide(lane, false, ms(at_ms));
        let reservations: Vec<Reservation> = gate.take_reservations();
        record.extend(reservations.iter().map(|made| (made.name.clone(), made.consumed)));
        for reservation in &reservations {
            gate.confirmed(reservation, true, ms(at_ms));
        }
        if let Decision::Go(mut permit) = decision {
            gate.confirm(&mut permit, ms(at_ms)).expect("in time");
            let _ = gate.release(permit);
            started += 1;
        }
        if started == most {
            break;
        }
    }
    started
}

/// A process after a kill, at that moment.
fn killed(record: &Record, limits: &Limits, at_ms: u64) -> (Gate, Binding) {
    let gap = HistoryGap { before: ms(at_ms), on_record_before: Timestamp::ZERO };
    // The record lets go of what is over.
    let live = record.iter().filter(|(_, consumed)| consumed.over_at > ms(at_ms)).cloned();
    next(Gate::after(gap, ms(at_ms), live, [knew("a", limits)]), limits, at_ms)
}

/// A process after an orderly end, at that moment.
fn ended(gate: &mut Gate, limits: &Limits, at_ms: u64) -> (Gate, Binding) {
    next(
        Gate::after(HistoryGap::default(), ms(at_ms), gate.consumed(ms(at_ms)), [knew("a", limits)]),
        limits,
        at_ms,
    )
}

fn next(mut gate: Gate, limits: &Limits, at_ms: u64) -> (Gate, Binding) {
    set(&mut gate, "a", limits, ms(at_ms));
    let lane = bind(&mut gate, &["a"]);
    (gate, lane)
}

fn first(limits: &Limits) -> (Gate, Binding, Record) {
    let (gate, lane) = next(Gate::new(), limits, 0);
    (gate, lane, Record::new())
}

#[test]
fn an_orderly_end_right_after_a_kill_does_not_end_the_silence() {
    let limits = windowed(5, 1000);
    let (mut gate, lane, mut record) = first(&limits);
    assert_eq!(burst(&mut gate, &lane, 0, 9, &mut record), 5);
    let (mut gate, lane) = killed(&record, &limits, 100);
    assert_eq!(burst(&mut gate, &lane, 150, 9, &mut record), 0);
    let (mut gate, lane) = ended(&mut gate, &limits, 200);
    assert_eq!(burst(&mut gate, &lane, 300, 9, &mut record), 0);
    // However often it is ended in good order meanwhile.
    let (mut gate, lane) = ended(&mut gate, &limits, 900);
    assert_eq!(burst(&mut gate, &lane, 1_099, 9, &mut record), 0);
    assert_eq!(burst(&mut gate, &lane, 1_100, 9, &mut record), 5);
    let (mut gate, lane) = ended(&mut gate, &limits, 2_200);
    assert_eq!(burst(&mut gate, &lane, 2_200, 9, &mut record), 5, "by now all of it is known");
}

#[test]
fn a_lengthened_window_is_silent_over_ends_of_both_kinds() {
    let (short, long) = (windowed(5, 5_000), windowed(5, 60_000));
    for orderly in [true, false] {
        let (mut gate, lane, mut record) = first(&short);
        assert_eq!(burst(&mut gate, &lane, 0, 9, &mut record), 5);
        let _ = gate.figures(0, 9, ms(5_500));
        set(&mut gate, "a", &long, ms(6_000));
        assert_eq!(burst(&mut gate, &lane, 6_000, 9, &mut record), 0);
        let (mut gate, lane) =
            if orderly { ended(&mut gate, &long, 7_000) } else { killed(&record, &long, 7_000) };
        assert_eq!(burst(&mut gate, &lane, 59_000, 9, &mut record), 0, "orderly: {orderly}");
        assert_eq!(burst(&mut gate, &lane, 60_100, 9, &mut record), 5, "orderly: {orderly}");
    }
}

#[test]
fn a_window_lengthened_between_two_processes_is_silent_too() {
    let (short, long) = (windowed(5, 5_000), windowed(5, 60_000));
    let (mut gate, lane, mut record) = first(&short);
    assert_eq!(burst(&mut gate, &lane, 0, 9, &mut record), 5);
    let (mut gate, _) = ended(&mut gate, &short, 6_000);
    set(&mut gate, "a", &long, ms(6_001));
    let lane = bind(&mut gate, &["a"]);
    assert_eq!(burst(&mut gate, &lane, 65_999, 9, &mut record), 0);
    assert_eq!(burst(&mut gate, &lane, 66_000, 9, &mut record), 5);
}

#[test]
fn a_limiter_made_again_knows_of_those_that_are_gone() {
    let long = windowed(5, 60_000);
    for (before, between) in [(windowed(5, 5_000), None), (long.clone(), Some(slots()))] {
        let (mut gate, lane, mut record) = first(&before);
        assert_eq!(burst(&mut gate, &lane, 0, 9, &mut record), 5);
        if let Some(between) = between {
            set(&mut gate, "a", &between, ms(1_000));
        }
        gate.unbind(&lane);
        gate.forget_idle(ms(5_100));
        assert_eq!(gate.limiters(), 0);
        set(&mut gate, "a", &long, ms(6_000));
        let lane = bind(&mut gate, &["a"]);
        assert_eq!(burst(&mut gate, &lane, 7_000, 9, &mut record), 0);
        assert_eq!(burst(&mut gate, &lane, 60_003, 9, &mut record), 5);
    }
}

#[test]
fn other_label_values_wait_for_what_was_started_under_the_former_ones() {
    let lane: Lane = lane_of(&["a"], &[("org", "x")]);
    let mut gate = Gate::new();
    let mut record = Record::new();
    gate.set(&policy("a"), rules(&windowed(5, 60_000), &["org"]), START);
    let former = gate.bind(&lane, START);
    assert_eq!(burst(&mut gate, &former, 0, 9, &mut record), 5);
    gate.set(&policy("a"), rules(&windowed(5, 60_000), &[]), ms(1_000));
    let now = gate.bind(&lane, ms(1_000));
    gate.unbind(&former);
    assert_eq!(burst(&mut gate, &now, 59_999, 9, &mut record), 0);
    assert_eq!(burst(&mut gate, &now, 60_003, 9, &mut record), 5);
}

#[test]
fn a_quota_of_a_longer_period_keeps_what_was_used_over_a_kill() {
    let (hour, day) = (quota(50, Period::Hour), quota(50, Period::Day));
    let (mut gate, lane, mut record) = first(&hour);
    assert_eq!(burst(&mut gate, &lane, 0, 50, &mut record), 50);
    set(&mut gate, "a", &day, ms(1));
    assert_eq!(burst(&mut gate, &lane, 2, 50, &mut record), 0);
    let (mut gate, lane) = killed(&record, &day, 10);
    assert_eq!(burst(&mut gate, &lane, 4_000_000, 50, &mut record), 0, "the hour is over, the day is not");
}

#[test]
fn what_is_on_record_for_one_length_is_not_used_for_another() {
    let long = windowed(100, 600_000);
    let (mut gate, lane, mut record) = first(&windowed(100, 10_000));
    assert_eq!(burst(&mut gate, &lane, 0, 60, &mut record), 60);
    set(&mut gate, "a", &long, ms(50));
    let after = burst(&mut gate, &lane, 60, 60, &mut record);
    let (mut gate, lane) = killed(&record, &long, 60_000);
    assert!(after + burst(&mut gate, &lane, 60_000, 200, &mut record) <= 100);
}

#[test]
fn an_answer_for_a_limiter_that_is_gone_reaches_no_other() {
    let mut gate = Gate::new();
    set(&mut gate, "a", &quota(5, Period::Day), START);
    set(&mut gate, "b", &quota(5, Period::Day), START);
    let lane = bind(&mut gate, &["a"]);
    assert!(matches!(gate.decide(&lane, false, START), Decision::Wait(_)));
    let reservations = gate.take_reservations();
    set(&mut gate, "a", &slots(), ms(1));
    gate.unbind(&lane);
    gate.forget_idle(ms(2));
    let lane = bind(&mut gate, &["b"]);
    for reservation in &reservations {
        assert_eq!(gate.confirmed(reservation, true, ms(3)), []);
    }
    assert!(matches!(gate.decide(&lane, false, ms(3)), Decision::Wait(_)), "b has nothing on record");
}

#[test]
fn a_start_at_the_last_moment_of_its_portion_is_on_record_for_when_it_leaves() {
    let limits = windowed(1, 5_000);
    let (mut gate, lane, mut record) = first(&limits);
    // First its mark, then its portion.
    for _ in 0..2 {
        assert!(matches!(gate.decide(&lane, false, ms(0)), Decision::Wait(_)));
        let reservations = gate.take_reservations();
        record.extend(reservations.iter().map(|made| (made.name.clone(), made.consumed)));
        for reservation in &reservations {
            gate.confirmed(reservation, true, ms(5));
        }
    }
    let Decision::Go(mut permit) = gate.decide(&lane, false, ms(1_000)) else { panic!("on record") };
    gate.confirm(&mut permit, ms(1_003)).expect("in time");
    let (mut gate, lane) = killed(&record, &limits, 1_100);
    assert_eq!(burst(&mut gate, &lane, 6_002, 1, &mut record), 0);
    assert_eq!(burst(&mut gate, &lane, 6_003, 1, &mut record), 1);
}

#[test]
fn a_record_that_takes_its_time_delays_and_stops_nothing() {
    let (mut gate, lane, _) = first(&windowed(5, 5_000));
    let (mut now_ms, mut started) = (0, 0);
    while now_ms < 120_000 {
        if let Decision::Go(mut permit) = gate.decide(&lane, false, ms(now_ms)) {
            gate.confirm(&mut permit, ms(now_ms)).expect("in time");
            let _ = gate.release(permit);
            started += 1;
        }
        let reservations = gate.take_reservations();
        now_ms += 1_700;
        for reservation in &reservations {
            gate.confirmed(reservation, true, ms(now_ms));
        }
    }
    assert!(started > 10, "{started}");
}

#[test]
fn a_limit_lowered_in_groups_is_kept_although_a_permit_comes_back() {
    let (mut gate, lane, _) = first(&windowed(1_000_000, 1_000));
    for _ in 0..999_000 {
        let Decision::Go(mut permit) = gate.decide(&lane, false, ms(0)) else { panic!("room") };
        gate.confirm(&mut permit, ms(0)).expect("in time");
        let _ = gate.release(permit);
    }
    let Decision::Go(permit) = gate.decide(&lane, false, ms(0)) else { panic!("room") };
    set(&mut gate, "a", &windowed(990_000, 1_000), ms(1));
    let _ = gate.put_back(permit);
    assert!(!matches!(gate.decide(&lane, false, ms(1)), Decision::Go(_)));
}

#[test]
fn a_kill_before_the_mark_is_on_record_leaves_a_silence_and_one_after_it_none() {
    let (short, long) = (paced(5.0), windowed(5, 10_000));
    for marked in [false, true] {
        let (mut gate, lane, mut record) = first(&short);
        assert!(burst(&mut gate, &lane, 0, 1, &mut record) == 1);
        set(&mut gate, "a", &long, ms(1_000));
        if marked {
            record.extend(gate.take_reservations().into_iter().map(|made| (made.name, made.consumed)));
        }
        let (mut gate, lane) = killed(&record, &long, 3_000);
        let silent_until = if marked { 10_003 } else { 13_000 };
        assert_eq!(burst(&mut gate, &lane, silent_until - 1, 9, &mut record), 0, "{marked}");
        assert_eq!(burst(&mut gate, &lane, silent_until, 9, &mut record), 5, "{marked}");
    }
}

#[test]
fn nothing_of_a_long_window_starts_before_its_mark_is_on_record() {
    let mut gate = Gate::new();
    set(&mut gate, "a", &windowed(5, 10_000), START);
    let lane = bind(&mut gate, &["a"]);
    let marks = gate.take_reservations();
    assert_eq!(marks.len(), 1);
    assert!(matches!(gate.decide(&lane, false, ms(1)), Decision::Wait(_)));
    assert!(gate.take_reservations().is_empty(), "it is asked for once");
    gate.confirmed(&marks[0], false, ms(2));
    assert!(matches!(gate.decide(&lane, false, ms(3)), Decision::Wait(_)));
    let again = gate.take_reservations();
    assert_eq!((again.len(), &again[0].name), (1, &marks[0].name));
    assert_eq!(gate.confirmed(&again[0], true, ms(4)), lane.limiters());
    assert!(matches!(super::decide(&mut gate, &lane, ms(5)), Decision::Go(_)));
}

#[test]
fn other_label_values_wait_over_an_orderly_end_too() {
    let lane: Lane = lane_of(&["a"], &[("org", "x")]);
    let (mut gate, mut record) = (Gate::new(), Record::new());
    gate.set(&policy("a"), rules(&paced(5.0), &["org"]), START);
    let former = gate.bind(&lane, START);
    assert_eq!(burst(&mut gate, &former, 0, 1, &mut record), 1);
    gate.set(&policy("a"), rules(&paced(5.0), &[]), ms(100));
    let mut gate = Gate::after(HistoryGap::default(), ms(200), gate.consumed(ms(200)), []);
    gate.set(&policy("a"), rules(&paced(5.0), &[]), ms(200));
    let now = gate.bind(&lane, ms(200));
    assert_eq!(burst(&mut gate, &now, 1_002, 9, &mut record), 0);
    assert!(burst(&mut gate, &now, 1_003, 9, &mut record) > 0);
}

#[test]
fn a_quota_of_a_longer_period_counts_what_a_forgotten_key_used() {
    let mut gate = Gate::new();
    let refusing = |per| rules(&quota(5, per), &["key"]);
    let burst_of = |gate: &mut Gate, at_ms: u64| {
        let lane = gate.bind(&lane_of(&["a"], &[("key", "k")]), ms(at_ms));
        let count = burst(gate, &lane, at_ms, 9, &mut Record::new());
        gate.unbind(&lane);
        gate.forget_idle(ms(at_ms + 1));
        count
    };
    gate.set(&policy("a"), refusing(Period::Hour), START);
    assert_eq!(burst_of(&mut gate, 0), 5);
    for per in [Period::Day, Period::Hour, Period::Day] {
        gate.set(&policy("a"), refusing(per), ms(3000));
        assert_eq!(burst_of(&mut gate, 3000), 0, "{per:?}");
    }
}

#[test]
fn what_was_granted_before_two_edits_at_one_moment_frees_nothing_after_them() {
    let one = windowed(1, 100);
    let (mut gate, lane) = gate_with(&one);
    let old = go(&mut gate, &lane, START).expect("empty");
    set(&mut gate, "a", &paced(1000.0), START);
    set(&mut gate, "a", &one, START);
    let later = START + Duration::from_millis(500);
    let new = go(&mut gate, &lane, later).expect("the first has left");
    let _ = gate.put_back(old);
    assert!(go(&mut gate, &lane, later).is_none(), "the new one still counts");
    let _ = gate.put_back(new);
    assert!(go(&mut gate, &lane, later).is_some());
}
