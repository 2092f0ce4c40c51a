//! Connections at the doors: idle, busy, slow and many clients beside those who want to be served.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::raw::{request, status};
use crate::world::{Api, Namespace, Raw, Server, ServerOptions, eventually};

const OPEN: &str = "tidegate_http_connections";
const CLOSED: &str = "tidegate_http_connections_closed_total";
const REFUSED: &str = "tidegate_http_connections_refused_total";
const PROBE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// Far more than a request takes on a busy machine, and far less than the 30 s after which an idle connection ends.
const SOON: Duration = Duration::from_secs(5);

struct World {
    _dir: tempfile::TempDir,
    server: Server,
    api: Api,
}

async fn world(settings: &[&str]) -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    if !settings.is_empty() {
        options.wrapper = ["env"].iter().chain(settings).map(|&word| word.to_owned()).collect();
    }
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling("http://127.0.0.1:9/*", 200).await;
    World { _dir: dir, server, api }
}

fn event() -> String {
    json!({"url": "http://127.0.0.1:9/x", "delay_seconds": 3600}).to_string()
}

/// A request for an event that is under way: the daemon waits for its body, which is returned.
async fn half_an_event(mut raw: Raw) -> (Raw, String) {
    let body = event();
    let head =
        request("POST", "/v1/events", "application/json", &body).replace(&format!("\r\n\r\n{body}"), "");
    raw.send(&format!("{head}\r\nExpect: 100-continue\r\n\r\n")).await;
    raw.told_to_go_on().await;
    (raw, body)
}

/// A probe, the metrics and a change of a limit, each on a connection of its own.
async fn everything_but_events_is_served(server: &Server) {
    let served = async {
        let fresh = || server.api();
        assert_eq!(fresh().get("/livez").await.0, 200);
        assert_eq!(fresh().get("/metrics").await.0, 200);
        assert_eq!(fresh().get("/v1/policies").await.0, 200);
        let service = json!({"name": "one", "qpsLimitOverall": 5});
        assert_eq!(fresh().json("POST", "/v3/rest/services", &service).await.0, 200);
    };
    tokio::time::timeout(SOON, served).await.expect("soon");
}

/// More idle keep-alive connections than there is room for make nobody wait, and the oldest of them makes room.
#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_make_nobody_wait() {
    let world = world(&[]).await;
    let mut idle = Vec::new();
    for _ in 0..1_024 {
        let mut raw = Raw::connect(world.server.addr).await;
        raw.send(PROBE).await;
        assert_eq!(raw.answer().await.0, 200);
        idle.push(raw);
    }
    everything_but_events_is_served(&world.server).await;
    let (answer, _) = world.server.api().hand_in(&serde_json::from_str(&event()).expect("JSON")).await;
    assert_eq!(answer.status, 202);
    let mut later = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(world.server.addr).await;
        raw.send(PROBE).await;
        assert_eq!(raw.answer().await.0, 200);
        later.push(raw);
    }
    let (oldest, younger) = idle.split_at(9);
    eventually("the longest idle have made room", SOON, async || oldest.iter().all(Raw::is_closed)).await;
    assert!(!younger[20..].iter().any(Raw::is_closed), "no other has");
    // The control: one that made no room is served.
    let last = idle.last_mut().expect("many");
    last.send(PROBE).await;
    assert_eq!(last.answer().await.0, 200);
    assert!(world.api.metric(CLOSED, "cause=\"evicted\"").await >= 9.0);
    assert!(world.api.metric(OPEN, "class=\"ordinary\"").await <= 1_024.0);
}

/// With all connections at work on events the reserve still answers probes, metrics and management; no request under
/// way is given up for another.
#[tokio::test(flavor = "multi_thread")]
async fn busy_clients_leave_room_for_probes_and_management() {
    let settings = ["TIDEGATE_LISTEN_MAX_CONNECTIONS=40", "TIDEGATE_LISTEN_RESERVED_CONNECTIONS=4"];
    let world = world(&settings).await;
    let mut busy = Vec::new();
    for _ in 0..40 {
        busy.push(half_an_event(Raw::connect(world.server.addr).await).await);
    }
    let mut late = Raw::connect(world.server.addr).await;
    late.send(&request("POST", "/v1/events", "application/json", &event())).await;
    let refused = late.rest().await;
    assert!(status(&refused) == 503 && refused.contains("too_many_connections"), "{refused}");
    for _ in 0..3 {
        everything_but_events_is_served(&world.server).await;
    }
    assert!(world.server.api().metric(REFUSED, "cause=\"reserved\"").await >= 1.0);
    for (raw, rest) in &mut busy {
        raw.send(rest).await;
        let (status, body) = raw.answer().await;
        assert_eq!(status, 202, "{body}");
    }
    // The control: now that they are idle, the same event finds room.
    let (answer, _) = world.server.api().hand_in(&serde_json::from_str(&event()).expect("JSON")).await;
    assert_eq!(answer.status, 202);
}

/// Request heads that never end are cut after 5 s; others are served meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_are_cut_and_hold_up_nobody() {
    let world = world(&[]).await;
    let mut slow = Vec::new();
    for _ in 0..500 {
        let mut raw = Raw::connect(world.server.addr).await;
        raw.send("GET /livez HTTP/1.1\r\nHost: local").await;
        slow.push(raw);
    }
    everything_but_events_is_served(&world.server).await;
    for raw in &mut slow {
        assert!(!raw.rest().await.contains("200 OK"));
    }
    assert!(world.api.metric(CLOSED, "cause=\"slow_head\"").await >= 500.0);
}

/// A body of a gigabyte is refused when it is announced, one without a stated length once it is too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_without_being_read() {
    let world = world(&[]).await;
    let head = "POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let mut announced = Raw::connect(world.server.addr).await;
    announced.send(&format!("{head}Content-Length: 1073741824\r\n\r\n")).await;
    let answer = announced.rest().await;
    assert!(status(&answer) == 413 && answer.contains("payload_too_large"), "{answer}");
    let mut chunked = Raw::connect(world.server.addr).await;
    chunked.send(&format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    for _ in 0..8 {
        chunked.send(&chunk).await;
    }
    chunked.send("1\r\n \r\n").await;
    let answer = chunked.rest().await;
    assert!(status(&answer) == 413 && answer.contains("payload_too_large"), "{answer}");
}

/// Whatever a client had sent of an event when it went away: the same event with the same key is kept once.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_before_the_answer_may_repeat_with_its_key() {
    let world = world(&[]).await;
    let event = |key: usize| {
        let key = format!("k{key}");
        json!({"url": "http://127.0.0.1:9/x", "delay_seconds": 3600, "idempotency_key": key}).to_string()
    };
    let length = request("POST", "/v1/events", "application/json", &event(1_000)).len();
    let cuts: Vec<usize> = (0..length).step_by(11).chain([length - 2, length - 1, length]).collect();
    for (number, cut) in cuts.iter().enumerate() {
        let whole = request("POST", "/v1/events", "application/json", &event(1_000 + number));
        let mut raw = Raw::connect(world.server.addr).await;
        raw.send(&whole[..*cut]).await;
        drop(raw);
    }
    for _ in 0..2 {
        for number in 0..cuts.len() {
            let event: Value = serde_json::from_str(&event(1_000 + number)).expect("JSON");
            let (answer, body) = world.api.hand_in(&event).await;
            assert_eq!(answer.status, 202, "{body}");
        }
    }
    let kept = f64::from(u32::try_from(cuts.len()).expect("few"));
    eventually("each is kept once", SOON, async || {
        world.api.metric("tidegate_queue_events", "state=\"delayed\"").await == kept
    })
    .await;
}

/// One address other than loopback has at most 64 connections: idle ones of its own make room, and when all are busy
/// the next is refused. Loopback is not counted.
#[test]
fn one_address_has_few_connections() {
    let namespace = Namespace::new(&["192.0.2.7", "192.0.2.8"]);
    namespace.enter(|| async {
        let world = world(&[]).await;
        let addr = world.server.addr;
        let (first, second): (IpAddr, IpAddr) = ([192, 0, 2, 7].into(), [192, 0, 2, 8].into());
        let mut idle = Vec::new();
        for _ in 0..65 {
            let mut raw = Raw::connect_from(first, addr).await;
            raw.send(PROBE).await;
            assert_eq!(raw.answer().await.0, 200);
            idle.push(raw);
        }
        eventually("its own oldest has made room", SOON, async || idle[0].is_closed()).await;
        assert!(!idle[1].is_closed());
        let mut busy = Vec::new();
        for _ in 0..64 {
            busy.push(half_an_event(Raw::connect_from(second, addr).await).await);
        }
        let refused = Raw::connect_from(second, addr).await.rest().await;
        assert!(
            status(&refused) == 503 && refused.contains("this address has as many connections"),
            "{refused}"
        );
        assert!(!idle[1].is_closed(), "another address gives up nothing for it");
        // The control: as many, and more, from loopback.
        for _ in 0..80 {
            busy.push(half_an_event(Raw::connect(addr).await).await);
        }
        for (raw, rest) in &mut busy {
            raw.send(rest).await;
            assert_eq!(raw.answer().await.0, 202);
        }
    });
}
