//! The directory's lock, its format, and starting on a full disk.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;
use crate::clock::Timestamp;
use crate::store::embedded::journal::{Journal, JournalOptions};

#[test]
fn holding_makes_nothing() {
    let temp = tempfile::tempdir().expect("temp");
    assert!(matches!(DataDir::hold(temp.path()).expect("nobody has it"), [Some(_), None]));
    assert!(matches!(DataDir::hold(&temp.path().join("x")), Err(StoreError::Io { .. })));
    assert_eq!(fs::read_dir(temp.path()).expect("readable").count(), 0);
}

#[test]
fn a_second_opener_is_told_who_has_it_and_the_first_goes_on() {
    let temp = tempfile::tempdir().expect("temp");
    let root = temp.path().join("data");
    let first = DataDir::open(&root).expect("opens");
    let Err(StoreError::Directory(DirectoryError::Locked { pid, .. })) = DataDir::open(&root) else {
        panic!("opened twice")
    };
    assert_eq!(pid, std::process::id().to_string());
    assert!(matches!(DataDir::hold(&root), Err(StoreError::Directory(DirectoryError::Locked { .. }))));
    drop(first);
    let held = DataDir::hold(&root).expect("free");
    assert!(DataDir::open(&root).is_err());
    drop(held);
    DataDir::open(&root).expect("free again");
}

#[test]
fn rooms_are_private_and_the_ballast_lies_there() {
    let temp = tempfile::tempdir().expect("temp");
    let dir = DataDir::open(&temp.path().join("data")).expect("opens");
    for path in [dir.root().to_owned(), dir.journal(), dir.dead(), dir.documents(), dir.limits()] {
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o700, "{path:?}");
    }
    for name in ["LOCK", "FORMAT", "ballast", "ballast.23"] {
        let mode = fs::metadata(dir.root().join(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(dir.disk_bytes().expect("lists") >= ballast::PIECES * ballast::PIECE_BYTES);
}

#[test]
fn a_lock_file_that_is_replaced_lets_nobody_in() {
    let temp = tempfile::tempdir().expect("temp");
    let first = DataDir::open(temp.path()).expect("opens");
    fs::remove_file(temp.path().join("LOCK")).expect("deletes");
    assert!(matches!(DataDir::open(temp.path()), Err(StoreError::Directory(DirectoryError::Locked { .. }))));
    fs::write(temp.path().join("LOCK"), "").expect("writes");
    assert!(matches!(DataDir::hold(temp.path()), Err(StoreError::Directory(DirectoryError::Locked { .. }))));
    drop(first);
    DataDir::open(temp.path()).expect("the control: free");
}

#[test]
fn below_the_watermark_appends_are_refused() {
    let temp = tempfile::tempdir().expect("temp");
    let dir = DataDir::open(temp.path()).expect("opens");
    assert!(dir.room(0).expect("room").check().is_ok());
    let Err(StoreError::Directory(DirectoryError::Full { free_bytes, .. })) =
        dir.room(u64::MAX).expect("room").check()
    else {
        panic!("not full")
    };
    assert!(free_bytes > 0);
}

/// A small file system of its own, taken away again at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(bytes: u64) -> Self {
        Self::mount_with(bytes, "")
    }

    fn mount_with(bytes: u64, more: &str) -> Self {
        let temp = tempfile::tempdir().expect("temp");
        let options = format!("size={bytes},mode=0700{more}");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "small"])
            .arg(temp.path())
            .status()
            .expect("the mount command is needed for this test");
        assert!(
            done.success(),
            "this test mounts a tmpfs: run it as root, or with `unshare --map-root-user --mount`"
        );
        Self(temp)
    }

    /// Writes until nothing goes any more.
    fn fill(&self) {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.0.path().join("other"))
            .expect("opens");
        while file.write_all(&[1; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn on_a_full_disk_the_ballast_makes_room_to_open_again_and_again() {
    let disk = SmallDisk::mount(100 << 20);
    let root = disk.0.path().join("data");
    drop(DataDir::open(&root).expect("opens"));
    let laid = ballast::pieces(&root);
    assert!(laid >= 16, "{laid} pieces");
    let start = || {
        let dir = DataDir::open(&root)?;
        let options = JournalOptions::default();
        let journal = Journal::open(&dir.journal(), options, 0, Timestamp::ZERO)?;
        let dead = Journal::open(&dir.dead(), options, 0, Timestamp::ZERO)?;
        dir.refill_ballast();
        // What the disk has is taken from under it; what was put aside is not.
        disk.fill();
        drop((journal, dead));
        Ok::<_, StoreError>(dir)
    };
    disk.fill();
    for round in 0..4 {
        let dir = start().unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(matches!(
            dir.room(DEFAULT_NEEDED_BYTES).expect("asks").check(),
            Err(StoreError::Directory(DirectoryError::Full { .. }))
        ));
    }
    while ballast::release(&root, 0) {
        disk.fill();
    }
    let control = start().map(drop);
    assert!(control.as_ref().is_err_and(StoreError::is_full), "without a ballast: {control:?}");
    fs::remove_file(disk.0.path().join("other")).expect("deletes");
    drop(DataDir::open(&root).expect("opens"));
    // The segments of the starts lie where some of it lay.
    assert!(ballast::pieces(&root) + 2 >= laid, "put aside again once there is room");
}

#[test]
fn used_up_inodes_are_as_a_full_disk_and_the_ballast_has_some() {
    let disk = SmallDisk::mount_with(100 << 20, ",nr_inodes=128");
    let root = disk.0.path().join("data");
    drop(DataDir::open(&root).expect("opens"));
    let mut others = 0;
    while File::create(disk.0.path().join(format!("other-{others}"))).is_ok() {
        others += 1;
    }
    let dir = DataDir::open(&root).expect("opens without a free inode");
    let room = dir.room(0).expect("asks");
    assert!(room.free_files >= START_FILES, "{room:?}");
    assert!(
        matches!(room.check(), Err(StoreError::Directory(DirectoryError::FewFiles { .. }))),
        "the control: nothing is accepted"
    );
}

#[test]
fn what_a_stop_gives_back_is_kept_for_the_next_start() {
    let temp = tempfile::tempdir().expect("temp");
    let dir = DataDir::open(temp.path()).expect("opens");
    while ballast::release(temp.path(), 0) {}
    assert_eq!(ballast::pieces(temp.path()), 0, "the control: the first process of the directory used it up");
    drop(dir);
    assert!(ballast::pieces(temp.path()) * ballast::PIECE_BYTES >= START_BYTES - ballast::PIECE_BYTES);
}
