//! Ten thousand policies that rest: how long a start takes with them, what they keep in memory, what the daemon costs while
//! nothing happens, how long a scrape of its metrics and a change of one policy take; with the usual number of policies
//! that have series of their own and with a thousand of them, beside a daemon without policies.

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
use std::time::Duration;

use serde_json::json;
use tidegate::testkit::clock::Clock;

use world::{Api, Server, ServerOptions};

const POLICIES: usize = 10_000;
/// What starting has left behind is given back by then.
const SETTLES: Duration = Duration::from_secs(15);
/// How long the processor time is measured: it is told in hundredths of a second.
const MEASURED: Duration = Duration::from_secs(30);
const REPEATED: usize = 21;

#[tokio::main]
async fn main() {
    println!(
        "| policies | with own series | first start ms | start ms | peak MB | rest MB | after scrapes MB | idle % of a core \
         | scrape ms | scrape kB | change ms |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (policies, own) in [(0, 200), (POLICIES, 200), (POLICIES, 1_000)] {
        run(policies, own).await;
    }
}

async fn run(policies: usize, own: usize) {
    let (dir, clock) = (tempfile::tempdir().expect("a directory"), Clock::system());
    let file = dir.path().join("limits.toml");
    write(&file, policies, own);
    let mut options = ServerOptions::new(&dir.path().join("data"));
    options.args.extend(["--config".to_owned(), file.display().to_string()]);

    let start = |options: &ServerOptions| {
        let begun = clock.now();
        let server = Server::start_within(options, Duration::from_secs(600));
        let server = server.unwrap_or_else(|(_, log)| panic!("did not start:\n{}", log.join("\n")));
        (server, millis(clock.now().since(begun)))
    };
    let (server, first_ms) = start(&options);
    assert_eq!(server.stop().code(), Some(0));
    let (server, start_ms) = start(&options);
    tokio::time::sleep(SETTLES).await;
    let (peak, rest) = (figure(server.pid(), "VmHWM:"), figure(server.pid(), "VmRSS:"));
    let cpu_before = cpu_seconds(server.pid());
    tokio::time::sleep(MEASURED).await;
    let cpu = cpu_seconds(server.pid()) - cpu_before;
    let api = server.api();
    let (scrape_ms, scrape_bytes) = scrape(&api, &clock).await;
    let after = figure(server.pid(), "VmRSS:");
    let change_ms = change(&api, &clock).await;
    println!(
        "| {policies} | {own} | {first_ms:.0} | {start_ms:.0} | {:.1} | {:.1} | {:.1} | {:.2} | {scrape_ms:.1} | {} | {change_ms:.1} |",
        mega(peak),
        mega(rest),
        mega(after),
        cpu * 100.0 / MEASURED.as_secs_f64(),
        scrape_bytes / 1000,
    );
    assert_eq!(server.stop().code(), Some(0));
}

/// As short as they can be: a configuration file has at most a megabyte.
fn write(file: &Path, policies: usize, own: usize) {
    let mut text = format!(
        "[manage]\nmax_policies = {}\nmax_policies_per_dialect = {}\n[metrics]\nmax_policies = {own}\n",
        POLICIES + 100,
        POLICIES + 100,
    );
    for n in 0..policies {
        let host = n % 100;
        text.push_str(&format!(
            "[[policy]]\nname = \"p{n}\"\nurl = \"https://h{host}.test/v1/{n}/*\"\npace = 20\n"
        ));
    }
    std::fs::write(file, text).expect("written");
}

/// The median of the times, and the length of the answer.
async fn scrape(api: &Api, clock: &Clock) -> (f64, usize) {
    let (mut took, mut bytes) = (Vec::new(), 0);
    for _ in 0..REPEATED {
        let begun = clock.now();
        let (status, text) = api.get("/metrics").await;
        took.push(millis(clock.now().since(begun)));
        assert_eq!(status, 200);
        bytes = text.len();
    }
    (median(took), bytes)
}

/// The median time until a policy of the API has other limits.
async fn change(api: &Api, clock: &Clock) -> f64 {
    let mut took = Vec::new();
    for pace in 1..=REPEATED {
        let body = json!({"url": "https://changes.test/*", "pace": pace});
        let begun = clock.now();
        let (status, answer) = api.json("PUT", "/v1/policies/changes", &body).await;
        took.push(millis(clock.now().since(begun)));
        assert!(status == 200 || status == 201, "{answer}");
    }
    median(took)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mega(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// A figure in bytes of the memory of a process.
fn figure(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status.lines().find(|line| line.starts_with(name)).expect("a figure");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

/// Of all threads of a process, in user and system mode.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a living process");
    let (_, figures) = stat.rsplit_once(')').expect("a name");
    let ticks: f64 =
        figures.split(' ').skip(12).take(2).map(|ticks| ticks.parse::<f64>().expect("ticks")).sum();
    // The kernel reports hundredths of a second to everybody.
    ticks / 100.0
}
