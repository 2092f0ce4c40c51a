//! Starting again in little memory with a large backlog.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::world::{Api, Server, ServerOptions, alone, eventually};

const WAITING: u64 = 300_000;
const LIMIT_BYTES: u64 = 64 << 20;
const TARGET: &str = "http://127.0.0.1:9/x";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_megabytes_start_with_what_they_held_without_the_index_and_with_damage_as_well() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = ServerOptions::new(&dir.path().join("data"));
    let group = MemoryGroup::new(LIMIT_BYTES);
    let server = Server::start(&options);
    let api = server.api();
    let policy = api.deploy_throttling("http://127.0.0.1:9/*", 200).await;
    let (status, paused) =
        api.json("POST", &format!("/v1/policies/{policy}:pause"), &json!({"reason": "a test"})).await;
    assert_eq!(status, 200, "{paused}");
    fill(&api).await;
    // Killed: the last segment keeps its preallocation.
    server.kill();

    options.wrapper = group.wrapper();
    let (mut waiting, mut lost) = (WAITING, 0);
    for (way, with_index, with_damage) in [
        ("after a kill", true, false),
        ("without an index", false, false),
        ("after a stop", true, false),
        ("with a damaged segment", false, true),
    ] {
        if !with_index {
            std::fs::remove_dir_all(options.data_dir.join("index")).expect("an index");
        }
        if with_damage {
            lost = damage(&options.data_dir.join("journal/0000000001.seg"));
            waiting -= lost;
        }
        let server = Server::try_start(&options)
            .unwrap_or_else(|log| panic!("{way}: killed {} times\n{}", group.killed(), log.join("\n")));
        let api = server.api();
        eventually("it is ready", Duration::from_secs(30), async || api.get("/readyz").await.0 == 200).await;
        eventually("all are there", Duration::from_secs(30), async || {
            api.metric("tidegate_queue_events", "state=\"ready\"").await == waiting as f64
        })
        .await;
        assert_eq!(api.metric("tidegate_store_lost_events", "").await, lost as f64, "{way}");
        println!(
            "{way}: {waiting} waiting, {lost} lost, at most {} kB of {LIMIT_BYTES}",
            group.peak_bytes() / 1024
        );
        assert_eq!(api.enqueue(TARGET, waiting..waiting + 10).await.len(), 10, "{way}: it accepts");
        waiting += 10;
        assert_eq!(server.stop().code(), Some(0), "{way}");
    }
    assert_eq!(group.killed(), 0);
}

/// Flips a byte of a block in the middle of a full segment; returns how many events that costs.
fn damage(segment: &Path) -> u64 {
    let mut bytes = std::fs::read(segment).expect("reads");
    assert!(bytes.len() as u64 > LIMIT_BYTES * 9 / 10, "the control: {} bytes", bytes.len());
    // Frames start at multiples of 8 with a mark; their header has the kind (1: a block) and the number of entries.
    let is_block = |at: &usize| bytes[*at..].starts_with(&[0xf7, 0x74, 0x67, 0x1e, 1, 1]);
    let at = (bytes.len() / 16 * 8..bytes.len()).step_by(8).find(is_block).expect("a block");
    let entries = u16::from_le_bytes([bytes[at + 16], bytes[at + 17]]);
    bytes[at + 100] ^= 1;
    std::fs::write(segment, bytes).expect("writes");
    entries.into()
}

/// Bodies that hardly compress, so that the backlog takes several segments.
async fn fill(api: &Api) {
    let mut rng = fastrand::Rng::with_seed(3);
    for from in (0..WAITING).step_by(20_000) {
        let line = |n: u64| {
            let noise: String = std::iter::repeat_with(|| rng.alphanumeric()).take(400).collect();
            format!("{}\n", json!({"url": TARGET, "body": {"n": n, "noise": noise}}))
        };
        let body: String = (from..from + 20_000).map(line).collect();
        let (status, answer) = api.post("/v1/events", "application/x-ndjson", body).await.expect("an answer");
        assert_eq!((status, answer.matches("\"status\":202").count()), (200, 20_000));
    }
}

/// A memory cgroup (version 1, or 2 with its controller delegated), taken away at the end.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    fn new(limit_bytes: u64) -> Self {
        let (root, limit) = if Path::new("/sys/fs/cgroup/memory").is_dir() {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let path = Path::new(root).join(format!("tidegate-test-{}", std::process::id()));
        std::fs::create_dir(&path).expect("this test makes a memory cgroup: run it as root");
        let group = Self(path);
        std::fs::write(group.0.join(limit), limit_bytes.to_string()).expect("the memory controller");
        group
    }

    fn wrapper(&self) -> Vec<String> {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", self.0.display());
        ["sh", "-c", &enter].map(str::to_owned).to_vec()
    }

    fn figure(&self, names: [&str; 2]) -> Option<String> {
        names.iter().find_map(|name| std::fs::read_to_string(self.0.join(name)).ok())
    }

    fn peak_bytes(&self) -> u64 {
        let peak = self.figure(["memory.max_usage_in_bytes", "memory.peak"]);
        peak.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn killed(&self) -> u64 {
        let events = self.figure(["memory.oom_control", "memory.events"]).unwrap_or_default();
        let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
        events.lines().find_map(count).unwrap_or(0)
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // The last process of the group may be gone a moment after its status is known.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
