//! Many at once: a restart with a backlog under a hundred policies, and clients that hand in faster than the disk takes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::testkit::clock::Clock;

use crate::world::{Api, Configured, Receiver, Server, alone, eventually};

const LONG: Duration = Duration::from_secs(60);

/// No limit is exceeded over the restart, and no policy waits for the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_a_hundred_backlogs_keeps_every_limit() {
    const POLICIES: usize = 100;
    const EACH: usize = 12;
    const PACE: usize = 5;
    let world = Configured::new(Receiver::start().await);
    let name = |number: usize| format!("p{number}");
    let blocks = (0..POLICIES).map(|number| world.policy(&name(number), &format!("pace = {PACE}")));
    world.write(&blocks.collect::<String>());
    let server = Server::start(&world.options);
    let api = server.api();
    let url = |number: usize| world.receiver.url(&format!("/{}/x", name(number)));
    let lines: String = (0..POLICIES * EACH)
        .map(|n| format!("{}\n", json!({"url": url(n % POLICIES), "body": {"n": n}})))
        .collect();
    let (status, answer) = api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer");
    assert_eq!((status, answer.matches("\"status\":202").count()), (200, POLICIES * EACH));
    eventually("some have gone", LONG, async || world.receiver.count() >= POLICIES).await;
    // In the middle of a second, when all of them have used some of it.
    server.kill();
    let mut before = 0;
    eventually("what was on its way has come", LONG, async || {
        std::mem::replace(&mut before, world.receiver.count()) == world.receiver.count()
    })
    .await;
    let killed_ns = Clock::system().now().as_nanos();
    let server = Server::start(&world.options);
    let api = server.api();
    eventually("all arrive", LONG, async || world.receiver.times_seen().len() == POLICIES * EACH).await;
    let arrivals = world.receiver.arrivals();
    let paths: BTreeSet<&str> = arrivals.iter().map(|arrival| &*arrival.path).collect();
    assert_eq!(paths.len(), POLICIES);
    // What was started in the second before the kill is not known any more.
    let (before, after): (Vec<u64>, Vec<u64>) =
        arrivals.iter().map(|arrival| arrival.at_ns).partition(|at_ns| *at_ns < killed_ns);
    assert!(!before.is_empty(), "the control: the kill lies between");
    let first_ns = after.into_iter().min();
    let silent_ms = (first_ns.expect("an arrival") - killed_ns) / 1_000_000;
    assert!(silent_ms >= 1_000, "the first call {silent_ms} ms after the kill");
    assert_eq!(api.metric("tidegate_limit_violations_total", "").await, 0.0);
    let (_, text) = api.get("/metrics").await;
    let peaks = text.lines().filter(|line| line.starts_with("tidegate_limit_window_peak{"));
    let peaks: Vec<f64> = peaks.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(peaks.len() >= POLICIES && peaks.iter().all(|peak| *peak <= PACE as f64), "{peaks:?}");
    assert_eq!(server.stop().code(), Some(0));
}

/// Hands in as fast as it is answered until it is told to stop; counts what was kept and what was refused, by code.
async fn flood(api: Api, body: String, stop: Arc<AtomicBool>, kept: Arc<AtomicU64>) -> Vec<String> {
    let mut refusals = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let (status, answer) =
            api.post("/v1/events", "application/x-ndjson", body.clone()).await.expect("an answer");
        if status != 200 {
            refusals.push(answer);
            continue;
        }
        for line in answer.lines() {
            let line: Value = serde_json::from_str(line).expect("a line of JSON");
            match line["status"].as_u64() {
                Some(202) => drop(kept.fetch_add(1, Ordering::SeqCst)),
                _ => refusals.push(line["code"].to_string()),
            }
        }
    }
    refusals
}

/// Management, probes and metrics are answered soon, what is accepted is there, and memory does not grow with the backlog.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_flood_of_events_holds_up_no_management() {
    const CLIENTS: usize = 32;
    const LINES: usize = 500;
    let _alone = alone().await;
    let world = Configured::new(Receiver::start().await);
    world.write(&world.policy("flood", "pace = 200"));
    let server = Server::start(&world.options);
    let api = server.api();
    let paused = api.json("POST", "/v1/policies/flood:pause", &json!({"reason": "a test"})).await;
    assert_eq!(paused.0, 200);
    let before = server.resident_bytes();
    let event = json!({"url": world.receiver.url("/flood/x"), "body_text": "x".repeat(500)});
    let body = format!("{event}\n").repeat(LINES);
    let (stop, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(flood(api.clone(), body.clone(), stop.clone(), kept.clone())))
        .collect();
    eventually("the flood has begun", LONG, async || kept.load(Ordering::SeqCst) > 0).await;

    let clock = Clock::system();
    let mut took_ms = Vec::new();
    for number in 0..30 {
        let throttling = json!({"plugin_version_id": "2", "plugin_endpoint": format!("/{number}"), "scope": "GLOBAL",
            "max_qps": 5});
        let begun = clock.now();
        let (status, answer) = api.json("POST", "/v1/plugins/1/versions/2/throttlings", &throttling).await;
        took_ms.push(clock.now().since(begun).as_millis());
        assert_eq!(status, 201, "{answer}");
        for path in ["/v1/policies", "/livez"] {
            let begun = clock.now();
            let (status, answer) = api.get(path).await;
            took_ms.push(clock.now().since(begun).as_millis());
            assert_eq!(status, 200, "{path}: {answer}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut refusals = Vec::new();
    for client in clients {
        refusals.extend(client.await.expect("no panic"));
    }
    took_ms.sort_unstable();
    let kept = kept.load(Ordering::SeqCst);
    let grown = server.resident_bytes().saturating_sub(before);
    println!(
        "{kept} kept, {} refused; management took {} ms in the median, {} ms at most; {} MiB more",
        refusals.len(),
        took_ms[took_ms.len() / 2],
        took_ms[took_ms.len() - 1],
        grown >> 20
    );
    // Generous: others may use the machine as well. What waited for the end of the flood would take longer.
    assert!(took_ms[took_ms.len() / 2] < 2_000 && took_ms[took_ms.len() - 1] < 10_000, "{took_ms:?}");
    let known = ["overloaded", "store_slow", "outcome_unknown", "storage_full"];
    assert!(refusals.iter().all(|refusal| known.iter().any(|code| refusal.contains(code))), "{refusals:?}");
    assert!(grown < 256 << 20, "{} MiB more for {kept} events", grown >> 20);
    let waiting = async || api.metric("tidegate_queue_events", "policy=\"flood\"").await;
    eventually("all that was kept waits", LONG, async || waiting().await >= kept as f64).await;
    assert_eq!(server.stop().code(), Some(0));
}

/// With too little address space it says so and ends, or it serves: nothing half-started stays, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn too_little_address_space_is_an_end_or_a_service() {
    const ENOUGH_MB: u64 = 16_384;
    let mut world = Configured::new(Receiver::start().await);
    world.write(&world.policy("p", "pace = 200"));
    let server = Server::start(&world.options);
    let delayed = json!({"url": world.receiver.url("/p/x"), "delay_seconds": 3600});
    assert_eq!(server.api().json("POST", "/v1/events", &delayed).await.0, 202);
    assert_eq!(server.stop().code(), Some(0));
    let mut ended = Vec::new();
    for limit_mb in [64, 128, 192, 256, 512, ENOUGH_MB] {
        world.options.wrapper = vec!["prlimit".to_owned(), format!("--as={}", limit_mb << 20)];
        match Server::start_within(&world.options, LONG) {
            Err((status, log)) => {
                assert!(status.is_some(), "{limit_mb} MB: it neither serves nor ends: {log:?}");
                assert!(!log.is_empty(), "{limit_mb} MB: it does not say why");
                ended.push(limit_mb);
            }
            Ok(mut server) => {
                // What was enough for the start may not be for a request.
                match server.api().try_json("GET", "/readyz", &Value::Null).await {
                    Ok((status, answer)) => assert_eq!(status, 200, "{limit_mb} MB: {answer}"),
                    Err(_) => assert!(server.ended_within(LONG).is_some(), "{limit_mb} MB: it stands still"),
                }
            }
        }
    }
    assert!(ended.contains(&64) && !ended.contains(&ENOUGH_MB), "{ended:?} MB are too few");
    world.options.wrapper.clear();
    let server = Server::start(&world.options);
    let api = server.api();
    eventually("what it had is there", LONG, async || {
        api.metric("tidegate_queue_events", "state=\"delayed\"").await == 1.0
    })
    .await;
    assert_eq!(server.stop().code(), Some(0));
}
