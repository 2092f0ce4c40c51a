//! A file system that becomes read-only while the daemon runs: it ends with 74, and nothing acknowledged is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::world::{Receiver, Server, ServerOptions, Volume, eventually};

const EVENTS: u64 = 200;
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_becomes_read_only_ends_it_with_74_and_loses_nothing() {
    let volume = Volume::ext4(640 << 20, "errors=remount-ro");
    let options = ServerOptions::new(&volume.path().join("data"));
    let receiver = Receiver::start().await;
    let mut server = Server::start(&options);
    let api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 1000).await;
    let (status, answer) =
        api.json("POST", &format!("/v1/policies/{policy}:pause"), &json!({"reason": "a test"})).await;
    assert_eq!(status, 200, "{answer}");
    let accepted = api.enqueue(&receiver.url("/x"), 0..EVENTS).await;
    assert_eq!(accepted.len() as u64, EVENTS);
    assert!(server.ended_within(Duration::from_secs(2)).is_none(), "the control: it runs");

    volume.trigger_error();
    let late = json!({"url": receiver.url("/x"), "body": {"n": EVENTS}});
    if let Ok((status, answer)) = api.try_json("POST", "/v1/events", &late).await {
        assert_eq!(status, 503, "{answer}");
    }
    let status = server.ended_within(SOON).expect("it ends by itself");
    assert_eq!(status.code(), Some(74), "{:?}", server.log());
    let Err((Some(status), log)) = Server::start_within(&options, SOON) else { panic!("it starts") };
    assert_eq!(status.code(), Some(77), "while it is read-only: {log:?}");

    volume.repair();
    let server = Server::start(&options);
    let (status, answer) =
        server.api().json("POST", &format!("/v1/policies/{policy}:resume"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let ids: BTreeSet<String> = accepted.into_iter().map(|(_, id)| id).collect();
    eventually("all are delivered", SOON, async || {
        let arrived: BTreeSet<String> = receiver.arrivals().into_iter().map(|arrival| arrival.id).collect();
        arrived.is_superset(&ids)
    })
    .await;
    assert_eq!(server.stop().code(), Some(0));
}
