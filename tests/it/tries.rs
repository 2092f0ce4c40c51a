//! What costs an attempt and what does not: endpoints that are down for long, answers that are lost, shortages of
//! tidegate's own.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::world::{Api, Configured, Namespace, Receiver, Server, eventually};

const SOON: Duration = Duration::from_secs(60);
/// One attempt in all; a breaker that opens at once and tries the endpoint ten times a second.
const HASTY: &str = "[retry]\nmin_delay_ms = 10\nmax_delay_ms = 100\nmax_attempts = 1\n\
                     [breaker]\nfailures = 3\nmin_hold_ms = 50\nmax_hold_ms = 100\n";

async fn ended(api: &Api, outcome: &str) -> f64 {
    api.metric("tidegate_events_completed_total", &format!("outcome=\"{outcome}\"")).await
}

async fn all_ended(api: &Api, events: f64) -> bool {
    api.metric("tidegate_events_completed_total", "").await == events
}

async fn calls(api: &Api, result: &str) -> f64 {
    api.metric("tidegate_call_attempts_total", &format!("result=\"{result}\"")).await
}

/// Reads each request and hangs up without an answer; counts them.
async fn mute() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/x", listener.local_addr().expect("an address"));
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_refuses_costs_no_attempt_and_a_lost_answer_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    drop(listener);
    let down = format!("http://{addr}/x");
    let (lost, seen) = mute().await;
    let policy = |name, url| format!("[[policy]]\nname = \"{name}\"\nurl = \"{url}\"\npace = 1000\n");
    let world = Configured::new(Receiver::start().await);
    world.write(&[HASTY, &policy("down", &down), &policy("lost", &lost)].concat());
    let server = Server::start(&world.options);
    let api = server.api();
    let ids = api.enqueue(&down, 0..20).await;
    assert_eq!(ids.len(), 20);
    eventually("many tries", SOON, async || calls(&api, "connect").await >= 60.0).await;
    let (_, event) = api.json("GET", &format!("/v1/events/{}", ids[0].1), &Value::Null).await;
    assert_eq!(event["attempts"], 0, "{event}");
    assert_eq!(ended(&api, "dead").await, 0.0);

    // The control: with the same settings an answer that is lost has used the only attempt up.
    assert_eq!(api.enqueue(&lost, 0..1).await.len(), 1);
    eventually("a dead letter", SOON, async || ended(&api, "dead").await == 1.0).await;
    assert_eq!(seen.load(Ordering::SeqCst), 1);

    let listener = TcpListener::bind(addr).await.expect("the port is free");
    let receiver = Receiver::on(listener, |_| (204, Duration::ZERO));
    eventually("all arrive", SOON, async || ended(&api, "delivered").await == 20.0).await;
    assert!(receiver.times_seen().values().all(|times| *times == 1));
    assert!(receiver.arrivals().iter().all(|arrival| arrival.attempt == 1), "no attempt was spent before");
    assert_eq!((receiver.count(), ended(&api, "dead").await), (20, 1.0));
    assert_eq!(server.stop().code(), Some(0));
}

/// Twelve events for an endpoint that fails until all of them would have used all attempts up many times.
async fn failing(settings: &str, is_over: impl AsyncFn(&Api, &Receiver) -> bool) -> (f64, f64) {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let receiver = Receiver::answering(move |_| {
        (if is_well.load(Ordering::SeqCst) { 204 } else { 503 }, Duration::ZERO)
    });
    let world = Configured::new(receiver.await);
    world.write(settings);
    let server = Server::start(&world.options);
    let api = server.api();
    let url = world.receiver.url("/x");
    api.deploy_throttling(&url, 1_000).await;
    assert_eq!(api.enqueue(&url, 0..12).await.len(), 12);
    eventually("it has failed often enough", SOON, async || is_over(&api, &world.receiver).await).await;
    well.store(true, Ordering::SeqCst);
    eventually("all have ended", SOON, async || all_ended(&api, 12.0).await).await;
    let ends = (ended(&api, "dead").await, ended(&api, "delivered").await);
    assert_eq!(server.stop().code(), Some(0));
    ends
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_of_an_open_breaker_make_no_dead_letter() {
    let settings = HASTY.replace("max_attempts = 1", "max_attempts = 3");
    let ends = failing(&settings, async |_, receiver| receiver.count() >= 80).await;
    assert_eq!(ends, (0.0, 12.0));
    // The control: without a breaker the same calls are attempts.
    let without = settings.replace("failures = 3", "failures = 0");
    let ends = failing(&without, async |api, _| all_ended(api, 12.0).await).await;
    assert_eq!(ends, (12.0, 0.0));
}

/// Deploys, hands in, and waits for the end of a shortage that `begin` brings about.
async fn short_of(world: &Configured, server: &Server, events: u64, begin: impl AsyncFnOnce(&Api)) {
    let api = server.api();
    let url = world.receiver.url("/x");
    api.deploy_throttling(&url, 2_000).await;
    begin(&api).await;
    assert_eq!(api.enqueue(&url, 0..events).await.len() as u64, events);
    let mut held = Value::Null;
    eventually("the lane is held", SOON, async || {
        let path = format!("/v1/explain?method=POST&url={url}");
        held = api.json("GET", &path, &Value::Null).await.1["held"].take();
        held["reason"] == "shortage"
    })
    .await;
    assert!(held["text"].to_string().contains("tidegate is short of"), "{held}");
    eventually("all arrive", SOON, async || ended(&api, "delivered").await == events as f64).await;
    assert!(calls(&api, "shortage").await > 0.0);
    assert_eq!(ended(&api, "dead").await, 0.0);
    let times = world.receiver.times_seen();
    assert!(times.len() as u64 == events && times.values().all(|times| *times == 1), "{times:?}");
    assert!(world.receiver.arrivals().iter().all(|arrival| arrival.attempt == 1));
    let warnings = server.log().iter().filter(|line| line.contains("calls cannot be made")).count();
    assert!((1..=20).contains(&warnings), "{warnings} lines");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_descriptors_are_short_every_event_arrives_and_none_has_used_an_attempt_up() {
    let slow = Receiver::answering(|_| (204, Duration::from_millis(300))).await;
    let world = Configured::new(slow);
    world.write(HASTY);
    let server = Server::start(&world.options);
    let pid = server.pid();
    short_of(&world, &server, 1_500, async |_| {
        // After its start, so that it cannot arrange for it.
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").count();
        let limit = format!("--nofile={0}:{0}", open + 60);
        let set = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
        assert!(set.expect("prlimit runs").success());
    })
    .await;
    server.kill();
}

#[test]
fn when_ports_are_short_every_event_arrives_and_none_has_used_an_attempt_up() {
    let network = Namespace::new(&[]);
    network.enter(async || {
        let slow = Receiver::answering(|_| (204, Duration::from_millis(300))).await;
        let world = Configured::new(slow);
        world.write(HASTY);
        let server = Server::start(&world.options);
        short_of(&world, &server, 400, async |_| {
            // Towards one address; of this network alone.
            std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "41000 41039")
                .expect("a network of its own");
        })
        .await;
        assert_eq!(server.stop().code(), Some(0));
    });
}
