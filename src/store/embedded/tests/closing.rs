//! The closing list: what it makes exact, and that a stop does without it.

use super::account::{doubted, quiet, readable};
use super::*;
use crate::store::doubts::DoubtKind;
use crate::store::embedded::account::living;
use crate::store::embedded::journal::{HEAD_BYTES, list};

/// Twenty entries in four groups, and a segment of their settlements alone: of all but the last entry of each group.
/// Returns the names of those that wait.
fn history(dir: &Path, runtime: &tokio::runtime::Runtime) -> Vec<String> {
    let store = quiet(dir);
    for group in 0..4 {
        let batch = (0..5).map(|n| plain("a", &format!("{group}-{n}"))).collect();
        runtime.block_on(store.append(batch)).expect("appends");
    }
    drop(store);
    // Each opening begins a segment.
    let store = quiet(dir);
    let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
    let ends = |entry: &&StoredEntry| !entry.record.ends_with(b"-4");
    let settle = |entry: &StoredEntry| SettleRequest {
        why: None,
        lane: lane("a"),
        id: entry.id,
        due_at: None,
        settlement: Settlement::Delivered,
    };
    runtime
        .block_on(store.settle(store.owner(), entries.iter().filter(ends).map(settle).collect()))
        .expect("settles");
    readable(&store, runtime)
}

/// Overwrites the middle of what a segment holds.
fn damage_segment(dir: &Path, at: usize) {
    let path = list(&dir.join("journal")).expect("lists").remove(at).path;
    let mut bytes = fs::read(&path).expect("reads");
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let middle = HEAD_BYTES + (used - HEAD_BYTES) / 2;
    bytes[middle..middle + 8].copy_from_slice(&[0xaa; 8]);
    fs::write(&path, bytes).expect("writes");
}

fn lose_index(dir: &Path) {
    fs::remove_dir_all(dir.join("index")).expect("deletes");
}

/// What is readable, lost and uncertain once the directory is opened.
fn seen(dir: &Path, runtime: &tokio::runtime::Runtime) -> (Vec<String>, u64, u64) {
    let store = quiet(dir);
    let lost = store.health().lost_entries;
    assert_eq!(doubted(&store, DoubtKind::Lost).0, lost);
    (readable(&store, runtime), lost, doubted(&store, DoubtKind::Uncertain).0)
}

#[test]
fn settlements_that_are_damaged_with_a_lost_index_bring_nothing_back() {
    let runtime = runtime();
    for has_list in [true, false] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let waiting = history(dir.path(), &runtime);
        assert_eq!(waiting.len(), 4);
        damage_segment(dir.path(), 1);
        lose_index(dir.path());
        if !has_list {
            fs::remove_file(dir.path().join(living::NAME)).expect("there is one");
        }
        let (returned, lost, _) = seen(dir.path(), &runtime);
        assert_eq!(lost, 0);
        assert_eq!(returned == waiting, has_list, "{returned:?}");
        if has_list {
            assert_eq!(seen(dir.path(), &runtime), (waiting, 0, 0), "and a second start shows the same");
        }
    }
}

#[test]
fn entries_and_settlements_that_are_damaged_together_are_told_exactly() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let waiting = history(dir.path(), &runtime);
    damage_segment(dir.path(), 0);
    damage_segment(dir.path(), 1);
    lose_index(dir.path());
    let (returned, lost, uncertain) = seen(dir.path(), &runtime);
    assert_eq!((lost, uncertain), (1, 0), "one group is damaged, one of its entries waited");
    assert!(returned.len() == 3 && returned.iter().all(|name| waiting.contains(name)), "{returned:?}");
    assert_eq!(seen(dir.path(), &runtime), (returned.clone(), 1, 0));
    lose_index(dir.path());
    assert_eq!(seen(dir.path(), &runtime), (returned, 1, 0), "the next list is right as well");
}

#[test]
fn a_stop_without_room_for_the_list_is_in_good_order_all_the_same() {
    let (dir, runtime) = (tempfile::tempdir().expect("temporary directory"), runtime());
    let store = quiet(dir.path());
    runtime.block_on(store.append(vec![plain("a", "1"), plain("a", "2")])).expect("appends");
    // No list can be begun under this name.
    fs::create_dir(dir.path().join("living.tmp")).expect("makes");
    runtime.block_on(store.close()).expect("closes");
    drop(store);
    let mark = crate::store::embedded::account::read(dir.path()).expect("reads").mark.expect("whole");
    assert!(mark.closed && !dir.path().join(living::NAME).exists());
    fs::remove_dir(dir.path().join("living.tmp")).expect("removes");
    lose_index(dir.path());
    assert_eq!(seen(dir.path(), &runtime), (vec!["1".to_owned(), "2".to_owned()], 0, 0));
    assert!(dir.path().join(living::NAME).exists(), "the control: the next stop leaves one");
}

#[test]
fn a_damaged_list_that_is_needed_is_reported_and_costs_nothing_else() {
    let runtime = runtime();
    for is_needed in [true, false] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let waiting = history(dir.path(), &runtime);
        let path = dir.path().join(living::NAME);
        let mut bytes = fs::read(&path).expect("there is one");
        *bytes.last_mut().expect("some") ^= 1;
        fs::write(&path, bytes).expect("writes");
        if is_needed {
            lose_index(dir.path());
        }
        let store = quiet(dir.path());
        assert_eq!(doubted(&store, DoubtKind::Account).1, usize::from(is_needed));
        assert_eq!((readable(&store, &runtime), store.health().lost_entries), (waiting, 0));
    }
}

#[test]
fn a_rebuild_uses_the_list_and_leaves_a_new_one() {
    let (dir, runtime) = (tempfile::tempdir().expect("temporary directory"), runtime());
    let waiting = history(dir.path(), &runtime);
    damage_segment(dir.path(), 1);
    let report = EmbeddedStore::rebuild(dir.path(), &options(), clock().now()).expect("rebuilds");
    assert_eq!((report.living, report.lost_entries()), (4, 0));
    lose_index(dir.path());
    assert_eq!(seen(dir.path(), &runtime), (waiting, 0, 0));
}
