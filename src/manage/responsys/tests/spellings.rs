//! Calls without any label of tidegate, in whatever spelling: each meets its limit.

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::json;

use super::scenarios::World;
use crate::event::Labels;
use crate::manage::responsys::ResponsysOptions;
use crate::manage::responsys::objects::catalogue::{Api, catalogue};
use crate::manage::responsys::objects::token::Token;
use crate::manage::testing::{Slashes, Spelled, respelled};
use crate::manage::{self, Options, Place};
use crate::policy::testing::labels;

/// The body of a call to a function that shares its path.
fn body_of(api: &Api) -> &'static str {
    match api.name {
        "mergeListRecipients" | "mergeProfileExtensionRecipients" | "mergeTableRecordsWithPk" => {
            r#"{"recordData":{"records":[]}}"#
        }
        "mergeTableRecords" => r#"{"matchColumnNames":["ID"],"recordData":{}}"#,
        "mergeTriggerEmail" => r#"{"mergeTriggerRecordData":{},"mergeRule":{}}"#,
        "triggerEmailMessage" => r#"{"recipientData":[]}"#,
        _ => "",
    }
}

fn token(account: &str) -> HeaderValue {
    let token = Token { account: Some(account.to_owned()), user: "u".to_owned(), issued_ms: 1, random: 2 };
    token.write().parse().expect("a header")
}

/// A call to the function, with the account in one of the places in which it may stand, and the options for it.
fn spelled(api: &Api, dice: &mut fastrand::Rng) -> (Spelled, Options, Labels) {
    let interface = match (api.interface, dice.bool()) {
        ("api", true) => "asyncApi",
        ("api", false) => "api",
        (_, true) => "haAsyncApi",
        (_, false) => "haApi",
    };
    let version = ["v1.1", "v1.3", "v2"][dice.usize(..3)];
    let path = api.resource_path.replace(['{', '}'], "");
    let mut url = respelled(&format!("rest/{interface}/{version}/{path}"), Slashes::Anywhere, dice);
    let mut query: Vec<String> = api.action.map(|action| format!("action={action}")).into_iter().collect();
    query.extend(["qa=e", "fs=all", "x"].iter().filter(|_| dice.bool()).map(|pair| (*pair).to_owned()));
    let (mut headers, mut account_in, mut fallback) = (HeaderMap::new(), None, Labels::default());
    match dice.u8(..4) {
        0 => drop(headers.insert("authorization", token("acme"))),
        1 => {
            account_in = Some("header x-account");
            headers.insert("x-account", HeaderValue::from_static("acme"));
        }
        2 => {
            account_in = Some("query account");
            query.push("account=%61cme".to_owned());
        }
        _ => fallback = labels(&[("account", "acme")]),
    }
    dice.shuffle(&mut query);
    if !query.is_empty() {
        url.push_str(&format!("?{}", query.join("&")));
    }
    let method = api.method().expect("a verb");
    let method = if method == Method::GET && dice.bool() { Method::HEAD } else { method };
    let account_in = account_in.map(|place| place.parse::<Place>().expect(place));
    let options = Options {
        responsys: ResponsysOptions { account_in, ..ResponsysOptions::default() },
        ..Options::default()
    };
    (Spelled { method, url, headers, body: body_of(api).to_owned() }, options, fallback)
}

fn world() -> World {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new().await;
        world.file(&[("acme", json!({})), ("other", json!({}))]).await.expect("valid");
        world
    })
}

#[test]
fn no_spelling_of_a_call_escapes_its_limit() {
    let world = world();
    proptest!(ProptestConfig::with_cases(2_000), |(seed in any::<u64>())| {
        let mut dice = fastrand::Rng::with_seed(seed);
        let api = &catalogue()[dice.usize(..catalogue().len())];
        let (call, options, fallback) = spelled(api, &mut dice);
        let found = world.governing(&options, &call, &fallback);
        prop_assert_eq!(found, vec![format!("responsys.{}", api.name)], "{:?}", call);
        // The control: without an account nothing governs it.
        let nobody = Spelled { headers: HeaderMap::new(), ..call };
        let found = world.governing(&Options::default(), &nobody, &Labels::default());
        prop_assert!(found.is_empty(), "{:?}", nobody);
    });
}

#[tokio::test]
async fn what_is_open_counts_as_the_function_with_the_tightest_limit() {
    let world = World::new().await;
    let limits = json!({"limits": {"mergeListRecipients": 5, "retrieveMultipleListRecipients": 7}});
    let blocked = json!([{"user": "u", "apis": ["retrieveMultipleListRecipients"]}]);
    world
        .file(&[("acme", limits), ("other", json!({})), ("third", json!({"blocked": blocked}))])
        .await
        .expect("valid");
    let found = |account: &str, user: &str| {
        let call = Spelled {
            method: Method::POST,
            url: "https://h.test/rest/api/v1.3/lists/L/members".to_owned(),
            headers: HeaderMap::new(),
            body: "not JSON".to_owned(),
        };
        world.governing(&Options::default(), &call, &labels(&[("account", account), ("user", user)]))
    };
    assert_eq!(found("acme", "v"), ["responsys.mergeListRecipients"]);
    assert_eq!(found("other", "v"), ["responsys.deleteMultipleListRecipients"], "of equals the first");
    let closed =
        ["responsys.retrieveMultipleListRecipients", "responsys.retrieveMultipleListRecipients.block"];
    assert_eq!(found("third", "u"), closed, "nothing is tighter than a block");
    assert_eq!(found("third", "v"), ["responsys.deleteMultipleListRecipients"]);
}

#[test]
fn a_token_goes_before_a_place_and_a_place_before_a_default() {
    let world = world();
    let found = |token_of: Option<&str>, in_header: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.extend(token_of.map(|account| (http::header::AUTHORIZATION, token(account))));
        let name = http::HeaderName::from_static("x-account");
        headers.extend(in_header.map(|account| (name, HeaderValue::from_static(account))));
        let call = Spelled {
            method: Method::GET,
            url: "https://h.test/rest/api/v1.3/lists".to_owned(),
            headers,
            body: String::new(),
        };
        let account_in = Some("header x-account".parse().expect("a place"));
        let responsys = ResponsysOptions { account_in, ..ResponsysOptions::default() };
        let options = Options { responsys, ..Options::default() };
        world.governing(&options, &call, &labels(&[("account", "nobody")])).len()
    };
    assert_eq!(found(Some("acme"), Some("nobody")), 1);
    assert_eq!(found(Some("nobody"), Some("acme")), 0);
    assert_eq!(found(None, Some("acme")), 1);
    assert_eq!(found(None, None), 0, "the default");
}

#[test]
fn the_token_of_a_request_names_account_and_user_of_its_events() {
    let carried = manage::carried(&Options::default());
    let of = |value: HeaderValue| {
        let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
        carried(&headers).expect("no header is given twice")
    };
    assert_eq!(of(token("acme")), [("account", "acme".to_owned()), ("user", "u".to_owned())]);
    assert_eq!(of(HeaderValue::from_static("Bearer abc")), [], "tokens of others name nobody");
}
