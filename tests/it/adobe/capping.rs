//! The documented sequences of the Capping API, each followed by events that obey the cap it set: what is over the cap
//! is refused, and the endpoint sees at most so many calls in any period.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, one};
use crate::world::{NotedApp, Receiver, Server, ServerOptions, eventually, window_peak};

const PATIENCE: Duration = Duration::from_secs(20);
const PERIOD_MS: u64 = 1_500;
const AUTHORING: &str = "/authoring";
const ORCHESTRATION: &str = "/journey/orchestration";

async fn start(base: &'static str) -> World {
    World::start(base, "endpointConfigs").await
}

fn cap(calls: u64) -> Value {
    json!({"maxHttpConnections": 50, "rating": {"maxCallsCount": calls, "periodInMs": PERIOD_MS}})
}

fn config(world: &World, services: &Value) -> Value {
    json!({"url": world.receiver.url("/data/2.5/*"), "methods": ["POST", "PUT"], "services": services})
}

fn actions(world: &World, calls: u64) -> Value {
    config(world, &json!({"action": cap(calls)}))
}

/// Hands in `count` events one after the other; returns how many were taken. The others are refused as capped.
async fn hand_in(world: &World, labels: &Value, count: u64) -> u64 {
    let mut taken = 0;
    for number in 0..count {
        let (status, answer) = world.event("/data/2.5/weather", labels, number).await;
        match status {
            202 => taken += 1,
            _ => {
                assert_eq!((status, &answer["code"]), (429, &json!("capped")), "{answer}");
                let seconds = answer["retry_after_seconds"].as_u64().expect("seconds");
                assert!((1..=2).contains(&seconds), "{answer}");
            }
        }
    }
    taken
}

/// Hands in events until one is refused; returns how many were taken.
async fn hand_in_until_capped(world: &World) -> u64 {
    for number in 0..20 {
        let (status, answer) = world.event("/data/2.5/weather", &json!({}), number).await;
        if status != 202 {
            assert_eq!((status, &answer["code"]), (429, &json!("capped")), "{answer}");
            return number;
        }
    }
    panic!("nothing is refused");
}

/// What was taken arrives, and no period has seen more than the cap.
async fn obeys(world: &World, taken: usize, calls: usize) {
    eventually("what was taken arrives", PATIENCE, async || world.receiver.count() == taken).await;
    let times = world.app.times();
    assert_eq!(times.len(), taken, "what was refused was never tried");
    let peak = window_peak(&times, PERIOD_MS * 1_000_000);
    assert!(peak <= calls, "{peak} in one period");
}

/// A cap of `calls` rules: of more events at once so many are taken, and again when the period has gone by.
async fn caps(world: &World, calls: u64) {
    assert_eq!(hand_in(world, &json!({}), calls + 5).await, calls);
    eventually("there is room again", PATIENCE, async || {
        world.event("/data/2.5/weather", &json!({}), 99).await.0 == 202
    })
    .await;
    let taken = calls as usize + 1;
    obeys(world, taken, calls as usize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_1_a_new_config_is_created_and_deployed() {
    let world = start(AUTHORING).await;
    assert_eq!(world.listed().await, []);
    let uid = world.created(&actions(&world, 6)).await;
    world.can_deploy(&uid).await;
    world.is_unmatched("/data/2.5/weather").await;
    world.deployed(&uid).await;
    assert_eq!(world.listed().await, one(&uid, "deployed"));
    caps(&world, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_2_a_config_that_is_not_deployed_yet_is_updated_and_deployed() {
    let world = start(ORCHESTRATION).await;
    let uid = world.created(&actions(&world, 500)).await;
    assert_eq!(world.listed().await, one(&uid, "created"));
    assert_eq!(world.got(&uid).await["services"]["action"], cap(500));
    let updated = world.updated(&uid, &actions(&world, 4)).await;
    assert_eq!((&updated["state"], &updated["hasBeenDeployed"]), (&json!("updated"), &json!(false)));
    world.can_deploy(&uid).await;
    world.deployed(&uid).await;
    caps(&world, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_3_a_deployed_config_is_undeployed_and_deleted() {
    let world = start(AUTHORING).await;
    let uid = world.created(&actions(&world, 3)).await;
    world.deployed(&uid).await;
    assert_eq!(hand_in(&world, &json!({}), 5).await, 3);
    assert_eq!(world.listed().await, one(&uid, "deployed"));
    world.undeployed(&uid).await;
    world.undeployed(&uid).await;
    assert_eq!(world.listed().await, one(&uid, "created"));
    world.is_unmatched("/data/2.5/weather").await;
    world.deleted(&uid, "").await;
    assert_eq!(world.listed().await, []);
    obeys(&world, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_4_a_deployed_config_is_deleted_with_force() {
    let world = start(ORCHESTRATION).await;
    let uid = world.created(&actions(&world, 3)).await;
    world.deployed(&uid).await;
    assert_eq!(hand_in(&world, &json!({}), 5).await, 3);
    assert_eq!(world.listed().await, one(&uid, "deployed"));
    let (status, refused) = world.call("DELETE", &format!("/{uid}"), &json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (500, &json!(1451)), "{refused}");
    world.deleted(&uid, "?forceDelete=true").await;
    assert_eq!(world.listed().await, []);
    world.is_unmatched("/data/2.5/weather").await;
    obeys(&world, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_5_an_update_of_a_deployed_config_waits_for_the_next_deploy() {
    let world = start(AUTHORING).await;
    let uid = world.created(&actions(&world, 3)).await;
    world.deployed(&uid).await;
    assert_eq!(world.listed().await, one(&uid, "deployed"));
    world.got(&uid).await;
    let updated = world.updated(&uid, &actions(&world, 8)).await;
    assert_eq!((&updated["state"], &updated["hasBeenDeployed"]), (&json!("updated"), &json!(true)));
    assert_eq!(updated["deployedConfig"]["services"]["action"], cap(3));
    assert_eq!(hand_in(&world, &json!({}), 6).await, 3, "what was deployed rules");

    world.undeployed(&uid).await;
    world.is_unmatched("/data/2.5/weather").await;
    world.can_deploy(&uid).await;
    world.deployed(&uid).await;
    assert_eq!(world.got(&uid).await["deployedConfig"]["services"]["action"], cap(8));
    let more = hand_in(&world, &json!({}), 12).await;
    // What left before counts for as long as the period lasts.
    assert!((5..=8).contains(&more), "{more}");
    obeys(&world, 3 + more as usize, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_and_each_sandbox_has_its_own_cap() {
    let world = start(AUTHORING).await;
    let uid = world.created(&config(&world, &json!({"action": cap(4), "dataSource": cap(2)}))).await;
    world.deployed(&uid).await;
    let of = |service: &str| json!({"service": service});
    assert_eq!(hand_in(&world, &of("dataSource"), 4).await, 2);
    assert_eq!(hand_in(&world, &of("action"), 6).await, 4);
    let elsewhere = json!({"sandbox": "dev"});
    let (status, answer) = world.event("/data/2.5/weather", &elsewhere, 0).await;
    assert_eq!((status, &answer["code"]), (422, &json!("unmatched")), "another sandbox has no cap here");
    obeys(&world, 6, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_waited_for_and_never_a_reason_to_refuse() {
    let held = Duration::from_millis(250);
    let receiver = Receiver::answering(move |_| (204, held)).await;
    let world = World { receiver, ..start(AUTHORING).await };
    let two = json!({"maxHttpConnections": 2, "rating": {"maxCallsCount": 100, "periodInMs": 1000}});
    let uid = world.created(&config(&world, &json!({"action": two}))).await;
    world.deployed(&uid).await;
    assert_eq!(hand_in(&world, &json!({}), 8).await, 8);
    eventually("all arrive", PATIENCE, async || world.receiver.count() == 8).await;
    let mut arrivals: Vec<u64> = world.receiver.arrivals().iter().map(|arrival| arrival.at_ns).collect();
    arrivals.sort_unstable();
    for (first, third) in arrivals.iter().zip(arrivals.iter().skip(2)) {
        assert!(third - first >= held.as_nanos() as u64, "three calls were under way at once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_throttle_and_is_then_over_a_cap_is_a_dead_letter() {
    let world = start(AUTHORING).await;
    world.api.deploy_throttling(&world.receiver.url("/*"), 200).await;
    let uid = world.created(&actions(&world, 5)).await;
    world.deployed(&uid).await;
    let accepted = world.api.enqueue(&world.receiver.url("/data/2.5/weather"), 0..20).await;
    assert_eq!(accepted.len(), 20, "an event that can wait is not refused at the door");
    let mut outcomes = Vec::new();
    eventually("all have ended", PATIENCE, async || {
        outcomes.clear();
        for (_, id) in &accepted {
            let (_, state) = world.api.get(&format!("/v1/events/{id}")).await;
            let state: Value = serde_json::from_str(&state).expect("JSON");
            outcomes.push(state["outcome"].as_str().unwrap_or("none").to_owned());
        }
        outcomes.iter().all(|outcome| outcome != "none")
    })
    .await;
    let (first, rest) = outcomes.split_at(5);
    assert!(first.iter().all(|outcome| outcome == "delivered"), "{outcomes:?}");
    assert!(rest.iter().all(|outcome| outcome == "dead"), "{outcomes:?}");
    obeys(&world, 5, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_409_in_both_forms_when_the_draft_is_followed() {
    for (refusals, code) in [("dialect", "error"), ("uniform", "code")] {
        let app = NotedApp::start(&[("manage.refusals", refusals), ("capping.status", "409")]).await;
        let world = World { api: app.api(), app, ..start(AUTHORING).await };
        let uid = world.created(&actions(&world, 1)).await;
        world.deployed(&uid).await;
        assert_eq!(world.event("/data/2.5/weather", &json!({}), 0).await.0, 202);
        let (status, answer) = world.event("/data/2.5/weather", &json!({}), 1).await;
        assert_eq!(
            (status, &answer["status"], &answer[code]),
            (409, &json!(409), &json!("capped")),
            "{answer}"
        );
        obeys(&world, 1, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_config_goes_on_with_the_count_of_one_that_was_deleted_by_force() {
    let world = start(AUTHORING).await;
    let long = |path: &str, calls: u64| {
        let rating = json!({"maxCallsCount": calls, "periodInMs": 600_000});
        let services = json!({"action": {"maxHttpConnections": 50, "rating": rating}});
        json!({"url": world.receiver.url(path), "methods": ["POST"], "services": services})
    };
    let first = world.created(&long("/data/2.5/*", 3)).await;
    world.deployed(&first).await;
    assert_eq!(hand_in_until_capped(&world).await, 3);
    world.deleted(&first, "?forceDelete=true").await;
    // The same url in another spelling.
    let second = world.created(&long("/./data/2.5/*", 5)).await;
    world.deployed(&second).await;
    assert_eq!(hand_in_until_capped(&world).await, 2, "three of the five were made before");
    world.deleted(&second, "?forceDelete=true").await;
    let other = world.created(&long("/data/*", 3)).await;
    world.deployed(&other).await;
    assert_eq!(hand_in_until_capped(&world).await, 3, "the control: another url has a count of its own");
    eventually("what was taken arrives", PATIENCE, async || world.receiver.count() == 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cap_outlasts_a_kill_and_too_many_connections_are_told_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let (configs, event) =
        ("/authoring/endpointConfigs", json!({"url": receiver.url("/x"), "body": {"n": 0}}));
    let server = Server::start(&options);
    let api = server.api();
    let service =
        json!({"maxHttpConnections": 30_000, "rating": {"maxCallsCount": 3, "periodInMs": 600_000}});
    let config = json!({"url": receiver.url("/*"), "methods": ["POST"], "services": {"action": service}});
    let (_, created) = api.json("POST", configs, &config).await;
    assert_eq!(created["createdElement"]["services"]["action"]["maxHttpConnections"], 30_000, "{created}");
    let path = format!("{configs}/{}", created["uid"].as_str().expect("a uid"));
    for _ in 0..2 {
        assert_eq!(api.json("POST", &format!("{path}/deploy"), &json!({})).await.0, 204);
    }
    let told = |server: &Server| server.log().iter().filter(|line| line.contains("30000")).count();
    eventually("it is told", PATIENCE, async || told(&server) == 1).await;
    for _ in 0..3 {
        assert_eq!(api.json("POST", "/v1/events", &event).await.0, 202);
    }
    eventually("all arrive", PATIENCE, async || receiver.count() == 3).await;
    assert_eq!(api.json("POST", "/v1/events", &event).await.1["code"], "capped");
    assert_eq!(told(&server), 1);
    server.kill();

    let server = Server::start(&options);
    let api = server.api();
    let (_, shown) = api.get(&path).await;
    assert!(shown.contains("\"hasBeenDeployed\":true"), "{shown}");
    assert_eq!(api.json("POST", "/v1/events", &event).await.1["code"], "capped");
    assert_eq!(api.json("DELETE", &format!("{path}?forceDelete=true"), &json!({})).await.0, 200);
    assert_eq!(api.json("POST", "/v1/events", &event).await.1["code"], "unmatched");
    assert_eq!((server.stop().code(), receiver.count()), (Some(0), 3));
}
