//! Directories of older formats are killed at every change of a file while they are upgraded, and lose nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tidegate::clock::{Clock, Timestamp};
use tidegate::store::embedded::{EmbeddedOptions, EmbeddedStore};
use tidegate::store::{DocumentStore, EntryStore, Lookup};

/// Calls that change names or make changes durable.
const CHANGES: &str = "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,\
                       ftruncate,fallocate,chmod,fchmodat";
/// Far more changes than an upgrade makes.
const MOST: usize = 400;
/// Shortly after the fixtures were made.
const NOW_MS: u64 = 1_795_892_500_000;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format_v2").join(name)
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp").success());
}

/// Opens the directory with the program, which is killed before its `n`-th change; whether it was.
fn killed_at(n: usize, root: &Path) -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={CHANGES}")]);
    command.args(["-e", &format!("inject={CHANGES}:signal=KILL:when={n}")]);
    command.arg(env!("CARGO_BIN_EXE_tidegate")).args(["store", "rebuild", "--data-dir"]).arg(root);
    command.current_dir(root.parent().expect("a parent")).stdout(Stdio::null()).stderr(Stdio::null());
    !command.status().expect("strace is needed for this test").success()
}

async fn check(root: &Path, name: &str, at: usize) {
    let options = EmbeddedOptions { segment_bytes: 1 << 20, needed_bytes: 0, ..EmbeddedOptions::default() };
    let clock = Clock::manual(Timestamp::from_millis(NOW_MS));
    let store = EmbeddedStore::open(root, options, clock)
        .unwrap_or_else(|error| panic!("{name}, killed at change {at}: {error}"));
    let listed = fs::read(fixture(&format!("{name}.json"))).expect("reads");
    let listed: Value = serde_json::from_slice(&listed).expect("JSON");
    for event in listed["events"].as_array().expect("a list") {
        let id = event["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let is_waiting = matches!(store.lookup(id).await.expect("reads"), Lookup::Waiting(..));
        assert_eq!(is_waiting, event["state"] != "settled", "{name}, killed at change {at}: {event}");
    }
    assert_eq!(store.health().dead_entries, 1, "{name}, killed at change {at}");
    assert!(store.documents().get("policies").await.expect("reads").is_some());
    assert_eq!(store.health().held, None, "{name}, killed at change {at}");
    store.close().await.expect("closes");
}

async fn every_change(name: &str, make: impl Fn(&Path)) {
    let temp = tempfile::tempdir().expect("a directory");
    let root = temp.path().join("data");
    for n in 1..MOST {
        make(&root);
        let was_killed = killed_at(n, &root);
        check(&root, name, n).await;
        if !was_killed {
            assert!(n > 10, "the upgrade made only {n} changes");
            assert_eq!(fs::read_to_string(root.join("FORMAT")).expect("there"), "3\n");
            return;
        }
    }
    panic!("more than {MOST} changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_from_format_2_is_killed_at_every_change_and_loses_nothing() {
    for name in ["stopped", "killed"] {
        every_change(name, |root| copy(&fixture(name), root)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_from_format_1_is_killed_at_every_change_and_loses_nothing() {
    every_change("killed", |root| {
        copy(&fixture("killed"), root);
        fs::remove_dir_all(root.join("limits")).expect("deletes");
        fs::write(root.join("FORMAT"), "1\n").expect("writes");
    })
    .await;
}
