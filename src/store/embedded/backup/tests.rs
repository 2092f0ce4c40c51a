//! Copies of a store that is at work are those of a crash: what was acknowledged before is there or was ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::event::{EventId, Settlement};
use crate::store::conformance::{lane, plain};
use crate::store::embedded::tests::options;
use crate::store::embedded::{EmbeddedOptions, EmbeddedStore};
use crate::store::{Appended, DocumentStore, EntryStore, Expect, Lookup, SettleRequest, UsageStore, Version};

/// Small segments, so that many are begun and deleted while a copy is made.
fn busy() -> EmbeddedOptions {
    EmbeddedOptions { segment_bytes: 128 * 1024, ..options() }
}

fn open(root: &Path) -> EmbeddedStore {
    EmbeddedStore::open(root, busy(), Clock::manual(Timestamp::from_millis(1_000))).expect("opens")
}

/// 64 KiB that do not compress.
async fn append(store: &EmbeddedStore, round: u64) -> Vec<EventId> {
    let mut dice = fastrand::Rng::with_seed(round);
    let entries = (0..64).map(|_| {
        let text: String = (0..1024).map(|_| dice.alphanumeric()).collect();
        plain("l", &text)
    });
    let entries = entries.collect();
    let appended = store.append(entries).await.expect("appends");
    appended.into_iter().map(|one| if let Appended::New(id) = one { id } else { panic!("new") }).collect()
}

fn delivered(id: EventId) -> SettleRequest {
    SettleRequest { why: None, lane: lane("l"), id, due_at: None, settlement: Settlement::Delivered }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_store_at_work_has_what_was_acknowledged_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("data");
    let store = Arc::new(open(&root));
    store.usages().open(Timestamp::ZERO).await.expect("a record");
    let mut waiting = Vec::new();
    for round in 0..40 {
        waiting.extend(append(&store, round).await);
    }
    let ended = waiting.split_off(waiting.len() / 2);
    let stop = Arc::new(AtomicBool::new(false));
    let work = {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut ended = ended.into_iter();
            let mut round = 100;
            while !stop.load(Ordering::SeqCst) {
                let new = append(&store, round).await;
                round += 1;
                let first: Vec<SettleRequest> = ended.by_ref().take(64).map(delivered).collect();
                store.settle(store.owner(), first).await.expect("settles");
                store.settle(store.owner(), new.into_iter().map(delivered).collect()).await.expect("settles");
            }
            round - 100
        })
    };
    let newest = || journal::list(&root.join("journal")).expect("lists").last().map_or(0, |last| last.number);
    let first = newest();
    // Until segments were begun meanwhile, whatever the shares of the two in the machine.
    let mut copies = 0;
    while copies < 5 || newest() <= first + 3 {
        let (from, to) = (root.clone(), dir.path().join(format!("copy-{copies}")));
        let copied =
            tokio::task::spawn_blocking(move || copy(&from, &to)).await.expect("ends").expect("copies");
        assert!(copied.was_running && copied.report.is_sound(), "{}", copied.report);
        copies += 1;
    }
    stop.store(true, Ordering::SeqCst);
    assert!(work.await.expect("works") > 0);
    drop(store);

    for n in 0..copies {
        let copy = open(&dir.path().join(format!("copy-{n}")));
        assert_eq!(copy.recovery().lost_entries(), 0);
        assert_eq!(copy.doubts().list().len(), 0, "{:?}", copy.doubts().list());
        for id in &waiting {
            let found = copy.lookup(*id).await.expect("reads");
            assert!(matches!(found, Lookup::Waiting(..)), "{id}: {found:?}");
        }
        let again = append(&copy, 999).await;
        assert!(again.iter().all(|id| !waiting.contains(id)));
        copy.close().await.expect("closes");
    }
}

/// The control: files taken one after the other in the order of their names do not make a copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_account_is_newer_than_its_segments_is_found_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, to) = (dir.path().join("data"), dir.path().join("copy"));
    let store = open(&root);
    store.usages().open(Timestamp::ZERO).await.expect("a record");
    for round in 0..20 {
        append(&store, round).await;
    }
    let sound = copy(&root, &to).expect("copies");
    assert!(sound.report.is_sound(), "{}", sound.report);
    for round in 20..60 {
        append(&store, round).await;
    }
    for name in ["account.a", "account.b"] {
        fs::copy(root.join(name), to.join(name)).expect("copies");
    }
    let report = verify::verify(&to, None).expect("reads");
    assert!(!report.is_sound(), "{report}");
    store.close().await.expect("closes");
}

/// A new version of the policy book, and an event under it.
async fn change(store: &EmbeddedStore, version: u64) -> EventId {
    let expect = version
        .checked_sub(1)
        .filter(|before| *before > 0)
        .map_or(Expect::Absent, |before| Expect::At(Version(before)));
    let book = Bytes::from(format!("{{\"generations\":{version}}}"));
    store.documents().put("policies", expect, book).await.expect("writes");
    append(store, version).await[0]
}

/// A store is changed between two parts of its copy. Whether the copy's book is as new as what waits in it.
async fn knows_the_book_of_all_that_waits(first: &[&str], then: &[&str]) -> bool {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, to) = (dir.path().join("data"), dir.path().join("copy"));
    let store = open(&root);
    store.usages().open(Timestamp::ZERO).await.expect("a record");
    change(&store, 1).await;
    access::make_room(&to).expect("makes");
    let mut copier = Copier { root: &root, to: &to, is_growing: true, seen: HashMap::new() };
    copier.top().expect("copies");
    copier.rooms(first).expect("copies");
    let late = change(&store, 2).await;
    copier.rooms(then).expect("copies");
    drop(store);
    let copy = open(&to);
    let (version, _) = copy.documents().get("policies").await.expect("reads").expect("a book");
    let waits = matches!(copy.lookup(late).await.expect("reads"), Lookup::Waiting(..));
    copy.close().await.expect("closes");
    !waits || version == Version(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_copied_last_so_that_what_waits_is_under_a_book_that_is_there() {
    let (documents, others) = ROOMS.split_last().expect("rooms");
    assert_eq!(*documents, "documents");
    assert!(knows_the_book_of_all_that_waits(others, &[*documents]).await);
    let in_between = &["documents", "dead", "limits"];
    assert!(
        !knows_the_book_of_all_that_waits(in_between, &["journal"]).await,
        "the control: documents first"
    );
}

/// Copies the account, fills segments, does `then` with the first that became full, and copies the rest.
async fn copy_while_segments_become_full(then: impl Fn(&Path)) -> VerifyReport {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, to) = (dir.path().join("data"), dir.path().join("copy"));
    let store = open(&root);
    store.usages().open(Timestamp::ZERO).await.expect("a record");
    append(&store, 0).await;
    access::make_room(&to).expect("makes");
    let mut copier = Copier { root: &root, to: &to, is_growing: true, seen: HashMap::new() };
    copier.top().expect("copies");
    let growing = journal::list(&root.join("journal")).expect("lists").pop().expect("one").path;
    let begun = fs::metadata(&growing).expect("there").len();
    for round in 1..8 {
        append(&store, round).await;
    }
    assert!(fs::metadata(&growing).expect("there").len() < begun, "it gave back what it did not use");
    then(&growing);
    copier.rooms(&ROOMS).expect("copies");
    store.close().await.expect("closes");
    verify::verify(&to, None).expect("reads")
}

#[tokio::test]
async fn a_segment_that_becomes_full_meanwhile_is_none_that_was_cut() {
    let report = copy_while_segments_become_full(|_| ()).await;
    assert!(report.is_sound(), "{report}");
    let cut = |path: &Path| {
        let file = File::options().write(true).open(path).expect("opens");
        let length = file.metadata().expect("there").len();
        file.set_len(length - 4_096).expect("cuts");
    };
    let report = copy_while_segments_become_full(cut).await;
    assert!(!report.is_sound(), "the control: one that was cut below what its account says\n{report}");
}

#[tokio::test]
async fn a_start_between_two_looks_is_seen_also_when_it_has_ended_and_a_look_keeps_nobody_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("data");
    open(&root).close().await.expect("closes");
    let first = DirectoryProgress::look(&root).expect("looks");
    assert_eq!(DirectoryProgress::look(&root).expect("looks"), first, "the control: nobody was there");
    let store = open(&root);
    assert!(DirectoryProgress::look(&root).expect("looks").is_running);
    // As after a kill: nothing says that it ended.
    append(&store, 0).await;
    drop(store);
    let second = DirectoryProgress::look(&root).expect("looks");
    assert!(!second.is_running && second != first, "{first:?} {second:?}");
}

#[tokio::test]
async fn a_copy_of_a_store_at_rest_is_complete_and_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (root, to) = (dir.path().join("data"), dir.path().join("copy"));
    let store = open(&root);
    store.usages().open(Timestamp::ZERO).await.expect("a record");
    let waiting = append(&store, 0).await;
    store.close().await.expect("closes");
    drop(store);
    let copied = copy(&root, &to).expect("copies");
    assert!(!copied.was_running && copied.report.is_sound(), "{}", copied.report);
    assert!(!to.join("index").exists() && !to.join("LOCK").exists() && !to.join("ballast").exists());
    let copy = open(&to);
    assert!(matches!(copy.lookup(waiting[63]).await.expect("reads"), Lookup::Waiting(..)));
    copy.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_copy_is_made_while_dead_letters_are_on_their_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("data");
    let store = open(&root);
    append(&store, 0).await;
    let documents = store.documents();
    let copied = async |name: &str| {
        let (from, to) = (root.clone(), dir.path().join(name));
        tokio::task::spawn_blocking(move || copy(&from, &to)).await.expect("ends")
    };
    assert!(copied("a").await.is_ok(), "the control: none was ever redriven");
    let version =
        documents.put(LETTERS_UNDER_WAY, Expect::Absent, Bytes::from_static(b"{}")).await.expect("writes");
    let refused = copied("b").await.expect_err("refused").to_string();
    assert!(refused.contains("redriven"), "{refused}");
    documents.put(LETTERS_UNDER_WAY, Expect::At(version), Bytes::new()).await.expect("writes");
    assert!(copied("c").await.is_ok());
}
