//! Listing events that wait, and changing single ones.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::world::{Answer, World, eventually, spec, world};
use crate::event::EventId;

impl World {
    async fn cancel(&self, path: &str) -> Answer {
        self.ask(Request::delete(path).body(Body::empty()).expect("a request")).await
    }

    async fn listed(&self, query: &str) -> BTreeSet<String> {
        let answer = self.get(&format!("/v1/events?{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!((&answer.body["unread"], answer.next()), (&json!(0), None));
        let events = answer.body["events"].as_array().expect("a list");
        events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
    }
}

fn ids(of: &[EventId]) -> BTreeSet<String> {
    of.iter().map(EventId::to_string).collect()
}

#[tokio::test]
async fn events_are_listed_by_all_that_is_asked_for() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &["key"])).await;
    let plain = world.accept(5, &[("key", "a")], None).await;
    let other = world.accept(3, &[("key", "b")], None).await;
    let delayed = world.accept(2, &[("key", "a")], Some(Duration::from_secs(600))).await;
    // Two of each key are in flight, and their calls are kept.
    world.started(4).await;
    assert_eq!(world.listed("").await.len(), 10);
    assert_eq!(world.listed("label.key=b&policy=api").await, ids(&other));
    assert_eq!(world.listed("state=delayed").await, ids(&delayed));
    assert_eq!(world.listed("state=inflight&label.key=a").await, ids(&plain[..2]));
    assert_eq!(
        world.listed("state=ready&label.key=a&label.org=ACME").await,
        ids(&plain[2..]),
        "a default label"
    );
    assert_eq!(world.listed("url_prefix=https://api.test/").await.len(), 10);
    for none in ["policy=other", "label.key=c", "label.org=X", "url_prefix=https://api.test/x%3Fsecret"] {
        assert_eq!(world.listed(none).await, BTreeSet::new(), "{none}");
    }
    let shown = world.get("/v1/events?state=delayed&limit=1").await.body["events"][0].clone();
    let alone = ["id", "lane", "due_at", "expires_at"].map(|member| shown[member].is_string());
    assert!(alone.iter().all(|is_text| *is_text) && shown["url"] == "https://api.test/x", "{shown}");
    for (wrong, name) in [("state=settled", "state"), ("cursor=x", "cursor"), ("colour=red", "colour")] {
        let answer = world.get(&format!("/v1/events?{wrong}")).await;
        assert_eq!(answer.problem(400), "invalid_parameter");
        assert_eq!(answer.body["errors"][0]["pointer"], name);
    }
}

#[tokio::test]
async fn pages_lead_through_everything_once_while_events_come_and_go() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &["key"])).await;
    let keys = ["a", "b", "c"];
    let mut accepted = BTreeSet::new();
    for key in keys {
        accepted.extend(ids(&world.accept(20, &[("key", key)], Some(Duration::from_secs(600))).await));
    }
    let (mut seen, mut path) = (Vec::new(), "/v1/events?state=delayed&limit=7".to_owned());
    loop {
        let answer = world.get(&path).await;
        let events = answer.body["events"].as_array().expect("a list");
        seen.extend(events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()));
        if seen.len() == 14 {
            // What was seen ends, and something comes that is later than all.
            for id in &seen[..10] {
                assert_eq!(world.cancel(&format!("/v1/events/{id}")).await.status, 200);
            }
            accepted.extend(ids(&world.accept(1, &[("key", "z")], Some(Duration::from_secs(600))).await));
        }
        match answer.next() {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!(seen.iter().cloned().collect::<BTreeSet<_>>(), accepted);
    assert_eq!(seen.len(), accepted.len(), "none twice");
}

#[tokio::test]
async fn what_waits_is_changed_and_what_does_not_is_answered_for() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &[])).await;
    let events = world.accept(6, &[], None).await;
    world.started(2).await;
    let path = |id: &EventId, verb: &str| format!("/v1/events/{id}{verb}");
    let in_flight = &events[0];
    assert_eq!(world.cancel(&path(in_flight, "")).await.problem(409), "event_inflight");
    assert_eq!(world.post(&path(in_flight, ":send-now"), &json!({})).await.problem(409), "event_inflight");

    for again in [false, true] {
        let answer = world.cancel(&path(&events[2], "")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body["outcome"], "cancelled", "once more: {again}");
    }
    assert_eq!(world.post(&path(&events[2], ":send-now"), &json!({})).await.problem(409), "event_ended");
    let answer = world.post(&path(&events[3], ":delay"), &json!({"delay_seconds": 600.5})).await;
    assert_eq!((answer.status.as_u16(), &answer.body["state"]), (200, &json!("delayed")), "{}", answer.body);
    let date = (world.clock.wall() + Duration::from_secs(1200)).to_string();
    let answer = world.post(&path(&events[3], ":delay"), &json!({"due_at": date})).await;
    assert_eq!((answer.status.as_u16(), &answer.body["attempts"]), (200, &json!(0)), "{}", answer.body);
    // Last in its lane, and first from now on.
    let answer = world.send(&path(&events[5], ":send-now"), "text/plain", "").await;
    assert_eq!((answer.status.as_u16(), &answer.body["state"]), (200, &json!("ready")), "{}", answer.body);
    world.let_go(1);
    eventually("it starts next", async || world.called().len() == 3).await;
    assert!(world.called().contains(&events[5]) && !world.called().contains(&events[4]));
    world.let_go(10);
    eventually("the rest goes", async || world.called().len() == 4).await;
    eventually("and ends", async || {
        world.get(&format!("/v1/explain?id={}", events[4])).await.body["outcome"] == "delivered"
    })
    .await;
    assert_eq!(world.cancel(&path(&events[4], "")).await.problem(409), "event_ended");
    let called = world.called();
    assert!(!called.contains(&events[2]) && !called.contains(&events[3]));
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_named_and_nothing_happens() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &[])).await;
    let id = world.accept(1, &[], Some(Duration::from_secs(600))).await[0];
    let delay = format!("/v1/events/{id}:delay");
    for (body, pointer) in [
        (json!({}), "/delay_seconds"),
        (json!({"delay_seconds": -1}), "/delay_seconds"),
        (json!({"delay_seconds": "1"}), "/delay_seconds"),
        (json!({"delay_seconds": 7_300}), "/delay_seconds"),
        (json!({"due_at": "soon"}), "/due_at"),
        (json!({"due_at": "2300-01-31T08:00:00Z"}), "/due_at"),
        (json!({"due_at": "2030-01-31T08:00:00Z", "delay_seconds": 1}), "/due_at"),
        (json!({"colour": 1}), "/colour"),
    ] {
        let answer = world.post(&delay, &body).await;
        assert_eq!(
            (answer.problem(422), &answer.body["errors"][0]["pointer"]),
            ("invalid_request", &json!(pointer)),
            "{body}"
        );
    }
    let unknown = EventId::new(1, 1);
    assert_eq!(world.cancel(&format!("/v1/events/{unknown}")).await.problem(404), "event_not_found");
    assert_eq!(world.cancel("/v1/events/x").await.problem(400), "invalid_id");
    assert_eq!(world.post(&format!("/v1/events/{id}:tear"), &json!({})).await.problem(404), "not_found");
    assert_eq!(world.post(&format!("/v1/events/{id}"), &json!({})).await.problem(405), "method_not_allowed");
    assert_eq!(world.cancel(&delay).await.problem(405), "method_not_allowed");
    let state = world.get("/v1/events").await.body["events"][0].clone();
    assert_eq!((&state["state"], &state["id"]), (&json!("delayed"), &json!(id.to_string())));
    assert_ne!(state["due_at"], Value::Null);
}
