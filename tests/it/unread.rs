//! Reads that the system refuses: waiting events are held, reported and delivered afterwards; none is lost.

use std::time::Duration;

use serde_json::json;

use crate::world::{Receiver, Server, ServerOptions, eventually};

const WAITING: u64 = 40;
const SEGMENT: &str = "journal/0000000001.seg";
/// Those of a start, which reads a segment through.
const READS: &str = "read,pread64";
/// Those of the running store.
const READS_AT_OFFSETS: &str = "pread64";
/// The store failed.
const STORE_FAILED: i32 = 74;

/// Makes the reads of the first segment fail that the rule names.
fn failing_reads(options: &ServerOptions, calls: &str, when: &str) -> Vec<String> {
    let path = options.data_dir.join(SEGMENT).display().to_string();
    let (traced, rule) = (format!("trace={calls}"), format!("inject={calls}:error=EIO:when={when}"));
    let words = ["strace", "-DDD", "-f", "-qqq", "-o", "/dev/null", "-P", &path, "-e", &traced, "-e", &rule];
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A directory whose first and last segment holds waiting events of one lane; returns the id of its policy and that of the
/// last event.
async fn waiting(options: &ServerOptions, receiver: &Receiver) -> (String, String) {
    let server = Server::start(options);
    let api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 1000).await;
    let (status, answer) =
        api.json("POST", &format!("/v1/policies/{policy}:pause"), &json!({"reason": "a test"})).await;
    assert_eq!(status, 200, "{answer}");
    let mut accepted = api.enqueue(&receiver.url("/x"), 0..WAITING).await;
    assert_eq!(accepted.len() as u64, WAITING);
    let (_, last) = accepted.pop().expect("some");
    assert_eq!(server.stop().code(), Some(0));
    (policy, last)
}

/// The same after a start that began a second segment: the next start reads the first one no more, and the running store
/// reads it at offsets.
async fn waiting_in_a_closed_segment(options: &ServerOptions, receiver: &Receiver) -> (String, String) {
    let (policy, last) = waiting(options, receiver).await;
    assert_eq!(Server::start(options).stop().code(), Some(0));
    (policy, last)
}

async fn resume(server: &Server, policy: &str) {
    let (status, answer) =
        server.api().json("POST", &format!("/v1/policies/{policy}:resume"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_that_fail_for_a_while_lose_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let (policy, _) = waiting_in_a_closed_segment(&options, &receiver).await;
    // The first two reads of each thread: strace counts them apart, and any thread that is at rest may read next.
    options.wrapper = failing_reads(&options, READS_AT_OFFSETS, "1..2");
    let server = Server::start(&options);
    resume(&server, &policy).await;
    eventually("all are delivered", Duration::from_secs(60), async || {
        receiver.times_seen().len() as u64 == WAITING
    })
    .await;
    let failed = server.log().iter().filter(|line| line.contains("lane not read")).count();
    assert!(failed > 0, "the control: no read failed");
    assert_eq!(server.api().metric("tidegate_events_completed_total", "outcome=\"lost\"").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_that_fail_for_good_hold_the_lane_until_the_device_is_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let (policy, last) = waiting_in_a_closed_segment(&options, &receiver).await;
    options.wrapper = failing_reads(&options, READS_AT_OFFSETS, "1+");
    let server = Server::start(&options);
    resume(&server, &policy).await;
    let api = server.api();
    let held = async || {
        let (_, explained) = api.get(&format!("/v1/explain?method=POST&url={}", receiver.url("/x"))).await;
        explained.contains("\"unread\"")
    };
    eventually("the lane is held", Duration::from_secs(30), held).await;
    assert_eq!(receiver.count(), 0);
    assert_eq!(api.get("/readyz").await.0, 200, "other lanes go on");
    let (_, doubts) = api.get("/v1/doubts").await;
    let way_out = ":give-up settles the events as lost";
    assert!(doubts.contains(way_out), "{doubts}");
    for path in [format!("/v1/explain?id={last}"), format!("/v1/events/{last}")] {
        let (status, answer) = api.get(&path).await;
        let names_the_doubt = answer.contains("\"event_unread\"") && answer.contains("doubt 1");
        assert!(status == 503 && names_the_doubt && answer.contains(way_out), "{path}: {status} {answer}");
    }
    server.kill();

    options.wrapper.clear();
    let server = Server::start(&options);
    eventually("all are delivered", Duration::from_secs(30), async || {
        receiver.times_seen().len() as u64 == WAITING
    })
    .await;
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_outlasts_reads_that_fail_for_a_while() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let (policy, _) = waiting(&options, &receiver).await;
    options.wrapper = failing_reads(&options, READS, "1..3");
    let server = Server::start(&options);
    let is_report = |line: &&String| line.contains("what a start needs") && line.contains(SEGMENT);
    let reported = server.log().iter().filter(is_report).count();
    // strace counts the calls of each kind apart.
    assert!(reported >= 3, "each failure is reported: {:?}", server.log());
    resume(&server, &policy).await;
    eventually("all are delivered", Duration::from_secs(60), async || {
        receiver.times_seen().len() as u64 == WAITING
    })
    .await;
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_start_whose_reads_fail_for_good_ends_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let (policy, _) = waiting(&options, &receiver).await;
    options.wrapper = failing_reads(&options, READS, "1+");
    let Err((status, log)) = Server::start_within(&options, Duration::from_secs(60)) else {
        panic!("it starts although it cannot know what waits");
    };
    assert_eq!(status.expect("it ends").code(), Some(STORE_FAILED), "{log:?}");
    let last = log.last().expect("a line");
    for part in ["tidegate: ", SEGMENT, "Input/output error", "start again"] {
        assert!(last.contains(part), "{part}: {last}");
    }

    options.wrapper.clear();
    let server = Server::start(&options);
    resume(&server, &policy).await;
    eventually("all are delivered", Duration::from_secs(30), async || {
        receiver.times_seen().len() as u64 == WAITING
    })
    .await;
    assert_eq!(server.stop().code(), Some(0));
}
