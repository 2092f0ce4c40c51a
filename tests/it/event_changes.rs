//! What an operator does with single events of a real daemon, over kills of it.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

async fn hand_in(api: &Api, url: &str, number: u64, delay_s: u64) -> String {
    let event = json!({"url": url, "delay_seconds": delay_s, "body": {"n": number}});
    let (status, receipt) = api.json("POST", "/v1/events", &event).await;
    assert_eq!(status, 202, "{receipt}");
    receipt["id"].as_str().expect("an id").to_owned()
}

async fn state(api: &Api, id: &str) -> Value {
    let (status, text) = api.get(&format!("/v1/events/{id}")).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

async fn change(api: &Api, method: &str, id: &str, verb: &str, body: &Value) -> (u16, Value) {
    api.json(method, &format!("/v1/events/{id}{verb}"), body).await
}

fn command(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(["--listen", &server.addr.to_string()]).current_dir("/").env_clear();
    command.output().expect("the program")
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_and_delayed_events_stay_so_over_a_kill_and_the_ledger_adds_up() {
    let world = Configured::new(Receiver::start().await);
    world.write(&world.policy("p", "pace = 1000"));
    let url = world.receiver.url("/p/x");
    let server = Server::start(&world.options);
    let api = server.api();
    let ids = [
        hand_in(&api, &url, 0, 600).await,
        hand_in(&api, &url, 1, 600).await,
        hand_in(&api, &url, 2, 600).await,
        hand_in(&api, &url, 3, 600).await,
    ];
    for again in [false, true] {
        let (status, answer) = change(&api, "DELETE", &ids[0], "", &Value::Null).await;
        assert_eq!((status, &answer["outcome"]), (200, &json!("cancelled")), "once more: {again}: {answer}");
    }
    let cancelled = command(&server, &["event", "cancel", &ids[1], "--json"]);
    assert_eq!(cancelled.status.code(), Some(0), "{}", String::from_utf8_lossy(&cancelled.stderr));
    let (status, answer) = change(&api, "POST", &ids[2], ":delay", &json!({"delay_seconds": 1800})).await;
    assert_eq!((status, &answer["state"]), (200, &json!("delayed")), "{answer}");
    let due_at = answer["due_at"].clone();
    assert_eq!(api.metric("tidegate_events_changed_total", "change=\"cancel\"").await, 2.0);
    server.kill();

    let server = Server::start(&world.options);
    let api = server.api();
    for id in &ids[..2] {
        let state = state(&api, id).await;
        assert_eq!((&state["state"], &state["reason"]), (&json!("settled"), &json!("cancelled")), "{state}");
    }
    assert_eq!(state(&api, &ids[2]).await["due_at"], due_at);
    let (status, answer) = change(&api, "POST", &ids[0], ":send-now", &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("event_ended")), "{answer}");
    let sent = command(&server, &["event", "send-now", &ids[2]]);
    assert_eq!(sent.status.code(), Some(0), "{}", String::from_utf8_lossy(&sent.stderr));
    eventually("it arrives long before its time", PATIENCE, async || {
        state(&api, &ids[2]).await["outcome"] == "delivered"
    })
    .await;
    assert_eq!(world.receiver.times_seen().keys().collect::<Vec<_>>(), [&2], "and nothing else");
    let (status, answer) = change(&api, "DELETE", &ids[3], "", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    let term = async |term: &str| api.metric("tidegate_ledger_events", &format!("term=\"{term}\"")).await;
    let ended = term("delivered").await + term("cancelled").await;
    assert_eq!((term("accepted").await, ended), (2.0, 2.0));
    let cancelled = api.metric("tidegate_events_completed_total", "outcome=\"cancelled\"").await;
    assert_eq!(cancelled, 1.0);
}

/// The endpoint keeps the first call until the test ends it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_is_left_alone_and_what_waits_behind_it_can_be_changed() {
    let receiver = Receiver::answering(|arrival| match arrival.number {
        Some(0) => (503, Duration::from_secs(3)),
        _ => (204, Duration::ZERO),
    })
    .await;
    let world = Configured::new(receiver);
    world.write(&format!(
        "[retry]\nmin_delay_ms = 20000\nmax_delay_ms = 60000\n{}",
        world.policy("p", "slots = 1")
    ));
    let url = world.receiver.url("/p/x");
    let server = Server::start(&world.options);
    let api = server.api();
    let first = hand_in(&api, &url, 0, 0).await;
    eventually("it is called", PATIENCE, async || world.receiver.count() == 1).await;
    let behind =
        [hand_in(&api, &url, 1, 0).await, hand_in(&api, &url, 2, 0).await, hand_in(&api, &url, 3, 0).await];
    for (method, verb, body) in [
        ("DELETE", "", Value::Null),
        ("POST", ":send-now", json!({})),
        ("POST", ":delay", json!({"delay_seconds": 1})),
    ] {
        let (status, answer) = change(&api, method, &first, verb, &body).await;
        assert_eq!((status, &answer["code"]), (409, &json!("event_inflight")), "{answer}");
    }
    // Read ahead, and waiting for the slot.
    let (status, answer) = change(&api, "DELETE", &behind[0], "", &Value::Null).await;
    assert_eq!((status, &answer["outcome"]), (200, &json!("cancelled")), "{answer}");
    let (status, answer) = change(&api, "POST", &behind[2], ":send-now", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let beyond = change(&api, "POST", &behind[1], ":delay", &json!({"delay_seconds": 1e9})).await;
    assert_eq!(
        (beyond.0, &beyond.1["errors"][0]["pointer"]),
        (422, &json!("/delay_seconds")),
        "{}",
        beyond.1
    );
    eventually("those behind arrive", PATIENCE, async || world.receiver.count() == 3).await;
    let numbers: Vec<_> = world.receiver.arrivals().iter().filter_map(|arrival| arrival.number).collect();
    assert_eq!(numbers, [0, 3, 2], "what was sent now first, and what was cancelled never");
    // It has come back for a retry, which is 20 s away.
    eventually("the first is put off", PATIENCE, async || state(&api, &first).await["state"] == "delayed")
        .await;
    let (status, answer) = change(&api, "DELETE", &first, "", &Value::Null).await;
    assert_eq!((status, &answer["outcome"]), (200, &json!("cancelled")), "{answer}");
}

/// Counted and confirmed by the command; what it says holds over a kill.
#[tokio::test(flavor = "multi_thread")]
async fn many_events_are_cancelled_by_filter_and_the_others_stay() {
    let world = Configured::new(Receiver::start().await);
    world.write(&format!("{}{}", world.policy("p", "pace = 1000"), world.policy("q", "pace = 1000")));
    let server = Server::start(&world.options);
    let api = server.api();
    let pause = json!({"reason": "a test"});
    for name in ["p", "q"] {
        assert_eq!(api.json("POST", &format!("/v1/policies/{name}:pause"), &pause).await.0, 200);
    }
    api.enqueue(&world.receiver.url("/p/x"), 0..1_500).await;
    api.enqueue(&world.receiver.url("/q/x"), 0..50).await;
    // Page by page: how much one looks at depends on how fast the machine is.
    let listed = async |api: &Api, policy: &str| {
        let (mut found, mut cursor) = (0, String::new());
        loop {
            let (status, text) = api.get(&format!("/v1/events?policy={policy}&limit=1000{cursor}")).await;
            assert_eq!(status, 200, "{text}");
            let page: Value = serde_json::from_str(&text).expect("JSON");
            found += page["events"].as_array().map_or(0, Vec::len);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return found,
            }
        }
    };
    assert_eq!((listed(&api, "p").await, listed(&api, "q").await), (1_500, 50));
    let unconfirmed = command(&server, &["events", "cancel", "--policy", "p"]);
    assert_eq!(unconfirmed.status.code(), Some(2), "nobody is there who could confirm it");
    let cancelled = command(&server, &["events", "cancel", "--policy", "p", "--yes", "--json"]);
    assert_eq!(cancelled.status.code(), Some(0), "{}", String::from_utf8_lossy(&cancelled.stderr));
    let run: Value = serde_json::from_slice(&cancelled.stdout).expect("JSON");
    assert_eq!((&run["changed"], &run["state"]), (&json!(1_500), &json!("done")), "{run}");
    server.kill();
    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!((listed(&api, "p").await, listed(&api, "q").await), (0, 50));
    let shown = command(&server, &["events", "list", "--policy", "q", "--limit", "7", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["events"].as_array().map(Vec::len), Some(7));
    assert_eq!(world.receiver.count(), 0);
}
