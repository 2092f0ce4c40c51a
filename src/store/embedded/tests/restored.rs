//! A segment that was away at one start and is back at a later one: its events wait again, and what had ended stays so.

use std::collections::BTreeSet;

use super::account::{doubted, filled, quiet, readable};
use super::*;
use crate::store::doubts::DoubtKind;
use crate::store::embedded::journal::list;

struct World {
    dir: tempfile::TempDir,
    away: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    /// What waits.
    waiting: BTreeSet<String>,
}

impl World {
    /// Entries in several segments, some of them delivered, and an orderly stop or a crash.
    fn new(crashes: bool) -> Self {
        let (mut dir, runtime) = (tempfile::tempdir().expect("temp"), runtime());
        let names = filled(dir.path(), &runtime, 12);
        let store = quiet(dir.path());
        let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");
        let ended = entries.iter().step_by(4).map(|entry| (entry.id, texts(std::slice::from_ref(entry))));
        let (ids, ended): (Vec<_>, Vec<_>) = ended.unzip();
        settle(&store, ids, &runtime);
        if crashes {
            let crashed = tempfile::tempdir().expect("temp");
            copy(dir.path(), crashed.path());
            drop(store);
            dir = crashed;
        }
        let ended: BTreeSet<String> = ended.into_iter().flatten().collect();
        let waiting = names.into_iter().filter(|name| !ended.contains(name)).collect();
        Self { dir, away: tempfile::tempdir().expect("temp"), runtime, waiting }
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = list(&self.dir.path().join("journal")).expect("lists");
        files.into_iter().filter(|file| !file.settled).map(|file| file.path).collect()
    }

    fn take_away(&self, paths: &[PathBuf]) {
        for path in paths {
            fs::copy(path, self.away.path().join(path.file_name().expect("a name"))).expect("copies");
            fs::remove_file(path).expect("deletes");
        }
    }

    fn bring_back(&self) {
        for entry in fs::read_dir(self.away.path()).expect("lists") {
            let entry = entry.expect("lists");
            fs::copy(entry.path(), self.dir.path().join("journal").join(entry.file_name())).expect("copies");
        }
    }

    fn found(&self, store: &EmbeddedStore) -> BTreeSet<String> {
        readable(store, &self.runtime).into_iter().filter(|name| name != "later").collect()
    }

    /// Everything waits, nothing is lost, also after a restart and with another index.
    fn is_whole(&self) {
        for index_lost in [false, false, true, false] {
            if index_lost {
                fs::remove_dir_all(self.dir.path().join("index")).expect("deletes");
            }
            let store = quiet(self.dir.path());
            assert_eq!(self.found(&store), self.waiting, "{}", store.recovery());
            assert_eq!(store.health().lost_entries, 0, "{}", store.recovery());
            for kind in [DoubtKind::Lost, DoubtKind::Uncertain] {
                assert_eq!(doubted(&store, kind), (0, 0), "{:?}", store.doubts().list());
            }
        }
    }
}

fn settle(store: &EmbeddedStore, ids: Vec<EventId>, runtime: &tokio::runtime::Runtime) {
    let one = |id| SettleRequest {
        why: None,
        lane: lane("a"),
        id,
        due_at: None,
        settlement: Settlement::Delivered,
    };
    runtime.block_on(store.settle(store.owner(), ids.into_iter().map(one).collect())).expect("settles");
}

#[test]
fn what_a_restored_segment_holds_waits_again() {
    for crashes in [false, true] {
        for chosen in [0..1, 1..3, 0..usize::MAX] {
            let world = World::new(crashes);
            let segments = world.segments();
            assert!(segments.len() > 3, "several segments");
            let last = if crashes { segments.len() - 1 } else { segments.len() };
            world.take_away(&segments[chosen.start..chosen.end.min(last)]);
            for _ in 0..2 {
                let store = quiet(world.dir.path());
                let found = world.found(&store);
                let lost = (world.waiting.len() - found.len()) as u64;
                assert!(lost > 0 && found.is_subset(&world.waiting));
                assert_eq!(
                    store.health().lost_entries,
                    lost,
                    "the control: without the files\n{}",
                    store.recovery()
                );
                assert_eq!(doubted(&store, DoubtKind::Lost).0, lost);
                world.runtime.block_on(store.append(vec![plain("a", "later")])).expect("appends");
            }
            world.bring_back();
            world.is_whole();
        }
    }
}

#[test]
fn a_restored_segment_that_is_damaged_stays_lost() {
    let world = World::new(false);
    let segments = world.segments();
    world.take_away(&segments[..1]);
    let lost = quiet(world.dir.path()).health().lost_entries;
    assert!(lost > 0);
    world.bring_back();
    let mut bytes = fs::read(&segments[0]).expect("reads");
    bytes[200] ^= 1;
    fs::write(&segments[0], bytes).expect("writes");
    let store = quiet(world.dir.path());
    assert_eq!(store.health().lost_entries, lost);
    assert_eq!(doubted(&store, DoubtKind::Lost).0, lost);
}
