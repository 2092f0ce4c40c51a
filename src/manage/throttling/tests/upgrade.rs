//! A book of format 4, as the last version that wrote it left it: every route answers what that version answered, and the
//! policies are what they were. See `tests/fixtures/README.md`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use http::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::manage::adobe::testing::World;
use crate::manage::throttling::{ThrottlingApi, ThrottlingOptions, router};
use crate::policy::{DRAIN_WINDOW, GenerationState, Policies};

const BOOK: &str = include_str!("../../../../tests/fixtures/book_v4/policies.json");
const ANSWERS: &str = include_str!("../../../../tests/fixtures/book_v4/answers.json");
/// Shortly after the fixture was made.
const NOW: Timestamp = Timestamp::from_millis(1_795_995_448_500);

#[derive(Deserialize)]
struct Recorded {
    uids: BTreeMap<String, String>,
    answers: Vec<Answer>,
    policies: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Answer {
    method: String,
    path: String,
    status: u16,
    body: Value,
}

fn recorded() -> Recorded {
    serde_json::from_str(ANSWERS).expect("as it was recorded")
}

async fn world() -> World {
    let options = ThrottlingOptions { max_configs_per_org: 20, ..ThrottlingOptions::default() };
    let routes = |policies, clock, random| router(ThrottlingApi::new(policies, options, clock, random));
    World::over(NOW, Some(BOOK), routes).await
}

async fn ask(world: &World, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(format!("/authoring{path}"));
    let request =
        request.header("x-gw-ims-org-id", "ACME@AdobeOrg").header("content-type", "application/json");
    let (status, _, body) = world.exchange(request.body(Body::from(body.to_string())).expect("valid")).await;
    let mut body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    if let Some(members) = body.as_object_mut() {
        members.remove("requestId");
    }
    (status.as_u16(), body)
}

async fn is_as_recorded(world: &World) {
    for Answer { method, path, status, mut body } in recorded().answers {
        if let Some(members) = body.as_object_mut() {
            members.remove("requestId");
        }
        assert_eq!(ask(world, &method, &path, &json!({})).await, (status, body), "{method} {path}");
    }
}

/// The state, the pace and the generations of each policy, as `GET /v1/policies` says them.
fn policies(policies: &Policies) -> BTreeMap<String, (Value, Value, Value)> {
    let book = policies.book();
    let shown = book.after(None).map(|(id, policy)| {
        let (active, generations) = (policy.lifecycle().active(), policy.lifecycle().generations());
        let state = match active {
            Some(_) => "deployed",
            None if generations.is_empty() => "idle",
            None => "draining",
        };
        let generations = generations.iter().map(|(number, state)| match state {
            GenerationState::Active => json!({"number": number, "state": "active", "draining_until": null}),
            GenerationState::Draining { until } => {
                json!({"number": number, "state": "draining", "draining_until": until.to_string()})
            }
        });
        let pace = policy.ruling().and_then(|spec| spec.limits.pace).map(|pace| pace.starts_per_second());
        (id.to_string(), (json!(state), json!(pace), generations.collect()))
    });
    shown.collect()
}

#[tokio::test]
async fn every_route_answers_what_the_version_before_answered() {
    let world = world().await;
    is_as_recorded(&world).await;
    let then = recorded().policies.into_iter().map(|(id, policy)| {
        (id, (policy["state"].clone(), policy["limits"]["pace"].clone(), policy["generations"].clone()))
    });
    let then: BTreeMap<_, _> = then.collect();
    assert_eq!(then.len(), 9, "the control: one is gone");
    assert_eq!(policies(&world.policies), then);

    // As each start does: policies get the names and the ids of their configs, and nothing else changes.
    let named = || {
        let runtime = world.policies.runtime();
        runtime.policies().filter(|policy| policy.spec.config.is_some()).count()
    };
    assert_eq!(named(), 0, "the control: none says its config");
    crate::manage::derive_anew(&world.policies, world.clock.now(), DRAIN_WINDOW).await;
    assert_eq!(policies(&world.policies), then);
    let active = then.values().filter(|(state, ..)| *state == json!("deployed")).count();
    assert_eq!((active > 3, named()), (true, active), "all that are active");
    // A change of one writes all of them in the new form, and nothing else is different.
    let runtime = world.policies.runtime();
    let idle = PolicyId::parse(&recorded().uids["idle"]).expect("valid");
    let (status, _) = ask(&world, "POST", &format!("/throttlingConfigs/{idle}/deploy"), &json!({})).await;
    assert_eq!(status, 204);
    let changed = world.policies.runtime().diff(&runtime);
    assert_eq!(changed, [crate::policy::PolicyChange::Set(idle.clone())]);
    let (status, _) = ask(&world, "POST", &format!("/throttlingConfigs/{idle}/undeploy"), &json!({})).await;
    assert_eq!(status, 204);
    world.policies.change(|book| book.resume(&idle)).await.expect("there");
    let again =
        Policies::open(Arc::clone(&world.documents) as _, world.clock.clone()).await.expect("readable");
    let mut now = policies(&again);
    assert_eq!(now.remove(idle.as_str()).map(|(state, ..)| state), Some(json!("draining")));
    assert!(now.into_iter().all(|(id, shown)| then[&id] == shown));
}

#[tokio::test]
async fn each_config_goes_on_with_its_life() {
    let world = world().await;
    let uids = recorded().uids;
    let ask = async |method: &str, name: &str, tail: &str, body: &Value| {
        ask(&world, method, &format!("/throttlingConfigs/{}{tail}", uids[name]), body).await
    };
    let state = async |name: &str| {
        let (_, shown) = ask("GET", name, "", &json!({})).await;
        (shown["result"]["state"].clone(), shown["result"]["hasBeenDeployed"].clone())
    };
    let active = |name: &str| {
        let id = PolicyId::parse(&uids[name]).expect("valid");
        let book = world.policies.book();
        let policy = book.known(&id).expect("there");
        let pace = policy.ruling().and_then(|spec| spec.limits.pace).map(|pace| pace.starts_per_second());
        (policy.lifecycle().active(), pace)
    };
    let config = |per_second: u32| json!({"urlPattern": "https://h.org/*", "methods": ["POST"], "maxThroughput": per_second});

    assert_eq!(active("faulty"), (Some(1), Some(200.0)), "the last valid values");
    assert_eq!(ask("POST", "draining", "/deploy", &json!({})).await.0, 204);
    assert_eq!(active("draining"), (Some(2), Some(200.0)));
    assert_eq!(active("faulty"), (Some(1), Some(200.0)), "also when others change");
    assert_eq!(ask("PUT", "faulty", "", &config(900)).await.0, 200);
    assert_eq!(active("faulty"), (Some(1), Some(900.0)));
    assert_eq!(state("faulty").await, (json!("updated"), json!(true)));
    assert_eq!(ask("POST", "updated", "/undeploy", &json!({})).await.0, 204);
    assert_eq!(
        (state("updated").await, active("updated")),
        ((json!("updated"), json!(false)), (None, Some(400.0)))
    );
    assert_eq!(ask("POST", "deployed", "/undeploy", &json!({})).await.0, 204);
    assert_eq!(state("deployed").await, (json!("created"), json!(false)), "the state before the deploy");
    assert_eq!(ask("POST", "redeployed", "/undeploy", &json!({})).await.0, 204);
    assert_eq!(state("redeployed").await, (json!("updated"), json!(false)));
    assert_eq!(ask("POST", "again", "/deploy", &json!({})).await.0, 204);
    assert_eq!(active("again"), (Some(3), Some(777.0)));
    assert_eq!(ask("DELETE", "again", "", &json!({})).await.0, 400, "it is deployed");
    assert_eq!(ask("DELETE", "idle", "", &json!({})).await.0, 200);
}
