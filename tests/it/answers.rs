//! Endpoints whose answers break the grammar, name their times in odd ways, and are called by odd URLs.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Act, Configured, Endpoint, Receiver, Server, eventually};

const SOON: Duration = Duration::from_secs(20);
/// A single attempt: whatever used it up would make a dead letter.
const ONCE: &str = "[retry]\nmax_attempts = 1\n[queue]\nunmatched = \"pass\"\n";

async fn started(settings: &str) -> (Configured, Server) {
    let world = Configured::new(Receiver::start().await);
    world.write(settings);
    let server = Server::start(&world.options);
    (world, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_with_broken_lines_are_delivered_and_those_with_a_broken_framing_are_not() {
    const EACH: usize = 5;
    let cookies: &'static str = Box::leak(
        format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "set-cookie: a=b\r\n".repeat(101))
            .into_boxed_str(),
    );
    let endpoint = Endpoint::start("127.0.0.1:0", move |head| {
        let said = |path: &str| head.starts_with(&format!("POST {path} "));
        Act::Say(match () {
            () if said("/cookies") => cookies,
            () if said("/folded") => "HTTP/1.1 200 OK\r\nx: one\r\n two\r\ncontent-length: 0\r\n\r\n",
            () if said("/blank") => "HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n",
            () if said("/bytes") => "HTTP/1.1 200 OK\r\nx: \u{1}\r\n\u{2}\r\ncontent-length: 0\r\n\r\n",
            () if said("/length") => "HTTP/1.1 200 OK\r\ncontent-length: 0x0\r\n\r\n",
            () => "HTTP/1.1 200 OK\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        })
    })
    .await;
    let (_world, server) = started(ONCE).await;
    let api = server.api();
    let paths = ["/cookies", "/folded", "/blank", "/bytes", "/length", "/encoding"];
    let lines: String = paths
        .iter()
        .flat_map(|path| {
            (0..EACH).map(|n| json!({"url": endpoint.url(path), "body": {"n": n}}).to_string() + "\n")
        })
        .collect();
    assert_eq!(api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer").0, 200);
    let ended = async |outcome: &str| api.metric("tidegate_events_completed_total", outcome).await;
    eventually("all have ended", SOON, async || ended("").await == (EACH * paths.len()) as f64).await;
    assert_eq!(ended("outcome=\"delivered\"").await, (EACH * 4) as f64);
    assert_eq!(ended("outcome=\"dead\"").await, (EACH * 2) as f64);
    assert_eq!(endpoint.seen().len(), EACH * paths.len(), "each was called once");
    let amended = async |why: &str| api.metric("tidegate_answer_lines_amended_total", why).await;
    assert_eq!(amended("why=\"surplus\"").await, (EACH * 101) as f64);
    assert_eq!(amended("why=\"broken\"").await, (EACH * 4) as f64);
}

/// The first answer asks for a pause in one of many ways, and costs no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_come_back_is_waited_for_without_an_attempt() {
    const HEADS: [&str; 4] = [
        "HTTP/1.1 403 No\r\nretry-after: \"1.2\"\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 413 No\r\nretry-after: 1200 ms\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 429 No\r\nratelimit: \"a\";r=0;t=2\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: 2\r\ncontent-length: 0\r\n\r\n",
    ];
    let calls = AtomicUsize::new(0);
    let mut endpoints = Vec::new();
    for head in HEADS {
        let first = AtomicUsize::new(0);
        let endpoint = Endpoint::start("127.0.0.1:0", move |_| match first.fetch_add(1, Ordering::SeqCst) {
            0 => Act::Say(head),
            _ => Act::Say("HTTP/1.1 204 No Content\r\n\r\n"),
        });
        endpoints.push(endpoint.await);
    }
    let (_world, server) = started(ONCE).await;
    let api = server.api();
    let hand_in = async |endpoint: &Endpoint| {
        let event = json!({"url": endpoint.url("/x"), "body": {"n": calls.fetch_add(1, Ordering::SeqCst)}});
        assert_eq!(
            api.post("/v1/events", "application/json", event.to_string()).await.expect("an answer").0,
            202
        );
    };
    for endpoint in &endpoints {
        hand_in(endpoint).await;
        eventually("it was called", SOON, async || !endpoint.seen().is_empty()).await;
    }
    // The one that was delivered holds the next call.
    hand_in(&endpoints[3]).await;
    let delivered = async || api.metric("tidegate_events_completed_total", "outcome=\"delivered\"").await;
    eventually("all have arrived", SOON, async || delivered().await == 5.0).await;
    for (endpoint, head) in endpoints.iter().zip(HEADS) {
        let at: Vec<u64> = endpoint.seen().iter().map(|seen| seen.at_ns).collect();
        assert_eq!(at.len(), 2, "{head}");
        assert!(at[1] - at[0] >= 1_000_000_000, "{head}: {at:?}");
    }
    assert_eq!(api.metric("tidegate_events_completed_total", "outcome=\"dead\"").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_that_is_called_is_the_one_that_was_handed_in() {
    const TARGETS: [&str; 5] = ["/a%2fb%2Fc", "/d%61ta/%7e?%61=%zz", "/100%", "//a//b?q=../x", "/%C3%BC"];
    let endpoint = Endpoint::start("127.0.0.1:0", |_| Act::Say("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let (_world, server) = started(ONCE).await;
    let api = server.api();
    for target in TARGETS {
        let event = json!({"url": endpoint.url(target), "body": {}}).to_string();
        assert_eq!(api.post("/v1/events", "application/json", event).await.expect("an answer").0, 202);
    }
    eventually("all were called", SOON, async || endpoint.seen().len() == TARGETS.len()).await;
    let called: BTreeSet<String> =
        endpoint.seen().iter().map(|seen| seen.head.lines().next().unwrap_or_default().to_owned()).collect();
    assert_eq!(called, TARGETS.iter().map(|target| format!("POST {target} HTTP/1.1")).collect());

    for (wrong, rule) in
        [("/a/../b", "segment"), ("/%2e%2E/b", "segment"), ("/a\tb", "control"), ("\\a", "backslash")]
    {
        let event = json!({"url": endpoint.url(wrong), "body": {}}).to_string();
        let (status, answer) = api.post("/v1/events", "application/json", event).await.expect("an answer");
        assert_eq!(status, 422, "{wrong:?}: {answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let fault = &answer["errors"][0];
        assert_eq!(fault["pointer"], "/url", "{answer}");
        assert!(fault["detail"].as_str().is_some_and(|detail| detail.contains(rule)), "{answer}");
    }
    assert_eq!(endpoint.seen().len(), TARGETS.len(), "nothing of them was called");
}
