//! The whole binary on damaged directories: what is lost is counted, named by its id and stays reported; the rest is
//! delivered.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::world::{Api, Receiver, Server, ServerOptions, eventually, unmount};

const EVENTS: u64 = 300;
const SOON: Duration = Duration::from_secs(30);
/// Where the frames of a segment begin.
const HEAD_BYTES: usize = 64;

/// A directory with events that wait behind a pause.
struct Waiting {
    dir: tempfile::TempDir,
    options: ServerOptions,
    receiver: Receiver,
    policy: String,
    ids: BTreeSet<String>,
}

impl Waiting {
    /// Hands in the events; the server still runs.
    async fn start() -> (Self, Server) {
        let dir = tempfile::tempdir().expect("a directory");
        let options = ServerOptions::new(&dir.path().join("data"));
        let receiver = Receiver::start().await;
        let server = Server::start(&options);
        let api = server.api();
        let policy = api.deploy_throttling(&receiver.url("/*"), 1000).await;
        let mut waiting = Self { dir, options, receiver, policy, ids: BTreeSet::new() };
        waiting.turn(&api, "pause").await;
        // Several groups, so that a damage costs a part of them.
        for first in (0..EVENTS).step_by(30) {
            let accepted = api.enqueue(&waiting.receiver.url("/x"), first..first + 30).await;
            waiting.ids.extend(accepted.into_iter().map(|(_, id)| id));
        }
        assert_eq!(waiting.ids.len() as u64, EVENTS);
        (waiting, server)
    }

    async fn turn(&self, api: &Api, verb: &str) {
        let path = format!("/v1/policies/{}:{verb}", self.policy);
        let body = if verb == "pause" { json!({"reason": "a test"}) } else { json!({}) };
        let (status, answer) = api.json("POST", &path, &body).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// The segment that holds the events, and the end of what was written into it.
    fn segment(&self) -> (PathBuf, Vec<u8>, usize) {
        let journal = self.options.data_dir.join("journal");
        let ends = fs::read_dir(journal).expect("lists").flatten().map(|entry| entry.path());
        let written = |path: PathBuf| {
            let bytes = fs::read(&path).ok()?;
            let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
            Some((path, bytes, end))
        };
        ends.filter_map(written).max_by_key(|(_, _, end)| *end).expect("a segment")
    }

    fn arrived(&self) -> BTreeSet<String> {
        self.receiver.arrivals().into_iter().map(|arrival| arrival.id).collect()
    }

    /// The ids whose end is that they are lost.
    async fn lost(&self, api: &Api) -> BTreeSet<String> {
        let mut lost = BTreeSet::new();
        for id in &self.ids {
            let (_, state) = api.get(&format!("/v1/events/{id}")).await;
            if state.contains("\"lost\"") {
                lost.insert(id.clone());
            }
        }
        lost
    }
}

/// Entries in open doubts of the kind `lost`.
async fn reported(api: &Api) -> u64 {
    let (status, doubts) = api.json("GET", "/v1/doubts", &json!({})).await;
    assert_eq!(status, 200, "{doubts}");
    let doubts = doubts["doubts"].as_array().expect("a list").clone();
    doubts.iter().filter(|doubt| doubt["kind"] == "lost").filter_map(|doubt| doubt["events"].as_u64()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_flipped_bit_costs_is_named_counted_and_stays_reported() {
    for eighth in [1, 4, 7] {
        let (waiting, server) = Waiting::start().await;
        assert_eq!(server.stop().code(), Some(0));
        let (path, mut bytes, end) = waiting.segment();
        bytes[HEAD_BYTES + (end - HEAD_BYTES) * eighth / 8] ^= 0x10;
        fs::write(&path, bytes).expect("written");

        let server = Server::start(&waiting.options);
        let api = server.api();
        waiting.turn(&api, "resume").await;
        eventually("every event is delivered or lost", SOON, async || {
            let lost = waiting.lost(&api).await;
            lost.len() + waiting.arrived().len() >= waiting.ids.len()
        })
        .await;
        let lost = waiting.lost(&api).await;
        assert!(lost.is_disjoint(&waiting.arrived()), "nothing is both");
        assert!(!lost.is_empty() && lost.len() < 200, "the control: {} are lost", lost.len());
        let count = lost.len() as u64;
        assert_eq!(reported(&api).await, count);
        eventually("the metric agrees", SOON, async || {
            api.metric("tidegate_store_lost_events", "").await == count as f64
        })
        .await;
        assert_eq!(server.stop().code(), Some(0));

        let server = Server::start(&waiting.options);
        let api = server.api();
        assert_eq!(reported(&api).await, count, "still after a start");
        eventually("so does the metric", SOON, async || {
            api.metric("tidegate_store_lost_events", "").await == count as f64
        })
        .await;
        assert_eq!(waiting.lost(&api).await, lost);
        assert_eq!(server.stop().code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_torn_last_write_costs_nothing_that_was_acknowledged() {
    let (waiting, server) = Waiting::start().await;
    server.kill();
    let (path, mut bytes, end) = waiting.segment();
    // The first part of a group that was under way: the head of a frame without its payload.
    let at = end.next_multiple_of(8);
    let begun: Vec<u8> = bytes[HEAD_BYTES..HEAD_BYTES + 40].to_vec();
    bytes[at..at + 40].copy_from_slice(&begun);
    fs::write(&path, bytes).expect("written");
    let server = Server::start(&waiting.options);
    let api = server.api();
    waiting.turn(&api, "resume").await;
    eventually("all are delivered", SOON, async || waiting.arrived().len() as u64 == EVENTS).await;
    assert_eq!(waiting.arrived(), waiting.ids);
    assert_eq!(reported(&api).await, 0);
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_only_directory_is_refused_with_its_code_and_left_as_it_is() {
    let (waiting, server) = Waiting::start().await;
    assert_eq!(server.stop().code(), Some(0));
    let data = &waiting.options.data_dir;
    let before = waiting.dir.path().join("before");
    super::tree::duplicate(data, &before).expect("a copy");
    let mount = |arguments: &[&str]| {
        let output = Command::new("mount").args(arguments).arg(data).output().expect("mount");
        assert!(output.status.success(), "this test needs root: {}", String::from_utf8_lossy(&output.stderr));
    };
    mount(&["--bind", &data.display().to_string()]);
    mount(&["-o", "remount,bind,ro"]);
    let refused = Server::start_within(&waiting.options, SOON);
    unmount(data);
    let Err((status, log)) = refused else { panic!("it starts where it cannot write") };
    let code = status.and_then(|status| status.code());
    assert_eq!(code, Some(77), "{log:?}");
    assert!(log.iter().any(|line| line.contains("tidegate: ") && line.contains("ead-only")), "{log:?}");
    assert!(super::tree::same(data, &before));

    let server = Server::start(&waiting.options);
    waiting.turn(&server.api(), "resume").await;
    eventually("all are delivered", SOON, async || waiting.arrived() == waiting.ids).await;
    assert_eq!(server.stop().code(), Some(0));
}
