//! Due entries take their share of a lane's starts and no more, while others wait that were never tried.

use std::collections::VecDeque;

use super::{Bench, FINE, START, book, entry, lane, ms};
use crate::dispatch::{DueShare, Effect, Input, PlannerOptions};
use crate::event::{Entry, LaneKey, Tries};
use crate::queue::{LoadedPage, PageMix};

/// Ids from here on are due entries.
const DUE: u128 = 10_000;

/// The starts of a lane with many entries of both kinds, one call at a time.
fn starts(share: DueShare, due: u128, plain: u128, count: usize) -> Vec<u128> {
    let options = PlannerOptions { due_share: share, ..PlannerOptions::default() };
    let mut bench = Bench::over(&book(&[("p", None, 1)]), options);
    let p: LaneKey = lane(&[("p", 1)]);
    let failed = |n| Entry { due_at: Some(START - ms(1)), tries: Tries::of(3), ..entry(&p, DUE + n) };
    // Each page has some of both, as the queue hands them out.
    let both = (0..due.max(plain)).flat_map(|n| {
        let due = (n < due).then(|| failed(n));
        due.into_iter().chain((n < plain).then(|| entry(&p, n)))
    });
    bench.waiting.insert(p.clone(), both.collect());
    bench.announce(&p);
    for nth in 0..count {
        bench.now = bench.now + ms(30);
        bench.finish(nth, FINE);
    }
    bench.sent_ids()[..count].to_vec()
}

#[test]
fn untried_ones_get_the_rest_once_due_ones_took_their_share() {
    let order = starts(DueShare::HALF, 100, 100, 150);
    assert!(order[..10].iter().all(|n| *n >= DUE), "due ones first: {order:?}");
    // What a second had too many of, the next one has fewer of.
    for some in order.windows(66) {
        let due = some.iter().filter(|n| **n >= DUE).count();
        assert!((28..=38).contains(&due), "{due} of {some:?}");
    }
    for kind in [true, false] {
        let of_kind: Vec<u128> = order.iter().copied().filter(|n| (*n >= DUE) == kind).collect();
        assert!(of_kind.is_sorted(), "each kind in its order: {of_kind:?}");
    }
    // The control: without a share all due ones of the first page go before the others.
    assert!(starts(DueShare::ALL, 100, 100, 16).iter().all(|n| *n >= DUE));
}

#[test]
fn nobody_waits_for_a_share_that_nobody_else_takes() {
    assert_eq!(starts(DueShare::HALF, 60, 0, 60).len(), 60);
    let order = starts(DueShare::HALF, 40, 5, 45);
    assert_eq!(order.iter().filter(|n| **n < DUE).count(), 5);
    assert!(order[30..].iter().all(|n| *n >= DUE), "the others were gone: {order:?}");
}

/// What an operator sends now goes first although due entries had their share, and is no part of it.
#[test]
fn what_is_sent_now_waits_for_no_share() {
    for is_sent_now in [true, false] {
        let options = PlannerOptions { due_share: DueShare::HALF, ..PlannerOptions::default() };
        let mut bench = Bench::over(&book(&[("p", None, 1)]), options);
        let p: LaneKey = lane(&[("p", 1)]);
        // The control became due a moment after its acceptance.
        let due_at = Some(if is_sent_now { START } else { START + ms(1) });
        let due = |n: u128| Entry { due_at, ..entry(&p, DUE + n) };
        bench.waiting.insert(p.clone(), (0..15).map(due).chain((0..15).map(|n| entry(&p, n))).collect());
        bench.now = START + ms(2);
        bench.announce(&p);
        for nth in 0..29 {
            bench.now = bench.now + ms(30);
            bench.finish(nth, FINE);
        }
        let first = bench.sent_ids()[..15].iter().filter(|n| **n >= DUE).count();
        assert_eq!(first, if is_sent_now { 15 } else { 10 }, "{is_sent_now}");
    }
}

/// Many entries of both kinds in a queue that makes its pages of as many of each as it is asked for, or of halves.
struct Both {
    due: VecDeque<Entry>,
    plain: VecDeque<Entry>,
    in_halves: bool,
}

impl Both {
    fn page(&mut self, entries: usize, mix: PageMix) -> LoadedPage {
        let PageMix::UpTo { due, plain } = mix else { panic!("no purge") };
        let (due, plain) = if self.in_halves { (entries.div_ceil(2), entries) } else { (due, plain) };
        let mut page: Vec<Entry> = self.due.drain(..due.min(self.due.len())).collect();
        let room = (entries - page.len()).min(plain).min(self.plain.len());
        page.extend(self.plain.drain(..room));
        LoadedPage { entries: page, more: true, next_due: self.due.front().and_then(|first| first.due_at) }
    }
}

/// How many of these starts are of due entries, one call at a time.
fn due_of(starts: usize, share: DueShare, in_halves: bool) -> usize {
    let options = PlannerOptions { due_share: share, ..PlannerOptions::default() };
    let mut bench = Bench::over(&book(&[("p", None, 1)]), options);
    let p: LaneKey = lane(&[("p", 1)]);
    let failed = |n| Entry { due_at: Some(START - ms(1)), tries: Tries::of(3), ..entry(&p, DUE + n) };
    let all = 0..2 * starts as u128;
    let (due, plain) = (all.clone().map(failed).collect(), all.map(|n| entry(&p, n)).collect());
    let mut queue = Both { due, plain, in_halves };
    let mut inputs = VecDeque::from([Input::LaneReady(p), Input::Tick]);
    while bench.sent.len() < starts {
        let input = inputs.pop_front().expect("it never comes to rest");
        let mut effects = Vec::new();
        bench.planner.step(input, bench.now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Load { lane, limit, mix } => {
                    inputs.push_back(Input::Loaded(lane, queue.page(limit.entries, mix)));
                }
                Effect::Send { ticket } => {
                    assert!(bench.confirm(ticket, &mut Vec::new()));
                    bench.now = bench.now + ms(1);
                    inputs.push_back(Input::Finished { ticket, outcome: FINE, took: ms(1) });
                }
                Effect::Record(_) | Effect::Settle(_) => {}
            }
        }
    }
    bench.sent_ids().into_iter().filter(|n| *n >= DUE).count()
}

#[test]
fn the_share_is_kept_whatever_it_is() {
    for (share, least, most) in
        [(0.1, 450, 600), (0.5, 2_400, 2_600), (0.8, 3_800, 4_200), (1.0, 5_000, 5_000)]
    {
        let due = due_of(5_000, DueShare::of(share), false);
        assert!((least..=most).contains(&due), "{due} of 5000 at {share}");
    }
    // The controls: pages of halves keep no share but that one.
    assert!(due_of(5_000, DueShare::of(0.1), true) > 1_000);
    assert!(due_of(5_000, DueShare::of(0.8), true) < 3_700);
}
