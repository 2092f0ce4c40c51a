//! The list of policies and one of them.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{eventually, spec, with_quota, world};
use crate::clock::Timestamp;
use crate::policy::testing::id;
use crate::policy::{DRAIN_WINDOW, Origin};

#[tokio::test]
async fn deployed_draining_and_idle_ones_are_listed_with_what_they_rule() {
    let world = world().await;
    world.deploy("api", with_quota(spec("https://api.test/*", 5, &["key"]), 900)).await;
    world.deploy("old", spec("https://old.test/*", 5, &[])).await;
    world.author("drafted").await;
    let now = world.clock.now();
    world
        .policies
        .change(|book| book.rest(&Origin::new("test"), &id("old"), now, DRAIN_WINDOW))
        .await
        .expect("deployed");
    world.policies.change(|book| book.remove(&id("old"), now, DRAIN_WINDOW)).await.expect("idle");

    let list = world.get("/v1/policies").await;
    assert_eq!(list.status, 200);
    assert_eq!((list.next(), &list.body["next_cursor"]), (None, &Value::Null));
    assert_eq!(list.headers["cache-control"], "no-store");
    let policies = list.body["policies"].as_array().expect("a list");
    let told: Vec<_> = policies.iter().map(|p| (p["id"].as_str(), p["state"].as_str())).collect();
    assert_eq!(
        told,
        [(Some("api"), Some("deployed")), (Some("drafted"), Some("idle")), (Some("old"), Some("draining"))]
    );
    let api = &policies[0];
    assert_eq!(api["origin"], "test");
    assert_eq!(api["pattern"], "https://api.test/*");
    assert_eq!(
        (&api["methods"], &api["scope"], &api["family"]),
        (&json!(["POST"]), &json!(["key"]), &json!("wait"))
    );
    assert_eq!(
        api["limits"],
        json!({"pace": null, "window": {"calls": 5, "per_ms": 3_600_000}, "quota": {"calls": 900, "per": "month"},
               "slots": 2, "timeout_ms": null})
    );
    assert_eq!(api["generations"], json!([{"number": 1, "state": "active", "draining_until": null}]));
    assert_eq!(api["figures"]["drains_in_seconds"], 0.0);
    assert_eq!((&policies[1]["origin"], &policies[1]["pattern"]), (&json!("file"), &Value::Null));
    let until = &policies[2]["generations"][0]["draining_until"];
    assert_eq!(until, &json!(Timestamp::from_millis((now + DRAIN_WINDOW).ceil_millis()).to_string()));
}

#[tokio::test]
async fn pages_show_each_policy_once() {
    let world = world().await;
    for n in 0..5 {
        world.author(&format!("p{n}")).await;
    }
    let (mut path, mut seen) = ("/v1/policies?limit=2".to_owned(), Vec::new());
    loop {
        let page = world.get(&path).await;
        let policies = page.body["policies"].as_array().expect("a list").clone();
        assert!(policies.len() <= 2);
        seen.extend(policies.iter().map(|policy| policy["id"].as_str().expect("an id").to_owned()));
        match page.next() {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!(seen, ["p0", "p1", "p2", "p3", "p4"]);
}

#[tokio::test]
async fn one_policy_shows_its_keys_in_order_page_by_page() {
    let world = world().await;
    world.deploy("api", with_quota(spec("https://api.test/*", 3, &["key"]), 900)).await;
    for (key, count) in [("b", 5), ("a", 1), ("c", 1)] {
        world.accept(count, &[("key", key)], None).await;
    }
    world.accept(2, &[("key", "a")], Some(Duration::from_secs(600))).await;
    world.started(4).await;

    let first = world.get("/v1/policies/api?keys_limit=2").await;
    let (figures, keys) = (&first.body["figures"], first.body["keys"].as_array().expect("keys"));
    assert_eq!((&figures["keys"], &figures["inflight"]), (&json!(3), &json!(4)));
    assert_eq!((&figures["waiting"], &figures["delayed"]), (&json!(3), &json!(2)));
    assert_eq!(figures["limits"]["window"], json!({"used": 2, "window_peak": 2, "violations": 0}));
    assert!(figures["oldest"].is_string());
    // One more of b's three per hour starts now, the others in an hour.
    let drains = figures["drains_in_seconds"].as_f64().expect("limits say");
    assert!((3590.0..=3600.0).contains(&drains), "{drains}");
    let names: Vec<_> = keys.iter().map(|key| key["key"].as_str().expect("a key")).collect();
    assert_eq!(names, ["key=a", "key=b"]);
    assert_eq!(
        (&keys[0]["waiting"], &keys[0]["delayed"], &keys[0]["drains_in_seconds"]),
        (&json!(0), &json!(2), &json!(0.0))
    );
    let b = &keys[1];
    assert_eq!((&b["inflight"], &b["slots"], &b["waiting"]), (&json!(2), &json!(2), &json!(3)));
    assert_eq!((&b["limits"]["window"]["used"], &b["limits"]["window"]["limit"]), (&json!(2), &json!(3)));
    assert!(b["limits"]["quota"]["resets_at"].is_string() && b["limits"]["window"]["resets_at"].is_null());

    let rest = world.get(&first.next().expect("one more key")).await;
    assert!(rest.body.get("figures").is_none(), "they stand on the first page");
    assert_eq!(rest.body["keys"][0]["key"], "key=c");
    assert_eq!((rest.next(), rest.body["keys"].as_array().map(Vec::len)), (None, Some(1)));
}

#[tokio::test]
async fn a_hundred_thousand_keys_are_paged() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 1, &["key"])).await;
    world.pause("api").await;
    for portion in 0..100 {
        world.accept_keys((portion * 1_000..(portion + 1) * 1_000).map(|n| format!("{n:06}"))).await;
    }
    eventually("all of them have limits", async || {
        world.get("/v1/policies/api?keys_limit=1").await.body["figures"]["keys"] == 100_000
    })
    .await;
    let begun = world.clock.now();
    let (mut path, mut seen) = ("/v1/policies/api?keys_limit=1000".to_owned(), 0);
    let mut last = String::new();
    for _ in 0..10 {
        let page = world.get(&path).await;
        for key in page.body["keys"].as_array().expect("keys") {
            let name = key["key"].as_str().expect("a name");
            assert!(*name > *last && key["waiting"] == 1, "{key}");
            last = name.to_owned();
            seen += 1;
        }
        path = page.next().expect("more");
    }
    println!("ten pages of 1000 of 100 000 keys: {:?}", world.clock.now().since(begun));
    assert_eq!(seen, 10_000);
}

#[tokio::test]
async fn held_lanes_are_counted_by_reason() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 3, &["key"])).await;
    world.pause("api").await;
    world.accept(1, &[("key", "a")], None).await;
    world.accept(1, &[("key", "b")], None).await;
    eventually("both lanes are held", async || {
        let policy = world.get("/v1/policies/api").await.body;
        policy["figures"]["held"] == json!([{"reason": "paused", "lanes": 2, "until": null}])
    })
    .await;
    let policy = world.get("/v1/policies/api").await.body;
    assert_eq!(policy["figures"]["drains_in_seconds"], Value::Null);
    assert_eq!(policy["hold"]["reason"], "a test");
    assert!(world.called().is_empty());
}

#[tokio::test]
async fn bad_parameters_are_named() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 3, &[])).await;
    for (path, name) in [
        ("/v1/policies?limit=0", "limit"),
        ("/v1/policies?limit=1001", "limit"),
        ("/v1/policies?limit=1&limit=1", "limit"),
        ("/v1/policies?cursor=p1", "cursor"),
        ("/v1/policies?cursor=PiAg", "cursor"),
        ("/v1/policies?state=idle", "state"),
        ("/v1/policies/api?keys_limit=x", "keys_limit"),
        ("/v1/policies/api?keys_cursor=*", "keys_cursor"),
        ("/v1/policies/api?limit=1", "limit"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.problem(400), "invalid_parameter", "{path}");
        assert_eq!(answer.body["errors"][0]["pointer"], name, "{path}");
    }
    for path in
        ["/v1/policies/none", "/v1/policies/a%20b", "/v1/policies/%FF", "/v1/policies/none?keys_limit=1"]
    {
        assert_eq!(world.get(path).await.problem(404), "policy_not_found", "{path}");
    }
}

#[tokio::test]
async fn a_stopped_dispatcher_is_said() {
    let world = world().await;
    world.author("p").await;
    world.dispatch.stop(Duration::ZERO);
    eventually("it stops", async || world.get("/v1/policies").await.status == 503).await;
    assert_eq!(world.get("/v1/policies/p").await.problem(503), "shutting_down");
}
