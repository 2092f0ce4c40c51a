//! Lanes whose calls do not end, beside lanes whose calls do.

use std::collections::{BTreeMap, VecDeque};

use super::{Bench, FINE, START, book, lane, ms};
use crate::dispatch::shares::Shares;
use crate::dispatch::{HoldReason, Input};
use crate::event::{Cause, Lane, LaneKey, Outcome};

const MOST: usize = 512;

/// A bench with this many lanes that hang and two that are well.
fn world(hanging: usize) -> (Bench, Vec<LaneKey>, [LaneKey; 2]) {
    let names: Vec<String> = (0..hanging).map(|n| format!("hang{n}")).collect();
    let hang = names.iter().map(|name| (name.as_str(), None, 4096));
    let policies: Vec<_> = hang.chain([("a", None, 4096), ("b", Some(100.0), 4096)]).collect();
    let mut bench = Bench::new(&book(&policies));
    bench.planner.roster.order_mut().shares = Shares::new(MOST);
    let lanes = names.iter().map(|name| lane(&[(name.as_str(), 1)])).collect();
    (bench, lanes, [lane(&[("a", 1)]), lane(&[("b", 1)])])
}

fn in_flight(bench: &Bench, lane: &LaneKey) -> usize {
    let id = bench.planner.roster.present().find(lane);
    id.and_then(|id| bench.planner.roster.present().get(id)).map_or(0, |lane| lane.inflight)
}

/// Announces lanes at the same time: each gets a page in turn.
fn announce(bench: &mut Bench, lanes: &[LaneKey]) {
    let mut effects = Vec::new();
    for lane in lanes {
        bench.planner.step(Input::LaneReady(lane.clone()), bench.now, &mut effects);
    }
    bench.carry_out(effects);
}

/// The calls that have not ended, oldest first.
#[derive(Default)]
struct Open {
    seen: usize,
    calls: BTreeMap<LaneKey, VecDeque<usize>>,
}

impl Open {
    /// Ends the oldest call of a lane until this many are left, but at least one.
    fn answer(&mut self, bench: &mut Bench, lane: &LaneKey, left: usize) {
        for (nth, (_, of, _)) in bench.sent.iter().enumerate().skip(self.seen) {
            self.calls.entry(of.clone()).or_default().push_back(nth);
        }
        self.seen = bench.sent.len();
        let calls = self.calls.entry(lane.clone()).or_default();
        let most = calls.len().saturating_sub(left).max(1);
        for nth in calls.drain(..most.min(calls.len())) {
            bench.finish(nth, FINE);
        }
    }
}

#[test]
fn whatever_hangs_a_healthy_lane_reaches_its_pace_and_its_share() {
    for hanging in [1, 2, 3, 30] {
        for at_once in [true, false] {
            let (mut bench, hang, [slow, paced]) = world(hanging);
            for (lane, n) in hang.iter().zip(0_u128..) {
                bench.fill(lane, (0..512).map(|i| n * 10_000 + i));
            }
            if at_once {
                announce(&mut bench, &hang);
            } else {
                hang.iter().for_each(|lane| announce(&mut bench, std::slice::from_ref(lane)));
            }
            bench.pass(ms(5));
            let taken = bench.planner.inflight();
            // One endpoint answers a call per millisecond, the other each call within a millisecond.
            bench.fill(&slow, 1_000_000..1_004_000);
            bench.fill(&paced, 2_000_000..2_000_300);
            announce(&mut bench, &[slow.clone(), paced.clone()]);
            let share = MOST / (2 * (hanging + 2));
            let (mut open, mut most) = (Open::default(), 0);
            for _ in 0..2_000 {
                bench.pass(ms(1));
                open.answer(&mut bench, &paced, 0);
                open.answer(&mut bench, &slow, share);
                bench.pass(ms(0));
                most = most.max(in_flight(&bench, &slow));
            }
            let of_paced = bench.sent_of(&paced);
            println!(
                "{hanging} hang (at once: {at_once}) with {taken} calls; {of_paced} at 100/s, {most} of {share}"
            );
            assert!(of_paced >= 195, "{of_paced} in two seconds at 100/s beside {hanging}");
            assert!(most >= share, "{most} calls beside {hanging} that hang, of a share of {share}");
            let of_hanging: usize = hang.iter().map(|lane| in_flight(&bench, lane)).sum();
            assert!(of_hanging >= taken, "the control: they hang");
        }
    }
}

#[test]
fn slots_that_hanging_calls_give_back_are_not_taken_by_lanes_above_their_share() {
    let (mut bench, hang, [slow, _]) = world(2);
    bench.fill(&hang[0], 0..2_000);
    bench.announce(&hang[0]);
    bench.pass(ms(5));
    assert_eq!(in_flight(&bench, &hang[0]), MOST / 2, "it was alone");
    bench.fill(&hang[1], 10_000..12_000);
    bench.announce(&hang[1]);
    bench.pass(ms(5));
    bench.fill(&slow, 1_000_000..1_000_001);
    bench.announce(&slow);
    // Too few to open the breaker.
    for nth in 0..15 {
        bench.finish(nth, Outcome::Retry { cause: Cause::Timeout, retry_after: None });
    }
    bench.pass(ms(5));
    assert_eq!(in_flight(&bench, &hang[0]), MOST / 2 - 15);
    assert_eq!(bench.sent_of(&slow), 1);
}

#[test]
fn a_lane_that_waits_for_its_share_says_so_and_goes_on_when_calls_end() {
    let (mut bench, hang, _) = world(1);
    bench.fill(&hang[0], 0..1_000);
    bench.announce(&hang[0]);
    bench.pass(ms(5));
    let name = Lane::parse(&hang[0]).expect("valid");
    let hold = bench.planner.report(&name, bench.now).hold.expect("it waits");
    assert_eq!((hold.reason, hold.until), (HoldReason::Share, None));
    assert_eq!(bench.planner.figures(bench.now).held, [(name, hold)]);
    assert_eq!(bench.planner.next_wake().filter(|wake| *wake <= START + ms(5)), None, "it costs nothing");
    bench.finish(0, FINE);
    assert_eq!(bench.sent.len(), MOST / 2 + 1);
}

#[test]
fn lanes_that_wait_for_their_share_go_on_when_another_lane_is_done() {
    let (mut bench, hang, [first, _]) = world(1);
    bench.fill(&hang[0], 0..600);
    bench.fill(&first, 10_000..10_300);
    announce(&mut bench, &[hang[0].clone(), first.clone()]);
    bench.pass(ms(5));
    let both = [bench.sent_of(&hang[0]), bench.sent_of(&first)];
    assert!(both.iter().all(|calls| (100..=150).contains(calls)), "{both:?}");
    let mut open = Open::default();
    while in_flight(&bench, &first) > 0 {
        open.answer(&mut bench, &first, 0);
    }
    assert_eq!(bench.sent_of(&first), 300);
    bench.pass(ms(5));
    assert_eq!(bench.sent_of(&hang[0]), MOST / 2, "the one that is left has half of them");
}

#[test]
fn large_bodies_in_flight_count_as_several_calls() {
    let (mut bench, hang, [slow, _]) = world(1);
    bench.fill(&hang[0], 0..400);
    let body = bytes::Bytes::from(vec![0; 256 << 10]);
    for entry in bench.waiting.get_mut(&hang[0]).expect("filled") {
        entry.event.body = body.clone();
    }
    bench.announce(&hang[0]);
    bench.pass(ms(5));
    // Nine slots each.
    assert_eq!(in_flight(&bench, &hang[0]), (MOST / 2).div_ceil(9));
    bench.fill(&slow, 1_000_000..1_000_400);
    bench.announce(&slow);
    let taken = in_flight(&bench, &slow);
    assert!(taken >= 80, "the control: {taken} without bodies");
    for nth in 0..in_flight(&bench, &hang[0]) {
        bench.finish(nth, Outcome::Reject { cause: Cause::Status(404) });
    }
    assert!(bench.sent_of(&hang[0]) > (MOST / 2).div_ceil(9), "what calls give back is used again");
}
