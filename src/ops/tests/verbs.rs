//! Pausing, resuming, purging.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::world::{eventually, spec, world};
use crate::policy::testing::id;

#[tokio::test]
async fn a_paused_policy_starts_nothing_until_it_is_resumed() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &[])).await;
    let request = json!({"reason": "maintenance", "for_seconds": 600});
    let paused = world.post("/v1/policies/api:pause", &request).await;
    assert_eq!(paused.status, 200, "{}", paused.body);
    assert_eq!(paused.body["hold"]["reason"], "maintenance");
    assert!(paused.body["hold"]["until"].is_string() && paused.body["figures"].is_object());
    assert!(paused.body.get("keys").is_none());
    let since = paused.body["hold"]["since"].clone();

    world.accept(2, &[], None).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(world.called().is_empty());
    let again = world.post("/v1/policies/api:pause", &json!({"reason": "still"})).await;
    assert_eq!((&again.body["hold"]["since"], &again.body["hold"]["until"]), (&since, &Value::Null));
    let book = world.policies.book();
    let repeated = world.post("/v1/policies/api:pause", &json!({"reason": "still"})).await;
    assert_eq!(repeated.body["hold"], again.body["hold"]);
    assert_eq!(*world.policies.book(), *book, "a repetition changes nothing");

    let resumed = world.send("/v1/policies/api:resume", "text/plain", "").await;
    assert_eq!((resumed.status.as_u16(), &resumed.body["hold"]), (200, &Value::Null));
    world.started(2).await;
    assert_eq!(world.post("/v1/policies/api:resume", &json!({})).await.status, 200);
}

#[tokio::test]
async fn any_state_can_be_held_and_a_date_ends_it() {
    let world = world().await;
    world.author("drafted").await;
    let until = (world.clock.wall() + Duration::from_millis(300)).to_string();
    let paused = world.post("/v1/policies/drafted:pause", &json!({"reason": "x", "until": until})).await;
    assert_eq!((paused.status.as_u16(), &paused.body["state"]), (200, &json!("idle")));
    assert!(paused.body["hold"].is_object());
    eventually("it ends by itself", async || world.get("/v1/policies/drafted").await.body["hold"].is_null())
        .await;
}

#[tokio::test]
async fn a_purge_drops_what_waits_and_leaves_the_rest() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &["key"])).await;
    world.deploy("other", spec("https://other.test/*", 100, &[])).await;
    for key in ["a", "b"] {
        world.accept(5, &[("key", key)], None).await;
    }
    let delayed = world.accept(3, &[("key", "c")], Some(Duration::from_secs(600))).await;
    world.started(4).await;

    let purged = world.post("/v1/policies/api:purge", &json!({"confirm": "api"})).await;
    assert_eq!((purged.status.as_u16(), &purged.body), (200, &json!({"purged": 9})));
    eventually("their ends are on record", async || {
        let answer = world.get(&format!("/v1/explain?id={}", delayed[0])).await;
        answer.body["outcome"] == "cancelled"
    })
    .await;
    let later = world.accept(1, &[("key", "a")], None).await;
    world.let_go(5);
    world.started(5).await;
    assert!(world.called().contains(&later[0]));
    let again = world.post("/v1/policies/api:purge", &json!({"confirm": "api"})).await;
    assert_eq!(again.body, json!({"purged": 0}));
    assert_eq!(world.post("/v1/policies/other:purge", &json!({"confirm": "other"})).await.body["purged"], 0);
}

#[tokio::test]
async fn bad_bodies_name_the_member_and_change_nothing() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &[])).await;
    let long = "x".repeat(201);
    let past = (world.clock.wall() - Duration::from_secs(60)).to_string();
    let pause = "/v1/policies/api:pause";
    for (path, body, pointer) in [
        (pause, json!({}), "/reason"),
        (pause, json!({"reason": ""}), "/reason"),
        (pause, json!({"reason": "  "}), "/reason"),
        (pause, json!({"reason": long}), "/reason"),
        (pause, json!({"reason": "a\u{7}"}), "/reason"),
        (pause, json!({"reason": 5}), "/reason"),
        (pause, json!({"reason": "x", "until": past}), "/until"),
        (pause, json!({"reason": "x", "until": "tomorrow"}), "/until"),
        (pause, json!({"reason": "x", "until": 5}), "/until"),
        (pause, json!({"reason": "x", "until": "2999-01-01T00:00:00Z"}), "/until"),
        (pause, json!({"reason": "x", "until": "2999-01-01T00:00:00Z", "for_seconds": 1}), "/until"),
        (pause, json!({"reason": "x", "for_seconds": 0}), "/for_seconds"),
        (pause, json!({"reason": "x", "for_seconds": -1}), "/for_seconds"),
        (pause, json!({"reason": "x", "for_seconds": 1e300}), "/for_seconds"),
        (pause, json!({"reason": "x", "for_seconds": "1"}), "/for_seconds"),
        (pause, json!({"reason": "x", "co`lo/ur": 1}), "/co`lo~1ur"),
        (pause, json!([1]), ""),
        (pause, json!("x"), ""),
        (pause, json!(["x", null, 5]), ""),
        ("/v1/policies/api:resume", json!([]), ""),
        ("/v1/policies/api:resume", json!(null), ""),
        ("/v1/policies/api:purge", json!(["api"]), ""),
        ("/v1/policies/api:resume", json!({"now": true}), "/now"),
        ("/v1/policies/api:purge", json!({}), "/confirm"),
        ("/v1/policies/api:purge", json!({"confirm": "apj"}), "/confirm"),
        ("/v1/policies/api:purge", json!({"confirm": true}), "/confirm"),
    ] {
        let answer = world.post(path, &body).await;
        assert_eq!(answer.problem(422), "invalid_request", "{body}");
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{}", answer.body);
    }
    let twice = world.send(pause, "application/json", r#"{"reason":"a","reason":"b"}"#).await;
    assert_eq!(
        (twice.problem(422), &twice.body["errors"][0]["pointer"]),
        ("invalid_request", &json!("/reason"))
    );
    assert_eq!(world.policies.book().known(&id("api")).and_then(|policy| policy.pause()), None);
}

#[tokio::test]
async fn forms_sizes_routes_and_methods() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &[])).await;
    let pause = "/v1/policies/api:pause";
    let good = json!({"reason": "x"}).to_string();
    assert_eq!(world.send(pause, "application/json", "{\"reason\":").await.problem(400), "invalid_json");
    assert_eq!(world.send(pause, "application/json", "").await.problem(400), "invalid_json");
    assert_eq!(world.send(pause, "text/plain", good.clone()).await.problem(415), "unsupported_media_type");
    let bare = Request::post(pause).body(Body::from(good.clone())).expect("a request");
    assert_eq!(world.ask(bare).await.problem(415), "unsupported_media_type");
    let packed =
        Request::post(pause).header("content-type", "application/json").header("content-encoding", "gzip");
    assert_eq!(
        world.ask(packed.body(Body::from(good.clone())).expect("a request")).await.problem(415),
        "unsupported_encoding"
    );
    let padded = |bytes: usize| format!("{}{good}", " ".repeat(bytes - good.len()));
    assert_eq!(world.send(pause, "application/json", padded(16 * 1024)).await.status, 200);
    let large = world.send(pause, "application/json", padded(16 * 1024 + 1)).await;
    assert_eq!(
        (large.problem(413), &large.headers["connection"]),
        ("payload_too_large", &"close".parse().expect("a value"))
    );

    assert_eq!(
        world.post("/v1/policies/none:pause", &json!({"reason": "x"})).await.problem(404),
        "policy_not_found"
    );
    assert_eq!(world.post("/v1/policies/none:resume", &json!({})).await.problem(404), "policy_not_found");
    assert_eq!(
        world.post("/v1/policies/none:purge", &json!({"confirm": "none"})).await.problem(404),
        "policy_not_found"
    );
    assert_eq!(world.post("/v1/policies/api:redrive", &json!({})).await.problem(404), "not_found");
    assert_eq!(world.get("/v1/policies/api:redrive").await.problem(404), "not_found");
    let read = world.get(pause).await;
    assert_eq!(
        (read.problem(405), &read.headers["allow"]),
        ("method_not_allowed", &"POST".parse().expect("a value"))
    );
    let written = world.post("/v1/policies/api", &json!({})).await;
    assert_eq!(written.problem(405), "method_not_allowed");
    assert_eq!(written.headers["allow"], "GET,HEAD,PUT,DELETE");
    for (path, allowed) in [("/v1/policies/api", "GET,HEAD,PUT,DELETE"), (pause, "POST")] {
        let other = world.ask(Request::options(path).body(Body::empty()).expect("a request")).await;
        assert_eq!(
            (other.problem(405), &other.headers["allow"]),
            ("method_not_allowed", &allowed.parse().expect("ok"))
        );
    }
    let other = Request::options("/v1/policies/api:redrive").body(Body::empty()).expect("a request");
    assert_eq!(world.ask(other).await.problem(404), "not_found");
}

#[tokio::test]
async fn a_hold_that_cannot_be_stored_is_not_active() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &[])).await;
    world.fail_write();
    let answer = world.post("/v1/policies/api:pause", &json!({"reason": "x"})).await;
    assert_eq!(answer.problem(503), "storage_error");
    assert_eq!(world.get("/v1/policies/api").await.body["hold"], Value::Null);
}
