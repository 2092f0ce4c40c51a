//! Limits through the real binary: calls turned away, endpoints that ask for time, turns by fairness key, forecasts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Reply, Server, eventually, window_peak};

const PATIENCE: Duration = Duration::from_secs(20);

async fn hand_in(api: &Api, url: &str, labels: &Value, number: u64) -> (u16, Value) {
    let event = json!({"url": url, "labels": labels, "body": {"n": number}});
    api.json("POST", "/v1/events", &event).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_turns_calls_away_keeps_its_window_and_says_when_to_come_back() {
    let world = Configured::new(Receiver::start().await);
    let cap = "window = { calls = 5, per_ms = 3000 }\nfamily = \"refuse\"\nscope = [\"org\"]";
    world.write(&world.policy("cap", cap));
    let server = Server::start(&world.options);
    let (api, url) = (server.api(), world.receiver.url("/cap/x"));
    let mut accepted = 0;
    for org in ["a", "b"] {
        for number in 0..8 {
            let (status, answer) = hand_in(&api, &url, &json!({"org": org}), number).await;
            accepted += usize::from(status == 202);
            assert_eq!(status, if number < 5 { 202 } else { 429 }, "{org} {number}: {answer}");
            if number >= 5 {
                assert_eq!(answer["code"], "over_window", "{answer}");
                assert!(
                    (1..=3).contains(&answer["retry_after_seconds"].as_u64().expect("seconds")),
                    "{answer}"
                );
            }
        }
    }
    eventually("what was accepted arrives", PATIENCE, async || world.receiver.count() == accepted).await;
    let (status, answer) = hand_in(&api, &url, &json!({"org": "c"}), 0).await;
    assert_eq!(status, 202, "{answer}");
    eventually("the window has room again", PATIENCE, async || {
        hand_in(&api, &url, &json!({"org": "a"}), 9).await.0 == 202
    })
    .await;
    assert_eq!(
        api.metric("tidegate_events_completed_total", "dead").await,
        0.0,
        "what was promised was kept"
    );
    assert!(api.metric("tidegate_events_rejected_total", "over_window").await > 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_holds_the_lane_and_nobody_else() {
    let has_asked = AtomicBool::new(false);
    let receiver = Receiver::answering(move |arrival| match arrival.number {
        Some(0) if !has_asked.swap(true, Ordering::SeqCst) => {
            Reply { status: 503, retry_after_s: Some(6), ..Reply::default() }
        }
        _ => Reply { status: 204, ..Reply::default() },
    })
    .await;
    let world = Configured::new(receiver);
    world.write(&format!("{}{}", world.policy("held", "pace = 100"), world.policy("free", "pace = 100")));
    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!(hand_in(&api, &world.receiver.url("/held/x"), &json!({}), 0).await.0, 202);
    eventually("the lane is held", PATIENCE, async || {
        api.metric("tidegate_lanes_held", "policy=\"held\",reason=\"retry_after\"").await == 1.0
    })
    .await;
    let accepted = api.enqueue(&world.receiver.url("/held/x"), 1..20).await;
    let (_, explained) = api.get(&format!("/v1/explain?id={}", accepted[0].1)).await;
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    assert_eq!(explained["held"]["reason"], "retry_after", "{explained}");
    api.enqueue(&world.receiver.url("/free/x"), 100..110).await;
    let arrived = |free: bool| {
        world.receiver.arrivals().iter().filter(|arrival| (arrival.number >= Some(100)) == free).count()
    };
    eventually("the other lane goes on", PATIENCE, async || arrived(true) == 10).await;
    assert_eq!(arrived(false), 1, "of the held one nothing goes meanwhile");
    eventually("all arrive", PATIENCE, async || world.receiver.count() == 1 + 10 + 20).await;
    let times: Vec<u64> = world.receiver.arrivals().iter().map(|arrival| arrival.at_ns).collect();
    let held: Vec<u64> =
        world.receiver.arrivals().iter().filter(|a| a.number < Some(100)).map(|a| a.at_ns).collect();
    assert!(held[1] - times[0] >= 5_990_000_000, "it was held for {} ns", held[1] - times[0]);
    assert!(world.receiver.arrivals().iter().all(|arrival| arrival.attempt == 1), "it cost no attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fairness_key_gives_the_few_their_turn_beside_the_many() {
    let world = Configured::new(Receiver::start().await);
    world.write(&world.policy("shared", "pace = 100"));
    let server = Server::start(&world.options);
    let (api, url) = (server.api(), world.receiver.url("/shared/x"));
    let line =
        |key: &str, number: u64| json!({"url": url, "labels": {"fairness_key": key}, "body": {"n": number}});
    let many: String = (0..500).map(|number| format!("{}\n", line("many", number))).collect();
    api.post("/v1/events", "application/x-ndjson", many).await.expect("accepted");
    eventually("the many are under way", PATIENCE, async || world.receiver.count() > 20).await;
    let before = world.receiver.count();
    for number in 1000..1020 {
        assert_eq!(api.json("POST", "/v1/events", &line("few", number)).await.0, 202);
    }
    let few =
        |world: &Configured| world.receiver.arrivals().iter().filter(|a| a.number >= Some(1000)).count();
    eventually("the few arrive", PATIENCE, async || few(&world) == 20).await;
    let between = world.receiver.count() - before;
    assert!(between < 150, "they waited for {between} calls, in turn it takes about 40");
    let times: Vec<u64> = world.receiver.arrivals().iter().map(|arrival| arrival.at_ns).collect();
    assert!(window_peak(&times, 1_000_000_000) <= 105);
}

#[tokio::test(flavor = "multi_thread")]
async fn forecasts_come_true_and_the_doomed_are_refused_when_they_are_to_be() {
    let world = Configured::new(Receiver::start().await);
    world.write(&format!("[queue]\non_doomed = \"refuse\"\n{}", world.policy("slow", "pace = 50")));
    let server = Server::start(&world.options);
    let (api, url) = (server.api(), world.receiver.url("/slow/x"));
    let accepted = api.enqueue(&url, 0..150).await;
    assert_eq!(accepted.len(), 150);
    let (status, receipt) = hand_in(&api, &url, &json!({}), 150).await;
    assert_eq!((status, &receipt["forecast"]["expires_first"]), (202, &json!(false)), "{receipt}");
    let starts_at: chrono::DateTime<chrono::Utc> =
        receipt["forecast"]["starts_at"].as_str().and_then(|at| at.parse().ok()).expect("a time");
    let doomed = json!({"url": url, "ttl_seconds": 1});
    let (status, problem) = api.json("POST", "/v1/events", &doomed).await;
    assert_eq!((status, &problem["code"]), (429, &json!("doomed")), "{problem}");
    eventually("all arrive", PATIENCE, async || world.receiver.count() == 151).await;
    let last =
        world.receiver.arrivals().iter().find(|a| a.number == Some(150)).map(|a| a.at_ns).expect("arrived");
    let error_s = (last as f64 / 1e9 - starts_at.timestamp_millis() as f64 / 1e3).abs();
    assert!(error_s < 2.0, "three seconds ahead it was {error_s} s off");
}
