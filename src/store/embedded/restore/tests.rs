//! Directories of every kind are restored in their place, belong to whom they belonged, and are refused while only a part
//! is there; what is there and no rest of a restore is left alone.

use std::os::unix::fs::{MetadataExt, chown, symlink};

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::store::EntryStore;
use crate::store::conformance::plain;
use crate::store::embedded::EmbeddedStore;
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::tests::options;
use crate::store::embedded::{backup, rollback, verify};

const NOW: Timestamp = Timestamp::from_millis(1_000);
/// A user that has nothing, and its group.
const NOBODY: u32 = 65_534;

struct World {
    temp: tempfile::TempDir,
    backup: PathBuf,
}

impl World {
    /// With a backup of a directory in which one event waits.
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("temp");
        let (source, backup) = (temp.path().join("source"), temp.path().join("backup"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let store = EmbeddedStore::open(&source, options(), Clock::manual(NOW)).expect("opens");
            store.append(vec![plain("l", "an event")]).await.expect("appends");
            store.close().await.expect("closes");
        });
        let copied = backup::copy(&source, &backup).expect("copies");
        assert!(copied.report.is_sound() && !copied.was_running, "{}", copied.report);
        Self { temp, backup }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A restore that has copied the backup and moved nothing yet.
    fn begun(&self, data_dir: &Path) -> Result<Restore, StoreError> {
        let restore = Restore::begin(data_dir)?;
        let report = backup::copy_back(&self.backup, &restore.tree())?;
        assert!(report.is_sound(), "{report}");
        Ok(restore)
    }

    fn restore(&self, data_dir: &Path) -> Result<RestoredDirectory, StoreError> {
        let restore = self.begun(data_dir)?;
        let raised = rollback::prepare(&restore.tree(), None, NOW)?;
        restore.finish(raised)
    }
}

/// As after a kill: nothing is tidied up.
fn kill(restore: Restore) {
    let Restore { dir, .. } = &restore;
    rustix::fs::flock(dir, rustix::fs::FlockOperation::Unlock).expect("the system does it, too");
    std::mem::forget(restore);
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        list(dir).expect("lists").iter().map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[track_caller]
fn assert_whole(data_dir: &Path) {
    let report = verify::verify(data_dir, None).expect("reads");
    assert!(report.is_sound() && report.journal.entries == 1, "{report}");
    let names = names(data_dir);
    assert!(!names.iter().any(|name| name.starts_with("restoring") || name == LOCK), "{names:?}");
    let mode = fs::metadata(data_dir).expect("there").mode() & 0o7777;
    assert_eq!(mode, PRIVATE);
}

#[test]
fn a_directory_is_restored_wherever_it_is_to_be() {
    let world = World::new();
    for name in ["new", "deep/er/new", "empty", "link", "dangling", "relative", "chain", "new2/", "./x/../y"]
    {
        match name {
            "empty" => fs::create_dir(world.at(name)).expect("makes"),
            "link" => {
                fs::create_dir(world.at("behind")).expect("makes");
                symlink(world.at("behind"), world.at(name)).expect("links");
            }
            "dangling" => symlink(world.at("private/a"), world.at(name)).expect("links"),
            "relative" => symlink("private/b", world.at(name)).expect("links"),
            "chain" => {
                symlink("private/c", world.at("further")).expect("links");
                symlink("further", world.at(name)).expect("links");
            }
            "./x/../y" => fs::create_dir(world.at("x")).expect("makes"),
            _ => {}
        }
        world.restore(&world.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_whole(&world.at(name));
        let is_link = world.at(name).is_symlink();
        assert_eq!(is_link, ["link", "dangling", "relative", "chain"].contains(&name), "{name}");
        drop(DataDir::open(&world.at(name)).expect("it starts"));
    }
    symlink("round", world.at("round")).expect("links");
    assert!(world.restore(&world.at("round")).is_err(), "a link to itself");
}

#[test]
fn a_directory_with_anything_in_it_is_left_as_it_is() {
    let world = World::new();
    for (case, content) in
        [("data", "FORMAT"), ("stray", "letter.txt"), ("tree", TREE), ("damaged", unfinished::NAME)]
    {
        let dir = world.at(case);
        fs::create_dir(&dir).expect("makes");
        fs::set_permissions(&dir, Permissions::from_mode(0o750)).expect("sets");
        fs::write(dir.join(content), "kept").expect("writes");
        let error = world.restore(&dir).expect_err(case);
        assert!(matches!(error, StoreError::Directory(DirectoryError::Occupied { .. })), "{case}: {error}");
        assert!(error.to_string().contains("move"), "{error}");
        assert_eq!(fs::read_to_string(dir.join(content)).expect("there"), "kept");
        assert_eq!(names(&dir), [content]);
        assert_eq!(fs::metadata(&dir).expect("there").mode() & 0o777, 0o750);
    }
    fs::write(world.at("file"), "kept").expect("writes");
    assert!(matches!(
        world.restore(&world.at("file")),
        Err(StoreError::Directory(DirectoryError::Occupied { .. }))
    ));
    let used = world.at("used");
    let in_use = DataDir::open(&used).expect("opens");
    assert!(matches!(world.restore(&used), Err(StoreError::Directory(DirectoryError::Locked { .. }))));
    drop(in_use);
}

#[test]
fn what_file_systems_put_into_their_roots_is_no_content() {
    let world = World::new();
    fs::create_dir_all(world.at("mount/lost+found")).expect("makes");
    world.restore(&world.at("mount")).expect("restores");
    assert_whole(&world.at("mount"));
    assert!(world.at("mount/lost+found").exists());
}

#[test]
fn a_failure_leaves_the_directory_as_it_was_found() {
    let world = World::new();
    drop(world.begun(&world.at("new")).expect("begins"));
    assert!(!world.at("new").exists());
    fs::create_dir(world.at("empty")).expect("makes");
    fs::set_permissions(world.at("empty"), Permissions::from_mode(0o750)).expect("sets");
    chown(world.at("empty"), Some(NOBODY), Some(NOBODY)).expect("this test runs as root");
    drop(world.begun(&world.at("empty")).expect("begins"));
    let meta = fs::metadata(world.at("empty")).expect("there");
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (NOBODY, NOBODY, 0o750));
    assert_eq!(names(&world.at("empty")), [""; 0]);
}

#[test]
fn while_it_is_restored_it_is_in_use_and_after_a_kill_it_is_refused_until_it_is_restored() {
    let world = World::new();
    let dir = world.at("data");
    for way in ["copying", "renaming"] {
        let restore = world.begun(&dir).expect("begins");
        let Err(StoreError::Directory(DirectoryError::Locked { pid, .. })) = DataDir::open(&dir) else {
            panic!("opened")
        };
        assert_eq!(pid, format!("{} (tidegate restore)", std::process::id()));
        assert!(
            matches!(Restore::begin(&dir), Err(StoreError::Directory(DirectoryError::Locked { .. }))),
            "two at a time"
        );
        if way == "renaming" {
            for name in ["FORMAT", "journal"] {
                fs::rename(restore.tree().join(name), dir.join(name)).expect("renames");
            }
        }
        kill(restore);
        for refused in [
            DataDir::open(&dir).map(drop).expect_err(way),
            DataDir::hold(&dir).map(drop).expect_err(way),
            backup::copy(&dir, &world.at("copy")).map(drop).expect_err(way),
            verify::verify(&dir, None).map(drop).expect_err(way),
        ] {
            assert!(
                matches!(refused, StoreError::Directory(DirectoryError::Unusable { .. })),
                "{way}: {refused}"
            );
            assert!(refused.to_string().contains("repeat `tidegate restore`"), "{refused}");
        }
        fs::write(dir.join("letter.txt"), "kept").expect("writes");
        assert!(
            matches!(Restore::begin(&dir), Err(StoreError::Directory(DirectoryError::Occupied { .. }))),
            "{way}: not ours to delete"
        );
        fs::remove_file(dir.join("letter.txt")).expect("deletes");
    }
    world.restore(&dir).expect("begins anew");
    assert_whole(&dir);
}

#[test]
fn what_root_restores_belongs_to_whom_the_directory_belonged() {
    let world = World::new();
    let (dir, epoch_file) = (world.at("data"), world.at("epoch-of-data"));
    fs::create_dir(&dir).expect("makes");
    chown(&dir, Some(NOBODY), Some(NOBODY)).expect("this test runs as root");
    kill(world.begun(&dir).expect("begins"));
    let meta = fs::metadata(&dir).expect("there");
    assert_eq!((meta.uid(), meta.mode() & 0o777), (0, TAKEN), "nobody else changes names in it meanwhile");
    let restore = world.begun(&dir).expect("begins anew");
    let raised = rollback::prepare(&restore.tree(), Some(&epoch_file), NOW).expect("raises");
    let restored = restore.finish(raised).expect("restores");
    assert_eq!(restored.owner, FileOwner { uid: NOBODY, gid: NOBODY });
    let entries = names::walk(&dir).expect("lists");
    assert!(entries.len() > 8, "{entries:?}");
    for entry in entries {
        let owner = FileOwner::of(&entry.meta);
        assert_eq!(owner, restored.owner, "{}", entry.path.display());
    }
    let meta = fs::metadata(&dir).expect("there");
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (NOBODY, NOBODY, PRIVATE));
}

/// As a service manager does that finds another owner than the user of its service.
#[test]
fn a_rest_that_was_given_to_another_user_is_begun_anew_for_that_user() {
    let world = World::new();
    let dir = world.at("data");
    kill(world.begun(&dir).expect("begins"));
    for path in [dir.clone(), dir.join(unfinished::NAME)] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("this test runs as root");
    }
    let restored = world.restore(&dir).expect("begins anew");
    assert_eq!(restored.owner.uid, NOBODY);
    // The control: a mark that a third user has put there is nobody's word.
    let other = world.at("other");
    kill(world.begun(&other).expect("begins"));
    chown(other.join(unfinished::NAME), Some(NOBODY), Some(NOBODY)).expect("this test runs as root");
    assert!(matches!(Restore::begin(&other), Err(StoreError::Directory(DirectoryError::Occupied { .. }))));
}
