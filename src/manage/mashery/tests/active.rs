//! What calls to the API make active, as events meet it: which policies govern a call, and what they allow.

use std::num::NonZeroU32;

use http::Method;
use serde_json::{Value, json};

use super::scenarios::{World, endpoint};
use crate::event::PolicyId;
use crate::policy::testing::{labels, url};
use crate::policy::{Family, Limits, Period, Spec};

/// The policies that govern a call, without their generations, sorted.
pub(super) fn governing(world: &World, verb: &str, to: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let verb: Method = verb.parse().expect("a verb");
    let lane = world.policies.runtime().route(&verb, &url(to), &labels(pairs)).expect("few policies");
    let mut names: Vec<String> = lane
        .map(|lane| lane.policies().iter().map(|part| part.policy.to_string()).collect())
        .unwrap_or_default();
    names.sort_unstable();
    names
}

pub(super) fn spec(world: &World, id: &str) -> Spec {
    let id = PolicyId::parse(id).expect("valid");
    (*world.policies.runtime().get(&id).unwrap_or_else(|| panic!("{id} does not rule")).spec).clone()
}

pub(super) fn per_second(limits: &Limits) -> Option<u32> {
    limits.window.map(|window| {
        assert_eq!(window.length().as_millis(), 1000);
        window.calls().map_or(u32::MAX, NonZeroU32::get)
    })
}

pub(super) fn per_period(limits: &Limits) -> Option<(u32, Period)> {
    limits.quota.map(|quota| (quota.calls.map_or(u32::MAX, NonZeroU32::get), quota.per))
}

pub(super) fn of_key(world: &World, policy: &str, key: &str) -> Limits {
    let spec = spec(world, policy);
    spec.overrides.get(&format!("api_key={key}")).cloned().unwrap_or(spec.limits)
}

struct Api {
    world: World,
    service: String,
    endpoints: String,
}

async fn api(service: &Value) -> Api {
    let world = World::new().await;
    let service = world.create("/services", service).await;
    let endpoints = format!("/services/{service}/endpoints");
    Api { world, service, endpoints }
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_call_is_governed_by_its_service_endpoint_and_key() {
    let Api { world, service, endpoints } = api(&json!({"name": "s"})).await;
    let mut body = endpoint("e", "/v1");
    body["publicDomains"] = json!([{"address": "api.example.com"}, {"address": "127.0.0.1:8080"}]);
    body["supportedHttpMethods"] = json!(["get", "Post"]);
    assert_eq!(world.policies.runtime().policies().count(), 0, "without endpoints there are no calls");
    let end = world.create(&endpoints, &body).await;
    let (overall, keys, end) =
        (format!("{service}.overall"), format!("{service}.keys"), format!("{end}.endpoint"));
    let key = [("api_key", "k")];
    let all = sorted(&[&overall, &keys, &end]);
    for to in [
        "http://api.example.com/v1",
        "https://api.example.com/v1/x?q",
        "https://API.example.com:443/v10",
        "http://127.0.0.1:8080/v1/y",
        "https://127.0.0.1:8080/v1/",
    ] {
        assert_eq!(governing(&world, "GET", to, &key), all, "{to}");
        assert_eq!(governing(&world, "POST", to, &[]), sorted(&[&overall]), "{to}");
    }
    for (verb, to) in [
        ("PUT", "http://api.example.com/v1"),
        ("GET", "http://api.example.com/v"),
        ("GET", "http://api.example.com:81/v1"),
        ("GET", "http://127.0.0.1/v1"),
        ("GET", "http://other/v1"),
        ("GET", "http://other/?http://api.example.com/v1"),
    ] {
        assert_eq!(governing(&world, verb, to, &key), [""; 0], "{verb} {to}");
    }
    for (name, rank, among) in [(&overall, 1, "overall"), (&end, 3, "endpoint"), (&keys, 4, "keys")] {
        let spec = spec(&world, name);
        assert_eq!((spec.family, spec.rank), (Family::Refuse, rank));
        assert_eq!(spec.overlap, crate::policy::Overlap::MostSpecific { among: among.into() });
    }
    let counted = spec(&world, &end);
    assert_eq!(counted.bounds_on, Some(PolicyId::parse(&keys).expect("valid")));
    assert!(counted.limits.is_empty());
}

#[tokio::test]
async fn the_longest_alias_decides_on_every_level() {
    let Api { world, service, endpoints } = api(&json!({"name": "outer"})).await;
    let short = world.create(&endpoints, &endpoint("short", "/v1")).await;
    let methods = format!("{endpoints}/{short}/methods");
    let get = world.create(&methods, &json!({"name": "get", "rateLimitCeiling": 1})).await;
    let other = world.create("/services", &json!({"name": "inner"})).await;
    let inner = format!("/services/{other}/endpoints");
    let mut body = endpoint("long", "/v1/get");
    body["supportedHttpMethods"] = json!(["get"]);
    let long = world.create(&inner, &body).await;
    let key = [("api_key", "k"), ("api_method", "get")];
    let of_short = sorted(&[
        &format!("{service}.overall"),
        &format!("{service}.keys"),
        &format!("{short}.endpoint"),
        &format!("{get}.method"),
    ]);
    let of_long = |more: &str| {
        sorted(&[&format!("{other}.overall"), &format!("{other}.keys"), &format!("{long}.endpoint"), more])
    };
    let rest = of_long(&format!("{long}.rest"));
    assert_eq!(governing(&world, "GET", "http://api.example.com/v1/x", &key), of_short);
    assert_eq!(
        governing(&world, "GET", "http://api.example.com/v1/get/x", &key),
        rest,
        "no method of its own"
    );
    assert_eq!(governing(&world, "POST", "http://api.example.com/v1/get/x", &key), of_short, "another verb");

    // Its own methods win over the rest, also those that come later.
    for name in ["get", "put"] {
        let method = world.create(&format!("{inner}/{long}/methods"), &json!({"name": name})).await;
        let labels = [("api_key", "k"), ("api_method", name)];
        let own = of_long(&format!("{method}.method"));
        assert_eq!(governing(&world, "GET", "http://api.example.com/v1/get/x", &labels), own, "{name}");
        let others = governing(
            &world,
            "GET",
            "http://api.example.com/v1/get/x",
            &[("api_key", "k"), ("api_method", "z")],
        );
        assert_eq!(others, of_long(&format!("{long}.rest")));
    }
    let runtime = world.policies.runtime();
    assert!(
        runtime
            .policies()
            .filter(|policy| policy.id.as_str().ends_with(".rest"))
            .all(|policy| policy.spec.limits.is_empty())
    );
}

#[tokio::test]
async fn a_method_is_named_by_its_label_or_by_the_path() {
    let Api { world, endpoints, .. } = api(&json!({"name": "s", "rateLimitPeriod": "month"})).await;
    let end = world.create(&endpoints, &endpoint("e", "/v1")).await;
    let methods = format!("{endpoints}/{end}/methods");
    let body =
        json!({"name": "search", "rateLimitCeiling": 1, "rateLimitPeriod": "minute", "qpsLimitCeiling": 2});
    let search = format!("{}.method", world.create(&methods, &body).await);
    let list =
        format!("{}.method", world.create(&methods, &json!({"name": "list", "rateLimitCeiling": 9})).await);
    let of = |to: &str, pairs: &[(&str, &str)]| {
        let names = governing(&world, "GET", &format!("http://api.example.com{to}"), pairs);
        names.into_iter().filter(|name| name.ends_with(".method")).collect::<Vec<_>>()
    };
    assert_eq!(of("/v1/x/search/list", &[]), sorted(&[&search]));
    assert_eq!(of("/v1/list/search", &[]), sorted(&[&list]));
    assert_eq!(of("/v1/list", &[("api_method", "search")]), sorted(&[&search]));
    assert_eq!(of("/v1/list", &[("api_method", "other")]), [""; 0]);
    assert_eq!(of("/v1/lists", &[]), [""; 0]);
    let spec_of = |id: &str| spec(&world, id);
    let rules = spec_of(&search);
    assert_eq!((rules.rank, rules.scope.labels().len()), (2, 0), "all developers together");
    assert_eq!((per_period(&rules.limits), per_second(&rules.limits)), (Some((1, Period::Minute)), Some(2)));
    assert_eq!(per_period(&spec_of(&list).limits), Some((9, Period::Month)), "the period of the service");
    let wording = rules.wording.expect("the system's");
    assert_eq!(
        [&*wording.per_window, &*wording.per_quota, &*wording.closed, &*wording.subject],
        ["ERR_403_DEVELOPER_OVER_QPS", "ERR_403_DEVELOPER_OVER_RATE", "ERR_403_DEVELOPER_INACTIVE", "search"]
    );
}

#[tokio::test]
async fn keys_get_what_is_active_for_them() {
    let service = json!({"name": "s", "rateLimitCeiling": 1000, "qpsLimitCeiling": 10, "rateLimitOverrideAllowed": true});
    let Api { world, service, endpoints } = api(&service).await;
    let end = world.create(&endpoints, &endpoint("e", "/v1")).await;
    let mut paths = Vec::new();
    for (name, more) in [
        ("plain", json!({})),
        ("raised", json!({"rateLimitCeiling": 2000, "qpsLimitCeiling": 99})),
        ("exempt", json!({"rateLimitExempt": true, "qpsLimitExempt": true})),
        ("waits", json!({"status": "waiting"})),
        ("gone", json!({"status": "disabled", "rateLimitExempt": true})),
        ("a b/c", json!({})),
    ] {
        let mut body = json!({"apikey": name, "service": {"id": service}});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        if name.contains(' ') {
            assert_eq!(world.refused("POST", "/packageKeys", &body).await, ["apikey"]);
            continue;
        }
        paths.push(format!("/packageKeys/{}", world.create("/packageKeys", &body).await));
    }
    let of = |name: &str| {
        let limits = of_key(&world, &format!("{service}.keys"), name);
        (limits.closed, per_period(&limits).map(|(calls, _)| calls), per_second(&limits))
    };
    assert_eq!(of("plain"), (false, Some(1000), Some(10)));
    assert_eq!(of("raised"), (false, Some(2000), Some(10)), "the calls per second may not be overridden");
    let most = Some(u32::MAX);
    assert_eq!(of("exempt"), (false, most, Some(10)), "counted all the same");
    assert_eq!(of("waits"), (true, None, None));
    assert_eq!(of("gone"), (true, None, None));
    assert_eq!(of("unknown"), (true, None, None));
    world.put(&paths[0], &json!({"status": "disabled"})).await;
    assert_eq!(of("plain"), (true, None, None), "active when it is answered");

    // An endpoint's bound needs a counter, also for those without a limit.
    world.put(&format!("/services/{service}"), &json!({"rateLimitCeiling": null})).await;
    assert_eq!(of("exempt"), (false, None, Some(10)));
    world.put(&format!("{endpoints}/{end}"), &json!({"rateLimitCeiling": 500, "qpsLimitCeiling": 3})).await;
    assert_eq!(of("exempt"), (false, most, Some(10)));
    world.put(&format!("/services/{service}"), &json!({"qpsLimitCeiling": null})).await;
    assert_eq!(of("raised"), (false, Some(2000), most));
    let bounds = spec(&world, &format!("{end}.endpoint")).limits;
    assert_eq!((per_period(&bounds), per_second(&bounds)), (Some((500, Period::Day)), Some(3)));
}

#[tokio::test]
async fn the_service_as_a_whole_has_calls_per_second() {
    let Api { world, service, endpoints } = api(&json!({"name": "s", "qpsLimitOverall": 7})).await;
    world.create(&endpoints, &endpoint("e", "/v1")).await;
    let overall = || spec(&world, &format!("{service}.overall"));
    assert_eq!((per_second(&overall().limits), overall().scope.labels().len()), (Some(7), 0));
    let wording = overall().wording.expect("the system's");
    assert_eq!([&*wording.per_window, &*wording.subject], ["ERR_403_SERVICE_OVER_QPS", "s"]);
    for unlimited in [json!(null), json!(0), json!(-1)] {
        world.put(&format!("/services/{service}"), &json!({"qpsLimitOverall": unlimited})).await;
        assert!(overall().limits.is_empty(), "{unlimited}");
    }
}

#[tokio::test]
async fn a_change_goes_on_in_its_generation_and_touches_no_other_policy() {
    let Api { world, service, endpoints } = api(&json!({"name": "s", "rateLimitCeiling": 5})).await;
    let end = world.create(&endpoints, &endpoint("e", "/v1")).await;
    let key = world.create("/packageKeys", &json!({"apikey": "k", "service": {"id": service}})).await;
    let before = world.policies.runtime();
    world.put(&format!("/packageKeys/{key}"), &json!({"secret": "other"})).await;
    assert_eq!(world.policies.runtime().number(), before.number(), "a secret rules nothing");
    world.put(&format!("/services/{service}"), &json!({"rateLimitCeiling": 6})).await;
    let after = world.policies.runtime();
    let changed: Vec<String> = after.diff(&before).iter().map(|change| format!("{change:?}")).collect();
    assert_eq!(changed.len(), 1, "{changed:?}");
    assert!(changed[0].contains(".keys"), "{changed:?}");
    for name in [format!("{service}.keys"), format!("{end}.endpoint")] {
        let policy = after.get(&PolicyId::parse(&name).expect("valid")).expect("rules").generations.clone();
        assert_eq!(policy.keys().copied().collect::<Vec<_>>(), [1], "{name}");
    }
}
