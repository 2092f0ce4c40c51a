//! An older copy is recognised, a crash at any step is not taken for one, and an operator can go on.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::store::doubts::Doubt;

const NOW: Timestamp = Timestamp::from_millis(1_000);
const SALT: u64 = 7;

struct World {
    _temp: tempfile::TempDir,
    root: PathBuf,
    file: PathBuf,
}

impl World {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("temp");
        let (root, file) = (temp.path().join("data"), temp.path().join("epoch-of-data"));
        drop(DataDir::open(&root).expect("opens"));
        Self { _temp: temp, root, file }
    }

    fn with<T>(&self, doubts: &Doubts, act: impl FnOnce(&Epochs<'_>) -> T) -> T {
        act(&Epochs { root: &self.root, file: Some(&self.file), salt: SALT, doubts })
    }

    /// A start; the doubts that are open after it.
    fn start(&self) -> Vec<Doubt> {
        let doubts = Doubts::open(&self.root, NOW).expect("reads");
        self.with(&doubts, |epochs| {
            let next = epochs.start(NOW).expect("starts");
            next.into_iter().for_each(|next| epochs.take(next, NOW));
        });
        doubts.save(&self.root).expect("writes");
        doubts.list()
    }

    fn stop(&self) {
        let doubts = Doubts::open(&self.root, NOW).expect("reads");
        self.with(&doubts, |epochs| epochs.stop(NOW));
    }

    fn copy(&self) -> Vec<(String, Vec<u8>)> {
        let files = ["epoch", "epoch.prev", "doubts"];
        files
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), fs::read(self.root.join(name)).ok()?)))
            .collect()
    }

    fn restore(&self, copy: &[(String, Vec<u8>)]) {
        for (name, bytes) in copy {
            fs::write(self.root.join(name), bytes).expect("writes");
        }
    }

    fn outside(&self) -> RollbackBody {
        let Ok(Outside::Known(body)) = outside(&self.file) else { panic!("unknown") };
        body
    }
}

fn is_held(doubts: &[Doubt]) -> bool {
    doubts.iter().any(|doubt| doubt.kind == DoubtKind::Rollback)
}

#[test]
fn starts_and_stops_in_order_are_not_held_and_the_epoch_grows() {
    let world = World::new();
    let mut last = 0;
    for _ in 0..3 {
        assert!(world.start().is_empty());
        world.stop();
        let body = world.outside();
        assert!(body.epoch > last && !body.pending);
        assert_eq!(own(&world.root).expect("reads").number, body.epoch);
        last = body.epoch;
    }
}

#[test]
fn a_copy_of_a_live_directory_that_is_restored_after_the_stop_is_held_until_it_is_accepted() {
    let world = World::new();
    world.start();
    let copy = world.copy();
    world.stop();
    world.restore(&copy);
    let doubts = world.start();
    assert!(is_held(&doubts), "{doubts:?}");
    assert!(doubts[0].detail.contains("older copy") && doubts[0].way_out.contains("--accept-rollback"));
    let before = world.outside();
    assert!(is_held(&world.start()), "a second start does not make it newer");
    assert_eq!(world.outside(), before);
    accept(&world.root, Some(&world.file), NOW).expect("writes");
    assert!(world.start().is_empty());
    world.stop();
    assert!(world.start().is_empty());
}

#[test]
fn a_copy_of_a_stopped_directory_is_held_once_another_start_was_seen() {
    let world = World::new();
    world.start();
    world.stop();
    let copy = world.copy();
    world.restore(&copy);
    assert!(world.start().is_empty(), "the control: nothing happened since");
    world.restore(&copy);
    assert!(is_held(&world.start()));
}

#[test]
fn the_right_directory_ends_the_hold() {
    let world = World::new();
    world.start();
    let (old, held) = (world.copy(), "doubts");
    world.stop();
    let newest = world.copy();
    world.restore(&old);
    assert!(is_held(&world.start()));
    let newest: Vec<_> = newest.into_iter().filter(|(name, _)| name != held).collect();
    world.restore(&newest);
    assert!(!is_held(&world.start()));
}

#[test]
fn a_crash_between_the_steps_of_a_start_is_no_rollback() {
    let world = World::new();
    world.start();
    let own = own(&world.root).expect("reads");
    let pending = RollbackBody { epoch: own.number + 1, pending: true, ..world.outside() };
    put(&world.file, &pending).expect("writes");
    assert!(world.start().is_empty(), "written outside alone");
    let own = super::own(&world.root).expect("reads");
    epoch::write(&world.root, Epoch { number: own.number + 1, ..own }).expect("writes");
    put(&world.file, &RollbackBody { epoch: own.number + 1, ..pending.clone() }).expect("writes");
    assert!(world.start().is_empty(), "not confirmed");
    let own = super::own(&world.root).expect("reads");
    put(&world.file, &RollbackBody { epoch: own.number + 2, ..pending }).expect("writes");
    assert!(is_held(&world.start()), "the control: two behind");
}

#[test]
fn an_epoch_file_that_says_nothing_holds_and_one_of_another_directory_refuses() {
    let world = World::new();
    world.start();
    let body = world.outside();
    for path in [world.file.clone(), sealed::beside(&world.file, ".prev")] {
        fs::write(path, "noise").expect("writes");
    }
    let doubts = world.start();
    assert!(is_held(&doubts) && doubts[0].detail.contains("damaged"), "{doubts:?}");
    accept(&world.root, Some(&world.file), NOW).expect("writes");
    assert!(world.start().is_empty());
    put(&world.file, &RollbackBody { salt: hex(SALT + 1), ..body }).expect("writes");
    let doubts = Doubts::default();
    let refused = world.with(&doubts, |epochs| epochs.start(NOW));
    assert!(matches!(refused, Err(StoreError::Directory(DirectoryError::EpochFile { .. }))), "{refused:?}");
}

#[test]
fn a_damaged_epoch_file_is_read_from_the_version_before() {
    let world = World::new();
    world.start();
    fs::write(&world.file, "noise").expect("writes");
    assert!(world.start().is_empty());
}

#[test]
fn a_missing_epoch_file_is_made_the_first_time_and_holds_later() {
    let world = World::new();
    assert!(world.start().is_empty());
    world.stop();
    let (away, body) = (world.file.with_extension("away"), world.outside());
    fs::rename(&world.file, &away).expect("moves");
    let doubts = world.start();
    assert!(is_held(&doubts) && doubts[0].detail.contains("missing"), "{doubts:?}");
    assert!(!world.file.exists(), "nothing certifies what may be an older copy");
    world.stop();
    fs::rename(&away, &world.file).expect("moves");
    assert!(world.start().is_empty(), "it is back: the file system was not mounted");
    assert!(world.outside().epoch > body.epoch);

    fs::remove_file(&world.file).expect("deletes");
    assert!(is_held(&world.start()));
    accept(&world.root, Some(&world.file), NOW).expect("writes");
    assert!(world.start().is_empty());
    assert!(!world.outside().pending);
}

#[test]
fn a_check_says_what_a_start_would_say_and_changes_nothing() {
    let world = World::new();
    let says = || check(&world.root, &world.file, SALT);
    assert_eq!(says().expect("reads"), None, "there never was a file");
    world.start();
    assert_eq!(says().expect("reads"), None);
    let copy = world.copy();
    world.stop();
    world.restore(&copy);
    let (before, body) = (world.copy(), world.outside());
    assert!(says().expect("reads").is_some_and(|why| why.contains("older copy")));
    assert_eq!((world.copy(), world.outside()), (before, body.clone()));
    put(&world.file, &RollbackBody { salt: hex(SALT + 1), ..body }).expect("writes");
    assert!(matches!(says(), Err(StoreError::Directory(DirectoryError::EpochFile { .. }))));
    for path in [world.file.clone(), sealed::beside(&world.file, ".prev")] {
        fs::remove_file(path).expect("deletes");
    }
    assert!(says().expect("reads").is_some_and(|why| why.contains("missing")));
}

#[test]
fn a_directory_that_lost_its_own_epoch_is_held() {
    let world = World::new();
    world.start();
    for name in ["epoch", "epoch.prev"] {
        fs::remove_file(world.root.join(name)).expect("deletes");
    }
    assert!(is_held(&world.start()));
    fs::remove_file(&world.file).expect("deletes");
    assert!(is_held(&world.start()), "nor is it known whether there was a file");
}

#[test]
fn a_directory_is_named_the_same_at_each_start_and_anew_after_each_rollback() {
    let world = World::new();
    let doubts = Doubts::open(&world.root, NOW).expect("reads");
    let id = || world.with(&doubts, |epochs| epochs.id().expect("reads"));
    world.start();
    let first = id();
    world.stop();
    world.start();
    assert_eq!(id(), first);
    let mut seen = vec![first];
    for later in 1..=2 {
        accept(&world.root, Some(&world.file), NOW + std::time::Duration::from_millis(later))
            .expect("writes");
        world.start();
        seen.push(id());
        world.start();
        assert_eq!(seen.last(), Some(&id()), "a start changes nothing");
    }
    let other = Epochs { root: &world.root, file: None, salt: SALT + 1, doubts: &doubts };
    seen.push(other.id().expect("reads"));
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4, "each is another one");
}
