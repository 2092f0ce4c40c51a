//! What is due goes ahead of what was never tried: after a pause, a restart and a hold, one call at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Reply, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(20);
const BACKLOG: u64 = 300;

async fn hand_in_delayed(api: &Api, url: &str, number: u64) -> String {
    let event = json!({"url": url, "delay_seconds": 1, "body": {"n": number}});
    let (status, receipt) = api.json("POST", "/v1/events", &event).await;
    assert_eq!(status, 202, "{receipt}");
    receipt["id"].as_str().expect("an id").to_owned()
}

async fn is_due(api: &Api, id: &str) -> bool {
    let explained: Value =
        serde_json::from_str(&api.get(&format!("/v1/explain?id={id}")).await.1).expect("JSON");
    explained["state"] == "ready"
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_goes_first_after_a_pause_a_restart_and_a_hold() {
    let has_asked = AtomicBool::new(false);
    let receiver = Receiver::answering(move |arrival| match arrival.number {
        Some(3_000) if !has_asked.swap(true, Ordering::SeqCst) => {
            Reply { status: 503, retry_after_s: Some(2), ..Reply::default() }
        }
        _ => Reply { status: 204, ..Reply::default() },
    })
    .await;
    let world = Configured::new(receiver);
    world.write(&world.policy("p", "pace = 1000\nslots = 1"));
    let url = world.receiver.url("/p/x");
    let numbers =
        || world.receiver.arrivals().iter().filter_map(|arrival| arrival.number).collect::<Vec<_>>();
    let mut server = Server::start(&world.options);
    let mut expected = Vec::new();
    for (from, is_restarted) in [(0, false), (1_000, true)] {
        let pause = json!({"reason": "a test"});
        assert_eq!(server.api().json("POST", "/v1/policies/p:pause", &pause).await.0, 200);
        assert_eq!(server.api().enqueue(&url, from..from + BACKLOG).await.len() as u64, BACKLOG);
        let delayed = hand_in_delayed(&server.api(), &url, from + 900).await;
        if is_restarted {
            assert!(server.stop().success());
            server = Server::start(&world.options);
        }
        eventually("it is due", PATIENCE, async || is_due(&server.api(), &delayed).await).await;
        assert_eq!(numbers(), expected, "nothing goes under a pause");
        assert_eq!(server.api().json("POST", "/v1/policies/p:resume", &json!({})).await.0, 200);
        expected.extend([from + 900].into_iter().chain(from..from + BACKLOG));
        eventually("all arrive", PATIENCE, async || numbers().len() == expected.len()).await;
        assert_eq!(numbers(), expected, "restarted: {is_restarted}");
    }
    server.api().enqueue(&url, 3_000..3_000 + BACKLOG).await;
    expected.extend([3_000].into_iter().chain(3_000..3_000 + BACKLOG));
    eventually("all arrive", PATIENCE, async || numbers().len() == expected.len()).await;
    assert_eq!(numbers(), expected, "the one that was told to wait, then those behind it");
}
