//! Endpoints that are away for minutes or hours under a virtual clock: what waits behind them is delivered when they are
//! back, within the limit, whether one event waits or a whole backlog.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::{FINE, START, book, entry, lane};
use crate::clock::Timestamp;
use crate::dispatch::{
    BreakerPolicy, Effect, Endpoints, Input, Planner, PlannerOptions, RetryPolicy, Ticket,
};
use crate::event::{Cause, Entry, EventId, LaneKey, Outcome, Settlement, Tries};
use crate::limit::Gate;
use crate::policy::Runtime;
use crate::queue::LoadedPage;

/// Starts in any second.
const PACE: usize = 200;
const CALL: Duration = Duration::from_millis(20);
const GIVE_UP: Duration = Duration::from_secs(5 * 3600);

/// One lane, its queue, and an endpoint that is away at first.
struct Outage {
    planner: Planner,
    lane: LaneKey,
    now: Timestamp,
    back_at: Timestamp,
    failure: Outcome,
    /// The next entry that was never handed out, and how many there are.
    fresh: u128,
    all: u128,
    due: BTreeMap<(Timestamp, EventId), Tries>,
    /// When each ends, and whether it fails: 1, or not: 0.
    calls: BinaryHeap<Reverse<(Timestamp, Ticket, u8)>>,
    started: Vec<Timestamp>,
    tried: Vec<u32>,
    delivered_at: Vec<Option<Timestamp>>,
    dead: usize,
}

impl Outage {
    fn new(waiting: u128, away: Duration, failure: Outcome, options: PlannerOptions, seed: u64) -> Self {
        let runtime = Arc::new(Runtime::build(&book(&[("p", Some(PACE as f64), 1_000)])).expect("small"));
        let dice = fastrand::Rng::with_seed(seed);
        let count = usize::try_from(waiting).expect("fits");
        Self {
            planner: Planner::new(Gate::new(), (&runtime, Arc::default()), options, dice, START),
            lane: lane(&[("p", 1)]),
            now: START,
            back_at: START + away,
            failure,
            fresh: 0,
            all: waiting,
            due: BTreeMap::new(),
            calls: BinaryHeap::new(),
            started: Vec::new(),
            tried: vec![0; count],
            delivered_at: vec![None; count],
            dead: 0,
        }
    }

    fn run(mut self) -> Self {
        self.step(Input::LaneReady(self.lane.clone()));
        let mut ended = 0;
        while ended < self.tried.len() {
            let over = self.calls.peek().map(|Reverse((at, ..))| *at);
            let next = self.planner.next_wake().into_iter().chain(over).min();
            let next = next.expect("somebody is going to do something");
            self.now = self.now.max(next) + Duration::from_micros(10);
            match self.calls.pop() {
                Some(Reverse((at, ticket, outcome))) if at <= self.now => {
                    let outcome = if outcome == 0 { FINE } else { self.failure.clone() };
                    ended += self.step(Input::Finished { ticket, outcome, took: CALL });
                }
                later => {
                    self.calls.extend(later);
                    ended += self.step(Input::Tick);
                }
            }
            assert!(self.now < START + GIVE_UP, "not drained: {:?}", self.planner.figures(self.now));
        }
        self
    }

    /// Returns how many entries have ended.
    fn step(&mut self, input: Input) -> usize {
        let (mut effects, mut ended) = (Vec::new(), 0);
        self.planner.step(input, self.now, &mut effects);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Load { lane, limit, .. } => {
                        let loaded = Input::Loaded(lane, self.page(limit.entries));
                        self.planner.step(loaded, self.now, &mut effects);
                    }
                    Effect::Send { ticket } => self.send(ticket, &mut effects),
                    Effect::Settle(settled) => {
                        let (id, place) = (settled.entry.id, settled.entry.id.tail() as usize);
                        match settled.settlement {
                            Settlement::Reschedule { due_at, tries, .. } => {
                                let is_first =
                                    self.due.keys().next().is_none_or(|(first, _)| due_at < *first);
                                self.due.insert((due_at, id), tries);
                                if is_first {
                                    let put_off = Input::PutOff(self.lane.clone(), due_at);
                                    self.planner.step(put_off, self.now, &mut effects);
                                }
                                continue;
                            }
                            Settlement::Delivered => self.delivered_at[place] = Some(self.now),
                            Settlement::Dead { .. } => self.dead += 1,
                            other => panic!("{id} ends as {other:?}"),
                        }
                        ended += 1;
                    }
                    Effect::Record(reservations) => {
                        let recorded = Input::Recorded { reservations, is_recorded: true };
                        self.planner.step(recorded, self.now, &mut effects);
                    }
                }
            }
        }
        ended
    }

    fn send(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) {
        let none = Endpoints::default();
        let Some(start) = self.planner.confirm(ticket, &none, self.now, effects) else { return };
        self.tried[start.entry.id.tail() as usize] += 1;
        self.started.push(self.now);
        let is_away = self.now < self.back_at;
        self.calls.push(Reverse((self.now + CALL, ticket, u8::from(is_away))));
    }

    /// Due entries in half of the page, as the queue hands them out.
    fn page(&mut self, most: usize) -> LoadedPage {
        let mut entries: Vec<Entry> = Vec::new();
        while entries.len() < most.div_ceil(2)
            && let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= self.now)
        {
            let ((due_at, id), tries) = first.remove_entry();
            entries.push(Entry { due_at: Some(due_at), tries, ..entry(&self.lane, id.tail()) });
        }
        while entries.len() < most && self.fresh < self.all {
            entries.push(entry(&self.lane, self.fresh));
            self.fresh += 1;
        }
        let next_due = self.due.keys().next().map(|(due_at, _)| *due_at);
        LoadedPage { entries, more: self.fresh < self.all, next_due }
    }

    /// The most starts in any sliding second.
    fn peak(&self) -> usize {
        let second = Duration::from_secs(1);
        let mut first = 0;
        let within = |(last, at): (usize, &Timestamp)| {
            while self.started[first] + second <= *at {
                first += 1;
            }
            last - first + 1
        };
        self.started.iter().enumerate().map(within).max().unwrap_or(0)
    }
}

fn unanswered(cause: Cause) -> Outcome {
    Outcome::Retry { cause, retry_after: None }
}

/// As many attempts, and neither a breaker nor a rate that is reduced.
fn bounded(attempts: u16) -> PlannerOptions {
    let retry = RetryPolicy { max_attempts: NonZeroU16::new(attempts), ..RetryPolicy::default() };
    let breaker = BreakerPolicy { failures: 0, ..BreakerPolicy::default() };
    PlannerOptions { retry, breaker, adaptive_rate: false, ..PlannerOptions::default() }
}

#[test]
fn one_event_in_a_quiet_lane_is_delivered_after_five_minutes() {
    let away = Duration::from_secs(300);
    let mut given_up = 0;
    for seed in 0..40 {
        for failure in [
            unanswered(Cause::Closed),
            unanswered(Cause::Status(503)),
            unanswered(Cause::Status(429)),
            Outcome::Unprocessed { cause: Cause::Connect },
        ] {
            let over = Outage::new(1, away, failure.clone(), PlannerOptions::default(), seed).run();
            let [Some(at)] = over.delivered_at[..] else {
                panic!("seed {seed}: {failure:?} is not delivered")
            };
            let late = at.since(START + away);
            assert!(late <= Duration::from_secs(301), "seed {seed}: {late:?} after the endpoint was back");
        }
        // The control: with eight attempts, as it was before.
        given_up += Outage::new(1, away, unanswered(Cause::Closed), bounded(8), seed).run().dead;
    }
    assert!(given_up > 30, "only {given_up} of 40 are given up with eight attempts");
}

#[test]
fn a_backlog_behind_an_endpoint_that_is_away_for_two_hours_is_delivered_within_the_limit() {
    let away = Duration::from_secs(2 * 3600);
    for (failure, waiting) in
        [(unanswered(Cause::Status(503)), 200_000), (Outcome::Unprocessed { cause: Cause::Connect }, 20_000)]
    {
        let over = Outage::new(waiting, away, failure.clone(), PlannerOptions::default(), 7).run();
        let last = over.delivered_at.iter().flatten().max().expect("all are delivered");
        let delivered = over.delivered_at.iter().flatten().count();
        let drained = last.since(over.back_at);
        let ideal = Duration::from_secs_f64(waiting as f64 / PACE as f64);
        let (most, tries) = (over.tried.iter().max(), over.tried.iter().sum::<u32>());
        println!(
            "{failure:?}: {delivered} delivered, {} dead, {tries} calls, at most {most:?} of one event, drained in \
             {drained:?}, ideally {ideal:?}, at most {} starts in a second",
            over.dead,
            over.peak()
        );
        assert_eq!((delivered, over.dead), (waiting as usize, 0), "{failure:?}");
        assert!(over.peak() <= PACE, "{} starts in a second", over.peak());
        let in_vain = tries - waiting as u32;
        assert!(in_vain < 500, "{in_vain} calls in vain: single ones, a minute apart in the end");
        assert!(drained < ideal.mul_f64(1.15) + Duration::from_secs(60), "{drained:?} instead of {ideal:?}");
    }
    // The control: a bound on attempts and no breaker.
    let over = Outage::new(2_000, away, unanswered(Cause::Status(503)), bounded(8), 7).run();
    assert_eq!(over.dead, 2_000);
}
