//! Starts on record: nothing is forgotten over a kill, and little is forfeited.

use super::{bind, decide, go, knew, ms, paced, policy, rules, set, start, windowed};
use crate::clock::Timestamp;
use crate::limit::{Consumed, Decision, Gate, HistoryGap, LimitKind, Reservation};
use crate::policy::{Limits, Pace, Period, Quota};

type Record = Vec<(Box<str>, Consumed)>;

fn quota(calls: i64) -> Limits {
    Limits { quota: Quota::new(calls, Period::Day).ok(), ..Limits::default() }
}

fn slow() -> Limits {
    Limits { pace: Pace::per_second(0.1).ok(), ..Limits::default() }
}

/// A process that writes down what it is asked to, at once, and ends at any moment.
fn process(record: &mut Record, limits: &Limits, now: Timestamp, most: usize) -> usize {
    // The first one has nobody before it.
    let before = if record.is_empty() { Timestamp::ZERO } else { now };
    let gap = HistoryGap { before, on_record_before: Timestamp::ZERO };
    let mut gate = Gate::after(gap, now, record.clone(), [knew("a", limits)]);
    set(&mut gate, "a", limits, now);
    let lane = bind(&mut gate, &["a"]);
    let mut started = 0;
    for _ in 0..most * 2 {
        let decision = gate.decide(&lane, false, now);
        let reservations: Vec<Reservation> = gate.take_reservations();
        record.extend(reservations.iter().map(|made| (made.name.clone(), made.consumed)));
        for reservation in &reservations {
            gate.confirmed(reservation, true, now);
        }
        if let Decision::Go(mut permit) = decision {
            gate.confirm(&mut permit, now).expect("in time");
            let _ = gate.release(permit);
            started += 1;
        }
        if started == most {
            break;
        }
    }
    started
}

#[test]
fn a_quota_is_never_exceeded_however_often_the_process_is_killed() {
    let mut record = Record::new();
    let mut started = 0;
    for kill in 0..400 {
        started += process(&mut record, &quota(1000), ms(kill * 200), 3 + kill as usize % 40);
    }
    assert!(started <= 1000, "{started}");
    assert!(started >= 450, "at most a portion is forfeited by each kill: {started}");
    assert_eq!(process(&mut record, &quota(1000), ms(90_000_000), 5), 5, "the next day is another one");
}

#[test]
fn starts_that_were_not_put_on_record_are_forgotten() {
    // The negative control: without its record the budget of each process is fresh.
    let started: usize = (0..10).map(|kill| process(&mut Record::new(), &quota(100), ms(kill), 100)).sum();
    assert_eq!(started, 1000);
}

#[test]
fn a_slow_pace_waits_for_its_time_over_kills_and_goes_on() {
    let mut record = Record::new();
    let starts: Vec<u64> = (0..600)
        .filter(|tick| process(&mut record, &slow(), ms(tick * 100), 1) == 1)
        .map(|tick| tick * 100)
        .collect();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 10_000), "{starts:?}");
    assert!(starts.len() >= 5, "{starts:?}");
}

#[test]
fn a_long_window_holds_over_kills() {
    let mut record = Record::new();
    let limits = windowed(20, 60_000);
    let mut starts = Vec::new();
    for kill in 0..1200 {
        let now = ms(kill * 100);
        let count = process(&mut record, &limits, now, 2);
        starts.extend(std::iter::repeat_n(now, count));
    }
    assert!(super::peak(starts.clone(), std::time::Duration::from_secs(60)) <= 20);
    assert!(starts.len() >= 10, "{}", starts.len());
}

#[test]
fn an_orderly_end_forfeits_nothing_and_forgets_nothing() {
    let mut started = 0;
    let mut record = Record::new();
    for restart in 0..200 {
        let now = ms(restart * 10);
        let mut gate = Gate::after(HistoryGap::default(), now, record, []);
        set(&mut gate, "a", &quota(1000), now);
        set(&mut gate, "b", &windowed(100, 1000), now);
        let lanes = [bind(&mut gate, &["a"]), bind(&mut gate, &["b"])];
        started += (0..7).filter(|_| start(&mut gate, &lanes[0], now)).count();
        let _ = (0..7).filter(|_| start(&mut gate, &lanes[1], now)).count();
        let used: u32 = gate
            .figures(0, 9, now)
            .0
            .iter()
            .flat_map(|figures| figures.counters.clone())
            .filter(|counter| counter.kind == LimitKind::Window)
            .map(|counter| counter.used)
            .sum();
        assert_eq!(used as u64, (7 * (restart + 1)).min(100));
        record = gate.consumed(now);
    }
    assert_eq!(started, 1000);
}

#[test]
fn what_belongs_to_nobody_yet_is_kept_until_it_is_over() {
    let on_record = |gate: &mut Gate, at: Timestamp| gate.consumed(at).len();
    let consumed = Consumed { count: 5, at: ms(0), over_at: ms(10_000) };
    let mut gate = Gate::after(HistoryGap::default(), ms(0), [("window gone ".into(), consumed)], []);
    assert_eq!(on_record(&mut gate, ms(9_999)), 1);
    assert_eq!(on_record(&mut gate, ms(10_000)), 0);
}

#[test]
fn a_lost_record_silences_its_windows_once() {
    let gap = HistoryGap { before: ms(0), on_record_before: ms(0) };
    let mut gate = Gate::after(gap, ms(0), [], []);
    set(&mut gate, "a", &windowed(5, 60_000), ms(0));
    let lane = bind(&mut gate, &["a"]);
    assert!(!start(&mut gate, &lane, ms(59_999)) && start(&mut gate, &lane, ms(60_000)));
}

#[test]
fn nothing_starts_while_its_record_fails() {
    let mut gate = Gate::new();
    set(&mut gate, "a", &quota(5), ms(0));
    let lane = bind(&mut gate, &["a"]);
    assert!(matches!(gate.decide(&lane, false, ms(0)), Decision::Wait(_)));
    let reservations = gate.take_reservations();
    assert_eq!(reservations.len(), 1);
    assert!(matches!(gate.decide(&lane, false, ms(1)), Decision::Wait(_)));
    assert!(gate.take_reservations().is_empty(), "it is asked once");
    gate.confirmed(&reservations[0], false, ms(2));
    assert!(matches!(decide(&mut gate, &lane, ms(3)), Decision::NotBefore(at, _) if at == ms(1002)));
    assert!(start(&mut gate, &lane, ms(1002)));
}

#[test]
fn a_quota_that_comes_back_remembers_and_keys_are_put_aside_with_theirs() {
    let mut gate = Gate::new();
    let rules = |limits: &Limits| rules(limits, &[]);
    gate.set(&policy("a"), rules(&quota(2)), ms(0));
    let lane = bind(&mut gate, &["a"]);
    assert!(start(&mut gate, &lane, ms(0)) && start(&mut gate, &lane, ms(0)));
    gate.set(&policy("a"), rules(&Limits::default()), ms(1));
    assert!(go(&mut gate, &lane, ms(2)).is_some());
    gate.set(&policy("a"), rules(&quota(3)), ms(3));
    assert!(start(&mut gate, &lane, ms(4)) && !start(&mut gate, &lane, ms(5)));

    let mut gate = Gate::new();
    gate.set(&policy("a"), rules(&quota(1)), ms(0));
    let lane = bind(&mut gate, &["a"]);
    assert!(start(&mut gate, &lane, ms(0)));
    gate.unbind(&lane);
    gate.forget_idle(ms(10_000));
    assert_eq!(gate.limiters(), 0);
    let lane = bind(&mut gate, &["a"]);
    assert!(!start(&mut gate, &lane, ms(10_001)));
}

#[test]
fn a_window_that_an_edit_brings_in_reaches_back_over_a_kill() {
    let gap = HistoryGap { before: ms(500), on_record_before: Timestamp::ZERO };
    let mark = Consumed { count: 1, at: Timestamp::ZERO, over_at: Timestamp::MAX };
    let edit = |first: &Limits| {
        let mut gate = Gate::after(gap, ms(500), [("mark a 10000".into(), mark)], [knew("a", first)]);
        set(&mut gate, "a", first, ms(500));
        set(&mut gate, "a", &windowed(3, 10_000), ms(2_000));
        let lane = bind(&mut gate, &["a"]);
        [2_000, 10_499, 10_500].into_iter().find(|at| start(&mut gate, &lane, ms(*at)))
    };
    assert_eq!(edit(&paced(5.0)), Some(10_500), "the pace put no start on record");
    assert_eq!(edit(&windowed(3, 5_000)), Some(10_500), "the shorter window forgot some");
    assert_eq!(edit(&windowed(9, 10_000)), Some(2_000), "all of them are on record");
}

#[test]
fn a_quota_that_comes_back_after_several_edits_counts_what_was_used() {
    let mut gate = Gate::new();
    set(&mut gate, "a", &quota(2), ms(0));
    let lane = bind(&mut gate, &["a"]);
    assert!(start(&mut gate, &lane, ms(0)) && start(&mut gate, &lane, ms(0)));
    for (limits, at) in [(paced(50.0), 1), (paced(60.0), 2), (windowed(9, 100), 3), (quota(2), 4)] {
        set(&mut gate, "a", &limits, ms(at));
    }
    assert!(!start(&mut gate, &lane, ms(5_000)));
}
