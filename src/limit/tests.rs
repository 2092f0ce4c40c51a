//! The promises of the whole room, checked against a plain log of starts.

mod ceilings;
mod controls;
mod edits;
mod gate;
mod keys;
mod records;
mod refusing;
mod stated;
mod strict;
mod utilisation;

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{Labels, Lane, PolicyId, PolicyRef};
use crate::limit::{Binding, Decision, Gate, Permit, Rules};
use crate::policy::{Family, Limits, Pace, Scope, Window};

/// Where the simulated time begins.
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn ms(ms: u64) -> Timestamp {
    START + Duration::from_millis(ms)
}

fn policy(name: &str) -> PolicyId {
    PolicyId::parse(name).expect("a valid policy id")
}

fn paced(starts_per_second: f64) -> Limits {
    let pace = Pace::per_second(starts_per_second).expect("a valid pace");
    // As many slots as there can be: these tests are about pace.
    Limits { pace: Some(pace), slots: NonZeroU32::new(u32::MAX), ..Limits::default() }
}

fn windowed(calls: i64, length_ms: i64) -> Limits {
    let window = Window::new(calls, length_ms).expect("a valid window");
    Limits { window: Some(window), slots: NonZeroU32::new(u32::MAX), ..Limits::default() }
}

fn rules(limits: &Limits, scope: &[&str]) -> Rules {
    Rules::new(limits.clone(), Family::Wait, Scope::new(scope).expect("a valid scope"))
}

/// A policy that the process before had.
fn knew(name: &str, limits: &Limits) -> (PolicyId, Rules) {
    (policy(name), rules(limits, &[]))
}

fn set(gate: &mut Gate, name: &str, limits: &Limits, now: Timestamp) {
    gate.set(&policy(name), rules(limits, &[]), now);
}

fn lane_of(names: &[&str], labels: &[(&str, &str)]) -> Lane {
    let parts = names.iter().map(|name| PolicyRef { policy: policy(name), generation: 1 }).collect();
    let keys: Vec<&str> = labels.iter().map(|(key, _)| *key).collect();
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Lane::scoped(parts, &Labels::new(labels).expect("valid labels"), &keys).expect("a lane")
}

fn bind(gate: &mut Gate, names: &[&str]) -> Binding {
    gate.bind(&lane_of(names, &[]), START)
}

/// A gate with one policy `a`, and its lane.
fn gate_with(limits: &Limits) -> (Gate, Binding) {
    let mut gate = Gate::new();
    set(&mut gate, "a", limits, START);
    let lane = bind(&mut gate, &["a"]);
    (gate, lane)
}

/// What is asked to be put on record is there at once.
fn decide(gate: &mut Gate, lane: &Binding, now: Timestamp) -> Decision {
    loop {
        let decision = gate.decide(lane, false, now);
        let reservations = gate.take_reservations();
        for reservation in &reservations {
            gate.confirmed(reservation, true, now);
        }
        if reservations.is_empty() || !matches!(decision, Decision::Wait(_)) {
            return decision;
        }
    }
}

fn go(gate: &mut Gate, lane: &Binding, now: Timestamp) -> Option<Permit> {
    match decide(gate, lane, now) {
        Decision::Go(permit) => Some(permit),
        Decision::NotBefore(..) | Decision::Wait(_) | Decision::Refuse(_) => None,
    }
}

/// Starts one call that ends at once, if that is allowed.
fn start(gate: &mut Gate, lane: &Binding, now: Timestamp) -> bool {
    let Some(mut permit) = go(gate, lane, now) else { return false };
    gate.confirm(&mut permit, now).expect("in time");
    gate.under_way(&permit, now);
    let _ = gate.release(permit);
    true
}

/// Starts all that is allowed, tick by tick.
fn drain(gate: &mut Gate, lane: &Binding, from_ms: u64, to_ms: u64) -> usize {
    let starts = |tick: u64| std::iter::from_fn(move || Some(tick));
    (from_ms..to_ms).map(|tick| starts(tick).take_while(|tick| start(gate, lane, ms(*tick))).count()).sum()
}

/// The most starts in any half-open window of this length; the starts in any order.
fn peak(mut starts: Vec<Timestamp>, window: Duration) -> usize {
    starts.sort_unstable();
    let mut most = 0;
    let mut from = 0;
    for (to, start) in starts.iter().enumerate() {
        while starts[from] + window <= *start {
            from += 1;
        }
        most = most.max(to + 1 - from);
    }
    most
}
