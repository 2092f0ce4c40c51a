//! Room that is taken before is there when the disk is full, and without it the library cannot be used any more.

use std::process::Command;

use super::super::database::Database;
use super::super::{IndexError, guarded};
use super::*;

const ROWS_BYTES: usize = 1024 * 1024;

/// A file system of 16 MiB, taken away at the end. Made by root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("temp");
        let mut mount = Command::new("mount");
        let status =
            mount.args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(temp.path()).status().expect("mount");
        assert!(status.success(), "this test mounts a file system: run it as root");
        Self(temp)
    }

    fn fill(&self) {
        let free_bytes = rustix::fs::statvfs(self.0.path()).map(|stat| stat.f_bavail * stat.f_frsize);
        let zeros = vec![0; usize::try_from(free_bytes.expect("asks")).expect("few")];
        std::fs::write(self.other(), zeros).expect("fills");
        assert!(std::fs::write(self.0.path().join("more"), [1; 5000]).is_err(), "the control: it is full");
    }

    fn free(&self) {
        std::fs::remove_file(self.other()).expect("deletes");
    }

    fn other(&self) -> PathBuf {
        self.0.path().join("other")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

fn write_rows(db: &Database) -> Result<(), IndexError> {
    let tree = db.tree("rows")?;
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..ROWS_BYTES / 1024 {
        let value: Vec<u8> = (0..1024).map(|_| rng.u8(..)).collect();
        tree.insert(rng.u64(..).to_be_bytes(), value)?;
    }
    db.flush(Duration::from_secs(30))
}

fn room(temp: &Path) -> IndexRoom {
    std::fs::write(temp.join("db"), [1; 5000]).expect("writes");
    IndexRoom::new(temp, temp)
}

#[test]
fn room_is_taken_behind_the_end_and_the_file_stays_as_it_is() {
    let temp = tempfile::tempdir().expect("temp");
    let room = room(temp.path());
    assert!(room.wait_for(BATCH_BYTES));
    let meta = std::fs::metadata(temp.path().join("db")).expect("there");
    assert_eq!(meta.len(), 5000);
    assert!(meta.blocks() * 512 >= TAKEN_BYTES, "{}", meta.blocks());
    assert!(IndexRoom::default().wait_for(BATCH_BYTES), "the control: none is asked for");
}

#[test]
fn what_has_room_is_written_on_a_full_disk() {
    let disk = SmallDisk::new();
    let path = disk.0.path().join("index");
    let db = Database::open(&path, 1024 * 1024).expect("opens");
    let room = IndexRoom::new(disk.0.path(), &path);
    assert!(room.wait_for(BATCH_BYTES));
    disk.fill();
    write_rows(&db).expect("there is room");
}

#[test]
fn without_it_the_library_fails_for_good_which_is_the_control() {
    let disk = SmallDisk::new();
    let path = disk.0.path().join("index");
    let db = Database::open(&path, 1024 * 1024).expect("opens");
    disk.fill();
    let failed = guarded(|| write_rows(&db));
    assert!(matches!(failed, Err(IndexError::NoRoom(_))), "{failed:?}");
    disk.free();
    assert!(guarded(|| write_rows(&db)).is_err(), "although there is room again");
}
