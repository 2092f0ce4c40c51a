//! Random histories, an orderly stop or a crash, one random damage: no more is lost than is reported, exactly that after
//! an orderly stop, and then nothing that had ended comes back.

use std::collections::BTreeSet;

use super::account::{doubted, quiet, readable};
use super::*;
use crate::store::doubts::DoubtKind;
use crate::store::embedded::account::{NEXT_REACH, living};
use crate::store::embedded::journal::{SegmentFile, list};

struct History {
    dir: tempfile::TempDir,
    rng: fastrand::Rng,
    serial: u32,
    waiting: BTreeSet<String>,
}

impl History {
    /// Appends, settlements and rounds of the sweeper in a random order.
    fn run(seed: u64, runtime: &tokio::runtime::Runtime) -> (Self, EmbeddedStore) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = quiet(dir.path());
        let rng = fastrand::Rng::with_seed(seed);
        let mut history = Self { dir, rng, serial: 0, waiting: BTreeSet::new() };
        for _ in 0..history.rng.usize(10..40) {
            match history.rng.u8(..8) {
                0..4 => history.append(&store, runtime),
                4..7 => history.settle(&store, runtime),
                _ => store.threads.sweep(),
            }
        }
        (history, store)
    }

    fn append(&mut self, store: &EmbeddedStore, runtime: &tokio::runtime::Runtime) {
        let count = self.rng.usize(1..8);
        let batch: Vec<NewEntry> = (0..count)
            .map(|_| {
                self.serial += 1;
                let noise: String = (0..self.rng.usize(1..900)).map(|_| self.rng.alphanumeric()).collect();
                let due_at = (self.rng.u8(..4) == 0).then(|| Timestamp::from_millis(5_000));
                NewEntry { due_at, ..plain("a", &format!("{:05} {noise}", self.serial)) }
            })
            .collect();
        let names = batch.iter().map(|entry| String::from_utf8_lossy(&entry.record).into_owned());
        self.waiting.extend(names.collect::<Vec<_>>());
        runtime.block_on(store.append(batch)).expect("appends");
    }

    fn settle(&mut self, store: &EmbeddedStore, runtime: &tokio::runtime::Runtime) {
        let mut entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
        let (name, none) = (lane("a"), HashSet::new());
        let due = runtime.block_on(store.read_due(&name, Timestamp::MAX, &none, ALL)).expect("reads");
        entries.extend(due.entries);
        let often = self.rng.u8(1..4);
        let mut batch = Vec::new();
        for entry in entries {
            if self.rng.u8(..4) >= often {
                continue;
            }
            let settlement = if self.rng.u8(..5) == 0 {
                Settlement::Reschedule {
                    due_at: Timestamp::from_millis(7_000),
                    tries: Tries::of(1),
                    doubted_at: None,
                }
            } else {
                self.waiting.remove(&*String::from_utf8_lossy(&entry.record));
                Settlement::Delivered
            };
            batch.push(SettleRequest {
                why: None,
                lane: lane("a"),
                id: entry.id,
                due_at: entry.due_at,
                settlement,
            });
        }
        runtime.block_on(store.settle(store.owner(), batch)).expect("settles");
    }

    /// What a kill leaves behind.
    fn crash(&mut self, store: EmbeddedStore) {
        let crashed = tempfile::tempdir().expect("temporary directory");
        copy(self.dir.path(), crashed.path());
        drop(store);
        self.dir = crashed;
    }

    fn damage(&mut self) -> String {
        let files = list(&self.dir.path().join("journal")).expect("lists");
        let at = self.rng.usize(..files.len());
        let SegmentFile { path, .. } = &files[at];
        let mut bytes = fs::read(path).expect("reads");
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let place = self.rng.usize(..used.max(1)).min(bytes.len().saturating_sub(1));
        let kind = self.rng.u8(..7);
        match kind {
            0 | 1 => bytes[place] ^= 1 << self.rng.u8(..8),
            2 => bytes.truncate(place),
            3 => bytes.clear(),
            4 => bytes[place..used].iter_mut().take(300).for_each(|byte| *byte = self.rng.u8(..)),
            5 => {
                fs::remove_file(path).expect("deletes");
                return format!("deleted {}", path.display());
            }
            _ => {
                let other = &files[self.rng.usize(..files.len())].path;
                let theirs = fs::read(other).expect("reads");
                fs::write(other, &bytes).expect("writes");
                bytes = theirs;
            }
        }
        fs::write(path, bytes).expect("writes");
        format!("kind {kind} at {place} of {used} in {}", path.display())
    }
}

/// What a history showed.
#[derive(Clone, Copy)]
struct Shown {
    lost: bool,
    /// All that is reported is certain.
    is_certain: bool,
    /// Something that had ended was returned.
    returned_ended: bool,
}

/// Runs one history. Without its closing list an orderly stop knows bounds, too.
fn check(seed: u64, has_list: bool, runtime: &tokio::runtime::Runtime) -> Shown {
    let (mut history, store) = History::run(seed, runtime);
    let (crashes, index_lost) = (has_list && history.rng.bool(), history.rng.bool());
    if crashes {
        history.crash(store)
    } else {
        drop(store)
    }
    let what = history.damage();
    if index_lost {
        fs::remove_dir_all(history.dir.path().join("index")).expect("deletes");
    }
    if !has_list {
        fs::remove_file(history.dir.path().join(living::NAME)).expect("deletes");
    }
    let what = format!("seed {seed}, crash {crashes}, index lost {index_lost}, {what}");
    let store = quiet(history.dir.path());
    // The second reading waits for what the first one has met.
    readable(&store, runtime);
    runtime.block_on(store.append(vec![plain("z", "barrier")])).expect("appends");
    let found: BTreeSet<String> = readable(&store, runtime).into_iter().collect();
    let lost = history.waiting.iter().filter(|name| !found.contains(*name)).count() as u64;
    let certain = store.health().lost_entries;
    let (uncertain, _) = doubted(&store, DoubtKind::Uncertain);
    let report =
        || format!("{what}: lost {lost}, reported {certain} and up to {uncertain}\n{}", store.recovery());
    assert!(lost <= certain + uncertain, "{}", report());
    // What was settled behind the last mark may have been settled in what is gone.
    assert!(crashes || certain <= lost, "{}", report());
    assert!(uncertain <= NEXT_REACH, "{}", report());
    let of_history = |name: &&String| *name != "barrier";
    let returned_ended = found.iter().filter(of_history).any(|name| !history.waiting.contains(name));
    if !crashes && (has_list || !index_lost) {
        assert_eq!((certain, uncertain, returned_ended), (lost, 0, false), "{}", report());
    }
    drop(store);
    if !has_list {
        fs::remove_file(history.dir.path().join(living::NAME)).expect("deletes");
    }
    let again = quiet(history.dir.path());
    assert_eq!(again.health().lost_entries, certain, "reported once: {what}\n{}", again.recovery());
    drop(again);
    if !has_list {
        fs::remove_file(history.dir.path().join(living::NAME)).expect("deletes");
    }
    fs::remove_dir_all(history.dir.path().join("index")).expect("deletes");
    let rebuilt = quiet(history.dir.path());
    let total = (rebuilt.health().lost_entries, doubted(&rebuilt, DoubtKind::Lost).0);
    assert_eq!(total, (certain, certain), "counted once: {what}\n{}", rebuilt.recovery());
    Shown { lost: lost > 0, is_certain: uncertain == 0, returned_ended }
}

#[test]
fn no_more_is_lost_than_is_reported_and_exactly_that_after_an_orderly_stop() {
    let runtime = runtime();
    let (mut losses, mut exact) = (0, 0);
    for seed in 0..100 {
        let Shown { lost, is_certain, .. } = check(seed, true, &runtime);
        losses += u32::from(lost);
        exact += u32::from(lost && is_certain);
    }
    assert!(losses > 20, "{losses} histories with a loss prove nothing");
    assert!(exact * 3 > losses, "{exact} of {losses} losses are reported exactly");
}

#[test]
fn without_its_closing_list_an_orderly_stop_knows_bounds_and_what_had_ended_may_come_back() {
    let runtime = runtime();
    let shown: Vec<Shown> = (0..40).map(|seed| check(seed, false, &runtime)).collect();
    assert!(shown.iter().any(|shown| shown.returned_ended), "the list makes a difference");
}
