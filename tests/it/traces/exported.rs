//! Spans of the whole program at a collector: one trace from a producer to the receiver, and collectors that are not
//! there or do not answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::{OWN, REQUESTS, SOON, lines};
use crate::world::collector::{Collector, Reply, Seen};
use crate::world::{Api, Configured, Receiver, Server, eventually};

const SPANS: &str = "tidegate_trace_spans_total";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// More spans than wait: each event has two.
const FLOOD_EVENTS: u64 = 6_000;

fn traces(address: &str) -> String {
    format!("[traces]\nendpoint = \"http://{address}\"\n")
}

/// The span of an attempt that a receiver was told of.
fn attempt_of<'s>(spans: &'s [Seen], traceparent: &str) -> &'s Seen {
    let is_it = |span: &&Seen| format!("00-{}-{}-01", span.trace, span.id) == traceparent;
    spans.iter().find(is_it).unwrap_or_else(|| panic!("no span for {traceparent} in {spans:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_producer_over_the_door_and_each_attempt_to_the_receiver() {
    let collector = Collector::start().await;
    let first_fails = |arrival: &crate::world::receiver::Arrival| {
        (if arrival.attempt == 1 { 503 } else { 204 }, Duration::ZERO)
    };
    let mut world = Configured::new(Receiver::answering(first_fails).await);
    let secret = world.file.with_file_name("collector-headers");
    std::fs::write(&secret, "authorization: Bearer of-the-file\n").expect("written");
    world.write(&format!(
        "{}headers_file = \"{}\"\nservice_name = \"gate-7\"\n[retry]\nmin_delay_ms = 3000\nmax_delay_ms = 3000\n{}",
        traces(&collector.addr.to_string()),
        secret.display(),
        world.policy("a", "pace = 100")
    ));
    world.options.args.extend(["--log-level", "debug"].map(str::to_owned));
    let server = Server::start(&world.options);
    let url = world.receiver.url("/a/x?key=of-the-query");
    let event =
        |n: u64, headers: Value| json!({"url": url, "body": {"n": n, "of-the-body": 1}, "headers": headers});
    let list = json!([event(0, json!({"traceparent": OWN, "tracestate": "o=1"})), event(1, json!({}))]);
    let api = server.api();
    assert_eq!(api.json("POST", "/v1/events", &list).await.0, 200);
    let unsampled = [("traceparent", REQUESTS)];
    assert_eq!(api.json_with("POST", "/v1/events", &unsampled, &event(2, json!({}))).await.0, 202);
    eventually("the first attempts", SOON, async || world.receiver.count() >= 3).await;
    eventually("their lines", SOON, async || lines(&server, "attempt made").len() >= 3).await;
    let accepted = lines(&server, "event accepted");
    // What was not exported is exported at the end; what waits goes on with its trace after the start.
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start(&world.options);
    eventually("the second attempts", SOON, async || world.receiver.count() >= 6).await;
    eventually("their spans", SOON, async || collector.spans().len() >= 6).await;
    let api = server.api();
    eventually("they are counted", SOON, async || api.metric(SPANS, "exported").await == 2.0).await;
    assert_eq!(server.stop().code(), Some(0));

    let spans = collector.spans();
    assert_eq!(spans.len(), 6, "two events with a door and two attempts each: {spans:#?}");
    for arrival in world.receiver.arrivals() {
        let (parent, state) = &arrival.trace;
        if arrival.number == Some(2) {
            assert_eq!(parent, REQUESTS, "not sampled: passed on as it came");
            continue;
        }
        let attempt = attempt_of(&spans, parent);
        let door = spans.iter().find(|span| span.id == attempt.parent).expect("the span of the door");
        assert_eq!((door.name.as_str(), door.kind, &door.trace), ("accept", 2, &attempt.trace));
        assert_eq!((attempt.name.as_str(), attempt.kind), ("POST", 3));
        assert_eq!(attempt.says("tidegate.attempt"), arrival.attempt.to_string());
        assert_eq!(attempt.says("tidegate.event.id"), arrival.id);
        assert_eq!(door.says("tidegate.event.id"), arrival.id);
        assert_eq!(attempt.says("tidegate.policy"), "a");
        assert_eq!(attempt.says("server.address"), "127.0.0.1");
        let (status, is_error) = if arrival.attempt == 1 { ("503", true) } else { ("204", false) };
        assert_eq!((attempt.says("http.response.status_code"), attempt.is_error), (status, is_error));
        if arrival.number == Some(0) {
            assert_eq!((door.trace.as_str(), door.parent.as_str()), (TRACE, "00f067aa0ba902b7"));
            assert_eq!((state.as_str(), attempt.state.as_str()), ("o=1", "o=1"));
        } else {
            assert_eq!((door.parent.as_str(), state.as_str()), ("", ""), "it began its own trace");
        }
        let line = format!("00-{}-{}-01", door.trace, door.id);
        assert!(accepted.iter().any(|said| said["traceparent"] == line.as_str()), "{accepted:#?}");
    }
    for export in collector.exports() {
        assert_eq!(export.authorization, "Bearer of-the-file");
        assert_eq!(export.service, "gate-7");
        let text = String::from_utf8_lossy(&export.body).into_owned();
        assert!(!text.contains("of-the-") && !text.contains("/a/x"), "{text}");
    }
}

/// Hands in more events than the queue of spans has room for, and waits until all are delivered.
async fn flood(api: &Api, world: &Configured) {
    let url = world.receiver.url("/a/x");
    assert_eq!(api.enqueue(&url, 0..FLOOD_EVENTS).await.len() as u64, FLOOD_EVENTS);
    eventually("all are delivered", Duration::from_secs(60), async || {
        world.receiver.count() as u64 == FLOOD_EVENTS
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_costs_spans_and_one_that_answers_none() {
    for reply in [Reply::Hangs, Reply::Status(200)] {
        let collector = Collector::answering(move |_| reply).await;
        let world = Configured::new(Receiver::start().await);
        world.write(&format!(
            "{}{}",
            traces(&collector.addr.to_string()),
            world.policy("a", "pace = 100000")
        ));
        let server = Server::start(&world.options);
        let api = server.api();
        flood(&api, &world).await;
        let dropped = api.metric(SPANS, "queue_full").await;
        if let Reply::Hangs = reply {
            assert!(dropped > 0.0, "no place for all");
            assert_eq!(api.metric(SPANS, "exported").await, 0.0);
            assert_eq!(api.enqueue(&world.receiver.url("/a/x"), 0..100).await.len(), 100);
            eventually("it goes on", SOON, async || world.receiver.count() as u64 == FLOOD_EVENTS + 100)
                .await;
            eventually("more are dropped", SOON, async || {
                api.metric(SPANS, "queue_full").await >= dropped + 200.0
            })
            .await;
        } else {
            assert_eq!(dropped, 0.0, "the control");
            let all = 2.0 * FLOOD_EVENTS as f64;
            eventually("all are exported", SOON, async || api.metric(SPANS, "exported").await == all).await;
            assert_eq!(api.metric(SPANS, "").await, all);
        }
        assert_eq!(server.stop().code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_not_there_is_said_once_and_ends_nothing() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = closed.local_addr().expect("an address").to_string();
    drop(closed);
    let world = Configured::new(Receiver::start().await);
    world.write(&format!("{}{}", traces(&address), world.policy("a", "pace = 100")));
    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!(world.event(&api, "a").await.0, 202);
    eventually("it is delivered", SOON, async || world.receiver.count() == 1).await;
    // The last of four tries has failed.
    eventually("its spans are dropped", SOON, async || api.metric(SPANS, "failed").await == 2.0).await;
    let said = lines(&server, "traces cannot be exported: spans wait for a while and are then dropped");
    assert_eq!(said.len(), 1, "{:#?}", server.log());
    assert_eq!(said[0]["reason"], "no connection");
    assert_eq!(api.get("/readyz").await.0, 200);
    assert_eq!(server.stop().code(), Some(0));
}
