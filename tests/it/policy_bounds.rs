//! Bounds on policies: at every way in what is beyond is refused by name, and neither the policy book nor the metrics grow
//! by what a header or a body invents.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, eventually};

const SOON: Duration = Duration::from_secs(20);

/// The patterns are told apart by a number.
fn block(number: usize) -> String {
    format!("[[policy]]\nname = \"p{number}\"\nurl = \"http://127.0.0.1:9/{number}/*\"\npace = 200\n")
}

async fn world(settings: &str) -> (Configured, Server) {
    let world = Configured::new(Receiver::start().await);
    world.write(settings);
    let server = Server::start(&world.options);
    (world, server)
}

/// A request on behalf of an organisation.
async fn of_org(api: &Api, org: &str, path: &str, body: &Value) -> (u16, Value) {
    let headers = [("x-gw-ims-org-id", org)];
    api.json_with("POST", path, &headers, body).await
}

fn throttling() -> Value {
    json!({"urlPattern": "http://127.0.0.1:9/*", "methods": ["POST"], "maxThroughput": 200})
}

fn capping() -> Value {
    let rating = json!({"maxCallsCount": 5, "periodInMs": 1000});
    json!({"url": "http://127.0.0.1:9/*", "methods": ["GET"], "services": {"action": {"rating": rating}}})
}

fn of_plugin(endpoint: usize) -> Value {
    json!({"plugin_version_id": "2", "plugin_endpoint": format!("/{endpoint}"), "scope": "GLOBAL", "max_qps": 5})
}

/// A Mashery service with an endpoint amounts to three policies.
async fn mashery_endpoint(api: &Api, alias: &str) -> (u16, Value) {
    let (status, service) = api.json("POST", "/v3/rest/services", &json!({"name": "s"})).await;
    assert_eq!(status, 200, "{service}");
    let path = format!("/v3/rest/services/{}/endpoints", service["id"].as_str().expect("an id"));
    let endpoint =
        json!({"name": "e", "requestPathAlias": alias, "publicDomains": [{"address": "127.0.0.1:9"}]});
    api.json("POST", &path, &endpoint).await
}

async fn policies(api: &Api) -> usize {
    let (_, text) = api.get("/v1/policies?limit=1000").await;
    let all: Value = serde_json::from_str(&text).expect("JSON");
    all["policies"].as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn organisations_that_a_header_invents_are_refused_beyond_the_bound() {
    let (_world, server) = world("[manage]\nmax_policies_per_dialect = 8\n").await;
    let api = server.api();
    let (mut made, mut uids) = (0, Vec::new());
    for number in 0..40 {
        let (status, answer) =
            of_org(&api, &format!("org{number}"), "/authoring/throttlingConfigs", &throttling()).await;
        if status == 200 {
            made += 1;
            uids.push((number, answer["uid"].as_str().expect("a uid").to_owned()));
            continue;
        }
        let error: Value = serde_json::from_str(answer["error"].as_str().expect("text")).expect("JSON");
        assert_eq!((status, &error["code"]), (400, &json!(1465)), "{answer}");
        let told = error["message"].as_str().expect("text");
        assert!(told.contains("8 policies") && told.contains("manage.max_policies_per_dialect"), "{told}");
    }
    assert_eq!((made, policies(&api).await), (8, 8));
    // What is there is deployed, changed and removed as before, and makes room.
    let (number, uid) = &uids[0];
    let path = format!("/authoring/throttlingConfigs/{uid}");
    let org = format!("org{number}");
    assert_eq!(of_org(&api, &org, &format!("{path}/deploy"), &json!({})).await.0, 204);
    assert_eq!(of_org(&api, &org, &format!("{path}/undeploy"), &json!({})).await.0, 204);
    // Another generation beside the one that drains is one more.
    let (status, answer) = of_org(&api, &org, &format!("{path}/deploy"), &json!({})).await;
    assert!(status == 400 && answer.to_string().contains("1458"), "{status} {answer}");
    let (other, idle) = &uids[1];
    let path = format!("/authoring/throttlingConfigs/{idle}");
    let headers = [("x-gw-ims-org-id", &*format!("org{other}"))];
    assert_eq!(api.json_with("DELETE", &path, &headers, &json!({})).await.0, 200);
    assert_eq!(of_org(&api, "new", "/authoring/throttlingConfigs", &throttling()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_names_the_bound_and_what_is_there_survives_a_lower_one() {
    let (world, server) = world("[manage]\nmax_policies = 4\n").await;
    let api = server.api();
    assert_eq!(mashery_endpoint(&api, "/a").await.0, 200, "three policies");
    let (status, answer) = api.json("POST", "/v1/plugins/1/versions/2/throttlings", &of_plugin(1)).await;
    assert_eq!(status, 201, "the fourth: {answer}");

    let (status, answer) = api.json("POST", "/v1/plugins/1/versions/2/throttlings", &of_plugin(2)).await;
    assert_eq!((status, &answer["error_code"]), (409, &json!("TOO_MANY_THROTTLINGS")));
    assert!(answer["error"].as_str().expect("text").contains("manage.max_policies allows"), "{answer}");
    let (status, answer) = mashery_endpoint(&api, "/b").await;
    assert_eq!((status, &answer["errorCode"]), (400, &json!(400)));
    assert!(
        answer["errorMessage"].as_str().expect("text").contains("manage.max_policies allows"),
        "{answer}"
    );
    let (status, answer) = api.json("PUT", "/v1/responsys/accounts/acme", &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("policies_full")), "{answer}");
    assert!(answer["detail"].as_str().expect("text").contains("manage.max_policies allows"), "{answer}");
    let (status, answer) = of_org(&api, "o", "/authoring/throttlingConfigs", &throttling()).await;
    assert!(status == 400 && answer.to_string().contains("1465"), "{answer}");

    let (status, answer) = of_org(&api, "o", "/authoring/endpointConfigs", &capping()).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(1456)), "{answer}");
    let told = answer["error"]["message"].as_str().expect("text");
    assert!(told.contains("manage.max_policies allows"), "{answer}");
    assert_eq!(policies(&api).await, 4, "nothing of what was refused is there");

    // The bound is lowered: all of it is read again, works, and only more is refused.
    assert_eq!(server.stop().code(), Some(0));
    world.write("[manage]\nmax_policies = 2\n");
    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!(policies(&api).await, 4);
    let throttling = "/v1/plugins/1/versions/2/throttlings/1001";
    let mut changed = of_plugin(1);
    changed["max_qps"] = json!(7);
    assert_eq!(api.json("PUT", throttling, &changed).await.0, 200);
    assert_eq!(api.json("POST", "/v1/policies/mics.1001:pause", &json!({"reason": "a test"})).await.0, 200);
    let (status, _) = api.json("POST", "/v1/plugins/1/versions/2/throttlings", &of_plugin(2)).await;
    assert_eq!(status, 409);
    assert_eq!(api.json("DELETE", throttling, &Value::Null).await.0, 200);
}

/// Each service of a config that is not deployed is an idle policy, which counts, and one more generation when it is
/// deployed again while the first one drains.
#[tokio::test(flavor = "multi_thread")]
async fn idle_capping_configs_are_shown_and_have_a_bound_of_their_own() {
    let (_world, server) = world("[manage]\nmax_policies = 4\n[capping]\nmax_configs_per_org = 2\n").await;
    let api = server.api();
    let mut uid = String::new();
    for allowed in [true, true, false] {
        let (status, answer) = of_org(&api, "o", "/authoring/endpointConfigs", &capping()).await;
        if allowed {
            assert_eq!(status, 200, "{answer}");
            uid = answer["uid"].as_str().expect("a uid").to_owned();
        } else {
            assert_eq!((status, &answer["error"]["code"]), (400, &json!(1456)), "{answer}");
        }
    }
    let (_, shown) = api.json("GET", &format!("/v1/policies/{uid}.action"), &json!({})).await;
    assert_eq!((&shown["state"], &shown["origin"]), (&json!("idle"), &json!("capping")), "{shown}");
    assert_eq!(of_org(&api, "another", "/authoring/endpointConfigs", &capping()).await.0, 200);
    assert_eq!(policies(&api).await, 3);
    let path = format!("/authoring/endpointConfigs/{uid}");
    for (verb, allowed) in
        [("deploy", true), ("undeploy", true), ("deploy", true), ("undeploy", true), ("deploy", false)]
    {
        let (status, answer) = of_org(&api, "o", &format!("{path}/{verb}"), &json!({})).await;
        match allowed {
            true => assert_eq!(status, 204, "{verb}: {answer}"),
            false => assert_eq!((status, &answer["error"]["code"]), (400, &json!(1453)), "{answer}"),
        }
    }
    assert_eq!(policies(&api).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_file_with_more_is_a_bad_configuration() {
    let blocks: String = (0..4).map(block).collect();
    let world = Configured::new(Receiver::start().await);
    world.write(&format!("[manage]\nmax_policies_per_dialect = 3\n{blocks}"));
    let (status, log) =
        Server::start_within(&world.options, Duration::from_secs(60)).map(drop).expect_err("no start");
    assert_eq!(status.and_then(|status| status.code()), Some(64), "{log:?}");
    let told = log.join("\n");
    assert!(
        told.contains(":15: manage.max_policies_per_dialect: allows 3 policies, the file has 4"),
        "{told}"
    );

    // What the dialects have already leaves less for the file.
    let (world, server) = self::world("[manage]\nmax_policies = 4\n").await;
    assert_eq!(mashery_endpoint(&server.api(), "/a").await.0, 200);
    world.write(&format!("[manage]\nmax_policies = 4\n{}", [0, 1].map(block).concat()));
    server.signal("HUP");
    eventually("it is refused", SOON, async || {
        server.log().iter().any(|line| line.contains("manage.max_policies allows"))
    })
    .await;
    assert_eq!(policies(&server.api()).await, 3, "nothing has changed");
    world.write(&format!("[manage]\nmax_policies = 4\n{}", block(0)));
    server.signal("HUP");
    eventually("one more is taken", SOON, async || policies(&server.api()).await == 4).await;
}

/// However many policies there are, the metrics have series for a few, and no figure is lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_stay_small_and_complete() {
    let receiver = Receiver::start().await;
    let base = receiver.url("");
    let world = Configured::new(receiver);
    let policy = |number: usize| {
        format!("[[policy]]\nname = \"p{number}\"\nurl = \"{base}/{number}/*\"\npace = 200\nslots = 3\n")
    };
    let blocks: String = (0..300).map(policy).collect();
    let mut sizes = Vec::new();
    for (most, expected) in [(6, 6_u16), (600, 300)] {
        world.write(&format!("[metrics]\nmax_policies = {most}\n{blocks}"));
        let server = Server::start(&world.options);
        let api = server.api();
        let (_, text) = api.get("/metrics").await;
        for (series, is_there) in [
            ("tidegate_events_enqueued_total{policy=\"other\",source=\"http\"} 0", expected < 300),
            ("tidegate_call_attempts_total{policy=\"other\",result=\"5xx\"} 0", expected < 300),
            ("tidegate_events_enqueued_total{policy=\"-\",source=\"http\"} 0", true),
            ("tidegate_event_lifetime_seconds_count{outcome=\"lost\"} 0", true),
            ("tidegate_events_rejected_total{reason=\"storage_full\"} 0", true),
        ] {
            assert_eq!(text.lines().any(|line| line == series), is_there, "{series} in\n{text}");
        }
        eventually("limits of all others begin, too", SOON, async || {
            let series = "tidegate_limit_violations_total{policy=\"other\",limit=\"pace\"} 0";
            let (_, text) = api.get("/metrics").await;
            text.contains("tidegate_limiter_permits_total{")
                && text.lines().any(|line| line == series) == (expected < 300)
        })
        .await;
        let before = world.receiver.count();
        for number in 280..300 {
            let event = json!({"url": format!("{base}/{number}/x"), "body": {"n": number}});
            assert_eq!(api.json("POST", "/v1/events", &event).await.0, 202);
        }
        eventually("all arrive", SOON, async || world.receiver.count() == before + 20).await;
        eventually("all are counted", SOON, async || {
            api.metric("tidegate_events_completed_total", "outcome=\"delivered\"").await == 20.0
        })
        .await;
        eventually("the gauges are set", SOON, async || {
            api.metric("tidegate_limit_permits_per_second", "").await == 300.0 * 200.0
        })
        .await;
        let (_, text) = api.get("/metrics").await;
        let labels: BTreeSet<&str> =
            text.split("policy=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let named = labels.iter().filter(|label| !["-", "other"].contains(label)).count();
        assert_eq!(named, usize::from(expected), "{labels:?}");
        assert_eq!(labels.contains("other"), expected < 300, "{labels:?}");
        let oldest = (0..6).all(|number| labels.contains(&*format!("p{number}")));
        assert!(oldest, "the first have been there longest: {labels:?}");
        assert_eq!(api.metric("tidegate_policies_without_series", "").await, 300.0 - f64::from(expected));
        sizes.push(text.len());
        assert_eq!(server.stop().code(), Some(0));
    }
    // The first bound grows with the number of metrics alone. The control: with a series for each policy a page would grow
    // with them.
    assert!(sizes[0] < 110_000 && sizes[1] > 4 * sizes[0], "{sizes:?}");
}
