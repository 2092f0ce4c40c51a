//! Calls to the router, answer by answer.

use axum::body::Body;
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::manage::mediarithmics::{Mediarithmics, MediarithmicsOptions, router};
use crate::manage::{Parts, testing};
use crate::policy::Policies;
use crate::policy::testing::Fault;

pub(super) const ALL: &str = "/v1/plugins/17/versions/1502/throttlings";

pub(super) type World = testing::World<Mediarithmics>;

impl World {
    pub(super) async fn new() -> Self {
        Self::with(MediarithmicsOptions::default()).await
    }

    async fn with(options: MediarithmicsOptions) -> Self {
        let start = Timestamp::from_millis(1_679_482_096_000);
        let routes = |policies, clock, random| router(&options, Parts { policies, clock, random });
        Self::over(start, None, routes).await
    }

    async fn send(&self, request: Request<Body>) -> (u16, HeaderMap, Value) {
        let (status, headers, body) = self.exchange(request).await;
        (status.as_u16(), headers, serde_json::from_str(&body).unwrap_or_default())
    }

    pub(super) async fn raw(&self, method: Method, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(body.into()).expect("a request");
        let (status, _, body) = self.send(request).await;
        (status, body)
    }

    pub(super) async fn ask(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, path, body).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, &Value::Null).await
    }

    /// Creates a throttling of version 1502; returns its id.
    pub(super) async fn created(&self, more: &Value) -> String {
        let (status, answer) = self.ask(Method::POST, ALL, &body(more)).await;
        assert_eq!(status, 201, "{answer}");
        answer["data"]["id"].as_str().expect("an id").to_owned()
    }
}

/// A sound body, with other members over it; `null` takes one away.
pub(super) fn body(more: &Value) -> Value {
    let mut body = json!({
        "scope": "GLOBAL", "plugin_version_id": "1502", "plugin_endpoint": "/v1/user_segment_update",
        "max_qps": 0.5,
    });
    for (name, value) in more.as_object().expect("an object") {
        body[name.as_str()] = value.clone();
    }
    body
}

#[track_caller]
fn assert_failure((status, answer): &(u16, Value), expected: u16, code: &str) -> String {
    assert_eq!(
        (*status, &answer["status"], &answer["error_code"]),
        (expected, &json!("error"), &json!(code)),
        "{answer}"
    );
    let id = answer["error_id"].as_str().unwrap_or_default();
    assert!(uuid::Uuid::try_parse(id).is_ok(), "{answer}");
    assert_eq!(answer.as_object().map(|members| members.len()), Some(4), "{answer}");
    answer["error"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn the_five_routes() {
    let world = World::new().await;
    let nothing =
        json!({"status": "ok", "count": 0, "total": 0, "first_result": 0, "max_results": 50, "data": []});
    assert_eq!(world.get(ALL).await, (200, nothing));
    let sent = json!({
        "scope": "DATAMART", "plugin_version_id": "1502", "throttling_key": "1509", "max_concurrency": 3,
        "max_qps": 0.5, "plugin_endpoint": "/v1/user_segment_update", "timeout_ms": 400,
    });
    let mut shown = sent.clone();
    shown["id"] = json!("1001");
    let wrapped = json!({"status": "ok", "data": shown});
    assert_eq!(world.ask(Method::POST, ALL, &sent).await, (201, wrapped.clone()));
    let one = format!("{ALL}/1001");
    assert_eq!(world.get(&one).await, (200, wrapped));

    // The body of a replacement has no plugin_version_id and replaces everything.
    let sent =
        json!({"scope": "ORGANISATION", "throttling_key": "1234", "plugin_endpoint": "/v1/x", "max_qps": 2});
    let shown = json!({
        "id": "1001", "plugin_version_id": "1502", "scope": "ORGANISATION", "throttling_key": "1234",
        "plugin_endpoint": "/v1/x", "max_qps": 2, "max_concurrency": null, "timeout_ms": null,
    });
    let wrapped = json!({"status": "ok", "data": shown});
    assert_eq!(world.ask(Method::PUT, &one, &sent).await, (200, wrapped.clone()));
    assert_eq!(world.get(&one).await, (200, wrapped));
    let listed = json!({"status": "ok", "count": 1, "total": 1, "first_result": 0, "max_results": 50, "data": [shown]});
    assert_eq!(world.get(ALL).await, (200, listed));

    assert_eq!(world.ask(Method::DELETE, &one, &Value::Null).await, (200, json!({"status": "ok"})));
    for method in [Method::GET, Method::DELETE] {
        assert_failure(&world.ask(method, &one, &Value::Null).await, 404, "RESOURCE_NOT_FOUND");
    }
    assert_failure(&world.ask(Method::PUT, &one, &sent).await, 404, "RESOURCE_NOT_FOUND");
    assert_eq!(world.created(&json!({})).await, "1002", "an id is never given twice");
}

#[tokio::test]
async fn a_body_is_told_all_its_faults() {
    let world = World::new().await;
    for (more, fault) in [
        (json!({"scope": null}), "scope is required"),
        (json!({"scope": 3}), "scope must be text"),
        (json!({"scope": "global"}), "scope must be one of GLOBAL, CONTAINER, ORGANISATION and DATAMART"),
        (json!({"plugin_version_id": null}), "plugin_version_id is required"),
        (json!({"plugin_version_id": 1502}), "plugin_version_id must be text"),
        (json!({"plugin_version_id": "1503"}), "plugin_version_id must be the version of the path, \"1502\""),
        (json!({"plugin_endpoint": null}), "plugin_endpoint is required"),
        (json!({"plugin_endpoint": ["/v1"]}), "plugin_endpoint must be text"),
        (json!({"plugin_endpoint": "v1/x"}), "plugin_endpoint must start with /"),
        (json!({"plugin_endpoint": ""}), "plugin_endpoint must start with /"),
        (json!({"plugin_endpoint": "/v1/*"}), "plugin_endpoint is compared as a whole"),
        (json!({"plugin_endpoint": "/v1/{x}"}), "plugin_endpoint is compared as a whole"),
        (json!({"plugin_endpoint": "/v1/%7B%7D"}), "plugin_endpoint is compared as a whole"),
        (json!({"plugin_endpoint": "/v1?x"}), "plugin_endpoint must be a path without query"),
        (json!({"plugin_endpoint": "/v1#x"}), "plugin_endpoint must be a path without query"),
        (json!({"plugin_endpoint": "/v1\u{0}x"}), "plugin_endpoint must be the path of a url"),
        (json!({"plugin_endpoint": "/v1 x"}), "plugin_endpoint must be the path of a url"),
        (json!({"plugin_endpoint": "//other.org/x"}), "plugin_endpoint must be the path of a url"),
        (
            json!({"plugin_endpoint": format!("/{}", "x".repeat(3000))}),
            "plugin_endpoint must be the path of a url",
        ),
        (
            json!({"max_qps": 0}),
            "max_qps is out of range: a pace lies between one per day (0.0000116) and 1000000",
        ),
        (json!({"max_qps": -0.5}), "max_qps is out of range"),
        (json!({"max_qps": 0.000_01}), "max_qps is out of range"),
        (json!({"max_qps": 1e9}), "max_qps is out of range"),
        (json!({"max_qps": "0.5"}), "max_qps must be a number"),
        (json!({"max_concurrency": 0}), "max_concurrency must be a whole number from 1 to 65536"),
        (json!({"max_concurrency": 1.5}), "max_concurrency must be a whole number"),
        (json!({"max_concurrency": "3"}), "max_concurrency must be a whole number"),
        (json!({"max_concurrency": 65_537}), "max_concurrency must be a whole number"),
        (json!({"timeout_ms": 0}), "timeout_ms must be a whole number from 1 to 600000"),
        (json!({"timeout_ms": -1}), "timeout_ms must be a whole number"),
        (json!({"timeout_ms": 600_001}), "timeout_ms must be a whole number"),
        (json!({"max_qps": null}), "at least one of max_qps, max_concurrency and timeout_ms is required"),
        (
            json!({"max_qps": null, "timeout_qps": 100}),
            "at least one of max_qps, max_concurrency and timeout_ms",
        ),
        (
            json!({"scope": "DATAMART"}),
            "throttling_key is required for scope DATAMART: the id of the datamart",
        ),
        (
            json!({"scope": "ORGANISATION", "throttling_key": null}),
            "throttling_key is required for scope ORGANISATION",
        ),
        (json!({"scope": "DATAMART", "throttling_key": 1509}), "throttling_key must be text"),
        (json!({"scope": "DATAMART", "throttling_key": ""}), "throttling_key must be 1 to 256 bytes"),
        (json!({"scope": "DATAMART", "throttling_key": "a\u{7}"}), "throttling_key must be 1 to 256 bytes"),
        (
            json!({"scope": "DATAMART", "throttling_key": "x".repeat(257)}),
            "throttling_key must be 1 to 256 bytes",
        ),
    ] {
        let told = assert_failure(&world.ask(Method::POST, ALL, &body(&more)).await, 400, "INVALID_REQUEST");
        assert!(told.starts_with(fault) && !told.contains("; "), "{more}: {told}");
    }
    let many = json!({"scope": "X", "plugin_version_id": 1, "plugin_endpoint": "x", "max_qps": 0, "timeout_ms": "1"});
    let told = assert_failure(&world.ask(Method::POST, ALL, &many).await, 400, "INVALID_REQUEST");
    assert_eq!(told.split("; ").count(), 5, "{told}");
    assert_eq!(world.get(ALL).await.1["total"], json!(0), "nothing is stored");
}

#[tokio::test]
async fn bodies_that_are_none_change_nothing() {
    let world = World::new().await;
    let id = world.created(&json!({})).await;
    let one = format!("{ALL}/{id}");
    let before = world.get(&one).await;
    let deep = "[".repeat(50_000);
    for raw in ["", "{", "null", "[]", "\"x\"", "1", "{\"scope\":\"GLOBAL\"} x", "\u{feff}{}", deep.as_str()]
    {
        for (method, path) in [(Method::POST, ALL), (Method::PUT, one.as_str())] {
            let answer = world.raw(method, path, raw.to_owned()).await;
            assert!(assert_failure(&answer, 400, "INVALID_REQUEST").starts_with("the body "), "{answer:?}");
        }
    }
    for (method, path) in [(Method::POST, ALL), (Method::PUT, one.as_str())] {
        let large = body(&json!({"description": "x".repeat(64 * 1024)})).to_string();
        assert_failure(&world.raw(method, path, large).await, 413, "PAYLOAD_TOO_LARGE");
    }
    assert_eq!(world.get(&one).await, before);
    assert_eq!(world.get(ALL).await.1["total"], json!(1));
}

#[tokio::test]
async fn unknown_members_and_keys_without_a_scope_are_let_go() {
    let world = World::new().await;
    for scope in ["GLOBAL", "CONTAINER"] {
        let sent = body(
            &json!({"scope": scope, "throttling_key": "7", "name": "n", "id": "5", "plugin_version": {}}),
        );
        let (status, answer) = world.ask(Method::POST, ALL, &sent).await;
        assert_eq!((status, &answer["data"]["throttling_key"]), (201, &Value::Null), "{answer}");
        assert!(answer["data"].get("name").is_none() && answer["data"]["id"] != json!("5"), "{answer}");
    }
}

#[tokio::test]
async fn the_same_scope_key_and_endpoint_stand_once() {
    let world = World::new().await;
    let first = world.created(&json!({"scope": "DATAMART", "throttling_key": "1"})).await;
    let other = world.created(&json!({"scope": "DATAMART", "throttling_key": "2"})).await;
    for more in [
        json!({"scope": "DATAMART", "throttling_key": "1", "max_qps": 9}),
        json!({"scope": "DATAMART", "throttling_key": "1", "plugin_endpoint": "/v1/./user_segment_update"}),
        json!({"scope": "DATAMART", "throttling_key": "1", "plugin_endpoint": "/v1/user_segment%5Fupdate"}),
    ] {
        let answer = world.ask(Method::POST, ALL, &body(&more)).await;
        let told = assert_failure(&answer, 409, "DUPLICATE_THROTTLING");
        assert!(told.starts_with(&format!("throttling {first} ")), "{told}");
    }
    let taken = body(&json!({"scope": "DATAMART", "throttling_key": "1"}));
    assert_failure(
        &world.ask(Method::PUT, &format!("{ALL}/{other}"), &taken).await,
        409,
        "DUPLICATE_THROTTLING",
    );
    let (status, answer) = world.ask(Method::PUT, &format!("{ALL}/{first}"), &taken).await;
    assert_eq!(status, 200, "its own place is free: {answer}");
    for more in [
        json!({"scope": "ORGANISATION", "throttling_key": "1"}),
        json!({"scope": "DATAMART", "throttling_key": "1", "plugin_endpoint": "/v1/other"}),
        json!({"scope": "GLOBAL"}),
        json!({"scope": "CONTAINER"}),
    ] {
        world.created(&more).await;
    }
    let attempts = (0..8).map(|_| {
        let sent = body(&json!({"plugin_endpoint": "/v1/raced"}));
        let world = &world;
        async move { world.ask(Method::POST, ALL, &sent).await.0 }
    });
    let mut answers = futures_util::future::join_all(attempts).await;
    answers.sort_unstable();
    assert_eq!(answers, [201, 409, 409, 409, 409, 409, 409, 409], "of two writers at once");
}

#[tokio::test]
async fn a_throttling_is_found_under_its_plugin_and_version_alone() {
    let world = World::new().await;
    let id = world.created(&json!({})).await;
    for path in [
        format!("/v1/plugins/18/versions/1502/throttlings/{id}"),
        format!("/v1/plugins/17/versions/1503/throttlings/{id}"),
        format!("{ALL}/0{id}"),
        format!("{ALL}/x"),
        format!("{ALL}/%00"),
        format!("{ALL}/%FF"),
        "/v1/plugins/%FF/versions/1502/throttlings/1001".to_owned(),
        "/v1/plugins/%07/versions/1502/throttlings/1001".to_owned(),
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = world.ask(method, &path, &body(&json!({}))).await;
            assert_failure(&answer, 404, "RESOURCE_NOT_FOUND");
        }
    }
    for path in ["/v1/plugins/%07/versions/1502/throttlings", "/v1/plugins/17/versions/%0A/throttlings"] {
        assert_failure(&world.get(path).await, 404, "RESOURCE_NOT_FOUND");
        assert_failure(&world.ask(Method::POST, path, &body(&json!({}))).await, 404, "RESOURCE_NOT_FOUND");
    }
    assert_eq!(world.get("/v1/plugins/18/versions/1502/throttlings").await.1["total"], json!(0));
    let sent = body(&json!({"plugin_version_id": "1503"}));
    let (status, answer) = world.ask(Method::POST, "/v1/plugins/17/versions/1503/throttlings", &sent).await;
    assert_eq!((status, &answer["data"]["id"]), (201, &json!("1002")), "another version may say the same");
    assert_eq!(world.get(ALL).await.1["count"], json!(1));
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let world = World::new().await;
    for n in 0..55 {
        world.created(&json!({"plugin_endpoint": format!("/v1/{n}")})).await;
    }
    let page = async |query: &str| {
        let (status, answer) = world.get(&format!("{ALL}{query}")).await;
        assert_eq!((status, &answer["total"]), (200, &json!(55)), "{answer}");
        let ids = answer["data"].as_array().expect("a list").iter().map(|one| one["id"].clone());
        let ids: Vec<Value> = ids.collect();
        assert_eq!(answer["count"], json!(ids.len()));
        (answer["first_result"].clone(), answer["max_results"].clone(), ids.len(), ids.first().cloned())
    };
    assert_eq!(page("").await, (json!(0), json!(50), 50, Some(json!("1001"))));
    assert_eq!(page("?first_result=50").await, (json!(50), json!(50), 5, Some(json!("1051"))));
    assert_eq!(page("?first_result=3&max_results=2&x=y").await, (json!(3), json!(2), 2, Some(json!("1004"))));
    assert_eq!(page("?first_result=55&max_results=1000").await, (json!(55), json!(1000), 0, None));
    for query in [
        "max_results=0",
        "max_results=1001",
        "max_results=-1",
        "max_results=+5",
        "max_results=ten",
        "max_results=",
        "max_results",
        "first_result=-1",
        "first_result=1.5",
        "first_result=",
        "first_result=4294967296",
        "first_result=1&first_result=x",
    ] {
        let answer = world.get(&format!("{ALL}?{query}")).await;
        let told = assert_failure(&answer, 400, "INVALID_REQUEST");
        assert!(told.contains("must be a whole number from "), "{query}: {told}");
    }
}

#[tokio::test]
async fn other_verbs_are_told_which_there_are() {
    let world = World::new().await;
    for (path, allowed, refused) in [
        (ALL.to_owned(), "GET, POST", [Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD]),
        (
            format!("{ALL}/1001"),
            "GET, PUT, DELETE",
            [Method::POST, Method::PATCH, Method::OPTIONS, Method::HEAD],
        ),
    ] {
        for method in refused {
            let request =
                Request::builder().method(&method).uri(&path).body(Body::empty()).expect("a request");
            let (status, headers, answer) = world.send(request).await;
            assert_eq!(
                headers.get("allow").and_then(|allow| allow.to_str().ok()),
                Some(allowed),
                "{method} {path}"
            );
            if method == Method::HEAD {
                assert_eq!(status, 405);
            } else {
                assert_failure(&(status, answer), 405, "METHOD_NOT_ALLOWED");
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_asked_for_only_when_headers_are_required() {
    let open = World::new().await;
    assert_eq!(open.get(ALL).await.0, 200);
    let world = World::with(MediarithmicsOptions { require_headers: true, ..Default::default() }).await;
    for (method, path) in [
        (Method::GET, ALL.to_owned()),
        (Method::POST, ALL.to_owned()),
        (Method::GET, format!("{ALL}/1001")),
        (Method::PUT, format!("{ALL}/1001")),
        (Method::DELETE, format!("{ALL}/1001")),
    ] {
        let answer = world.ask(method, &path, &body(&json!({}))).await;
        assert_failure(&answer, 401, "UNAUTHORIZED");
    }
    for (token, expected) in [("api:1509:k3y", 200), ("Bearer k3y", 401), ("", 401)] {
        let request = Request::builder().uri(ALL).header("authorization", token);
        let (status, headers, _) = world.send(request.body(Body::empty()).expect("a request")).await;
        assert_eq!(status, expected, "{token}");
        assert_eq!(
            headers.get("content-type").map(|kind| kind.as_bytes()),
            Some(&b"application/json;charset=UTF-8"[..])
        );
    }
}

#[tokio::test]
async fn a_store_that_refuses_changes_nothing() {
    let world = World::new().await;
    let id = world.created(&json!({})).await;
    let one = format!("{ALL}/{id}");
    let before = world.get(ALL).await;
    for (method, path) in [(Method::POST, ALL), (Method::PUT, one.as_str()), (Method::DELETE, one.as_str())] {
        world.documents.fail([Fault::Refuse]);
        let answer = world.ask(method, path, &body(&json!({"plugin_endpoint": "/v1/other"}))).await;
        assert_failure(&answer, 500, "INTERNAL_ERROR");
        assert_eq!(world.get(ALL).await, before);
    }
    assert_eq!(world.created(&json!({"plugin_endpoint": "/v1/other"})).await, "1002");
    let again = Policies::open(world.documents.clone(), world.clock.clone()).await.expect("readable");
    assert_eq!(again.book(), world.policies.book(), "after a restart too");
}
