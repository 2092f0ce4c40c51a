//! Outcomes of the real program: every end once and in order, over kills, by cursors that stay; the command line.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Receiver, Server, ServerOptions, eventually};

const ROUNDS: u64 = 4;
const EVENTS: u64 = 400;

/// Hands in numbered events; returns their ids.
async fn hand_in(api: &Api, url: &str, from: u64) -> Vec<String> {
    let lines: String =
        (from..from + EVENTS).map(|n| format!("{}\n", json!({"url": url, "body": {"n": n}}))).collect();
    let (status, answer) = api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer");
    assert_eq!(status, 200);
    let id =
        |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().map(str::to_owned);
    answer.lines().map(|line| id(line).unwrap_or_else(|| panic!("accepted: {line}"))).collect()
}

/// The lines from a cursor on that are there now.
async fn feed(api: &Api, mut after: Option<String>) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let from = after.as_ref().map_or_else(String::new, |after| format!("&after={after}"));
        let (status, text) = api.get(&format!("/v1/outcomes?limit=150{from}")).await;
        assert_eq!(status, 200, "{text}");
        if text.is_empty() {
            return all;
        }
        all.extend(text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
        after = all.last().and_then(|line: &Value| line["cursor"].as_str()).map(str::to_owned);
    }
}

fn cursor(lines: &[Value]) -> Option<String> {
    lines.last().and_then(|line| line["cursor"].as_str()).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_end_is_told_once_and_in_order_whatever_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::answering(|arrival| {
        let status = if arrival.number.is_some_and(|n| n % 10 == 0) { 404 } else { 204 };
        (status, Duration::from_millis(1))
    })
    .await;
    let posts = Receiver::answering(|_| (204, Duration::ZERO)).await;
    let config = dir.path().join("tidegate.toml");
    let text = format!(
        "[store]\nsegment_bytes = 1048576\nsegment_seconds = 1\n[outcomes]\nurl = \"{}\"\npace = 100\n\
         [[policy]]\nname = \"orders\"\nurl = \"{}\"\npace = 2000\n",
        posts.url("/outcomes"),
        receiver.url("/*")
    );
    std::fs::write(&config, text).expect("a file");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    options.args = vec!["--config".to_owned(), config.display().to_string()];
    let mut server = Server::start(&options);
    let (mut ids, mut told) = (Vec::new(), Vec::new());
    let mut rng = fastrand::Rng::with_seed(3);
    for round in 0..ROUNDS {
        ids.extend(hand_in(&server.api(), &receiver.url("/x"), round * EVENTS).await);
        tokio::time::sleep(Duration::from_millis(rng.u64(20..200))).await;
        let more = feed(&server.api(), cursor(&told)).await;
        told.extend(more);
        server.kill();
        server = Server::start(&options);
    }
    let api = server.api();
    eventually("every event has ended", Duration::from_secs(30), async || {
        let more = feed(&api, cursor(&told)).await;
        told.extend(more);
        told.len() >= ids.len()
    })
    .await;
    let mut counts = BTreeMap::new();
    told.iter().for_each(|line| *counts.entry(line["id"].as_str().expect("an id")).or_insert(0) += 1);
    assert!(counts.values().all(|count| *count == 1), "none twice");
    assert_eq!(counts.keys().copied().collect::<HashSet<_>>(), ids.iter().map(String::as_str).collect());
    assert_eq!(feed(&api, None).await, told, "from the beginning it is the same, in the same order");
    let dead = told.iter().filter(|line| line["result"] == "dead").count() as u64;
    assert_eq!(dead, ROUNDS * EVENTS / 10);
    assert!(told.iter().all(|line| line["policies"] == json!(["orders"])));
    // After their segments have gone, too.
    let (status, text) = api.get(&format!("/v1/events/{}", ids[1])).await;
    assert!(status == 200 && text.contains("\"settled\""), "{text}");
    let (status, text) = api.get("/v1/events/0198c4f0-5f3a-7c00-8000-000000000001").await;
    assert!(status == 404 && !text.contains("known_since"), "every end is known: {text}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args([
        "outcomes",
        "--result",
        "dead",
        "--policy",
        "orders",
        "--listen",
        &server.addr.to_string(),
    ]);
    command.current_dir("/").env_remove("TIDEGATE_CONFIG").stdin(std::process::Stdio::null());
    let output = command.output().expect("the program");
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count() as u64, dead, "{output:?}");
    eventually("posts arrive", Duration::from_secs(20), async || {
        api.metric("tidegate_outcome_posts_total", "result=\"delivered\"").await > 0.0
    })
    .await;
    assert!(!posts.arrivals().is_empty());
    assert_eq!(server.stop().code(), Some(0));
}
