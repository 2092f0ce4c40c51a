//! Calls without a label of tidegate, in five spellings: all of them stand under the one config.

use serde_json::{Value, json};

use super::World;

const SPELLINGS: [&str; 5] = [
    "/data/2.5/weather",
    "/data/2.5/weather?x=1#y",
    "/data/2.5/%77eath%65r#y",
    "/d%61ta/2%2E5/weather",
    "/data/%32.5/%77eather?",
];

/// Hands in the spellings; each is under this policy, and what is like them is under none.
async fn meet(world: &World, policy: &str) {
    for (path, number) in SPELLINGS.iter().zip(0..) {
        let (status, receipt) = world.event(path, &json!({}), number).await;
        assert_eq!((status, &receipt["policies"]), (202, &json!([policy])), "{path} {receipt}");
    }
    for path in ["/data/2.6/weather", "/Data/2.5/weather", "/data/2.5"] {
        world.is_unmatched(path).await;
    }
    // What a parser would repair is no spelling: it is refused.
    for path in ["/data/./2.5/weather", "/data/2.5/x/%2e%2E/weather"] {
        let (status, refused) = world.event(path, &json!({}), 0).await;
        assert_eq!((status, &refused["code"]), (422, &json!("invalid_event")), "{path} {refused}");
    }
}

async fn deployed(collection: &'static str, config: impl FnOnce(String) -> Value) -> (World, String) {
    let world = World::start("/authoring", collection).await;
    let uid = world.created(&config(world.receiver.url("/data/2.5/*"))).await;
    world.deployed(&uid).await;
    (world, uid)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_spellings_of_a_call_without_labels_meet_their_throttling() {
    let config =
        |url| json!({"name": "partner", "urlPattern": url, "methods": ["POST"], "maxThroughput": 200});
    let (world, uid) = deployed("throttlingConfigs", config).await;
    meet(&world, &uid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_spellings_of_a_call_without_labels_meet_their_cap() {
    let rating = json!({"maxCallsCount": 5, "periodInMs": 30_000});
    let services = json!({"action": {"maxHttpConnections": 50, "rating": rating}});
    let config = |url| json!({"url": url, "methods": ["POST"], "services": services});
    let (world, uid) = deployed("endpointConfigs", config).await;
    meet(&world, &format!("{uid}.action")).await;
    let (status, refused) = world.event(SPELLINGS[1], &json!({}), 5).await;
    assert_eq!((status, &refused["code"]), (429, &json!("capped")), "one count for all: {refused}");
}
