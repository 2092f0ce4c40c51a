//! Damaged, cut, missing and mismatched files: what is lost is counted, everything else is there.

use super::*;
use crate::store::embedded::journal::{Frame, Scan, list, scan};

/// Three blocks of five entries in one segment; a delayed entry is due at 5000 and its number ms.
fn three_blocks(store: &EmbeddedStore, runtime: &tokio::runtime::Runtime, name: &str, delayed: bool) {
    for n in 0..3 {
        let entry = |m: u64| NewEntry {
            due_at: delayed.then(|| Timestamp::from_millis(5_000 + m)),
            ..plain("a", &format!("entry {name}{n}.{m} marker{name}{n}"))
        };
        runtime.block_on(store.append((0..5).map(entry).collect())).expect("appends");
    }
}

/// Flips bits where `needle` stands in the journal.
fn damage(dir: &Path, needle: &str) {
    for file in list(&dir.join("journal")).expect("lists") {
        let mut bytes = fs::read(&file.path).expect("reads");
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()) {
            bytes[at] ^= 0xff;
            fs::write(&file.path, bytes).expect("writes");
            return;
        }
    }
    panic!("nothing to damage");
}

/// Damaged frames and lost entries, as a probe sees them.
fn lost(store: &EmbeddedStore) -> (u64, u64) {
    let health = store.health();
    (health.damaged, health.lost_entries)
}

fn waiting(store: &EmbeddedStore, runtime: &tokio::runtime::Runtime) -> u64 {
    // What reads have met is taken out behind their backs: a write waits for the same thread.
    let barrier = runtime.block_on(store.append(vec![plain("z", "barrier")])).expect("appends").remove(0);
    let Appended::New(id) = barrier else { panic!("{barrier:?}") };
    let settle =
        SettleRequest { why: None, lane: lane("z"), id, due_at: None, settlement: Settlement::Delivered };
    runtime.block_on(store.settle(store.owner(), vec![settle])).expect("settles");
    let lanes = runtime.block_on(store.lanes()).expect("lists");
    lanes.iter().map(|lane| lane.ready + lane.delayed).sum()
}

#[test]
fn a_damaged_block_costs_its_own_entries_and_they_are_counted() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    three_blocks(&store, &runtime, "", false);
    drop(store);
    damage(dir.path(), "entry 1.0 marker1");
    let store = open(dir.path());
    let left = runtime.block_on(contents(&store, &["a"]));
    assert_eq!(left[0].0.len(), 10);
    assert_eq!(lost(&store), (1, 5));
    assert_eq!(fs::read_dir(dir.path().join("journal/quarantine")).expect("lists").count(), 1);
    assert_eq!(waiting(&store, &runtime), 10);
    assert_eq!(runtime.block_on(contents(&store, &["a"])), left);
    assert_eq!(lost(&store), (1, 5), "counted once");
}

#[test]
fn a_damaged_block_of_delayed_entries_is_one_damage_and_costs_what_was_not_handed_out() {
    let runtime = runtime();
    for handed_out in [0, 1] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = open(dir.path());
        three_blocks(&store, &runtime, "", true);
        let due = |store: &EmbeddedStore, until, skip: &HashSet<EventId>| {
            let until = Timestamp::from_millis(until);
            runtime.block_on(store.read_due(&lane("a"), until, skip, ALL)).expect("reads")
        };
        let page = due(&store, 5_000, &HashSet::new());
        let is_one = |entry: &&StoredEntry| entry.record.starts_with(b"entry 1.0");
        let skip: HashSet<EventId> =
            page.entries.iter().filter(is_one).take(handed_out).map(|entry| entry.id).collect();
        assert_eq!(skip.len(), handed_out);
        drop(store);
        damage(dir.path(), "entry 1.0 marker1");
        let store = open(dir.path());
        // The first two of each block; the later ones of the damaged block are known to be lost with them.
        assert_eq!(due(&store, 5_001, &skip).entries.len(), 4);
        assert_eq!(lost(&store), (1, 5 - handed_out as u64));
        assert_eq!(due(&store, 60_000, &skip).entries.len(), 10);
        assert_eq!(lost(&store), (1, 5 - handed_out as u64), "counted once");
        assert_eq!(waiting(&store, &runtime), 10 + handed_out as u64);
    }
}

#[test]
fn damage_of_index_and_journal_together_costs_the_damaged_block() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    three_blocks(&store, &runtime, "p", false);
    three_blocks(&store, &runtime, "d", true);
    drop(store);
    damage(dir.path(), "entry p1.0 markerp1");
    damage(dir.path(), "entry d0.0 markerd0");
    fs::write(dir.path().join("index/db"), vec![0xa5; 9999]).expect("writes");
    let store = open(dir.path());
    assert!(store.recovery().rebuilt.is_some());
    assert_eq!(lost(&store), (2, 10));
    let left = runtime.block_on(contents(&store, &["a"]));
    assert_eq!((left[0].0.len(), left[0].1.len()), (10, 10));
    drop(store);
    let store = open(dir.path());
    assert_eq!((&store.recovery().rebuilt, lost(&store)), (&None, (2, 10)), "counted once");
    assert_eq!(runtime.block_on(contents(&store, &["a"])), left);
}

/// Three segments with three blocks each, and where those of the second one stand.
fn three_segments(dir: &Path, runtime: &tokio::runtime::Runtime) -> (PathBuf, u32, Vec<usize>) {
    for name in ["x", "y", "z"] {
        three_blocks(&open(dir), runtime, name, false);
    }
    let middle = list(&dir.join("journal")).expect("lists").remove(1);
    let mut at = Vec::new();
    scan(&dir.join("journal"), Scan::default(), |position, frame| {
        if let (Frame::Block(_), true) = (frame, position.segment == middle.number) {
            at.push(position.offset as usize);
        }
        Ok(())
    })
    .expect("scans");
    assert_eq!(at.len(), 3);
    (middle.path, middle.number, at)
}

#[test]
fn a_segment_cut_short_costs_what_stood_beyond_and_it_is_counted() {
    let runtime = runtime();
    for (block, more, kept) in [(0, 0, 0), (1, 0, 5), (1, 10, 5), (1, 40, 5), (2, 0, 10)] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, _, at) = three_segments(dir.path(), &runtime);
        let file = File::options().write(true).open(&path).expect("opens");
        file.set_len((at[block] + more) as u64).expect("cuts");
        let store = open(dir.path());
        assert_eq!(lost(&store), (1, 15 - kept), "block {block}, {more} bytes more");
        assert_eq!(waiting(&store, &runtime), 30 + kept);
        assert_eq!(runtime.block_on(contents(&store, &["a"]))[0].0.len() as u64, 30 + kept);
        drop(store);
        // The tear stays where it is; it has been told and costs nothing any more.
        assert_eq!(waiting(&open(dir.path()), &runtime), 30 + kept);
    }
}

#[test]
fn a_deleted_segment_is_reported_with_what_the_index_knew() {
    let runtime = runtime();
    for emptied in [false, true] {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, segment, _) = three_segments(dir.path(), &runtime);
        let store = open(dir.path());
        let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
        let gone = entries.iter().filter(|entry| entry.record.starts_with(b"entry y1"));
        let settle = |entry: &StoredEntry| SettleRequest {
            why: None,
            lane: lane("a"),
            id: entry.id,
            due_at: None,
            settlement: Settlement::Delivered,
        };
        runtime.block_on(store.settle(store.owner(), gone.map(settle).collect())).expect("settles");
        drop(store);
        if emptied { fs::write(&path, []) } else { fs::remove_file(&path) }.expect("goes");
        let store = open(dir.path());
        assert_eq!(store.recovery().verdict.lost, [(segment, 10)].into());
        assert_eq!(store.recovery().rebuilt, None, "the index knows who lived");
        assert_eq!(lost(&store), (1, 10), "emptied {emptied}");
        assert!(store.recovery().to_string().contains("10 entries lost"));
        assert_eq!(waiting(&store, &runtime), 30);
        drop(store);
        let store = open(dir.path());
        assert!(store.recovery().verdict.is_sound() && waiting(&store, &runtime) == 30, "told once");
        assert_eq!(lost(&store), (1, 10), "the totals stay");
    }
}

#[test]
fn without_its_segment_and_the_index_the_account_knows_what_is_lost_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let (path, ..) = three_segments(dir.path(), &runtime);
    fs::remove_file(&path).expect("goes");
    fs::remove_dir_all(dir.path().join("index")).expect("goes");
    let store = open(dir.path());
    assert!(store.recovery().rebuilt.is_some());
    assert_eq!((lost(&store), waiting(&store, &runtime)), ((1, 15), 30));
}

#[test]
fn an_older_index_catches_up_with_the_journal() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    runtime.block_on(fill(&store));
    drop(store);
    let (index, backup) = (dir.path().join("index"), dir.path().join("backup"));
    copy(&index, &backup);
    let store = open(dir.path());
    runtime.block_on(fill(&store));
    let before = runtime.block_on(contents(&store, &["a", "b"]));
    drop(store);
    copy(&backup, &index);
    let store = open(dir.path());
    assert_eq!(store.recovery().rebuilt, None);
    assert!(store.recovery().journal.entries > 0, "the control: there was something to catch up with");
    assert_eq!((lost(&store), runtime.block_on(contents(&store, &["a", "b"]))), ((0, 0), before));
}

#[test]
fn an_older_journal_under_a_newer_index_is_what_counts_and_the_rest_is_counted_as_lost() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    three_blocks(&store, &runtime, "old", false);
    let before = runtime.block_on(contents(&store, &["a"]));
    drop(store);
    let (journal, backup) = (dir.path().join("journal"), dir.path().join("backup"));
    copy(&journal, &backup);
    let store = open(dir.path());
    three_blocks(&store, &runtime, "new", false);
    let newer = list(&journal).expect("lists").last().map(|file| file.number);
    drop(store);
    copy(&backup, &journal);
    let store = open(dir.path());
    assert_eq!(store.recovery().rebuilt, None);
    assert_eq!((lost(&store), runtime.block_on(contents(&store, &["a"]))), ((1, 15), before));
    assert!(
        list(&journal).expect("lists").last().map(|file| file.number) > newer,
        "no position is used twice"
    );
}
