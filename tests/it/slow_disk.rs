//! Syncs that hang: whoever waits for the disk is answered in time, and what is answered is true.

use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Server, ServerOptions, boot_ns, eventually};

const SOON: Duration = Duration::from_secs(60);

/// Every sync of a process hangs for seconds, until this is dropped.
struct Hang(Child);

impl Hang {
    async fn start(pid: u32) -> Self {
        let inject = "inject=fsync,fdatasync:delay_enter=8000000";
        let mut strace = Command::new("strace");
        strace.args(["-f", "-e", "trace=fsync,fdatasync", "-e", inject, "-o", "/dev/null", "-p"]);
        let hang = Self(strace.arg(pid.to_string()).spawn().expect("strace"));
        eventually("strace is attached", SOON, async || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
            !status.contains("TracerPid:\t0\n")
        })
        .await;
        hang
    }
}

impl Drop for Hang {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Callers wait for the disk for half a second.
fn impatient() -> (tempfile::TempDir, ServerOptions) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("tidegate.toml");
    std::fs::write(&config, "[store]\nappend_timeout_ms = 500\n").expect("a file");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    options.args = ["--config".to_owned(), config.display().to_string()].to_vec();
    (dir, options)
}

async fn pause(api: &Api, policy: &str) {
    let path = format!("/v1/policies/{policy}:pause");
    let (status, answer) = api.json("POST", &path, &json!({"reason": "a test"})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_syncs_hang_requests_are_answered_in_time_and_what_was_withdrawn_is_not_kept() {
    let (_dir, options) = impatient();
    let server = Server::start(&options);
    let api = server.api();
    let policy = api.deploy_throttling("http://127.0.0.1:9/*", 200).await;
    pause(&api, &policy).await;
    assert_eq!(api.enqueue("http://127.0.0.1:9/x", 0..5).await.len(), 5);
    let hang = Hang::start(server.pid()).await;
    let event = json!({"url": "http://127.0.0.1:9/x", "body": {"n": 0}});
    let begun_ns = boot_ns();
    let (head, first) = api.hand_in(&event).await;
    assert!(head.status == 503 && first.contains("outcome_unknown"), "{first}");
    let (head, second) = api.hand_in(&event).await;
    assert!(head.status == 503 && second.contains("store_slow"), "{second}");
    let lines = api.post("/v1/events", "application/x-ndjson", format!("{event}\n{event}\n")).await;
    let (_, lines) = lines.expect("an answer");
    assert_eq!(lines.matches("store_slow").count(), 2, "{lines}");
    let took = Duration::from_nanos(boot_ns() - begun_ns);
    assert!(took < Duration::from_secs(6), "{took:?}");
    let (status, ready) = api.get("/readyz").await;
    assert!(status == 503 && ready.contains("store_responsive"), "{ready}");
    assert!(api.metric("tidegate_store_operation_age_seconds", "").await > 0.5);
    drop(hang);
    eventually("it is ready again", SOON, async || api.get("/readyz").await.0 == 200).await;
    eventually("what was handed over is counted", SOON, async || {
        api.metric("tidegate_queue_events", "state=\"ready\"").await == 6.0
    })
    .await;
    assert_eq!(api.metric("tidegate_events_rejected_total", "outcome_unknown").await, 1.0);
    assert_eq!(came_in(&api).await, [6.0, 6.0], "although its caller was not told");
    server.kill();
    let server = Server::start(&options);
    let api = server.api();
    eventually("what was withdrawn is not on the disk", SOON, async || {
        api.metric("tidegate_queue_events", "state=\"ready\"").await == 6.0
    })
    .await;
    assert_eq!(came_in(&api).await, [6.0, 0.0], "this process has taken none in");
    assert_eq!(server.stop().code(), Some(0));
}

/// What the ledger has accepted, and what came through the doors.
async fn came_in(api: &Api) -> [f64; 2] {
    let accepted = api.metric("tidegate_ledger_events", "term=\"accepted\"").await;
    [accepted, api.metric("tidegate_events_enqueued_total", "").await]
}

/// What each dialect shows of its objects, and the ids of all policies.
async fn shown(api: &Api) -> Vec<Value> {
    let mut all = vec![api.json("POST", &format!("{ADOBE}/list/throttlingConfigs"), &json!({})).await.1];
    for path in [MASHERY, MEDIARITHMICS, "/v1/responsys/accounts"] {
        all.push(api.json("GET", path, &Value::Null).await.1);
    }
    let (_, policies) = api.get("/v1/policies").await;
    let policies: Value = serde_json::from_str(&policies).expect("JSON");
    let of = |policy: &Value| json!([policy["id"], policy["state"], policy["hold"]]);
    all.extend(policies["policies"].as_array().expect("a list").iter().map(of));
    all
}

const ADOBE: &str = "/authoring";
const MASHERY: &str = "/v3/rest/services";
const MEDIARITHMICS: &str = "/v1/plugins/17/versions/1502/throttlings";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_syncs_hang_changes_are_answered_in_time_in_every_dialect_and_memory_is_as_the_disk_is() {
    let (_dir, options) = impatient();
    let server = Server::start(&options);
    let api = server.api();
    let policy = api.deploy_throttling("http://127.0.0.1:9/*", 200).await;
    let before = shown(&api).await;
    let hang = Hang::start(server.pid()).await;
    let begun_ns = boot_ns();
    let throttling =
        json!({"scope": "GLOBAL", "plugin_version_id": "1502", "plugin_endpoint": "/x", "max_qps": 1});
    let (status, first) = api.json("POST", MEDIARITHMICS, &throttling).await;
    assert_eq!((status, &first["error_code"]), (503, &json!("OUTCOME_UNKNOWN")), "handed over: {first}");
    let config =
        json!({"name": "n", "urlPattern": "http://h.org/*", "methods": ["GET"], "maxThroughput": 200});
    let withdrawn = [
        ("POST", format!("{ADOBE}/throttlingConfigs"), config, "/error"),
        ("POST", MASHERY.to_owned(), json!({"name": "n"}), "/errorMessage"),
        (
            "POST",
            MEDIARITHMICS.to_owned(),
            json!({"scope": "GLOBAL", "plugin_version_id": "1502",
            "plugin_endpoint": "/y", "max_qps": 1}),
            "/error_code",
        ),
        ("PUT", "/v1/responsys/accounts/acme".to_owned(), json!({}), "/code"),
        ("POST", format!("/v1/policies/{policy}:pause"), json!({"reason": "a test"}), "/code"),
        ("POST", format!("/v1/policies/{policy}:purge"), json!({"confirm": policy}), "/code"),
    ];
    for (method, path, body, member) in withdrawn {
        let (status, answer) = api.json(method, &path, &body).await;
        let text = answer.pointer(member).and_then(Value::as_str).unwrap_or_default();
        assert_eq!(status, 503, "{path}: {answer}");
        assert!(text.to_lowercase().contains("store_slow"), "{path}: {answer}");
    }
    assert_eq!(shown(&api).await, before, "reads go on, and nothing has become active");
    let took = Duration::from_nanos(boot_ns() - begun_ns);
    assert!(took < Duration::from_secs(7), "{took:?}");
    let (status, ready) = api.get("/readyz").await;
    assert!(status == 503 && ready.contains("(document)"), "{ready}");
    eventually("the metric shows it", SOON, async || {
        api.metric("tidegate_store_operation_age_seconds", "").await > 0.5
    })
    .await;

    drop(hang);
    eventually("it is ready again", SOON, async || api.get("/readyz").await.0 == 200).await;
    let after = shown(&api).await;
    assert_eq!(after.len(), before.len() + 1, "what was handed over has become active, and nothing else");
    let said = |what: &str| server.log().iter().filter(|line| line.contains(what)).count();
    eventually("the log says so", SOON, async || said("the store answers again") == 1).await;
    assert_eq!(said("the store does not answer in time"), 1);
    server.kill();
    let server = Server::start(&options);
    assert_eq!(shown(&server.api()).await, after);
    assert_eq!(server.stop().code(), Some(0));
}
