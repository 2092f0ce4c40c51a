//! What an operator takes out of the read-ahead.

use std::collections::HashSet;

use super::*;

#[test]
fn what_is_read_ahead_is_handed_over_and_what_is_under_way_is_not() {
    // One call at a time: the others wait here.
    let mut bench = Bench::new(&book(&[("p", None, 1)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 0..4);
    bench.announce(&lane);
    let (ticket, _, first) = bench.sent[0].clone();
    let waiting: Vec<EventId> = (1..4).map(|n| entry(&lane, n).id).collect();
    let asked: HashSet<EventId> = [first, waiting[0], waiting[2], EventId::new(9, 9)].into();
    let mut effects = Vec::new();
    let handed = bench.planner.let_go(&lane, &asked, bench.now, &mut effects);
    let handed: Vec<EventId> = handed.iter().map(|entry| entry.id).collect();
    assert_eq!(handed, [waiting[0], waiting[2]]);
    bench.carry_out(effects);
    bench.step(Input::Finished { ticket, outcome: FINE, took: ms(1) });
    bench.step(Input::Tick);
    let sent: Vec<EventId> = bench.sent.iter().map(|(_, _, id)| *id).collect();
    assert_eq!(sent, [first, waiting[1]], "what was handed over is not sent");
    assert_eq!(bench.settled, [(first, Settlement::Delivered)], "nor settled");
    let unknown = super::lane(&[("q", 1)]);
    assert!(bench.planner.let_go(&unknown, &asked, bench.now, &mut Vec::new()).is_empty());
}

/// A call whose start was promised at the door and that is taken out leaves no promise behind.
#[test]
fn the_read_ahead_that_is_handed_over_makes_room_for_more() {
    let mut bench = Bench::new(&book(&[("p", None, 1)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 0..200);
    bench.announce(&lane);
    let ids = |bench: &Bench| bench.planner.figures(bench.now).read_ahead;
    let before = ids(&bench);
    assert!(before > 0);
    let all: HashSet<EventId> = (0..200).map(|n| entry(&lane, n).id).collect();
    let mut effects = Vec::new();
    let handed = bench.planner.let_go(&lane, &all, bench.now, &mut effects).len();
    assert_eq!(handed, before);
    bench.carry_out(effects);
    bench.step(Input::Tick);
    assert!(bench.loads > 1 && ids(&bench) > 0, "it reads on");
}

/// A purge waits for the retries of its lane: for one that an operator took it would wait to its time and beyond.
#[test]
fn a_retry_that_is_handed_over_is_not_waited_for() {
    for is_told in [true, false] {
        let mut bench = Bench::new(&book(&[("p", None, 1)]));
        let lane = lane(&[("p", 1)]);
        bench.fill(&lane, 0..1);
        bench.announce(&lane);
        let (ticket, _, id) = bench.sent[0].clone();
        let failed = Outcome::Retry { cause: Cause::Timeout, retry_after: Some(ms(60_000)) };
        bench.step(Input::Finished { ticket, outcome: failed, took: ms(1) });
        let mut effects = Vec::new();
        if is_told {
            assert!(bench.planner.let_go(&lane, &HashSet::from([id]), bench.now, &mut effects).is_empty());
        }
        bench.planner.purge(&testing::id("p"), bench.now, &mut effects);
        bench.carry_out(effects);
        bench.step(Input::Tick);
        assert_eq!(bench.planner.take_purged().len(), usize::from(is_told), "the control waits");
    }
}
