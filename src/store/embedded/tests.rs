//! Damage, lost indexes, failing disks, random histories: what was answered is there, or counted as lost.

mod account;
mod closing;
mod conformance;
mod damage;
mod dead;
mod encryption;
mod full;
mod give_up;
mod held;
mod history;
mod identity;
mod letters;
mod losses;
mod lost;
mod restored;
mod scan;
mod scrub;
mod settle;
pub(super) mod snapshot;
mod unread;

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::journal::{Disk, OsDisk, OsSource};
use super::*;
use crate::event::{Settlement, Tries};
use crate::store::conformance::{lane, plain, texts};
use crate::store::memory::MemoryStore;

const ALL: ReadLimit = ReadLimit { entries: 100_000, bytes: usize::MAX };

/// Small and quick, so that tests meet many segments.
pub(super) fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 16 * 1024,
        settle_delay: Duration::from_millis(1),
        needed_bytes: 0,
        salt: 0x5eed,
        scrub_bytes_per_second: 0,
        ..EmbeddedOptions::default()
    }
}

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(1_000))
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(dir, options(), clock()).expect("opens")
}

fn journal_on(disk: impl Disk + 'static) -> Disks {
    Disks { journal: Box::new(disk), ..Disks::default() }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime")
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("creates");
    fs::set_permissions(to, fs::metadata(from).expect("there").permissions()).expect("sets");
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

/// Everything that a store holds of these lanes, ids apart.
async fn contents(store: &dyn EntryStore, lanes: &[&str]) -> Vec<(Vec<String>, Vec<(String, u64, u16)>)> {
    let mut all = Vec::new();
    for name in lanes {
        let plain = store.read_ready(&lane(name), None, ALL).await.expect("reads");
        let due = store.read_due(&lane(name), Timestamp::MAX, &HashSet::new(), ALL).await.expect("reads");
        let due = due.entries.iter().map(|entry| {
            let text = String::from_utf8_lossy(&entry.record).into_owned();
            (text, entry.due_at.map_or(0, Timestamp::as_millis), entry.tries.to_bits())
        });
        all.push((texts(&plain), due.collect()));
    }
    all
}

/// Some of everything: plain, delayed, settled, rescheduled.
async fn fill(store: &EmbeddedStore) {
    for round in 0..6_u64 {
        let batch = (0..40).map(|n| {
            let due_at = (n % 4 == 0).then(|| Timestamp::from_millis(5_000 + n));
            let record = format!("{round}-{n} {}", fastrand::Rng::with_seed(round * 100 + n).u64(..));
            NewEntry { due_at, ..plain(if n % 2 == 0 { "a" } else { "b" }, &record) }
        });
        store.append(batch.collect()).await.expect("appends");
        let entries = store.read_ready(&lane("a"), None, ALL).await.expect("reads");
        let settles =
            entries.iter().enumerate().filter(|(n, _)| n % 3 != 0).map(|(n, entry)| SettleRequest {
                why: None,
                lane: lane("a"),
                id: entry.id,
                due_at: None,
                settlement: match n % 3 {
                    1 => Settlement::Delivered,
                    _ => Settlement::Reschedule {
                        due_at: Timestamp::from_millis(9_000),
                        tries: Tries::of(1),
                        doubted_at: None,
                    },
                },
            });
        store.settle(store.owner(), settles.collect()).await.expect("settles");
    }
}

#[test]
fn a_lost_index_is_rebuilt_with_equal_content() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    runtime.block_on(fill(&store));
    let before = runtime.block_on(contents(&store, &["a", "b"]));
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).expect("deletes");
    let store = open(dir.path());
    assert!(store.recovery().rebuilt.is_some());
    assert_eq!(runtime.block_on(contents(&store, &["a", "b"])), before);
    drop(store);
    let report = EmbeddedStore::rebuild(dir.path(), &options(), clock().now()).expect("rebuilds");
    assert!(report.living > 0 && report.to_string().contains("as asked"));
    let store = open(dir.path());
    assert_eq!(store.recovery().rebuilt, None);
    assert_eq!(runtime.block_on(contents(&store, &["a", "b"])), before);
}

#[test]
fn flipped_bytes_of_the_index_lose_nothing() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    runtime.block_on(fill(&store));
    let before = runtime.block_on(contents(&store, &["a", "b"]));
    drop(store);
    let file = dir.path().join("index/db");
    let sound = fs::read(&file).expect("reads");
    let used = sound.iter().rposition(|byte| *byte != 0).unwrap_or(0);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut rebuilt = 0;
    for _ in 0..24 {
        let mut bytes = fs::read(&file).expect("reads");
        let at = rng.usize(..used.min(bytes.len()));
        bytes[at] ^= 1 << rng.u8(..8);
        fs::write(&file, &bytes).expect("writes");
        let store = open(dir.path());
        rebuilt += usize::from(store.recovery().rebuilt.is_some());
        assert_eq!(runtime.block_on(contents(&store, &["a", "b"])), before, "offset {at}");
        drop(store);
    }
    assert!(rebuilt > 0, "no flip hit anything: the test proves nothing");
}

/// Fails from the N-th write or sync on; can leave out syncs to show that they are counted.
struct Failing {
    calls: Arc<AtomicUsize>,
    fail_at: usize,
}

impl Failing {
    fn step(&self) -> io::Result<()> {
        if self.calls.fetch_add(1, Ordering::SeqCst) == self.fail_at {
            return Err(io::Error::other("made to fail"));
        }
        Ok(())
    }
}

impl Disk for Failing {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.step()?;
        OsDisk.write_at(file, bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        self.step()?;
        OsDisk.sync(file)
    }
}

#[test]
fn after_the_first_failure_nothing_is_acknowledged_or_synced_and_nothing_acknowledged_is_lost() {
    let runtime = runtime();
    let mut poisoned = 0;
    for fail_at in 2..20 {
        let dir = tempfile::tempdir().expect("temporary directory");
        let calls = Arc::new(AtomicUsize::new(0));
        let disk = Failing { calls: Arc::clone(&calls), fail_at };
        let store = EmbeddedStore::open_on(dir.path(), options(), clock(), journal_on(disk)).expect("opens");
        let mut acknowledged = Vec::new();
        for n in 0..8 {
            let record = n.to_string();
            match runtime.block_on(store.append(vec![plain("a", &record)])) {
                Ok(_) => acknowledged.push(record),
                Err(StoreError::Poisoned { .. }) => poisoned += 1,
                Err(other) => panic!("{other}"),
            }
        }
        let failed = store.health().poisoned.is_some();
        assert_eq!(failed, acknowledged.len() < 8);
        if failed {
            assert_eq!(calls.load(Ordering::SeqCst), fail_at + 1, "the disk was used after a failure");
            assert_eq!(runtime.block_on(contents(&store, &["a"]))[0].0, acknowledged, "reads go on");
        }
        drop(store);
        let found = runtime.block_on(contents(&open(dir.path()), &["a"])).remove(0).0;
        assert!(found.starts_with(&acknowledged), "{found:?} lacks some of {acknowledged:?}");
    }
    assert!(poisoned > 0);
}

/// Keeps writes back until they are synced, as a power cut shows them; a dishonest one forgets to.
struct PowerCut {
    honest: bool,
    unsynced: Vec<(File, Vec<u8>, u64)>,
}

impl Disk for PowerCut {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.unsynced.push((file.try_clone()?, bytes.to_vec(), offset));
        Ok(())
    }

    fn sync(&mut self, _: &File) -> io::Result<()> {
        for (file, bytes, offset) in self.unsynced.drain(..).filter(|_| self.honest) {
            OsDisk.write_at(&file, &bytes, offset)?;
        }
        Ok(())
    }
}

/// The index deleted as well: after a power cut it may be gone.
fn found_after_a_power_cut(honest: bool) -> Vec<String> {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let disk = PowerCut { honest, unsynced: Vec::new() };
    let store = EmbeddedStore::open_on(dir.path(), options(), clock(), journal_on(disk)).expect("opens");
    for n in 0..5 {
        runtime.block_on(store.append(vec![plain("a", &n.to_string())])).expect("appends");
    }
    drop(store);
    fs::remove_dir_all(dir.path().join("index")).expect("deletes");
    runtime.block_on(contents(&open(dir.path()), &["a"])).remove(0).0
}

#[test]
fn what_was_answered_is_synced_and_the_test_can_tell() {
    assert_eq!(found_after_a_power_cut(true), ["0", "1", "2", "3", "4"]);
    assert_eq!(
        found_after_a_power_cut(false),
        Vec::<String>::new(),
        "the negative control must lose entries"
    );
}

#[test]
fn settled_segments_give_their_space_back() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    // Swept when the test asks for it alone.
    let options = EmbeddedOptions { sweep_every: Duration::from_secs(3600), ..options() };
    let store = EmbeddedStore::open(dir.path(), options, clock()).expect("opens");
    let segments = || journal::list(&dir.path().join("journal")).expect("lists").len();
    let mut most = 0;
    for round in 0..40 {
        let record: String = (0..4000).map(|_| fastrand::alphanumeric()).collect();
        runtime.block_on(store.append(vec![plain("a", &record), plain("a", &record)])).expect("appends");
        let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
        // One old entry stays until the end.
        let gone = entries.iter().skip(usize::from(round < 39)).map(|entry| SettleRequest {
            why: None,
            lane: lane("a"),
            id: entry.id,
            due_at: None,
            settlement: Settlement::Delivered,
        });
        runtime.block_on(store.settle(store.owner(), gone.collect())).expect("settles");
        most = most.max(segments());
    }
    assert!(most > 5, "{most} segments prove nothing");
    store.threads.sweep();
    assert_eq!(segments(), 1, "the one that is being written");
    drop(store);
    assert_eq!(runtime.block_on(contents(&open(dir.path()), &["a"]))[0].0, Vec::<String>::new());
}

#[test]
fn a_full_disk_refuses_appends_and_takes_settlements() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let runtime = runtime();
    let store = open(dir.path());
    runtime.block_on(store.append(vec![plain("a", "1")])).expect("appends");
    drop(store);
    let full = EmbeddedOptions { needed_bytes: u64::MAX, ..options() };
    let store = EmbeddedStore::open(dir.path(), full, clock()).expect("opens");
    let refused = runtime.block_on(store.append(vec![plain("a", "2")]));
    assert!(matches!(refused, Err(StoreError::Directory(DirectoryError::Full { .. }))));
    assert!(store.health().no_room.is_some());
    let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
    let settle = SettleRequest {
        why: None,
        lane: lane("a"),
        id: entries[0].id,
        due_at: None,
        settlement: Settlement::Delivered,
    };
    runtime.block_on(store.settle(store.owner(), vec![settle])).expect("settles");
    assert_eq!(runtime.block_on(contents(&store, &["a"]))[0].0, Vec::<String>::new());
}
