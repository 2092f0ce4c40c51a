//! No room on the disk: others fill it, the inodes are used up, the size of files is limited.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::world::{Api, Receiver, Server, ServerOptions, eventually, unmount};

const SOON: Duration = Duration::from_secs(60);

/// A small tmpfs that can be filled.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn new(options: &str) -> Self {
        let disk = Self { dir: tempfile::tempdir().expect("a directory") };
        std::fs::create_dir(disk.path()).expect("a mount point");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(disk.path())
            .output()
            .expect("mount");
        assert!(output.status.success(), "this test needs root: {}", String::from_utf8_lossy(&output.stderr));
        disk
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn other(&self) -> PathBuf {
        self.path().join("other")
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.other()).expect("opens");
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        assert_eq!(free_bytes(&self.path()), 0);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

fn free_bytes(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("asks");
    stat.f_bavail * stat.f_frsize
}

fn options(disk: &SmallDisk, settings: &str) -> ServerOptions {
    let config = disk.dir.path().join("tidegate.toml");
    std::fs::write(&config, settings).expect("a file");
    let mut options = ServerOptions::new(&disk.path().join("data"));
    options.args = vec!["--config".to_owned(), config.display().to_string()];
    options
}

async fn refused(api: &Api, url: &str) -> String {
    let (head, body) = api.hand_in(&json!({"url": url, "body": {"n": 0}})).await;
    assert_eq!(head.status, 503, "{body}");
    body
}

async fn verb(api: &Api, policy: &str, verb: &str) {
    let request = match verb {
        "pause" => json!({"reason": "a test"}),
        "purge" => json!({"confirm": policy}),
        _ => json!({}),
    };
    let (status, answer) = api.json("POST", &format!("/v1/policies/{policy}:{verb}"), &request).await;
    assert_eq!(status, 200, "{verb}: {answer}");
}

async fn accepts(api: &Api, url: &str) -> bool {
    api.hand_in(&json!({"url": url, "body": {"n": 0}})).await.0.status == 202
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_others_fill_the_disk_it_sends_settles_obeys_and_starts_again_and_then_accepts_by_itself() {
    let disk = SmallDisk::new("size=320m");
    let kept = "[[policy]]\nname = \"kept\"\nurl = \"http://127.0.0.1:9/kept/*\"\npace = 10\n";
    let options = options(&disk, &format!("[store]\nmin_free_bytes = 16777216\nsegment_seconds = 1\n{kept}"));
    let receiver = Receiver::start().await;
    let mut server = Server::start(&options);
    let mut api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 500).await;
    verb(&api, "kept", "pause").await;
    assert_eq!(api.enqueue("http://127.0.0.1:9/kept/x", 0..50).await.len(), 50);
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..4000).await.len(), 4000);
    disk.fill();
    let problem = refused(&api, &receiver.url("/x")).await;
    assert!(problem.contains("storage_full"), "{problem}");
    // Longer than a segment lasts: settlements go on in the one that they have.
    eventually("all are sent and settled", SOON, async || {
        api.metric("tidegate_events_completed_total", "outcome=\"delivered\"").await == 4000.0
    })
    .await;
    assert_eq!(receiver.count(), 4000, "none twice");

    for way in ["as it runs", "after a stop", "after a kill", "after another stop"] {
        for what in ["pause", "resume", "purge"] {
            verb(&api, &policy, what).await;
        }
        if way.ends_with("kill") {
            server.kill();
        } else {
            assert_eq!(server.stop().code(), Some(0), "{way}");
        }
        disk.fill();
        server = Server::start(&options);
        api = server.api();
        disk.fill();
        let problem = refused(&api, &receiver.url("/x")).await;
        assert!(problem.contains("storage_full"), "{way}: {problem}");
        assert_eq!(api.get("/readyz").await.0, 503, "{way}");
        eventually("what it held is there", SOON, async || {
            api.metric("tidegate_queue_events", "state=\"ready\"").await == 50.0
        })
        .await;
    }
    assert_eq!(receiver.count(), 4000, "nothing settled came back");
    std::fs::remove_file(disk.other()).expect("deletes");
    eventually("it is ready again by itself", SOON, async || api.get("/readyz").await.0 == 200).await;
    assert!(accepts(&api, &receiver.url("/x")).await);
    assert_eq!(server.stop().code(), Some(0));
}

/// A start that found room for a large segment of the journal must have room for everything else as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_take_what_each_start_gives_back_and_it_starts_after_every_kill() {
    let disk = SmallDisk::new("size=256m");
    let kept = "[[policy]]\nname = \"kept\"\nurl = \"http://127.0.0.1:9/kept/*\"\npace = 10\n";
    let options = options(&disk, &format!("[store]\nmin_free_bytes = 1048576\n{kept}"));
    let mut server = Server::start(&options);
    verb(&server.api(), "kept", "pause").await;
    assert_eq!(server.api().enqueue("http://127.0.0.1:9/kept/x", 0..200).await.len(), 200);
    disk.fill();
    for is_filled_before in [false, true, false, true, true] {
        server.kill();
        if is_filled_before {
            disk.fill();
        }
        server = Server::start(&options);
        disk.fill();
        let api = server.api();
        eventually("what it held is there", SOON, async || {
            api.metric("tidegate_queue_events", "state=\"ready\"").await == 200.0
        })
        .await;
    }
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn used_up_inodes_are_a_full_disk() {
    let disk = SmallDisk::new("size=320m,nr_inodes=128");
    let options = options(&disk, "[store]\nmin_free_bytes = 16777216\nsegment_seconds = 1\n");
    let receiver = Receiver::start().await;
    let server = Server::start(&options);
    let api = server.api();
    let policy = api.deploy_throttling(&receiver.url("/*"), 500).await;
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..1500).await.len(), 1500);
    let mut others = Vec::new();
    while File::create(disk.path().join(format!("other-{}", others.len()))).is_ok() {
        others.push(disk.path().join(format!("other-{}", others.len())));
    }
    let problem = refused(&api, &receiver.url("/x")).await;
    assert!(problem.contains("storage_full"), "{problem}");
    eventually("all are sent and settled", SOON, async || {
        api.metric("tidegate_events_completed_total", "outcome=\"delivered\"").await == 1500.0
    })
    .await;
    verb(&api, &policy, "pause").await;
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start(&options);
    let api = server.api();
    verb(&api, &policy, "resume").await;
    for path in others {
        std::fs::remove_file(path).expect("deletes");
    }
    eventually("it accepts again by itself", SOON, async || accepts(&api, &receiver.url("/x")).await).await;
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_the_size_of_files_ends_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    // Below the size of a segment: its preallocation exceeds it.
    options.wrapper = ["prlimit", "--fsize=16777216"].map(str::to_owned).to_vec();
    let receiver = Receiver::start().await;
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 5000).await;
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..20_000).await.len(), 20_000);
    eventually("all are sent and settled", SOON, async || {
        api.metric("tidegate_events_completed_total", "outcome=\"delivered\"").await == 20_000.0
    })
    .await;
    let (_, caught) = caught_signals(server.pid());
    assert!(caught & (1 << 24) != 0, "SIGXFSZ does not end it");
    assert_eq!(server.stop().code(), Some(0));
}

/// The signals that a process ignores and those that it catches.
fn caught_signals(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        u64::from_str_radix(line.trim(), 16).expect("hex")
    };
    (mask("SigIgn:"), mask("SigCgt:"))
}
