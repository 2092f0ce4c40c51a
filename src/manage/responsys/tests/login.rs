//! The login, as clients ask for it.

use axum::body::Body;
use http::{HeaderMap, Request};
use serde_json::{Value, json};

use super::scenarios::World;
use crate::manage::responsys::ResponsysOptions;
use crate::manage::responsys::objects::token::Token;

const LOGIN: &str = "/rest/api/v1.3/auth/token";
const FORM: &str = "user_name=api%40user&password=p%26w&auth_type=password";

async fn log_in(world: &World, query: &str, form: &str, token: Option<&str>) -> (u16, HeaderMap, Value) {
    let mut request = Request::post(format!("{LOGIN}{query}")).header("host", "rest.test:8443");
    request = request.header("content-type", "application/x-www-form-urlencoded");
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let request = request.body(Body::from(form.to_owned())).expect("a request");
    let (status, headers, body) = world.send(request).await;
    (status, headers, serde_json::from_str(&body).expect("JSON"))
}

fn token(answer: &Value) -> Token {
    Token::read(answer["authToken"].as_str().expect("text")).expect("a token")
}

#[tokio::test]
async fn a_login_says_where_to_go_on_and_its_token_whose_it_is() {
    let world = World::new().await;
    world.file(&[("acme", json!({"limits": {"login": 7}}))]).await.expect("valid");
    for (query, form) in [("", FORM), (&*format!("?{FORM}"), "")] {
        let (status, headers, answer) = log_in(&world, query, form, None).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(headers["content-type"], "application/json;charset=UTF-8");
        assert_eq!(answer["endPoint"], "http://rest.test:8443");
        assert_eq!(answer["issuedAt"], 1_679_482_096_000_u64);
        assert_eq!(answer.as_object().map(serde_json::Map::len), Some(3));
        let token = token(&answer);
        assert_eq!((token.account.as_deref(), &*token.user), (Some("acme"), "api@user"));
    }
    let (_, _, first) = log_in(&world, "", FORM, None).await;
    let given = first["authToken"].as_str().expect("text");
    let (status, _, renewed) = log_in(&world, "?auth_type=token", "", Some(given)).await;
    assert_eq!(status, 200, "{renewed}");
    assert_ne!(renewed["authToken"], first["authToken"]);
    assert_eq!(token(&renewed).account.as_deref(), Some("acme"));
    // The list of limits is that of the token's account.
    let request = Request::get("/rest/api/ratelimit").header("authorization", given).body(Body::empty());
    let (_, _, list) = world.send(request.expect("a request")).await;
    assert!(list.starts_with(r#"[{"limit":"7","api":"login""#), "{list:.60}");
}

#[tokio::test]
async fn a_login_belongs_to_the_account_that_lists_its_user() {
    let options = ResponsysOptions {
        default_account: Some("second".to_owned()),
        endpoint: Some("https://front.test/x".to_owned()),
        ..ResponsysOptions::default()
    };
    let world = World::with(options).await;
    let account = async |user: &str| {
        let form = format!("user_name={user}&password=p&auth_type=password");
        let (_, _, answer) = log_in(&world, "", &form, None).await;
        assert_eq!(answer["endPoint"], "https://front.test/x");
        token(&answer).account
    };
    assert_eq!(world.put("first", &json!({"users": ["a"]})).await.0, 201);
    assert_eq!(account("a").await.as_deref(), Some("first"));
    assert_eq!(account("b").await.as_deref(), Some("second"));
    let (_, shown) = world.ask(http::Method::GET, "/v1/responsys/accounts/first", "").await;
    assert_eq!(shown["users"], json!(["a"]));
    let world = World::new().await;
    for name in ["first", "second"] {
        assert_eq!(world.put(name, &json!({})).await.0, 201);
    }
    let (_, _, answer) = log_in(&world, "", FORM, None).await;
    assert_eq!(token(&answer).account, None, "of several none is meant");
}

#[tokio::test]
async fn a_login_that_cannot_be_answered_is_refused_in_the_words_of_responsys() {
    let world = World::new().await;
    for (form, token, status, code) in [
        ("auth_type=password&user_name=u", None, 400, "INVALID_USER_NAME_PASSWORD"),
        ("auth_type=password&password=p&user_name=", None, 400, "INVALID_USER_NAME_PASSWORD"),
        ("user_name=u&password=p", None, 400, "INVALID_PARAMETER"),
        ("auth_type=server&user_name=u", None, 400, "INVALID_PARAMETER"),
        ("auth_type=token", None, 401, "INVALID_TOKEN"),
        ("auth_type=token", Some("theirs"), 401, "INVALID_TOKEN"),
    ] {
        let (got, headers, answer) = log_in(&world, "", form, token).await;
        assert_eq!((got, answer["errorCode"].as_str()), (status, Some(code)), "{form}");
        assert!(headers.contains_key("x-correlationid"), "{form}");
    }
    let request = Request::get(LOGIN).body(Body::empty()).expect("a request");
    let (status, headers, _) = world.send(request).await;
    assert_eq!((status, &headers["allow"]), (405, &"POST".parse().expect("valid")));
}
