//! Events that may have ended the process.

use super::{Bench, FINE, START, book, lane, ms};
use crate::event::{EventId, Settlement};
use crate::store::FlightsFound;

fn id(number: u128) -> EventId {
    EventId::new(START.as_millis(), number)
}

#[test]
fn suspects_start_one_after_the_other_and_who_is_set_aside_becomes_a_dead_letter() {
    let mut bench = Bench::new(&book(&[("p", None, 1000)]));
    let found = FlightsFound {
        marks: true,
        any_was: false,
        under_way: vec![(id(1), 2), (id(2), 2), (id(3), 1)],
        set_aside: vec![id(4)],
    };
    bench.planner.suspect(&found, START);
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 1..=6);
    bench.announce(&lane);
    assert_eq!(bench.sent_ids(), [1, 3, 5, 6], "others go at once");
    let [(put_off, Settlement::Reschedule { due_at, tries, .. }), (aside, Settlement::Dead { reason, .. })] =
        bench.settled.as_slice()
    else {
        panic!("{:?}", bench.settled)
    };
    assert_eq!((*put_off, *aside, reason.as_str(), tries.all()), (id(2), id(4), "ended_process", 0));
    assert!(*due_at > START && *due_at <= START + ms(501), "{due_at:?}");
    assert_eq!(bench.inflight(), 4, "their permits are given back");
    // The call of the first one has ended: the next one may go.
    bench.finish(0, FINE);
    bench.fill(&lane, [2]);
    bench.announce(&lane);
    assert_eq!(bench.sent_ids(), [1, 3, 5, 6, 2]);
    assert_eq!(bench.settled.len(), 3);
}

#[test]
fn without_suspects_every_one_starts() {
    let mut bench = Bench::new(&book(&[("p", None, 1000)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, 1..=6);
    bench.announce(&lane);
    assert_eq!(bench.sent.len(), 6);
}
