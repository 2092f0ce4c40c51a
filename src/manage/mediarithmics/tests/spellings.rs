//! Calls without any label of tidegate, in whatever spelling: each meets its limits.

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::json;

use super::scenarios::{ALL, World};
use crate::event::Labels;
use crate::manage::mediarithmics::MediarithmicsOptions;
use crate::manage::testing::{Slashes, Spelled, respelled};
use crate::manage::{Options, Place};

const ENDPOINT: &str = "/v1/user_segment_update";

/// One throttling of each scope, of version 1502.
async fn world() -> World {
    let world = World::new().await;
    for (scope, key) in
        [("GLOBAL", None), ("DATAMART", Some("1162")), ("ORGANISATION", Some("7")), ("CONTAINER", None)]
    {
        let body = json!({"scope": scope, "throttling_key": key, "plugin_version_id": "1502",
            "plugin_endpoint": ENDPOINT, "max_qps": 5});
        assert_eq!(world.ask(Method::POST, ALL, &body).await.0, 201, "{scope}");
    }
    world
}

/// A call to the endpoint of the version, its labels in places that are drawn.
fn spelled(dice: &mut fastrand::Rng) -> (Spelled, Options) {
    let (mut headers, mut query) = (HeaderMap::new(), Vec::new());
    let mut place = |name: &'static str, value: &'static str, dice: &mut fastrand::Rng| {
        let text = if dice.bool() {
            let header = http::HeaderName::from_bytes(format!("x-{name}").as_bytes()).expect("a name");
            headers.insert(header, HeaderValue::from_static(value));
            format!("header x-{name}")
        } else {
            query.push(format!("{name}={value}"));
            format!("query {name}")
        };
        Some(text.parse::<Place>().expect("a place"))
    };
    let mediarithmics = MediarithmicsOptions {
        plugin_version_in: place("version", "1502", dice),
        datamart_in: place("mart", "1162", dice),
        organisation_in: place("org", "7", dice),
        ..MediarithmicsOptions::default()
    };
    query.push("x=1".to_owned());
    dice.shuffle(&mut query);
    let url = format!("{}?{}", respelled(ENDPOINT, Slashes::AtEnds, dice), query.join("&"));
    let method = [Method::POST, Method::GET, Method::PUT][dice.usize(..3)].clone();
    let options = Options { mediarithmics, ..Options::default() };
    (Spelled { method, url, headers, body: "{}".to_owned() }, options)
}

#[test]
fn no_spelling_of_a_call_escapes_its_throttlings() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let world = runtime.block_on(world());
    proptest!(ProptestConfig::with_cases(2_000), |(seed in any::<u64>())| {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (call, options) = spelled(&mut dice);
        let found = world.governing(&options, &call, &Labels::default());
        prop_assert_eq!(found, ["mics.1001", "mics.1002", "mics.1003", "mics.1004"], "{:?}", call);
        // The controls: another endpoint, and no place for the version.
        let elsewhere = Spelled { url: call.url.replacen('?', "x?", 1), ..call.clone() };
        prop_assert!(world.governing(&options, &elsewhere, &Labels::default()).is_empty(), "{:?}", elsewhere);
        let found = world.governing(&Options::default(), &call, &Labels::default());
        prop_assert!(found.is_empty(), "{:?}", call);
    });
}

#[tokio::test]
async fn an_endpoint_is_the_end_of_the_path_in_whole_segments() {
    let world = world().await;
    let options = Options {
        mediarithmics: MediarithmicsOptions {
            plugin_version_in: Some("query v".parse().expect("a place")),
            ..MediarithmicsOptions::default()
        },
        ..Options::default()
    };
    let governed = |path: &str| {
        let url = format!("http://h.test{path}?v=1502");
        let call = Spelled { method: Method::POST, url, headers: HeaderMap::new(), body: String::new() };
        !world.governing(&options, &call, &Labels::default()).is_empty()
    };
    for path in ["", "/", "/plugins/1502", "/a/b/c/"] {
        assert!(governed(&format!("{path}{ENDPOINT}")) && governed(&format!("{path}{ENDPOINT}/")), "{path}");
    }
    for path in [
        "/v1/user_segment_updates",
        "/x/v1/user_segment",
        "/av1/user_segment_update",
        "/v1/user_segment_update/x",
    ] {
        assert!(!governed(path), "{path}");
    }
    let twin = json!({"scope": "GLOBAL", "plugin_version_id": "1502", "plugin_endpoint": format!("{ENDPOINT}/"), "max_qps": 1});
    assert_eq!(
        world.ask(Method::POST, ALL, &twin).await.0,
        409,
        "a slash at the end makes no other endpoint"
    );
}
