//! Too few descriptors: at the start, while clients or endpoints take them, and when the limit is lowered under
//! a running daemon.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use crate::world::raw::request;
use crate::world::{Api, Raw, Receiver, Server, ServerOptions, eventually};

const SOON: Duration = Duration::from_secs(60);
const SHORTAGES: &str = "tidegate_shortages_total";
const PROBE: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct World {
    dir: tempfile::TempDir,
    options: ServerOptions,
    receiver: Receiver,
}

impl World {
    /// A daemon that may have so many descriptors, as `prlimit` takes it (`soft:hard`); none leaves the limit as it is.
    async fn new(descriptors: Option<&str>, settings: &[&str]) -> Self {
        Self::calling(Receiver::start().await, descriptors, settings)
    }

    fn calling(receiver: Receiver, descriptors: Option<&str>, settings: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut options = ServerOptions::new(&dir.path().join("data"));
        let limit = descriptors.map(|limit| vec!["prlimit".to_owned(), format!("--nofile={limit}")]);
        options.wrapper = limit.unwrap_or_default();
        options.wrapper.push("env".to_owned());
        options.wrapper.extend(settings.iter().map(|&setting| setting.to_owned()));
        Self { dir, options, receiver }
    }

    async fn start(&self) -> (Server, Api) {
        let server = Server::start(&self.options);
        let api = server.api();
        api.deploy_throttling(&self.receiver.url("/*"), 5000).await;
        (server, api)
    }

    fn journal(&self) -> PathBuf {
        self.options.data_dir.join("journal")
    }

    fn verify(&self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["store", "verify", "--data-dir"]).arg(&self.options.data_dir);
        let output = command.current_dir(self.dir.path()).output().expect("the program");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

/// The number of the last segment that was begun.
fn last_segment(journal: &Path) -> u32 {
    let names = std::fs::read_dir(journal).expect("lists").flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.get(..10)?.parse().ok()).max().expect("a segment")
}

/// Pauses or resumes the only policy.
async fn pause(api: &Api, verb: &str) {
    let policies: Value = serde_json::from_str(&api.get("/v1/policies").await.1).expect("JSON");
    let policy = policies["policies"][0]["id"].as_str().expect("an id").to_owned();
    let request = if verb == "pause" { json!({"reason": "a test"}) } else { json!({}) };
    let (status, answer) = api.json("POST", &format!("/v1/policies/{policy}:{verb}"), &request).await;
    assert_eq!(status, 200, "{answer}");
}

async fn probes(api: &Api) {
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(api.get(path).await.0, 200, "{path}");
    }
}

async fn check(api: &Api, name: &str) -> String {
    let (_, text) = api.get("/readyz?verbose").await;
    let report: Value = serde_json::from_str(&text).expect("JSON");
    let checks = report["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == name).expect("the check");
    check["detail"].as_str().expect("text").to_owned()
}

fn logged(server: &Server, text: &str) -> bool {
    server.log().iter().any(|line| line.contains(text))
}

/// Sets the soft limit of the running daemon.
fn lower(server: &Server, soft: u64) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).expect("a pid"));
    let hard = limit_of(server).1;
    let limit = Rlimit { current: Some(soft), maximum: Some(hard) };
    prlimit(pid, Resource::Nofile, limit).expect("the process is ours");
}

/// The soft and the hard limit of the daemon.
fn limit_of(server: &Server) -> (u64, u64) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("a process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let figures: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (figures[0], figures[1])
}

/// Processor time that the daemon has used, in ticks of 10 ms.
fn used_ticks(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("a process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// P06: one client with 1 010 idle connections, and 1 024 descriptors. Events go on over several segments.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p06_idle_clients_take_nothing_from_the_store() {
    for (limit, fits) in [(Some("1024:1024"), false), (None, true)] {
        let world = World::new(limit, &["TIDEGATE_STORE_SEGMENT_SECONDS=1"]).await;
        let (server, api) = world.start().await;
        let mut idle = Vec::new();
        for _ in 0..1_010 {
            idle.push(Raw::connect(server.addr).await);
        }
        let (first, mut next) = (last_segment(&world.journal()), 0);
        while last_segment(&world.journal()) < first + 3 {
            assert_eq!(api.enqueue(&world.receiver.url("/x"), next..next + 20).await.len(), 20);
            next += 20;
            eventually("all arrive", SOON, async || world.receiver.times_seen().len() as u64 == next).await;
            probes(&server.api()).await;
        }
        // The control: without the limit none of them is closed.
        let closed = idle.iter().filter(|raw| raw.is_closed()).count();
        assert_eq!(closed < 10, fits, "{closed} were closed");
        assert_eq!(logged(&server, "settings are lowered"), !fits);
        let detail = check(&api, "descriptors").await;
        assert_eq!(detail.contains("LimitNOFILE="), !fits, "{detail}");
        let allotted = api.metric("tidegate_descriptors_allotted", "").await;
        assert_eq!(allotted <= 1_024.0, !fits, "{allotted}");
        assert_eq!(api.metric(SHORTAGES, "").await, 0.0, "nothing ran short");
        assert_eq!(server.stop().code(), Some(0));
        world.verify();
    }
}

/// P06: an endpoint that holds calls. As many are in flight as there are descriptors for; none fails for want of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p06_calls_in_flight_take_nothing_from_the_store() {
    for (limit, most) in [(Some("1024:1024"), 400.0), (None, 2_000.0)] {
        let receiver = Receiver::answering(|_| (204, Duration::from_secs(2))).await;
        let world = World::calling(receiver, limit, &["TIDEGATE_STORE_SEGMENT_SECONDS=1"]);
        let (server, api) = world.start().await;
        assert_eq!(api.enqueue(&world.receiver.url("/x"), 0..1_000).await.len(), 1_000);
        let mut peak = 0.0_f64;
        eventually("all are delivered", SOON, async || {
            peak = peak.max(api.metric("tidegate_calls_inflight", "").await);
            api.metric("tidegate_events_completed_total", "outcome=\"delivered\"").await == 1_000.0
        })
        .await;
        assert!(peak <= most && peak > 100.0, "{peak} in flight");
        assert!(limit.is_some() || peak > 500.0, "the control: without a limit more are in flight, {peak}");
        assert_eq!(world.receiver.count(), 1_000, "none twice");
        assert_eq!(api.metric("tidegate_retries_scheduled_total", "").await, 0.0);
        probes(&api).await;
        assert_eq!(server.stop().code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_soft_limit_is_raised_to_the_hard_one() {
    let world = World::new(Some("1024:16384"), &[]).await;
    let (server, api) = world.start().await;
    assert_eq!(limit_of(&server), (16_384, 16_384));
    assert_eq!(api.metric("process_max_fds", "").await, 16_384.0);
    let line = server.log().into_iter().find(|line| line.contains("\"descriptors\"")).expect("it is logged");
    assert!(line.contains("\"found\":1024") && line.contains("\"is_raised\":true"), "{line}");
    assert!(!logged(&server, "settings are lowered"));
    assert!(check(&api, "descriptors").await.contains("all settings fit"));
    assert_eq!(server.stop().code(), Some(0));
}

/// P06 as the catalogue has it: 64 descriptors in all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p06_sixty_four_descriptors_are_enough_and_fewer_than_it_needs_are_a_line_and_an_exit_code() {
    let world = World::new(Some("64:64"), &["TIDEGATE_STORE_SEGMENT_SECONDS=1"]).await;
    let (server, api) = world.start().await;
    assert!(logged(&server, "settings are lowered"));
    let _idle: Vec<Raw> = {
        let mut idle = Vec::new();
        for _ in 0..60 {
            idle.push(Raw::connect(server.addr).await);
        }
        idle
    };
    let (first, mut next) = (last_segment(&world.journal()), 0);
    while last_segment(&world.journal()) < first + 2 {
        assert_eq!(api.enqueue(&world.receiver.url("/x"), next..next + 20).await.len(), 20);
        next += 20;
        eventually("all arrive", SOON, async || world.receiver.times_seen().len() as u64 == next).await;
        probes(&server.api()).await;
    }
    assert_eq!(server.stop().code(), Some(0));
    world.verify();

    let small = World::new(Some("59:59"), &[]).await;
    let Err((status, log)) = Server::start_within(&small.options, SOON) else { panic!("it started") };
    assert_eq!(status.and_then(|status| status.code()), Some(1), "{log:#?}");
    let line = log.last().expect("a line");
    assert!(line.contains("the limit on open files is 59") && line.contains("LimitNOFILE="), "{line}");
    assert!(!small.options.data_dir.exists(), "nothing was begun");
}

/// The limit is lowered under the running daemon until nothing can be opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn descriptors_that_run_out_poison_nothing_and_it_goes_on_when_there_are_some() {
    let settings = ["TIDEGATE_STORE_SEGMENT_BYTES=1048576", "TIDEGATE_STORE_MIN_FREE_BYTES=1048576"];
    let world = World::new(None, &settings).await;
    let (server, api) = world.start().await;
    let url = world.receiver.url("/x");
    let mut acknowledged: HashSet<u64> =
        api.enqueue(&url, 0..100).await.into_iter().map(|(n, _)| n).collect();
    eventually("all arrive", SOON, async || world.receiver.times_seen().len() == 100).await;
    let mut kept = Raw::connect(server.addr).await;
    kept.send(PROBE).await;
    assert_eq!(kept.answer().await.0, 200);

    let soft = limit_of(&server).0;
    lower(&server, 3);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut refused = Vec::new();
    for n in 100..120 {
        let noise: String = std::iter::repeat_with(|| rng.alphanumeric()).take(200_000).collect();
        let event = json!({"url": url, "body": {"n": n, "noise": noise}});
        kept.send(&request("POST", "/v1/events", "application/json", &event.to_string())).await;
        match kept.answer().await {
            (202, _) => acknowledged.extend([n]),
            (status, body) => {
                assert_eq!(status, 503, "{body}");
                refused.push(body);
            }
        }
    }
    // What fits into the segment that is open is taken, what needs another one is refused.
    assert!(acknowledged.len() > 100 && refused.len() > 5, "{} {}", acknowledged.len(), refused.len());
    assert!(refused.iter().all(|body| body.contains("store_short")), "{refused:?}");
    kept.send(&PROBE.replace("livez", "readyz")).await;
    assert_eq!(kept.answer().await.0, 200, "nothing is poisoned");

    // A connection that cannot be accepted costs no processor time, and idle ones make room for it.
    let mut waiting = Raw::connect(server.addr).await;
    waiting.send(PROBE).await;
    let before = used_ticks(&server);
    let silent = tokio::time::timeout(Duration::from_secs(2), waiting.answer()).await;
    assert!(silent.is_err(), "the control: there is no descriptor");
    assert!(used_ticks(&server) - before < 50, "{} ticks in 2 s", used_ticks(&server) - before);
    assert!(kept.is_closed(), "it was idle");

    lower(&server, soft);
    assert_eq!(waiting.answer().await.0, 200, "the one that waited is served");
    eventually("what was acknowledged arrives", SOON, async || {
        let seen = world.receiver.times_seen();
        acknowledged.iter().all(|n| seen.contains_key(n))
    })
    .await;
    assert_eq!(api.enqueue(&url, 200..300).await.len(), 100, "it accepts again");
    for at in ["accept", "store"] {
        assert!(api.metric(SHORTAGES, &format!("at=\"{at}\"")).await >= 1.0, "{at}");
    }
    assert_eq!(api.metric("tidegate_store_lost_events", "").await, 0.0);
    eventually("all arrive", SOON, async || world.receiver.times_seen().len() == acknowledged.len() + 100)
        .await;
    assert_eq!(server.stop().code(), Some(0));
    world.verify();
}

/// The limit is lowered to what is taken already: the store begins further segments with the descriptors that it keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn spare_descriptors_let_the_store_go_on() {
    let world = World::new(None, &["TIDEGATE_STORE_SEGMENT_SECONDS=1"]).await;
    let (server, api) = world.start().await;
    pause(&api, "pause").await;
    let mut kept = Raw::connect(server.addr).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::connect(server.addr).await;
        raw.send(PROBE).await;
        assert_eq!(raw.answer().await.0, 200);
        idle.push(raw);
    }
    let soft = limit_of(&server).0;
    lower(&server, 100);
    let (first, mut next) = (last_segment(&world.journal()), 0);
    while last_segment(&world.journal()) < first + 3 {
        let event = json!({"url": world.receiver.url("/x"), "body": {"n": next}}).to_string();
        kept.send(&request("POST", "/v1/events", "application/json", &event)).await;
        let (status, body) = kept.answer().await;
        assert_eq!(status, 202, "{body}");
        next += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    lower(&server, soft);
    let used = api.metric(SHORTAGES, "at=\"store\"").await;
    assert!(used >= 3.0, "the control: there were no others, {used}");
    pause(&api, "resume").await;
    eventually("all arrive", SOON, async || world.receiver.times_seen().len() as u64 == next).await;
    assert_eq!(server.stop().code(), Some(0));
    world.verify();
}

/// A stop while nothing can be opened loses nothing and ends well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_descriptors_ends_well_and_the_next_start_has_everything() {
    let world = World::new(None, &[]).await;
    let (server, api) = world.start().await;
    pause(&api, "pause").await;
    assert_eq!(api.enqueue(&world.receiver.url("/x"), 0..500).await.len(), 500);
    lower(&server, 3);
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start(&world.options);
    let api = server.api();
    eventually("all wait", SOON, async || {
        api.metric("tidegate_queue_events", "state=\"ready\"").await == 500.0
    })
    .await;
    pause(&api, "resume").await;
    eventually("all arrive", SOON, async || world.receiver.times_seen().len() == 500).await;
    assert_eq!(server.stop().code(), Some(0));
}
