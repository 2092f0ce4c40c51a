//! Whatever the callers do - late confirmations in any order, stalls, returns, live changes - the confirmed
//! starts never exceed the pace in any half-open window.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{START, gate_with, paced, peak, policy, promise};
use crate::clock::Timestamp;
use crate::limit::{Decision, Gate, Permit, STALE_AFTER};

const PACES: [f64; 9] = [0.2, 0.7, 1.0, 2.5, 7.0, 33.3, 200.0, 1000.0, 5000.0];

#[derive(Debug, Clone)]
enum Act {
    /// Time goes on by so many microseconds.
    Pass(u64),
    /// Time goes on by so many thousandths of the window.
    PassWindow(u64),
    /// Take up to so many permits.
    Take(usize),
    /// Confirm a part of the outstanding permits now, the oldest or the newest first.
    Confirm { percent: usize, newest_first: bool },
    /// Give a part of the outstanding permits back.
    PutBack { percent: usize, newest_first: bool },
    /// Change the pace.
    Edit(usize),
    /// Take the policy away and bring it back.
    Redeploy,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1_u64..6000).prop_map(Act::Pass),
        2 => (0_u64..1100).prop_map(Act::PassWindow),
        6 => (1_usize..300).prop_map(Act::Take),
        6 => (1_usize..=100, any::<bool>())
            .prop_map(|(percent, newest_first)| Act::Confirm { percent, newest_first }),
        2 => (1_usize..=100, any::<bool>())
            .prop_map(|(percent, newest_first)| Act::PutBack { percent, newest_first }),
        1 => (0..PACES.len()).prop_map(Act::Edit),
        1 => Just(Act::Redeploy),
    ];
    proptest::collection::vec(act, 1..150)
}

/// The gate, and the plain log it is judged by: every start with the pace that ruled when it was granted.
struct World {
    gate: Gate,
    now: Timestamp,
    pace: f64,
    /// In order of grant: number of the grant, the permit, the pace.
    outstanding: Vec<(usize, Permit, f64)>,
    granted: usize,
    /// By number of the grant.
    log: BTreeMap<usize, (Timestamp, f64)>,
}

impl World {
    fn run(&mut self, act: &Act) {
        match *act {
            Act::Pass(us) => self.now = self.now + Duration::from_micros(us),
            Act::PassWindow(thousandths) => {
                self.now = self.now + promise(self.pace).1.mul_f64(thousandths as f64 / 1000.0);
            }
            Act::Take(most) => self.take(most),
            Act::Confirm { percent, newest_first } => {
                for (number, permit, pace) in self.pick(percent, newest_first) {
                    let in_time = self.now <= permit.granted_at() + STALE_AFTER;
                    assert_eq!(permit.confirm(self.now).is_ok(), in_time);
                    if in_time {
                        self.log.insert(number, (self.now, pace));
                        let _ = self.gate.release(permit);
                    } else {
                        let _ = self.gate.put_back(permit);
                    }
                }
            }
            Act::PutBack { percent, newest_first } => {
                for (_, permit, _) in self.pick(percent, newest_first) {
                    let _ = self.gate.put_back(permit);
                }
            }
            Act::Edit(which) => {
                self.pace = PACES[which];
                self.gate.set(&policy("a"), &paced(self.pace), self.now);
            }
            Act::Redeploy => {
                self.gate.remove(&policy("a"));
                self.gate.set(&policy("a"), &paced(self.pace), self.now);
            }
        }
    }

    fn take(&mut self, most: usize) {
        let lane = self.gate.bind(&[policy("a")]);
        for _ in 0..most {
            match self.gate.decide(&lane, self.now) {
                Decision::Go(permit) => {
                    self.granted += 1;
                    self.outstanding.push((self.granted, permit, self.pace));
                }
                Decision::NotBefore(at, _) => {
                    assert!(at > self.now);
                    break;
                }
                Decision::Wait(_) => panic!("there are slots enough"),
            }
        }
    }

    fn pick(&mut self, percent: usize, newest_first: bool) -> Vec<(usize, Permit, f64)> {
        let count = (self.outstanding.len() * percent).div_ceil(100);
        if newest_first {
            let rest = self.outstanding.len() - count;
            let mut picked = self.outstanding.split_off(rest);
            picked.reverse();
            picked
        } else {
            self.outstanding.drain(..count).collect()
        }
    }

    /// For every start: no window that holds it is overfull by the pace it was granted under, counting what
    /// was granted before it, under whatever pace. What is granted later is judged by its own pace.
    fn judge(&self) {
        let log: Vec<_> = self.log.values().copied().collect();
        for (index, (at, pace)) in log.iter().enumerate() {
            let (most, window) = promise(*pace);
            let near = |other: &Timestamp| *other + window > *at && *at + window > *other;
            let earlier = log[..index].iter().rev().map(|(other, _)| *other);
            // Grants are in order of time and starts follow within the life of a permit.
            let reach = window + 2 * STALE_AFTER;
            let mut around: Vec<_> = earlier.take_while(|other| *other + reach > *at).filter(near).collect();
            around.push(*at);
            let found = peak(around, window);
            assert!(found <= most, "{found} starts in {window:?} at {pace}/s");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_window_ever_holds_more_than_the_pace(which in 0..PACES.len(), acts in acts()) {
        let (gate, _) = gate_with(&paced(PACES[which]));
        let mut world =
            World { gate, now: START, pace: PACES[which], outstanding: Vec::new(), granted: 0, log: BTreeMap::new() };
        acts.iter().for_each(|act| world.run(act));
        world.judge();
        let figures = world.gate.figures(world.now).next().expect("one policy");
        prop_assert_eq!(figures.inflight as usize, world.outstanding.len());
    }

    #[test]
    fn a_permit_put_back_leaves_no_trace(
        which in 0..PACES.len(),
        before in proptest::collection::vec((0_u64..3000, 0_usize..20), 0..20),
        later_us in 0_u64..2000,
        count in 1_usize..20,
    ) {
        let (mut gate, lane) = gate_with(&paced(PACES[which]));
        let mut now = START;
        for (us, starts) in before {
            now = now + Duration::from_micros(us);
            for _ in 0..starts {
                if let Decision::Go(permit) = gate.decide(&lane, now) {
                    prop_assert!(permit.confirm(now).is_ok());
                    let _ = gate.release(permit);
                }
            }
        }
        now = now + Duration::from_micros(later_us);
        let first = taken(&mut gate, now, count);
        let again = taken(&mut gate, now, count);
        prop_assert_eq!(first, again);
    }
}

/// Takes up to `count` permits and gives them back, the newest first; returns how many there were and what
/// the gate said after them.
fn taken(gate: &mut Gate, now: Timestamp, count: usize) -> (usize, String) {
    let lane = gate.bind(&[policy("a")]);
    let mut permits = Vec::new();
    let mut refusal = String::new();
    for _ in 0..count {
        match gate.decide(&lane, now) {
            Decision::Go(permit) => permits.push(permit),
            other => refusal = format!("{other:?}"),
        }
    }
    let found = permits.len();
    permits.into_iter().rev().for_each(|permit| drop(gate.put_back(permit)));
    (found, refusal)
}
