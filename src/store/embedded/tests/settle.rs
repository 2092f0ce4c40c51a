//! Settlements in great number, and of one entry twice.

use super::*;

#[test]
fn half_a_million_settlements_at_once_are_taken_in_parts() {
    const ENTRIES: usize = 500_000;
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let options = EmbeddedOptions { segment_bytes: 1 << 26, ..options() };
    let store = EmbeddedStore::open(dir.path(), options, clock()).expect("opens");
    runtime.block_on(store.append(vec![plain("a", "x"); ENTRIES])).expect("appends");
    let limit = ReadLimit { entries: ENTRIES, bytes: usize::MAX };
    let entries = runtime.block_on(store.read_ready(&lane("a"), None, limit)).expect("reads");
    assert_eq!(entries.len(), ENTRIES);
    let settles = entries.iter().enumerate().map(|(n, entry)| SettleRequest {
        why: None,
        lane: lane("a"),
        id: entry.id,
        due_at: None,
        settlement: match n {
            0 => Settlement::Reschedule {
                due_at: Timestamp::from_millis(9_000),
                tries: Tries::of(1),
                doubted_at: None,
            },
            _ => Settlement::Expired,
        },
    });
    let mut first: Vec<_> = settles.collect();
    let second = first.split_off(ENTRIES / 3);
    let (first, second) = (store.settle(store.owner(), first), store.settle(store.owner(), second));
    let (first, second) = runtime.block_on(async { tokio::join!(first, second) });
    first.and(second).expect("settles");
    assert_eq!(store.health().poisoned, None);
    let left = runtime.block_on(contents(&store, &["a"]));
    drop(store);
    assert_eq!(left, [(vec![], vec![("x".to_owned(), 9_000, 1)])]);
    assert_eq!(runtime.block_on(contents(&open(dir.path()), &["a"])), left);
}

#[test]
fn an_entry_that_two_settle_as_lost_in_one_group_is_lost_once() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    runtime.block_on(store.append(vec![plain("a", "1"), plain("a", "2")])).expect("appends");
    let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
    let lost = SettleRequest {
        why: None,
        lane: lane("a"),
        id: entries[0].id,
        due_at: None,
        settlement: Settlement::Lost,
    };
    runtime.block_on(store.settle(store.owner(), vec![lost.clone(), lost])).expect("settles");
    assert_eq!(store.health().lost_entries, 1);
    assert_eq!(store.take_losses().len(), 1);
    assert_eq!(runtime.block_on(contents(&store, &["a"]))[0].0, ["2"]);
}
