//! Stating what is used of a limit.

use serde_json::{Value, json};

use super::world::{World, eventually, spec, with_quota, world};
use crate::store::memory::RecordFails;

async fn set(world: &World, name: &str, body: Value) -> (u16, Value) {
    let answer = world.post(&format!("/v1/policies/{name}:set-usage"), &body).await;
    (answer.status.as_u16(), answer.body)
}

#[tokio::test]
async fn what_is_stated_counts_when_it_is_answered() {
    let world = world().await;
    world.deploy("api", with_quota(spec("https://api.test/*", 100, &["key"]), 10)).await;
    let (status, answer) =
        set(&world, "api", json!({"limit": "quota", "key": {"key": "a"}, "used": 9})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer, json!({"policy": "api", "limit": "quota", "key": "key=a", "used": 9}));
    world.accept(3, &[("key", "a")], None).await;
    world.let_go(100);
    eventually("the last one goes", async || {
        let shown = world.get("/v1/policies/api").await.body;
        shown["keys"][0]["limits"]["quota"]["used"] == 10
    })
    .await;
    assert_eq!(world.called().len(), 1);
    let stated = json!({"limit": "quota", "key": {"key": "a"}, "used": 8});
    assert_eq!(set(&world, "api", stated.clone()).await.0, 200);
    world.started(3).await;
    assert_eq!(set(&world, "api", stated).await.0, 200, "it may be repeated");
    let window = json!({"limit": "window", "key": {"key": "a"}, "used": 100});
    assert_eq!(set(&world, "api", window).await.0, 200);
    let shown = world.get("/v1/policies/api").await.body;
    assert_eq!(shown["keys"][0]["limits"]["window"]["used"], 100);
}

#[tokio::test]
async fn each_rule_is_named_and_nothing_is_changed() {
    let world = world().await;
    world.deploy("api", with_quota(spec("https://api.test/*", 100, &["key"]), 10)).await;
    world.deploy("plain", spec("https://plain.test/*", 100, &[])).await;
    world.author("idle").await;
    let a = json!({"key": "a"});
    let long = json!({"key": "x".repeat(300)});
    for (name, body, named) in [
        ("api", json!({}), "limit"),
        ("api", json!({"limit": "pace", "used": 1, "key": a}), "limit"),
        ("api", json!({"limit": "quota", "key": a}), "used"),
        ("api", json!({"limit": "quota", "used": -1, "key": a}), "used"),
        ("api", json!({"limit": "quota", "used": 1.5, "key": a}), "used"),
        ("api", json!({"limit": "quota", "used": 11, "key": a}), "used"),
        ("api", json!({"limit": "quota", "used": 1}), "key"),
        ("api", json!({"limit": "quota", "used": 1, "key": "a"}), "key"),
        ("api", json!({"limit": "quota", "used": 1, "key": {"key": 1}}), "key"),
        ("api", json!({"limit": "quota", "used": 1, "key": {"key": "a", "org": "b"}}), "key"),
        ("api", json!({"limit": "quota", "used": 1, "key": long}), "key"),
        ("plain", json!({"limit": "quota", "used": 1}), "limit"),
        ("plain", json!({"limit": "window", "used": 1, "key": a}), "key"),
        ("idle", json!({"limit": "quota", "used": 1}), "limit"),
    ] {
        let (status, answer) = set(&world, name, body.clone()).await;
        assert_eq!((status, answer["code"].as_str()), (422, Some("invalid_request")), "{body}: {answer}");
        assert_eq!(answer["errors"][0]["pointer"], format!("/{named}"), "{body}: {answer}");
    }
    let nobody = set(&world, "nobody", json!({"limit": "quota", "used": 1})).await;
    assert_eq!((nobody.0, nobody.1["code"].as_str()), (404, Some("policy_not_found")));
    world.accept(1, &[("key", "a")], None).await;
    world.started(1).await;
    assert_eq!(world.get("/v1/policies/api").await.body["keys"][0]["limits"]["quota"]["used"], 1);
}

#[tokio::test]
async fn what_cannot_be_put_on_record_does_not_count() {
    let world = world().await;
    world.deploy("api", with_quota(spec("https://api.test/*", 100, &[]), 10)).await;
    world.usages.fail_next(RecordFails::Lost);
    let (status, answer) = set(&world, "api", json!({"limit": "quota", "used": 10})).await;
    assert_eq!((status, answer["code"].as_str()), (503, Some("storage_error")));
    assert_ne!(world.get("/v1/policies/api").await.body["figures"]["limits"]["quota"]["used"], 10);
}
