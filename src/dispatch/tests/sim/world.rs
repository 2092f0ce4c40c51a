//! The world around the planner: arrivals, an endpoint, policy edits, stalls and crashes, all by seed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::clock::Timestamp;
use crate::dispatch::tests::sim::check::{Checker, add_up};
use crate::dispatch::tests::sim::rules::{allowed, build, limits, planner};
use crate::dispatch::tests::sim::shares::ShareCheck;
use crate::dispatch::tests::sim::store::ModelQueue;
use crate::dispatch::{DueShare, Effect, Endpoints, Input, Planner, SettledEntry, Ticket};
use crate::event::testing::{API_LIMIT, NEXT_MESSAGE};
use crate::event::{
    Cause, Event, EventId, Labels, Lane, LaneKey, Outcome, PolicyId, PolicyRef, Priority, Shortage, Wait,
};
use crate::limit::{Consumed, Gate, HistoryGap, Reservation, Rules};
use crate::policy::{Book, GenerationState, Origin, Put, Runtime, testing};
use crate::queue::LaneSignal;
use crate::store::ReadLimit;

/// Arrivals, edits and crashes end after this.
const BUSY: Duration = Duration::from_secs(8);
/// By then everything has an end, or something is stuck.
const DRAINED_BY: Duration = Duration::from_secs(400);
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
pub(super) const POLICIES: u64 = 4;
/// Calls in flight over all lanes.
pub(super) const MAX_INFLIGHT: usize = 24;

/// Ways to break the world: the checks must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sabotage {
    None,
    NoPace,
    NoWindow,
    NoRecord,
    NoSlots,
    NoShares,
    NoDueSignals,
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
    Record { epoch: u32, reservations: Vec<Reservation> },
}

pub(super) struct World {
    now: Timestamp,
    due_share: DueShare,
    rng: fastrand::Rng,
    sabotage: Sabotage,
    book: Book,
    runtime: Arc<Runtime>,
    planner: Planner,
    pub(super) queue: ModelQueue,
    /// What the limits consumed, as it outlasts a crash.
    record: Vec<(Box<str>, Consumed)>,
    pub(super) checker: Checker,
    pub(super) shares: ShareCheck,
    /// Calls of lanes of this policy, or of none, are not answered at first.
    hangs: Option<Option<PolicyId>>,
    /// When, then in the order of their planning.
    agenda: BinaryHeap<Reverse<(Timestamp, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    planned: u64,
    epoch: u32,
    stale: u64,
}

pub(super) fn policy(n: u64) -> PolicyId {
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
            book.put(&Origin::new("sim"), &policy(n), spec).expect("free");
        }
        let checker = Checker { allowed: allowed(&book), ..Checker::default() };
        let runtime = build(&book, sabotage);
        let mut queue = ModelQueue::default();
        queue.backwards = sabotage == Sabotage::Backwards;
        let due_share = if seed.is_multiple_of(2) { DueShare::ALL } else { DueShare::HALF };
        let planner = planner(Gate::new(), &runtime, (sabotage, due_share), START, seed);
        let hangs =
            (rng.u8(..2) == 0).then(|| Some(rng.u64(..=POLICIES)).filter(|n| *n < POLICIES).map(policy));
        let mut world = Self {
            now: START,
            due_share,
            rng,
            sabotage,
            book,
            runtime,
            planner,
            queue,
            record: Vec::new(),
            checker,
            shares: ShareCheck::new(MAX_INFLIGHT),
            hangs,
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
            self.pass_on_signals()?;
            self.check()?;
        }
        let left = self.planner.figures(self.now);
        if left.read_ahead > 0 || self.planner.inflight() > 0 {
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
                self.pass_on_signals()?;
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
                    self.queue.fail(&lane, self.now);
                    return self.step(Input::LoadFailed(lane));
                }
                let loaded = self.queue.load(&lane, limit, self.told());
                self.step(Input::Loaded(lane, loaded))?;
            }
            Happening::Record { epoch, reservations } if epoch == self.epoch => {
                let is_recorded = self.rng.u8(..20) > 0;
                // Without its mark a window would be silent after a crash.
                let kept = |made: &&Reservation| {
                    self.sabotage != Sabotage::NoRecord || made.name.starts_with("mark ")
                };
                if is_recorded {
                    let kept =
                        reservations.iter().filter(kept).map(|made| (made.name.clone(), made.consumed));
                    self.record.extend(kept);
                }
                self.step(Input::Recorded { reservations, is_recorded })?;
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
        let priority = self.rng.choice(Priority::ALL).unwrap_or_default();
        let lane = lane.of_priority(priority).expect("short");
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
                redriven: None,
            };
            self.queue.accept(lane.key(), event, self.now);
        }
    }

    fn edit(&mut self) -> Result<(), String> {
        let n = self.rng.u64(..POLICIES);
        let id = policy(n);
        let spec = limits(n, &mut self.rng);
        let origin = Origin::new("sim");
        let is_active = self.book.get(&id).is_some_and(|policy| policy.lifecycle().active().is_some());
        // Whatever does not fit the policy's state changes nothing.
        let changed = match self.rng.u8(..4) {
            1 => {
                // A drain window of a few seconds.
                let left = ms(self.rng.u64(..5_000));
                self.book.rest(&origin, &id, self.now, left)
            }
            0 if is_active => Ok(Put::Same),
            2.. if !is_active => Ok(Put::Same),
            _ => self.book.put(&origin, &id, spec),
        };
        changed.expect("nobody else's");
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
        let gap = HistoryGap { before: self.now, on_record_before: Timestamp::ZERO };
        let gate = Gate::after(gap, self.now, self.record.clone(), knew);
        self.planner = planner(gate, &self.runtime, (self.sabotage, self.due_share), self.now, seed);
        self.shares = ShareCheck::new(MAX_INFLIGHT);
        self.pass_on_signals()
    }

    fn pass_on_signals(&mut self) -> Result<(), String> {
        for signal in std::mem::take(&mut self.queue.signals) {
            let is_lost = self.sabotage == Sabotage::NoDueSignals && matches!(signal, LaneSignal::PutOff(..));
            if !is_lost {
                self.step(signal.into())?;
            }
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Result<(), String> {
        let mut effects = Vec::new();
        self.planner.step(input, self.told(), &mut effects);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Record(reservations) => {
                        let after = Duration::from_micros(self.rng.u64(500..20_000));
                        self.plan(after, Happening::Record { epoch: self.epoch, reservations });
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
        self.shares.check(&self.planner)
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
        let Some(start) = self.planner.confirm(ticket, &Endpoints::default(), told, effects) else {
            return Ok(());
        };
        let (id, lane) = (start.entry.id, start.lane.clone());
        let Some(facts) = self.queue.facts(id) else { return Err(format!("{id} started, but is not out")) };
        self.checker.start(&lane, id, facts, self.now)?;
        // Where due entries may take a share only, others go ahead of them.
        if facts.due_at.is_none()
            && self.due_share == DueShare::ALL
            && let Some(overtaken) = self.queue.overdue(lane.key(), self.now)
        {
            return Err(format!("{id} started ahead of {overtaken}, which is due in lane {}", lane.key()));
        }
        let (outcome, took) = self.answer(&lane);
        let (epoch, started_at) = (self.epoch, self.now);
        self.plan(took, Happening::CallEnd { epoch, ticket, id, outcome, started_at });
        Ok(())
    }

    /// The endpoint: mostly well, sometimes not; well again in the end.
    fn answer(&mut self, lane: &Lane) -> (Outcome, Duration) {
        let fine = Outcome::Delivered { status: 200 };
        let quick = ms(self.rng.u64(1..50));
        if self.now > START + BUSY {
            return (fine, quick);
        }
        let retry = |cause, retry_after| Outcome::Retry { cause, retry_after };
        if self.hangs.as_ref().is_some_and(|hangs| match hangs {
            Some(policy) => lane.policies().iter().any(|part| part.policy == *policy),
            None => lane.policies().is_empty(),
        }) {
            return (retry(Cause::Timeout, None), ms(self.rng.u64(2_000..6_000)));
        }
        match self.rng.u8(..24) {
            // It takes the call, and wants to be left alone.
            23 => {
                let next = Wait::new(NEXT_MESSAGE, ms(self.rng.u64(..2_000)));
                (Outcome::Paced { end: Box::new(fine), next }, quick)
            }
            // The guard denies it, for once.
            22 => (Outcome::Withheld, Duration::ZERO),
            21 => (Outcome::Shortage { cause: Cause::Shortage(Shortage::Descriptors) }, Duration::ZERO),
            20 => (Outcome::Wait(Wait::new(API_LIMIT, ms(self.rng.u64(..2_000)))), quick),
            0 => (Outcome::Reject { cause: Cause::Status(404) }, quick),
            1 => (retry(Cause::Status(503), Some(ms(self.rng.u64(..4_000)))), quick),
            2..5 => (retry(Cause::Status(500), None), quick),
            5 => (retry(Cause::Timeout, None), ms(self.rng.u64(1_000..5_000))),
            6 => (Outcome::Unprocessed { cause: Cause::Connect }, Duration::ZERO),
            _ => (fine, quick),
        }
    }

    fn settle(&mut self, settled: SettledEntry) -> Result<(), String> {
        let SettledEntry { entry, lane, settlement, attempt, limited: _ } = settled;
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
        add_up(entry.tries, attempt.as_ref(), &settlement)?;
        let delay = Duration::from_micros(self.rng.u64(5_000..105_000));
        self.queue.settle(entry.id, settlement, self.now, delay);
        Ok(())
    }
}
