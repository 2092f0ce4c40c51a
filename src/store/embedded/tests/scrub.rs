//! The scrub finds what nobody has asked for yet.

use super::lost::damage;
use super::unread::{Fault, Faulty, Plan, open_over, three_lanes};
use super::*;
use crate::store::doubts::DoubtKind;

/// A store with three lanes in a segment that is closed.
fn closed(dir: &Path, source: &Faulty, runtime: &tokio::runtime::Runtime) -> EmbeddedStore {
    runtime.block_on(three_lanes(&open_over(dir, source)));
    let store = open_over(dir, source);
    // What is being written is left alone: a commit tells which segment that is.
    runtime.block_on(store.append(vec![plain("other", "1")])).expect("appends");
    store
}

#[test]
fn the_scrub_finds_a_damaged_block_that_nobody_reads() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = closed(dir.path(), &Faulty::default(), &runtime);
    store.threads.scrub();
    assert_eq!((store.health().lost_entries, store.doubts().list()), (0, Vec::new()), "the control");
    damage(dir.path(), "b 2.");
    damage(dir.path(), "late 1.");
    store.threads.scrub();
    assert_eq!((store.health().damaged, store.health().lost_entries), (2, 8));
    let doubt = store.doubts().find(DoubtKind::Lost, "journal/0000000001.seg").expect("reported");
    assert_eq!(doubt.events, 8);
    assert_eq!(store.take_losses().len(), 8);
    store.threads.scrub();
    assert_eq!(store.health().lost_entries, 8, "counted once");
    let left = runtime.block_on(contents(&store, &["a", "b", "late"]));
    assert_eq!(left.iter().map(|(plain, due)| plain.len() + due.len()).collect::<Vec<_>>(), [12, 8, 8]);
}

#[test]
fn the_scrub_leaves_what_was_handed_out_to_its_holder() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = closed(dir.path(), &Faulty::default(), &runtime);
    let some = ReadLimit { entries: 5, bytes: usize::MAX };
    let out = runtime.block_on(store.read_ready(&lane("a"), None, some)).expect("reads");
    let until = Timestamp::from_millis(5_001);
    let due = runtime.block_on(store.read_due(&lane("late"), until, &HashSet::new(), ALL)).expect("reads");
    assert_eq!((out.len(), due.entries.len()), (5, 6));
    for needle in ["a 0.", "a 1.", "a 2.", "late 0."] {
        damage(dir.path(), needle);
    }
    store.threads.scrub();
    // Of the third block of `a` everything, of the delayed one the two that were not due.
    assert_eq!((store.health().damaged, store.health().lost_entries), (4, 6));
    let settle = |entry: &StoredEntry| SettleRequest {
        why: None,
        lane: lane("a"),
        id: entry.id,
        due_at: None,
        settlement: Settlement::Delivered,
    };
    runtime.block_on(store.settle(store.owner(), out.iter().map(settle).collect())).expect("settles");
    let rest = runtime.block_on(store.read_ready(&lane("a"), Some(out[4].id), ALL)).expect("reads");
    assert_eq!(
        (rest, store.health().lost_entries),
        (Vec::new(), 9),
        "and the others when they are asked for"
    );
}

#[test]
fn what_the_scrub_cannot_read_is_reported_until_it_can() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = closed(dir.path(), &source, &runtime);
    source.plan(Some(Plan { fault: Fault::Errno(5), from: 0, count: usize::MAX }));
    store.threads.scrub();
    let doubt = store.doubts().find(DoubtKind::Unread, "journal/0000000001.seg").expect("reported");
    assert_eq!((doubt.events, store.health().lost_entries), (36, 0));
    source.plan(None);
    store.threads.scrub();
    assert_eq!(store.doubts().list(), []);
}

#[test]
fn a_pass_that_is_under_way_stops_when_the_store_is_closed() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    runtime.block_on(three_lanes(&open(dir.path())));
    // At this rate a block takes more than an hour.
    let slow = EmbeddedOptions { scrub_bytes_per_second: 1, ..options() };
    let store = EmbeddedStore::open(dir.path(), slow, clock()).expect("opens");
    runtime.block_on(store.append(vec![plain("other", "1")])).expect("appends");
    runtime.block_on(store.close()).expect("closes");
    drop(store);
}
