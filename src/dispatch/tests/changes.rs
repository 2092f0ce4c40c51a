//! A change of policies is applied to what it touches only. That leaves the same as applying it to every lane: books,
//! lanes and changes are drawn by seed, and each change is applied in both ways after the same history.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Bench, FINE, entry, ms};
use crate::clock::Timestamp;
use crate::dispatch::Input;
use crate::event::{Lane, LaneKey, PolicyId, PolicyRef};
use crate::limit::LimiterFigures;
use crate::policy::{
    Book, DRAIN_WINDOW, Family, Limits, Origin, Pace, Pause, Period, Put, Quota, Runtime, Scope, Spec,
    Window, testing,
};

const POLICIES: usize = 6;
const CHANGES: usize = 12;
/// Histories that are drawn. Those that once found a difference are tried first.
const SEEDS: std::ops::Range<u64> = 0..60;
const FOUND_SOMETHING: [u64; 2] = [11, 12];

fn name(n: usize) -> PolicyId {
    testing::id(&format!("p{n}"))
}

/// Limits by seed; the last policy turns calls away, and may bound what another one counts.
fn spec(n: usize, rng: &mut fastrand::Rng) -> Spec {
    let scope = if rng.bool() { Scope::new(&["key"]).expect("valid") } else { Scope::default() };
    let mut limits = Limits { window: Window::new(rng.i64(1..6), 60_000).ok(), ..Limits::default() };
    if n + 1 == POLICIES {
        let bounds_on = rng.bool().then(|| name(0));
        let plain = testing::spec("https://h.org/*", 1.0);
        return Spec { limits, scope, family: Family::Refuse, bounds_on, ..plain };
    }
    limits.pace = rng.bool().then(|| Pace::per_second(f64::from(rng.u32(1..9))).expect("valid"));
    limits.slots = rng.bool().then(|| NonZeroU32::new(rng.u32(1..4)).expect("some"));
    limits.window = limits.window.filter(|_| rng.bool());
    if rng.u8(..4) == 0 {
        limits.quota = Quota::new(rng.i64(1..9), Period::Hour).ok();
    }
    let timeout = rng.bool().then(|| Duration::from_secs(rng.u64(1..9)));
    Spec { limits: Limits { timeout, ..limits }, scope, ..testing::spec("https://h.org/*", 1.0) }
}

/// One change, or a few at once, of what the book says.
fn change(book: &mut Book, now: Timestamp, rng: &mut fastrand::Rng) {
    let (mut changes, origin) = (rng.usize(1..3), Origin::new("test"));
    while changes > 0 {
        let n = rng.usize(..POLICIES);
        let (id, spec) = (name(n), spec(n, rng));
        // What the state of the policy does not allow changes nothing.
        let is_made = match rng.u8(..8) {
            0..=4 => book.put(&origin, &id, spec).is_ok_and(|put| put != Put::Same),
            5 => book.rest(&origin, &id, now, DRAIN_WINDOW).is_ok(),
            6 => match rng.bool() {
                true => book.remove(&id, now, ms(rng.u64(..2000))).is_ok(),
                false => book.resume(&id).is_ok(),
            },
            _ => {
                let until = rng.bool().then(|| now + ms(500));
                book.pause(&id, Pause { reason: "test".to_owned(), since: now, until }).is_ok()
            }
        };
        changes -= usize::from(is_made);
    }
    book.expire(now);
}

/// Lanes of several policies, generations and label values.
fn lanes(rng: &mut fastrand::Rng) -> Vec<LaneKey> {
    let one = |rng: &mut fastrand::Rng| {
        let mut parts = BTreeMap::new();
        for _ in 0..rng.usize(1..4) {
            parts.insert(rng.usize(..POLICIES), rng.u32(1..3));
        }
        let part = |(n, generation): (usize, u32)| PolicyRef { policy: name(n), generation };
        let value = rng.choice(["a", "b"]).unwrap_or("a");
        let labels = testing::labels(&[("key", value)]);
        Lane::scoped(parts.into_iter().map(part).collect(), &labels, &["key"]).expect("short").key().clone()
    };
    (0..12).map(|_| one(rng)).collect()
}

/// A planner over a history that is the same for the same seed, up to this many changes.
struct History {
    bench: Bench,
    book: Book,
    lanes: Vec<LaneKey>,
    rng: fastrand::Rng,
    next_entry: u128,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut book = Book::default();
        for n in 0..POLICIES {
            if rng.u8(..4) > 0 {
                book.put(&Origin::new("test"), &name(n), spec(n, &mut rng)).expect("free");
            }
        }
        let lanes = lanes(&mut rng);
        Self { bench: Bench::new(&book), book, lanes, rng, next_entry: 0 }
    }

    /// Some events come, some calls end, time passes.
    fn go_on(&mut self) {
        for _ in 0..self.rng.usize(1..6) {
            let lane = self.lanes[self.rng.usize(..self.lanes.len())].clone();
            for _ in 0..self.rng.usize(1..5) {
                self.next_entry += 1;
                let came = entry(&lane, self.next_entry);
                self.bench.waiting.entry(lane.clone()).or_default().push(came);
            }
            self.bench.announce(&lane);
        }
        for nth in 0..self.bench.sent.len() {
            if self.rng.u8(..3) == 0 {
                self.bench.finish(nth, FINE);
            }
        }
        let time = ms(self.rng.u64(1..400));
        self.bench.pass(time);
    }

    /// Changes the book; returns what rules then.
    fn change(&mut self) -> Arc<Runtime> {
        change(&mut self.book, self.bench.now, &mut self.rng);
        Arc::new(Runtime::build(&self.book).expect("small"))
    }
}

/// What is to be the same: of each lane what rules it, what it waits for and in which place it stands; of each limiter
/// what it counts; and what was sent and settled in the meantime. Not in which line a lane stands that more than one of
/// its limits stops, nor whether one that may not go left its line already.
#[derive(Debug, PartialEq)]
struct Left {
    lanes: BTreeMap<LaneKey, String>,
    limits: Vec<LimiterFigures>,
    sent: BTreeSet<String>,
    settled: BTreeSet<String>,
}

fn left(bench: &mut Bench) -> Left {
    let now = bench.now;
    let mut lanes = BTreeMap::new();
    let mut bound = BTreeMap::new();
    for lane in bench.planner.roster.present().iter() {
        bound.insert(lane.lane.key().clone(), lane.binding.limiters().to_vec());
        let may_go = lane.has_work(now) && lane.holds.allow(lane.inflight, now);
        let place = may_go.then_some(lane.place);
        let (fate, timeout, inflight) = (lane.fate, lane.timeout, lane.inflight);
        let (hold, waits, promises, timer) = (lane.hold(now), lane.buffer.len(), lane.promises, lane.armed);
        let text = format!("{fate:?} {timeout:?} {place:?} {inflight} {hold:?} {waits} {promises} {timer:?}");
        lanes.insert(lane.lane.key().clone(), text);
    }
    for (key, limiters) in bound {
        let whose = limiters.iter().map(|limiter| format!("{:?}", bench.planner.gate().whose(*limiter)));
        let mut whose: Vec<String> = whose.collect();
        whose.sort();
        lanes.entry(key).or_default().push_str(&whose.join(" "));
    }
    let mut limits = bench.planner.gate().figures(0, usize::MAX, now).0;
    limits.sort_by(|a, b| (&a.policy, &a.key).cmp(&(&b.policy, &b.key)));
    let sent = bench.sent.iter().map(|(_, lane, id)| format!("{lane} {id}")).collect();
    let settled = bench.settled.iter().map(|settled| format!("{settled:?}")).collect();
    Left { lanes, limits, sent, settled }
}

/// Applies the change after `changes` others, in one of the two ways.
fn after(seed: u64, changes: usize, applies_all: bool) -> (Left, Bench) {
    let mut history = History::new(seed);
    for _ in 0..changes {
        history.go_on();
        let runtime = history.change();
        history.bench.step(Input::Policies(runtime));
    }
    history.go_on();
    let runtime = history.change();
    history.bench.planner.policies.applies_all = applies_all;
    history.bench.step(Input::Policies(runtime));
    (left(&mut history.bench), history.bench)
}

#[test]
fn a_change_that_is_applied_to_what_it_touches_leaves_what_it_leaves_everywhere() {
    for seed in FOUND_SOMETHING.into_iter().chain(SEEDS) {
        for changes in 0..CHANGES {
            let (touched, mut bench) = after(seed, changes, false);
            let (all, _) = after(seed, changes, true);
            assert_eq!(touched, all, "seed {seed}, after {changes} changes");
            // Nobody is left behind: who may go and does not is kept by a limit.
            bench.pass(Duration::from_secs(7));
            let now = bench.now;
            let lanes = bench.planner.roster.present().iter();
            let ready = lanes.filter(|lane| lane.has_work(now) && lane.holds.allow(lane.inflight, now));
            for lane in ready.map(|lane| lane.lane.clone()).collect::<Vec<_>>() {
                let report = bench.planner.report(&lane, now);
                assert!(report.blocked.is_some(), "seed {seed}, after {changes} changes: {lane:?}");
            }
        }
    }
}

/// The comparison would see a change that is not applied.
#[test]
fn a_change_that_is_not_applied_is_seen() {
    let differs = |seed: &u64| {
        let (with, _) = after(*seed, 3, false);
        let mut history = History::new(*seed);
        for _ in 0..3 {
            history.go_on();
            let runtime = history.change();
            history.bench.step(Input::Policies(runtime));
        }
        history.go_on();
        left(&mut history.bench) != with
    };
    let seen = SEEDS.filter(differs).count();
    assert!(seen > 20, "only {seen} of {SEEDS:?}");
}
