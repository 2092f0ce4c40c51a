//! W3C Trace Context: what a producer says of its trace goes out with every attempt and stands in the log.

#[cfg(feature = "otel")]
#[path = "traces/exported.rs"]
mod exported;

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Configured, Receiver, Server, eventually};

const SOON: Duration = Duration::from_secs(20);
const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const REQUESTS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn lines(server: &Server, message: &str) -> Vec<Value> {
    let log = server.log();
    let lines = log.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_out_with_every_attempt_also_after_a_restart_and_stands_in_the_log() {
    let first_fails = |arrival: &crate::world::receiver::Arrival| {
        (if arrival.attempt == 1 { 503 } else { 204 }, Duration::ZERO)
    };
    let mut world = Configured::new(Receiver::answering(first_fails).await);
    world.write(&format!(
        "[retry]\nmin_delay_ms = 1500\nmax_delay_ms = 1500\n{}",
        world.policy("a", "pace = 100")
    ));
    world.options.args.extend(["--log-level", "debug"].map(str::to_owned));
    let server = Server::start(&world.options);
    let url = world.receiver.url("/a/x");
    let event = |n: u64, headers: Value| json!({"url": url, "body": {"n": n}, "headers": headers});
    let of_request = [("traceparent", REQUESTS), ("tracestate", "r=1")];
    let list = json!([
        event(0, json!({})),
        event(1, json!({"traceparent": OWN, "tracestate": "o=1"})),
        event(2, json!({"traceparent": "00-nonsense", "tracestate": "x=1"})),
    ]);
    let api = server.api();
    assert_eq!(api.json_with("POST", "/v1/events", &of_request, &list).await.0, 200);
    let bad =
        [("traceparent", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"), ("tracestate", "r=1")];
    assert_eq!(api.json_with("POST", "/v1/events", &bad, &event(3, json!({}))).await.0, 202);
    let keyed = [("traceparent", OWN), ("idempotency-key", "k")];
    let (_, first) = api.json_with("POST", "/v1/events", &keyed, &event(4, json!({}))).await;
    let keyed = [("traceparent", REQUESTS), ("idempotency-key", "k")];
    let (status, again) = api.json_with("POST", "/v1/events", &keyed, &event(4, json!({}))).await;
    assert_eq!((status, &again["id"]), (202, &first["id"]), "another trace is no other content");

    let expected = [(REQUESTS, "r=1"), (OWN, "o=1"), (REQUESTS, "r=1"), ("", ""), (OWN, "")];
    eventually("the first attempts", SOON, async || world.receiver.count() >= 5).await;
    eventually("their lines", SOON, async || lines(&server, "attempt made").len() >= 5).await;
    let accepted = lines(&server, "event accepted");
    assert_eq!(accepted.len(), 5, "{:#?}", server.log());
    for line in accepted.iter().chain(&lines(&server, "attempt made")) {
        assert_eq!(line["policy"], "a", "{line}");
        assert!(line["event_id"].as_str().is_some_and(|id| id.len() == 36), "{line}");
    }
    let said = |parent: &str| accepted.iter().filter(|line| line["traceparent"] == parent).count();
    assert_eq!((said(REQUESTS), said(OWN)), (2, 2), "{accepted:#?}");
    assert_eq!(server.stop().code(), Some(0));

    let server = Server::start(&world.options);
    eventually("the second attempts", SOON, async || world.receiver.count() >= 10).await;
    for arrival in world.receiver.arrivals() {
        let number = usize::try_from(arrival.number.expect("a number")).expect("small");
        let (parent, state) = expected[number];
        assert_eq!(arrival.trace, (parent.to_owned(), state.to_owned()), "{arrival:?}");
    }
    assert_eq!(server.stop().code(), Some(0));
}
