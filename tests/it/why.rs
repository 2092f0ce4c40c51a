//! Why events ended: the same in every answer, in the log and in the metrics, and after a restart.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

async fn state(api: &Api, path: &str) -> Value {
    serde_json::from_str(&api.get(path).await.1).expect("JSON")
}

/// What answers say of an event beside its id, its state and its attempts.
fn end(told: &Value) -> Value {
    let members = told.as_object().expect("an object").clone();
    members
        .into_iter()
        .filter(|(name, _)| !matches!(name.as_str(), "id" | "state" | "last_attempts"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn why_an_event_ended_is_told_everywhere_and_kept_over_restarts() {
    let receiver = Receiver::answering(|arrival| match arrival.number {
        Some(1) => (404, Duration::ZERO),
        Some(2) => (503, Duration::ZERO),
        _ => (204, Duration::ZERO),
    })
    .await;
    let world = Configured::new(receiver);
    // What waits for one policy is tried by the other one when its turn comes.
    let calls = world.receiver.url("/calls/*");
    let late = world.policy("late", "pace = 100");
    let wait = format!("[[policy]]\nname = \"pace\"\nurl = \"{calls}\"\npace = 100\n");
    let refuse = format!(
        "[[policy]]\nname = \"cap\"\nurl = \"{calls}\"\nfamily = \"refuse\"\nquota = {{ calls = 4, per = \"day\" }}\n"
    );
    world.write(&format!(
        "[retry]\nmin_delay_ms = 200\nmax_delay_ms = 200\nmax_attempts = 1000\n{wait}{refuse}{late}"
    ));
    let server = Server::start(&world.options);
    let api = server.api();
    let hand_in = async |path: &str, n: u64, ttl_seconds: f64| {
        let event = json!({"url": world.receiver.url(path), "body": {"n": n}, "ttl_seconds": ttl_seconds});
        let (status, receipt) = api.json("POST", "/v1/events", &event).await;
        assert_eq!(status, 202, "{receipt}");
        format!("/v1/events/{}", receipt["id"].as_str().expect("an id"))
    };
    // An event is known as long as its segment is there, which one that waits keeps.
    let waits = json!({"url": world.receiver.url("/late/x"), "body": {"n": 99}, "delay_seconds": 600});
    assert_eq!(api.json("POST", "/v1/events", &waits).await.0, 202);
    let ended = async |path: &str| {
        eventually("it ends", PATIENCE, async || state(&api, path).await["state"] == "settled").await;
        state(&api, path).await
    };
    let gone = hand_in("/calls/x", 1, 60.0).await;
    assert_eq!(
        end(&ended(&gone).await),
        json!({"outcome": "dead", "reason": "http_404", "last_status": 404})
    );
    let late = hand_in("/late/x", 2, 0.3).await;
    assert_eq!(
        end(&ended(&late).await),
        json!({"outcome": "expired", "reason": "expired", "last_status": 503})
    );
    let fine = hand_in("/calls/x", 10, 60.0).await;
    let delivered = json!({"outcome": "delivered", "reason": "delivered"});
    assert_eq!(end(&ended(&fine).await), delivered);
    let mut over = String::new();
    for n in 3..9 {
        over = hand_in("/calls/x", n, 60.0).await;
    }
    let policy = json!({"id": "cap", "name": null, "system": "file", "config": null});
    let limit = json!({"kind": "quota", "key": "", "calls": 4, "per": "day"});
    let turned_away = json!({"outcome": "dead", "reason": "over_quota", "policy": policy, "limit": limit});
    assert_eq!(end(&ended(&over).await), turned_away);
    let explained = state(&api, &over.replace("/v1/events/", "/v1/explain?id=")).await;
    assert_eq!(end(&explained), turned_away);

    let log = server.log();
    let lines: Vec<&String> =
        log.iter().filter(|line| line.contains("event parked as a dead letter")).collect();
    let id = over.trim_start_matches("/v1/events/");
    assert_eq!(lines.iter().filter(|line| line.contains(id)).count(), 1, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("over_quota") && line.contains("cap")), "{lines:#?}");
    let count =
        async |reason: &str| api.metric("tidegate_events_ended_total", &format!("reason=\"{reason}\"")).await;
    assert_eq!((count("4xx").await, count("expired").await), (1.0, 1.0));
    assert!(count("over_quota").await >= 1.0);

    // The store writes its index a moment later; a kill leaves that to the next start.
    server.kill();
    let server = Server::start(&world.options);
    let api = server.api();
    for (path, expected) in [
        (&gone, json!({"outcome": "dead", "reason": "http_404", "last_status": 404})),
        (&late, json!({"outcome": "expired", "reason": "expired", "last_status": 503})),
        (&over, turned_away),
        (&fine, delivered),
    ] {
        assert_eq!(end(&state(&api, path).await), expected, "as before");
    }
}
