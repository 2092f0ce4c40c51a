//! The metrics of a small run: all of them are there, and the counts add up, also across a restart.

use std::time::Duration;

use serde_json::json;
use tidegate::testkit::telemetry::names;

use crate::world::{Api, Receiver, Server, ServerOptions, eventually};

/// What appears once it happens, and does not in this run: failures, names (the receiver is an address), refusals.
const NOT_IN_THIS_RUN: [&str; 8] = [
    "tidegate_answer_times_ignored_total",
    "tidegate_answer_lines_amended_total",
    "tidegate_name_lookups_total",
    "tidegate_name_questions_total",
    "tidegate_name_question_duration_seconds",
    "tidegate_http_connections_refused_total",
    "tidegate_policy_drain_deadline_timestamp_seconds",
    "tidegate_slowed_calls_per_second",
];

/// A policy with a quota stands beside the one under test, so that every metric has something to show.
const CONFIG: &str = r#"
[retry]
min_delay_ms = 1
max_delay_ms = 20
max_attempts = 2

[[policy]]
name = "elsewhere"
url = "https://elsewhere.test/*"
quota = { calls = 1000, per = "day" }
"#;

async fn completed(api: &Api, outcome: &str) -> f64 {
    api.metric("tidegate_events_completed_total", &format!("outcome=\"{outcome}\"")).await
}

async fn waiting(api: &Api) -> f64 {
    let mut sum = 0.0;
    for state in ["ready", "delayed", "inflight"] {
        sum += api.metric("tidegate_queue_events", &format!("state=\"{state}\"")).await;
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_there_and_the_counts_add_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    let config = dir.path().join("tidegate.toml");
    std::fs::write(&config, CONFIG).expect("a file");
    options.args = vec!["--config".to_owned(), config.display().to_string()];
    let server = Server::start(&options);
    let receiver = Receiver::answering(|arrival| match arrival.number {
        Some(n) if n < 50 => (204, Duration::ZERO),
        Some(n) if n < 60 => (503, Duration::ZERO),
        _ => (404, Duration::ZERO),
    })
    .await;
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 200).await;
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..70).await.len(), 70);
    for n in 0..5 {
        let late = json!({"url": receiver.url("/late"), "body": {"n": n}, "delay_seconds": 600});
        assert_eq!(api.json("POST", "/v1/events", &late).await.0, 202);
    }
    let bad = json!({"url": receiver.url("/x"), "colour": 1});
    assert_eq!(api.json("POST", "/v1/events", &bad).await.0, 422);

    eventually("all ends are counted", Duration::from_secs(20), async || {
        completed(&api, "delivered").await == 50.0 && completed(&api, "dead").await == 20.0
    })
    .await;
    eventually("what waits is counted", Duration::from_secs(5), async || waiting(&api).await == 5.0).await;
    let enqueued = api.metric("tidegate_events_enqueued_total", "").await;
    let ended = api.metric("tidegate_events_completed_total", "").await;
    assert_eq!(enqueued, ended + waiting(&api).await, "enqueued = ended + waiting");
    assert_eq!(enqueued, 75.0);
    assert_eq!(api.metric("tidegate_events_rejected_total", "invalid_event").await, 1.0);
    assert_eq!(api.metric("tidegate_call_attempts_total", "").await, 50.0 + 2.0 * 10.0 + 10.0);
    assert_eq!(api.metric("tidegate_retries_scheduled_total", "").await, 10.0);
    eventually("dead letters are counted", Duration::from_secs(5), async || {
        api.metric("tidegate_queue_events", "state=\"dead\"").await == 20.0
    })
    .await;
    assert_eq!(api.metric("tidegate_limit_permits_per_second", "").await, 200.0);
    assert_eq!(api.metric("tidegate_limit_violations_total", "").await, 0.0);
    assert_eq!(api.metric("tidegate_calls_inflight", "").await, 0.0);
    assert!(api.metric("tidegate_store_disk_bytes", "").await > 0.0);
    assert_eq!(api.metric("tidegate_call_duration_seconds_count", "").await, 80.0);

    let (_, text) = api.get("/metrics").await;
    let dead: Vec<_> = text.lines().filter(|line| line.contains("state=\"dead\"")).collect();
    assert_eq!(
        dead,
        ["tidegate_queue_events{policy=\"-\",state=\"dead\"} 20"],
        "under no policy, not even 0"
    );
    let missing: Vec<_> = names::ALL
        .iter()
        .map(|metric| metric.name)
        .filter(|name| !NOT_IN_THIS_RUN.contains(name) && !text.contains(&format!("\n{name}")))
        .collect();
    assert!(missing.is_empty(), "missing {missing:?} in\n{text}");
    assert!(
        text.contains("\nprocess_cpu_seconds_total ") && text.contains("\nprocess_resident_memory_bytes ")
    );
    assert!(!text.contains("secret") && !text.contains("127.0.0.1"), "no url in a label");

    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start(&options);
    let api = server.api();
    eventually("the gauges are back", Duration::from_secs(5), async || waiting(&api).await == 5.0).await;
    assert_eq!(api.metric("tidegate_queue_events", "state=\"dead\"").await, 20.0);
}

/// A policy that was deployed again has events of its own beside those that drain.
#[tokio::test(flavor = "multi_thread")]
async fn what_drains_is_told_apart_from_what_the_active_generation_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let receiver = Receiver::start().await;
    let api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 200).await;
    let label = format!("policy=\"{policy}\"");
    let draining = async || api.metric("tidegate_policy_draining_events", &label).await;
    let ready = async || api.metric("tidegate_queue_events", &format!("{label},state=\"ready\"")).await;
    let pause = format!("/v1/policies/{policy}:pause");
    assert_eq!(api.json("POST", &pause, &json!({"reason": "to wait"})).await.0, 200);
    api.enqueue(&receiver.url("/x"), 0..3).await;
    eventually("they wait", Duration::from_secs(10), async || ready().await == 3.0).await;
    assert_eq!(draining().await, 0.0, "the control: the generation is active");
    for verb in ["undeploy", "deploy"] {
        let path = format!("/authoring/throttlingConfigs/{policy}/{verb}");
        assert_eq!(api.json("POST", &path, &json!({})).await.0, 204);
    }
    api.enqueue(&receiver.url("/x"), 3..5).await;
    eventually("three drain", Duration::from_secs(10), async || {
        draining().await == 3.0 && ready().await == 5.0
    })
    .await;
}
