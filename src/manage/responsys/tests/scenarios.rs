//! Calls to the router, answer by answer.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Method, Request};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::manage::responsys::{
    Account, FileAccountsError, RawAccount, Responsys, ResponsysOptions, put_file_accounts, router,
};
use crate::manage::{Parts, testing};
use crate::policy::testing::{Fault, id};
use crate::policy::{Book, ChangeError, DRAIN_WINDOW, Origin, Policies};

const LIST: &str = "/rest/api/ratelimit";
const DRAIN: Duration = Duration::from_secs(60);

pub(super) type World = testing::World<Responsys>;

impl World {
    pub(super) async fn new() -> Self {
        Self::with(ResponsysOptions::default()).await
    }

    pub(super) async fn with(options: ResponsysOptions) -> Self {
        let start = Timestamp::from_millis(1_679_482_096_000);
        let routes = |policies, clock, random| router(&options, Parts { policies, clock, random });
        Self::over(start, None, routes).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> (u16, HeaderMap, String) {
        let (status, headers, body) = self.exchange(request).await;
        (status.as_u16(), headers, body)
    }

    async fn list(&self) -> Value {
        let request = Request::builder().uri(LIST).body(Body::empty()).expect("a request");
        let (status, _, body) = self.send(request).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    pub(super) async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let (status, _, body) = self.send(request).await;
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    pub(super) async fn put(&self, name: &str, account: &Value) -> (u16, Value) {
        self.ask(Method::PUT, &format!("/v1/responsys/accounts/{name}"), &account.to_string()).await
    }

    /// Makes these the accounts of the configuration file.
    pub(super) async fn file(&self, accounts: &[(&str, Value)]) -> Result<(), String> {
        let raw = accounts.iter().map(|(name, account)| {
            let raw: RawAccount = serde_json::from_value(account.clone()).expect("an account");
            ((*name).to_owned(), raw)
        });
        let accounts = Account::check_all(raw).map_err(|told| told.join("; "))?;
        let now = self.clock.now();
        let put = self.policies.change(|book| put_file_accounts(book, &accounts, now, DRAIN)).await;
        put.map(|_| ()).map_err(|error: ChangeError<FileAccountsError>| error.to_string())
    }
}

fn item<'v>(list: &'v Value, api: &str) -> &'v Value {
    let found = list.as_array().and_then(|items| items.iter().find(|item| item["api"] == json!(api)));
    found.unwrap_or_else(|| panic!("no {api}"))
}

#[tokio::test]
async fn the_published_sample_is_answered_member_by_member() {
    let world = World::new().await;
    let request = Request::builder().uri(LIST).header("authorization", "token").body(Body::empty());
    let (status, headers, body) = world.send(request.expect("a request")).await;
    assert_eq!(status, 200);
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok());
    assert_eq!(kind, Some("application/json;charset=UTF-8"));
    let sample = include_str!("../../../../tests/contract/responsys/published-sample.json");
    let sample: Vec<Value> = serde_json::from_str(sample).expect("JSON");
    let list: Value = serde_json::from_str(&body).expect("a bare array");
    assert_eq!(list.as_array().map(Vec::len), Some(90));
    let mut places = Vec::new();
    for expected in &sample {
        let api = expected["api"].as_str().expect("a name");
        assert_eq!(item(&list, api), expected);
        // As text: the members in their order.
        let text = |name: &str| expected[name].as_str().expect("text");
        let spelled = format!(
            r#"{{"limit":"{}","api":"{api}","resource_path":"{}","verb":"{}","description":"{}"}}"#,
            text("limit"),
            text("resource_path"),
            text("verb"),
            text("description")
        );
        places.push(body.find(&spelled).unwrap_or_else(|| panic!("{spelled}")));
    }
    assert!(places.is_sorted(), "in the order of the sample");
    for item in list.as_array().expect("an array") {
        assert!(item.as_object().expect("an object").values().all(Value::is_string), "{item}");
    }
}

#[tokio::test]
async fn the_default_account_has_its_own_limits_in_the_list() {
    let options = ResponsysOptions { default_account: Some("acme".to_owned()), ..Default::default() };
    let world = World::with(options).await;
    assert_eq!(item(&world.list().await, "mergeListRecipients")["limit"], json!("1000"), "not known yet");
    world.file(&[("acme", json!({"limits": {"mergeListRecipients": 400}}))]).await.expect("valid");
    let (status, answer) = world.put("other", &json!({"limits": {"login": 3}})).await;
    assert_eq!(status, 201, "{answer}");
    let list = world.list().await;
    assert_eq!(item(&list, "mergeListRecipients")["limit"], json!("400"));
    assert_eq!(item(&list, "login")["limit"], json!("10"), "that of another is its own");
    world.file(&[]).await.expect("valid");
    assert_eq!(world.put("acme", &json!({"limits": {"login": 5}})).await.0, 201);
    let list = world.list().await;
    assert_eq!(item(&list, "mergeListRecipients")["limit"], json!("1000"));
    assert_eq!(item(&list, "login")["limit"], json!("5"));
}

#[tokio::test]
async fn failures_have_the_shape_of_responsys() {
    let world = World::with(ResponsysOptions { require_headers: true, ..Default::default() }).await;
    let failed = async |method: &str, path: &str, token: Option<&str>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        let (status, headers, body) = world.send(request.body(Body::empty()).expect("a request")).await;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        if status != 200 {
            assert!(header("X-CorrelationID").is_some_and(|id| id.len() == 36), "{headers:?}");
            assert_eq!(header("content-type").as_deref(), Some("application/json;charset=UTF-8"));
        }
        (status, header("allow"), body)
    };
    let body = |title: &str, code: &str, detail: &str| {
        format!(
            r#"{{"type":"","title":"{title}","errorCode":"{code}","detail":"{detail}","errorDetails":[]}}"#
        )
    };
    let token = body("Unexpected exception", "UNEXPECTED_EXCEPTION", "Not a valid authentication token");
    for given in [None, Some(""), Some("Bearer abc")] {
        assert_eq!(failed("GET", LIST, given).await, (500, None, token.clone()), "{given:?}");
    }
    assert_eq!(failed("GET", LIST, Some("abc")).await.0, 200);
    let missing = body("Resource not found", "RESOURCE_NOT_FOUND", "Not Found");
    for version in ["v1.3", "v1.1", "v2", "x"] {
        let path = format!("/rest/api/{version}/ratelimit");
        assert_eq!(failed("GET", &path, Some("abc")).await, (404, None, missing.clone()), "{version}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let (status, allow, _) = failed(method, "/rest/api/v1.3/ratelimit", Some("abc")).await;
        assert_eq!((status, allow.as_deref()), (405, Some("GET")), "{method}");
        let (status, allow, body) = failed(method, LIST, Some("abc")).await;
        assert_eq!((status, allow.as_deref()), (405, Some("GET")), "{method}");
        assert!(body.contains(r#""errorCode":"METHOD_NOT_ALLOWED""#), "{body}");
    }
    let open = World::new().await;
    assert_eq!(open.list().await.as_array().map(Vec::len), Some(90), "no token is asked for otherwise");
}

#[tokio::test]
async fn accounts_are_made_changed_and_removed() {
    let world = World::new().await;
    let list = "/v1/responsys/accounts";
    assert_eq!(world.ask(Method::GET, list, "").await, (200, json!({"accounts": []})));
    let sent = json!({"limits": {"mergeListRecipients": 400}, "blocked": [{"user": "u", "apis": ["login"]}]});
    let mut shown = sent.clone();
    shown["name"] = json!("acme corp");
    shown["source"] = json!("api");
    assert_eq!(world.put("acme%20corp", &sent).await, (201, shown.clone()));
    let one = "/v1/responsys/accounts/acme%20corp";
    assert_eq!(world.ask(Method::GET, one, "").await, (200, shown));
    let empty = json!({"name": "acme corp", "source": "api", "limits": {}, "blocked": []});
    assert_eq!(world.put("acme%20corp", &json!({})).await, (200, empty.clone()), "replaced as a whole");
    assert_eq!(world.ask(Method::GET, list, "").await, (200, json!({"accounts": [empty]})));
    assert_eq!(world.ask(Method::DELETE, one, "").await, (204, Value::Null));
    for method in [Method::GET, Method::DELETE] {
        let (status, problem) = world.ask(method, one, "").await;
        assert_eq!((status, &problem["code"]), (404, &json!("account_not_found")), "{problem}");
    }
    assert_eq!(world.policies.runtime().policies().count(), 91, "all drain");
}

#[tokio::test]
async fn an_account_of_the_file_is_changed_there_alone() {
    let world = World::new().await;
    world.file(&[("acme", json!({"limits": {"login": 5}}))]).await.expect("valid");
    let one = "/v1/responsys/accounts/acme";
    let (status, shown) = world.ask(Method::GET, one, "").await;
    let expected = json!({"name": "acme", "source": "file", "limits": {"login": 5}, "blocked": []});
    assert_eq!((status, &shown), (200, &expected));
    for method in [Method::PUT, Method::DELETE] {
        let (status, problem) = world.ask(method, one, "{}").await;
        assert_eq!((status, &problem["code"]), (409, &json!("file_account")), "{problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("configuration file") && detail.contains("SIGHUP"), "{detail}");
    }
    assert_eq!(world.ask(Method::GET, one, "").await.1, expected);

    assert_eq!(world.put("other", &json!({})).await.0, 201);
    let before = world.policies.book();
    let told = world.file(&[("new", json!({})), ("other", json!({}))]).await.expect_err("taken");
    assert!(told.contains("account \"other\" was made through /v1/responsys/accounts"), "{told}");
    assert_eq!(world.policies.book(), before, "all or nothing");
    world.file(&[]).await.expect("valid");
    let (_, list) = world.ask(Method::GET, "/v1/responsys/accounts", "").await;
    assert_eq!(list["accounts"].as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn bad_accounts_are_refused_with_their_faults() {
    let world = World::new().await;
    for (body, status, code, pointer) in [
        ("", 400, "invalid_json", None),
        ("{", 400, "invalid_json", None),
        ("[]", 422, "invalid_request", None),
        (r#"[{"login":5},[]]"#, 422, "invalid_request", None),
        (r#"{"blocked":[["u",["login"]]]}"#, 422, "invalid_request", None),
        ("null", 422, "invalid_request", None),
        (r#"{"limit":{}}"#, 422, "invalid_request", None),
        (r#"{"limits":[]}"#, 422, "invalid_request", None),
        (r#"{"limits":{"login":"5"}}"#, 422, "invalid_request", None),
        (r#"{"limits":{"login":5.5}}"#, 422, "invalid_request", None),
        (r#"{"blocked":[{"user":"u"}]}"#, 422, "invalid_request", None),
        (r#"{"blocked":[{"user":"u","apis":["login"],"x":1}]}"#, 422, "invalid_request", None),
        (r#"{"limits":{"login":0}}"#, 422, "invalid_request", Some("/limits/login")),
        (r#"{"limits":{"log in":1}}"#, 422, "invalid_request", Some("/limits/log in")),
        (
            r#"{"blocked":[{"user":"\u0007","apis":["login"]}]}"#,
            422,
            "invalid_request",
            Some("/blocked/0/user"),
        ),
        (r#"{"blocked":[{"user":"u","apis":["x"]}]}"#, 422, "invalid_request", Some("/blocked/0/apis/0")),
    ] {
        let (found, problem) = world.ask(Method::PUT, "/v1/responsys/accounts/acme", body).await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{body}: {problem}");
        let named = problem["errors"][0]["pointer"].as_str();
        assert_eq!(named, pointer, "{body}: {problem}");
    }
    for name in ["a%07b", &"x".repeat(257)] {
        let (status, problem) = world.put(name, &json!({})).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("")), "{problem}");
    }
    assert_eq!(world.put("%FF", &json!({})).await.0, 422);
    let large = json!({"limits": {"x".repeat(64 * 1024): 1}});
    assert_eq!(world.put("acme", &large).await.1["code"], json!("payload_too_large"));
    let request = Request::builder().method("PUT").uri("/v1/responsys/accounts/acme").body(Body::from("{}"));
    assert_eq!(world.send(request.expect("a request")).await.0, 415);
    for (path, method, allowed) in [
        ("/v1/responsys/accounts", "POST", "GET,HEAD"),
        ("/v1/responsys/accounts/acme", "POST", "GET,HEAD,PUT,DELETE"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let (status, headers, _) = world.send(request).await;
        assert_eq!(status, 405);
        assert_eq!(headers.get("allow").and_then(|allow| allow.to_str().ok()), Some(allowed));
    }
    world.documents.fail([Fault::Refuse]);
    let (status, problem) = world.put("acme", &json!({})).await;
    assert_eq!((status, &problem["code"]), (503, &json!("storage_error")), "{problem}");
    assert_eq!(world.policies.book().as_ref(), &Book::default(), "nothing is stored");
}

#[tokio::test]
async fn a_name_that_another_origin_has_taken_is_told() {
    let world = World::new().await;
    let take =
        |book: &mut Book| book.rest(&Origin::file(), &id("responsys.login"), world.clock.now(), DRAIN_WINDOW);
    world.policies.change(take).await.expect("free");
    let before = world.policies.book();
    let (status, problem) = world.put("acme", &json!({})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("policy_exists")), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|told| told.contains("responsys.login")), "{problem}");
    assert_eq!(world.policies.book(), before);
}

#[tokio::test]
async fn accounts_are_there_after_a_restart() {
    let world = World::new().await;
    world.file(&[("acme", json!({}))]).await.expect("valid");
    assert_eq!(world.put("other", &json!({"limits": {"login": 1}})).await.0, 201);
    let again = Policies::open(world.documents.clone(), world.clock.clone()).await.expect("readable");
    assert_eq!(again.book(), world.policies.book());
    let book = world.policies.book();
    world.file(&[("acme", json!({}))]).await.expect("valid");
    assert_eq!(world.policies.book(), book, "the same file again changes nothing");
}
