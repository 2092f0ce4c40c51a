//! The promises of the whole room, checked against a plain log of starts.

mod controls;
mod gate;
mod strict;
mod utilisation;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::{Binding, Decision, Gate, Permit};
use crate::policy::{Limits, Pace};

/// Where the simulated time begins.
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn policy(name: &str) -> PolicyId {
    PolicyId::parse(name).expect("a valid policy id")
}

fn paced(starts_per_second: f64) -> Limits {
    let pace = Pace::per_second(starts_per_second).expect("a valid pace");
    // As many slots as there can be: these tests are about pace.
    Limits { pace: Some(pace), slots: std::num::NonZeroU32::new(u32::MAX), timeout: None }
}

/// A gate with one policy `a`, and its lane.
fn gate_with(limits: &Limits) -> (Gate, Binding) {
    let mut gate = Gate::new(Timestamp::ZERO);
    gate.set(&policy("a"), limits, START);
    let lane = gate.bind(&[policy("a")]);
    (gate, lane)
}

fn go(gate: &mut Gate, lane: &Binding, now: Timestamp) -> Option<Permit> {
    match gate.decide(lane, now) {
        Decision::Go(permit) => Some(permit),
        Decision::NotBefore(..) | Decision::Wait(_) => None,
    }
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

/// The promise for a pace: how many starts in which window.
fn promise(starts_per_second: f64) -> (usize, Duration) {
    let most = starts_per_second.ceil();
    (most as usize, Duration::from_secs_f64(most / starts_per_second))
}
