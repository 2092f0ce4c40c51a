//! Calls that the egress guard withholds.

use super::holds::two_lanes;
use super::{FINE, START, ms};
use crate::dispatch::HoldReason;
use crate::event::{Cause, Outcome, Settlement};

#[test]
fn what_the_guard_withholds_holds_its_lane_and_one_call_tries_it_at_a_slow_pace() {
    let (mut bench, held, other) = two_lanes();
    bench.fill(&held, 0..20);
    bench.announce(&held);
    (0..20).for_each(|nth| bench.finish(nth, Outcome::Withheld));
    bench.fill(&held, 20..50);
    bench.fill(&other, 100..110);
    bench.announce(&held);
    bench.announce(&other);
    bench.pass(ms(29_999));
    assert_eq!((bench.sent_of(&held), bench.sent_of(&other)), (20, 10), "others go on");
    let figures = bench.planner.figures(bench.now);
    let hold = figures.held.first().expect("one lane is held").1;
    assert_eq!((hold.reason, hold.until), (HoldReason::Egress, Some(START + ms(30_000))));
    bench.pass(ms(1));
    assert_eq!(bench.sent_of(&held), 21, "one call tries it");
    bench.finish(30, Outcome::Withheld);
    bench.pass(ms(29_999));
    assert_eq!(bench.sent_of(&held), 21);
    bench.pass(ms(1));
    assert_eq!(bench.sent_of(&held), 22);
    bench.finish(31, FINE);
    bench.pass(ms(1));
    assert_eq!(bench.sent_of(&held), 50, "the guard allows it: all go at once");
    assert_eq!(bench.planner.figures(bench.now).held, []);
    let dead = bench.settled.iter().filter(|(_, how)| matches!(how, Settlement::Dead { .. })).count();
    assert_eq!(dead, 0, "no attempt is spent");
}

#[test]
fn what_the_guard_refuses_for_good_is_dead_and_holds_nobody() {
    let (mut bench, lane, _) = two_lanes();
    bench.fill(&lane, 0..2);
    bench.announce(&lane);
    bench.finish(0, Outcome::Reject { cause: Cause::Blocked });
    assert_eq!(bench.planner.figures(bench.now).held, []);
    let [(_, Settlement::Dead { reason, .. })] = bench.settled.as_slice() else {
        panic!("{:?}", bench.settled)
    };
    assert_eq!(reason, "blocked");
}
