//! What is lost: counted once, on record in the journal, and answered for.

use super::unread::{Fault, Faulty, Plan, open_over, three_lanes};
use super::*;
use crate::store::doubts::DoubtKind;

/// Flips bits where `needle` stands in the journal.
pub(super) fn damage(dir: &Path, needle: &str) {
    let path = dir.join("journal/0000000001.seg");
    let mut bytes = fs::read(&path).expect("reads");
    let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).expect("is there");
    bytes[at] ^= 0xff;
    fs::write(&path, bytes).expect("writes");
}

fn ids(runtime: &tokio::runtime::Runtime, store: &EmbeddedStore, name: &str) -> Vec<EventId> {
    let entries = runtime.block_on(store.read_ready(&lane(name), None, ALL)).expect("reads");
    entries.iter().map(|entry| entry.id).collect()
}

fn due(
    runtime: &tokio::runtime::Runtime,
    store: &EmbeddedStore,
    name: &str,
    until: Timestamp,
) -> Vec<StoredEntry> {
    runtime.block_on(store.read_due(&lane(name), until, &HashSet::new(), ALL)).expect("reads").entries
}

#[test]
fn lost_entries_are_answered_for_before_and_after_a_restart_and_a_rebuild() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = open(dir.path());
    runtime.block_on(three_lanes(&store));
    let all = ids(&runtime, &store, "a");
    drop(store);
    damage(dir.path(), "a 1.");
    let store = open(dir.path());
    assert_eq!(ids(&runtime, &store, "a").len(), 8);
    assert_eq!((store.health().damaged, store.health().lost_entries), (1, 4));
    let losses = store.take_losses();
    assert_eq!(losses.iter().map(|loss| loss.id).collect::<Vec<_>>(), all[4..8]);
    assert!(losses.iter().all(|loss| loss.lane == lane("a") && loss.due_at.is_none()));
    assert_eq!(store.take_losses(), []);
    let doubt = store.doubts().find(DoubtKind::Lost, "journal/0000000001.seg").expect("reported");
    assert_eq!((doubt.events, doubt.detail.contains("checksum")), (4, true), "{doubt:?}");
    let check = |store: &EmbeddedStore| {
        for (n, id) in all.iter().enumerate() {
            let found = runtime.block_on(store.lookup(*id)).expect("looks up");
            assert_eq!(found == Lookup::Lost, (4..8).contains(&n), "{n}: {found:?}");
        }
    };
    check(&store);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.recovery().rebuilt, None);
    check(&store);
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).expect("deletes");
    let store = open(dir.path());
    assert!(store.recovery().rebuilt.is_some());
    check(&store);
    assert_eq!(ids(&runtime, &store, "a").len(), 8);
    let doubt = store.doubts().find(DoubtKind::Lost, "journal/0000000001.seg").expect("still reported");
    assert!(doubt.events >= 4);
}

#[test]
fn bytes_that_are_wrong_once_cost_nothing_and_bytes_that_stay_wrong_cost_their_block() {
    let runtime = runtime();
    for (count, left) in [(1, 12), (2, 12), (usize::MAX, 0)] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let source = Faulty::default();
        let store = open_over(dir.path(), &source);
        runtime.block_on(three_lanes(&store));
        // The payload of the first block: after the open and the header.
        source.plan(Some(Plan { fault: Fault::Wrong, from: 2, count }));
        let found = match runtime.block_on(store.read_ready(&lane("a"), None, ALL)) {
            Ok(found) => found,
            // Two reads that were wrong in different ways tell nothing.
            Err(_) => runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads"),
        };
        assert_eq!(found.len(), left, "{count}");
        assert_eq!(store.health().lost_entries, 12 - left as u64, "{count}");
    }
}

#[test]
fn entries_that_are_out_when_their_block_is_damaged_are_lost_only_when_they_come_back() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    let two = ReadLimit { entries: 2, bytes: usize::MAX };
    let out = runtime.block_on(store.read_ready(&lane("a"), None, two)).expect("reads");
    damage(dir.path(), "a 0.");
    let rest = runtime.block_on(store.read_ready(&lane("a"), Some(out[1].id), ALL)).expect("reads");
    assert_eq!((rest.len(), store.health().lost_entries), (8, 2), "two of the block were out");
    let settle = |entry: &StoredEntry, settlement| SettleRequest {
        why: None,
        lane: lane("a"),
        id: entry.id,
        due_at: None,
        settlement,
    };
    let later = Settlement::Reschedule {
        due_at: Timestamp::from_millis(9_000),
        tries: Tries::of(1),
        doubted_at: None,
    };
    let settles = vec![settle(&out[0], Settlement::Delivered), settle(&out[1], later)];
    runtime.block_on(store.settle(store.owner(), settles)).expect("settles");
    assert_eq!(store.health().lost_entries, 2);
    assert_eq!(due(&runtime, &store, "a", Timestamp::MAX), []);
    assert_eq!((store.health().damaged, store.health().lost_entries), (1, 3));
    // Its block is damaged: the log of ends alone says so.
    let found = runtime.block_on(store.lookup(out[0].id)).expect("looks up");
    let Lookup::Settled(Some(end)) = found else { panic!("delivered, not {found:?}") };
    assert_eq!((end.why, end.lane), (crate::event::Why::DELIVERED, None));
    assert_eq!(runtime.block_on(store.lookup(out[1].id)).expect("looks up"), Lookup::Lost);
    let doubt = store.doubts().find(DoubtKind::Lost, "journal/0000000001.seg").expect("reported");
    assert_eq!(doubt.events, 3);
}

#[test]
fn a_segment_that_is_not_there_holds_what_it_has_until_it_is_back() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    let (segment, away) = (dir.path().join("journal/0000000001.seg"), dir.path().join("away"));
    fs::rename(&segment, &away).expect("moves");
    runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect_err("is not there");
    let (late, until) = (lane("late"), Timestamp::from_millis(5_000));
    runtime.block_on(store.read_due(&late, until, &HashSet::new(), ALL)).expect_err("is not there");
    assert_eq!((store.health().lost_entries, store.take_losses().len()), (0, 0));
    let doubt = store.doubts().find(DoubtKind::Unread, "journal/0000000001.seg").expect("reported");
    assert!(doubt.detail.contains("it is not there") && doubt.events > 0, "{doubt:?}");
    fs::rename(&away, &segment).expect("moves back");
    assert_eq!(ids(&runtime, &store, "a").len(), 12);
    assert_eq!(due(&runtime, &store, "late", Timestamp::MAX).len(), 12);
    assert_eq!(store.doubts().list(), []);
}

#[test]
fn an_entry_that_cannot_be_parked_is_lost_when_it_is_damaged_and_waits_when_it_cannot_be_read() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
    let park = |entry: &StoredEntry| SettleRequest {
        why: None,
        lane: lane("a"),
        id: entry.id,
        due_at: None,
        settlement: Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 },
    };
    source.plan(Some(Plan { fault: Fault::Errno(5), from: 0, count: usize::MAX }));
    runtime
        .block_on(store.settle(store.owner(), vec![park(&entries[0])]))
        .expect_err("its record cannot be read");
    source.plan(None);
    damage(dir.path(), "a 1.");
    runtime
        .block_on(store.settle(store.owner(), vec![park(&entries[0]), park(&entries[4])]))
        .expect("settles");
    let health = store.health();
    assert_eq!((health.dead_entries, health.lost_entries), (1, 1), "parked, and lost");
    assert_eq!(runtime.block_on(store.lookup(entries[4].id)).expect("looks up"), Lookup::Lost);
}
