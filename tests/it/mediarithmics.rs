//! Throttlings of plugin versions over the real store and the real delivery, judged at the sender.

mod client;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tidegate::testkit::app::{App, Running, Seams};
use tidegate::testkit::clock::Clock;
use tidegate::testkit::delivery::{Call, Deliver, HttpDeliverer};
use tidegate::testkit::event::Outcome;

use crate::world::{Api, Configured, Receiver, Reply, Server, boot_ns, eventually, inside, window_peak};

const PATIENCE: Duration = Duration::from_secs(20);
const ALL: &str = "/v1/plugins/17/versions/1502/throttlings";
/// One call in two seconds.
const GAP_NS: u64 = 2_000_000_000;

/// The moment and the path with query of every start.
type Starts = Arc<Mutex<Vec<(u64, String)>>>;

/// The real delivery, with a note of every start.
struct Noting {
    inner: HttpDeliverer,
    starts: Starts,
}

impl Deliver for Noting {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let url = call.url.as_url();
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        self.starts.lock().expect("no panic").push((boot_ns(), target));
        self.inner.attempt(call)
    }
}

async fn running(root: &Path) -> (Running, Api, Starts) {
    let clock = Clock::system();
    // A single attempt: a call that is killed is seen as a dead letter at once.
    let config = inside::config(&[("retry.max_attempts", "1")]);
    let store = inside::store(root, &clock);
    let starts = Starts::default();
    let deliver = Arc::new(Noting { inner: inside::deliverer(&config, &clock), starts: starts.clone() });
    let (documents, usages) = (Arc::new(store.documents()), Arc::new(store.usages()));
    let seams = Seams { clock, store: Arc::new(store), documents, usages, deliver };
    let running = App::over(&config, seams).await.expect("an app").spawn();
    let api = Api::new(running.addr());
    (running, api, starts)
}

async fn throttle(api: &Api, endpoint: &str, more: &Value) {
    let mut body = json!({"scope": "GLOBAL", "plugin_version_id": "1502", "plugin_endpoint": endpoint});
    for (name, value) in more.as_object().expect("an object") {
        body[name.as_str()] = value.clone();
    }
    let (status, answer) = api.json("POST", ALL, &body).await;
    assert_eq!((status, &answer["status"]), (201, &json!("ok")), "{answer}");
}

/// Hands in a call of the plugin version; returns its id.
async fn hand_in(api: &Api, url: &str, datamart: Option<&str>, number: u64) -> String {
    let mut event = json!({"url": url, "labels": {"plugin_version": "1502"}, "body": {"n": number}});
    if let Some(datamart) = datamart {
        event["labels"]["datamart"] = json!(datamart);
    }
    let (status, answer) = api.json("POST", "/v1/events", &event).await;
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_call_per_second_is_never_two_within_two_seconds() {
    let receiver = Receiver::start().await;
    let dir = tempfile::tempdir().expect("a directory");
    let (running, api, starts) = running(dir.path()).await;
    throttle(&api, "/v1/global", &json!({"max_qps": 0.5})).await;
    for key in ["1", "2"] {
        let more = json!({"scope": "DATAMART", "throttling_key": key, "max_qps": 0.5});
        throttle(&api, "/v1/mart", &more).await;
    }
    for number in 0..4 {
        hand_in(&api, &receiver.url(&format!("/v1/global?call={number}")), Some("1"), number).await;
        for datamart in ["1", "2"] {
            hand_in(&api, &receiver.url(&format!("/v1/mart?of={datamart}")), Some(datamart), number).await;
        }
    }
    eventually("all arrive", PATIENCE, async || receiver.count() == 12).await;
    let starts = starts.lock().expect("no panic").clone();
    let mut ends = Vec::new();
    for target in ["/v1/global?", "/v1/mart?of=1", "/v1/mart?of=2"] {
        let times: Vec<u64> =
            starts.iter().filter(|(_, found)| found.starts_with(target)).map(|(at, _)| *at).collect();
        assert_eq!(times.len(), 4, "{target}");
        let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap >= GAP_NS), "{target}: {gaps:?}");
        assert!(gaps.iter().all(|gap| *gap < GAP_NS + GAP_NS / 2), "nothing is given away: {gaps:?}");
        ends.extend(times.last().copied());
    }
    let apart_ns = ends.iter().max().expect("three") - ends.iter().min().expect("three");
    assert!(apart_ns < GAP_NS, "each of the three has calls of its own: {apart_ns} ns");
    running.drain(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_timeout_kills_the_call() {
    let receiver = Receiver::answering(|_| (204, Duration::from_millis(1_200))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (running, api, starts) = running(dir.path()).await;
    throttle(&api, "/v1/slow", &json!({"timeout_ms": 10_000})).await;
    throttle(&api, "/v1/slow", &json!({"scope": "DATAMART", "throttling_key": "1", "timeout_ms": 300})).await;
    let url = receiver.url("/v1/slow");
    let killed = hand_in(&api, &url, Some("1"), 0).await;
    let outcome = async |id: &str| {
        let (_, told) = api.get(&format!("/v1/events/{id}")).await;
        serde_json::from_str::<Value>(&told).expect("JSON")
    };
    eventually("it is killed", PATIENCE, async || outcome(&killed).await["outcome"] == "dead").await;
    let started_ns = starts.lock().expect("no panic")[0].0;
    let took_ns = boot_ns() - started_ns;
    assert!((300_000_000..1_100_000_000).contains(&took_ns), "it took {took_ns} ns");
    let other = hand_in(&api, &url, Some("2"), 1).await;
    eventually("another has its time", PATIENCE, async || outcome(&other).await["outcome"] == "delivered")
        .await;
    running.drain(Duration::from_secs(5)).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_concurrency_wait_for_their_turn() {
    let reply = Reply { status: 204, delay: Duration::from_millis(400), ..Reply::default() };
    let receiver = Receiver::answering(move |_| reply).await;
    let dir = tempfile::tempdir().expect("a directory");
    let (running, api, starts) = running(dir.path()).await;
    throttle(&api, "/v1/few", &json!({"max_concurrency": 2})).await;
    let url = receiver.url("/v1/few");
    for number in 0..6 {
        hand_in(&api, &url, None, number).await;
    }
    eventually("all arrive", PATIENCE, async || receiver.count() == 6).await;
    let times: Vec<u64> = starts.lock().expect("no panic").iter().map(|(at, _)| *at).collect();
    // Each call takes 400 ms at least.
    assert_eq!(window_peak(&times, 400_000_000), 2, "{times:?}");

    // A replacement rules at once, also what waits already.
    let more = json!({"scope": "GLOBAL", "plugin_endpoint": "/v1/few", "max_concurrency": 6});
    assert_eq!(api.json("PUT", &format!("{ALL}/1001"), &more).await.0, 200);
    for number in 6..12 {
        hand_in(&api, &url, None, number).await;
    }
    eventually("all arrive", PATIENCE, async || receiver.count() == 12).await;
    let times: Vec<u64> = starts.lock().expect("no panic").iter().skip(6).map(|(at, _)| *at).collect();
    assert!(window_peak(&times, 400_000_000) > 2, "{times:?}");
    running.drain(Duration::from_secs(5)).await.expect("an orderly end");
}

/// Calls without a label of tidegate, in five spellings: all of them stand under the one throttling and start a second apart.
#[tokio::test(flavor = "multi_thread")]
async fn five_spellings_of_a_call_without_labels_meet_their_throttling() {
    let world = Configured::new(Receiver::start().await);
    world.write(
        "[mediarithmics]\nplugin_version_in = \"header x-plugin-version\"\ndatamart_in = \"query datamart\"\n",
    );
    let server = Server::start(&world.options);
    let api = server.api();
    let endpoint = "/v1/user_segment_update";
    throttle(&api, endpoint, &json!({"scope": "DATAMART", "throttling_key": "1162", "max_qps": 1})).await;
    let hand_in = async |path: &str| {
        let event = json!({"url": world.receiver.url(path), "headers": {"x-plugin-version": "1502"}, "body": {"n": 1}});
        api.json("POST", "/v1/events", &event).await
    };
    for path in [
        "/v1/user_segment_update?datamart=1162",
        "/v1/user_segment_update/?x=1&datamart=%31162",
        "/plugins/1502/v1/user_segment_update?datamart=1162",
        "//v1/user_segment_update?datamart=1162&x",
        "/a/%76%31/user%5Fsegment%5fupdate?datamart=1162#x",
    ] {
        let (status, receipt) = hand_in(path).await;
        assert_eq!((status, &receipt["policies"]), (202, &json!(["mics.1001"])), "{path} {receipt}");
    }
    for path in ["/v1/user_segment_updates?datamart=1162", "/v1/user_segment_update?datamart=1163"] {
        let (status, refused) = hand_in(path).await;
        assert_eq!((status, &refused["code"]), (422, &json!("unmatched")), "the control: {path}");
    }
    eventually("all arrive", PATIENCE, async || world.receiver.count() == 5).await;
    let at_ns: Vec<u64> = world.receiver.arrivals().iter().map(|arrival| arrival.at_ns).collect();
    assert!(at_ns[4] - at_ns[0] > 3_900_000_000, "a second apart: {at_ns:?}");
    assert_eq!(server.stop().code(), Some(0));
}
