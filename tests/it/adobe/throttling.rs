//! The documented sequences of the Throttling API, each followed by events that obey the limit it set: in order, and at
//! most so many in any sliding second.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, one};
use crate::world::{eventually, window_peak};

const PATIENCE: Duration = Duration::from_secs(20);
const SECOND_NS: u64 = 1_000_000_000;
const AUTHORING: &str = "/authoring";
const ORCHESTRATION: &str = "/journey/orchestration";

async fn start(base: &'static str) -> World {
    World::start(base, "throttlingConfigs").await
}

fn config(world: &World, per_second: u32) -> Value {
    json!({
        "name": "partner",
        "urlPattern": world.receiver.url("/data/2.5/*"),
        "methods": ["POST", "PUT"],
        "maxThroughput": per_second,
    })
}

/// Hands in events with the numbers up to `count`.
async fn backlog(world: &World, count: u64) {
    let accepted = world.api.enqueue(&world.receiver.url("/data/2.5/weather"), 0..count).await;
    assert_eq!(accepted.len() as u64, count);
}

/// All of them leave and arrive, in order, once each, at no more than `per_second`.
async fn leave(world: &World, count: u64, per_second: usize) {
    eventually("all arrive", PATIENCE, async || world.receiver.count() as u64 >= count).await;
    assert_eq!(world.app.numbers(), (0..count).collect::<Vec<_>>(), "in order, once each");
    let peak = window_peak(&world.app.times(), SECOND_NS);
    assert!(peak <= per_second, "{peak} in one sliding second");
    assert!(world.receiver.times_seen().values().all(|times| *times == 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_1_a_new_config_is_created_and_deployed() {
    let world = start(AUTHORING).await;
    assert_eq!(world.listed().await, []);
    let uid = world.created(&config(&world, 200)).await;
    world.can_deploy(&uid).await;
    world.is_unmatched("/data/2.5/weather").await;
    world.deployed(&uid).await;
    assert_eq!(world.listed().await, one(&uid, "deployed"));
    backlog(&world, 400).await;
    leave(&world, 400, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_2_a_config_that_is_not_deployed_yet_is_updated_and_deployed() {
    let world = start(ORCHESTRATION).await;
    let uid = world.created(&config(&world, 5000)).await;
    assert_eq!(world.listed().await, one(&uid, "created"));
    assert_eq!(world.got(&uid).await["maxThroughput"], 5000);
    let updated = world.updated(&uid, &config(&world, 300)).await;
    assert_eq!((&updated["state"], &updated["hasBeenDeployed"]), (&json!("updated"), &json!(false)));
    world.can_deploy(&uid).await;
    world.deployed(&uid).await;
    backlog(&world, 600).await;
    leave(&world, 600, 300).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_3_a_deployed_config_is_undeployed_and_deleted_and_its_backlog_drains() {
    let world = start(AUTHORING).await;
    let uid = world.created(&config(&world, 200)).await;
    world.deployed(&uid).await;
    backlog(&world, 400).await;
    assert_eq!(world.listed().await, one(&uid, "deployed"));
    world.undeployed(&uid).await;
    assert_eq!(world.listed().await, one(&uid, "created"));
    world.is_unmatched("/data/2.5/weather").await;
    world.deleted(&uid, "").await;
    assert_eq!(world.listed().await, []);
    assert!(world.receiver.count() < 400, "something is left to drain");
    leave(&world, 400, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_4_a_deployed_config_is_deleted_with_force_and_its_backlog_drains() {
    let world = start(ORCHESTRATION).await;
    let uid = world.created(&config(&world, 200)).await;
    world.deployed(&uid).await;
    backlog(&world, 400).await;
    assert_eq!(world.listed().await, one(&uid, "deployed"));
    let (status, refused) = world.call("DELETE", &format!("/{uid}"), &json!({})).await;
    assert_eq!(status, 400);
    assert!(refused["error"].as_str().is_some_and(|error| error.contains("\"code\":1456")), "{refused}");
    world.deleted(&uid, "?forceDelete=true").await;
    assert_eq!(world.listed().await, []);
    world.is_unmatched("/data/2.5/weather").await;
    assert!(world.receiver.count() < 400, "something is left to drain");
    leave(&world, 400, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_5_an_update_of_a_deployed_config_rules_at_once() {
    let world = start(AUTHORING).await;
    let uid = world.created(&config(&world, 200)).await;
    world.deployed(&uid).await;
    backlog(&world, 1_500).await;
    eventually("calls start", PATIENCE, async || world.receiver.count() >= 100).await;
    assert_eq!(world.listed().await, one(&uid, "deployed"));
    world.got(&uid).await;
    let asked = world.app.notes().len();
    let updated = world.updated(&uid, &config(&world, 800)).await;
    assert_eq!((&updated["state"], &updated["hasBeenDeployed"]), (&json!("updated"), &json!(true)));
    let answered = world.app.notes().len();
    leave(&world, 1_500, 800).await;
    let times = world.app.times();
    assert!(window_peak(&times[..asked], SECOND_NS) <= 200, "the old limit until the update");
    let rest_s = (times[1_499] - times[answered]) as f64 / 1e9;
    let rate = (1_499 - answered) as f64 / rest_s;
    assert!(rate > 500.0, "{rate} per second after the update");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_to_a_slower_limit_rules_at_once_too() {
    let world = start(AUTHORING).await;
    let uid = world.created(&config(&world, 1_000)).await;
    world.deployed(&uid).await;
    backlog(&world, 1_000).await;
    eventually("calls start", PATIENCE, async || world.receiver.count() >= 300).await;
    world.updated(&uid, &config(&world, 400)).await;
    let answered = world.app.notes().len();
    leave(&world, 1_000, 1_000).await;
    let peak = window_peak(&world.app.times()[answered..], SECOND_NS);
    assert!(peak <= 400, "{peak} in one sliding second after the update");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_config_shares_the_limit_of_one_that_was_deleted_by_force() {
    let world = start(AUTHORING).await;
    let first = world.created(&config(&world, 200)).await;
    world.deployed(&first).await;
    backlog(&world, 400).await;
    world.deleted(&first, "?forceDelete=true").await;
    let second = world.created(&config(&world, 200)).await;
    world.deployed(&second).await;
    let accepted = world.api.enqueue(&world.receiver.url("/data/2.5/weather"), 400..800).await;
    assert_eq!(accepted.len(), 400);
    assert!(world.receiver.count() < 400, "the older ones drain still");
    eventually("all arrive", PATIENCE, async || world.receiver.count() >= 800).await;
    let numbers = world.app.numbers();
    let (older, newer): (Vec<u64>, Vec<u64>) = numbers.iter().partition(|number| **number < 400);
    assert_eq!((older, newer), ((0..400).collect(), (400..800).collect()), "each in order, once");
    // A newer one may go while the next older one is on its way from the disk.
    let ahead = numbers.iter().take(400).filter(|number| **number >= 400).count();
    assert!(ahead <= 20, "{ahead} of the newer ones went ahead of older ones");
    let peak = window_peak(&world.app.times(), SECOND_NS);
    assert!(peak <= 200, "{peak} in one sliding second");
}
