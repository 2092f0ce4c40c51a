//! Endpoints that want to be left alone, or are down, hold no other one that is called under the same limits, whatever
//! waits for them.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::testkit::clock::Clock;
use tidegate::testkit::event::{CanonicalUrl, Event, Labels, LaneKey};
use tidegate::testkit::store::{EntryStore, NewEntry, record};

use crate::world::{Api, Choice, Receiver, Reply, Server, ServerOptions, eventually, inside};

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR_S: &str = "3600";
const THROTTLINGS: &str = "/v1/plugins/17/versions/1502/throttlings";

/// Events that wait for the sick endpoint; a million with `JUDGE_LONG`.
fn backlog() -> u64 {
    if Choice::of_environment().is_sample() { 20_000 } else { 1_000_000 }
}

async fn hand_in(api: &Api, url: &str, labels: &Value, numbers: std::ops::Range<u64>) {
    for first in numbers.clone().step_by(20_000) {
        let here = first..numbers.end.min(first + 20_000);
        let count = here.clone().count();
        let line = |n| format!("{}\n", json!({"url": url, "labels": labels, "body": {"n": n}}));
        let lines: String = here.map(line).collect();
        let (status, answers) =
            api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer");
        let accepted = answers.lines().filter(|line| line.contains("\"status\":202")).count();
        assert_eq!((status, accepted), (200, count), "{answers:.300}");
    }
}

async fn explain(api: &Api, url: &str, labels: &str) -> Value {
    let (status, told) = api.get(&format!("/v1/explain?method=POST&url={url}{labels}")).await;
    assert_eq!(status, 200, "{told}");
    serde_json::from_str(&told).expect("JSON")
}

/// Waits until calls to the sick endpoint are held; returns why.
async fn held(api: &Api, url: &str, labels: &str) -> String {
    let mut told = Value::Null;
    eventually("it is held", PATIENCE, async || {
        told = explain(api, url, labels).await;
        told["held"]["by"] == "hold"
    })
    .await;
    told["held"]["reason"].as_str().expect("a word").to_owned()
}

async fn all_arrive(healthy: &Receiver, calls: usize) {
    let what = format!("{calls} of {calls} arrive at the healthy endpoint");
    eventually(&what, PATIENCE, async || healthy.count() == calls).await;
}

fn server() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    (dir, server)
}

/// A policy on a path of any host.
async fn throttle(api: &Api, path: &str) {
    let body =
        json!({"scope": "GLOBAL", "plugin_version_id": "1502", "plugin_endpoint": path, "max_qps": 200});
    let (status, answer) = api.json("POST", THROTTLINGS, &body).await;
    assert_eq!(status, 201, "{answer}");
}

/// Nobody listens there.
fn refusing() -> String {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    format!("http://127.0.0.1:{port}")
}

const ASKS_FOR_TIME: Reply =
    Reply { status: 503, delay: Duration::ZERO, retry_after_s: Some(3600), headers: &[], body: "" };
const BUSY: Reply = Reply {
    status: 403,
    delay: Duration::ZERO,
    retry_after_s: None,
    headers: &[("X-Mashery-Error-Code", "ERR_403_DEVELOPER_OVER_QPS"), ("Retry-After", HOUR_S)],
    body: "<h1>Developer Over Qps</h1>",
};

#[tokio::test(flavor = "multi_thread")]
async fn a_sick_host_holds_no_healthy_one_under_a_policy_for_any_host() {
    let (_dir, server) = server();
    let (api, healthy) = (server.api(), Receiver::start().await);
    let asks = Receiver::answering(|_| ASKS_FOR_TIME).await;
    let busy = Receiver::answering(|_| BUSY).await;
    let (labels, label) = (json!({"plugin_version": "1502"}), "&label.plugin_version=1502");
    let cases = [
        ("/asks", asks.url(""), "retry_after"),
        ("/busy", busy.url(""), "busy"),
        ("/down", refusing(), "breaker"),
    ];
    let mut arrived = 0;
    for (path, sick, reason) in cases {
        throttle(&api, path).await;
        let sick = format!("{sick}{path}");
        hand_in(&api, &sick, &labels, 0..backlog()).await;
        assert_eq!(held(&api, &sick, label).await, reason);
        let well = healthy.url(path);
        hand_in(&api, &well, &labels, 0..10).await;
        arrived += 10;
        all_arrive(&healthy, arrived).await;
        let told = explain(&api, &well, label).await;
        let host = healthy.url("").replace("http://", "");
        assert_eq!(told["lane"]["host"], host, "{told}");
        assert_ne!(told["held"]["by"], "hold", "{told}");
    }
    let held = api.metric("tidegate_lanes_held", "reason=\"retry_after\"").await;
    assert!(held >= 1.0, "{held} lanes");
    let (_, metrics) = api.get("/metrics").await;
    assert!(!metrics.contains("~host"), "no series is named by a host");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_domain_of_a_service_holds_no_other_one() {
    let (_dir, server) = server();
    let (api, healthy) = (server.api(), Receiver::start().await);
    let sick = Receiver::answering(|_| ASKS_FOR_TIME).await;
    let create = async |path: &str, body: Value| {
        let (status, created) = api.json("POST", &format!("/v3/rest{path}"), &body).await;
        assert_eq!(status, 200, "{path}: {created}");
        created["id"].as_str().expect("an id").to_owned()
    };
    let service = create("/services", json!({"name": "s", "rateLimitCeiling": 1000})).await;
    let domains = [&sick, &healthy].map(|host| json!({"address": host.url("").replace("http://", "")}));
    let endpoint = json!({"name": "a", "requestPathAlias": "/a", "publicDomains": domains});
    create(&format!("/services/{service}/endpoints"), endpoint).await;
    create("/packageKeys", json!({"apikey": "k", "service": {"id": service}})).await;
    let (labels, label) = (json!({"api_key": "k"}), "&label.api_key=k");
    hand_in(&api, &sick.url("/a/x"), &labels, 0..200).await;
    assert_eq!(held(&api, &sick.url("/a/x"), label).await, "retry_after");
    hand_in(&api, &healthy.url("/a/x"), &labels, 0..10).await;
    all_arrive(&healthy, 10).await;
}

fn event(url: &str, number: u64, clock: &Clock) -> Event {
    Event {
        method: http::Method::POST,
        url: CanonicalUrl::parse(url).expect("valid"),
        headers: http::HeaderMap::new(),
        body: json!({"n": number}).to_string().into(),
        labels: Labels::default(),
        due_at: None,
        is_dated: false,
        expires_at: clock.now() + Duration::from_secs(3600),
        redriven: None,
    }
}

/// What versions without lanes by host have left behind goes, and beside it what came since.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_at_rest_without_a_host_are_sent() {
    let (dir, server) = server();
    let receiver = Receiver::start().await;
    let policy = server.api().deploy_throttling(&receiver.url("/*"), 200).await;
    let pause = json!({"reason": "a test", "for_seconds": 3600});
    let path = format!("/v1/policies/{policy}:pause");
    assert_eq!(server.api().json("POST", &path, &pause).await.0, 200);
    assert!(server.stop().success());

    let clock = Clock::system();
    let entry = |n: u64| NewEntry {
        lane: LaneKey::new(&format!("{policy}@1")).expect("a key"),
        due_at: None,
        record: record::encode(&event(&receiver.url("/x"), n, &clock)).expect("short"),
        dedup: None,
    };
    let store = inside::store(dir.path(), &clock);
    assert_eq!(store.append((0..10).map(entry).collect()).await.expect("appended").len(), 10);
    store.close().await.expect("closes");
    drop(store);

    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let api = server.api();
    hand_in(&api, &receiver.url("/x"), &json!({}), 10..20).await;
    let told = explain(&api, &receiver.url("/x"), "").await;
    assert_eq!(told["ahead"], 10, "the others stand in the old lane: {told}");
    let (_, answer) = api.json("POST", &format!("/v1/policies/{policy}:resume"), &json!({})).await;
    assert_eq!(answer["hold"], Value::Null, "{answer}");
    all_arrive(&receiver, 20).await;
    assert!(receiver.times_seen().values().all(|times| *times == 1), "each once");
    assert!(server.stop().success());
}
