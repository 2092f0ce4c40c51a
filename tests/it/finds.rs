//! An event and its limit: what it is called, which header names its owner, what keeps a call from it, and when it is gone.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::testkit::clock::{Clock, Timestamp};

use crate::world::{Api, Configured, Receiver, Server, eventually};

const ORG: &str = "CRM@AdobeOrg";

/// Deploys a config of the organisation [`ORG`] under a name for people; returns its uid.
async fn deploy(api: &Api, pattern: &str) -> String {
    let config =
        json!({"name": "CRM \"main\"", "urlPattern": pattern, "methods": ["POST"], "maxThroughput": 200});
    let headers = [("x-gw-ims-org-id", ORG)];
    let (status, made) = api.json_with("POST", "/authoring/throttlingConfigs", &headers, &config).await;
    assert_eq!(status, 200, "{made}");
    let uid = made["uid"].as_str().expect("a uid").to_owned();
    let path = format!("/authoring/throttlingConfigs/{uid}/deploy");
    assert_eq!(api.json_with("POST", &path, &headers, &json!({})).await.0, 204);
    uid
}

async fn policy(api: &Api, id: &str) -> Value {
    serde_json::from_str(&api.get(&format!("/v1/policies/{id}")).await.1).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_finds_its_limit_by_header_and_a_miss_says_why() {
    let world = Configured::new(Receiver::start().await);
    world.write("");
    let server = Server::start(&world.options);
    let api = server.api();
    let uid = deploy(&api, &world.receiver.url("/crm/*")).await;

    let shown = policy(&api, &uid).await;
    assert_eq!((&shown["name"], &shown["config"]), (&json!("CRM \"main\""), &json!(uid)), "{shown}");
    let info = format!(r#"tidegate_policy_info{{policy="{uid}",name="CRM \"main\"",system="throttling"}} 1"#);
    eventually("the name is a metric", Duration::from_secs(5), async || {
        api.get("/metrics").await.1.lines().any(|line| line == info)
    })
    .await;

    let event = |labels: Value| json!({"url": world.receiver.url("/crm/x?token=1"), "labels": labels});
    let hand_in = async |headers: &[(&str, &str)], event: Value| {
        api.json_with("POST", "/v1/events", headers, &event).await
    };
    let (status, problem) = hand_in(&[], event(json!({"org": "OTHER"}))).await;
    assert_eq!((status, &problem["code"]), (422, &json!("unmatched")), "{problem}");
    let named = json!({"id": uid, "name": "CRM \"main\"", "system": "throttling", "config": uid});
    let miss = json!({"policy": named, "member": "labels.org", "given": "OTHER", "wants": ORG});
    assert_eq!(problem["misses"], json!([miss]), "{problem}");
    let explain = problem["explain"].as_str().expect("a request");
    assert!(!explain.contains("token"), "{explain}");
    let (status, explained) = api.get(explain).await;
    let explained: Value = serde_json::from_str(&explained).expect("JSON");
    assert_eq!((status, &explained["policies"][0]["verdict"]), (200, &json!("other_label")), "{explained}");
    assert_eq!(explained["policies"][0]["name"], "CRM \"main\"");

    let of_org = [("x-gw-ims-org-id", ORG)];
    let (status, receipt) = hand_in(&of_org, event(json!({}))).await;
    assert_eq!((status, &receipt["policies"]), (202, &json!([uid])), "{receipt}");
    let (status, _) = hand_in(&of_org, event(json!({"org": "OTHER"}))).await;
    assert_eq!(status, 422, "its own label goes first");
    let (status, problem) = hand_in(&[of_org[0], of_org[0]], event(json!({}))).await;
    assert_eq!((status, &problem["code"]), (422, &json!("invalid_header")), "{problem}");
}

/// The control is the time before its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_generation_is_gone_within_a_second_of_its_end() {
    let world = Configured::new(Receiver::start().await);
    world.write("[queue]\ndrain_seconds = 2\n");
    let server = Server::start(&world.options);
    let api = server.api();
    let uid = deploy(&api, &world.receiver.url("/crm/*")).await;
    let path = format!("/authoring/throttlingConfigs/{uid}/undeploy");
    let headers = [("x-gw-ims-org-id", ORG)];
    assert_eq!(api.json_with("POST", &path, &headers, &json!({})).await.0, 204);
    let drains = policy(&api, &uid).await;
    assert_eq!(drains["state"], "draining", "{drains}");
    let until = drains["generations"][0]["draining_until"].as_str().expect("a time").to_owned();
    let until = Timestamp::parse(&until).expect("a time");
    eventually("it is gone", Duration::from_secs(10), async || {
        policy(&api, &uid).await["generations"] == json!([])
    })
    .await;
    let late = Clock::system().wall().since(until);
    assert!(Clock::system().wall() >= until, "not before its end");
    assert!(late < Duration::from_secs(1), "{late:?}");
}
