//! Endpoints that say in the words of partner systems that they are busy: nothing is sent to them for as long as they
//! ask, then everything is, and it has cost no attempt.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tidegate::testkit::app::{App, Seams};
use tidegate::testkit::clock::{Clock, Timestamp};

use crate::world::{Api, Receiver, Reply, eventually, inside};

const PATIENCE: Duration = Duration::from_secs(30);
/// Each endpoint asks for so long.
const WAIT_NS: u64 = 3_000_000_000;
/// The delivery's clock stands that long before an edge of ten minutes.
const DELIVERY_CLOCK: Timestamp = Timestamp::from_millis(1_700_000_400_000 - 3_000);

const JSON: (&str, &str) = ("content-type", "application/json;charset=UTF-8");
const QPS: (&str, &str) = ("X-Mashery-Error-Code", "ERR_403_DEVELOPER_OVER_QPS");
const RATE: (&str, &str) = ("X-Mashery-Error-Code", "ERR_403_DEVELOPER_OVER_RATE");

/// The endpoint, what it says first, and the word that explains the hold.
const BUSY: [(&str, Reply, &str); 5] = [
    ("/qps", busy(403, &[QPS, ("Retry-After", "3")], "<h1>Developer Over Qps</h1>"), QPS.1),
    ("/rate", busy(429, &[RATE, ("Retry-After", "3")], "<h1>Developer Over Rate</h1>"), RATE.1),
    (
        "/limit",
        busy(
            401,
            &[JSON],
            r#"{"type":"","title":"Request limit exceeded.","errorCode":"API_LIMIT_EXCEEDED"}"#,
        ),
        "API_LIMIT_EXCEEDED",
    ),
    (
        "/capacity",
        busy(400, &[JSON], r#"{"errorCode":"INTERNAL_CAPACITY_LIMIT_EXCEEDED","errorDetails":[]}"#),
        "INTERNAL_CAPACITY_LIMIT_EXCEEDED",
    ),
    (
        "/plugin",
        busy(
            429,
            &[JSON, ("x-mics-next-msg-delay", "3000")],
            r#"{"status":"RETRY","message":"I'm busy right now, sorry."}"#,
        ),
        "x-mics-next-msg-delay",
    ),
];
const BLOCKED: Reply = busy(400, &[JSON], r#"{"errorCode":"API_BLOCKED","errorDetails":[]}"#);

const fn busy(status: u16, headers: &'static [(&'static str, &'static str)], body: &'static str) -> Reply {
    Reply { status, delay: Duration::ZERO, retry_after_s: None, headers, body }
}

/// With a single attempt: whatever used it up would make a dead letter.
async fn app(root: &Path) -> App {
    let clock = Clock::system();
    let config = inside::config(&[("retry.max_attempts", "1"), ("throttling.max_configs_per_org", "10")]);
    let store = inside::store(root, &clock);
    let deliver = Arc::new(inside::deliverer(&config, &Clock::manual(DELIVERY_CLOCK)));
    let (documents, usages) = (Arc::new(store.documents()), Arc::new(store.usages()));
    App::over(&config, Seams { clock, store: Arc::new(store), documents, usages, deliver })
        .await
        .expect("an app")
}

async fn told(api: &Api, path: &str) -> Value {
    serde_json::from_str(&api.get(path).await.1).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_endpoint_is_left_alone_as_long_as_it_asks_and_then_gets_everything() {
    let asked = Mutex::new(BTreeSet::new());
    let receiver = Receiver::answering(move |arrival| {
        let first = asked.lock().expect("no panic").insert(arrival.path.clone());
        let busy = BUSY.iter().find(|(path, ..)| arrival.path == *path);
        match busy {
            _ if arrival.path == "/blocked" => BLOCKED,
            Some((_, reply, _)) if first => *reply,
            _ => Reply { status: 200, ..Reply::default() },
        }
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let running = app(dir.path()).await.spawn();
    let api = Api::new(running.addr());
    for path in BUSY.map(|(path, ..)| path).into_iter().chain(["/blocked"]) {
        api.deploy_throttling(&receiver.url(&format!("{path}*")), 200).await;
    }
    let blocked = api.enqueue(&receiver.url("/blocked"), 0..1).await;
    for (path, ..) in BUSY {
        assert_eq!(api.enqueue(&receiver.url(path), 0..1).await.len(), 1);
    }
    for (path, _, word) in BUSY {
        let url = receiver.url(path);
        let mut held = Value::Null;
        eventually("the lane is held", PATIENCE, async || {
            held = told(&api, &format!("/v1/explain?method=POST&url={url}")).await["held"].take();
            held["reason"] == "busy"
        })
        .await;
        assert!(held["until"].is_string() && held["text"].to_string().contains(word), "{held}");
        assert_eq!(api.enqueue(&url, 1..6).await.len(), 5);
    }
    eventually("all arrive", PATIENCE, async || receiver.count() == 1 + 5 * 7).await;
    let arrivals = receiver.arrivals();
    for (path, ..) in BUSY {
        let here: Vec<_> = arrivals.iter().filter(|arrival| arrival.path == path).collect();
        let numbers: BTreeSet<_> = here.iter().filter_map(|arrival| arrival.number).collect();
        assert_eq!(
            (here.len(), numbers.len()),
            (7, 6),
            "{path}: each arrives, one after it was told to wait"
        );
        let quiet_ns = here[1].at_ns - here[0].at_ns;
        assert!((WAIT_NS..4 * WAIT_NS).contains(&quiet_ns), "{path} was left alone for {quiet_ns} ns");
        assert!(here.iter().all(|arrival| arrival.attempt == 1), "{path}: a wait is no attempt that counts");
    }
    let told = told(&api, &format!("/v1/events/{}", blocked[0].1)).await;
    assert_eq!(told["outcome"], "dead", "{told}");
    let report = running.drain(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!((report.delivered, report.waiting), (30, 0));
}

/// A plugin that takes the first call and asks for three seconds, then one that is busy without saying for how long.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_paces_what_it_takes_and_its_retry_is_no_attempt() {
    const PACED: Reply = busy(200, &[JSON, ("x-mics-next-msg-delay", "3000")], r#"{"status":"ok"}"#);
    const RETRY: Reply = busy(429, &[("content-type", "text/html; charset=utf-8")], r#"{"status":"retry"}"#);
    let asked = Mutex::new(BTreeSet::new());
    let receiver = Receiver::answering(move |arrival| {
        let first = asked.lock().expect("no panic").insert(arrival.path.clone());
        match (&*arrival.path, first) {
            ("/paced", true) => PACED,
            ("/retry", true) => RETRY,
            _ => Reply { status: 200, ..Reply::default() },
        }
    })
    .await;
    let dir = tempfile::tempdir().expect("a directory");
    let running = app(dir.path()).await.spawn();
    let api = Api::new(running.addr());
    for path in ["/paced", "/retry", "/control"] {
        api.deploy_throttling(&receiver.url(&format!("{path}*")), 200).await;
        api.enqueue(&receiver.url(path), 0..1).await;
    }
    eventually("the first calls are made", PATIENCE, async || receiver.count() >= 3).await;
    for path in ["/paced", "/retry", "/control"] {
        api.enqueue(&receiver.url(path), 1..3).await;
    }
    eventually("all arrive", PATIENCE, async || receiver.count() == 3 * 3 + 1).await;
    let arrivals = receiver.arrivals();
    for (path, count, quiet_ns) in [
        ("/paced", 3, WAIT_NS..2 * WAIT_NS),
        ("/retry", 4, 1_000_000_000..WAIT_NS),
        ("/control", 3, 0..WAIT_NS),
    ] {
        let here: Vec<_> = arrivals.iter().filter(|arrival| arrival.path == path).collect();
        assert_eq!(here.len(), count, "{path}");
        let quiet = here[1].at_ns - here[0].at_ns;
        assert!(quiet_ns.contains(&quiet), "{path} was left alone for {quiet} ns");
        assert!(here.iter().all(|arrival| arrival.attempt == 1), "{path}: a wait is no attempt that counts");
    }
    let report = running.drain(Duration::from_secs(5)).await.expect("an orderly end");
    assert_eq!((report.delivered, report.waiting), (9, 0));
}
