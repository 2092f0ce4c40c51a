//! While the store is held as a whole nothing is taken and nothing is deleted; reads go on.

use bytes::Bytes;

use super::*;
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::{DocumentStore, Expect};

fn segments(dir: &Path) -> usize {
    fs::read_dir(dir.join("journal")).expect("lists").count()
}

#[test]
fn a_held_store_takes_nothing_and_deletes_nothing_until_the_doubt_ends() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    for _ in 0..12 {
        let big: String = (0..4000).map(|_| fastrand::alphanumeric()).collect();
        runtime.block_on(store.append(vec![plain("a", &big)])).expect("appends");
    }
    let subject = "documents/policies.json".to_owned();
    let (detail, way_out) = ("it is missing".to_owned(), "restore it".to_owned());
    let doubt = NewDoubt { kind: DoubtKind::Book, subject: subject.clone(), detail, way_out, events: 0 };
    store.doubts().raise(doubt, Timestamp::ZERO);
    let refused = runtime.block_on(store.append(vec![plain("a", "more")]));
    assert!(matches!(refused, Err(StoreError::Held { .. })), "{refused:?}");
    assert_eq!(store.health().held.as_deref(), Some("it is missing; restore it"));

    let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads go on");
    assert_eq!(entries.len(), 12);
    let settle = |entry: &StoredEntry| SettleRequest {
        why: None,
        lane: lane("a"),
        id: entry.id,
        due_at: None,
        settlement: Settlement::Delivered,
    };
    runtime
        .block_on(store.settle(store.owner(), entries.iter().map(settle).collect()))
        .expect("what was under way ends");
    let before = segments(dir.path());
    store.threads.sweep();
    assert_eq!(segments(dir.path()), before, "no segment is deleted");

    store.doubts().clear(DoubtKind::Book, &subject);
    store.threads.sweep();
    assert!(segments(dir.path()) < before, "the control: they were all settled");
    runtime.block_on(store.append(vec![plain("a", "more")])).expect("it takes events again");
}

#[test]
fn a_doubt_about_the_book_is_there_before_anything_runs_and_ends_with_the_restored_book() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    let documents = store.documents();
    let put = documents.put("policies", Expect::Absent, Bytes::from_static(b"a book"));
    runtime.block_on(put).expect("writes");
    drop(store);
    let book = dir.path().join("documents/policies.json");
    let sound = fs::read(&book).expect("reads");
    fs::remove_file(&book).expect("deletes");
    for _ in 0..2 {
        assert!(open(dir.path()).health().held.is_some());
    }
    fs::write(&book, sound).expect("restores");
    assert_eq!(open(dir.path()).health().held, None);
}
