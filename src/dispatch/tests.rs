//! Behaviour of the planner in single situations.

mod changes;
mod due;
mod egress;
mod endpoints;
mod expiry;
mod holds;
mod hosts;
mod let_go;
mod looks;
mod outages;
mod priority;
mod reading;
mod recovery;
mod retries;
mod retry_share;
mod shares;
mod sim;
mod slowed;
mod stops;
mod suspects;
mod tokens;
mod trust;
mod turned_away;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::clock::Timestamp;
use crate::dispatch::shares::Shares;
use crate::dispatch::{DueShare, Effect, Endpoints, Input, Planner, PlannerOptions, Ticket};
use crate::event::{
    Cause, Entry, Event, EventId, Labels, Lane, LaneKey, Outcome, PolicyRef, Settlement, Tries,
};
use crate::limit::{Gate, STALE_AFTER};
use crate::policy::{Book, DRAIN_WINDOW, Origin, Pace, Runtime, testing};
use crate::queue::LoadedPage;

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const FINE: Outcome = Outcome::Delivered { status: 200 };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A book with policies of the given pace and slots, each deployed once.
fn book(policies: &[(&str, Option<f64>, u32)]) -> Book {
    let mut book = Book::default();
    for (name, pace, slots) in policies {
        let mut spec = testing::spec(&format!("https://{name}.org/*"), 1.0);
        spec.limits.pace = pace.map(|pace| Pace::per_second(pace).expect("valid"));
        spec.limits.slots = NonZeroU32::new(*slots);
        book.put(&Origin::new("test"), &testing::id(name), spec).expect("free");
    }
    book
}

fn lane(policies: &[(&str, u32)]) -> LaneKey {
    let part =
        |(name, generation): &(&str, u32)| PolicyRef { policy: testing::id(name), generation: *generation };
    Lane::of(policies.iter().map(part).collect()).expect("few").key().clone()
}

fn entry(lane: &LaneKey, n: u128) -> Entry {
    let event = Event {
        method: Method::GET,
        url: testing::url("https://h.org/"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        labels: Labels::default(),
        due_at: None,
        is_dated: false,
        expires_at: START + Duration::from_secs(6 * 3600),
        redriven: None,
    };
    let id = EventId::new(START.as_millis(), n);
    Entry { id, lane: lane.clone(), tries: Tries::NONE, due_at: None, event }
}

/// The planner with a queue that answers at once and a record of what happened.
struct Bench {
    planner: Planner,
    now: Timestamp,
    waiting: BTreeMap<LaneKey, Vec<Entry>>,
    sent: Vec<(Ticket, LaneKey, EventId)>,
    timeouts: Vec<Option<Duration>>,
    settled: Vec<(EventId, Settlement)>,
    loads: usize,
    endpoints: Endpoints,
    /// Tickets are not confirmed, but kept here.
    hold: Option<Vec<Ticket>>,
}

impl Bench {
    /// Most tests are about other things than how much of the starts due entries may take.
    fn new(book: &Book) -> Self {
        Self::over(book, PlannerOptions { due_share: DueShare::ALL, ..PlannerOptions::default() })
    }

    fn over(book: &Book, options: PlannerOptions) -> Self {
        let runtime = Arc::new(Runtime::build(book).expect("small"));
        let dice = fastrand::Rng::with_seed(1);
        let planner = Planner::new(Gate::new(), (&runtime, Arc::default()), options, dice, START);
        Self {
            planner,
            now: START,
            waiting: BTreeMap::new(),
            sent: Vec::new(),
            timeouts: Vec::new(),
            settled: Vec::new(),
            loads: 0,
            endpoints: Endpoints::default(),
            hold: None,
        }
    }

    fn fill(&mut self, lane: &LaneKey, ids: impl IntoIterator<Item = u128>) {
        self.waiting.entry(lane.clone()).or_default().extend(ids.into_iter().map(|n| entry(lane, n)));
    }

    fn announce(&mut self, lane: &LaneKey) {
        self.step(Input::LaneReady(lane.clone()));
    }

    fn step(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.planner.step(input, self.now, &mut effects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, mut effects: Vec<Effect>) {
        let mut at = 0;
        while at < effects.len() {
            match &effects[at] {
                Effect::Record(reservations) => {
                    let reservations = reservations.clone();
                    let recorded = Input::Recorded { reservations, is_recorded: true };
                    self.planner.step(recorded, self.now, &mut effects);
                }
                Effect::Load { lane, limit, .. } => {
                    self.loads += 1;
                    let waiting = self.waiting.entry(lane.clone()).or_default();
                    let page = waiting.drain(..limit.entries.min(waiting.len())).collect::<Vec<_>>();
                    let more = !page.is_empty();
                    let loaded =
                        Input::Loaded(lane.clone(), LoadedPage { entries: page, more, next_due: None });
                    self.planner.step(loaded, self.now, &mut effects);
                }
                Effect::Send { ticket } => match &mut self.hold {
                    Some(held) => held.push(*ticket),
                    None => {
                        let ticket = *ticket;
                        self.confirm(ticket, &mut effects);
                    }
                },
                Effect::Settle(settled) => self.settled.push((settled.entry.id, settled.settlement.clone())),
            }
            at += 1;
        }
    }

    fn confirm(&mut self, ticket: Ticket, effects: &mut Vec<Effect>) -> bool {
        let Some(start) = self.planner.confirm(ticket, &self.endpoints, self.now, effects) else {
            return false;
        };
        self.timeouts.push(start.timeout);
        self.sent.push((ticket, start.entry.lane.clone(), start.entry.id));
        true
    }

    fn inflight(&mut self) -> u32 {
        self.planner.gate().figures(0, 99, self.now).0.iter().map(|of| of.inflight).sum()
    }

    /// Lets time pass, stepping whenever the planner asks to.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(wake) = self.planner.next_wake().filter(|wake| *wake <= end) {
            self.now = self.now.max(wake);
            self.step(Input::Tick);
        }
        self.now = end;
    }

    fn finish(&mut self, nth: usize, outcome: Outcome) {
        let ticket = self.sent[nth].0;
        self.step(Input::Finished { ticket, outcome, took: ms(1) });
    }

    fn sent_ids(&self) -> Vec<u128> {
        self.sent.iter().map(|(_, _, id)| id.tail()).collect()
    }

    fn sent_of(&self, lane: &LaneKey) -> usize {
        self.sent.iter().filter(|(_, of, _)| of == lane).count()
    }

    fn rule(&mut self, book: &Book) {
        self.step(Input::Policies(Arc::new(Runtime::build(book).expect("small"))));
    }
}

#[test]
fn lanes_that_share_a_limit_get_it_in_turn() {
    let mut bench = Bench::new(&book(&[("shared", Some(100.0), 1000), ("a", None, 1000), ("b", None, 1000)]));
    let (noisy, quiet) = (lane(&[("a", 1), ("shared", 1)]), lane(&[("b", 1), ("shared", 1)]));
    bench.fill(&noisy, 0..600);
    bench.announce(&noisy);
    bench.pass(ms(500));
    bench.fill(&quiet, 1000..1040);
    bench.announce(&quiet);
    let before = bench.sent_of(&noisy);
    bench.pass(ms(600));
    let (noisy, quiet) = (bench.sent_of(&noisy) - before, bench.sent_of(&quiet));
    assert!(noisy + quiet >= 50, "{noisy} {quiet}");
    assert!(noisy.abs_diff(quiet) <= 2, "{noisy} {quiet}");
}

#[test]
fn draining_generations_go_first() {
    let mut all = book(&[("p", Some(50.0), 1000)]);
    let mut bench = Bench::new(&all);
    let (old, new) = (lane(&[("p", 1)]), lane(&[("p", 2)]));
    bench.fill(&old, 0..60);
    bench.announce(&old);
    all.rest(&Origin::new("test"), &testing::id("p"), START, DRAIN_WINDOW).expect("deployed");
    all.put(&Origin::new("test"), &testing::id("p"), testing::spec("https://p.org/*", 50.0)).expect("idle");
    bench.rule(&all);
    bench.fill(&new, 100..160);
    bench.announce(&new);
    bench.pass(ms(3_000));
    let first_new = bench.sent.iter().position(|(_, of, _)| *of == new).expect("some");
    // The new lane may have had one turn before it met the limit.
    assert!(bench.sent_of(&old) == 60 && first_new >= 58, "{first_new}");
}

#[test]
fn a_dead_endpoint_holds_up_its_own_lane_only() {
    let mut bench = Bench::new(&book(&[("dead", None, 2), ("well", None, 8)]));
    let (dead, well) = (lane(&[("dead", 1)]), lane(&[("well", 1)]));
    bench.fill(&dead, 0..100);
    bench.fill(&well, 200..300);
    bench.announce(&dead);
    bench.announce(&well);
    while bench.sent_of(&well) < 100 {
        let before = bench.sent.len();
        for nth in 0..before {
            if bench.sent[nth].1 == well {
                bench.finish(nth, FINE);
            }
        }
        assert!(bench.sent.len() > before, "the healthy lane is stuck");
    }
    assert_eq!(bench.sent_of(&dead), 2);
    bench.finish(0, FINE);
    assert_eq!(bench.sent_of(&dead), 3, "a slot that is free again is used");
}

#[test]
fn stale_permits_keep_the_order_and_cost_nothing() {
    let mut bench = Bench::new(&book(&[("p", Some(1000.0), 1000)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 0..20);
    bench.hold = Some(Vec::new());
    bench.announce(&lane);
    bench.pass(ms(2));
    let held = bench.hold.take().expect("held");
    assert!(held.len() > 1, "{held:?}");
    // The stall.
    bench.now = bench.now + STALE_AFTER + ms(1);
    let mut effects = Vec::new();
    for ticket in held {
        assert!(!bench.confirm(ticket, &mut effects));
    }
    bench.carry_out(effects);
    bench.pass(ms(1_000));
    assert_eq!(bench.sent_ids(), (0..20).collect::<Vec<_>>());
    assert_eq!(bench.inflight(), 20);
}

#[test]
fn what_is_blocked_expires_in_time_and_what_is_expired_never_starts() {
    let mut bench = Bench::new(&book(&[("p", Some(0.01), 1)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 0..10);
    for entry in bench.waiting.get_mut(&lane).expect("filled") {
        entry.event.expires_at = START + ms(2_000);
    }
    bench.announce(&lane);
    bench.pass(ms(1_999));
    assert_eq!((bench.sent.len(), bench.settled.len()), (1, 0));
    bench.pass(ms(1_001));
    assert_eq!(bench.settled.len(), 9);
    assert!(bench.settled.iter().all(|(_, how)| *how == Settlement::Expired));
    // The one that started in time may finish.
    bench.finish(0, FINE);
    assert_eq!(bench.settled.len(), 10);
}

#[test]
fn an_entry_that_expires_between_permit_and_start_does_not_start() {
    let mut bench = Bench::new(&book(&[("p", None, 10)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, [1]);
    bench.waiting.get_mut(&lane).expect("filled")[0].event.expires_at = START + ms(1);
    bench.hold = Some(Vec::new());
    bench.announce(&lane);
    bench.now = bench.now + ms(1);
    let mut effects = Vec::new();
    let ticket = bench.hold.take().expect("held")[0];
    assert!(!bench.confirm(ticket, &mut effects));
    bench.carry_out(effects);
    assert_eq!(bench.settled, [(entry(&lane, 1).id, Settlement::Expired)]);
    assert!(bench.planner.is_quiet());
}

#[test]
fn what_a_drain_window_leaves_is_dropped_as_drained() {
    let mut all = book(&[("p", Some(0.01), 1), ("q", Some(0.01), 1)]);
    let mut bench = Bench::new(&all);
    let (p, q) = (lane(&[("p", 1)]), lane(&[("p", 1), ("q", 1)]));
    bench.fill(&p, 0..2000);
    bench.fill(&q, 3000..3010);
    bench.announce(&p);
    bench.announce(&q);
    all.rest(&Origin::new("test"), &testing::id("p"), START, ms(500)).expect("deployed");
    bench.rule(&all);
    bench.pass(ms(499));
    assert!(bench.settled.is_empty());
    bench.pass(ms(1));
    assert_eq!(bench.settled.len() + bench.sent.len(), 2010);
    assert!(bench.settled.iter().all(|(_, how)| *how == Settlement::Drained));
    // What comes later, when the book has forgotten the generation.
    all.expire(bench.now);
    bench.rule(&all);
    bench.fill(&p, [5000]);
    bench.announce(&p);
    assert_eq!(bench.settled.last(), Some(&(entry(&p, 5000).id, Settlement::Drained)));
}

#[test]
fn draining_starts_nothing_more_but_settles_what_ends() {
    let mut bench = Bench::new(&book(&[("p", None, 2)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 0..10);
    bench.announce(&lane);
    bench.step(Input::Drain);
    bench.finish(0, FINE);
    bench.finish(1, FINE);
    assert_eq!((bench.sent.len(), bench.settled.len()), (2, 2));
    assert_eq!((bench.planner.inflight(), bench.planner.next_wake()), (0, None));
}

/// Ten thousand lanes with one entry each: a start costs a constant number of questions, whoever waits.
#[test]
fn ten_thousand_lanes_take_a_step_per_start_and_leave_nothing_behind() {
    let mut bench = Bench::new(&book(&[("p", Some(5_000.0), 4096)]));
    let names: Vec<String> = (0..10_000).map(|n| format!("k{n:05}")).collect();
    let mut all = book(&[("p", Some(5_000.0), 4096)]);
    for name in &names {
        all.put(&Origin::new("test"), &testing::id(name), testing::spec("https://k.org/*", 5.0))
            .expect("free");
    }
    bench.rule(&all);
    for (n, name) in names.iter().enumerate() {
        let lane = lane(&[(name, 1), ("p", 1)]);
        bench.fill(&lane, [n as u128]);
        bench.announce(&lane);
    }
    let mut ended = 0;
    while bench.sent.len() < 10_000 {
        bench.pass(ms(10));
        while ended < bench.sent.len() {
            bench.finish(ended, FINE);
            ended += 1;
        }
        assert!(bench.now < START + Duration::from_secs(4), "{} started", bench.sent.len());
    }
    while ended < bench.sent.len() {
        bench.finish(ended, FINE);
        ended += 1;
    }
    assert!(bench.loads <= 20_000, "{} loads", bench.loads);
    assert_eq!(bench.planner.figures(bench.now).lanes, 0);
}

#[test]
fn entries_that_are_announced_while_a_page_is_read_are_read_next() {
    let mut bench = Bench::new(&book(&[("p", None, 8)]));
    let lane = lane(&[("p", 1)]);
    let mut effects = Vec::new();
    bench.planner.step(Input::LaneReady(lane.clone()), START, &mut effects);
    assert!(matches!(effects.as_slice(), [Effect::Load { .. }]), "{effects:?}");
    bench.fill(&lane, [1]);
    bench.planner.step(Input::LaneReady(lane.clone()), START, &mut effects);
    // The page was read before.
    bench.step(Input::Loaded(lane, LoadedPage::default()));
    assert_eq!(bench.sent_ids(), [1]);
    assert_eq!(bench.loads, 2);
}

#[test]
fn a_lane_above_the_common_bounds_reads_on_when_what_it_holds_has_gone() {
    let mut bench = Bench::new(&book(&[("p", None, 20)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 0..40);
    let body = Bytes::from(vec![0; 4 << 20]);
    for entry in bench.waiting.get_mut(&lane).expect("filled") {
        entry.event.body = body.clone();
    }
    bench.announce(&lane);
    assert_eq!((bench.sent.len(), bench.loads), (20, 1));
    for nth in 0..40 {
        bench.finish(nth, FINE);
    }
    assert_eq!(bench.sent_ids(), (0..40).collect::<Vec<_>>());
}

#[test]
fn a_full_lane_goes_on_when_its_only_call_expired_before_it_started() {
    let mut bench = Bench::new(&book(&[("p", None, 10)]));
    bench.planner.roster.order_mut().shares = Shares::new(2);
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 1..3);
    bench.waiting.get_mut(&lane).expect("filled")[0].event.expires_at = START + ms(1);
    bench.hold = Some(Vec::new());
    bench.announce(&lane);
    bench.now = bench.now + ms(1);
    let mut effects = Vec::new();
    for ticket in bench.hold.take().expect("held") {
        assert!(!bench.confirm(ticket, &mut effects));
    }
    bench.carry_out(effects);
    bench.pass(ms(1));
    assert_eq!(bench.sent_ids(), [2]);
}
