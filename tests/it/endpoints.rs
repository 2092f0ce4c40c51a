//! Endpoints that cannot be reached, break off, flood or drip: what is owed arrives once they heal, none is taken for a
//! delivery that is none, and nobody else waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::world::namespace::change;
use crate::world::{
    Act, Api, Configured, Endpoint, Namespace, Receiver, Reply, Server, eventually, window_peak,
};

const LONG: Duration = Duration::from_secs(60);
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";
/// Quick retries that go on until a test has healed what was broken.
const QUICK: &str =
    "[retry]\nmin_delay_ms = 100\nmax_delay_ms = 200\nmax_attempts = 1000\n[breaker]\nfailures = 0\n";
const DELIVERED: &str = "outcome=\"delivered\"";

/// A neighbour that swallows packets, 198.51.100.1, and one without a route, 203.0.113.2.
const HOLE_AND_NO_ROUTE: &[&str] = &[
    "ip link add hole0 type veth peer name hole1",
    "ip link set hole0 up",
    "ip link set hole1 up",
    "ip address add 198.51.100.9/24 dev hole0",
    "ip neigh add 198.51.100.1 lladdr 02:00:00:00:00:01 dev hole0",
    "ip route add unreachable 203.0.113.2/32",
];

fn policy(name: &str, url: &str, limits: &str) -> String {
    format!("[[policy]]\nname = \"{name}\"\nurl = \"{url}\"\n{limits}\n")
}

async fn hand_in(api: &Api, url: &str, count: usize) {
    let lines: String = (0..count).map(|n| format!("{}\n", json!({"url": url, "body": {"n": n}}))).collect();
    let (status, answer) = api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer");
    assert_eq!((status, answer.matches("\"status\":202").count()), (200, count), "{answer:.300}");
}

async fn completed(api: &Api, label: &str) -> f64 {
    api.metric("tidegate_events_completed_total", label).await
}

/// An endpoint behind a hole that swallows packets, one without a route, one that refuses and one that resets.
#[test]
fn what_cannot_be_reached_is_retried_and_delays_nobody_else() {
    let namespace = Namespace::made_by(HOLE_AND_NO_ROUTE);
    namespace.enter(|| async {
        const EACH: usize = 20;
        const PACE: usize = 40;
        let is_broken = Arc::new(AtomicBool::new(true));
        let broken = is_broken.clone();
        let resetting = Endpoint::start("127.0.0.1:0", move |_| match broken.load(Ordering::SeqCst) {
            true => Act::Reset,
            false => Act::Say(NO_CONTENT),
        })
        .await;
        let mut world = Configured::new(Receiver::start().await);
        let urls = [
            ("refused", "http://127.53.0.3:8000/x".to_owned()),
            ("unreachable", "http://203.0.113.2:8000/x".to_owned()),
            ("hole", "http://198.51.100.1:8000/x".to_owned()),
            ("reset", resetting.url("/x")),
        ];
        let blocks = urls.iter().map(|(name, url)| policy(name, url, &format!("pace = {PACE}")));
        let good = policy("good", &world.receiver.url("/good"), "pace = 200");
        let deadline = "[delivery]\nconnect_timeout_ms = 300\n";
        world.write(&format!("{QUICK}{deadline}{}{good}", blocks.collect::<String>()));
        world.options.args.extend(["--egress-allow", "198.51.100.0/24"].map(str::to_owned));
        world.options.args.extend(["--egress-allow", "203.0.113.0/24"].map(str::to_owned));
        let server = Server::start(&world.options);
        let api = server.api();
        for (_, url) in &urls {
            hand_in(&api, url, EACH).await;
        }
        for (name, _) in &urls {
            eventually("each is tried again and again", LONG, async || {
                let label = format!("policy=\"{name}\"");
                api.metric("tidegate_retries_scheduled_total", &label).await >= 2.0 * EACH as f64
            })
            .await;
        }
        hand_in(&api, &world.receiver.url("/good"), EACH).await;
        eventually("the good one is served meanwhile", LONG, async || world.receiver.count() == EACH).await;
        eventually("they have ended", LONG, async || completed(&api, DELIVERED).await == EACH as f64).await;
        assert_eq!(completed(&api, "").await, EACH as f64, "no other end");

        // Each of them heals.
        change(&["ip address add 203.0.113.2/32 dev lo", "ip address add 198.51.100.1/32 dev lo"]);
        let mut healed = Vec::new();
        for address in ["127.53.0.3:8000", "203.0.113.2:8000", "198.51.100.1:8000"] {
            healed.push(Endpoint::start(address, |_| Act::Say(NO_CONTENT)).await);
        }
        is_broken.store(false, Ordering::SeqCst);
        eventually("all arrive", LONG, async || {
            completed(&api, DELIVERED).await == (EACH * (urls.len() + 1)) as f64
        })
        .await;
        assert_eq!(completed(&api, "outcome=\"dead\"").await, 0.0);
        // Each attempt has used a permit, those that were reset too. Networks may bunch what left evenly.
        let times: Vec<u64> = resetting.seen().iter().map(|seen| seen.at_ns).collect();
        let peak = window_peak(&times, 1_000_000_000);
        assert!(
            times.len() >= 3 * EACH && peak <= PACE + PACE / 5,
            "{} calls, {peak} in a second",
            times.len()
        );
        assert_eq!(server.stop().code(), Some(0));
    });
}

/// Packets between both vanish while calls are under way, and pass again later.
#[test]
fn a_call_that_a_partition_cuts_off_is_repeated_under_its_id() {
    let namespace = Namespace::made_by(&["ip rule add pref 100 lookup local", "ip rule del pref 0"]);
    namespace.enter(|| async {
        const EVENTS: usize = 20;
        let is_slow = Arc::new(AtomicBool::new(true));
        let slow = is_slow.clone();
        let endpoint = Endpoint::start("127.53.0.7:8000", move |_| match slow.load(Ordering::SeqCst) {
            true => Act::SayLate(Duration::from_secs(2), NO_CONTENT),
            false => Act::Say(NO_CONTENT),
        })
        .await;
        let world = Configured::new(Receiver::start().await);
        let blocks = policy("cut", &endpoint.url("/x"), "slots = 64\ntimeout_ms = 4000");
        let good = policy("good", &world.receiver.url("/good"), "pace = 200");
        world.write(&format!("{QUICK}{blocks}{good}"));
        let server = Server::start(&world.options);
        let api = server.api();
        hand_in(&api, &endpoint.url("/x"), EVENTS).await;
        eventually("all are under way", LONG, async || endpoint.seen().len() == EVENTS).await;
        change(&[
            "ip rule add pref 50 to 127.53.0.7/32 blackhole",
            "ip rule add pref 51 from 127.53.0.7/32 blackhole",
        ]);
        eventually("all have timed out", LONG, async || {
            api.metric("tidegate_retries_scheduled_total", "cause=\"timeout\"").await >= EVENTS as f64
        })
        .await;
        hand_in(&api, &world.receiver.url("/good"), EVENTS).await;
        eventually("the good one is served meanwhile", LONG, async || world.receiver.count() == EVENTS).await;
        assert_eq!(completed(&api, "policy=\"cut\"").await, 0.0, "it is not known what became of them");
        is_slow.store(false, Ordering::SeqCst);
        change(&["ip rule del pref 50", "ip rule del pref 51"]);
        eventually("all arrive", LONG, async || completed(&api, DELIVERED).await == 2.0 * EVENTS as f64)
            .await;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for seen in endpoint.seen() {
            *times.entry(seen.header("webhook-id").to_owned()).or_default() += 1;
        }
        assert_eq!(times.len(), EVENTS, "the same ids");
        assert!(times.values().all(|times| *times >= 2), "{times:?}");
        assert_eq!(server.stop().code(), Some(0));
    });
}

/// Two megabits per second for all: calls take long, no more of them are under way than there are slots.
#[test]
fn a_thin_line_neither_loses_nor_doubles_calls() {
    Namespace::made_by(&[]).enter(|| async {
        const EVENTS: usize = 12;
        const SLOTS: usize = 3;
        let endpoint = Endpoint::start("127.0.0.1:0", |_| Act::Say(NO_CONTENT)).await;
        let world = Configured::new(Receiver::start().await);
        world.write(&format!("{QUICK}{}", policy("thin", &endpoint.url("/x"), &format!("slots = {SLOTS}"))));
        let server = Server::start(&world.options);
        let api = server.api();
        let paused = api.json("POST", "/v1/policies/thin:pause", &json!({"reason": "a test"})).await;
        assert_eq!(paused.0, 200);
        // About 80 kB each: a third of a second on the thin line.
        let event = json!({"url": endpoint.url("/x"), "body_text": "x".repeat(80_000)});
        for _ in 0..EVENTS {
            assert_eq!(api.hand_in(&event).await.0.status, 202);
        }
        change(&["tc qdisc add dev lo root tbf rate 2mbit burst 128k latency 10s"]);
        assert_eq!(api.json("POST", "/v1/policies/thin:resume", &json!({})).await.0, 200);
        eventually("all are called", LONG, async || endpoint.seen().len() == EVENTS).await;
        change(&["tc qdisc del dev lo root"]);
        eventually("all arrive", LONG, async || completed(&api, DELIVERED).await == EVENTS as f64).await;
        assert_eq!(endpoint.seen().len(), EVENTS, "none twice");
        assert!(endpoint.most_under_way() <= SLOTS, "{} at once", endpoint.most_under_way());
        assert_eq!(server.stop().code(), Some(0));
    });
}

/// Which answers are worth another attempt, and that no redirect is followed.
#[tokio::test(flavor = "multi_thread")]
async fn every_status_has_its_fate() {
    const AGAIN: [u16; 8] = [408, 425, 429, 500, 502, 503, 504, 599];
    const NEVER: [u16; 13] = [300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 409, 410, 422];
    let receiver = Receiver::answering(|arrival| {
        let status: u16 = arrival.path.trim_start_matches('/').parse().unwrap_or(204);
        let is_first = arrival.attempt <= 1;
        Reply {
            status: if is_first { status } else { 204 },
            headers: &[("location", "/followed")],
            ..Reply::default()
        }
    })
    .await;
    let world = Configured::new(receiver);
    world.write(&format!("[queue]\nunmatched = \"pass\"\n{QUICK}"));
    let server = Server::start(&world.options);
    let api = server.api();
    for status in AGAIN.into_iter().chain(NEVER) {
        hand_in(&api, &world.receiver.url(&format!("/{status}")), 1).await;
    }
    eventually("each has its end", LONG, async || completed(&api, "").await == 21.0).await;
    assert_eq!(completed(&api, DELIVERED).await, 8.0);
    assert_eq!(completed(&api, "outcome=\"dead\"").await, 13.0);
    let arrivals = world.receiver.arrivals();
    let times = |status: u16| arrivals.iter().filter(|seen| seen.path == format!("/{status}")).count();
    assert!(AGAIN.into_iter().all(|status| times(status) == 2), "{arrivals:?}");
    assert!(NEVER.into_iter().all(|status| times(status) == 1), "{arrivals:?}");
    assert!(!arrivals.iter().any(|seen| seen.path == "/followed"), "{arrivals:?}");
}

/// A success is known by its head: what follows is neither waited for nor kept.
#[tokio::test(flavor = "multi_thread")]
async fn answers_without_an_end_cost_neither_memory_nor_slots() {
    const EACH: usize = 30;
    const ZEROS: &[u8] = &[0; 64 * 1024];
    const CHUNK: &[u8] = b"4\r\nmore\r\n4\r\nmore\r\n4\r\nmore\r\n4\r\nmore\r\n";
    let endpoint = Endpoint::deaf("127.0.0.1:0", |head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            "/endless" => Act::SayForEver("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", CHUNK),
            "/huge" => Act::SayForEver("HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n", ZEROS),
            "/bomb" => Act::SayForEver(
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10000000000\r\n\r\n",
                ZEROS,
            ),
            "/drip" => Act::Drip("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"),
            _ => Act::SayAndClose("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\ncut short"),
        }
    })
    .await;
    let world = Configured::new(Receiver::start().await);
    world.write(&format!("{QUICK}{}", policy("p", &endpoint.url("/*"), "slots = 20")));
    let server = Server::start(&world.options);
    let api = server.api();
    let before = server.resident_bytes();
    let paths = ["/endless", "/huge", "/bomb", "/drip", "/short"];
    for path in paths {
        // The body is not read either: an answer that comes before counts as well.
        hand_in(&api, &endpoint.url(path), EACH).await;
    }
    let all = (EACH * paths.len()) as f64;
    eventually("all are delivered", LONG, async || completed(&api, DELIVERED).await == all).await;
    eventually("no call is under way", LONG, async || api.metric("tidegate_calls_inflight", "").await == 0.0)
        .await;
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    let ids: BTreeSet<String> =
        endpoint.seen().iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    assert_eq!((ids.len(), endpoint.seen().len()), (EACH * paths.len(), EACH * paths.len()), "none twice");
    assert_eq!(server.stop().code(), Some(0));
}

/// Bytes that are no HTTP answer, or none that ends, are a failure with its own cause and no delivery.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_no_delivery() {
    let giant: &'static str = format!("x: {}\r\n", "y".repeat(60_000)).leak();
    let endpoint =
        Endpoint::start("127.0.0.1:0", move |head| match head.split(' ').nth(1).unwrap_or_default() {
            "/giant" => Act::SayForEver("HTTP/1.1 200 OK\r\n", giant.as_bytes()),
            "/hints" => Act::SayForEver("", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
            "/old" => Act::SayAndClose("<html>HTTP/0.9</html>\r\n"),
            "/status" => Act::SayAndClose("HTTP/1.1 2000 OK\r\n\r\n"),
            "/lengths" => {
                Act::SayAndClose("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy")
            }
            _ => Act::SayAndClose("HTTP/1.1 200 OK\r\ncontent-le"),
        })
        .await;
    let world = Configured::new(Receiver::start().await);
    let block = policy("p", &endpoint.url("/*"), "slots = 20");
    world.write(&format!(
        "[retry]\nmin_delay_ms = 100\nmax_delay_ms = 100\nmax_attempts = 2\n\
         [delivery]\nhead_timeout_ms = 1000\n{block}"
    ));
    let server = Server::start(&world.options);
    let api = server.api();
    let before = server.resident_bytes();
    let paths = ["/giant", "/hints", "/old", "/status", "/lengths", "/half"];
    for path in paths {
        hand_in(&api, &endpoint.url(path), 1).await;
    }
    let all = paths.len() as f64;
    eventually("each is given up", LONG, async || completed(&api, "outcome=\"dead\"").await == all).await;
    assert_eq!(completed(&api, DELIVERED).await, 0.0);
    for (result, attempts) in [("malformed", 8.0), ("timeout", 2.0), ("closed", 2.0)] {
        let label = format!("result=\"{result}\"");
        assert_eq!(api.metric("tidegate_call_attempts_total", &label).await, attempts, "{result}");
    }
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
}
