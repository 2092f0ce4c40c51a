//! The ledger of the real binary adds up in every scrape: under load in which every outcome happens, at rest, after an
//! orderly restart and after kill -9. Series of a policy begin with it at 0 and end with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Receiver, Server, ServerOptions, alone, eventually, figure};

const SOON: Duration = Duration::from_secs(20);
const IN: [&str; 2] = ["accepted", "redriven"];
const OUT: [&str; 6] = ["delivered", "expired", "dead", "drained", "cancelled", "lost"];
const HERE: [&str; 3] = ["ready", "delayed", "inflight"];

const CONFIG: &str = r#"
[queue]
drain_seconds = 1

# One in ten is answered with 503, and the counts are what this is about.
[dispatch]
adaptive_rate = false

[retry]
min_delay_ms = 20
max_delay_ms = 50
max_attempts = 2
"#;

fn term(metrics: &str, term: &str) -> f64 {
    figure(metrics, "tidegate_ledger_events", &format!("term=\"{term}\""))
}

fn sum(metrics: &str, terms: &[&str]) -> f64 {
    terms.iter().map(|of| term(metrics, of)).sum()
}

/// Panics when it does not add up; returns what came in.
fn check(metrics: &str) -> f64 {
    let came = sum(metrics, &IN);
    let lines: Vec<_> = metrics.lines().filter(|line| line.starts_with("tidegate_ledger")).collect();
    assert_eq!(lines.len(), IN.len() + OUT.len() + HERE.len(), "{lines:?}");
    assert_eq!(came, sum(metrics, &OUT) + sum(metrics, &HERE), "{lines:#?}");
    came
}

/// Scrapes as fast as it can until it is told to stop, or the server is gone; returns how often.
fn scraping(api: Api, is_over: Arc<AtomicBool>) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let mut scrapes = 0;
        while !is_over.load(Ordering::Acquire) {
            check(&api.get("/metrics").await.1);
            scrapes += 1;
        }
        scrapes
    })
}

struct World {
    _dir: tempfile::TempDir,
    options: ServerOptions,
    receiver: Receiver,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options = ServerOptions::new(&dir.path().join("data"));
        let config = dir.path().join("tidegate.toml");
        options.args = vec!["--config".to_owned(), config.display().to_string()];
        let receiver = Receiver::answering(|arrival| match arrival.number {
            Some(n) if n % 10 == 3 => (404, Duration::ZERO),
            Some(n) if n % 10 == 4 => (503, Duration::ZERO),
            _ => (204, Duration::from_millis(2)),
        })
        .await;
        let fast = receiver.url("/fast/*");
        let policy = format!("[[policy]]\nname = \"fast\"\nurl = \"{fast}\"\npace = 2000\n");
        std::fs::write(&config, format!("{CONFIG}\n{policy}")).expect("a file");
        Self { _dir: dir, options, receiver }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_adds_up_under_load_at_rest_over_restarts_and_after_kills() {
    let _alone = alone().await;
    let World { _dir, options, receiver } = World::new().await;
    let server = Server::start(&options);
    let api = server.api();
    let stopped = api.deploy_throttling(&receiver.url("/slow/*"), 200).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let scrapes = scraping(server.api(), Arc::clone(&is_over));

    // Every outcome that an operator or the passing of time brings about, while calls go on.
    let hold = json!({"reason": "to wait", "for_seconds": 60});
    assert_eq!(api.json("POST", &format!("/v1/policies/{stopped}:pause"), &hold).await.0, 200);
    for n in 0..20 {
        let brief = json!({"url": receiver.url("/slow/x"), "body": {"n": n}, "ttl_seconds": 1});
        assert_eq!(api.json("POST", "/v1/events", &brief).await.0, 202);
    }
    for round in 0..20 {
        api.enqueue(&receiver.url("/fast/x"), round * 100..round * 100 + 100).await;
    }
    eventually("brief ones expire", SOON, async || term(&api.get("/metrics").await.1, "expired") == 20.0)
        .await;
    api.enqueue(&receiver.url("/slow/x"), 0..50).await;
    let purge = format!("/v1/policies/{stopped}:purge");
    assert_eq!(api.json("POST", &purge, &json!({"confirm": stopped})).await.0, 200);
    api.enqueue(&receiver.url("/slow/x"), 0..30).await;
    let undeploy = format!("/authoring/throttlingConfigs/{stopped}/undeploy");
    assert_eq!(api.json("POST", &undeploy, &json!({})).await.0, 204);
    for n in 0..5 {
        let later = json!({"url": receiver.url("/fast/x"), "body": {"n": n}, "delay_seconds": 600});
        assert_eq!(api.json("POST", "/v1/events", &later).await.0, 202);
    }
    eventually("all that can end has", SOON, async || {
        let text = api.get("/metrics").await.1;
        term(&text, "drained") == 30.0 && sum(&text, &["ready", "inflight"]) == 0.0
    })
    .await;
    is_over.store(true, Ordering::Release);
    let scrapes = scrapes.await.expect("every scrape adds up");
    let text = api.get("/metrics").await.1;
    assert_eq!(check(&text), 2_000.0 + 20.0 + 50.0 + 30.0 + 5.0);
    let ends = OUT.map(|of| (of, term(&text, of)));
    let expected = [1_600.0, 20.0, 400.0, 30.0, 50.0, 0.0];
    assert_eq!(ends.map(|(_, events)| events), expected, "{ends:?}");
    let labels = ["delivered", "expired", "dead", "config_drained", "cancelled", "lost"];
    let lifetimes = labels.map(|outcome| {
        figure(&text, "tidegate_event_lifetime_seconds_count", &format!("outcome=\"{outcome}\""))
    });
    assert_eq!(lifetimes, expected, "the counters are fed with the ledger");
    println!("ledger: {scrapes} scrapes under load, {ends:?}");
    assert!(scrapes > 20, "it was looked at often: {scrapes}");

    // What an earlier process left is accepted anew, after an orderly stop and after a hard one.
    assert_eq!(server.stop().code(), Some(0));
    let mut server = Server::start(&options);
    let text = server.api().get("/metrics").await.1;
    assert_eq!((check(&text), term(&text, "delayed")), (5.0, 5.0));
    for kill in 0..5_u64 {
        let feeding = server.api();
        let url = receiver.url("/fast/x");
        let start = 10_000 + kill * 10_000;
        let fed = async {
            for part in 0..50 {
                feeding.enqueue(&url, start + part * 50..start + part * 50 + 50).await;
                check(&feeding.get("/metrics").await.1);
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(300), fed).await;
        server.kill();
        server = Server::start(&options);
        let text = server.api().get("/metrics").await.1;
        let recovered = figure(&text, "tidegate_store_recovered_events_total", "");
        assert_eq!(check(&text), recovered, "nothing else has come in");
        assert!(recovered >= 5.0);
    }
    let api = server.api();
    eventually("all arrive", SOON, async || {
        let text = api.get("/metrics").await.1;
        check(&text);
        sum(&text, &["ready", "inflight"]) == 0.0 && term(&text, "delayed") == 5.0
    })
    .await;
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn series_begin_with_a_policy_at_zero_and_end_with_it() {
    let World { _dir, options, receiver } = World::new().await;
    let server = Server::start(&options);
    let api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/slow/*"), 200).await;
    let label = format!("policy=\"{policy}\"");
    let text = api.get("/metrics").await.1;
    for series in [
        format!("tidegate_events_enqueued_total{{{label},source=\"http\"}} 0"),
        format!("tidegate_events_completed_total{{{label},outcome=\"dead\",cause=\"\"}} 0"),
        format!("tidegate_call_attempts_total{{{label},result=\"5xx\"}} 0"),
        format!("tidegate_call_duration_seconds_count{{{label}}} 0"),
    ] {
        assert!(text.lines().any(|line| line == series), "{series} at once in\n{text}");
    }
    api.enqueue(&receiver.url("/slow/x"), 0..1).await;
    let delivered = async || api.metric("tidegate_events_completed_total", &label).await == 1.0;
    eventually("it is delivered", SOON, delivered).await;
    eventually("permits are counted", SOON, async || {
        let text = api.get("/metrics").await.1;
        figure(&text, "tidegate_limiter_permits_total", &format!("{label},limit=\"pace\"")) == 1.0
            && figure(&text, "tidegate_policies", "state=\"deployed\"") == 2.0
    })
    .await;

    let path = format!("/authoring/throttlingConfigs/{policy}");
    assert_eq!(api.json("POST", &format!("{path}/undeploy"), &json!({})).await.0, 204);
    assert_eq!(api.metric("tidegate_events_completed_total", &label).await, 1.0, "it drains");
    let is_gone = async || !api.get("/metrics").await.1.contains(&label);
    eventually("its series end", SOON, is_gone).await;
    assert_eq!(api.metric("tidegate_events_completed_total", "").await, 0.0, "not even elsewhere");
    assert_eq!(api.json("POST", &format!("{path}/deploy"), &json!({})).await.0, 204);
    let text = api.get("/metrics").await.1;
    assert!(
        text.contains(&format!("tidegate_events_enqueued_total{{{label},source=\"http\"}} 0\n")),
        "{text}"
    );
    assert_eq!(server.stop().code(), Some(0));
}

/// With many waiting and a pace of one a second: all answers mean the same by in flight.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_ahead_is_ready_wherever_it_is_asked_for() {
    const EVENTS: u64 = 100;
    let World { _dir, options, .. } = World::new().await;
    let receiver = Receiver::answering(|_| (204, Duration::from_secs(60))).await;
    let policy = format!("[[policy]]\nname = \"slow\"\nurl = \"{}\"\npace = 1\n", receiver.url("/slow/*"));
    std::fs::write(&options.args[1], format!("{CONFIG}\n{policy}")).expect("a file");
    let server = Server::start(&options);
    let api = server.api();
    let read = async |path: String| -> Value { serde_json::from_str(&api.get(&path).await.1).expect("JSON") };
    let ids = api.enqueue(&receiver.url("/slow/x"), 0..EVENTS).await;
    assert_eq!(ids.len() as u64, EVENTS);
    eventually("two have started", SOON, async || receiver.arrivals().len() >= 2).await;
    let places = async || {
        let text = api.get("/metrics").await.1;
        check(&text);
        HERE.map(|of| term(&text, of))
    };
    // Asked until nothing has started meanwhile.
    eventually("every answer is about one moment", SOON, async || {
        let before = places().await;
        let status = read("/v1/status".to_owned()).await;
        let shown = HERE.map(|of| status["events"][of].as_f64().expect("a count"));
        let mut words = HERE.map(|_| 0.0);
        for (_, id) in &ids {
            let event = read(format!("/v1/events/{id}")).await;
            let explained = read(format!("/v1/explain?id={id}")).await;
            let place = HERE.iter().position(|word| event["state"] == **word).expect("it is owed an end");
            if explained["state"] != event["state"] {
                return false;
            }
            words[place] += 1.0;
        }
        if places().await != before {
            return false;
        }
        let started = receiver.arrivals().len() as u64;
        assert!(before[2] >= 2.0 && before[2] <= started as f64, "{before:?}, {started} have started");
        assert_eq!((shown, words), (before, before), "the status and the events say what the ledger says");
        true
    })
    .await;
    let of_policy =
        |text: &str, name: &str, more: &str| figure(text, name, &format!("policy=\"slow\"{more}"));
    eventually("the series of the policy say it, too", SOON, async || {
        let text = api.get("/metrics").await.1;
        let [ready, inflight] = ["ready", "inflight"]
            .map(|of| of_policy(&text, "tidegate_queue_events", &format!(",state=\"{of}\"")));
        ready + inflight == EVENTS as f64 && inflight == of_policy(&text, "tidegate_calls_inflight", "")
    })
    .await;
    server.kill();
}
