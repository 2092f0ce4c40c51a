//! What is due goes ahead of what was never tried, whatever kept the lane before.

use std::time::Duration;

use super::{Bench, FINE, START, book, entry, lane, ms};
use crate::clock::Timestamp;
use crate::dispatch::{Effect, Input};
use crate::event::testing::API_LIMIT;
use crate::event::{Cause, Entry, LaneKey, Outcome, Settlement, Tries, Wait};
use crate::policy::{Book, Pause, testing};
use crate::queue::LoadedPage;

fn paused(book: &mut Book) {
    let pause = Pause { reason: "a reason".to_owned(), since: START, until: None };
    book.pause(&testing::id("p"), pause).expect("known");
}

fn due(lane: &LaneKey, n: u128, at: Timestamp) -> Entry {
    Entry { due_at: Some(at), ..entry(lane, n) }
}

/// The queue has an entry that is put off: it comes first in the next page, and is announced.
fn put_off(bench: &mut Bench, lane: &LaneKey, n: u128, at: Timestamp) {
    bench.waiting.entry(lane.clone()).or_default().insert(0, due(lane, n, at));
}

/// The planner alone: what it asks for, with its calls confirmed.
fn step(bench: &mut Bench, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    bench.planner.step(input, bench.now, &mut effects);
    let tickets: Vec<_> = effects
        .iter()
        .filter_map(|effect| if let Effect::Send { ticket } = effect { Some(*ticket) } else { None })
        .collect();
    tickets.into_iter().for_each(|ticket| assert!(bench.confirm(ticket, &mut effects)));
    effects
}

fn asks_for_a_page(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Load { .. }))
}

#[test]
fn after_a_pause_with_a_full_window_what_became_due_meanwhile_goes_first() {
    for is_announced in [true, false] {
        let mut book = book(&[("p", None, 1)]);
        paused(&mut book);
        let (mut bench, p) = (Bench::new(&book), lane(&[("p", 1)]));
        bench.fill(&p, 0..200);
        bench.announce(&p);
        bench.pass(ms(10));
        let at = START + ms(500);
        put_off(&mut bench, &p, 900, at);
        if is_announced {
            bench.step(Input::PutOff(p.clone(), at));
        }
        bench.pass(ms(1_000));
        book.resume(&testing::id("p")).expect("known");
        bench.rule(&book);
        for nth in 0..80 {
            bench.finish(nth, FINE);
        }
        let place = bench.sent_ids().iter().position(|n| *n == 900);
        if is_announced {
            assert_eq!(place, Some(0));
            let rest: Vec<u128> = bench.sent_ids().into_iter().filter(|n| *n != 900).collect();
            assert_eq!(rest, (0..80).collect::<Vec<_>>());
        } else {
            assert!(place.is_none_or(|place| place > 10), "the control: {place:?}");
        }
    }
}

#[test]
fn what_was_never_tried_waits_for_the_page_that_brings_what_is_due() {
    for failed in [false, true] {
        let (mut bench, p) = (Bench::new(&book(&[("p", Some(1.0), 100)])), lane(&[("p", 1)]));
        step(&mut bench, Input::LaneReady(p.clone()));
        let at = START + ms(700);
        let entries = (0..10).map(|n| entry(&p, n)).collect();
        step(&mut bench, Input::Loaded(p.clone(), LoadedPage { entries, more: false, next_due: Some(at) }));
        assert_eq!(bench.sent_ids(), [0]);
        // The limit has room again when the other one is due, and the page is not there yet.
        bench.now = START + ms(1_500);
        assert!(asks_for_a_page(&step(&mut bench, Input::Tick)));
        assert_eq!(bench.sent_ids(), [0], "nothing goes meanwhile");
        if failed {
            step(&mut bench, Input::LoadFailed(p.clone()));
            assert_eq!(bench.sent_ids(), [0, 1], "what cannot be read keeps nobody");
        } else {
            let entries = vec![due(&p, 90, at)];
            step(&mut bench, Input::Loaded(p.clone(), LoadedPage { entries, more: false, next_due: None }));
            bench.now = bench.now + ms(2_000);
            step(&mut bench, Input::Tick);
            assert_eq!(bench.sent_ids(), [0, 90, 1]);
        }
    }
}

#[test]
fn a_lane_that_waits_for_such_a_page_keeps_its_turn() {
    let mut bench = Bench::new(&book(&[("shared", Some(1.0), 100), ("a", None, 100), ("b", None, 100)]));
    let (first, second) = (lane(&[("a", 1), ("shared", 1)]), lane(&[("b", 1), ("shared", 1)]));
    let loaded = |key: &LaneKey, from: u128, next_due| {
        let entries = (from..from + 10).map(|n| entry(key, n)).collect();
        Input::Loaded(key.clone(), LoadedPage { entries, more: false, next_due })
    };
    let at = START + ms(900);
    for (key, from, next_due) in [(&second, 100, None), (&first, 0, Some(at))] {
        step(&mut bench, Input::LaneReady(key.clone()));
        step(&mut bench, loaded(key, from, next_due));
    }
    assert_eq!(bench.sent_ids(), [100], "it is the other one's turn");
    for expected in [&[100, 101][..], &[100, 101, 102]] {
        bench.now = bench.now + ms(1_100);
        step(&mut bench, Input::Tick);
        assert_eq!(bench.sent_ids(), expected, "the other one goes while its page is on its way");
    }
    let entries = vec![due(&first, 90, at)];
    step(&mut bench, Input::Loaded(first.clone(), LoadedPage { entries, more: false, next_due: None }));
    bench.now = bench.now + ms(1_100);
    step(&mut bench, Input::Tick);
    assert_eq!(bench.sent_ids(), [100, 101, 102, 90]);
}

#[test]
fn after_a_hold_the_call_that_was_told_to_wait_goes_first() {
    let asked = Duration::from_secs(30);
    for outcome in [
        Outcome::Retry { cause: Cause::Status(503), retry_after: Some(asked) },
        Outcome::Wait(Wait::new(API_LIMIT, asked)),
    ] {
        let (mut bench, p) = (Bench::new(&book(&[("p", None, 1)])), lane(&[("p", 1)]));
        // Due times are whole milliseconds.
        bench.now = START + Duration::from_micros(300);
        bench.fill(&p, 0..100);
        bench.announce(&p);
        bench.finish(0, outcome);
        let Some((_, Settlement::Reschedule { due_at, tries, .. })) = bench.settled.pop() else {
            panic!("rescheduled")
        };
        let again = Entry { tries, ..due(&p, 0, due_at) };
        bench.waiting.entry(p.clone()).or_default().insert(0, again);
        bench.pass(asked - ms(1));
        assert_eq!(bench.sent.len(), 1);
        bench.pass(ms(3));
        (1..30).for_each(|nth| bench.finish(nth, FINE));
        let expected: Vec<u128> = [0, 0].into_iter().chain(1..30).collect();
        assert_eq!(bench.sent_ids(), expected);
    }
}

#[test]
fn many_due_ones_go_before_all_others_although_the_window_is_full() {
    let mut book = book(&[("p", None, 1)]);
    paused(&mut book);
    let (mut bench, p) = (Bench::new(&book), lane(&[("p", 1)]));
    bench.fill(&p, 0..200);
    bench.announce(&p);
    let at = START + ms(500);
    // Far more than a page.
    let many = (1_000..1_150).map(|n| due(&p, n, at)).collect::<Vec<_>>();
    bench.waiting.insert(p.clone(), many);
    bench.step(Input::PutOff(p.clone(), at));
    bench.pass(ms(1_000));
    book.resume(&testing::id("p")).expect("known");
    bench.rule(&book);
    let mut nth = 0;
    while nth < bench.sent.len() {
        // The queue tells that more is due.
        if !bench.waiting[&p].is_empty() {
            bench.step(Input::PutOff(p.clone(), at));
        }
        bench.finish(nth, FINE);
        nth += 1;
    }
    assert_eq!(&bench.sent_ids()[..150], (1_000..1_150).collect::<Vec<_>>());
    assert_eq!(bench.sent_ids()[150], 0, "then the first that was never tried");
}

#[test]
fn due_entries_go_ahead_of_unsent_ones_in_due_order() {
    let mut bench = Bench::new(&book(&[("p", None, 1)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 0..4);
    bench.announce(&lane);
    let due =
        |n: u128, at: u64| Entry { due_at: Some(START + ms(at)), tries: Tries::of(1), ..entry(&lane, n) };
    bench.waiting.insert(lane.clone(), vec![due(90, 7), due(91, 5)]);
    bench.now = START + ms(10);
    bench.announce(&lane);
    for nth in 0..6 {
        bench.finish(nth, FINE);
    }
    assert_eq!(bench.sent_ids(), [0, 91, 90, 1, 2, 3]);
}
