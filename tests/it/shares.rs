//! Endpoints that accept calls and never answer, beside others that do: over real sockets.

use std::time::Duration;

use serde_json::Value;

use crate::world::{Api, NotedApp, Receiver, alone, eventually, window_peak};

/// Below the time after which a call that hangs is given up.
const PATIENCE: Duration = Duration::from_secs(25);
const HANGS: Duration = Duration::from_secs(600);
const MAX_INFLIGHT: usize = 512;
const PER_SECOND: u32 = 100;
const SETTINGS: [(&str, &str); 4] = [
    ("dispatch.max_inflight", "512"),
    ("throttling.min", "1"),
    ("throttling.max", "5000"),
    ("throttling.max_configs_per_org", "100"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn beside_endpoints_that_hang_others_go_at_their_pace() {
    let _alone = alone().await;
    for hanging in [1, 2, 3, 30] {
        let (taken, peaks) = beside(hanging).await;
        println!("beside {hanging} that hang with {taken} calls: most starts in a sliding second {peaks:?}");
    }
}

/// Returns how many calls hang, and the most starts of each of the others in a sliding second.
async fn beside(hanging: u64) -> (usize, Vec<usize>) {
    let app = NotedApp::start(&SETTINGS).await;
    let api = app.api();
    let (hangs, well) = (Receiver::answering(|_| (200, HANGS)).await, Receiver::start().await);
    for n in 0..hanging {
        api.deploy_throttling(&hangs.url(&format!("/{n}/*")), 5000).await;
        let from = 1_000_000 + n * 1_000;
        let accepted = api.enqueue(&hangs.url(&format!("/{n}/x")), from..from + 600).await;
        assert_eq!(accepted.len(), 600);
    }
    eventually("they take what they get", PATIENCE, async || hangs.count() >= MAX_INFLIGHT / 2 - 30).await;
    wait_for_their_share(&api, &hangs).await;
    let taken = hangs.count();

    let ranges = [0..200, 1_000..1_200];
    for (range, path) in ranges.iter().zip(["/a/x", "/b/x"]) {
        api.deploy_throttling(&well.url(path), PER_SECOND).await;
        assert_eq!(api.enqueue(&well.url(path), range.clone()).await.len(), 200);
    }
    eventually("the others arrive", PATIENCE, async || well.count() == 400).await;
    let (notes, mut peaks) = (app.notes(), Vec::new());
    for range in ranges {
        let (times, numbers): (Vec<u64>, Vec<u64>) =
            notes.iter().copied().filter(|(_, number)| range.contains(number)).unzip();
        assert_eq!(numbers, range.collect::<Vec<_>>(), "in order, once each");
        let peak = window_peak(&times, 1_000_000_000);
        assert!(peak <= PER_SECOND as usize, "{peak} in a second");
        peaks.push(peak);
    }
    let held = hangs.count();
    assert!(held >= taken && held <= MAX_INFLIGHT - 2, "the control: {taken} calls hang, then {held}");
    let report = app.running.drain(Duration::from_millis(1)).await.expect("an orderly end");
    assert_eq!((report.delivered, report.waiting), (400, hanging * 600));
    (taken, peaks)
}

/// Waits until the lanes say what they wait for.
async fn wait_for_their_share(api: &Api, hangs: &Receiver) {
    let path = format!("/v1/explain?method=POST&url={}", hangs.url("/0/x"));
    eventually("explained", PATIENCE, async || {
        let explained: Value = serde_json::from_str(&api.get(&path).await.1).expect("JSON");
        explained["held"]["by"] == "hold" && explained["held"]["reason"] == "share"
    })
    .await;
    eventually("counted", PATIENCE, async || {
        api.metric("tidegate_lanes_held", "reason=\"share\"").await >= 1.0
    })
    .await;
}
