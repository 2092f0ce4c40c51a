//! Calls without any label of tidegate, in whatever spelling of url, method and place of the key: each meets its limits.

use http::{HeaderMap, HeaderValue, Method, header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::scenarios::World;
use crate::event::{Call, CanonicalUrl, Labels};
use crate::manage::mashery::Mashery;
use crate::manage::{Dialect, Options};

const LOCATIONS: [&str; 4] = ["request-parameters", "request-header", "request-body", "request-path"];

/// A call as a producer spells it.
#[derive(Debug, Clone)]
struct Spelled {
    method: Method,
    url: String,
    headers: HeaderMap,
    body: String,
}

impl World {
    /// The lane of a call whose event carries no label.
    fn lane(&self, call: &Spelled) -> String {
        let (own, fallback) = (Labels::default(), Labels::default());
        let url = CanonicalUrl::parse(&call.url).expect(&call.url);
        let Spelled { method, headers, body, .. } = call;
        let seen = Call { method, url: &url, headers, body: body.as_bytes(), own: &own, fallback: &fallback };
        let implies = Mashery.implies(&Options::default(), &self.policies.book()).expect("readable");
        let implied = implies.expect("endpoints")(&seen);
        let labels =
            Labels::new(implied.into_iter().map(|(key, value)| (key.to_owned(), value))).expect("labels");
        let lane = self.policies.runtime().route(method, &url, &labels).expect("few");
        lane.map_or_else(String::new, |lane| lane.key().to_string())
    }
}

/// A service with an endpoint for each place of the key, each with a method in the header and one in the path, and a key of a
/// plan. Returns the parts of the lane that every call of the key has, by endpoint.
async fn world() -> (World, Vec<[String; 5]>) {
    let world = World::new().await;
    let endpoints = LOCATIONS.map(|location| {
        let name = if location == "request-path" { "2" } else { "Key" };
        json!({"name": location, "requestPathAlias": format!("/{location}"),
            "publicDomains": [{"address": "api.example.com"}, {"address": "h.test:8443"}],
            "supportedHttpMethods": ["get", "POST"], "rateLimitCeiling": 9,
            "apiKeyValueLocations": [location], "apiKeyValueLocationKey": name, "allowMissingApiKey": false,
            "apiMethodDetectionLocations": ["request-header"], "apiMethodDetectionKey": "X-Action",
            "methods": [{"name": "list", "rateLimitCeiling": 5}, {"name": "get", "rateLimitCeiling": 5}]})
    });
    let body = json!({"name": "s", "qpsLimitOverall": 100, "endpoints": endpoints});
    let (_, made) = world.ask("POST", "/services?fields=id,endpoints.id,endpoints.methods.id", &body).await;
    let package = json!({"name": "p", "plans": [{"name": "gold", "rateLimitCeiling": 7, "services": [{"id": made["id"]}]}]});
    let (_, package) = world.ask("POST", "/packages?fields=id,plans.id", &package).await;
    let plan = &package["plans"][0]["id"];
    world
        .create(
            "/packageKeys",
            &json!({"apikey": "k1", "package": {"id": package["id"]}, "plan": {"id": plan}}),
        )
        .await;
    let part = |id: &Value, suffix: &str| format!("{}.{suffix}@1", id.as_str().expect("an id"));
    let parts = made["endpoints"].as_array().expect("endpoints").iter().map(|endpoint| {
        [
            part(&made["id"], "overall"),
            part(&made["id"], "keys"),
            part(plan, "plan"),
            part(&endpoint["id"], "endpoint"),
            part(&endpoint["methods"][0]["id"], "method"),
        ]
    });
    let parts = parts.collect();
    (world, parts)
}

/// The same text with some of its letters as escapes.
fn escaped(text: &str, dice: &mut fastrand::Rng) -> String {
    let spell = |letter: char| match dice.u8(..6) {
        0 => format!("%{:02x}", u32::from(letter)),
        1 => format!("%{:02X}", u32::from(letter)),
        _ => letter.to_string(),
    };
    text.chars().map(spell).collect()
}

/// A call of the key to the endpoint with this number, of its method `list`.
fn spelled(endpoint: usize, key: &str, dice: &mut fastrand::Rng) -> Spelled {
    let (mut headers, mut body, location) = (HeaderMap::new(), String::new(), LOCATIONS[endpoint]);
    let mut query = vec!["x=1".to_owned(), "key=other".to_owned()];
    let starts = [
        "http://api.example.com",
        "HTTPS://API.Example.com:443",
        "http://api.example.com.:80",
        "http:\\\\api.example.com",
        "https://H.test:08443",
        "http://h.test:8443",
    ];
    let mut url = starts[dice.usize(..starts.len())].to_owned();
    url.push_str(["/", "/./", "/x/../", "/%2e/", "\\"][dice.usize(..5)]);
    url.push_str(&escaped(location, dice));
    if location == "request-path" {
        url.push_str(&format!("/{}", escaped(key, dice)));
    }
    url.push_str(["", "/", "/y", "/y//z"][dice.usize(..4)]);
    match location {
        "request-parameters" => query.push(format!("{}={}", escaped("Key", dice), escaped(key, dice))),
        "request-header" => {
            let name = ["Key", "KEY", "key"][dice.usize(..3)].parse::<header::HeaderName>().expect("a name");
            headers.insert(name, HeaderValue::from_str(&format!(" {key} ")).expect("plain"));
        }
        "request-body" if dice.bool() => {
            let form =
                ["application/x-www-form-urlencoded", "Application/X-WWW-Form-UrlEncoded; charset=utf-8"];
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form[dice.usize(..2)]));
            body = format!("a=1&{}={}", escaped("Key", dice), escaped(key, dice));
        }
        "request-body" => body = json!({"a": {"Key": "other"}, "Key": key}).to_string(),
        _ => {}
    }
    // The method stands in the header, or where that says nothing, in the path.
    if dice.bool() {
        let name = ["x-action", "X-ACTION"][dice.usize(..2)].parse::<header::HeaderName>().expect("a name");
        headers.insert(name, HeaderValue::from_static("list"));
        url.push_str(["", "/get"][dice.usize(..2)]);
    } else {
        url.push_str(&format!("/{}", escaped("list", dice)));
    }
    dice.shuffle(&mut query);
    let method = [Method::GET, Method::POST][dice.usize(..2)].clone();
    Spelled { method, url: format!("{url}?{}#f", query.join("&")), headers, body }
}

#[test]
fn no_spelling_of_a_call_escapes_its_limits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (world, parts) = runtime.block_on(world());
    proptest!(ProptestConfig::with_cases(2_000), |(seed in any::<u64>(), endpoint in 0..LOCATIONS.len())| {
        let mut dice = fastrand::Rng::with_seed(seed);
        let call = spelled(endpoint, "k1", &mut dice);
        let lane = world.lane(&call);
        prop_assert!(parts[endpoint].iter().all(|part| lane.contains(part.as_str())), "{:?} {}", call, lane);
        prop_assert!(lane.contains("api_key=k1"), "{:?} {}", call, lane);
        // The controls: another key is none of the plan, and a call without one is counted under no key.
        let lane = world.lane(&spelled(endpoint, "k2", &mut dice));
        prop_assert!(!lane.contains(".plan@") && lane.contains("api_key=k2"), "{}", lane);
    });
}

#[tokio::test]
async fn parameters_of_an_alias_stand_for_any_text() {
    let world = World::new().await;
    let end = |alias: &str| {
        json!({"name": alias, "requestPathAlias": alias, "publicDomains": [{"address": "api.example.com"}],
            "apiKeyValueLocations": ["request-parameters"], "methods": [{"name": "photos"}]})
    };
    let body = json!({"name": "s", "endpoints": [end("/pets"), end("/pets/{petId}")]});
    let (_, made) = world.ask("POST", "/services?fields=endpoints.id,endpoints.methods.id", &body).await;
    let id = |place: usize| made["endpoints"][place]["id"].as_str().expect("an id");
    let lane = |path: &str| {
        let url = format!("http://api.example.com{path}?api_key=k");
        world.lane(&Spelled { method: Method::GET, url, headers: HeaderMap::new(), body: String::new() })
    };
    for (path, place) in [("/pets", 0), ("/petshop/x", 0), ("/pets/7", 1), ("/pets/7/photos", 1)] {
        let found = lane(path);
        assert!(
            found.contains(&format!("{}.endpoint@", id(place))) && found.contains("api_key=k"),
            "{path} {found}"
        );
    }
    let photos = made["endpoints"][1]["methods"][0]["id"].as_str().expect("an id");
    assert!(lane("/pets/photos/photos").contains(photos));
    assert!(!lane("/pets/photos").contains(photos), "that is the parameter");
}

#[tokio::test]
async fn a_call_without_a_key_is_turned_away_where_one_is_wanted() {
    let (world, _) = world().await;
    let call = |path: &str| Spelled {
        method: Method::GET,
        url: format!("http://api.example.com{path}"),
        headers: HeaderMap::new(),
        body: String::new(),
    };
    let closed = |lane: &str, service: &str| {
        lane.contains(&format!("{service}.keys@")) && lane.contains("api_key=no%20key")
    };
    let service = world.get("/services?fields=id").await[0]["id"].as_str().expect("an id").to_owned();
    let lane = world.lane(&call("/request-header/x"));
    assert!(closed(&lane, &service), "{lane}");
    let long = format!("/request-path/{}", "k".repeat(300));
    assert!(closed(&world.lane(&call(&long)), &service), "no label can be so long");
    let endpoints = format!("/services/{service}/endpoints");
    for endpoint in world.get(&format!("{endpoints}?fields=id")).await.as_array().expect("a list") {
        let path = format!("{endpoints}/{}", endpoint["id"].as_str().expect("an id"));
        world.put(&path, &json!({"allowMissingApiKey": true})).await;
    }
    let lane = world.lane(&call("/request-header/x"));
    assert!(!lane.contains("api_key"), "{lane}");
    world.create("/packageKeys", &json!({"apikey": "noapikey", "service": {"id": service}})).await;
    let lane = world.lane(&call("/request-header/x"));
    assert!(lane.contains("api_key=noapikey"), "{lane}");
}
