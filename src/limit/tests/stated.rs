//! Usage that is not known counts as spent, and what an operator states counts instead: now and over restarts.

use super::{bind, knew, ms, policy, set, start, windowed};
use crate::clock::Timestamp;
use crate::limit::{Binding, Consumed, Gate, HistoryGap, LimitKind, StateUsageError};
use crate::policy::{Limits, Period, Quota};

type Record = Vec<(Box<str>, Consumed)>;

/// A moment within the day that [`quota`] counts in.
const NOON_MS: u64 = 1_000_000;
/// Later on the same day.
const LATER_MS: u64 = 2_000_000;
/// The next day has begun.
const NEXT_DAY_MS: u64 = 90_000_000;

fn quota(calls: i64) -> Limits {
    Limits { quota: Quota::new(calls, Period::Day).ok(), ..Limits::default() }
}

/// A process after one whose record lacks what was consumed before `lost_ms`, with this on record.
fn process(record: &Record, lost_ms: Option<u64>, limits: &Limits, now_ms: u64) -> (Gate, Binding) {
    let on_record_before = lost_ms.map_or(Timestamp::ZERO, ms);
    let gap = HistoryGap { before: ms(now_ms), on_record_before };
    let mut gate = Gate::after(gap, ms(now_ms), record.clone(), [knew("a", limits)]);
    set(&mut gate, "a", limits, ms(now_ms));
    let lane = bind(&mut gate, &["a"]);
    (gate, lane)
}

/// Starts all that is allowed, and notes what was put on record for that.
fn starts(gate: &mut Gate, lane: &Binding, record: &mut Record, now_ms: u64) -> usize {
    let mut started = 0;
    // Each portion takes two rounds.
    for _ in 0..500 {
        let decision = gate.decide(lane, false, ms(now_ms));
        for reservation in gate.take_reservations() {
            record.push((reservation.name.clone(), reservation.consumed));
            gate.confirmed(&reservation, true, ms(now_ms));
        }
        if let crate::limit::Decision::Go(mut permit) = decision {
            gate.confirm(&mut permit, ms(now_ms)).expect("in time");
            let _ = gate.release(permit);
            started += 1;
        }
    }
    started
}

fn state(gate: &mut Gate, record: &mut Record, kind: LimitKind, used: u32, now_ms: u64) {
    let usage = gate.usage_to_state(&policy("a"), "", kind, used, ms(now_ms)).expect("there is one");
    record.push((usage.name.clone(), usage.consumed));
    gate.state_usage(&usage, ms(now_ms));
}

#[test]
fn a_quota_whose_record_was_lost_in_its_period_is_spent_until_the_period_ends() {
    let mut record = Record::new();
    for (lost_ms, granted) in [(Some(NOON_MS), 0), (None, 100)] {
        let (mut gate, lane) = process(&record, lost_ms, &quota(100), NOON_MS);
        assert_eq!(gate.spent_until(ms(NOON_MS)).is_some(), lost_ms.is_some());
        assert_eq!(starts(&mut gate, &lane, &mut Record::new(), NOON_MS), granted, "lost {lost_ms:?}");
    }
    // What can still be read does not prove that there was no more.
    record.push(("quota a ".into(), Consumed { count: 3, at: ms(0), over_at: ms(NEXT_DAY_MS) }));
    let (mut gate, lane) = process(&record, Some(NOON_MS), &quota(100), NOON_MS);
    assert_eq!(starts(&mut gate, &lane, &mut record, NOON_MS), 0);
    let left = gate.consumed(ms(NOON_MS));
    let (mut again, lane) = process(&left, Some(NOON_MS), &quota(100), NOON_MS + 5);
    assert_eq!(starts(&mut again, &lane, &mut record, NOON_MS + 5), 0, "after the next start too");
    assert_eq!(starts(&mut again, &lane, &mut record, NEXT_DAY_MS), 100, "the next period is known");
    assert_eq!(again.spent_until(ms(NEXT_DAY_MS)), None);
}

#[test]
fn a_quota_over_another_policy_counts_as_spent_and_figures_say_so() {
    let (mut gate, _) = process(&Record::new(), Some(NOON_MS), &quota(100), NOON_MS);
    let used = |gate: &mut Gate, at_ms| gate.figures(0, 9, ms(at_ms)).0[0].counters[0].used;
    assert_eq!((used(&mut gate, NOON_MS), used(&mut gate, NEXT_DAY_MS)), (100, 0));
}

#[test]
fn what_is_stated_of_a_quota_grants_exactly_the_rest() {
    for used in [0, 1, 60, 99, 100] {
        let mut record = Record::new();
        let (mut gate, lane) = process(&record, Some(NOON_MS), &quota(100), NOON_MS);
        state(&mut gate, &mut record, LimitKind::Quota, used, NOON_MS);
        assert_eq!(gate.spent_until(ms(NOON_MS)), None);
        let granted = starts(&mut gate, &lane, &mut record, NOON_MS);
        assert_eq!(granted, 100 - used as usize);
    }
}

#[test]
fn what_is_stated_lasts_over_kills_and_orderly_ends_and_never_grants_more() {
    for orderly in [false, true] {
        let mut record = Record::new();
        let (mut gate, lane) = process(&record, Some(NOON_MS), &quota(100), NOON_MS);
        state(&mut gate, &mut record, LimitKind::Quota, 40, NOON_MS);
        let mut started = 0;
        for tick in 0..25 {
            // Slowly: portions stay small.
            let now_ms = NOON_MS + tick * 3_000;
            started += usize::from(start_recorded(&mut gate, &lane, &mut record, now_ms));
        }
        assert_eq!(started, 25);
        // A kill forfeits what was put on record and not used.
        let portions: u32 =
            record.iter().filter(|(name, _)| &**name == "quota a ").map(|(_, consumed)| consumed.count).sum();
        let expected = if orderly { 35 } else { 60 - portions as usize };
        if orderly {
            record = gate.consumed(ms(LATER_MS));
        }
        // Three times over: nothing is forgotten by the one in between, which starts nothing.
        for restart in 1..3 {
            let (mut gate, _) = process(&record, Some(NOON_MS), &quota(100), LATER_MS + restart);
            if orderly {
                record = gate.consumed(ms(LATER_MS + restart));
            }
        }
        let (mut gate, lane) = process(&record, Some(NOON_MS), &quota(100), LATER_MS + 10);
        let rest = starts(&mut gate, &lane, &mut record, LATER_MS + 10);
        assert_eq!(rest, expected);
    }
}

fn start_recorded(gate: &mut Gate, lane: &Binding, record: &mut Record, now_ms: u64) -> bool {
    for _ in 0..3 {
        let decision = gate.decide(lane, false, ms(now_ms));
        for reservation in gate.take_reservations() {
            record.push((reservation.name.clone(), reservation.consumed));
            gate.confirmed(&reservation, true, ms(now_ms));
        }
        if let crate::limit::Decision::Go(mut permit) = decision {
            gate.confirm(&mut permit, ms(now_ms)).expect("in time");
            let _ = gate.release(permit);
            return true;
        }
    }
    false
}

#[test]
fn the_last_statement_counts_also_of_a_limiter_that_was_forgotten() {
    let mut record = Record::new();
    let (mut gate, lane) = process(&record, Some(NOON_MS - 1), &quota(100), NOON_MS);
    state(&mut gate, &mut record, LimitKind::Quota, 0, NOON_MS);
    assert_eq!(starts(&mut gate, &lane, &mut record, NOON_MS), 100);
    state(&mut gate, &mut record, LimitKind::Quota, 90, NOON_MS + 1);
    state(&mut gate, &mut record, LimitKind::Quota, 97, NOON_MS + 2);
    gate.unbind(&lane);
    gate.forget_idle(ms(NOON_MS + 10_000));
    assert_eq!(gate.limiters(), 0);
    assert_eq!(gate.spent_until(ms(NOON_MS + 10_000)), None);
    let lane = bind(&mut gate, &["a"]);
    assert_eq!(starts(&mut gate, &lane, &mut Record::new(), NOON_MS + 10_001), 3);
    let (mut next, lane) = process(&record, Some(NOON_MS - 1), &quota(100), NOON_MS + 20_000);
    assert_eq!(
        starts(&mut next, &lane, &mut record, NOON_MS + 20_000),
        3,
        "the kill forgets those of before"
    );
}

#[test]
fn a_start_that_is_given_back_after_a_statement_gives_back_nothing() {
    let mut record = Record::new();
    let (mut gate, lane) = process(&record, None, &quota(10), NOON_MS);
    let permit = super::go(&mut gate, &lane, ms(NOON_MS)).expect("room");
    state(&mut gate, &mut record, LimitKind::Quota, 8, NOON_MS);
    let _ = gate.put_back(permit);
    assert_eq!(starts(&mut gate, &lane, &mut record, NOON_MS), 2);
}

#[test]
fn what_is_stated_of_a_window_ends_its_silence_and_counts_for_its_length() {
    let limits = windowed(5, 60_000);
    let (mut silent, lane) = process(&Record::new(), Some(NOON_MS), &limits, NOON_MS);
    assert!(!start(&mut silent, &lane, ms(NOON_MS + 59_999)), "the control");

    let mut record = Record::new();
    let (mut gate, lane) = process(&record, Some(NOON_MS), &limits, NOON_MS);
    assert!(gate.spent_until(ms(NOON_MS)).is_some());
    state(&mut gate, &mut record, LimitKind::Window, 3, NOON_MS + 10);
    assert_eq!(gate.spent_until(ms(NOON_MS + 10)), None);
    assert_eq!(starts(&mut gate, &lane, &mut record, NOON_MS + 20), 2);
    let orderly = gate.consumed(ms(NOON_MS + 100));
    for record in [&record, &orderly] {
        let (mut gate, lane) = process(record, Some(NOON_MS), &limits, NOON_MS + 200);
        assert_eq!(starts(&mut gate, &lane, &mut Record::new(), NOON_MS + 200), 0);
        assert!(!start(&mut gate, &lane, ms(NOON_MS + 60_009)));
        assert!(start(&mut gate, &lane, ms(NOON_MS + 60_010)), "the stated ones have left");
    }
}

#[test]
fn only_limits_that_are_there_can_be_stated_and_not_more_than_they_allow() {
    let (mut gate, _) = process(&Record::new(), None, &quota(10), NOON_MS);
    let mut ask =
        |name: &str, kind, used| gate.usage_to_state(&policy(name), "", kind, used, ms(NOON_MS)).map(|_| ());
    assert_eq!(ask("b", LimitKind::Quota, 1), Err(StateUsageError::NoPolicy));
    assert_eq!(ask("a", LimitKind::Window, 1), Err(StateUsageError::NoLimit));
    assert!(
        matches!(ask("a", LimitKind::Quota, 11), Err(StateUsageError::TooMany(calls)) if calls.get() == 10)
    );
    assert_eq!(ask("a", LimitKind::Quota, 10), Ok(()));
}
