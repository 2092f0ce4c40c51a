//! Rules for endpoints: looked up when a call starts, and in force for that call to its end.

use std::collections::HashSet;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use super::{Bench, START, book, entry, lane};
use crate::dispatch::{Endpoint, Endpoints, RetryPolicy, RetryRules, StatusRule, StatusRules};
use crate::event::{Cause, Entry, Outcome, Settlement};
use crate::policy::UrlPattern;

const DOWN: Outcome = Outcome::Retry { cause: Cause::Closed, retry_after: None };
const SECOND: Duration = Duration::from_secs(1);

/// One block for the calls to these urls.
fn ruled(url: &str, retry: RetryRules) -> Endpoints {
    let url = UrlPattern::parse(url).expect("valid");
    Endpoints::compile(vec![Endpoint { name: "crm".into(), url, retry, calls: Arc::default() }])
        .expect("small")
}

/// With this many attempts.
fn endpoints(url: &str, attempts: u16) -> Endpoints {
    let policy = RetryPolicy { max_attempts: NonZeroU16::new(attempts), ..RetryPolicy::default() };
    ruled(url, RetryRules::of(policy))
}

fn within_five_seconds() -> Endpoints {
    let base = Duration::from_millis(100);
    let policy = RetryPolicy { base, max_attempts: NonZeroU16::new(4), ..RetryPolicy::default() };
    ruled("https://h.org/*", RetryRules { within: Some(5 * SECOND), ..RetryRules::of(policy) })
}

/// A bench whose only call has failed a second after its start, and its entry as it comes back.
fn failed_once(endpoints: Endpoints) -> (Bench, Entry) {
    let (mut bench, key) = (Bench::new(&book(&[("p", None, 100)])), lane(&[("p", 1)]));
    bench.endpoints = endpoints;
    bench.fill(&key, [1]);
    bench.announce(&key);
    bench.now = START + SECOND;
    bench.finish(0, DOWN);
    let Some((_, Settlement::Reschedule { due_at, tries, .. })) = bench.settled.pop() else {
        panic!("once more")
    };
    (bench, Entry { due_at: Some(due_at), tries, ..entry(&key, 1) })
}

#[test]
fn a_call_goes_by_the_rules_that_were_in_force_when_it_started() {
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    let key = lane(&[("p", 1)]);
    let once = RetryPolicy { max_attempts: NonZeroU16::new(1), ..RetryPolicy::default() };
    for (n, (before, after, dies)) in [
        (endpoints("https://h.org/*", 1), endpoints("https://h.org/*", 9), true),
        (endpoints("https://h.org/*", 9), endpoints("https://h.org/*", 1), false),
        // No block matches its url: what is set for all calls holds.
        (endpoints("https://i.org/*", 1), endpoints("https://h.org/*", 1), false),
        // It is set anew like the rules.
        (endpoints("https://i.org/*", 9).with_retry_for_all(once), Endpoints::default(), true),
        (Endpoints::default(), Endpoints::default().with_retry_for_all(once), false),
        (endpoints("https://h.org/*", 9).with_retry_for_all(once), Endpoints::default(), false),
    ]
    .into_iter()
    .enumerate()
    {
        bench.endpoints = before;
        bench.fill(&key, [n as u128]);
        bench.announce(&key);
        bench.endpoints = after;
        bench.finish(n, DOWN);
        let (_, settlement) = bench.settled.last().expect("one for each");
        assert_eq!(matches!(settlement, Settlement::Dead { .. }), dies, "{n}: {settlement:?}");
    }
}

#[test]
fn statuses_count_as_what_is_set_for_them_and_what_is_ambiguous_is_parked() {
    let statuses = StatusRules::of(&[(5, StatusRule::Dead)], &[(404, StatusRule::Fine)]);
    let policy = RetryPolicy::default();
    let rules = RetryRules { statuses, ambiguous_is_dead: true, ..RetryRules::of(policy) };
    let dead = |reason: &str| Settlement::Dead { reason: reason.to_owned(), attempts: 1 };
    for (outcome, settlement) in [
        (Outcome::Reject { cause: Cause::Status(404) }, Settlement::Delivered),
        (Outcome::Retry { cause: Cause::Status(503), retry_after: None }, dead("http_503")),
        (DOWN, dead("ambiguous: closed")),
    ] {
        let (mut bench, key) = (Bench::new(&book(&[("p", None, 100)])), lane(&[("p", 1)]));
        bench.endpoints = ruled("https://h.org/*", rules.clone());
        bench.fill(&key, [1]);
        bench.announce(&key);
        bench.finish(0, outcome.clone());
        assert_eq!(bench.settled.pop().map(|(_, settlement)| settlement), Some(settlement), "{outcome:?}");
    }
}

#[test]
fn no_try_starts_after_the_time_for_all_of_them() {
    for (endpoints, is_late) in [(within_five_seconds(), true), (Endpoints::default(), false)] {
        let (mut bench, again) = failed_once(endpoints);
        bench.pass(5 * SECOND);
        bench.waiting.entry(again.lane.clone()).or_default().push(again);
        bench.pass(3 * SECOND);
        assert_eq!(bench.sent.len(), if is_late { 1 } else { 2 }, "the second is the control");
        if is_late {
            let reason = "attempts_exhausted: closed".to_owned();
            let dead = Settlement::Dead { reason, attempts: 1 };
            assert_eq!(bench.settled.pop().map(|(_, settlement)| settlement), Some(dead));
        }
    }
}

#[test]
fn a_retry_has_what_is_left_of_the_time_for_all_of_them() {
    let (mut bench, again) = failed_once(within_five_seconds());
    bench.waiting.entry(again.lane.clone()).or_default().push(again);
    bench.pass(SECOND);
    let [first, second] = bench.timeouts[..] else { panic!("{:?}", bench.timeouts) };
    assert_eq!(first, Some(5 * SECOND));
    let left = second.expect("bounded");
    assert!(left <= 4 * SECOND && left > 3 * SECOND, "{left:?}: the first one took a second");
}

/// An operator puts an event off for longer than the time for its tries; nobody has seen its lane meanwhile.
#[test]
fn what_an_operator_took_has_the_whole_time_for_its_tries_again() {
    for is_taken in [true, false] {
        let (mut bench, again) = failed_once(within_five_seconds());
        if is_taken {
            let (ids, mut effects) = (HashSet::from([again.id]), Vec::new());
            assert_eq!(bench.planner.let_go(&again.lane, &ids, bench.now, &mut effects), []);
            bench.carry_out(effects);
            assert_eq!(bench.planner.figures(bench.now).lanes, 0);
        }
        bench.pass(60 * SECOND);
        let later = Entry { due_at: Some(bench.now), ..again };
        let key = later.lane.clone();
        bench.waiting.entry(key.clone()).or_default().push(later);
        bench.announce(&key);
        bench.pass(SECOND);
        assert_eq!(bench.sent.len(), if is_taken { 2 } else { 1 }, "the second is the control");
        if is_taken {
            assert_eq!(bench.timeouts[1], Some(5 * SECOND));
        }
    }
}
