//! What calls to the API make active, as events meet it.

use std::num::NonZeroU32;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::scenarios::{ALL, World, body};
use crate::policy::testing::{id, labels, url};
use crate::policy::{Book, DRAIN_WINDOW, Family, GenerationState, Limits, Origin, Pace};

const UPDATE: &str = "http://plugin.local:8080/v1/user_segment_update";

fn policies_of(world: &World, to: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let lane = world.policies.runtime().route(&Method::POST, &url(to), &labels(pairs)).expect("few");
    lane.map_or_else(Vec::new, |lane| lane.policies().iter().map(|part| part.policy.to_string()).collect())
}

fn limits_of(world: &World, name: &str) -> Limits {
    world.policies.runtime().get(&id(name)).expect("active").spec.limits.clone()
}

#[tokio::test]
async fn every_scope_finds_its_calls() {
    let world = World::new().await;
    for more in [
        json!({"scope": "GLOBAL"}),
        json!({"scope": "CONTAINER"}),
        json!({"scope": "ORGANISATION", "throttling_key": "1234"}),
        json!({"scope": "DATAMART", "throttling_key": "1509"}),
    ] {
        world.created(&more).await;
    }
    let (global, container, organisation, datamart) = ("mics.1001", "mics.1002", "mics.1003", "mics.1004");
    let version = ("plugin_version", "1502");
    assert_eq!(policies_of(&world, UPDATE, &[version]), [global, container]);
    let all = [version, ("organisation", "1234"), ("datamart", "1509"), ("container", "c-1")];
    assert_eq!(policies_of(&world, UPDATE, &all), [global, container, organisation, datamart], "all apply");
    let others = [version, ("organisation", "1"), ("datamart", "1234")];
    assert_eq!(policies_of(&world, UPDATE, &others), [global, container]);
    for (to, pairs) in [
        (UPDATE, &[][..]),
        (UPDATE, &[("plugin_version", "1503")][..]),
        ("http://plugin.local:8080/v1/user_segment_update/x", &[version][..]),
        ("http://plugin.local:8080/xv1/user_segment_update", &[version][..]),
    ] {
        assert!(policies_of(&world, to, pairs).is_empty(), "{to} {pairs:?}");
    }
    for to in [
        "http://plugin.local:8080/v1/user_segment_update/",
        "http://plugin.local:8080/x/v1/user_segment_update",
    ] {
        assert_eq!(policies_of(&world, to, &[version]), [global, container], "{to}");
    }
    let anywhere = "https://other.org/v1/user_segment_update?datamart_id=3";
    assert_eq!(policies_of(&world, anywhere, &[version]), [global, container], "any host, any query");
}

#[tokio::test]
async fn containers_are_told_apart_by_label_or_else_by_host() {
    let world = World::new().await;
    world.created(&json!({"scope": "CONTAINER"})).await;
    let key = |to: &str, pairs: &[(&str, &str)]| {
        let lane = world.policies.runtime().route(&Method::POST, &url(to), &labels(pairs));
        lane.expect("few").expect("governed").key().to_string()
    };
    let version = ("plugin_version", "1502");
    let elsewhere = "http://other.local:8080/v1/user_segment_update";
    assert_ne!(key(UPDATE, &[version]), key(elsewhere, &[version]));
    assert_eq!(key(UPDATE, &[version]), key(UPDATE, &[version, ("container", "plugin.local:8080")]));
    let named = [version, ("container", "c-1")];
    assert_eq!(key(UPDATE, &named), key(elsewhere, &named));
}

#[tokio::test]
async fn limits_are_those_of_the_body() {
    let world = World::new().await;
    let all = json!({"max_qps": 2.5, "max_concurrency": 3, "timeout_ms": 400});
    world.created(&all).await;
    let spec = (*world.policies.runtime().get(&id("mics.1001")).expect("active").spec).clone();
    assert_eq!((spec.family, spec.wording), (Family::Wait, None));
    let limits = limits_of(&world, "mics.1001");
    assert_eq!(limits.pace.map(Pace::starts_per_second), Some(2.5));
    assert_eq!(limits.slots.map(NonZeroU32::get), Some(3));
    assert_eq!(limits.timeout, Some(Duration::from_millis(400)));
    assert!(limits.window.is_none() && limits.quota.is_none() && !limits.closed);

    let sent = json!({"scope": "GLOBAL", "plugin_endpoint": "/v1/x", "max_qps": 0.5});
    assert_eq!(world.ask(Method::PUT, &format!("{ALL}/1001"), &sent).await.0, 200);
    let limits = limits_of(&world, "mics.1001");
    let window = limits.pace.map(Pace::window).expect("a pace");
    assert_eq!(
        (window.calls().map(NonZeroU32::get), window.length()),
        (Some(1), Duration::from_secs(2)),
        "one in two seconds"
    );
    assert!(limits.slots.is_none() && limits.timeout.is_none(), "replaced as a whole");
    assert!(policies_of(&world, UPDATE, &[("plugin_version", "1502")]).is_empty());
    assert_eq!(policies_of(&world, "http://h/v1/x", &[("plugin_version", "1502")]), ["mics.1001"]);
}

#[tokio::test]
async fn a_name_that_another_origin_has_taken_is_passed_by() {
    let world = World::new().await;
    let take =
        |book: &mut Book| book.rest(&Origin::file(), &id("mics.1001"), world.clock.now(), DRAIN_WINDOW);
    world.policies.change(take).await.expect("free");
    assert_eq!(world.created(&json!({})).await, "1002");
}

#[tokio::test]
async fn a_change_goes_on_in_its_generation_and_a_deleted_one_drains() {
    let world = World::new().await;
    world.created(&json!({})).await;
    world.created(&json!({"plugin_endpoint": "/v1/other"})).await;
    let generations = |name: &str| {
        let runtime = world.policies.runtime();
        runtime.get(&id(name)).map(|policy| policy.generations.clone())
    };
    let one = format!("{ALL}/1001");
    let before = world.policies.runtime().number();
    let mut sent = body(&json!({"max_qps": 7}));
    assert_eq!(world.ask(Method::PUT, &one, &sent).await.0, 200);
    assert_eq!(world.policies.runtime().number(), before + 1, "active on return");
    assert_eq!(generations("mics.1001"), Some([(1, GenerationState::Active)].into()));
    sent["max_qps"] = json!(7.0);
    let book = world.policies.book();
    assert_eq!(world.ask(Method::PUT, &one, &sent).await.0, 200);
    assert_ne!(world.policies.book(), book, "7 and 7.0 are shown as they were sent");
    assert_eq!(world.policies.runtime().number(), before + 1, "and mean the same");

    assert_eq!(world.ask(Method::DELETE, &one, &Value::Null).await.0, 200);
    assert!(policies_of(&world, UPDATE, &[("plugin_version", "1502")]).is_empty());
    let draining = generations("mics.1001").expect("drains");
    assert!(matches!(draining.get(&1), Some(GenerationState::Draining { .. })), "{draining:?}");
    assert_eq!(
        generations("mics.1002"),
        Some([(1, GenerationState::Active)].into()),
        "others are not touched"
    );
    world.clock.advance(DRAIN_WINDOW + Duration::from_millis(1));
    world.policies.expire(world.clock.now(), None).await.expect("stored");
    assert_eq!(generations("mics.1001"), None);
}
