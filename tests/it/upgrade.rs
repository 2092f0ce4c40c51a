//! Daemons are killed while they upgrade directories of older formats, which lose nothing; directories of newer formats are
//! left as they are.

#[path = "../../src/store/embedded/tests/snapshot.rs"]
mod snapshot;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tidegate::testkit::clock::{Clock, Timestamp};
use tidegate::testkit::store::embedded::{EmbeddedOptions, EmbeddedStore};
use tidegate::testkit::store::{DocumentStore, EntryStore, Lookup};

use crate::world::{Server, ServerOptions};
use snapshot::everything;

/// Calls that change names or make changes durable.
const CHANGES: &str = "mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat,fsync,fdatasync,\
                       ftruncate,fallocate,chmod,fchmodat";
/// Far more changes than a start with an upgrade makes.
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

/// Serves from the directory; the daemon is killed before its `n`-th change, or as soon as it serves. Whether it served.
fn served_before(n: usize, root: &Path) -> bool {
    let mut options = ServerOptions::new(root);
    let inject = format!("inject={CHANGES}:signal=KILL:when={n}");
    let trace = format!("trace={CHANGES}");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    options.wrapper = strace.map(str::to_owned).to_vec();
    match Server::start_within(&options, Duration::from_secs(120)) {
        Ok(server) => {
            let children = format!("/proc/{0}/task/{0}/children", server.pid());
            let daemon = fs::read_to_string(children).expect("strace has a child");
            assert!(Command::new("kill").args(["-KILL", daemon.trim()]).status().expect("kill").success());
            server.ended();
            true
        }
        Err((status, log)) => {
            let killed = status.is_some_and(|status| status.signal() == Some(9));
            assert!(killed, "change {n}: it ended with {status:?}:\n{}", log.join("\n"));
            false
        }
    }
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

/// Kills at every third change, the first of them `first`: three sweeps together meet every kind of step.
async fn changes_from(first: usize, name: &str, make: impl Fn(&Path)) {
    let temp = tempfile::tempdir().expect("a directory");
    let root = temp.path().join("data");
    for n in (first..MOST).step_by(3) {
        make(&root);
        let has_served = served_before(n, &root);
        check(&root, name, n).await;
        assert_eq!(fs::read_to_string(root.join("FORMAT")).expect("there"), "3\n");
        if has_served {
            assert!(n > 20, "a start with an upgrade makes more than {n} changes");
            return;
        }
    }
    panic!("more than {MOST} changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_upgrades_format_2_is_killed_at_many_changes_and_loses_nothing() {
    changes_from(1, "stopped", |root| copy(&fixture("stopped"), root)).await;
    changes_from(2, "killed", |root| copy(&fixture("killed"), root)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_upgrades_format_1_is_killed_at_many_changes_and_loses_nothing() {
    changes_from(3, "killed", |root| {
        copy(&fixture("killed"), root);
        fs::remove_dir_all(root.join("limits")).expect("deletes");
        fs::write(root.join("FORMAT"), "1\n").expect("writes");
    })
    .await;
}

#[test]
fn a_directory_of_a_newer_format_is_left_as_it_is_by_every_command() {
    let temp = tempfile::tempdir().expect("a directory");
    let root = temp.path().join("data");
    copy(&fixture("stopped"), &root);
    fs::write(root.join("FORMAT"), "4\n").expect("writes");
    for name in ["", "FORMAT", "journal", "documents/policies.json"] {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).expect("opens it to others");
    }
    let before = everything(&root);
    let commands: [(&[&str], i32); 8] = [
        (&["serve", "--listen", "127.0.0.1:0"], 74),
        (&["serve", "--listen", "127.0.0.1:0", "--accept-rollback"], 74),
        (&["store", "rebuild"], 74),
        (&["store", "adopt-book", "--empty"], 74),
        (&["store", "verify"], 1),
        (&["doubts"], 74),
        (&["doubts", "acknowledge", "1"], 74),
        (&["doubts", "confirm", "1"], 74),
    ];
    for (arguments, code) in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).arg("--data-dir").arg(&root).current_dir(temp.path());
        let output = command.output().expect("the program");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains("format 4"), "{arguments:?}: {said}");
        assert!(everything(&root) == before, "{arguments:?} has changed something");
    }
}
