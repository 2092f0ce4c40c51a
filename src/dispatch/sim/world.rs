//! The world around the planner: arrivals, an endpoint, policy edits, stalls and crashes, all by seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::dispatch::retry::RetryPolicy;
use crate::dispatch::sim::check::{Allowed, Checker, add_up};
use crate::dispatch::sim::store::ModelQueue;
use crate::dispatch::{BreakerPolicy, Effect, Input, Options, Planner, Settled, Ticket};
use crate::event::{Busy, Cause, Event, EventId, Labels, Lane, LaneKey, Outcome, PolicyId, PolicyRef, Wait};
use crate::limit::{Ask, Blind, Consumed, Gate, Rules};
use crate::policy::{Book, GenerationState, Limits, Origin, Period, Quota, Runtime, Spec, Window, testing};
use crate::store::ReadLimit;

/// Arrivals, edits and crashes end after this.
const BUSY: Duration = Duration::from_secs(8);
/// By then everything has an end, or something is stuck.
const DRAINED_BY: Duration = Duration::from_secs(400);
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const POLICIES: u64 = 4;

/// Ways to break the world: the checks must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sabotage {
    None,
    NoPace,
    NoWindow,
    NoRecord,
    NoSlots,
    FastClock,
    Backwards,
    LostWork,
}

enum Happening {
    Arrival,
    Edit,
    Crash,
    CallEnd { epoch: u32, ticket: Ticket, id: EventId, outcome: Outcome, started_at: Timestamp },
    Page { epoch: u32, lane: LaneKey, limit: ReadLimit },
    Record { epoch: u32, asks: Vec<Ask> },
}

pub(super) struct World {
    now: Timestamp,
    rng: fastrand::Rng,
    sabotage: Sabotage,
    book: Book,
    runtime: Arc<Runtime>,
    planner: Planner,
    pub(super) queue: ModelQueue,
    /// What the limits consumed, as it outlasts a crash.
    record: Vec<(Box<str>, Consumed)>,
    pub(super) checker: Checker,
    /// When, then in the order of their planning.
    agenda: BinaryHeap<Reverse<(Timestamp, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    planned: u64,
    epoch: u32,
    stale: u64,
}

fn policy(n: u64) -> PolicyId {
    testing::id(&format!("p{n}"))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl World {
    pub(super) fn new(seed: u64, sabotage: Sabotage) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut book = Book::default();
        for n in 0..POLICIES {
            let spec = limits(n, &mut rng);
            book.create(policy(n), Origin::new("sim"), Value::Null).expect("free");
            book.deploy(&policy(n), Value::Null, spec).expect("idle");
        }
        let checker = Checker { allowed: allowed(&book), ..Checker::default() };
        let runtime = build(&book, sabotage);
        let mut queue = ModelQueue::default();
        queue.backwards = sabotage == Sabotage::Backwards;
        let planner = planner(Gate::new(), &runtime, START, seed);
        let mut world = Self {
            now: START,
            rng,
            sabotage,
            book,
            runtime,
            planner,
            queue,
            record: Vec::new(),
            checker,
            agenda: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            planned: 0,
            epoch: 0,
            stale: 0,
        };
        world.plan(ms(1), Happening::Arrival);
        world.plan(ms(700), Happening::Edit);
        if world.rng.u8(..3) == 0 {
            let after = ms(world.rng.u64(500..7_000));
            world.plan(after, Happening::Crash);
        }
        world
    }

    pub(super) fn stale_permits(&self) -> u64 {
        self.stale + self.planner.figures(self.now).stale_permits
    }

    pub(super) fn crashes(&self) -> u32 {
        self.epoch
    }

    pub(super) fn run(&mut self) -> Result<(), String> {
        let mut steps = 0_u32;
        while !self.is_drained() {
            steps += 1;
            if self.now > START + DRAINED_BY || steps > 300_000 {
                let figures = self.planner.figures(self.now);
                return Err(format!("not drained at {} after {steps} steps: {figures:?}", self.now));
            }
            let woken = self.planner.next_wake().map(|wake| wake.max(self.now) + self.lateness());
            let planned = self.agenda.peek().map(|Reverse((at, _))| *at);
            let shown = self.queue.next_visible();
            let Some(next) = woken.into_iter().chain(planned).chain(shown).min() else {
                return Err(format!("not drained at {}: nobody is going to do anything", self.now));
            };
            self.now = self.now.max(next) + Duration::from_micros(10);
            self.step(Input::Tick)?;
            while let Some(Reverse((at, number))) = self.agenda.peek().copied() {
                if at > self.now {
                    break;
                }
                self.agenda.pop();
                if let Some(happening) = self.happenings.remove(&number) {
                    self.happen(happening)?;
                }
            }
            self.queue.show(self.now);
            self.check()?;
        }
        let left = self.planner.figures(self.now);
        if left.read_ahead > 0 || left.inflight > 0 {
            return Err(format!("drained, but the planner still holds something: {left:?}"));
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        self.now > START + BUSY && self.queue.is_empty() && self.planner.is_quiet()
    }

    fn check(&self) -> Result<(), String> {
        self.queue.adds_up()?;
        let (planned, real) = (self.planner.inflight(), self.checker.under_way());
        if planned == real { Ok(()) } else { Err(format!("{planned} calls planned, {real} under way")) }
    }

    /// How late a timer fires.
    fn lateness(&mut self) -> Duration {
        match self.rng.u16(..1000) {
            0..5 => ms(self.rng.u64(3..300)),
            _ => Duration::from_micros(self.rng.u64(..2_000)),
        }
    }

    fn plan(&mut self, after: Duration, happening: Happening) {
        self.planned += 1;
        self.agenda.push(Reverse((self.now + after, self.planned)));
        self.happenings.insert(self.planned, happening);
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        let busy = self.now < START + BUSY;
        match happening {
            Happening::Arrival if busy => {
                self.arrive();
                let after = ms(self.rng.u64(1..400));
                self.plan(after, Happening::Arrival);
                for lane in std::mem::take(&mut self.queue.signals) {
                    self.step(Input::LaneReady(lane))?;
                }
            }
            Happening::Edit if busy => {
                self.edit()?;
                let after = ms(self.rng.u64(50..2_000));
                self.plan(after, Happening::Edit);
            }
            Happening::Arrival | Happening::Edit => {}
            Happening::Crash => self.crash()?,
            Happening::CallEnd { epoch, ticket, id, outcome, started_at } if epoch == self.epoch => {
                self.checker.end(id, &outcome, self.now);
                let took = self.now.since(started_at);
                self.step(Input::Finished { ticket, outcome, took })?;
            }
            Happening::Page { epoch, lane, limit } if epoch == self.epoch => {
                if self.rng.u8(..50) == 0 {
                    return self.step(Input::LoadFailed(lane));
                }
                let loaded = self.queue.load(&lane, limit, self.told());
                self.step(Input::Loaded(lane, loaded))?;
            }
            Happening::Record { epoch, asks } if epoch == self.epoch => {
                let is_recorded = self.rng.u8(..20) > 0;
                // Without its mark a window would be silent after a crash.
                let kept = |ask: &&Ask| self.sabotage != Sabotage::NoRecord || ask.name.starts_with("mark ");
                if is_recorded {
                    let kept = asks.iter().filter(kept).map(|ask| (ask.name.clone(), ask.consumed));
                    self.record.extend(kept);
                }
                self.step(Input::Recorded { asks, is_recorded })?;
            }
            Happening::CallEnd { .. } | Happening::Page { .. } | Happening::Record { .. } => {}
        }
        Ok(())
    }

    fn arrive(&mut self) {
        let policies: &[&[u64]] = &[&[0], &[1], &[0, 1], &[2], &[1, 2], &[3], &[]];
        let chosen = self.rng.choice(policies).copied().unwrap_or_default();
        let parts = chosen.iter().filter_map(|n| {
            let ruling = self.runtime.get(&policy(*n))?;
            let active =
                |(n, state): (&u32, &GenerationState)| (*state == GenerationState::Active).then_some(*n);
            let generation = ruling.generations.iter().find_map(active)?;
            Some(PolicyRef { policy: policy(*n), generation })
        });
        let parts: Vec<PolicyRef> = parts.collect();
        if parts.len() != chosen.len() {
            return;
        }
        let governed = Lane::of(parts).expect("few");
        let lane = match self.rng.u8(..4) {
            0 => governed,
            1 => governed.at("one.org:443"),
            2 => governed.at("other.org:443"),
            _ => governed.shared_at("further.org:443"),
        };
        for _ in 0..self.rng.u64(1..40) {
            let due_at = (self.rng.u8(..6) == 0)
                .then(|| Timestamp::from_millis((self.now + ms(self.rng.u64(..3_000))).ceil_millis()));
            let ttl = if self.rng.u8(..4) == 0 { self.rng.u64(3_100..8_000) } else { 6 * 3_600_000 };
            let event = Event {
                method: Method::GET,
                url: testing::url("https://h.org/x"),
                headers: HeaderMap::new(),
                body: Bytes::new(),
                labels: Labels::default(),
                due_at,
                is_dated: false,
                expires_at: Timestamp::from_millis((self.now + ms(ttl)).as_millis()),
            };
            self.queue.accept(lane.key(), event, self.now);
        }
    }

    fn edit(&mut self) -> Result<(), String> {
        let n = self.rng.u64(..POLICIES);
        let id = policy(n);
        let spec = limits(n, &mut self.rng);
        // Whatever does not fit the policy's state changes nothing.
        let _ = match self.rng.u8(..4) {
            0 => self.book.deploy(&id, Value::Null, spec),
            1 => {
                // A drain window of a few seconds.
                let left = ms(self.rng.u64(..5_000));
                self.book.undeploy(&id, self.now, left)
            }
            _ => self.book.update(&id, Value::Null, Some(spec)),
        };
        self.book.expire(self.now);
        self.checker.allowed = allowed(&self.book);
        self.runtime = build(&self.book, self.sabotage);
        self.step(Input::Policies(Arc::clone(&self.runtime)))
    }

    fn crash(&mut self) -> Result<(), String> {
        self.epoch += 1;
        self.stale += self.planner.figures(self.now).stale_permits;
        self.queue.show(self.now);
        self.queue.crash();
        self.checker.crash();
        self.now = self.now + ms(self.rng.u64(1..500));
        let seed = self.rng.u64(..);
        let knew = self.runtime.policies().map(|policy| (policy.id.clone(), Rules::from(policy)));
        let blind = Blind { before: self.now, on_record_before: Timestamp::ZERO };
        let gate = Gate::after(blind, self.now, self.record.clone(), knew);
        self.planner = planner(gate, &self.runtime, self.now, seed);
        for lane in std::mem::take(&mut self.queue.signals) {
            self.step(Input::LaneReady(lane))?;
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Result<(), String> {
        let mut effects = Vec::new();
        self.planner.step(input, self.told(), &mut effects);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Record(asks) => {
                        let after = Duration::from_micros(self.rng.u64(500..20_000));
                        self.plan(after, Happening::Record { epoch: self.epoch, asks });
                    }
                    Effect::Load { lane, limit, .. } => {
                        let after = Duration::from_micros(self.rng.u64(50..5_000));
                        let epoch = self.epoch;
                        let lost = self.sabotage == Sabotage::LostWork && self.rng.u8(..20) == 0;
                        if !lost {
                            self.plan(after, Happening::Page { epoch, lane, limit });
                        }
                    }
                    Effect::Send { ticket } => self.send(ticket, &mut effects)?,
                    Effect::Settle(settled) => self.settle(settled)?,
                }
            }
        }
        Ok(())
    }

    /// The time that planner and queue are told.
    fn told(&self) -> Timestamp {
        if self.sabotage == Sabotage::FastClock { self.now + ms(500) } else { self.now }
    }

    fn send(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) -> Result<(), String> {
        let pause = match self.rng.u16(..500) {
            0 => ms(self.rng.u64(3..200)),
            _ => Duration::from_micros(self.rng.u64(..60)),
        };
        self.now = self.now + pause;
        let told = self.told();
        let Some(start) = self.planner.confirm(ticket, told, effects) else { return Ok(()) };
        let (id, lane) = (start.entry.id, start.lane.clone());
        let Some(facts) = self.queue.facts(id) else { return Err(format!("{id} started, but is not out")) };
        self.checker.start(&lane, id, facts, self.now)?;
        let (outcome, took) = self.answer();
        let (epoch, started_at) = (self.epoch, self.now);
        self.plan(took, Happening::CallEnd { epoch, ticket, id, outcome, started_at });
        Ok(())
    }

    /// The endpoint: mostly well, sometimes not; well again in the end.
    fn answer(&mut self) -> (Outcome, Duration) {
        let fine = Outcome::Delivered { status: 200 };
        let quick = ms(self.rng.u64(1..50));
        if self.now > START + BUSY {
            return (fine, quick);
        }
        let retry = |cause, retry_after| Outcome::Retry { cause, retry_after };
        match self.rng.u8(..21) {
            20 => (Outcome::Wait(Wait::new(Busy::ApiLimit, ms(self.rng.u64(..2_000)))), quick),
            0 => (Outcome::Reject { cause: Cause::Status(404) }, quick),
            1 => (retry(Cause::Status(503), Some(ms(self.rng.u64(..4_000)))), quick),
            2..5 => (retry(Cause::Status(500), None), quick),
            5 => (retry(Cause::Timeout, None), ms(self.rng.u64(1_000..5_000))),
            6 => (retry(Cause::Connect, None), Duration::ZERO),
            _ => (fine, quick),
        }
    }

    fn settle(&mut self, settled: Settled) -> Result<(), String> {
        let Settled { entry, lane, settlement, attempt } = settled;
        let facts = self.queue.facts(entry.id);
        let over = lane.policies().iter().any(|part| {
            let policy = self.runtime.get(&part.policy);
            match policy.and_then(|policy| policy.generations.get(&part.generation)) {
                None => true,
                Some(GenerationState::Draining { until }) => *until <= self.now,
                Some(GenerationState::Active) => false,
            }
        });
        self.checker.settle(entry.id, facts, &settlement, (attempt.is_some(), over), self.now)?;
        add_up(entry.attempts, attempt.as_ref(), &settlement)?;
        let delay = Duration::from_micros(self.rng.u64(5_000..105_000));
        self.queue.settle(entry.id, settlement, self.now, delay);
        Ok(())
    }
}

fn planner(gate: Gate, runtime: &Arc<Runtime>, now: Timestamp, seed: u64) -> Planner {
    let retry = RetryPolicy { base: ms(50), cap: Duration::from_secs(5), ..RetryPolicy::default() };
    let breaker = BreakerPolicy { failures: 6, min_hold: ms(200), max_hold: Duration::from_secs(2) };
    let options = Options { retry, breaker, max_inflight: 40, sends_per_step: 16, ..Options::default() };
    Planner::new(gate, runtime, options, fastrand::Rng::with_seed(seed), now)
}

/// Random limits of a policy.
fn limits(n: u64, rng: &mut fastrand::Rng) -> Spec {
    let per_second = rng.choice([5_u32, 20, 50, 200]).unwrap_or(5);
    let mut spec = testing::spec(&format!("https://h{n}.org/*"), f64::from(per_second));
    spec.limits.slots = NonZeroU32::new(rng.u32(1..12));
    match rng.u8(..4) {
        0 => spec.limits.window = Window::new(rng.i64(5..40), 300).ok(),
        1 => spec.limits.window = Window::new(rng.i64(20..90), 4_000).ok(),
        2 => spec.limits.quota = Quota::new(rng.i64(200..400), Period::Minute).ok(),
        _ => {}
    }
    spec
}

/// What the rules allow by the book.
fn allowed(book: &Book) -> BTreeMap<PolicyId, Allowed> {
    let runtime = Runtime::build(book).expect("small");
    let of = |limits: &Limits| Allowed {
        windows: limits.pace.map(|pace| pace.window()).into_iter().chain(limits.window).collect(),
        per_minute: limits.quota.map(|quota| quota.calls.get() as usize),
        slots: limits.slots.expect("set").get() as usize,
    };
    runtime.policies().map(|policy| (policy.id.clone(), of(&policy.spec.limits))).collect()
}

/// What the book says, or less of it.
fn build(book: &Book, sabotage: Sabotage) -> Arc<Runtime> {
    let mut told = book.clone();
    if matches!(sabotage, Sabotage::NoPace | Sabotage::NoWindow | Sabotage::NoSlots) {
        for n in 0..POLICIES {
            let ruling = told.get(&policy(n)).and_then(|policy| policy.ruling().cloned());
            if let Some(mut spec) = ruling {
                match sabotage {
                    Sabotage::NoPace => spec.limits.pace = None,
                    Sabotage::NoWindow => spec.limits.window = None,
                    _ => spec.limits.slots = None,
                }
                // A draining one keeps its limits.
                let _ = told.update(&policy(n), Value::Null, Some(spec));
            }
        }
    }
    Arc::new(Runtime::build(&told).expect("small"))
}
