//! What accounts make active, as events meet it.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::scenarios::World;
use crate::policy::testing::{id, labels, url};
use crate::policy::{Family, Limits, Window};

const BASE: &str = "https://rest001.example.org/rest";

fn policies_of(world: &World, method: Method, to: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let lane = world.policies.runtime().route(&method, &url(to), &labels(pairs)).expect("few");
    lane.map_or_else(Vec::new, |lane| lane.policies().iter().map(|part| part.policy.to_string()).collect())
}

/// What a policy allows an account, or an account and user, by the key of its lanes.
fn allowed(world: &World, policy: &str, key: &str) -> Option<Limits> {
    world.policies.runtime().get(&id(policy)).and_then(|policy| policy.spec.overrides.get(key).cloned())
}

fn per_minute(calls: i64) -> Option<Limits> {
    Some(Limits { window: Some(Window::new(calls, 60_000).expect("valid")), ..Limits::default() })
}

#[tokio::test]
async fn only_known_accounts_are_limited() {
    let world = World::new().await;
    assert_eq!(world.policies.runtime().policies().count(), 0, "without accounts there is nothing");
    world.file(&[("acme", json!({"limits": {"login": 7}}))]).await.expect("valid");
    assert_eq!(world.put("other", &json!({})).await.0, 201);
    assert_eq!(world.policies.runtime().policies().count(), 90);
    let to = "https://anywhere.example.org/x";
    for account in ["acme", "other"] {
        let found = policies_of(&world, Method::POST, to, &[("account", account), ("api", "login")]);
        assert_eq!(found, ["responsys.login"], "{account}");
    }
    assert!(policies_of(&world, Method::POST, to, &[("account", "third"), ("api", "login")]).is_empty());
    assert!(policies_of(&world, Method::POST, to, &[("api", "login")]).is_empty());
    assert!(policies_of(&world, Method::POST, to, &[("account", "acme"), ("api", "nothing")]).is_empty());
    assert!(policies_of(&world, Method::POST, to, &[("account", "acme")]).is_empty());
    assert_eq!(allowed(&world, "responsys.login", "account=acme"), per_minute(7));
    assert_eq!(allowed(&world, "responsys.login", "account=other"), per_minute(10));
    assert_eq!(allowed(&world, "responsys.mergeListRecipients", "account=acme"), per_minute(1000));
    let spec = (*world.policies.runtime().get(&id("responsys.login")).expect("active").spec).clone();
    assert_eq!((spec.family, spec.rank), (Family::Refuse, 1));
    let wording = spec.wording.expect("Responsys' own words");
    let words = [&wording.per_window, &wording.closed, &wording.subject].map(|word| &**word);
    assert_eq!(words, ["API_LIMIT_EXCEEDED", "API_BLOCKED", "login"]);
}

#[tokio::test]
async fn a_call_is_known_by_its_label_or_else_by_verb_and_path() {
    let world = World::new().await;
    world.file(&[("acme", json!({}))]).await.expect("valid");
    let found = |method: Method, path: &str, api: Option<&str>| {
        let mut pairs = vec![("account", "acme")];
        pairs.extend(api.map(|api| ("api", api)));
        policies_of(&world, method, &format!("{BASE}{path}"), &pairs)
    };
    for (method, path, expected) in [
        (Method::POST, "/api/v1.3/auth/token", "responsys.login"),
        (Method::GET, "/api/v1.3/lists/L/members?qa=e", "responsys.retrieveListRecipients"),
        (Method::GET, "/api/v1.1/lists/L/members/5", "responsys.retrieveListRecipientByRiid"),
        (Method::GET, "/api/v1.3/lists/L/members/count", "responsys.retrieveListRecipientsCount"),
        (Method::POST, "/haApi/v1.3/lists/L/members", "responsys.HaMergeListRecipients"),
        (Method::PATCH, "/api/v1.3/programs/P", "responsys.publishProgram"),
        (Method::GET, "/api/v1.3/clDocs/contentlibrary/a/b.htm", "responsys.retrieveContentLibraryDocument"),
    ] {
        assert_eq!(found(method, path, None), [expected], "{path}");
    }
    assert!(found(Method::POST, "/api/v1.3/lists/L/members", None).is_empty(), "three functions fit");
    assert!(found(Method::PUT, "/api/v1.3/auth/token", None).is_empty());
    assert!(found(Method::GET, "/api/v1.3/nothing", None).is_empty());
    let merge = Some("mergeListRecipients");
    assert_eq!(found(Method::POST, "/api/v1.3/lists/L/members", merge), ["responsys.mergeListRecipients"]);
    let count = found(Method::GET, "/api/v1.3/lists/L/members/count", Some("login"));
    assert_eq!(count, ["responsys.login"], "the label goes before the path");
}

#[tokio::test]
async fn a_blocked_user_may_start_nothing_of_these_functions() {
    let world = World::new().await;
    let blocked = json!([
        {"user": "u", "apis": ["mergeListRecipients", "retrieveListRecipientByRiid"]},
        {"user": "v", "apis": ["login"]},
    ]);
    world.file(&[("acme", json!({"blocked": blocked})), ("other", json!({}))]).await.expect("valid");
    let found = |account: &str, user: &str, api: &str| {
        let pairs = [("account", account), ("user", user), ("api", api)];
        policies_of(&world, Method::POST, "https://h.example.org/x", &pairs)
    };
    let merge = ["responsys.mergeListRecipients", "responsys.mergeListRecipients.block"];
    assert_eq!(found("acme", "u", "mergeListRecipients"), merge);
    assert_eq!(found("acme", "v", "mergeListRecipients"), ["responsys.mergeListRecipients"]);
    assert_eq!(found("other", "u", "mergeListRecipients"), ["responsys.mergeListRecipients"]);
    let key = "account=acme;user=u";
    assert_eq!(allowed(&world, "responsys.mergeListRecipients.block", key), Some(Limits::closed()));
    let rank = |name: &str| world.policies.runtime().get(&id(name)).map(|policy| policy.spec.rank);
    assert!(rank("responsys.login.block") < rank("responsys.login"), "a block is told before a limit");

    let by_path = |path: &str| {
        let to = format!("{BASE}/api/v1.3/lists/L/members/{path}");
        policies_of(&world, Method::GET, &to, &[("account", "acme"), ("user", "u")])
    };
    let riid = ["responsys.retrieveListRecipientByRiid", "responsys.retrieveListRecipientByRiid.block"];
    assert_eq!(by_path("5"), riid);
    let count = ["responsys.retrieveListRecipientsCount", "responsys.retrieveListRecipientsCount.block"];
    assert_eq!(by_path("count"), count, "the block of another function is not its own");
    let allowed_count = allowed(&world, "responsys.retrieveListRecipientsCount.block", key);
    assert_eq!(allowed_count, Some(Limits::default()));
    assert_eq!(world.policies.runtime().policies().filter(|p| p.id.as_str().ends_with(".block")).count(), 4);
}

#[tokio::test]
async fn a_change_goes_on_in_its_generation_and_the_last_account_lets_all_drain() {
    let world = World::new().await;
    assert_eq!(world.put("acme", &json!({})).await.0, 201);
    let before = world.policies.runtime().number();
    assert_eq!(world.put("acme", &json!({"limits": {"login": 3}})).await.0, 200);
    assert_eq!(world.policies.runtime().number(), before + 1);
    let generations = || {
        let runtime = world.policies.runtime();
        runtime.get(&id("responsys.login")).map(|policy| policy.generations.len())
    };
    assert_eq!(generations(), Some(1));
    assert_eq!(allowed(&world, "responsys.login", "account=acme"), per_minute(3));
    assert_eq!(world.ask(Method::DELETE, "/v1/responsys/accounts/acme", "").await.0, 204);
    assert!(
        policies_of(&world, Method::POST, "https://h/x", &[("account", "acme"), ("api", "login")]).is_empty()
    );
    world.clock.advance(Duration::from_secs(86_401));
    world.policies.expire(world.clock.now(), None).await.expect("stored");
    assert_eq!(generations(), None);
}
