//! Data directories of formats 1 and 2 open and nothing in them is lost. The fixtures were written by the last
//! version of format 2; when this fails, the code is wrong, not the fixture. See `fixtures/README.md`.

#![expect(clippy::expect_used, clippy::panic, reason = "a test stops at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate::testkit::clock::{Clock, Timestamp};
use tidegate::testkit::store::embedded::{EmbeddedOptions, EmbeddedStore};
use tidegate::testkit::store::{DocumentStore, EntryStore, Lookup, UsageStore, Version};

/// Shortly after the fixtures were made.
const NOW_MS: u64 = 1_795_892_500_000;
const FIXTURES: [&str; 2] = ["stopped", "killed"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format_v2").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("lists");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("copies");
        }
    }
}

fn open(root: &Path) -> EmbeddedStore {
    let options = EmbeddedOptions {
        segment_bytes: 1 << 20,
        needed_bytes: 0,
        salt: 0x5a17,
        ..EmbeddedOptions::default()
    };
    EmbeddedStore::open(root, options, Clock::manual(Timestamp::from_millis(NOW_MS))).expect("opens")
}

/// Whether each event stands where the old daemon said.
async fn check_events(store: &EmbeddedStore, name: &str) {
    let listed = fs::read(fixture(&format!("{name}.json"))).expect("reads");
    let listed: Value = serde_json::from_slice(&listed).expect("JSON");
    let mut waiting = 0;
    for event in listed["events"].as_array().expect("a list") {
        let id = event["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        let found = store.lookup(id).await.expect("reads");
        if event["state"] == "settled" {
            assert!(!matches!(found, Lookup::Waiting(..)), "{name}: {event} is back");
        } else {
            waiting += 1;
            let Lookup::Waiting(_, entry) = found else { panic!("{name}: {event} is {found:?}") };
            assert_eq!(entry.tries.attempts() > 0, event["n"] == 30, "{name}: {event}");
            assert_eq!(entry.due_at.is_some(), event["state"] == "delayed", "{name}: {event}");
        }
    }
    assert_eq!((waiting, store.recovery().living), (7, 7), "{name}");
}

async fn check(root: &Path, name: &str, used: u64) {
    let store = open(root);
    check_events(&store, name).await;
    assert_eq!(store.health().dead_entries, 1, "{name}");
    let (version, body) = store.documents().get("policies").await.expect("reads").expect("the book is there");
    assert_eq!(version, Version(2), "{name}");
    let book: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(book["policies"].as_array().map(Vec::len), Some(2), "{name}");
    let found = store.usages().open(Timestamp::from_millis(NOW_MS)).await.expect("reads");
    let counted: u64 = found.usages.iter().map(|usage| u64::from(usage.count)).sum();
    assert_eq!((counted, found.damaged), (used, 0), "{name}");
    assert_eq!(store.health().held, None, "{name}");
    store.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_of_format_2_open_and_lose_nothing() {
    for (name, used) in FIXTURES.into_iter().zip([7, 15]) {
        let temp = tempfile::tempdir().expect("temp");
        copy(&fixture(name), temp.path());
        check(temp.path(), name, used).await;
        check(temp.path(), name, used).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_of_format_1_open_and_lose_nothing() {
    for name in FIXTURES {
        let temp = tempfile::tempdir().expect("temp");
        copy(&fixture(name), temp.path());
        fs::remove_dir_all(temp.path().join("limits")).expect("deletes");
        fs::write(temp.path().join("FORMAT"), "1\n").expect("writes");
        check(temp.path(), name, 0).await;
    }
}
