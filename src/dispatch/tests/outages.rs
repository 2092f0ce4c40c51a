//! Outages of endpoints and shortages of tidegate's own: what waits behind them is neither parked nor forgotten.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use super::{Bench, FINE, START, book, entry, lane, ms};
use crate::dispatch::HoldReason;
use crate::event::{Cause, Entry, LaneKey, NameFailure, Outcome, Settlement, Shortage, Tries};

const OUTAGE: Duration = Duration::from_secs(2 * 3600);
const EVENTS: u128 = 300;

fn unanswered(cause: Cause) -> Outcome {
    Outcome::Retry { cause, retry_after: None }
}

/// One lane whose calls end as the test says, and whose queue hands out again what was put off.
struct Lane {
    bench: Bench,
    key: LaneKey,
    /// Calls that have ended.
    ended: usize,
    /// What is on record of those that were put off.
    tries: BTreeMap<u128, Tries>,
    due_ms: BTreeMap<u128, u64>,
}

impl Lane {
    fn new(policies: &[(&str, u32)], max_attempts: u16, events: u128) -> Self {
        let mut bench = Bench::new(&book(&[("p", None, 100)]));
        bench.planner.starts.options.retry.max_attempts = NonZeroU16::new(max_attempts);
        let key = lane(policies);
        bench.fill(&key, 0..events);
        Self { bench, key, ended: 0, tries: BTreeMap::new(), due_ms: BTreeMap::new() }
    }

    fn governed(max_attempts: u16, events: u128) -> Self {
        Self::new(&[("p", 1)], max_attempts, events)
    }

    fn begin(mut self) -> Self {
        let key = self.key.clone();
        self.bench.announce(&key);
        self
    }

    /// Ends the call that started first of those under way.
    fn end(&mut self, outcome: &Outcome) {
        let before = self.bench.settled.len();
        self.bench.finish(self.ended, outcome.clone());
        self.ended += 1;
        for (id, settlement) in self.bench.settled.split_off(before) {
            let Settlement::Reschedule { due_at, tries, .. } = settlement else {
                self.bench.settled.push((id, settlement));
                continue;
            };
            self.tries.insert(id.tail(), tries);
            self.due_ms.insert(id.tail(), due_at.since(self.bench.now).as_millis() as u64);
            let again = Entry { due_at: Some(due_at), tries, ..entry(&self.key, id.tail()) };
            self.bench.waiting.entry(self.key.clone()).or_default().push(again);
        }
    }

    /// Ends every call under way, and those that start because of that.
    fn end_all(&mut self, outcome: &Outcome) {
        while self.ended < self.bench.sent.len() {
            self.end(outcome);
        }
    }

    /// For two hours every call ends like that, then the endpoint works. Dead letters, deliveries, calls of the outage.
    fn outage(mut self, outcome: &Outcome) -> (usize, usize, usize) {
        while self.bench.now < START + OUTAGE {
            self.end_all(outcome);
            self.bench.pass(ms(2_000));
        }
        self.end_all(outcome);
        let calls = self.ended;
        while self.bench.now < START + OUTAGE + Duration::from_secs(900) {
            self.bench.pass(ms(2_000));
            self.end_all(&FINE);
        }
        let count = |is: fn(&Settlement) -> bool| {
            self.bench.settled.iter().filter(|(_, settlement)| is(settlement)).count()
        };
        let dead = count(|settlement| matches!(settlement, Settlement::Dead { .. }));
        (dead, count(|settlement| *settlement == Settlement::Delivered), calls)
    }
}

#[test]
fn an_outage_of_two_hours_makes_no_dead_letter_of_what_waits_behind_an_open_breaker() {
    for failure in [
        unanswered(Cause::Closed),
        unanswered(Cause::Timeout),
        unanswered(Cause::Status(503)),
        Outcome::Unprocessed { cause: Cause::Connect },
    ] {
        let (dead, delivered, calls) = Lane::governed(2, EVENTS).begin().outage(&failure);
        assert_eq!((dead, delivered), (0, EVENTS as usize), "{failure:?} after {calls} calls");
        // What was under way when the breaker opened, and single calls, a minute apart in the end.
        assert!((120..500).contains(&calls), "{calls} calls");
    }
    // The control: without a breaker every call is an attempt.
    let mut lane = Lane::governed(2, EVENTS);
    lane.bench.planner.starts.options.breaker.failures = 0;
    assert_eq!(lane.begin().outage(&unanswered(Cause::Closed)).0, EVENTS as usize);
}

#[test]
fn an_event_that_was_never_processed_is_tried_until_it_is_with_its_attempts_left() {
    for cause in [Cause::Connect, Cause::Tls, Cause::Refused, Cause::Dns(NameFailure::NoSuchName)] {
        let (dead, delivered, calls) = Lane::governed(1, 1).begin().outage(&Outcome::Unprocessed { cause });
        assert_eq!((dead, delivered), (0, 1));
        assert!((24..120).contains(&calls), "five minutes apart at most in the end: {calls}");
    }
    // The control: one that may have been processed has used its only attempt up.
    assert_eq!(Lane::governed(1, 1).begin().outage(&unanswered(Cause::Closed)), (1, 0, 1));
}

#[test]
fn a_probe_is_a_try_and_no_attempt_and_calls_while_the_lane_recovers_are_attempts_again() {
    let mut lane = Lane::governed(3, EVENTS).begin();
    lane.end_all(&unanswered(Cause::Closed));
    assert!(lane.tries.values().all(|tries| *tries == Tries::of(1)), "what was under way when it opened");
    let before = lane.bench.sent.len();
    lane.bench.pass(ms(1_000));
    assert_eq!(lane.bench.sent.len(), before + 1, "the probe");
    let probe = lane.bench.sent_ids()[before];
    let untried = lane.tries.get(&probe).copied().unwrap_or_default();
    lane.end(&unanswered(Cause::Closed));
    assert_eq!(lane.tries[&probe], untried.and_free());
    // The next one succeeds, and those that it lets through fail.
    lane.bench.pass(ms(2_000));
    lane.end(&FINE);
    lane.bench.pass(ms(100));
    let recovering = lane.bench.sent_ids()[lane.ended..].to_vec();
    assert_eq!(recovering.len(), 2, "few at a time");
    for id in recovering {
        let before = lane.tries.get(&id).copied().unwrap_or_default();
        lane.end(&unanswered(Cause::Closed));
        assert_eq!(lane.tries[&id], before.and_attempt());
    }
}

#[test]
fn after_a_shortage_of_ours_a_lane_waits_a_moment_and_nothing_was_tried() {
    for policies in [&[("p", 1)][..], &[]] {
        let mut lane = Lane::new(policies, 1, 2).begin();
        assert_eq!(lane.bench.sent.len(), 2);
        // More often than a breaker would bear.
        for round in 1..40 {
            for cause in [Cause::Shortage(Shortage::Descriptors), Cause::Dns(NameFailure::Shortage)] {
                lane.end(&Outcome::Shortage { cause });
            }
            assert!(lane.tries.values().all(|tries| *tries == Tries::NONE));
            assert!(lane.due_ms.values().all(|due_ms| (500..=1_001).contains(due_ms)), "{:?}", lane.due_ms);
            let held = lane.bench.planner.figures(lane.bench.now).held;
            let reasons: Vec<_> = held.iter().map(|(_, hold)| hold.reason).collect();
            assert_eq!(reasons, [HoldReason::Shortage]);
            lane.bench.pass(ms(499));
            assert_eq!(lane.bench.sent.len(), 2 * round, "not at once");
            // The longest hold, to which those in a row grow.
            lane.bench.pass(ms(8_000));
            assert_eq!(lane.bench.sent.len(), 2 * round + 2, "soon");
        }
        lane.end_all(&FINE);
        assert!(lane.bench.settled.iter().all(|(_, settlement)| *settlement == Settlement::Delivered));
    }
}
