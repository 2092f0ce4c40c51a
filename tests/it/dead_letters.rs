//! Dead letters of the real program: a redrive that is killed in its middle, again and again; the command line.

use std::collections::{BTreeMap, HashSet};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Receiver, Server, ServerOptions, eventually};

const LETTERS: u64 = 2_400;
const KILLS: usize = 6;

/// Answers 404 until it is healed; then with 204, but for every tenth number.
async fn receiver() -> (Receiver, Arc<AtomicBool>) {
    let healed = Arc::new(AtomicBool::new(false));
    let is_healed = Arc::clone(&healed);
    let receiver = Receiver::answering(move |arrival| {
        let is_well = is_healed.load(Ordering::SeqCst) && arrival.number.is_some_and(|n| n % 10 != 0);
        (if is_well { 204 } else { 404 }, Duration::ZERO)
    });
    (receiver.await, healed)
}

/// A server with one policy, which governs every call to the receiver whatever its labels.
fn configured(dir: &std::path::Path, receiver: &Receiver) -> ServerOptions {
    let config = dir.join("tidegate.toml");
    let policy = format!("[[policy]]\nname = \"orders\"\nurl = \"{}\"\npace = 3000\n", receiver.url("/*"));
    std::fs::write(&config, policy).expect("a file");
    let mut options = ServerOptions::new(&dir.join("data"));
    options.args = vec!["--config".to_owned(), config.display().to_string()];
    options
}

/// Hands in numbered events, half of them with the label `org=A` and half with `org=B`; returns their ids.
async fn hand_in(api: &Api, url: &str, count: u64) -> BTreeMap<u64, String> {
    let org = |n: u64| if n.is_multiple_of(2) { "A" } else { "B" };
    let line = |n: u64| format!("{}\n", json!({"url": url, "body": {"n": n}, "labels": {"org": org(n)}}));
    let lines: String = (0..count).map(line).collect();
    let (status, answer) = api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer");
    assert_eq!(status, 200);
    let ids = answer.lines().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["id"].as_str().unwrap_or_else(|| panic!("accepted: {line}")).to_owned()
    });
    (0..count).zip(ids).collect()
}

/// All letters, by the id of their event. An event with two would be found.
async fn letters(api: &Api) -> BTreeMap<String, Value> {
    let (mut all, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let (status, text) = api.get(&format!("/v1/dead-letters?limit=1000{cursor}")).await;
        assert_eq!(status, 200, "{text}");
        let page: Value = serde_json::from_str(&text).expect("JSON");
        for letter in page["dead_letters"].as_array().expect("a list") {
            let id = letter["id"].as_str().expect("an id").to_owned();
            assert!(all.insert(id, letter.clone()).is_none(), "two letters of one event: {letter}");
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

async fn state(api: &Api, id: &str) -> String {
    let (_, text) = api.get(&format!("/v1/events/{id}")).await;
    let event: Value = serde_json::from_str(&text).expect("JSON");
    event["state"].as_str().unwrap_or_default().to_owned()
}

async fn owed(api: &Api) -> u64 {
    let (_, text) = api.get("/v1/status").await;
    let status: Value = serde_json::from_str(&text).expect("JSON");
    ["ready", "delayed", "inflight"]
        .iter()
        .map(|state| status["events"][state].as_u64().expect("a count"))
        .sum()
}

/// Begins to redrive the half with `org=A` that was parked before this moment; returns how many these are.
async fn begin(api: &Api, before: &Value) -> u64 {
    let mut request = json!({"filter": {"labels": {"org": "A"}, "before": before}});
    let (status, counted) = api.json("POST", "/v1/dead-letters:redrive", &request).await;
    assert_eq!(status, 200, "{counted}");
    request["confirm"] = counted["count"].clone();
    let (status, begun) = api.json("POST", "/v1/dead-letters:redrive", &request).await;
    assert_eq!(status, 202, "{begun}");
    counted["count"].as_u64().expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redrive_that_is_killed_again_and_again_ends_each_event_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (receiver, healed) = receiver().await;
    let options = configured(dir.path(), &receiver);
    let mut server = Server::start(&options);
    let ids = hand_in(&server.api(), &receiver.url("/x"), LETTERS).await;
    let api = server.api();
    eventually("all die", Duration::from_secs(30), async || letters(&api).await.len() as u64 == LETTERS)
        .await;
    eventually("their ends are on record", Duration::from_secs(5), async || owed(&api).await == 0).await;
    healed.store(true, Ordering::SeqCst);
    let request = json!({"filter": {"labels": {"org": "A"}}});
    let (_, counted) = server.api().json("POST", "/v1/dead-letters:redrive", &request).await;
    assert_eq!(counted["count"], LETTERS / 2);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut killed_within = 0;
    for _ in 0..KILLS {
        let left = begin(&server.api(), &counted["before"]).await;
        tokio::time::sleep(Duration::from_millis(rng.u64(1..25))).await;
        server.kill();
        server = Server::start(&options);
        let found = letters(&server.api()).await;
        let of_half =
            found.values().filter(|letter| letter["labels"]["org"] == "A" && letter["redriven"].is_null());
        let after = of_half.count() as u64;
        killed_within += u64::from(0 < after && after < left);
        for id in found.keys().filter(|_| rng.u8(0..40) == 0) {
            // Settled, or unknown when nothing is left of its entry.
            let state = state(&server.api(), id).await;
            assert!(matches!(state.as_str(), "settled" | ""), "a letter whose event is {state}");
        }
    }
    assert!(killed_within > 0, "the control: no kill came within a redrive");
    begin(&server.api(), &counted["before"]).await;
    let api = server.api();
    eventually("the operation ends", Duration::from_secs(20), async || {
        let (_, text) = api.get("/v1/dead-letters/operations").await;
        text.contains("\"state\":\"done\"")
    })
    .await;
    eventually("the queue drains", Duration::from_secs(30), async || owed(&api).await == 0).await;
    let found = letters(&api).await;
    let delivered: HashSet<(u64, String)> =
        receiver.arrivals().into_iter().filter_map(|arrival| Some((arrival.number?, arrival.id))).collect();
    for (number, id) in &ids {
        let letter = found.get(id);
        let redriven = letter.map(|letter| letter["redriven"]["count"].as_u64());
        match (number % 2, number % 10) {
            (1, _) => assert_eq!(redriven, Some(None), "{number} was not meant"),
            (_, 0) => assert_eq!(redriven, Some(Some(1)), "{number} is dead again, after one redrive"),
            _ => assert_eq!(redriven, None, "{number} was delivered"),
        }
        assert!(delivered.contains(&(*number, id.clone())), "{number} kept its webhook-id");
    }
    assert_eq!(found.len() as u64, LETTERS / 2 + LETTERS / 10);
    let (_, text) = api.get("/metrics").await;
    assert!(text.contains("tidegate_dead_letters_removed_total{how=\"redriven\"}"));
    assert_eq!(server.stop().code(), Some(0));
}

fn tidegate(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("dead-letters").args(arguments).args(["--listen", &server.addr.to_string()]);
    command.current_dir("/").env_remove("TIDEGATE_CONFIG").stdin(std::process::Stdio::null());
    command.output().expect("the program")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_command_line_shows_redrives_and_purges_letters() {
    let dir = tempfile::tempdir().expect("a directory");
    let (receiver, healed) = receiver().await;
    let server = Server::start(&configured(dir.path(), &receiver));
    let api = server.api();
    let ids = hand_in(&api, &receiver.url("/x"), 8).await;
    eventually("all die", Duration::from_secs(10), async || letters(&api).await.len() == 8).await;
    let said = |arguments: &[&str]| {
        let output = tidegate(&server, arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, listed, _) = said(&["list", "--label", "org=B"]);
    assert_eq!((code, listed.lines().count()), (Some(0), 5), "{listed}");
    assert!(listed.contains(&ids[&1]) && listed.contains("http_404"), "{listed}");
    let (_, groups, _) = said(&["groups"]);
    assert!(
        groups.lines().nth(1).is_some_and(|line| line.trim_start().starts_with("8  http_404")),
        "{groups}"
    );
    let (_, shown, _) = said(&["show", &ids[&1], "--body"]);
    assert!(shown.contains("{\"n\":1}") && shown.contains("org=B"), "{shown}");
    let (code, _, asks) = said(&["purge", "--label", "org=B"]);
    assert!(code == Some(2) && asks.contains("--yes"), "{asks}");
    let (code, purged, told) = said(&["purge", "--label", "org=B", "--yes"]);
    assert_eq!((code, purged.as_str()), (Some(0), "4 dead letters purged\n"), "{told}");
    healed.store(true, Ordering::SeqCst);
    let (code, one, told) = said(&["redrive", &ids[&2], "--by", "on call"]);
    assert_eq!((code, one), (Some(0), format!("event {} waits again\n", ids[&2])), "{told}");
    let (code, rest, told) = said(&["redrive", "--all", "--yes"]);
    assert_eq!((code, rest.as_str()), (Some(0), "3 dead letters redriven\n"), "{told}");
    let (_, operations, _) = said(&["operations"]);
    assert_eq!(operations.lines().count(), 3, "{operations}");
    // One of them dies again.
    eventually("the others arrive", Duration::from_secs(10), async || {
        owed(&api).await == 0 && letters(&api).await.len() == 1
    })
    .await;
    let (code, _, told) = said(&["show", &ids[&2]]);
    assert!(code == Some(1) && told.contains("no dead letter"), "{told}");
    let (_, gone, _) = said(&["purge", &ids[&0], "--yes"]);
    assert!(gone.contains("is gone"), "{gone}");
    assert!(letters(&api).await.is_empty());
    assert_eq!(server.stop().code(), Some(0));
}
