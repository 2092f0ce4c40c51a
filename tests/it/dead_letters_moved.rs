//! Dead letters that go from one daemon to another as lines of an export, by the command line.

use std::collections::BTreeMap;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(30);
const EVENTS: u64 = 6;

fn tidegate(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("dead-letters").args(arguments).args(["--listen", &server.addr.to_string()]);
    command.current_dir("/").env_clear().stdin(std::process::Stdio::null());
    command.output().expect("the program")
}

fn said(server: &Server, arguments: &[&str]) -> String {
    let output = tidegate(server, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// What people see of each letter, whole and with its body, but for when it was parked, and for its attempts: their details
/// stay where they were made.
async fn letters(api: &Api) -> BTreeMap<String, Value> {
    let (status, text) = api.get("/v1/dead-letters?limit=1000").await;
    assert_eq!(status, 200, "{text}");
    let page: Value = serde_json::from_str(&text).expect("JSON");
    let mut all = BTreeMap::new();
    for letter in page["dead_letters"].as_array().expect("a list") {
        let id = letter["id"].as_str().expect("an id").to_owned();
        let (status, text) = api.get(&format!("/v1/dead-letters/{id}?body=true")).await;
        assert_eq!(status, 200, "{text}");
        let mut letter: Value = serde_json::from_str(&text).expect("JSON");
        letter["parked_at"].take();
        letter.as_object_mut().expect("an object").remove("last_attempts");
        assert!(all.insert(id, letter).is_none(), "two letters of one event");
    }
    all
}

/// Hands in events with labels, headers and bodies of their own.
async fn hand_in(api: &Api, url: &str) {
    let line = |n: u64| {
        let event = json!({
            "url": url, "labels": {"org": format!("org-{}", n % 3)}, "headers": {"x-own": format!("own-{n}")},
            "body": {"n": n, "text": "\u{1f30a} as it was"},
        });
        format!("{event}\n")
    };
    let lines: String = (0..EVENTS).map(line).collect();
    assert_eq!(api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer").0, 200);
}

async fn show(api: &Api, id: &str) -> Value {
    let (status, text) = api.get(&format!("/v1/events/{id}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_go_to_another_daemon_whole_and_are_redriven_there_once() {
    let healed = Arc::new(AtomicBool::new(false));
    let is_healed = Arc::clone(&healed);
    let receiver = Receiver::answering(move |_| {
        (if is_healed.load(Ordering::SeqCst) { 204 } else { 404 }, Duration::ZERO)
    });
    let one = Configured::new(receiver.await);
    let policy = one.policy("p", "pace = 1000");
    one.write(&policy);
    let here = Server::start(&one.options);
    let api = here.api();
    let url = one.receiver.url("/p/x");
    hand_in(&api, &url).await;
    let dead = async || api.metric("tidegate_queue_events", "state=\"dead\"").await;
    eventually("all die", PATIENCE, async || dead().await as u64 == EVENTS).await;
    // One of them was redriven before, to another path, and has died again.
    let first = letters(&api).await.keys().next().expect("a letter").clone();
    let elsewhere = one.receiver.url("/p/elsewhere");
    said(&here, &["redrive", &first, "--url", &elsewhere, "--by", "on call"]);
    eventually("it dies again", PATIENCE, async || {
        let (_, text) = api.get(&format!("/v1/dead-letters/{first}")).await;
        text.contains("\"by\":\"on call\"")
    })
    .await;
    let original = letters(&api).await;
    let redriven = &original[&first]["redriven"];
    assert_eq!((&redriven["by"], &redriven["from_url"]), (&json!("on call"), &json!(url)));

    let exported = said(&here, &["export"]);
    assert_eq!(exported.lines().count() as u64, EVENTS);
    let file = one.file.with_file_name("letters.ndjson");
    std::fs::write(&file, &exported).expect("written");
    let file = file.display().to_string();
    let other = Configured::new(Receiver::start().await);
    // The same policy, which governs the calls to the first receiver.
    other.write(&policy);
    let there = Server::start(&other.options);
    assert_eq!(said(&there, &["import", &file]), format!("{EVENTS} dead letters added, 0 passed over\n"));
    let api = there.api();
    assert_eq!(letters(&api).await, original, "ids, bodies, labels and what is known of redrives");
    assert_eq!(said(&there, &["import", &file]), format!("0 dead letters added, {EVENTS} passed over\n"));

    healed.store(true, Ordering::SeqCst);
    said(&there, &["redrive", "--label", "org=org-1", "--yes"]);
    said(&there, &["redrive", "--all", "--yes"]);
    eventually("all are delivered", PATIENCE, async || api.metric("tidegate_queue_events", "").await == 0.0)
        .await;
    assert!(letters(&api).await.is_empty());
    for id in original.keys() {
        let event = show(&api, id).await;
        let count = if *id == first { 2 } else { 1 };
        assert_eq!(
            (&event["state"], &event["redriven"]["count"]),
            (&json!("settled"), &json!(count)),
            "{event}"
        );
    }
    let calls = one.receiver.arrivals();
    let delivered = calls.iter().filter(|call| original.contains_key(&call.id) && call.attempt == 1).count();
    assert_eq!(delivered as u64, 2 * EVENTS + 1, "each once there, under the id that it had here");
    // What was redriven there since is that event: its letter does not come back.
    assert_eq!(said(&there, &["import", &file]), format!("0 dead letters added, {EVENTS} passed over\n"));
    // The control: one that was purged does.
    let own = Configured::new(Receiver::start().await);
    own.write(&policy);
    let third = Server::start(&own.options);
    said(&third, &["import", &file]);
    said(&third, &["purge", "--all", "--yes"]);
    assert_eq!(said(&third, &["import", &file]), format!("{EVENTS} dead letters added, 0 passed over\n"));
}
