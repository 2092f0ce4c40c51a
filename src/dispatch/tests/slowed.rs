//! Lanes that start less than their limits allow: after an outage, and where the endpoint answers 429 or 503.

use std::collections::HashSet;
use std::time::Duration;

use super::{Bench, FINE, START, book, lane, ms};
use crate::dispatch::{PlannerOptions, SlowReason};
use crate::event::{Cause, EventId, LaneKey, Outcome};

/// What the limits allow in a second.
const PACE: f64 = 400.0;

fn answered(status: u16) -> Outcome {
    Outcome::Retry { cause: Cause::Status(status), retry_after: None }
}

/// A lane with a long backlog, whose calls end as the test says, one millisecond after they began.
struct Lane {
    bench: Bench,
    key: LaneKey,
    ended: usize,
}

impl Lane {
    fn over(options: PlannerOptions) -> Self {
        let mut bench = Bench::over(&book(&[("p", Some(PACE), 1_000), ("q", Some(PACE), 1_000)]), options);
        let key = lane(&[("p", 1)]);
        bench.fill(&key, 0..40_000);
        bench.announce(&key);
        Self { bench, key, ended: 0 }
    }

    /// Lets calls end for so long; returns how many started.
    fn run(&mut self, time: Duration, outcome: impl Fn(usize) -> Outcome) -> usize {
        let (before, end) = (self.bench.sent_of(&self.key), self.bench.now + time);
        while self.bench.now < end {
            self.bench.pass(ms(1));
            while self.ended < self.bench.sent.len() {
                self.bench.finish(self.ended, outcome(self.ended));
                self.ended += 1;
            }
        }
        self.bench.sent_of(&self.key) - before
    }

    fn per_second(&mut self, seconds: usize, outcome: impl Fn(usize) -> Outcome) -> Vec<usize> {
        (0..seconds).map(|_| self.run(ms(1_000), &outcome)).collect()
    }
}

fn within(starts: &[usize], low: usize, high: usize) -> bool {
    starts.iter().all(|starts| (low..=high).contains(starts))
}

#[test]
fn after_an_outage_starts_rise_by_and_by_to_the_limit_and_in_order() {
    let mut lane = Lane::over(PlannerOptions::default());
    assert!(within(&lane.per_second(3, |_| FINE)[1..], 395, 401), "the control");
    let failed = lane.bench.sent.len();
    let down = |_| Outcome::Unprocessed { cause: Cause::Connect };
    lane.run(ms(30_000), down);
    let back = lane.bench.sent.len();
    assert!(back - failed < 60, "single calls: {}", back - failed);
    // Until the next call tries the endpoint, 20 s at most.
    while lane.bench.sent.len() == back {
        lane.run(ms(1), |_| FINE);
    }
    let rising = lane.per_second(8, |_| FINE);
    assert!(rising[0] <= 20 && rising[..6].is_sorted(), "{rising:?}");
    assert!(rising.windows(2).all(|two| two[1] <= two[0] * 2 + 10), "{rising:?}");
    assert!(within(&rising[6..], 395, 401), "{rising:?}");
    assert!(within(&lane.per_second(12, |_| FINE), 395, 401), "and never above");
    assert!(lane.bench.planner.figures(lane.bench.now).slowed.is_empty());
    let ids = &lane.bench.sent_ids()[back..];
    assert!(ids.is_sorted(), "in order");
}

#[test]
fn a_lane_whose_endpoint_answers_429_is_slowed_down_and_restored_while_others_go_on() {
    let mut slow = Lane::over(PlannerOptions::default());
    let other = lane(&[("q", 1)]);
    slow.bench.fill(&other, 100_000..140_000);
    slow.bench.announce(&other);
    assert!(within(&slow.per_second(2, |_| FINE)[1..], 395, 401));
    // The endpoint takes 100 in a second.
    let mut taken = (0_u64, 0_u32);
    let end = slow.bench.now + Duration::from_secs(40);
    let mut starts = Vec::new();
    let mut refused = 0;
    while slow.bench.now < end {
        let before = slow.bench.sent_of(&slow.key);
        let second_end = slow.bench.now + Duration::from_secs(1);
        while slow.bench.now < second_end {
            slow.bench.pass(ms(1));
            while slow.ended < slow.bench.sent.len() {
                let second = slow.bench.now.as_millis() / 1_000;
                let is_other = slow.bench.sent[slow.ended].1 == other;
                if taken.0 != second {
                    taken = (second, 0);
                }
                taken.1 += u32::from(!is_other);
                let outcome = if is_other || taken.1 <= 100 { FINE } else { answered(429) };
                refused += usize::from(outcome != FINE);
                slow.bench.finish(slow.ended, outcome);
                slow.ended += 1;
            }
        }
        starts.push(slow.bench.sent_of(&slow.key) - before);
    }
    let settled = &starts[5..];
    let mean = settled.iter().sum::<usize>() / settled.len();
    assert!((60..=140).contains(&mean), "about what the endpoint takes: {starts:?}");
    assert!(refused < 2_500, "{refused} of 12 000 without it");
    assert!(slow.bench.sent_of(&other) >= 40 * 395, "others go on: {}", slow.bench.sent_of(&other));
    let figures = slow.bench.planner.figures(slow.bench.now);
    let [(_, rate)] = figures.slowed.as_slice() else { panic!("{:?}", figures.slowed) };
    assert!(rate.reason == SlowReason::Reduced && rate.calls_per_second < 200.0, "{rate:?}");
    // It takes more again.
    let restored = slow.per_second(20, |_| FINE);
    assert!(restored.windows(2).all(|two| two[1] + 3 >= two[0]), "{restored:?}");
    assert!(within(&restored[18..], 395, 401), "{restored:?}");
    assert!(slow.bench.planner.figures(slow.bench.now).slowed.is_empty());
}

#[test]
fn without_the_setting_and_for_other_failures_a_lane_goes_at_its_pace() {
    let never = PlannerOptions {
        breaker: crate::dispatch::BreakerPolicy { failures: 0, ..Default::default() },
        ..PlannerOptions::default()
    };
    for (options, status, is_slowed) in [
        (PlannerOptions { adaptive_rate: false, ..never }, 429, false),
        (never, 500, false),
        (never, 429, true),
        (never, 503, true),
    ] {
        let mut lane = Lane::over(options);
        lane.run(ms(1_000), |_| FINE);
        lane.run(ms(2_000), |_| answered(status));
        let starts = lane.run(ms(1_000), |_| answered(status));
        assert_eq!(starts < 390, is_slowed, "{status}: {starts}");
    }
}

#[test]
fn a_lane_that_is_empty_is_kept_until_its_rate_is_restored_and_not_longer() {
    let mut bench = Bench::new(&book(&[("p", Some(PACE), 1_000)]));
    let key = lane(&[("p", 1)]);
    bench.fill(&key, 0..600);
    bench.announce(&key);
    bench.pass(ms(300));
    (0..5).for_each(|nth| bench.finish(nth, answered(429)));
    bench.pass(ms(1_100));
    (500..505).for_each(|nth| bench.finish(nth, answered(429)));
    bench.pass(ms(2_000));
    (5..500).chain(505..600).for_each(|nth| bench.finish(nth, FINE));
    // Without its retries nothing but the rate keeps the lane.
    let ids: HashSet<EventId> = (0..600).map(|n| EventId::new(START.as_millis(), n)).collect();
    let mut effects = Vec::new();
    assert!(bench.planner.let_go(&key, &ids, bench.now, &mut effects).is_empty());
    bench.carry_out(effects);
    bench.pass(ms(4_000));
    assert_eq!(bench.planner.figures(bench.now).slowed.len(), 1);
    bench.pass(ms(600_000));
    let figures = bench.planner.figures(bench.now);
    assert_eq!((figures.slowed.len(), figures.lanes), (0, 0));
}
