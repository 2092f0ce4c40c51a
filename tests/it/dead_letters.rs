//! Dead letters of the real program: a redrive that is killed in its middle, again and again; the command line.

use std::collections::{BTreeMap, HashSet};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use tidegate::testkit::clock::Clock;

use crate::world::{Api, Choice, Receiver, Server, ServerOptions, eventually};

/// Kills within the redrive.
const KILLS: usize = 5;

/// Letters of that test; a hundred thousand with `JUDGE_LONG`. A multiple of 20.
fn letter_count() -> u64 {
    if Choice::of_environment().is_sample() { 2_400 } else { 100_000 }
}

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
    let policy = format!("[[policy]]\nname = \"orders\"\nurl = \"{}\"\npace = 20000\n", receiver.url("/*"));
    std::fs::write(&config, policy).expect("a file");
    let mut options = ServerOptions::new(&dir.join("data"));
    options.args = vec!["--config".to_owned(), config.display().to_string()];
    options
}

/// Hands in numbered events, half of them with the label `org=A` and half with `org=B`; returns their ids.
async fn hand_in(api: &Api, url: &str, count: u64) -> BTreeMap<u64, String> {
    let org = |n: u64| if n.is_multiple_of(2) { "A" } else { "B" };
    let line = |n: u64| format!("{}\n", json!({"url": url, "body": {"n": n}, "labels": {"org": org(n)}}));
    let mut ids = BTreeMap::new();
    for first in (0..count).step_by(20_000) {
        let here = first..count.min(first + 20_000);
        let lines: String = here.clone().map(line).collect();
        let (status, answer) =
            api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer");
        assert_eq!(status, 200);
        ids.extend(here.zip(answer.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["id"].as_str().unwrap_or_else(|| panic!("accepted: {line}")).to_owned()
        })));
    }
    ids
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

async fn dead(api: &Api) -> u64 {
    let count = api.metric("tidegate_queue_events", "state=\"dead\"").await;
    // A count of at most a hundred thousand.
    count as u64
}

/// Adds the groups of all pages up; returns how many pages there were, and how long the longest took.
async fn group(api: &Api, count: u64) -> (u32, Duration) {
    let clock = Clock::system();
    let (mut sum, mut pages, mut worst, mut cursor) = (0, 0, Duration::ZERO, String::new());
    loop {
        let begun = clock.now();
        let (status, text) = api.get(&format!("/v1/dead-letters?group_by=reason,endpoint{cursor}")).await;
        worst = worst.max(clock.now().since(begun));
        assert_eq!(status, 200, "{text}");
        let page: Value = serde_json::from_str(&text).expect("JSON");
        let groups = page["groups"].as_array().expect("a list").iter();
        sum += groups.map(|group| group["count"].as_u64().expect("a count")).sum::<u64>();
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => {
                assert_eq!(sum, count);
                return (pages, worst);
            }
        }
    }
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
    request["confirm"] = counted["confirm"].clone();
    let (status, begun) = api.json("POST", "/v1/dead-letters:redrive", &request).await;
    assert_eq!(status, 202, "{begun}");
    counted["matched"].as_u64().expect("a count")
}

/// Hands in so many events, waits until they have died, and looks at all letters; returns their ids, and how long
/// each part took.
async fn all_die(api: &Api, url: &str, count: u64, patience: Duration) -> (BTreeMap<u64, String>, String) {
    let clock = Clock::system();
    let mut begun = clock.now();
    let mut said = String::new();
    let mut say = |what: &str| {
        let now = clock.now();
        said += &format!("{what} within {:.1?}\n", now.since(begun));
        begun = now;
    };
    let ids = hand_in(api, url, count).await;
    eventually("all die", patience, async || dead(api).await == count).await;
    eventually("their ends are on record", patience, async || owed(api).await == 0).await;
    say("all events have died");
    assert_eq!(letters(api).await.len() as u64, count);
    say("all letters were listed");
    let (pages, worst) = group(api, count).await;
    say(&format!("they were grouped ({pages} pages, the longest {worst:.1?})"));
    (ids, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redrive_that_is_killed_again_and_again_ends_each_event_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (receiver, healed) = receiver().await;
    let options = configured(dir.path(), &receiver);
    let mut server = Server::start(&options);
    let count = letter_count();
    // How long something may take that takes as long as there are letters.
    let patience = Duration::from_secs(30 + count / 200);
    let api = server.api();
    let (ids, said) = all_die(&api, &receiver.url("/x"), count, patience).await;
    println!("{said}");
    healed.store(true, Ordering::SeqCst);
    let request = json!({"filter": {"labels": {"org": "A"}}});
    let (_, counted) = server.api().json("POST", "/v1/dead-letters:redrive", &request).await;
    assert_eq!(counted["matched"], count / 2);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut killed_within = 0;
    for kill in 0..KILLS as u64 {
        let left = begin(&server.api(), &counted["counted_at"]).await;
        // The first ones early, the last ones late: how fast it is depends on the machine.
        tokio::time::sleep(Duration::from_millis(rng.u64(1..count / 100) << kill)).await;
        server.kill();
        server = Server::start(&options);
        let found = letters(&server.api()).await;
        let of_half =
            found.values().filter(|letter| letter["labels"]["org"] == "A" && letter["redriven"].is_null());
        let after = of_half.count() as u64;
        killed_within += u64::from(0 < after && after < left);
        for id in found.keys().filter(|_| rng.u64(0..count / 60) == 0) {
            // Settled, or unknown when nothing is left of its entry.
            let state = state(&server.api(), id).await;
            assert!(matches!(state.as_str(), "settled" | ""), "a letter whose event is {state}");
        }
    }
    assert!(killed_within > 0, "the control: no kill came within a redrive");
    println!("{killed_within} of {KILLS} kills came within a redrive");
    begin(&server.api(), &counted["counted_at"]).await;
    let api = server.api();
    eventually("the redrive ends", patience, async || {
        let (_, text) = api.get("/v1/changes").await;
        text.contains("\"state\":\"done\"")
    })
    .await;
    eventually("the queue drains", patience, async || owed(&api).await == 0).await;
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
        if number.is_multiple_of(2) && rng.u64(0..count / 120) == 0 {
            let (_, text) = api.get(&format!("/v1/events/{id}")).await;
            let event: Value = serde_json::from_str(&text).expect("JSON");
            let redriven = &event["redriven"]["count"];
            assert_eq!((&event["state"], redriven), (&json!("settled"), &json!(1)), "{number}: {event}");
        }
        assert!(delivered.contains(&(*number, id.clone())), "{number} kept its webhook-id");
    }
    assert_eq!(found.len() as u64, count / 2 + count / 10);
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
    eventually("they are counted under their policy", Duration::from_secs(90), async || {
        api.metric("tidegate_dead_letters", "policy=\"orders\"").await == 8.0
    })
    .await;
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
    assert_eq!((code, purged.as_str()), (Some(0), "done: 4 changed\n"), "{told}");
    healed.store(true, Ordering::SeqCst);
    let (code, one, told) = said(&["redrive", &ids[&2], "--by", "on call"]);
    assert_eq!((code, one), (Some(0), format!("event {} waits again\n", ids[&2])), "{told}");
    let (code, rest, told) = said(&["redrive", "--all", "--yes"]);
    assert_eq!((code, rest.as_str()), (Some(0), "done: 3 changed\n"), "{told}");
    let changes = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["changes", "list", "--json", "--listen", &server.addr.to_string()])
        .current_dir("/")
        .env_remove("TIDEGATE_CONFIG")
        .output()
        .expect("the program");
    let changes: Value = serde_json::from_slice(&changes.stdout).expect("JSON");
    let changes: Vec<_> =
        changes["changes"].as_array().expect("a list").iter().map(|one| &one["verb"]).collect();
    assert_eq!(changes, ["redrive", "purge"]);
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
    eventually("none is counted under its policy any more", Duration::from_secs(90), async || {
        api.metric("tidegate_dead_letters", "policy=\"orders\"").await == 0.0
    })
    .await;
    assert_eq!(server.stop().code(), Some(0));
}
