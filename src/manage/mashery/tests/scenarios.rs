//! The API as its clients meet it: each route with what it takes, refuses and answers.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};

use crate::clock::{Clock, Timestamp};
use crate::manage::call::BODY_BYTES_MAX;
use crate::manage::mashery::{MasheryApi, MasheryOptions, objects, router, wire};
use crate::manage::testing;
use crate::policy::Policies;
use crate::policy::testing::Fault;

pub(super) type World = testing::World<MasheryApi>;

impl World {
    pub(super) async fn new() -> Self {
        Self::with(MasheryOptions::default()).await
    }

    pub(super) async fn with(options: MasheryOptions) -> Self {
        // 2026-07-30T12:00:00Z
        let start = Timestamp::from_millis(1_785_412_800_000);
        let routes = |policies, clock, random| router(MasheryApi::new(policies, options, clock, random));
        Self::over(start, None, routes).await
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, HeaderMap, String) {
        let request = Request::builder().method(method).uri(format!("/v3/rest{path}"));
        let request = request.header("content-type", "application/json");
        self.exchange(request.body(body.into()).expect("valid")).await
    }

    pub(super) async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, headers, text) = self.send(method, path, body).await;
        if !text.is_empty() && method != "HEAD" {
            assert_eq!(headers["content-type"], "application/json;charset=utf-8", "{method} {path}");
        }
        (status.as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, &Value::Null).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// Creates an object and returns its id.
    pub(super) async fn create(&self, path: &str, body: &Value) -> String {
        let (status, answer) = self.ask("POST", path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer["id"].as_str().expect("an id").to_owned()
    }

    pub(super) async fn put(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.ask("PUT", path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// The properties for which a request is refused.
    pub(super) async fn refused(&self, method: &str, path: &str, body: &Value) -> Vec<String> {
        let (status, answer) = self.ask(method, path, body).await;
        assert_eq!(status, 400, "{method} {path}: {answer}");
        let errors = answer["errors"].as_array().unwrap_or_else(|| panic!("no property errors: {answer}"));
        assert!(errors.iter().all(|error| error["message"].as_str().is_some_and(|text| text.len() > 5)));
        errors.iter().map(|error| error["property"].as_str().expect("a property").to_owned()).collect()
    }

    /// The status and message of a request that is refused as a whole.
    async fn turned_away(&self, method: &str, path: &str, body: impl Into<Body>) -> (u16, String) {
        let (status, _, text) = self.send(method, path, body).await;
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(answer["errorCode"], status.as_u16(), "{method} {path}");
        (status.as_u16(), answer["errorMessage"].as_str().expect("a message").to_owned())
    }
}

pub(super) fn endpoint(name: &str, alias: &str) -> Value {
    json!({"name": name, "requestPathAlias": alias, "publicDomains": [{"address": "api.example.com"}]})
}

#[tokio::test]
async fn an_object_is_created_read_changed_and_deleted() {
    let world = World::new().await;
    let body =
        json!({"name": "Weather", "rateLimitCeiling": 1000, "description": "d", "cache": {"cacheTtl": 1}});
    let (status, created) = world.ask("POST", "/services", &body).await;
    assert_eq!(status, 200);
    let id = created["id"].as_str().expect("an id");
    assert_eq!(
        created,
        json!({
            "id": id, "created": "2026-07-30T12:00:00Z", "updated": "2026-07-30T12:00:00Z", "name": "Weather",
            "qpsLimitOverall": null, "rateLimitCeiling": 1000, "rateLimitPeriod": "day", "qpsLimitCeiling": null,
            "rateLimitOverrideAllowed": false, "qpsLimitOverrideAllowed": false, "description": "d",
            "cache": {"cacheTtl": 1}
        })
    );
    let path = format!("/services/{id}");
    assert_eq!(world.get(&path).await, created);
    world.clock.advance(Duration::from_secs(61));
    let changed = world.put(&path, &json!({"rateLimitPeriod": "hour", "description": null, "id": "x"})).await;
    let mut expected = created.clone();
    expected["rateLimitPeriod"] = json!("hour");
    expected["updated"] = json!("2026-07-30T12:01:01Z");
    expected.as_object_mut().expect("an object").remove("description");
    assert_eq!(changed, expected, "what was not given stays");
    assert_eq!(world.get(&path).await, expected);
    assert_eq!(world.put(&path, &json!({"rateLimitCeiling": null})).await["rateLimitCeiling"], Value::Null);
    let (status, _, text) = world.send("DELETE", &path, "").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, ""));
    for method in ["GET", "PUT", "DELETE"] {
        let (status, message) = world.turned_away(method, &path, "{}").await;
        assert_eq!((status, message.as_str()), (404, "Resource not found"), "{method}");
    }
}

#[tokio::test]
async fn objects_are_found_below_their_own_parents_only() {
    let world = World::new().await;
    let one = world.create("/services", &json!({"name": "one"})).await;
    let two = world.create("/services", &json!({"name": "two"})).await;
    let of_one = world.create(&format!("/services/{one}/endpoints"), &endpoint("a", "/a")).await;
    let of_two = world.create(&format!("/services/{two}/endpoints"), &endpoint("b", "/b")).await;
    let methods = format!("/services/{one}/endpoints/{of_one}/methods");
    let method = world.create(&methods, &json!({"name": "get"})).await;
    let found =
        |list: Value| list.as_array().expect("a list").iter().map(|o| o["id"].clone()).collect::<Vec<_>>();
    assert_eq!(found(world.get("/services").await), [json!(one), json!(two)]);
    assert_eq!(found(world.get(&format!("/services/{one}/endpoints")).await), [json!(of_one)]);
    assert_eq!(found(world.get(&methods).await), [json!(method)]);
    world.get(&format!("{methods}/{method}")).await;
    let strangers = [
        format!("/services/{two}/endpoints/{of_one}"),
        format!("/services/{one}/endpoints/{of_two}"),
        format!("/services/{two}/endpoints/{of_one}/methods"),
        format!("/services/{two}/endpoints/{of_one}/methods/{method}"),
        format!("/services/{one}/endpoints/{one}"),
        format!("/services/{method}"),
        format!("/packageKeys/{one}"),
        "/services/nobody/endpoints".to_owned(),
        "/services/%FF".to_owned(),
        "/services/%00".to_owned(),
        "/nothing".to_owned(),
        "/services/".to_owned(),
    ];
    for path in &strangers {
        assert_eq!(world.turned_away("GET", path, "").await.0, 404, "{path}");
    }
    for path in [&strangers[2], "/services/nobody/endpoints"] {
        // The path is looked at before the body.
        assert_eq!(world.turned_away("POST", path, "nonsense").await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn what_a_request_may_not_be_is_told_in_the_shape_of_the_api() {
    let world = World::new().await;
    let service = world.create("/services", &json!({"name": "s"})).await;
    let path = format!("/services/{service}");
    for body in ["", "nonsense", "[]", "null", "\"x\"", "{\"name\":"] {
        for (method, path) in [("POST", "/services"), ("PUT", path.as_str()), ("POST", "/packageKeys")] {
            assert_eq!(world.turned_away(method, path, body).await.0, 400, "{method} {path} {body}");
        }
    }
    let filled = |bytes: usize| {
        let frame = r#"{"name":"s","extra":""}"#.len();
        format!(r#"{{"name":"s","extra":"{}"}}"#, "x".repeat(bytes - frame))
    };
    assert_eq!(world.turned_away("POST", "/services", filled(BODY_BYTES_MAX + 1)).await.0, 413);
    assert_eq!(world.send("POST", "/services", filled(BODY_BYTES_MAX)).await.0, StatusCode::OK);
    for (method, path) in
        [("PUT", "/services"), ("DELETE", "/packageKeys"), ("POST", &*path), ("PATCH", &path)]
    {
        let (status, headers, _) = world.send(method, path, "{}").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(headers.contains_key("allow"), "{method} {path}");
        assert_eq!(world.turned_away(method, path, "{}").await.0, 405);
    }
    assert_eq!(world.refused("POST", "/services", &json!({"name": "a\u{1}"})).await, ["name"]);
    assert_eq!(
        world.refused("PUT", &path, &json!({"name": null, "qpsLimitOverall": 1.5})).await,
        ["qpsLimitOverall"]
    );
    assert_eq!(world.refused("PUT", &path, &json!({"name": null})).await, ["name"]);
    assert_eq!(
        world.refused("POST", "/services", &json!({"name": "s", "endpoints": [{}]})).await,
        ["endpoints.name", "endpoints.requestPathAlias", "endpoints.publicDomains"]
    );
    assert_eq!(world.get(&path).await["name"], "s", "nothing of a refused request is kept");
}

#[tokio::test]
async fn names_that_must_be_unique_are() {
    let world = World::new().await;
    let service = world.create("/services", &json!({"name": "s"})).await;
    let other = world.create("/services", &json!({"name": "s"})).await;
    let path = format!("/services/{service}/endpoints");
    let of_other = format!("/services/{other}/endpoints");
    let mut body = endpoint("e", "/v1");
    body["supportedHttpMethods"] = json!(["get", "post"]);
    let first = world.create(&path, &body).await;
    assert_eq!(world.refused("POST", &of_other, &endpoint("f", "/v1")).await, ["requestPathAlias"]);
    body["supportedHttpMethods"] = json!(["PUT"]);
    body["publicDomains"] = json!([{"address": "API.example.com:443"}, {"address": "other.example.com"}]);
    let second = world.create(&of_other, &body).await;
    let second = format!("{of_other}/{second}");
    let more = json!({"supportedHttpMethods": ["put", "post"]});
    assert_eq!(world.refused("PUT", &second, &more).await, ["requestPathAlias"]);
    world.put(&second, &json!({"requestPathAlias": "/v1/", "supportedHttpMethods": []})).await;

    let methods = format!("{path}/{first}/methods");
    let get = world.create(&methods, &json!({"name": "get"})).await;
    let put = world.create(&methods, &json!({"name": "put"})).await;
    assert_eq!(world.refused("POST", &methods, &json!({"name": "get"})).await, ["name"]);
    assert_eq!(world.refused("PUT", &format!("{methods}/{put}"), &json!({"name": "get"})).await, ["name"]);
    world.put(&format!("{methods}/{get}"), &json!({"name": "get"})).await;
    world.create(&format!("{second}/methods"), &json!({"name": "get"})).await;

    world.create("/packageKeys", &json!({"apikey": "k", "service": {"id": service}})).await;
    let again = json!({"apikey": "k", "service": {"id": other}});
    assert_eq!(world.refused("POST", "/packageKeys", &again).await, ["apikey"]);
}

#[tokio::test]
async fn a_key_shows_the_limits_active_and_stays_with_its_service() {
    let world = World::new().await;
    let body =
        json!({"name": "s", "rateLimitCeiling": 1000, "rateLimitPeriod": "hour", "qpsLimitCeiling": 5});
    let service = world.create("/services", &body).await;
    let other = world.create("/services", &json!({"name": "other"})).await;
    assert_eq!(world.refused("POST", "/packageKeys", &json!({"apikey": "k"})).await, ["service"]);
    let nowhere = json!({"apikey": "k", "service": {"id": "nobody"}});
    assert_eq!(world.refused("POST", "/packageKeys", &nowhere).await, ["service"]);
    let body = json!({
        "apikey": "k1", "secret": "s3cret", "service": {"id": service}, "rateLimitCeiling": 7, "expires": "never",
        "limits": [{"period": "day", "source": "me", "ceiling": 1}]
    });
    let (status, key) = world.ask("POST", "/packageKeys", &body).await;
    assert_eq!(status, 200, "{key}");
    assert_eq!(
        (&key["secret"], &key["status"], &key["expires"]),
        (&json!("s3cret"), &json!("active"), &json!("never"))
    );
    assert_eq!(key["service"], json!({"id": service, "name": "s"}));
    let limits = |rate: Value| {
        let qps = json!({"period": "second", "source": "service", "ceiling": 5});
        Value::from_iter([rate, qps].into_iter().filter(|row| !row.is_null()))
    };
    let of = |source: &str, ceiling: u32| json!({"period": "hour", "source": source, "ceiling": ceiling});
    assert_eq!(key["limits"], limits(of("service", 1000)), "stored, but the service does not allow it");
    let path = format!("/packageKeys/{}", key["id"].as_str().expect("an id"));
    world.put(&format!("/services/{service}"), &json!({"rateLimitOverrideAllowed": true})).await;
    assert_eq!(world.get(&path).await["limits"], limits(of("key", 7)));
    let exempt = world.put(&path, &json!({"rateLimitExempt": true, "rateLimitCeiling": 0})).await;
    assert_eq!(exempt["limits"], limits(Value::Null));
    assert_eq!(world.refused("PUT", &path, &json!({"rateLimitExempt": false})).await, ["rateLimitCeiling"]);
    let inherits = world.put(&path, &json!({"rateLimitExempt": false, "rateLimitCeiling": null})).await;
    assert_eq!(inherits["limits"], limits(of("service", 1000)));

    assert_eq!(world.refused("PUT", &path, &json!({"service": {"id": other}})).await, ["service"]);
    let whole = world.get(&path).await;
    assert_eq!(world.put(&path, &whole).await, whole, "what was read can be sent again");
    assert_eq!(world.put(&path, &json!({"apikey": "k2"})).await["apikey"], "k1", "set once");

    let made = world.create("/packageKeys", &json!({"service": {"id": other}, "status": "waiting"})).await;
    let made = world.get(&format!("/packageKeys/{made}")).await;
    assert_eq!((made["apikey"].as_str().map(str::len), &made["secret"]), (Some(24), &Value::Null));
    assert_eq!(made["limits"], json!([]));
}

#[tokio::test]
async fn a_service_goes_with_its_endpoints_but_not_with_its_keys() {
    let world = World::new().await;
    let service = world.create("/services", &json!({"name": "s"})).await;
    let path = format!("/services/{service}");
    let endpoint = world.create(&format!("{path}/endpoints"), &endpoint("e", "/v1")).await;
    let method = world.create(&format!("{path}/endpoints/{endpoint}/methods"), &json!({"name": "m"})).await;
    let key = world.create("/packageKeys", &json!({"service": {"id": service}})).await;
    assert_eq!(world.policies.runtime().policies().count(), 4);
    let (status, message) = world.turned_away("DELETE", &path, "").await;
    assert_eq!(status, 409);
    assert!(message.contains("1 package keys"), "{message}");
    world.get(&format!("{path}/endpoints/{endpoint}/methods/{method}")).await;
    assert_eq!(world.ask("DELETE", &format!("/packageKeys/{key}"), &Value::Null).await, (200, json!("")));
    assert_eq!(world.ask("DELETE", &path, &Value::Null).await, (200, json!("")));
    assert_eq!((world.get("/services").await, world.get("/packageKeys").await), (json!([]), json!([])));
    let book = world.policies.book();
    let origin = objects::origin();
    for kind in wire::Kind::ALL {
        assert_eq!(book.elements(&origin, kind.stored_as()).len(), 0, "{kind:?}");
    }
    assert_eq!(book.of_origin(&origin).len(), 0, "what ruled drains");
}

#[tokio::test]
async fn lists_keep_to_the_conventions() {
    let world = World::new().await;
    for number in 0..120 {
        world.create("/services", &json!({"name": format!("s{number:03}")})).await;
    }
    let (status, headers, text) = world.send("GET", "/services", "").await;
    let list: Vec<Value> = serde_json::from_str(&text).expect("a bare array");
    assert_eq!(
        (status, list.len(), &headers["x-total-count"]),
        (StatusCode::OK, 100, &"120".parse().expect("text"))
    );
    let (status, headers, text) = world.send("HEAD", "/services?filter=name:s01", "").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, ""));
    assert_eq!(headers["x-total-count"], "10");
    let page = world.get("/services?fields=name&sort=name:desc&limit=2&offset=1").await;
    assert_eq!(page, json!([{"name": "s118"}, {"name": "s117"}]));
    for bad in
        ["limit=x", "limit=-1", "offset=-1", "sort=nothing", "filter=name", "filter=nothing:x", "fields=,"]
    {
        assert_eq!(world.turned_away("GET", &format!("/services?{bad}"), "").await.0, 400, "{bad}");
    }
    assert_eq!(
        world.get("/services?limit=9999").await.as_array().map(Vec::len),
        Some(120),
        "at most so many"
    );
    let (status, answer) = world.ask("POST", "/services?fields=name", &json!({"name": "x"})).await;
    assert_eq!((status, answer), (200, json!({"name": "x"})));
}

#[tokio::test]
async fn a_token_is_asked_for_when_it_is_to_be() {
    let world = World::with(MasheryOptions { require_headers: true, ..MasheryOptions::default() }).await;
    let (status, headers, text) = world.send("GET", "/services", "").await;
    assert_eq!((status, text.as_str()), (StatusCode::FORBIDDEN, "<h1>Not Authorized</h1>"));
    assert_eq!(headers["x-mashery-error-code"], "ERR_403_NOT_AUTHORIZED");
    let request = Request::builder().uri("/v3/rest/services").header("authorization", "Bearer x");
    let (status, ..) = world.exchange(request.body(Body::empty()).expect("valid")).await;
    assert_eq!(status, StatusCode::OK);
    let refused = world.give_token(None).await;
    assert_eq!((refused.0, refused.1.as_str()), (StatusCode::FORBIDDEN, "<h1>Not Authorized</h1>"));
    assert_eq!(world.give_token(Some("Basic azE6c2VjcmV0")).await.0, StatusCode::OK);
}

impl World {
    async fn give_token(&self, credentials: Option<&str>) -> (StatusCode, String) {
        let request = Request::builder().method("POST").uri("/v3/token");
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request =
            credentials.into_iter().fold(request, |request, given| request.header("authorization", given));
        let form = "grant_type=password&username=u&password=p&scope=area%201";
        let (status, _, text) = self.exchange(request.body(Body::from(form)).expect("valid")).await;
        (status, text)
    }
}

#[tokio::test]
async fn any_credentials_get_a_token() {
    let world = World::new().await;
    let (status, text) = world.give_token(Some("Basic azE6c2VjcmV0")).await;
    let given: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        [&given["token_type"], &given["mapi"], &given["expires_in"], &given["scope"]],
        [&json!("bearer"), &json!("k1"), &json!(3600), &json!("area 1")]
    );
    let other: Value = serde_json::from_str(&world.give_token(None).await.1).expect("JSON");
    for name in ["access_token", "refresh_token"] {
        assert_eq!(given[name].as_str().map(str::len), Some(32));
        assert_ne!(given[name], other[name], "at random");
    }
    let request = Request::builder().method("GET").uri("/v3/token").body(Body::empty()).expect("valid");
    assert_eq!(world.exchange(request).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_store_that_fails_changes_nothing() {
    let world = World::new().await;
    let service = world.create("/services", &json!({"name": "s"})).await;
    for (method, path) in [("POST", "/services".to_owned()), ("PUT", format!("/services/{service}"))] {
        world.documents.fail([Fault::Refuse]);
        assert_eq!(
            world.turned_away(method, &path, "{\"name\":\"t\"}").await,
            (500, "Internal error".to_owned())
        );
    }
    assert_eq!(world.get("/services?fields=name").await, json!([{"name": "s"}]));
}

#[tokio::test]
async fn of_many_writers_at_once_each_sees_what_the_others_did() {
    let world = World::new().await;
    let service = world.create("/services", &json!({"name": "s"})).await;
    let path = format!("/services/{service}/endpoints");
    let body = endpoint("e", "/v1");
    let created = futures_util::future::join_all((0..8).map(|_| world.ask("POST", &path, &body))).await;
    assert_eq!(created.iter().filter(|(status, _)| *status == 200).count(), 1, "one address, one endpoint");
    let members = ["rateLimitCeiling", "qpsLimitCeiling", "qpsLimitOverall"];
    let service = format!("/services/{service}");
    let edits = members.map(|name| json!({name: 5}));
    futures_util::future::join_all(edits.iter().map(|edit| world.put(&service, edit))).await;
    let after = world.get(&service).await;
    assert!(members.iter().all(|name| after[*name] == 5), "{after}");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let world = World::new().await;
    let service = world.create("/services", &json!({"name": "s", "qpsLimitOverall": 9})).await;
    world.create(&format!("/services/{service}/endpoints"), &endpoint("e", "/v1")).await;
    world.create("/packageKeys", &json!({"apikey": "k", "secret": "x", "service": {"id": service}})).await;
    let clock = Clock::manual(world.clock.now());
    let again = Policies::open(Arc::clone(&world.documents) as _, clock).await.expect("readable");
    assert_eq!(again.book(), world.policies.book());
    assert_eq!(again.runtime().diff(&world.policies.runtime()), []);
}
