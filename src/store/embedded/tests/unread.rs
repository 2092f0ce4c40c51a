//! Reads that fail: nothing is lost while the bytes on the disk are sound, other lanes go on, and what is held comes
//! back in order.

use std::sync::Mutex;

use super::*;
use crate::store::doubts::DoubtKind;
use crate::store::embedded::journal::{BlockSource, list};

/// What a read that is made to fail does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The system refuses with this number.
    Errno(i32),
    /// The read ends before the end of the file.
    Short,
    /// The bytes come back wrong.
    Wrong,
}

/// Which calls fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    /// The first call that fails.
    pub(super) from: usize,
    /// How many fail.
    pub(super) count: usize,
}

/// The system's files with reads and opens that can be made to fail. Clones share the plan.
#[derive(Clone, Default)]
pub(super) struct Faulty(Arc<Mutex<(usize, Option<Plan>, usize)>>);

impl Faulty {
    /// From now on the calls fail as planned, counted anew.
    pub(super) fn plan(&self, plan: Option<Plan>) {
        *self.0.lock().expect("lock") = (0, plan, 0);
    }

    /// How many calls failed.
    pub(super) fn failed(&self) -> usize {
        self.0.lock().expect("lock").2
    }

    fn step(&self) -> Option<Fault> {
        let mut state = self.0.lock().expect("lock");
        let at = state.0;
        state.0 += 1;
        let plan = state.1.filter(|plan| (plan.from..plan.from.saturating_add(plan.count)).contains(&at))?;
        state.2 += 1;
        Some(plan.fault)
    }
}

impl BlockSource for Faulty {
    fn open(&self, path: &Path) -> io::Result<Option<File>> {
        match self.step() {
            Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            _ => OsSource.open(path),
        }
    }

    fn read_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.step() {
            Some(Fault::Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::Short) => Ok(0),
            Some(Fault::Wrong) => {
                let read = OsSource.read_at(file, bytes, offset)?;
                bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
                Ok(read)
            }
            None => OsSource.read_at(file, bytes, offset),
        }
    }
}

const EIO: Fault = Fault::Errno(5);
const FAULTS: [Fault; 6] =
    [EIO, Fault::Errno(12), Fault::Errno(24), Fault::Errno(4), Fault::Short, Fault::Wrong];

pub(super) fn open_over(dir: &Path, source: &Faulty) -> EmbeddedStore {
    let disks = Disks { reads: Arc::new(source.clone()), ..Disks::default() };
    // Every read goes to the disk.
    let options = EmbeddedOptions { block_cache_bytes: 0, ..options() };
    EmbeddedStore::open_on(dir, options, clock(), disks).expect("opens")
}

/// Two lanes with three blocks each, and one with three blocks of delayed entries.
pub(super) async fn three_lanes(store: &EmbeddedStore) {
    for block in 0..3 {
        for name in ["a", "b", "late"] {
            let entry = |n: u64| NewEntry {
                due_at: (name == "late").then(|| Timestamp::from_millis(5_000 + n)),
                ..plain(name, &format!("{name} {block}.{n} {}", "x".repeat(500)))
            };
            store.append((0..4).map(entry).collect()).await.expect("appends");
        }
    }
}

const FEW: ReadLimit = ReadLimit { entries: 3, bytes: usize::MAX };

/// Reads a lane as the queue does, page by page, trying again what fails, and settles all of it.
async fn deliver(store: &EmbeddedStore, name: &str, patience: usize) -> (Vec<String>, usize) {
    let (mut delivered, mut failures) = (Vec::new(), 0);
    let mut after = None;
    while failures <= patience {
        let due = store.read_due(&lane(name), Timestamp::MAX, &HashSet::new(), FEW).await;
        let plain = store.read_ready(&lane(name), after, FEW).await;
        let (Ok(due), Ok(plain)) = (due, plain) else {
            failures += 1;
            continue;
        };
        after = plain.last().map(|entry| entry.id).or(after);
        let page = [due.entries, plain].concat();
        if page.is_empty() {
            return (delivered, failures);
        }
        let settles = page.iter().map(|entry| SettleRequest {
            why: None,
            lane: lane(name),
            id: entry.id,
            due_at: entry.due_at,
            settlement: Settlement::Delivered,
        });
        store.settle(store.owner(), settles.collect()).await.expect("settles");
        delivered.extend(texts(&page));
    }
    (delivered, failures)
}

fn lost(store: &EmbeddedStore) -> (u64, u64) {
    let health = store.health();
    (health.damaged, health.lost_entries)
}

/// The entries of [`three_lanes`] in the order in which they are to be delivered.
fn in_order(name: &str) -> Vec<String> {
    let by_block = (0..3).flat_map(|block| (0..4).map(move |n| (block, n)));
    let by_due = (0..4).flat_map(|n| (0..3).map(move |block| (block, n)));
    let all: Vec<(u64, u64)> = if name == "late" { by_due.collect() } else { by_block.collect() };
    all.iter().map(|(block, n)| format!("{name} {block}.{n} {}", "x".repeat(500))).collect()
}

#[test]
fn whichever_call_fails_once_or_for_a_while_everything_is_delivered_in_order_and_nothing_is_lost() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    // Bytes that stay wrong are damage, as far as anybody can tell: that is another test.
    let for_a_while = FAULTS.iter().filter(|fault| **fault != Fault::Wrong).map(|fault| (*fault, 7));
    for (fault, count) in FAULTS.iter().map(|fault| (*fault, 1)).chain(for_a_while) {
        for from in 0.. {
            runtime.block_on(three_lanes(&store));
            let segments = list(&dir.path().join("journal")).expect("lists");
            segments.iter().for_each(|file| store.shared.blocks.forget(file.number));
            source.plan(Some(Plan { fault, from, count }));
            for name in ["a", "b", "late"] {
                let (delivered, _) = runtime.block_on(deliver(&store, name, 20));
                assert_eq!(delivered, in_order(name), "{fault:?} {count} from {from}");
            }
            assert_eq!(lost(&store), (0, 0), "{fault:?} {count} from {from}");
            assert_eq!(store.doubts().list(), [], "{fault:?} {count} from {from}");
            if source.failed() == 0 {
                assert!(from > 20, "the control: {from} calls are none");
                break;
            }
        }
    }
}

#[test]
fn a_lane_whose_reads_fail_for_good_is_held_and_reported_while_others_go_on() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    let first = runtime.block_on(store.read_ready(&lane("a"), None, FEW)).expect("reads");
    source.plan(Some(Plan { fault: EIO, from: 0, count: usize::MAX }));
    for _ in 0..3 {
        let refused = runtime.block_on(store.read_ready(&lane("a"), Some(first[2].id), ALL));
        assert!(matches!(refused, Err(StoreError::Unread { .. })), "{refused:?}");
    }
    let doubt = store.doubts().list().remove(0);
    assert_eq!((doubt.kind, doubt.subject.as_str()), (DoubtKind::Unread, "journal/0000000001.seg"));
    assert_eq!(doubt.events, 4, "those of the block that was asked for");
    assert!(store.health().errors >= 3 && store.health().poisoned.is_none());
    source.plan(None);
    assert_eq!(runtime.block_on(deliver(&store, "b", 0)).0.len(), 12, "other lanes");
    assert_eq!(runtime.block_on(deliver(&store, "a", 0)).0.len(), 12);
    assert_eq!((lost(&store), store.doubts().list()), ((0, 0), Vec::new()));
}

#[test]
fn what_was_read_before_the_block_that_fails_is_handed_out_first() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    for (name, until) in [("a", 0), ("late", 60_000)] {
        // One open at first, and two reads for each block.
        source.plan(Some(Plan { fault: EIO, from: 3, count: usize::MAX }));
        let page = if until > 0 {
            let until = Timestamp::from_millis(until);
            runtime.block_on(store.read_due(&lane(name), until, &HashSet::new(), ALL)).expect("reads").entries
        } else {
            runtime.block_on(store.read_ready(&lane(name), None, ALL)).expect("reads")
        };
        assert!((1..12).contains(&page.len()), "{name}: {}", page.len());
    }
}

#[test]
fn a_doubt_about_reads_outlives_a_restart_and_ends_with_the_first_that_succeeds() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    source.plan(Some(Plan { fault: EIO, from: 0, count: usize::MAX }));
    runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect_err("fails");
    drop(store);
    let store = open_over(dir.path(), &source);
    assert_eq!(store.doubts().list().len(), 1);
    source.plan(None);
    assert_eq!(runtime.block_on(deliver(&store, "a", 0)).0.len(), 12);
    assert_eq!(store.doubts().list(), []);
}

#[test]
fn a_name_that_became_a_link_or_a_directory_is_unread_and_costs_nothing() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    let (segment, away) = (dir.path().join("journal/0000000001.seg"), dir.path().join("away"));
    fs::rename(&segment, &away).expect("moves");
    std::os::unix::fs::symlink(&away, &segment).expect("links");
    runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect_err("is not followed");
    fs::remove_file(&segment).expect("goes");
    fs::create_dir(&segment).expect("makes");
    runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect_err("is no file");
    assert_eq!((lost(&store), store.doubts().list().len()), ((0, 0), 1));
    fs::remove_dir(&segment).expect("goes");
    fs::rename(&away, &segment).expect("moves back");
    assert_eq!(runtime.block_on(deliver(&store, "a", 0)).0.len(), 12);
}

#[test]
fn a_head_without_a_sound_copy_costs_nothing() {
    let runtime = runtime();
    let dir = tempfile::tempdir().expect("temporary directory");
    let source = Faulty::default();
    let store = open_over(dir.path(), &source);
    runtime.block_on(three_lanes(&store));
    let segment = dir.path().join("journal/0000000001.seg");
    let file = File::options().write(true).open(&segment).expect("opens");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xa5; 64], 0).expect("writes");
    for name in ["a", "b", "late"] {
        assert_eq!(runtime.block_on(deliver(&store, name, 0)).0.len(), 12);
    }
    assert_eq!((lost(&store), store.doubts().list()), ((0, 0), Vec::new()));
}
