//! Watching and steering policies: a pause holds at once and over restarts, a purge drops exactly what waits, an
//! explanation names the place and the limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Receiver, Server, ServerOptions, eventually};

const SOON: Duration = Duration::from_secs(10);

async fn get(api: &Api, path: &str) -> Value {
    let (status, text) = api.get(path).await;
    assert_eq!(status, 200, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

async fn explain(api: &Api, id: &str) -> Value {
    get(api, &format!("/v1/explain?id={id}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_at_once_and_over_restarts_until_it_is_resumed() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let mut server = Server::start(&options);
    let mut api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 200).await;
    let accepted = api.enqueue(&receiver.url("/x"), 0..2_000).await;
    assert_eq!(accepted.len(), 2_000);
    eventually("calls start", SOON, async || receiver.count() > 20).await;

    let request = json!({"reason": "the other side is being rebuilt", "for_seconds": 3600});
    let (status, paused) = api.json("POST", &format!("/v1/policies/{policy}:pause"), &request).await;
    assert_eq!(status, 200, "{paused}");
    let until = paused["hold"]["until"].as_str().expect("an end").to_owned();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held_at = receiver.count();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(receiver.count(), held_at, "nothing starts under a pause");

    for way in ["as it runs", "after SIGTERM", "after a kill"] {
        let shown = get(&api, &format!("/v1/policies/{policy}")).await;
        assert_eq!(shown["hold"]["reason"], "the other side is being rebuilt", "{way}");
        assert_eq!(shown["hold"]["until"], until, "{way}");
        eventually("the last one tells what holds it", SOON, async || {
            let last = explain(&api, &accepted[1_999].1).await;
            last["held"]["reason"] == "paused" && last["held"]["until"] == until
        })
        .await;
        let last = explain(&api, &accepted[1_999].1).await;
        assert_eq!(last["ahead"], 1_999 - held_at as u64, "{way}: {last}");
        assert!(
            last["held"]["text"].as_str().is_some_and(|text| text.contains("is being rebuilt")),
            "{last}"
        );
        // Limits stay closed for up to a second after a start, so a lost pause would show after that.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(receiver.count(), held_at, "{way}");
        match way {
            "as it runs" => assert_eq!(server.stop().code(), Some(0)),
            "after SIGTERM" => server.kill(),
            _ => break,
        }
        server = Server::start(&options);
        api = server.api();
    }

    let (status, resumed) = api.json("POST", &format!("/v1/policies/{policy}:resume"), &json!({})).await;
    assert_eq!((status, &resumed["hold"]), (200, &Value::Null));
    eventually("all arrive", Duration::from_secs(30), async || receiver.times_seen().len() == 2_000).await;
    assert_eq!(receiver.count(), 2_000, "none twice: nothing was under way when it was killed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_drops_what_waits_and_leaves_calls_in_flight_and_later_events() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let receiver = Receiver::answering(|_| (204, Duration::from_secs(3))).await;
    let api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 200).await;
    let accepted = api.enqueue(&receiver.url("/x"), 0..3_000).await;
    let mut delayed = Vec::new();
    for n in 3_000..3_005 {
        let event = json!({"url": receiver.url("/x"), "body": {"n": n}, "delay_seconds": 2});
        let (status, receipt) = api.json("POST", "/v1/events", &event).await;
        assert_eq!(status, 202, "{receipt}");
        delayed.push(receipt["id"].as_str().expect("an id").to_owned());
    }
    eventually("calls are in flight", SOON, async || receiver.count() > 50).await;

    let path = format!("/v1/policies/{policy}:purge");
    let (status, purged) = api.json("POST", &path, &json!({"confirm": policy})).await;
    assert_eq!(status, 200, "{purged}");
    let later = api.enqueue(&receiver.url("/x"), 5_000..5_010).await;
    assert_eq!(later.len(), 10);
    eventually("the later ones arrive", SOON, async || {
        receiver.times_seen().keys().filter(|number| **number >= 5_000).count() == 10
    })
    .await;
    let metric = "tidegate_events_completed_total";
    eventually("all have ended", SOON, async || {
        let ended = ["outcome=\"delivered\"", "outcome=\"cancelled\""];
        api.metric(metric, ended[0]).await + api.metric(metric, ended[1]).await == 3_015.0
    })
    .await;
    let started = receiver.times_seen().keys().filter(|number| **number < 5_000).count() as u64;
    assert_eq!(purged["purged"], 3_005 - started, "what did not start was dropped, and nothing else");
    assert!(receiver.times_seen().values().all(|times| *times == 1));
    for id in &delayed {
        assert_eq!(explain(&api, id).await["outcome"], "cancelled");
    }
    assert_eq!(explain(&api, &accepted[0].1).await["outcome"], "delivered", "it was in flight");
    assert_eq!(explain(&api, &accepted[2_999].1).await["outcome"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_explanation_names_the_place_and_the_limit_and_a_list_tells_the_time_to_drain() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let closed = Arc::new(AtomicBool::new(true));
    let receiver = Receiver::answering({
        let closed = closed.clone();
        move |_| (204, if closed.load(Ordering::Relaxed) { Duration::from_secs(2) } else { Duration::ZERO })
    })
    .await;
    let api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 200).await;
    let accepted = api.enqueue(&receiver.url("/x"), 0..4_000).await;
    eventually("calls start", SOON, async || receiver.count() > 0).await;

    let mut by = Vec::new();
    for _ in 0..10 {
        let before = receiver.count() as u64;
        let last = explain(&api, &accepted[3_999].1).await;
        let ahead = last["ahead"].as_u64().expect("a place");
        // Calls go on between the two looks: half a second's worth at most.
        assert!(ahead <= 3_999 - before && ahead + before + 100 >= 3_999, "{ahead} ahead, {before} arrived");
        assert_eq!(last["lane"]["policies"][0]["policy"], policy);
        by.push(last["held"].clone());
        tokio::time::sleep(Duration::from_millis(37)).await;
    }
    let by_limit = |held: &&Value| {
        held["by"] == "slots"
            || (held["by"] == "limit" && held["limit"] == "pace" && held["until"].is_string())
    };
    let held = by.iter().find(by_limit).expect("a limit holds it most of the time");
    assert_eq!(held["policy"], policy, "{held}");

    let list = get(&api, "/v1/policies").await;
    let shown = &list["policies"][0];
    assert_eq!(
        (&shown["id"], &shown["state"], &shown["limits"]["pace"]),
        (&json!(policy), &json!("deployed"), &json!(200.0))
    );
    let (waiting, drains) =
        (shown["figures"]["waiting"].as_f64(), shown["figures"]["drains_in_seconds"].as_f64());
    let (waiting, drains) = (waiting.expect("a count"), drains.expect("a pace says"));
    assert!((drains - waiting / 200.0).abs() < 1.0, "{waiting} waiting, {drains} s");
    closed.store(false, Ordering::Relaxed);
    assert_eq!(server.stop().code(), Some(0));
}
