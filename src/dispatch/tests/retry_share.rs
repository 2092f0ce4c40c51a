//! Due entries take their share of a lane's starts and no more, while others wait that were never tried.

use super::{Bench, FINE, START, book, entry, lane, ms};
use crate::dispatch::{DueShare, PlannerOptions};
use crate::event::{Entry, LaneKey, Tries};

/// Ids from here on are due entries.
const DUE: u128 = 10_000;

/// The starts of a lane with many entries of both kinds, one call at a time.
fn starts(share: DueShare, due: u128, plain: u128, count: usize) -> Vec<u128> {
    let options = PlannerOptions { due_share: share, ..PlannerOptions::default() };
    let mut bench = Bench::over(&book(&[("p", None, 1)]), options);
    let p: LaneKey = lane(&[("p", 1)]);
    let failed = |n| Entry { due_at: Some(START), tries: Tries::of(3), ..entry(&p, DUE + n) };
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
