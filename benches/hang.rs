//! Two healthy policies beside neighbours that hang: 1, 2, 3 and 30 policies whose endpoints never answer, a name server that
//! never answers, 1 010 idle clients. Each row is the median over seven pairs of programs of the ratio of the 99th percentiles
//! of the time from handing an event in to its arrival. Both programs of a pair, with and without the neighbours, run at the
//! same time and get their events in turns of about a second, because what a disk takes for a sync differs by half from one
//! minute to the next. At most 1.10 is the aim; the process ends with 1 when a row is above it.
//!
//! `cargo bench --bench hang -- idle` runs the rows whose names contain the word. Names need root: the program is started in
//! a mount namespace with files of its own.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench: it prints, and stops at the first surprise"
)]

#[path = "../tests/it/world/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with the tests, which use more of it")]
mod world;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidegate::testkit::clock::Clock;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use world::name_server::{NameServer, Say};
use world::{Api, Configured, Raw, Receiver, Server};

const PAIRS: usize = 7;
const MOST_RATIO: f64 = 1.10;
/// Of each healthy policy in one turn.
const EVENTS: u64 = 300;
/// The percentile of a program rests on its slowest thirty-six.
const TURNS: u64 = 6;
const BETWEEN: Duration = Duration::from_millis(4);
/// How long after the last event of a turn its arrival is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest that neighbours get to take all that they can.
const SETTLING: Duration = Duration::from_secs(15);
/// The index of the store writes within ten seconds what was handed in; no turn begins before it has written the events of
/// the neighbours. By then the questions for 600 names, all of which began at once, are asked again at moments of their own.
const INDEX_WRITTEN: Duration = Duration::from_secs(12);
const HANGING_PER_SECOND: u32 = 5_000;
/// Longer than a pair: calls that all began within a second would otherwise all time out within one second of a turn.
const HANGING_FOR: Duration = Duration::from_secs(240);
/// A program that works while it gets no events would slow the other one's turns and so look better than it is.
const MOST_CPU_BETWEEN_TURNS: f64 = 0.05;
const NAMES: usize = 600;
const PROBE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Who takes what the healthy policies might need.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Hanging { policies: usize },
    DeadNameServer,
    IdleClients { connections: usize },
}

const ROWS: [Beside; 6] = [
    Beside::Hanging { policies: 1 },
    Beside::Hanging { policies: 2 },
    Beside::Hanging { policies: 3 },
    Beside::Hanging { policies: 30 },
    Beside::DeadNameServer,
    Beside::IdleClients { connections: 1_010 },
];

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hanging { policies: 1 } => f.write_str("1 hanging policy"),
            Self::Hanging { policies } => write!(f, "{policies} hanging policies"),
            Self::DeadNameServer => f.write_str("a dead name server"),
            Self::IdleClients { connections } => write!(f, "{connections} idle clients"),
        }
    }
}

/// What one program measured in all of its turns.
#[derive(Default)]
struct Measured {
    waits_ms: Vec<f64>,
    missing: usize,
    /// Share of one core that the program used during the other one's turns.
    cpu_between: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_asked = |row: &Beside| words.is_empty() || words.iter().any(|word| row.to_string().contains(word));
    println!(
        "| beside | p50 alone, beside ms | p99 alone, beside ms | ratio of p99, median of {PAIRS} | all | not arrived | CPU between |"
    );
    println!("|---|---:|---:|---:|---|---:|---:|");
    let mut is_kept = true;
    for beside in ROWS.into_iter().filter(is_asked) {
        let mut pairs = Vec::with_capacity(PAIRS);
        for number in 0..PAIRS {
            pairs.push(pair(beside, number).await);
        }
        is_kept &= report(beside, &pairs);
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the row; `false` when it is above the aim.
fn report(beside: Beside, pairs: &[[Measured; 2]]) -> bool {
    let percentiles = |side: usize, part: f64| -> Vec<f64> {
        pairs.iter().map(|pair| pair[side].percentile(part)).collect()
    };
    let (alone, with) = (percentiles(0, 0.99), percentiles(1, 0.99));
    let mut ratios: Vec<f64> = alone.iter().zip(&with).map(|(alone, with)| with / alone).collect();
    ratios.sort_by(f64::total_cmp);
    let ratio = median(ratios.clone());
    let all: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    let missing: usize = pairs.iter().flatten().map(|side| side.missing).sum();
    let cpu_between = pairs.iter().map(|pair| pair[1].cpu_between).fold(0.0, f64::max);
    println!(
        "| {beside} | {:.2}, {:.2} | {:.2}, {:.2} | {ratio:.2} | {} | {missing} of {} | {:.1} % |",
        median(percentiles(0, 0.5)),
        median(percentiles(1, 0.5)),
        median(alone),
        median(with),
        all.join(" "),
        pairs.len() * 4 * usize::try_from(EVENTS * TURNS).expect("few"),
        cpu_between * 100.0,
    );
    ratio <= MOST_RATIO && missing == 0 && cpu_between <= MOST_CPU_BETWEEN_TURNS
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Measured {
    /// Those that are missing took longer than all others.
    fn percentile(&self, part: f64) -> f64 {
        let mut all = self.waits_ms.clone();
        all.sort_by(f64::total_cmp);
        let at = ((all.len() + self.missing) as f64 * part) as usize;
        all.get(at).copied().unwrap_or(f64::INFINITY)
    }
}

/// Two programs on empty directories, the second one with the neighbours.
async fn pair(beside: Beside, number: usize) -> [Measured; 2] {
    let sides = [Side::start(beside, number * 2).await, Side::start(beside, number * 2 + 1).await];
    let neighbours = sides[1].add_neighbours(beside).await;
    let mut measured = [Measured::default(), Measured::default()];
    let mut waited_seconds = [0.0, 0.0];
    for turn in 0..TURNS {
        // Whatever drifts during a turn favours neither side.
        let order = if turn % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let other = 1 - side;
            let (cpu_before, began) = (sides[other].cpu_seconds(), Clock::system().now());
            sides[side].measure(turn * EVENTS * 2, &mut measured[side]).await;
            measured[other].cpu_between += sides[other].cpu_seconds() - cpu_before;
            waited_seconds[other] += Clock::system().now().since(began).as_secs_f64();
        }
    }
    drop(neighbours);
    for (side, seconds) in measured.iter_mut().zip(waited_seconds) {
        side.cpu_between /= seconds;
    }
    for side in sides {
        side.server.kill();
    }
    measured
}

/// One program and what it calls.
struct Side {
    server: Server,
    api: Api,
    healthy_urls: [String; 2],
    endpoint: Hanging,
    name_server: Option<NameServer>,
    world: Configured,
    _name_files: tempfile::TempDir,
}

impl Side {
    async fn start(beside: Beside, number: usize) -> Self {
        let name_server = match beside {
            Beside::DeadNameServer => Some(NameServer::start(&format!("127.53.9.{}:53", number + 1)).await),
            Beside::Hanging { .. } | Beside::IdleClients { .. } => None,
        };
        let name_files = tempfile::tempdir().expect("a directory");
        let endpoint = Hanging::start().await;
        let mut world = Configured::new(Receiver::start().await);
        world.write(&settings(beside, &world.receiver, &endpoint));
        world.options.wrapper = match (beside, &name_server) {
            (Beside::IdleClients { .. }, _) => words(&["prlimit", "--nofile=1024:", "--"]),
            (_, Some(name_server)) => own_files(name_files.path(), name_server),
            (_, None) => Vec::new(),
        };
        let server = Server::start(&world.options);
        let (api, healthy_urls) = (server.api(), healthy_urls(beside, &world.receiver));
        Self { server, api, healthy_urls, endpoint, name_server, world, _name_files: name_files }
    }

    async fn add_neighbours(&self, beside: Beside) -> Vec<Raw> {
        match beside {
            Beside::Hanging { policies } => hang(&self.api, policies, &self.endpoint).await,
            Beside::DeadNameServer => ask_for_names(&self.api, self.name_server.as_ref()).await,
            Beside::IdleClients { connections } => return idle(&self.server, connections).await,
        }
        Vec::new()
    }

    /// User and system time of the program.
    fn cpu_seconds(&self) -> f64 {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.server.pid())).expect("a living process");
        // The name, in parentheses, may hold blanks.
        let fields: Vec<&str> =
            stat.rsplit(')').next().expect("fields follow the name").split_whitespace().collect();
        let ticks: f64 = fields[11..=12].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
        ticks / rustix::param::clock_ticks_per_second() as f64
    }

    /// Hands the events of one turn in at an even pace and looks when they arrive.
    async fn measure(&self, first_number: u64, into: &mut Measured) {
        let clock = Clock::system();
        let handed_in = Arc::new(Mutex::new(HashMap::new()));
        let mut calls = JoinSet::new();
        let mut ticks = tokio::time::interval(BETWEEN);
        let count_before = self.world.receiver.count();
        for number in first_number..first_number + EVENTS * 2 {
            let url = &self.healthy_urls[usize::from(number % 2 == 1)];
            if number % 2 == 0 {
                ticks.tick().await;
            }
            let event = json!({"url": format!("{url}/x"), "body": {"n": number}});
            let (api, clock, handed_in) = (self.api.clone(), clock.clone(), handed_in.clone());
            calls.spawn(async move {
                let at_ns = clock.now().as_nanos();
                let answer = api.try_json("POST", "/v1/events", &event).await;
                if answer.is_ok_and(|(status, _)| status == 202) {
                    handed_in.lock().expect("no panic").insert(number, at_ns);
                }
            });
        }
        let all = async {
            while calls.join_next().await.is_some() {}
            let count = count_before + handed_in.lock().expect("no panic").len();
            while self.world.receiver.count() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // What has not arrived by then is missing.
        let _ = tokio::time::timeout(PATIENCE, all).await;
        let mut handed_in = handed_in.lock().expect("no panic").clone();
        let arrived_before = into.waits_ms.len();
        for arrival in self.world.receiver.arrivals() {
            let number = arrival.number.expect("only numbered events go to healthy endpoints");
            if let Some(at_ns) = handed_in.remove(&number) {
                into.waits_ms.push(arrival.at_ns.saturating_sub(at_ns) as f64 / 1e6);
            }
        }
        let arrived = into.waits_ms.len() - arrived_before;
        into.missing += usize::try_from(EVENTS * 2).expect("few") - arrived;
    }
}

/// The two healthy policies, and those that may hang.
fn settings(beside: Beside, receiver: &Receiver, endpoint: &Hanging) -> String {
    let policy = |name: &str, url: &str, pace: u32| {
        format!("[[policy]]\nname = \"{name}\"\nurl = \"{url}\"\npace = {pace}\n")
    };
    let mut text = format!(
        "[queue]\nunmatched = \"pass\"\n[delivery]\nhead_timeout_ms = {0}\ntotal_timeout_ms = {0}\n",
        HANGING_FOR.as_millis()
    );
    for (number, url) in healthy_urls(beside, receiver).iter().enumerate() {
        text += &policy(&format!("healthy{number}"), &format!("{url}/*"), 1_000);
    }
    if let Beside::Hanging { policies } = beside {
        for number in 0..policies {
            let url = format!("http://{}/{number}/*", endpoint.addr);
            text += &policy(&format!("hanging{number}"), &url, HANGING_PER_SECOND);
        }
    }
    text
}

/// Beside a dead name server one of the two goes to a name that `/etc/hosts` has.
fn healthy_urls(beside: Beside, receiver: &Receiver) -> [String; 2] {
    let second = receiver.url("/1");
    let is_named = beside == Beside::DeadNameServer;
    [receiver.url("/0"), if is_named { second.replace("127.0.0.1", "healthy.example") } else { second }]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Starts a program with name files of its own.
fn own_files(dir: &Path, name_server: &NameServer) -> Vec<String> {
    let server = name_server.addr.ip();
    std::fs::write(dir.join("resolv.conf"), format!("nameserver {server}\n")).expect("written");
    std::fs::write(dir.join("hosts"), "127.0.0.1 healthy.example\n").expect("written");
    let bind = |name: &str| format!("mount --bind {} /etc/{name}", dir.join(name).display());
    let script = format!("{} && {} && exec \"$@\"", bind("resolv.conf"), bind("hosts"));
    words(&["unshare", "-m", "sh", "-c", &script, "sh"])
}

/// Each hanging policy gets more events than the calls that it may have in flight; returns when no more calls come.
async fn hang(api: &Api, policies: usize, endpoint: &Hanging) {
    let each = if policies > 3 { 1_000 } else { 5_000 };
    for number in 0..policies {
        let line = format!("{}\n", json!({"url": format!("http://{}/{number}/x", endpoint.addr)}));
        hand_in(api, &line.repeat(each)).await;
    }
    settled(api).await;
    tokio::time::sleep(INDEX_WRITTEN).await;
}

async fn ask_for_names(api: &Api, name_server: Option<&NameServer>) {
    let names: Vec<String> = (0..NAMES).map(|number| format!("n{number}.hang.example")).collect();
    for name in &names {
        name_server.expect("it was started").tell(name, Say::Nothing);
    }
    let lines: String =
        names.iter().map(|name| format!("{}\n", json!({"url": format!("http://{name}/x")}))).collect();
    hand_in(api, &lines).await;
    tokio::time::sleep(INDEX_WRITTEN).await;
}

async fn idle(server: &Server, connections: usize) -> Vec<Raw> {
    let mut clients = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut client = Raw::connect(server.addr).await;
        client.send(PROBE).await;
        assert_eq!(client.answer().await.0, 200, "an idle client was served once");
        clients.push(client);
    }
    clients
}

async fn hand_in(api: &Api, lines: &str) {
    let (status, answer) =
        api.post("/v1/events", "application/x-ndjson", lines.to_owned()).await.expect("an answer");
    assert_eq!(status, 200, "{answer:.300}");
    assert_eq!(answer.matches("\"status\":202").count(), lines.lines().count(), "{answer:.300}");
}

/// Waits until the number of calls in flight does not grow any more.
async fn settled(api: &Api) {
    let growth = async {
        let mut before = 0.0;
        loop {
            // The gauges are set once a second.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let now = api.metric("tidegate_calls_inflight", "").await;
            if now > 0.0 && now <= before {
                return;
            }
            before = now;
        }
    };
    // Where they never stand still the run begins all the same.
    let _ = tokio::time::timeout(SETTLING, growth).await;
}

/// An endpoint that takes every connection and never answers.
struct Hanging {
    addr: std::net::SocketAddr,
    task: JoinHandle<()>,
}

impl Hanging {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                taken.push(stream);
            }
        });
        Self { addr, task }
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.task.abort();
    }
}
