//! Kills at any moment: nothing acknowledged is lost, duplicates stay within what was under way.

use std::collections::HashMap;
use std::time::Duration;

use crate::world::{Receiver, Server, ServerOptions, alone, eventually};

const ROUNDS: u64 = 30;
const PER_REQUEST: u64 = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_kills_under_load_lose_nothing() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let url = receiver.url("/x");
    let mut acknowledged: HashMap<u64, String> = HashMap::new();
    let (mut next, mut rounds_under_way) = (0, 0);
    let mut rng = fastrand::Rng::with_seed(20_260_101);
    for round in 0..ROUNDS {
        let server = Server::start(&options);
        let api = server.api();
        let arrived_before = receiver.count();
        if round == 0 {
            api.deploy_throttling(&receiver.url("/*"), 5000).await;
        }
        let lifetime = Duration::from_millis(rng.u64(50..2500));
        // About as fast as the pace: most rounds are killed with calls under way.
        let mut ticks = tokio::time::interval(Duration::from_millis(40));
        let feeding = async {
            loop {
                ticks.tick().await;
                let numbers = next..next + PER_REQUEST;
                next += PER_REQUEST;
                acknowledged.extend(api.enqueue(&url, numbers).await);
            }
        };
        let _ = tokio::time::timeout(lifetime, feeding).await;
        server.kill();
        rounds_under_way += usize::from(receiver.count() > arrived_before);
    }
    assert!(rounds_under_way as u64 > ROUNDS / 4, "only {rounds_under_way} rounds were killed while sending");
    let server = Server::start(&options);
    let api = server.api();
    eventually("the queue drains", Duration::from_secs(120), async || {
        let queued =
            api.metric("tidegate_queue_events", "").await - api.metric("tidegate_queue_events", "dead").await;
        queued == 0.0 && api.get("/readyz").await.0 == 200
    })
    .await;
    let seen = receiver.times_seen();
    let lost: Vec<_> = acknowledged.keys().filter(|number| !seen.contains_key(number)).collect();
    let duplicates: usize = seen.values().map(|times| times - 1).sum();
    println!(
        "kill -9: {ROUNDS} rounds, {} acknowledged, {} calls arrived, {} lost, {duplicates} duplicates",
        acknowledged.len(),
        receiver.count(),
        lost.len()
    );
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert!(!acknowledged.is_empty(), "the load was real");
    // Per kill at most what was under way (slots: 4096) or settled in the last 100 ms (500 at this pace).
    assert!(duplicates as u64 <= ROUNDS * (4096 + 500));
    assert_eq!(server.stop().code(), Some(0));
}
