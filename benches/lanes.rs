//! Ten thousand lanes with one event each, beside one lane with ten thousand events: both under one pace for all,
//! through the whole app, from the door to a deliverer that does nothing. What many lanes cost, and whether each gets
//! its turn.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench: it prints, and stops at the first surprise"
)]

#[path = "../tests/it/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the tests, which use more of it")]
mod world;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use serde_json::json;
use tidegate::testkit::app::{App, Seams};
use tidegate::testkit::clock::{Clock, Timestamp};
use tidegate::testkit::delivery::{Call, Deliver};
use tidegate::testkit::event::{Outcome, PolicyId};
use tidegate::testkit::policy::{
    Book, BookError, Clause, Limits, Origin, Pace, Policies, Scope, Spec, UrlPattern,
};
use tidegate::testkit::store::DocumentStore;
use world::inside;

const EVENTS: usize = 10_000;
const PER_SECOND: f64 = 5000.0;
/// Of each lane.
const LANE_PER_SECOND: f64 = 100.0;
const URL: &str = "http://127.0.0.1:9/x";

#[tokio::main]
async fn main() {
    println!("{EVENTS} events under {PER_SECOND}/s for all:\n");
    println!("| lanes | started | wall s | CPU s | CPU us per event | shortest wait ms | longest wait ms |");
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    run(1).await;
    run(EVENTS).await;
}

/// When each call went out, and when it had been accepted.
struct Sink {
    clock: Clock,
    starts: Arc<Mutex<Vec<(Timestamp, Timestamp)>>>,
}

impl Deliver for Sink {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let start = (self.clock.now(), call.id.accepted_at());
        self.starts.lock().expect("no panic").push(start);
        std::future::ready(Outcome::Delivered { status: 204 }).boxed()
    }
}

async fn run(lanes: usize) {
    let dir = tempfile::tempdir().expect("a directory");
    let starts = Arc::new(Mutex::new(Vec::with_capacity(EVENTS)));
    let running = app(dir.path(), lanes > 1, starts.clone()).await.spawn();
    let api = world::Api::new(running.addr());
    let line = |n: usize| format!("{}\n", json!({"url": URL, "labels": {"key": (n % lanes).to_string()}}));
    let cpu_before = cpu_seconds();
    let body: String = (0..EVENTS).map(line).collect();
    let (status, answer) = api.post("/v1/events", "application/x-ndjson", body).await.expect("an answer");
    assert_eq!((status, answer.matches("\"status\":202").count()), (200, EVENTS), "{answer:.300}");
    let in_time = tokio::time::timeout(Duration::from_secs(60), running.idle()).await;
    let cpu = cpu_seconds() - cpu_before;
    let report = running.drain(Duration::from_secs(5)).await.expect("an orderly end");
    let starts = starts.lock().expect("no panic").clone();
    let waits = starts.iter().map(|(at, accepted)| at.since(*accepted).as_secs_f64() * 1000.0);
    let (least, most) =
        waits.fold((f64::MAX, 0.0_f64), |(least, most), wait| (least.min(wait), most.max(wait)));
    let wall = starts.last().map_or(0.0, |(at, _)| at.since(starts[0].0).as_secs_f64());
    println!(
        "| {lanes} | {} | {wall:.2} | {cpu:.2} | {:.0} | {least:.1} | {most:.0} |",
        starts.len(),
        cpu * 1e6 / EVENTS as f64
    );
    assert!(in_time.is_ok() && report.delivered == EVENTS as u64, "none is starved: {report}");
}

/// One pace for all, and for each value of the label, or for all of them, one of its own.
fn rules(many: bool) -> Vec<(&'static str, f64, Vec<&'static str>)> {
    let mut rules = vec![("all", PER_SECOND, Vec::new())];
    if many {
        rules.push(("each", LANE_PER_SECOND, vec!["key"]));
    } else {
        rules.push(("one", PER_SECOND * 2.0, Vec::new()));
    }
    rules
}

async fn app(root: &Path, many: bool, starts: Arc<Mutex<Vec<(Timestamp, Timestamp)>>>) -> App {
    let clock = Clock::system();
    let config = inside::config(&[]);
    let store = inside::store(root, &clock);
    let (documents, usages) = (Arc::new(store.documents()), Arc::new(store.usages()));
    put_in_force(documents.clone(), many, &clock).await;
    let deliver = Arc::new(Sink { clock: clock.clone(), starts });
    let seams = Seams { clock, store: Arc::new(store), documents, usages, deliver };
    App::over(&config, seams).await.expect("an app")
}

async fn put_in_force(documents: Arc<dyn DocumentStore>, many: bool, clock: &Clock) {
    let policies = Policies::open(documents, clock.clone()).await.expect("a book");
    let edit = |book: &mut Book| {
        for (name, pace, scope) in rules(many) {
            let id = PolicyId::parse(name).expect("an id");
            book.put(&Origin::new("bench"), &id, spec(pace, &scope))?;
        }
        Ok::<(), BookError>(())
    };
    policies.change(edit).await.expect("in force");
}

fn spec(pace: f64, scope: &[&str]) -> Spec {
    let limits = Limits { pace: Some(Pace::per_second(pace).expect("a pace")), ..Limits::default() };
    let clause = Clause::of(UrlPattern::parse(URL).expect("a pattern"));
    Spec { scope: Scope::new(scope).expect("a scope"), ..Spec::new(vec![clause], limits) }
}

/// Of all threads of this process, in user and system mode.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, figures) = stat.rsplit_once(')').expect("a name");
    let ticks: f64 =
        figures.split(' ').skip(12).take(2).map(|ticks| ticks.parse::<f64>().expect("ticks")).sum();
    // The kernel reports hundredths of a second to everybody.
    ticks / 100.0
}
