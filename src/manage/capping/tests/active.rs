//! What calls to the API make active, as events meet it; two writers at once; a store that fails half-way.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::scenarios::world;
use crate::clock::{Clock, Timestamp};
use crate::event::PolicyId;
use crate::manage::adobe::testing::{ORG, Overrides, World};
use crate::manage::capping::{CappingApi, router};
use crate::policy::testing::{Fault, labels, url};
use crate::policy::{DRAIN_WINDOW, Family, GenerationState, Limits, Policies, Window};

pub(super) const CONFIGS: &str = "/endpointConfigs";

async fn ask(world: &World, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(format!("/authoring{path}"));
    let request = request.header("content-type", "application/json");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let (status, _, body) = world.exchange(request.body(body).expect("valid")).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

pub(super) async fn done(world: &World, method: Method, path: &str, body: &Value) {
    let (status, answer) = ask(world, method, path, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
}

pub(super) fn config(url: &str, services: &Value) -> Value {
    json!({"url": url, "methods": ["POST", "OPTION"], "services": services})
}

pub(super) fn cap(calls: u32, period_ms: u32, connections: i64) -> Value {
    json!({
        "maxHttpConnections": connections,
        "rating": {"maxCallsCount": calls, "periodInMs": period_ms},
    })
}

async fn created(world: &World, config: &Value) -> String {
    let (status, answer) = ask(world, Method::POST, CONFIGS, config).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["uid"].as_str().expect("a uid").to_owned()
}

pub(super) async fn deployed(world: &World, config: &Value) -> String {
    let uid = created(world, config).await;
    done(world, Method::POST, &format!("{CONFIGS}/{uid}/deploy"), &Value::Null).await;
    uid
}

/// The names of the policies that govern such a call.
pub(super) fn governed(world: &World, method: Method, to: &str, pairs: &[(&str, &str)]) -> Option<String> {
    let lane = world.policies.runtime().route(&method, &url(to), &labels(pairs));
    lane.expect("few policies").map(|lane| lane.key().to_string())
}

fn limits(world: &World, uid: &str, service: &str) -> Option<Limits> {
    let id = PolicyId::parse(&format!("{uid}.{service}")).expect("valid");
    world.policies.runtime().get(&id).map(|policy| policy.spec.limits.clone())
}

pub(super) fn generations(world: &World, uid: &str, service: &str) -> Vec<GenerationState> {
    let id = PolicyId::parse(&format!("{uid}.{service}")).expect("valid");
    let runtime = world.policies.runtime();
    runtime.get(&id).map(|policy| policy.generations.values().copied().collect()).unwrap_or_default()
}

#[tokio::test]
async fn each_service_of_a_deployed_config_caps_its_calls_in_its_sandbox() {
    let world = world().await;
    let to = "https://api.example.org/data/2.5/x?q=1";
    let services = json!({"action": cap(10, 2000, 0), "dataSource": cap(20, 500, 30_000)});
    let uid = created(&world, &config("https://api.example.org/data/2.5/*", &services)).await;
    let here = [("org", ORG), ("sandbox", "prod")];
    assert_eq!(governed(&world, Method::POST, to, &here), None, "not before it is deployed");
    done(&world, Method::POST, &format!("{CONFIGS}/{uid}/deploy"), &Value::Null).await;

    let action = Some(format!("{uid}.action@1"));
    let with = |service| [("org", ORG), ("sandbox", "prod"), ("service", service)];
    assert_eq!(governed(&world, Method::POST, to, &here), action, "an action when nothing is said");
    assert_eq!(governed(&world, Method::OPTIONS, to, &with("action")), action);
    let data_source = Some(format!("{uid}.dataSource@1"));
    assert_eq!(governed(&world, Method::POST, to, &with("dataSource")), data_source);
    assert_eq!(governed(&world, Method::POST, to, &with("other")), None);
    assert_eq!(governed(&world, Method::GET, to, &here), None);
    assert_eq!(governed(&world, Method::POST, "https://api.example.org/data/3/x", &here), None);
    assert_eq!(governed(&world, Method::POST, to, &[("org", ORG), ("sandbox", "ui-tests")]), None);
    assert_eq!(governed(&world, Method::POST, to, &[("org", ORG)]), None);
    assert_eq!(governed(&world, Method::POST, to, &[("org", "OTHER"), ("sandbox", "prod")]), None);

    let window = |calls, ms| Some(Window::new(calls, ms).expect("valid"));
    let of_action = limits(&world, &uid, "action").expect("active");
    assert_eq!((of_action.window, of_action.slots), (window(10, 2000), None));
    let of_data_source = limits(&world, &uid, "dataSource").expect("active");
    assert_eq!(
        (of_data_source.window, of_data_source.slots),
        (window(20, 500), NonZeroU32::new(400)),
        "at most 400, whatever is asked for"
    );
    let runtime = world.policies.runtime();
    assert!(runtime.policies().all(|policy| policy.spec.family == Family::Refuse));
    let known_as =
        runtime.policies().map(|policy| (policy.spec.title.as_deref(), policy.spec.config.as_deref()));
    let names =
        ["action https://api.example.org/data/2.5/*", "dataSource https://api.example.org/data/2.5/*"];
    assert_eq!(known_as.collect::<Vec<_>>(), names.map(|name| (Some(name), Some(&*uid))));
    let words: Vec<_> = runtime.policies().filter_map(|policy| policy.spec.wording.clone()).collect();
    assert_eq!(words.len(), 2);
    assert!(words.iter().all(|words| &*words.per_window == "capped"));
}

#[tokio::test]
async fn the_most_literal_url_rules_alone() {
    let world = world().await;
    let wide = deployed(&world, &config("https://h.org/*", &json!({"action": cap(1, 1000, 1)}))).await;
    let narrow = deployed(&world, &config("https://h.org/a/*", &json!({"action": cap(2, 1000, 1)}))).await;
    let here = [("org", ORG), ("sandbox", "prod")];
    let by = |path: &str| governed(&world, Method::POST, &format!("https://h.org/{path}"), &here);
    assert_eq!(by("a/b"), Some(format!("{narrow}.action@1")));
    assert_eq!(by("b"), Some(format!("{wide}.action@1")));
}

#[tokio::test]
async fn what_is_deployed_rules_until_the_next_deploy() {
    let world = world().await;
    let services = json!({"action": cap(10, 1000, 5), "dataSource": cap(10, 1000, 5)});
    let uid = deployed(&world, &config("https://h.org/*", &services)).await;
    let path = format!("{CONFIGS}/{uid}");
    let number = world.policies.runtime().number();
    let calls = |world: &World| {
        limits(world, &uid, "action")
            .and_then(|limits| limits.window)
            .and_then(Window::calls)
            .map(NonZeroU32::get)
    };
    done(&world, Method::PUT, &path, &config("https://h.org/*", &json!({"action": cap(99, 1000, 5)}))).await;
    done(&world, Method::POST, &format!("{path}/deploy"), &Value::Null).await;
    assert_eq!(world.policies.runtime().number(), number + 1, "the update alone changed nothing");
    assert_eq!(calls(&world), Some(99));
    assert_eq!(generations(&world, &uid, "action"), [GenerationState::Active], "goes on counting");
    let until = |world: &World| Timestamp::from_millis((world.clock.now() + DRAIN_WINDOW).ceil_millis());
    assert_eq!(
        generations(&world, &uid, "dataSource"),
        [GenerationState::Draining { until: until(&world) }],
        "a service that is left out is deployed no more"
    );

    done(&world, Method::PUT, &path, &config("https://h.org/*", &json!({"action": cap(0, 1000, 5)}))).await;
    let (status, _) = ask(&world, Method::POST, &format!("{path}/deploy"), &Value::Null).await;
    assert_eq!((status, calls(&world)), (StatusCode::INTERNAL_SERVER_ERROR, Some(99)));

    world.clock.advance(Duration::from_secs(1));
    done(&world, Method::POST, &format!("{path}/undeploy"), &Value::Null).await;
    assert_eq!(governed(&world, Method::POST, "https://h.org/x", &[("org", ORG), ("sandbox", "prod")]), None);
    assert_eq!(generations(&world, &uid, "action"), [GenerationState::Draining { until: until(&world) }]);
}

#[tokio::test]
async fn of_two_writers_at_once_both_are_kept_and_none_is_lost() {
    let world = world().await;
    let body = config("https://h.org/*", &json!({"action": cap(10, 1000, 5)}));
    let attempts = (0..8).map(|_| deployed(&world, &body));
    let uids = futures_util::future::join_all(attempts).await;
    assert_eq!(world.policies.runtime().policies().count(), 8);

    // One undeploys while others update, deploy and delete the same config.
    let path = format!("{CONFIGS}/{}", uids[0]);
    let rounds = (0..8).map(|round| {
        let (world, path, body) = (&world, &path, &body);
        async move {
            match round % 4 {
                0 => ask(world, Method::PUT, path, body).await,
                1 => ask(world, Method::POST, &format!("{path}/deploy"), &Value::Null).await,
                2 => ask(world, Method::POST, &format!("{path}/undeploy"), &Value::Null).await,
                _ => ask(world, Method::DELETE, path, &Value::Null).await,
            }
        }
    });
    for (status, answer) in futures_util::future::join_all(rounds).await {
        let code = answer["error"]["code"].as_u64();
        assert!(
            status.is_success() || matches!(code, Some(1450 | 1451)),
            "an answer that some order explains: {status} {answer}"
        );
    }
    let active = generations(&world, &uids[0], "action").contains(&GenerationState::Active);
    let (_, shown) = ask(&world, Method::GET, &path, &Value::Null).await;
    assert_eq!(active, shown["result"]["hasBeenDeployed"] == true, "what is shown is what rules");
}

#[tokio::test]
async fn a_writer_that_was_overtaken_by_another_process_keeps_what_that_one_wrote() {
    let world = world().await;
    let mut there = super::scenarios::world().await;
    there.policies =
        Policies::open(Arc::clone(&world.documents) as _, world.clock.clone()).await.expect("readable");
    let options = super::scenarios::options(&Overrides::default());
    let random = fastrand::Rng::with_seed(8);
    let api = CappingApi::new(there.policies.clone(), options, world.clock.clone(), random);
    there.router = router(api);

    let body = config("https://h.org/*", &json!({"action": cap(10, 1000, 5)}));
    let mine = deployed(&world, &body).await;
    let theirs = deployed(&there, &body).await;
    done(&world, Method::PUT, &format!("{CONFIGS}/{mine}"), &body).await;
    for uid in [&mine, &theirs] {
        assert_eq!(generations(&world, uid, "action"), [GenerationState::Active], "{uid}");
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_whole_or_not_there() {
    let world = world().await;
    let services = json!({"action": cap(10, 1000, 5), "dataSource": cap(10, 1000, 5)});
    let uid = created(&world, &config("https://h.org/*", &services)).await;
    let path = format!("{CONFIGS}/{uid}");
    world.documents.fail([Fault::LoseTheAnswer]);
    let (status, answer) = ask(&world, Method::POST, &format!("{path}/deploy"), &Value::Null).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(1453)));
    world.policies.expire(world.clock.now(), None).await.expect("reads again");
    let (_, shown) = ask(&world, Method::GET, &path, &Value::Null).await;
    assert_eq!(shown["result"]["hasBeenDeployed"], true);
    for service in ["action", "dataSource"] {
        assert_eq!(generations(&world, &uid, service), [GenerationState::Active], "{service}");
    }

    world.documents.fail([Fault::Refuse]);
    let (status, _) = ask(&world, Method::DELETE, &format!("{path}?forceDelete=true"), &Value::Null).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    let (_, shown) = ask(&world, Method::GET, &path, &Value::Null).await;
    assert_eq!(shown["result"]["state"], "deployed");
    for service in ["action", "dataSource"] {
        assert_eq!(generations(&world, &uid, service), [GenerationState::Active], "{service}");
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let world = world().await;
    let services = json!({"action": cap(10, 1000, 5), "dataSource": cap(10, 1000, -1)});
    let uid = deployed(&world, &config("https://h.org/*", &services)).await;
    let update = config("https://h.org/*", &json!({"action": cap(99, 1000, 5)}));
    done(&world, Method::PUT, &format!("{CONFIGS}/{uid}"), &update).await;
    let clock = Clock::manual(world.clock.now());
    let again = Policies::open(Arc::clone(&world.documents) as _, clock).await.expect("readable");
    assert_eq!(again.book(), world.policies.book());
    assert_eq!(again.runtime().diff(&world.policies.runtime()), []);
}

#[tokio::test]
async fn each_service_of_a_config_is_idle_until_it_is_deployed_and_keeps_its_numbers() {
    let world = world().await;
    let services = json!({"action": cap(10, 1000, 5), "dataSource": cap(10, 1000, 5)});
    let uid = created(&world, &config("https://h.org/*", &services)).await;
    let path = format!("{CONFIGS}/{uid}");
    let lives = |service: &str| {
        let id = PolicyId::parse(&format!("{uid}.{service}")).expect("valid");
        let book = world.policies.book();
        book.get(&id).map(|policy| (policy.lifecycle().active(), policy.lifecycle().generations().len()))
    };
    assert_eq!((lives("action"), lives("dataSource")), (Some((None, 0)), Some((None, 0))));
    done(&world, Method::POST, &format!("{path}/deploy"), &Value::Null).await;
    done(&world, Method::POST, &format!("{path}/undeploy"), &Value::Null).await;
    assert_eq!(lives("action"), Some((None, 1)), "it drains");
    world.clock.advance(DRAIN_WINDOW + Duration::from_millis(1));
    world.policies.expire(world.clock.now(), Some(&BTreeSet::new())).await.expect("stored");
    assert_eq!(lives("action"), Some((None, 0)), "it has drained and is idle again");
    // Another service is deployed, this one is left out, and one with faults has none.
    done(&world, Method::PUT, &path, &config("https://h.org/*", &json!({"action": cap(9, 1000, 5)}))).await;
    assert_eq!((lives("action"), lives("dataSource")), (Some((None, 0)), None));
    done(&world, Method::POST, &format!("{path}/deploy"), &Value::Null).await;
    assert_eq!(lives("action"), Some((Some(2), 1)), "numbers are not used twice");
    done(&world, Method::PUT, &path, &config("https://h.org/*", &services)).await;
    assert_eq!((lives("action"), lives("dataSource")), (Some((Some(2), 1)), Some((None, 0))));
    done(&world, Method::DELETE, &format!("{path}?forceDelete=true"), &Value::Null).await;
    assert_eq!((lives("action"), lives("dataSource")), (None, None));
}

#[tokio::test]
async fn idle_configs_of_an_older_book_are_shown_after_the_upgrade_and_nothing_of_it_ends() {
    let world = world().await;
    let uid = created(&world, &config("https://h.org/*", &json!({"action": cap(10, 1000, 5)}))).await;
    // As format 4 had it: no idle policy, and one of this dialect without an object.
    let (_, body) = world.documents.body("policies").expect("stored");
    let mut book: Value = serde_json::from_slice(&body).expect("JSON");
    book["format"] = json!(4);
    let strange = json!({
        "id": "strange.action", "origin": "capping", "order": 9, "record": null, "deleted": false, "pause": null,
        "ruling": {"clauses": [{"pattern": "https://s.org/*", "methods": [], "labels": []}], "pace": 1.0, "family": "wait",
            "slots": null, "timeout_ms": null},
        "state": "deployed", "before_deploy": "created", "deployed": true,
        "generations": [{"number": 1, "draining_until_ms": null}], "next_generation": 2,
    });
    for (policies, is_shown) in [(json!([]), true), (json!([strange]), false)] {
        book["policies"] = policies;
        world.documents.set("policies", book.to_string());
        let policies =
            Policies::open(Arc::clone(&world.documents) as _, world.clock.clone()).await.expect("readable");
        let before = policies.runtime();
        crate::manage::derive_anew(&policies, world.clock.now(), DRAIN_WINDOW).await;
        let id = PolicyId::parse(&format!("{uid}.action")).expect("valid");
        assert_eq!(policies.book().get(&id).is_some(), is_shown);
        assert_eq!(policies.runtime().diff(&before), []);
        let (_, body) = world.documents.body("policies").expect("stored");
        let stored: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(stored["format"] != 4, is_shown, "what has changed is written in the new form");
    }
}
