//! Whatever the callers do - late confirmations in any order, stalls, returns, live changes - the confirmed
//! starts never exceed the pace in any half-open window.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::{START, bind, decide, gate_with, go, paced, peak, policy, set, windowed};
use crate::clock::Timestamp;
use crate::limit::{Decision, Gate, Permit, STALE_AFTER};
use crate::policy::{Limits, Window};

const LIMITS: usize = 13;

/// Paces from far below one per second to many, and windows short and long.
fn limits(which: usize) -> Limits {
    match which {
        0..9 => paced([0.2, 0.7, 1.0, 2.5, 7.0, 33.3, 200.0, 1000.0, 5000.0][which]),
        9 => windowed(1, 10),
        10 => windowed(100, 1000),
        11 => windowed(7, 5000),
        _ => windowed(40, 250),
    }
}

fn promise(which: usize) -> Window {
    let limits = limits(which);
    limits.window.or(limits.pace.map(|pace| pace.window())).expect("one of them")
}

#[derive(Debug, Clone)]
enum Act {
    /// Time goes on by this many microseconds.
    Pass(u64),
    /// Time goes on by this many thousandths of the window.
    PassWindow(u64),
    /// Take up to this many permits.
    Take(usize),
    /// Confirm a part of the outstanding permits now, the oldest or the newest first.
    Confirm { percent: usize, newest_first: bool },
    /// Give a part of the outstanding permits back.
    PutBack { percent: usize, newest_first: bool },
    /// Change the limit.
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
        1 => (0..LIMITS).prop_map(Act::Edit),
        1 => Just(Act::Redeploy),
    ];
    proptest::collection::vec(act, 1..150)
}

/// The gate, and the plain log it is judged by: every start with the limit that ruled when it was granted.
struct World {
    gate: Gate,
    now: Timestamp,
    limit: usize,
    /// In order of grant: number of the grant, the permit, the limit.
    outstanding: Vec<(usize, Permit, usize)>,
    granted: usize,
    /// By number of the grant.
    log: BTreeMap<usize, (Timestamp, usize)>,
}

impl World {
    fn run(&mut self, act: &Act) {
        match *act {
            Act::Pass(us) => self.now = self.now + Duration::from_micros(us),
            Act::PassWindow(thousandths) => {
                self.now = self.now + promise(self.limit).length().mul_f64(thousandths as f64 / 1000.0);
            }
            Act::Take(most) => self.take(most),
            Act::Confirm { percent, newest_first } => {
                for (number, mut permit, limit) in self.pick(percent, newest_first) {
                    let in_time = self.now <= permit.granted_at() + STALE_AFTER;
                    assert_eq!(self.gate.confirm(&mut permit, self.now).is_ok(), in_time);
                    if in_time {
                        self.log.insert(number, (self.now, limit));
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
                self.limit = which;
                set(&mut self.gate, "a", &limits(which), self.now);
            }
            Act::Redeploy => {
                self.gate.remove(&policy("a"));
                set(&mut self.gate, "a", &limits(self.limit), self.now);
            }
        }
    }

    fn take(&mut self, most: usize) {
        let lane = bind(&mut self.gate, &["a"]);
        for _ in 0..most {
            match decide(&mut self.gate, &lane, self.now) {
                Decision::Go(permit) => {
                    self.granted += 1;
                    self.outstanding.push((self.granted, permit, self.limit));
                }
                Decision::NotBefore(at, _) => {
                    assert!(at > self.now);
                    break;
                }
                Decision::Wait(_) | Decision::Refuse(_) => panic!("there are slots enough"),
            }
        }
        self.gate.unbind(&lane);
    }

    fn pick(&mut self, percent: usize, newest_first: bool) -> Vec<(usize, Permit, usize)> {
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

    /// For every start: no window that holds it is overfull by the limit it was granted under, counting what
    /// was granted before it, under whatever limit. What is granted later is judged by its own.
    fn judge(&self) {
        let log: Vec<_> = self.log.values().copied().collect();
        for (index, (at, limit)) in log.iter().enumerate() {
            let (most, window) =
                (promise(*limit).calls().expect("a limit").get() as usize, promise(*limit).length());
            let near = |other: &Timestamp| *other + window > *at && *at + window > *other;
            let earlier = log[..index].iter().rev().map(|(other, _)| *other);
            // Grants are in order of time and starts follow within the life of a permit.
            let reach = window + 2 * STALE_AFTER;
            let mut around: Vec<_> = earlier.take_while(|other| *other + reach > *at).filter(near).collect();
            around.push(*at);
            let found = peak(around, window);
            assert!(found <= most, "{found} starts in {window:?}, {most} allowed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_window_ever_holds_more_than_the_limit(which in 0..LIMITS, acts in acts()) {
        let (gate, _) = gate_with(&limits(which));
        let mut world =
            World { gate, now: START, limit: which, outstanding: Vec::new(), granted: 0, log: BTreeMap::new() };
        acts.iter().for_each(|act| world.run(act));
        world.judge();
        let figures = world.gate.figures(0, 9, world.now).0.remove(0);
        prop_assert_eq!(figures.inflight as usize, world.outstanding.len());
    }

    #[test]
    fn a_permit_put_back_leaves_no_trace(
        which in 0..LIMITS,
        before in proptest::collection::vec((0_u64..3000, 0_usize..20), 0..20),
        later_us in 0_u64..2000,
        count in 1_usize..20,
    ) {
        let (mut gate, lane) = gate_with(&limits(which));
        let mut now = START;
        for (us, starts) in before {
            now = now + Duration::from_micros(us);
            let _ = (0..starts).filter(|_| super::start(&mut gate, &lane, now)).count();
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
    let lane = bind(gate, &["a"]);
    let permits: Vec<Permit> = (0..count).map_while(|_| go(gate, &lane, now)).collect();
    let found = permits.len();
    let refusal = if found < count { format!("{:?}", decide(gate, &lane, now)) } else { String::new() };
    permits.into_iter().rev().for_each(|permit| drop(gate.put_back(permit)));
    gate.unbind(&lane);
    (found, refusal)
}
