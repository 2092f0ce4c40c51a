//! When an entry that was put off is asked for again.

use std::time::Duration;

use super::{Bench, FINE, book, entry, lane, ms};
use crate::event::{Cause, Entry, Outcome, Settlement, Tries};

#[test]
fn a_retry_is_asked_for_when_it_is_due_and_again_when_it_is_not_there_yet() {
    let mut bench = Bench::new(&book(&[("p", None, 1)]));
    let lane = lane(&[("p", 1)]);
    bench.fill(&lane, [1]);
    bench.announce(&lane);
    bench.finish(0, Outcome::Retry { cause: Cause::Timeout, retry_after: Some(ms(300)) });
    let Some((_, Settlement::Reschedule { due_at, tries, .. })) = bench.settled.pop() else {
        panic!("rescheduled")
    };
    assert_eq!(tries, Tries::NONE.and_free(), "its endpoint has named the time");
    let loads = bench.loads;
    bench.pass(due_at.since(bench.now) - Duration::from_nanos(1));
    assert_eq!(bench.loads, loads, "nobody asks before it is due");
    // The settlement becomes visible 100 ms late.
    bench.pass(ms(100));
    assert!((loads + 1..loads + 6).contains(&bench.loads), "{} asked", bench.loads - loads);
    bench.waiting.insert(lane.clone(), vec![Entry { due_at: Some(due_at), tries, ..entry(&lane, 1) }]);
    bench.pass(ms(200));
    assert_eq!(bench.sent_ids(), [1, 1]);
    bench.finish(1, FINE);
    assert_eq!(bench.planner.figures(bench.now).lanes, 0, "the lane is forgotten");
    assert_eq!(bench.planner.next_wake(), None);
}
