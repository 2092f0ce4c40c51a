//! A deleted or damaged index, a damaged journal, a full disk, an orderly stop.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::world::{Receiver, Server, ServerOptions, alone, eventually, unmount};

const WAITING: u64 = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_deleted_index_is_rebuilt_and_every_waiting_event_is_delivered() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 5000).await;
    let accepted = api.enqueue(&receiver.url("/x"), 0..WAITING).await;
    assert_eq!(accepted.len() as u64, WAITING);
    server.kill();
    let delivered_before = receiver.count();
    std::fs::remove_dir_all(options.data_dir.join("index")).expect("an index");

    let server = Server::start(&options);
    eventually("all are delivered", Duration::from_secs(90), async || {
        receiver.times_seen().len() as u64 == WAITING
    })
    .await;
    println!(
        "index deleted with {} waiting: all {WAITING} delivered, {} duplicates",
        WAITING - delivered_before as u64,
        receiver.count() as u64 - WAITING
    );
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_disk_answers_503_and_loses_nothing() {
    let mount = SmallFs::new(48 << 20);
    // Nothing is taken until the disk is full: what is delivered gives its space back.
    let is_full = Arc::new(AtomicBool::new(false));
    let receiver = Receiver::answering({
        let is_full = is_full.clone();
        move |_| (if is_full.load(Ordering::Relaxed) { 204 } else { 503 }, Duration::ZERO)
    })
    .await;
    let mut options = ServerOptions::new(&mount.path().join("data"));
    let config = mount.dir.path().join("tidegate.toml");
    std::fs::write(
        &config,
        "[store]\nsegment_bytes = 4194304\nmin_free_bytes = 8388608\n\
         [retry]\nmin_delay_ms = 1000\nmax_delay_ms = 2000\nmax_attempts = 100\n",
    )
    .expect("a file");
    options.args = vec!["--config".to_owned(), config.display().to_string()];
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 200).await;

    let (mut accepted, mut refused) = (0_usize, 0_usize);
    for batch in 0..60 {
        let body: String = (0..20).map(|n| incompressible_event(&receiver, batch * 20 + n)).collect();
        let (status, answer) = api.post("/v1/events", "application/x-ndjson", body).await.expect("an answer");
        assert_eq!(status, 200);
        accepted += answer.matches("\"status\":202").count();
        refused += answer.matches("\"status\":503").count();
        if refused > 0 {
            assert!(answer.contains("storage_full"), "{answer}");
            is_full.store(true, Ordering::Relaxed);
            break;
        }
    }
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
    eventually("what was accepted is delivered", Duration::from_secs(60), async || {
        api.metric("tidegate_events_completed_total", "outcome=\"delivered\"").await >= accepted as f64
    })
    .await;
    println!("disk full: {accepted} accepted and delivered, then 503");
    assert_eq!(server.stop().code(), Some(0));
}

/// A body of 60 kB that does not compress.
fn incompressible_event(receiver: &Receiver, n: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(n);
    let noise: String = std::iter::repeat_with(|| rng.alphanumeric()).take(60_000).collect();
    format!("{}\n", serde_json::json!({"url": receiver.url("/x"), "body": {"n": n, "noise": noise}}))
}

/// A small tmpfs.
struct SmallFs {
    dir: tempfile::TempDir,
}

impl SmallFs {
    fn new(bytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let fs = Self { dir };
        std::fs::create_dir(fs.path()).expect("a mount point");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
            .arg(fs.path())
            .output()
            .expect("mount");
        assert!(output.status.success(), "this test needs root: {}", String::from_utf8_lossy(&output.stderr));
        fs
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("mnt")
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}
