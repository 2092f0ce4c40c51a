//! Too few threads while the daemon runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::world::{Receiver, Server, ServerOptions, eventually};

const SOON: Duration = Duration::from_secs(60);

/// P07: the system grants no more threads while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p07_without_another_thread_all_goes_on() {
    let (dir, receiver) = (tempfile::tempdir().expect("a directory"), Receiver::start().await);
    let mut options = ServerOptions::new(&dir.path().join("data"));
    let group = ThreadGroup::new();
    options.wrapper = group.wrapper();
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 5000).await;
    // Longer than the runtime keeps a thread that is not needed unless it is asked to.
    tokio::time::sleep(Duration::from_secs(11)).await;
    group.close();
    assert!(group.is_closed(), "the control: there is no thread to be had");
    for path in ["/livez", "/readyz", "/metrics", "/v1/policies"] {
        let answer = tokio::time::timeout(SOON / 4, api.get(path)).await;
        assert_eq!(answer.expect("an answer").0, 200, "{path}");
    }
    let service = json!({"name": "one", "qpsLimitOverall": 5});
    assert_eq!(api.json("POST", "/v3/rest/services", &service).await.0, 200, "a change");
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..500).await.len(), 500);
    eventually("all arrive", SOON, async || receiver.times_seen().len() == 500).await;
    assert!(!server.log().iter().any(|line| line.contains("panicked")));
    assert_eq!(server.stop().code(), Some(0));
}

/// A control group for processes and threads of its own. It goes away with its last process.
struct ThreadGroup(PathBuf);

impl ThreadGroup {
    fn new() -> Self {
        let v1 = Path::new("/sys/fs/cgroup/pids");
        let root = if v1.is_dir() { v1 } else { Path::new("/sys/fs/cgroup") };
        let path = root.join(format!("tidegate-test-threads-{}", std::process::id()));
        std::fs::create_dir(&path).expect("this test makes a control group: run it as root");
        Self(path)
    }

    fn wrapper(&self) -> Vec<String> {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", self.0.display());
        ["sh", "-c", &enter].map(str::to_owned).to_vec()
    }

    fn figure(&self, name: &str) -> u64 {
        let text = std::fs::read_to_string(self.0.join(name)).expect("the pids controller");
        text.split_whitespace().filter_map(|word| word.parse().ok()).next().unwrap_or(u64::MAX)
    }

    /// Grants no thread beyond those that there are.
    fn close(&self) {
        let present = self.figure("pids.current");
        std::fs::write(self.0.join("pids.max"), present.to_string()).expect("the pids controller");
    }

    fn is_closed(&self) -> bool {
        self.figure("pids.current") >= self.figure("pids.max")
    }
}

impl Drop for ThreadGroup {
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
