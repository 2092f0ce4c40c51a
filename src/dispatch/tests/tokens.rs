//! Calls that wait for a token of their endpoint, and calls whose token was refused.

use std::sync::Arc;

use super::{Bench, FINE, book, lane, ms};
use crate::delivery::testing::token_source;
use crate::delivery::{CallOptions, Credentials};
use crate::dispatch::input::TokenNeed;
use crate::dispatch::{Endpoint, Endpoints, HoldReason, RetryPolicy, RetryRules, Ticket};
use crate::event::{Cause, LaneKey, Outcome, Settlement, Tries};
use crate::policy::UrlPattern;

const REFUSED: Outcome = Outcome::TokenRefused { wait: ms_of(50) };

const fn ms_of(ms: u64) -> std::time::Duration {
    std::time::Duration::from_millis(ms)
}

/// One block with credentials, for the url of all entries.
fn with_credentials() -> Endpoints {
    let credentials = Some(Arc::new(Credentials::new("crm".into(), token_source())));
    let endpoint = Endpoint {
        name: "crm".into(),
        url: UrlPattern::parse("https://h.org/*").expect("a pattern"),
        retry: RetryRules::of(RetryPolicy::default()),
        calls: Arc::new(CallOptions { credentials, ..CallOptions::default() }),
    };
    Endpoints::compile(vec![endpoint]).expect("small")
}

/// The calls of this lane that have their permits, and were not confirmed.
fn held(bench: &mut Bench, key: &LaneKey, events: std::ops::Range<u128>) -> Vec<Ticket> {
    bench.endpoints = with_credentials();
    bench.fill(key, events);
    bench.hold = Some(Vec::new());
    bench.announce(key);
    bench.hold.take().expect("held")
}

#[test]
fn calls_without_a_token_wait_in_their_order_and_spend_nothing() {
    let mut bench = Bench::new(&book(&[("p", None, 100), ("q", None, 100)]));
    let (key, other) = (lane(&[("p", 1)]), lane(&[("q", 1)]));
    let tickets = held(&mut bench, &key, 0..20);
    assert_eq!(tickets.len(), 20);
    let mut effects = Vec::new();
    for (nth, ticket) in tickets.into_iter().enumerate() {
        let need = bench.planner.needs(ticket, &bench.endpoints, bench.now);
        match nth {
            0 => assert!(matches!(need, TokenNeed::Token(_)), "{need:?}"),
            // Also where there is a token by now: nothing overtakes.
            _ => assert_eq!(need, TokenNeed::Waited(ms(50))),
        }
        bench.planner.withhold(ticket, ms(50), bench.now, &mut effects);
    }
    assert_eq!((bench.planner.inflight(), bench.inflight()), (0, 0));
    bench.carry_out(effects);
    let figures = bench.planner.figures(bench.now);
    let reasons: Vec<_> = figures.held.iter().map(|(_, hold)| hold.reason).collect();
    assert_eq!(reasons, [HoldReason::Token]);
    bench.fill(&other, 100..110);
    bench.announce(&other);
    bench.pass(ms(49));
    assert_eq!((bench.sent_of(&key), bench.sent_of(&other)), (0, 10), "others go on");
    bench.pass(ms(1_000));
    assert_eq!(bench.sent_of(&key), 20);
    let ids: Vec<u128> = bench.sent_ids().into_iter().filter(|id| *id < 100).collect();
    assert_eq!(ids, (0..20).collect::<Vec<_>>());
    assert!(bench.settled.is_empty(), "nothing was tried");
}

#[test]
fn where_a_lane_calls_several_hosts_the_event_alone_waits() {
    let mut bench = Bench::new(&book(&[]));
    let key = lane(&[]);
    let tickets = held(&mut bench, &key, 0..2);
    let mut effects = Vec::new();
    bench.planner.withhold(tickets[0], ms(50), bench.now, &mut effects);
    assert!(matches!(bench.planner.needs(tickets[1], &bench.endpoints, bench.now), TokenNeed::Token(_)));
    assert!(bench.confirm(tickets[1], &mut effects), "the other one goes on");
    bench.carry_out(effects);
    let [(id, Settlement::Reschedule { due_at, tries, .. })] = bench.settled.as_slice() else {
        panic!("{:?}", bench.settled)
    };
    assert_eq!((id.tail(), due_at.since(bench.now), *tries), (0, ms(1_000), Tries::NONE));
    assert!(bench.planner.figures(bench.now).held.is_empty());
}

#[test]
fn a_call_whose_token_is_refused_is_tried_again_once_without_an_attempt() {
    let mut bench = Bench::new(&book(&[("p", None, 100)]));
    let key = lane(&[("p", 1)]);
    bench.endpoints = with_credentials();
    bench.fill(&key, 0..1);
    bench.announce(&key);
    bench.finish(0, REFUSED);
    let [(_, Settlement::Reschedule { due_at, tries, .. })] = bench.settled.as_slice() else {
        panic!("{:?}", bench.settled)
    };
    assert_eq!((due_at.since(bench.now), *tries), (ms(50), Tries::NONE.and_free()));
    assert_eq!(tries.attempts(), 0);
    assert!(bench.planner.figures(bench.now).held.is_empty(), "its lane goes on");
    // The queue hands it out again.
    let again = crate::event::Entry { due_at: Some(*due_at), tries: *tries, ..super::entry(&key, 0) };
    bench.waiting.entry(key.clone()).or_default().push(again);
    bench.settled.clear();
    bench.pass(ms(60));
    assert_eq!(bench.sent.len(), 2);
    bench.finish(1, REFUSED);
    let [(_, Settlement::Dead { reason, attempts })] = bench.settled.as_slice() else {
        panic!("{:?}", bench.settled)
    };
    assert_eq!((reason.as_str(), *attempts), ("http_401", 1), "the endpoint's answer to the call itself");
    // The control: another refusal is one at once.
    bench.fill(&key, 5..6);
    bench.announce(&key);
    bench.finish(2, Outcome::Reject { cause: Cause::Status(401) });
    assert!(matches!(bench.settled.last(), Some((_, Settlement::Dead { .. }))));
    bench.fill(&key, 6..7);
    bench.announce(&key);
    bench.finish(3, FINE);
    assert_eq!(bench.settled.last().map(|(_, how)| how.clone()), Some(Settlement::Delivered));
}
