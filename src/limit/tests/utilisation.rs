//! A pace is used to at least 99.5 % while there is work, though the caller wakes only every millisecond.

use std::time::Duration;

use super::{START, bind, gate_with, go, ms, paced, peak, set, start, windowed};
use crate::clock::Timestamp;
use crate::limit::{Binding, Gate};

const SECONDS: u64 = 20;

/// Wakes about every millisecond, up to `late_us` late, and starts all that the gate allows, each
/// `confirm_us` at most after its grant. Returns the starts per lane.
fn simulate(gate: &mut Gate, lanes: &[Binding], late_us: u64, confirm_us: u64) -> Vec<Vec<Timestamp>> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut starts = vec![Vec::new(); lanes.len()];
    for tick in 0..SECONDS * 1000 {
        let now = START + Duration::from_millis(tick) + Duration::from_micros(rng.u64(0..=late_us));
        for (lane, starts) in lanes.iter().zip(&mut starts) {
            while let Some(mut permit) = go(gate, lane, now) {
                let at = now + Duration::from_micros(rng.u64(0..=confirm_us));
                gate.confirm(&mut permit, at).expect("in time");
                starts.push(at);
                let _ = gate.release(permit);
            }
        }
    }
    starts
}

fn check(starts: Vec<Timestamp>, pace: f64, what: &str) {
    let used = starts.len() as f64 / (pace * SECONDS as f64);
    println!("{what}: {:.3} % of {pace}/s", used * 100.0);
    assert!(used >= 0.995, "{what}: only {used} of {pace}/s");
    let most = peak(starts, Duration::from_secs(1));
    assert!(most as f64 <= pace, "{what}: {most} starts in a second at {pace}/s");
}

#[test]
fn starts_of_a_slow_pace_never_come_in_pairs() {
    for pace in [0.6, 1.1, 1.5, 2.0, 3.0, 4.0, 20.0, 90.0] {
        let (mut gate, lane) = gate_with(&paced(pace));
        let starts: Vec<u64> = (0..60_000).filter(|at| start(&mut gate, &lane, ms(*at))).collect();
        let gap_ms = 1000.0 / pace;
        let closest = starts.windows(2).map(|pair| pair[1] - pair[0]).min().expect("several");
        // Asked once per millisecond, a start is up to one late and the next one may be in time.
        assert!(closest as f64 >= gap_ms - 1.01, "{closest} ms apart at {pace} per second");
        let used = starts.len() as f64 / (60.0 * pace);
        assert!(used >= 0.995 - 1.0 / (60.0 * pace), "{used} of {pace} per second");
    }
}

#[test]
fn one_pace_is_used_to_the_full() {
    for pace in [200.0, 1000.0, 5000.0] {
        for (late_us, confirm_us) in [(0, 0), (900, 100), (2500, 1000)] {
            let (mut gate, lane) = gate_with(&paced(pace));
            let mut starts = simulate(&mut gate, &[lane], late_us, confirm_us);
            check(starts.remove(0), pace, &format!("late {late_us} us, confirm {confirm_us} us"));
            let figures = gate.figures(0, 9, START + Duration::from_secs(SECONDS)).0.remove(0);
            let counter = figures.counters[0];
            assert_eq!((counter.violations, figures.inflight), (0, 0));
            assert!(f64::from(counter.window_peak) <= pace && f64::from(counter.window_peak) > pace * 0.99);
        }
    }
}

#[test]
fn twenty_paces_side_by_side_are_used_to_the_full() {
    let mut gate = Gate::new();
    let mut lanes = Vec::new();
    for number in 0..20 {
        let name = format!("p{number}");
        set(&mut gate, &name, &paced(250.0), START);
        lanes.push(bind(&mut gate, &[&name]));
    }
    for starts in simulate(&mut gate, &lanes, 900, 300) {
        check(starts, 250.0, "one of twenty");
    }
}

#[test]
fn a_window_is_used_to_the_full() {
    let (mut gate, lane) = gate_with(&windowed(100, 1000));
    let starts = simulate(&mut gate, &[lane], 900, 100).remove(0);
    check(starts, 100.0, "a window of 100 per second");
}

#[test]
fn starts_are_spread_over_the_second() {
    let (mut gate, lane) = gate_with(&paced(5000.0));
    let starts = simulate(&mut gate, &[lane], 900, 100).remove(0);
    let most = peak(starts, Duration::from_millis(20));
    assert!(most <= 150, "{most} starts in 20 ms where 100 are smooth");
}
