//! Each kind of damage is found, by its place, and nothing is changed by the search.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::event::Settlement;
use crate::store::conformance::{lane, plain};
use crate::store::doubts::Doubts;
use crate::store::embedded::EmbeddedStore;
use crate::store::embedded::tests::options;
use crate::store::embedded::tests::snapshot::everything;
use crate::store::{DocumentStore, EntryStore, Expect, ReadLimit, SettleRequest, Usage, UsageStore};

const SEGMENT: &str = "journal/0000000001.seg";

fn store(root: &Path) -> EmbeddedStore {
    EmbeddedStore::open(root, options(), Clock::manual(Timestamp::from_millis(1_000))).expect("opens")
}

/// A directory with two starts, five entries of which one is settled, a document and a usage, closed in order.
async fn sound(root: &Path) {
    for round in 0..2 {
        let store = store(root);
        for _ in 0..2 + round {
            store.append(vec![plain("a", "what was accepted")]).await.expect("appends");
        }
        let all = ReadLimit { entries: 1, bytes: usize::MAX };
        let first = store.read_ready(&lane("a"), None, all).await.expect("reads").remove(0);
        let settle = SettleRequest {
            why: None,
            lane: lane("a"),
            id: first.id,
            due_at: None,
            settlement: Settlement::Delivered,
        };
        if round > 0 {
            store.settle(store.owner(), vec![settle]).await.expect("settles");
        }
        let documents = store.documents();
        let found = documents.get("policies").await.expect("reads");
        let expect = found.map_or(Expect::Absent, |(version, _)| Expect::At(version));
        documents.put("policies", expect, Bytes::from_static(b"{}")).await.expect("writes");
        let usages = store.usages();
        usages.open(Timestamp::from_millis(1_000)).await.expect("opens");
        let (at, over_at) = (Timestamp::from_millis(1_000), Timestamp::from_millis(1 << 50));
        let usage = Usage { limit: "quota a ".into(), count: 7, at, over_at };
        usages.close(usages.owner(), vec![usage]).await.expect("closes");
        store.close().await.expect("closes");
    }
}

fn verified(root: &Path) -> VerifyReport {
    let before = everything(root);
    let report = verify(root, None).expect("reads");
    assert!(everything(root) == before, "the check has changed something");
    report
}

/// Which places a directory with this damage is said to be damaged at.
async fn places(damage: impl FnOnce(&Path)) -> Vec<String> {
    let temp = tempfile::tempdir().expect("temp");
    sound(temp.path()).await;
    damage(temp.path());
    let report = verified(temp.path());
    assert!(!report.is_sound() && report.to_string().ends_with("DAMAGED"), "{report}");
    let journal = (report.journal.damaged > 0).then(|| "journal".to_owned());
    journal.into_iter().chain(report.findings.into_iter().map(|finding| finding.place)).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("reads");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_directory_is_called_sound() {
    let temp = tempfile::tempdir().expect("temp");
    sound(temp.path()).await;
    let report = verified(temp.path());
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.journal.entries, report.documents), (5, 1));
    assert!(report.to_string().ends_with("\nsound"), "{report}");
    assert!(report.notes.is_empty(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_damaged_file_is_named() {
    let cases = [
        ("FORMAT", 0, "FORMAT"),
        ("epoch", 3, "epoch"),
        ("SALT", 40, "SALT"),
        ("documents/policies.json", 12, "documents/policies.json"),
        ("documents/policies.json.prev", 12, "documents/policies.json.prev"),
        ("book-seen", 3, "book-seen"),
        ("limits/usage.log", 45, "limits/usage.log"),
        (SEGMENT, 100, "journal"),
    ];
    for (name, at, place) in cases {
        let found = places(|root| flip(&root.join(name), at)).await;
        assert!(found.iter().any(|found| found == place), "{name}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_file_is_named() {
    let cases = [
        ("FORMAT", "FORMAT"),
        ("epoch", "epoch"),
        ("SALT", "SALT"),
        ("documents/policies.json", "documents/policies.json"),
        ("limits/usage.log", "limits/usage.log"),
        (SEGMENT, "index"),
    ];
    for (name, place) in cases {
        let found = places(|root| fs::remove_file(root.join(name)).expect("deletes")).await;
        assert!(found.iter().any(|found| found == place), "{name}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_and_foreign_segments_are_found() {
    let found = places(|root| {
        let (one, two, three) =
            (root.join(SEGMENT), root.join("journal/0000000002.seg"), root.join("journal/x"));
        fs::rename(&one, &three).expect("renames");
        fs::rename(&two, &one).expect("renames");
        fs::rename(&three, &two).expect("renames");
    })
    .await;
    assert!(found.iter().any(|place| place == "journal"), "{found:?}");
    let other = tempfile::tempdir().expect("temp");
    let foreign = crate::store::embedded::EmbeddedOptions { salt: 0xabcd, ..options() };
    let store = EmbeddedStore::open(other.path(), foreign, Clock::manual(Timestamp::ZERO)).expect("opens");
    store.close().await.expect("closes");
    let found = places(|root| {
        fs::copy(other.path().join(SEGMENT), root.join(SEGMENT)).expect("copies");
    })
    .await;
    assert!(found.iter().any(|place| place == "journal"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_format_and_an_index_that_does_not_fit_are_found() {
    let found = places(|root| fs::write(root.join("FORMAT"), "9\n").expect("writes")).await;
    assert!(found.contains(&"FORMAT".to_owned()), "{found:?}");
    let older = tempfile::tempdir().expect("temp");
    let other = store(older.path());
    other.append(vec![plain("b", "elsewhere"); 200]).await.expect("appends");
    other.close().await.expect("closes");
    drop(other);
    let found = places(|root| {
        fs::remove_dir_all(root.join("index")).expect("deletes");
        fs::rename(older.path().join("index"), root.join("index")).expect("moves");
    })
    .await;
    assert!(found.contains(&"index".to_owned()), "{found:?}");
    let found = places(|root| {
        let bytes = fs::metadata(root.join("index/db")).expect("there").len();
        fs::write(root.join("index/db"), vec![0xa5; bytes as usize]).expect("writes");
    })
    .await;
    assert!(found.contains(&"index".to_owned()), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_kinds_modes_and_owners_are_listed() {
    let found = places(|root| {
        fs::write(root.join("letter.txt"), "dear").expect("writes");
        fs::set_permissions(root.join("letter.txt"), Permissions::from_mode(0o600)).expect("sets");
        fs::remove_file(root.join("ballast")).expect("deletes");
        symlink("/etc/passwd", root.join("ballast")).expect("links");
        fs::set_permissions(root.join(SEGMENT), Permissions::from_mode(0o644)).expect("sets");
        fs::set_permissions(root, Permissions::from_mode(0o755)).expect("sets");
        std::os::unix::fs::chown(root.join("LOCK"), Some(65534), None).expect("this test runs as root");
    })
    .await;
    let mut expected = [".", "LOCK", "ballast", SEGMENT, "letter.txt"];
    expected.sort_unstable();
    let mut found = found;
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_doubt_is_listed_until_it_is_acknowledged() {
    let temp = tempfile::tempdir().expect("temp");
    sound(temp.path()).await;
    let now = Timestamp::from_millis(1_000);
    let doubts = Doubts::open(temp.path(), now).expect("reads");
    let doubt = crate::store::doubts::NewDoubt {
        kind: crate::store::doubts::DoubtKind::Lost,
        subject: SEGMENT.to_owned(),
        detail: "gone".to_owned(),
        way_out: "acknowledge".to_owned(),
        events: 3,
    };
    let id = doubts.raise(doubt, now);
    doubts.save(temp.path()).expect("writes");
    let report = verified(temp.path());
    assert!(!report.is_sound() && report.to_string().contains("lost: gone (3 events)"), "{report}");
    doubts.acknowledge(id).expect("open");
    doubts.save(temp.path()).expect("writes");
    assert!(verified(temp.path()).is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_is_no_damage_and_is_named() {
    let temp = tempfile::tempdir().expect("temp");
    let unclosed = store(temp.path());
    unclosed.append(vec![plain("a", "first")]).await.expect("appends");
    let end = fs::read(temp.path().join(SEGMENT)).expect("reads").iter().rposition(|byte| *byte != 0);
    unclosed.append(vec![plain("a", "second")]).await.expect("appends");
    let copy = tempfile::tempdir().expect("temp");
    fs::create_dir(copy.path().join("journal")).expect("makes");
    let bytes = fs::read(temp.path().join(SEGMENT)).expect("reads");
    let cut = end.expect("written") + 20;
    fs::write(copy.path().join(SEGMENT), &bytes[..cut]).expect("writes");
    let report = verify(copy.path(), None).expect("reads");
    assert_eq!((report.journal.damaged, report.journal.entries), (0, 1), "{report}");
    assert!(report.to_string().contains("torn end of"), "{report}");
}
