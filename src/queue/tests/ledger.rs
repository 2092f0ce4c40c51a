//! The ledger adds up after every step of any life of the queue, and while everything happens at once. Each of its
//! counts is needed for that: leaving one out is noticed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::event::{CanonicalUrl, Entry, Labels, PolicyId, PolicyRef, Settlement, Tries};
use crate::queue::ledger::Count;
use crate::queue::*;
use crate::store::memory::MemoryStore;
use crate::store::{GiveUp, ReadLimit};
use crate::telemetry::testing::Recorded;

const START: Timestamp = Timestamp::from_millis(1_000_000);
const PAGE: ReadLimit = ReadLimit { entries: 7, bytes: 1 << 20 };
const IN: [&str; 2] = ["accepted", "redriven"];
/// The terms of the ledger for what has ended, each with its label in the counters.
const OUTCOMES: [(&str, &str); 6] = [
    ("delivered", "delivered"),
    ("expired", "expired"),
    ("dead", "dead"),
    ("drained", "config_drained"),
    ("cancelled", "cancelled"),
    ("lost", "lost"),
];

fn lane(number: u64) -> Lane {
    let policy = PolicyId::parse(&format!("p{number}")).expect("valid");
    Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("valid")
}

fn accept(number: u64, due_at: Option<Timestamp>) -> NewEvent {
    let event = Event {
        method: Method::POST,
        url: CanonicalUrl::parse("http://h.org/x").expect("valid"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        labels: Labels::default(),
        due_at,
        is_dated: false,
        expires_at: START + Duration::from_secs(3600),
        redriven: None,
    };
    // Every third key comes again and again.
    let dedup = number.is_multiple_of(3).then_some(Dedup { key: [(number % 5) as u8; 16], fingerprint: 1 });
    NewEvent { lane: lane(number % 3), event, dedup, source: EventSource::Http }
}

/// What the counter and the histogram of ends say, in the order of [`OUTCOMES`]. Every event has one policy here.
fn counted(recorded: &Recorded) -> [[f64; 6]; 2] {
    ["tidegate_events_completed_total", "tidegate_event_lifetime_seconds_count"]
        .map(|name| OUTCOMES.map(|(_, label)| recorded.sum(name, &format!("outcome=\"{label}\""))))
}

/// What comes in less what is there or has ended.
fn difference(ledger: &Ledger) -> i64 {
    ledger
        .terms()
        .into_iter()
        .map(|(term, events)| {
            let events = i64::try_from(events).expect("few");
            if IN.contains(&term) { events } else { -events }
        })
        .sum()
}

/// A life of the queue, with what the test itself has counted of the ends.
struct Life {
    clock: Clock,
    store: MemoryStore,
    queue: Queue,
    _signals: LaneSignals,
    out: Vec<Entry>,
    dice: fastrand::Rng,
    ends: BTreeMap<&'static str, u64>,
    /// The same with those of the lives before.
    all_ends: BTreeMap<&'static str, u64>,
    number: u64,
    /// What none of its lives counts.
    left_out: Option<Count>,
}

impl Life {
    async fn over(store: MemoryStore, clock: Clock, dice: fastrand::Rng, left_out: Option<Count>) -> Self {
        let (queue, _signals) = Queue::open(Arc::new(store.clone()), clock.clone()).await.expect("opens");
        queue.0.lanes.lock().books_mut().left_out = left_out;
        let (ends, all_ends, out) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { clock, store, queue, _signals, out, dice, ends, all_ends, number: 0, left_out }
    }

    async fn begin(seed: u64, left_out: Option<Count>) -> Self {
        let clock = Clock::manual(START);
        let store = MemoryStore::new(clock.clone());
        Self::over(store, clock, fastrand::Rng::with_seed(seed), left_out).await
    }

    fn ended(&mut self, term: &'static str, count: u64) {
        *self.ends.entry(term).or_default() += count;
        *self.all_ends.entry(term).or_default() += count;
    }

    async fn step(mut self) -> Self {
        match self.dice.u32(0..20) {
            0..6 => {
                let batch = (0..self.dice.u64(1..9)).map(|_| {
                    self.number += 1;
                    let delay = self.dice.bool().then(|| Duration::from_millis(self.dice.u64(1..40)));
                    accept(self.number, delay.map(|delay| self.clock.now() + delay))
                });
                let batch: Vec<_> = batch.collect();
                self.queue.accept(batch).await.expect("accepts");
            }
            6..12 => {
                let lane = lane(self.dice.u64(0..3));
                let loaded = self.queue.load(lane.key(), PAGE, false).await.expect("loads");
                self.out.extend(loaded.entries);
            }
            12..17 => self.settle().await,
            17 => self.clock.advance(Duration::from_millis(20)),
            18 => {
                let lane = lane(self.dice.u64(0..3));
                let lost = self.queue.give_up(GiveUp::Lane(lane.key().clone())).await.expect("gives up");
                self.ended("lost", lost);
            }
            _ if self.dice.u32(0..4) == 0 => {
                let store = self.store.crash();
                let (clock, dice) = (self.clock.clone(), self.dice.clone());
                let next = Self::over(store, clock, dice, self.left_out).await;
                return Self { all_ends: self.all_ends, ..next };
            }
            _ => {}
        }
        self
    }

    async fn settle(&mut self) {
        // Some end without a call: they expire, or are purged.
        for entry in &self.out {
            if self.dice.bool() {
                self.queue.started(entry);
            }
        }
        let count = self.dice.usize(0..=self.out.len());
        for entry in self.out.drain(..count).collect::<Vec<_>>() {
            let (term, how) = match self.dice.u32(0..7) {
                0 | 1 => ("delivered", Settlement::Delivered),
                2 => {
                    let due_at = self.clock.now() + Duration::from_millis(10);
                    ("delayed", Settlement::Reschedule { due_at, tries: Tries::of(1), doubted_at: None })
                }
                3 => ("dead", Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 }),
                4 => ("expired", Settlement::Expired),
                5 => ("drained", Settlement::Drained),
                _ => ("cancelled", Settlement::Cancelled),
            };
            if self.queue.settle(&entry, how) {
                self.ended(term, 1);
            }
        }
        self.queue.flush().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_adds_up_after_every_step() {
    for seed in 0..40 {
        let recorded = Recorded::new();
        let _local = recorded.set();
        let mut life = Life::begin(seed, None).await;
        for step in 0..80 {
            life = life.step().await;
            let ledger = life.queue.ledger();
            assert_eq!(difference(&ledger), 0, "seed {seed}: {ledger:?}");
            for (term, events) in ledger.terms() {
                let counted = life.ends.get(term).copied().unwrap_or(0);
                let is_end = !IN.contains(&term) && !["ready", "delayed", "inflight"].contains(&term);
                assert!(!is_end || counted == events, "seed {seed}: {counted} {term}, {ledger:?}");
            }
            if step % 8 == 7 {
                let ends = OUTCOMES.map(|(term, _)| life.all_ends.get(term).copied().unwrap_or(0));
                let ends = ends.map(|count| f64::from(u32::try_from(count).expect("few")));
                assert_eq!(counted(&recorded), [ends, ends], "seed {seed}: counters and histogram");
            }
        }
        assert_eq!(recorded.sum("tidegate_defects_total", ""), 0.0, "seed {seed}");
    }
}

/// The control: no count follows from the others, so that none can be forgotten, or made twice, without a difference.
#[tokio::test(start_paused = true)]
async fn each_count_that_is_left_out_makes_a_difference() {
    for left_out in Count::ALL {
        let recorded = Recorded::new();
        let _local = recorded.set();
        let mut differed = 0;
        for seed in 0..4 {
            let mut life = Life::begin(seed, Some(left_out)).await;
            for _ in 0..80 {
                life = life.step().await;
                // The sums alone: a debug build holds them against the lanes, too.
                let ledger = *life.queue.0.lanes.lock().books().ledger();
                differed += u64::from(difference(&ledger) != 0);
            }
        }
        assert!(differed > 40, "{left_out:?} is not missed: {differed} of 320 steps");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_adds_up_at_every_moment_under_load() {
    let clock = Clock::manual(START);
    let (queue, _signals) =
        Queue::open(Arc::new(MemoryStore::new(clock.clone())), clock).await.expect("opens");
    let is_over = Arc::new(AtomicBool::new(false));
    let looking = tokio::task::spawn_blocking({
        let (queue, is_over) = (queue.clone(), Arc::clone(&is_over));
        move || {
            let mut seen = (0_u64, 0_u64);
            while !is_over.load(Ordering::Acquire) {
                let ledger = queue.ledger();
                assert_eq!(difference(&ledger), 0, "{ledger:?}");
                assert!(ledger.accepted >= seen.1, "what was accepted stays accepted: {ledger:?}");
                seen = (seen.0 + 1, ledger.accepted);
            }
            seen.0
        }
    });
    let work = (0..3).map(|number| {
        let queue = queue.clone();
        tokio::spawn(async move {
            for round in 0..150_u64 {
                let batch = (0..20).map(|_| NewEvent { dedup: None, ..accept(number, None) }).collect();
                queue.accept(batch).await.expect("accepts");
                let loaded = queue.load(lane(number).key(), PAGE, false).await.expect("loads");
                for entry in loaded.entries {
                    queue.started(&entry);
                    queue.settle(&entry, Settlement::Delivered);
                }
                if round % 50 == 49 {
                    queue.give_up(GiveUp::Lane(lane(number).key().clone())).await.expect("gives up");
                }
            }
        })
    });
    for worker in work.collect::<Vec<_>>() {
        worker.await.expect("works");
    }
    queue.flush().await;
    is_over.store(true, Ordering::Release);
    assert!(looking.await.expect("adds up") > 100, "it was looked at often");
    let ledger = queue.ledger();
    assert_eq!((ledger.accepted, difference(&ledger)), (9_000, 0), "{ledger:?}");
}
