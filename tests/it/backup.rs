//! `tidegate backup` of a daemon at work, and `tidegate restore` after that daemon was killed.

mod changes;
mod kills;
mod places;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::world::{Api, Configured, Receiver, Server, eventually};

const SOON: Duration = Duration::from_secs(60);

struct Place {
    world: Configured,
    backup: PathBuf,
}

impl Place {
    async fn new() -> Self {
        Self::with(Receiver::start().await, "")
    }

    /// With more settings and policies than the one that lets 200 a second through.
    fn with(receiver: Receiver, more: &str) -> Self {
        let world = Configured::new(receiver);
        let epoch = world.file.with_file_name("epoch-of-data");
        let store = format!("[store]\nepoch_file = \"{}\"\nsegment_bytes = 1048576\n", epoch.display());
        world.write(&format!("{store}{}{more}", world.policy("a", "pace = 200")));
        let backup = world.file.with_file_name("backup");
        Self { world, backup }
    }

    /// Something beside the data directory.
    fn at(&self, name: &str) -> PathBuf {
        self.world.file.with_file_name(name)
    }

    fn data_dir(&self) -> &Path {
        &self.world.options.data_dir
    }

    fn run(&self, verb: &str, backup: &Path, data_dir: &Path, more: &[&str]) -> Output {
        self.run_in(&[], verb, backup, data_dir, more)
    }

    /// The same with something before the program, such as `strace …`.
    fn run_in(
        &self,
        wrapper: &[String],
        verb: &str,
        backup: &Path,
        data_dir: &Path,
        more: &[&str],
    ) -> Output {
        let program = env!("CARGO_BIN_EXE_tidegate").to_owned();
        let words: Vec<&String> = wrapper.iter().chain([&program]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(verb).arg(backup).arg("--data-dir").arg(data_dir);
        command.arg("--config").arg(&self.world.file).args(more);
        command.current_dir(self.world.file.parent().expect("a parent")).output().expect("the program")
    }

    /// `store verify` of a directory, with the file of the epoch.
    fn verify(&self, data_dir: &Path) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["store", "verify", "--data-dir"]).arg(data_dir).arg("--config").arg(&self.world.file);
        said(&command.output().expect("the program"))
    }

    /// A daemon accepts so many events, and stops; what waits is due in an hour.
    async fn with_waiting(&self, events: u64) {
        let server = Server::start(&self.world.options);
        let url = self.world.receiver.url("/a/x");
        let body: String = (0..events)
            .map(|n| {
                format!("{}\n", serde_json::json!({"url": url, "body": {"n": n}, "delay_seconds": 3600}))
            })
            .collect();
        let answer = server.api().post("/v1/events", "application/x-ndjson", body).await;
        let (status, answer) = answer.expect("an answer");
        assert_eq!((status, answer.matches("\"status\":202").count() as u64), (200, events), "{answer:.300}");
        assert_eq!(server.stop().code(), Some(0));
    }

    fn restore(&self, more: &[&str]) -> (Option<i32>, String) {
        said(&self.run("restore", &self.backup, &self.world.options.data_dir, more))
    }
}

/// Events that a daemon owes an end.
async fn waiting(api: &Api) -> u64 {
    let mut sum = 0.0;
    for term in ["ready", "delayed", "inflight"] {
        sum += api.metric("tidegate_ledger_events", &format!("\"{term}\"")).await;
    }
    sum as u64
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn names(dir: &Path) -> HashSet<String> {
    let names = std::fs::read_dir(dir).expect("lists");
    names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_backup_is_delivered_after_a_kill_and_a_restore() {
    let place = Place::new().await;
    let (world, data_dir) = (&place.world, place.world.options.data_dir.clone());
    let server = Server::start(&world.options);
    let api = server.api();
    let url = world.receiver.url("/a/x");
    let acknowledged = api.enqueue(&url, 0..3000).await;
    assert_eq!(acknowledged.len(), 3000);
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(10_000)));
    let load = {
        let (stop, next, api, url) = (Arc::clone(&stop), Arc::clone(&next), server.api(), url.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let from = next.fetch_add(100, Ordering::SeqCst);
                api.enqueue(&url, from..from + 100).await;
            }
        })
    };
    let output = place.run("backup", &place.backup, &data_dir, &[]);
    stop.store(true, Ordering::SeqCst);
    load.await.expect("works");
    let (code, text) = said(&output);
    assert!(code == Some(0) && text.contains("sound\nbacked up to"), "{text}");
    assert!(text.contains("of a running daemon"), "{text}");
    let late = api.enqueue(&url, 9_000..9_001).await;
    server.kill();
    let before = world.receiver.times_seen();
    let owed = acknowledged.iter().filter(|(number, _)| !before.contains_key(number)).count();
    assert!(owed > 1000, "{owed} wait at the kill");
    assert!(!before.contains_key(&9_000), "it waits behind them");

    let (code, text) = place.restore(&["--accept-rollback"]);
    assert!(code == Some(1) && text.contains("is not empty"), "{text}");
    std::fs::rename(&data_dir, data_dir.with_file_name("killed")).expect("moves");
    let (code, text) = place.restore(&[]);
    assert!(code == Some(65) && text.contains("--accept-rollback"), "{text}");
    assert!(!data_dir.exists() && !data_dir.with_file_name("data.partial").exists(), "nothing is left");
    std::fs::create_dir(&data_dir).expect("an empty one may be there");
    let (code, text) = place.restore(&["--accept-rollback"]);
    assert!(code == Some(0) && text.contains("restored to"), "{text}");

    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!(api.get("/readyz").await.0, 200, "{:#?}", server.log());
    let missing = || {
        let seen = world.receiver.times_seen();
        acknowledged.iter().filter(|(number, _)| !seen.contains_key(number)).count()
    };
    eventually("all that was acknowledged is delivered", SOON, async || missing() == 0).await;
    // The control: what came after the backup is gone, and would be seen to be.
    assert_eq!(api.get(&format!("/v1/events/{}", late[0].1)).await.0, 404);
    assert_eq!(server.stop().code(), Some(0));

    // The directory that was killed is an older copy from now on.
    std::fs::rename(&data_dir, data_dir.with_file_name("restored")).expect("moves");
    std::fs::rename(data_dir.with_file_name("killed"), &data_dir).expect("moves");
    let server = Server::start(&world.options);
    assert_eq!(server.api().get("/readyz").await.0, 503);
    assert!(server.log().iter().any(|line| line.contains("older copy")), "{:#?}", server.log());
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_at_rest_that_is_the_newest_state_needs_no_word_and_an_older_one_does() {
    let place = Place::new().await;
    let (world, data_dir) = (&place.world, place.world.options.data_dir.clone());
    let server = Server::start(&world.options);
    assert_eq!(world.event(&server.api(), "a").await.0, 202);
    eventually("it is there", SOON, async || world.receiver.count() == 1).await;
    assert_eq!(server.stop().code(), Some(0));
    let (code, text) = said(&place.run("backup", &place.backup, &data_dir, &[]));
    assert!(code == Some(0) && text.contains("of a directory at rest"), "{text}");
    let (code, text) = said(&place.run("backup", &place.backup, &data_dir, &[]));
    assert!(code == Some(1) && text.contains("is there"), "{text}");
    let without = said(&place.run(
        "restore",
        &place.backup,
        &data_dir.with_file_name("other"),
        &["--log-level", "warn"],
    ));
    assert_eq!(without.0, Some(0), "{}", without.1);

    // From here on the other directory is the newest state.
    std::fs::rename(&data_dir, data_dir.with_file_name("first")).expect("moves");
    let (code, text) = place.restore(&[]);
    assert!(code == Some(65) && text.contains("older copy"), "{text}");
    let damaged = place.backup.join("data/documents/policies.json");
    let mut bytes = std::fs::read(&damaged).expect("reads");
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&damaged, bytes).expect("writes");
    let (code, text) = place.restore(&["--accept-rollback"]);
    assert!(code == Some(65) && text.contains("does not add up"), "{text}");
    assert!(!data_dir.exists(), "nothing is left: {:?}", names(data_dir.parent().expect("a parent")));
    assert!(!names(data_dir.parent().expect("a parent")).iter().any(|name| name.ends_with(".partial")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_leaves_nothing() {
    let place = Place::new().await;
    let nowhere = place.world.options.data_dir.with_file_name("nowhere");
    let (code, text) = said(&place.run("backup", &place.backup, &nowhere, &[]));
    assert!(code != Some(0) && text.contains("nowhere"), "{text}");
    let left = names(place.world.file.parent().expect("a parent"));
    assert!(!left.iter().any(|name| name.starts_with("backup")), "{left:?}");
    let (code, text) = place.restore(&[]);
    assert!(code == Some(65) && text.contains("is no backup"), "{text}");
}
