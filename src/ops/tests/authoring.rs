//! Policies as code: what is put rules at once, preconditions and owners are kept, bad members are all named.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::world::{Answer, World, spec, world};
use crate::clock::Timestamp;
use crate::policy::Origin;
use crate::policy::testing::id;

fn body() -> Value {
    json!({"url": "https://api.test/*", "pace": 100, "labels": {"org": "ACME"}})
}

impl World {
    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("/v1/policies/{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", "application/json").body(Body::from(body.to_string()));
        self.ask(request.expect("a request")).await
    }

    async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, &[], body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], &Value::Null).await
    }
}

fn etag(answer: &Answer) -> String {
    answer.headers["etag"].to_str().expect("text").to_owned()
}

#[tokio::test]
async fn what_is_put_rules_and_goes_on_in_its_generation() {
    let world = world().await;
    let made = world.put("crm", &body()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!((&made.body["change"], &made.body["before"]), (&json!("created"), &Value::Null));
    let shown = world.get("/v1/policies/crm").await;
    assert_eq!((etag(&shown), &shown.body["etag"]), (etag(&made), &made.body["etag"]));
    assert_eq!((&shown.body["origin"], &shown.body["state"]), (&json!("api"), &json!("deployed")));
    let mut expected = body();
    expected["name"] = json!("crm");
    assert_eq!((&shown.body["definition"], &made.body["after"]), (&expected, &expected));

    let same = world.put("crm", &shown.body["definition"]).await;
    assert_eq!((same.status.as_u16(), &same.body["change"]), (200, &json!("unchanged")));
    assert_eq!(etag(&same), etag(&made));
    let other = world.put("crm", &json!({"url": "https://api.test/*", "pace": 50})).await;
    assert_eq!((other.status.as_u16(), &other.body["change"]), (200, &json!("updated")), "{}", other.body);
    assert_eq!(other.body["differs"], json!(["labels", "pace"]));
    assert_ne!(etag(&other), etag(&made));
    let shown = world.get("/v1/policies/crm").await;
    assert_eq!(shown.body["generations"], json!([{"number": 1, "state": "active", "draining_until": null}]));

    assert_eq!(world.delete("crm").await.status, 204);
    let shown = world.get("/v1/policies/crm").await;
    assert_eq!((&shown.body["state"], &shown.body["etag"]), (&json!("draining"), &Value::Null));
    assert!(!shown.headers.contains_key("etag"));
    assert_eq!(world.delete("crm").await.status, 204, "it may be repeated");
    let again = world.call("PUT", "crm", &[("if-none-match", "*")], &body()).await;
    assert_eq!((again.status.as_u16(), &again.body["change"]), (201, &json!("created")));
    let book = world.policies.book();
    let life = book.get(&id("crm")).expect("authored").lifecycle();
    assert_eq!(life.active(), Some(2));
    assert_eq!(world.delete("none").await.problem(404), "policy_not_found");
}

#[tokio::test]
async fn a_change_is_made_only_to_the_edition_that_it_names() {
    let world = world().await;
    let with = async |header: (&str, &str), pace: u32| {
        world.call("PUT", "crm", &[header], &json!({"url": "https://api.test/*", "pace": pace})).await
    };
    assert_eq!(with(("if-match", "*"), 1).await.problem(412), "precondition_failed");
    let made = with(("if-none-match", "*"), 1).await;
    assert_eq!(made.status, 201);
    let refused = with(("if-none-match", "*"), 2).await;
    assert_eq!(refused.problem(412), "precondition_failed");
    assert!(refused.body["detail"].as_str().is_some_and(|detail| detail.contains(&etag(&made))));
    let first = etag(&made);
    let (one, other) = tokio::join!(with(("if-match", &first), 2), with(("if-match", &first), 3));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "one of two writers wins");
    let stale = world.call("DELETE", "crm", &[("if-match", &first)], &Value::Null).await;
    assert_eq!(stale.problem(412), "precondition_failed");
    let now = etag(&world.get("/v1/policies/crm").await);
    assert_eq!(world.call("DELETE", "crm", &[("if-match", &now)], &Value::Null).await.status, 204);
}

#[tokio::test]
async fn a_dry_run_answers_the_same_and_changes_nothing() {
    let world = world().await;
    let before = world.policies.book();
    let made = world.put("crm?dry_run=true", &body()).await;
    assert_eq!((made.status.as_u16(), &made.body["change"]), (200, &json!("created")), "{}", made.body);
    assert_eq!(made.body["dry_run"], true);
    assert!(!made.headers.contains_key("etag"));
    assert_eq!(world.policies.book(), before);
    let real = world.put("crm?dry_run=false", &body()).await;
    assert_eq!(real.body["etag"], made.body["etag"], "as it was said");
    let before = world.policies.book();
    let gone = world.call("DELETE", "crm?dry_run=true", &[], &Value::Null).await;
    assert_eq!((gone.status.as_u16(), &gone.body["change"]), (200, &json!("deleted")));
    assert_eq!(gone.body["before"], real.body["after"]);
    let bad = world.put("crm?dry_run=true", &json!({"url": "https://api.test/*", "pace": 0})).await;
    assert_eq!(bad.problem(422), "invalid_request");
    let stale = world.call("PUT", "crm?dry_run=true", &[("if-none-match", "*")], &body()).await;
    assert_eq!(stale.problem(412), "precondition_failed");
    for query in ["dry_run=maybe", "dry=true", "dry_run=true&dry_run=true"] {
        assert_eq!(world.put(&format!("crm?{query}"), &body()).await.problem(400), "invalid_parameter");
    }
    assert_eq!(world.policies.book(), before);
}

#[tokio::test]
async fn every_bad_member_is_named_by_its_pointer() {
    let world = world().await;
    let bad = json!({
        "name": "other", "url": "ftp://x/", "pace": 0, "window": {"calls": 1.5}, "labels": {"team": "x"},
        "colour": "red", "scope": "org",
    });
    let answer = world.put("crm", &bad).await;
    assert_eq!(answer.problem(422), "invalid_request");
    let errors = answer.body["errors"].as_array().expect("errors");
    let mut pointers: Vec<&str> = errors.iter().filter_map(|error| error["pointer"].as_str()).collect();
    pointers.sort_unstable();
    let expected =
        ["/colour", "/labels/team", "/name", "/pace", "/scope", "/url", "/window/calls", "/window/per_ms"];
    assert_eq!(pointers, expected, "{}", answer.body);
    let nothing = world.put("crm", &json!({"url": "https://api.test/*"})).await;
    assert_eq!(nothing.problem(422), "invalid_request");
    assert_eq!(nothing.body["errors"][0]["pointer"], "");
    for name in ["-", "..", "a%20b", &"x".repeat(65)] {
        let answer = world.put(name, &body()).await;
        assert_eq!(answer.problem(422), "invalid_request", "{name}");
        assert_eq!(answer.body["errors"][0]["pointer"], "/name");
    }
    for (kind, text, status, code) in [
        ("text/plain", "{}", 415, "unsupported_media_type"),
        ("application/json", "[]", 422, "invalid_request"),
        ("application/json", "{", 400, "invalid_json"),
        ("application/json", "", 400, "invalid_json"),
    ] {
        let request = Request::put("/v1/policies/crm").header("content-type", kind).body(Body::from(text));
        assert_eq!(world.ask(request.expect("a request")).await.problem(status), code, "{text}");
    }
    assert_eq!(world.call("PUT", "crm:pause", &[], &body()).await.problem(405), "method_not_allowed");
    assert_eq!(world.policies.book().get(&id("crm")), None);
}

#[tokio::test]
async fn what_others_own_is_refused_with_the_way_out() {
    let world = world().await;
    world.author("listed").await;
    world.deploy("made", spec("https://api.test/*", 10, &[])).await;
    let before = world.policies.book();
    for (name, way_out) in [("listed", "SIGHUP"), ("made", "the dialect test")] {
        // The owner is named whatever the request knows of its state.
        let put = world.call("PUT", name, &[("if-match", "\"x\"")], &body()).await;
        assert_eq!(put.problem(409), "policy_owned");
        assert!(put.body["detail"].as_str().is_some_and(|detail| detail.contains(way_out)), "{}", put.body);
        assert_eq!(world.delete(name).await.problem(409), "policy_owned");
    }
    assert_eq!(world.policies.book(), before);
    let (now, drain) = (world.clock.now(), crate::policy::DRAIN_WINDOW);
    world.policies.change(|book| book.remove(&id("made"), now, drain)).await.expect("deployed");
    // On record it is a whole millisecond.
    let until = Timestamp::from_millis((now + drain).ceil_millis()).to_string();
    let put = world.put("made", &body()).await;
    assert_eq!(put.problem(409), "policy_owned");
    for said in [&put.body["detail"], &put.body["errors"][0]["detail"]] {
        let said = said.as_str().expect("text");
        for part in ["the dialect test", "while it drains", &until, "queue.drain_seconds"] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert!(
            said.ends_with("take another name, make it there again, or repeat this after that time"),
            "{said}"
        );
    }
    assert_eq!(put.body["errors"][0]["pointer"], "/name");
    // Nothing waits any more, and yet.
    world.clock.advance(drain - std::time::Duration::from_millis(1));
    assert_eq!(world.put("made", &body()).await.problem(409), "policy_owned");
}

#[tokio::test]
async fn there_are_as_many_as_there_may_be_and_the_store_may_refuse() {
    let world = world().await;
    for name in ["a", "b", "c"] {
        assert_eq!(world.put(name, &body()).await.status, 201);
    }
    for query in ["d", "d?dry_run=true"] {
        let full = world.put(query, &body()).await;
        assert_eq!(full.problem(409), "policies_full");
        let detail = full.body["detail"].as_str().expect("text");
        assert!(detail.starts_with("PUT /v1/policies/{id} has 3 policies"), "{detail}");
    }
    assert_eq!(world.put("a", &json!({"url": "https://api.test/*", "slots": 1})).await.status, 200);
    world.fail_write();
    let failed = world.put("a", &body()).await;
    assert_eq!(failed.problem(503), "storage_error");
    assert_eq!(world.policies.book().of_origin(&Origin::api()).len(), 3);
}

#[tokio::test]
async fn new_names_of_the_forms_of_dialects_are_refused() {
    let world = world().await;
    let put = world.put("dialect.login", &body()).await;
    assert_eq!(put.problem(422), "invalid_request");
    assert_eq!(put.body["errors"][0]["pointer"], "/name", "{}", put.body);
    assert!(
        put.body["detail"].as_str().is_some_and(|detail| detail.contains("the dialect test")),
        "{}",
        put.body
    );
    let made = |book: &mut crate::policy::Book| {
        book.put(&Origin::api(), &id("dialect.old"), spec("https://api.test/*", 10, &[])).map(drop)
    };
    world.policies.change(made).await.expect("free");
    assert_eq!(world.put("dialect.old", &body()).await.status, 200, "what is there can be changed");
    assert_eq!(world.delete("dialect.old").await.status, 204);
}

#[tokio::test]
async fn a_policy_that_is_made_again_while_it_drains_shows_the_pause_that_it_keeps() {
    let world = world().await;
    let made = world.put("crm", &body()).await;
    assert_eq!(made.body["hold"], Value::Null, "{}", made.body);
    let pause = crate::policy::Pause { reason: "rebuilt".to_owned(), since: world.clock.now(), until: None };
    world.policies.change(|book| book.pause(&id("crm"), pause.clone())).await.expect("known");
    assert_eq!(world.delete("crm").await.status, 204);
    let again = world.put("crm", &body()).await;
    assert_eq!(
        (again.status.as_u16(), &again.body["hold"]["reason"]),
        (201, &json!("rebuilt")),
        "{}",
        again.body
    );
    assert_eq!(world.get("/v1/policies/crm").await.body["hold"], again.body["hold"]);
}
