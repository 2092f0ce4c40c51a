//! The data directory: who may use it, in which format it is, and how much room is left.
//!
//! The directory itself and `LOCK` in it are held by flock, so that a lock file that is replaced lets nobody in; `LOCK`
//! names the process. `ballast` is room that is given up when the disk is full at the start, so that the rest can be
//! opened.
//!
//! Must not know: what the files in its rooms hold.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};

use super::doubts::NewDoubt;
pub use super::format::DIRECTORY_FORMAT;
use super::{StoreError, UsageLog, access, files, format, names, tidy};

/// Size of the ballast file.
pub const BALLAST_BYTES: u64 = 4 * 1024 * 1024;
/// What appends leave free: two segments, a settlements' reserve and the index's growth.
pub const DEFAULT_NEEDED_BYTES: u64 = 256 * 1024 * 1024;

const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Room on the file system of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskRoom {
    /// Bytes left for this user.
    pub free_bytes: u64,
    /// Bytes that must stay free for settlements and the index.
    pub needed_bytes: u64,
}

impl DiskRoom {
    /// Whether an append may go ahead.
    ///
    /// # Errors
    /// [`StoreError::Full`] below the watermark.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.free_bytes >= self.needed_bytes {
            return Ok(());
        }
        let Self { free_bytes, needed_bytes } = *self;
        Err(StoreError::Full { free_bytes, needed_bytes, retry_after: RETRY_AFTER })
    }
}

/// The directory, locked as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    /// The format that the directory had when it was opened.
    found_format: u32,
    findings: Vec<NewDoubt>,
    _locks: [File; 2],
}

impl DataDir {
    /// Makes the directory if needed, locks it, and checks its format.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when a process has it, [`StoreError::Format`] when a newer version wrote it,
    /// [`StoreError::Denied`] when it is not private to this user and cannot be made so, [`StoreError::Io`] when the
    /// system fails.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        access::own(root)?;
        let whole = lock_root(root)?;
        // What a newer version wrote is refused before anything is changed.
        let verdict = format::judge(root, format::holds_entries(root)?)?;
        let findings = tidy::tidy(root)?;
        let lock = lock(root)?;
        let found_format = verdict.upgrade_from.unwrap_or(DIRECTORY_FORMAT);
        let mut dir = Self { root: root.to_owned(), found_format, findings, _locks: [whole, lock] };
        if dir.room(BALLAST_BYTES)?.check().is_err() {
            // Gives back what the last start put aside; without it even an open can fail.
            let _ = fs::remove_file(dir.root.join("ballast"));
        }
        dir.upgrade(verdict)?;
        dir.fill_ballast();
        sync_dir(&dir.root)?;
        Ok(dir)
    }

    /// Keeps every process from an existing directory as long as the returned files live; changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when a process has it, [`StoreError::Io`] or [`StoreError::Denied`] when the system
    /// refuses, as it does when there is no such directory.
    pub fn hold(root: &Path) -> Result<[Option<File>; 2], StoreError> {
        fs::read_dir(root).map_err(|error| StoreError::io("read", root, error))?;
        let path = root.join("LOCK");
        let whole = lock_root(root)?;
        match files::read(&path) {
            Ok(Some(mut file)) => exclusive(root, &path, &mut file).map(|()| [Some(whole), Some(file)]),
            Ok(None) => Ok([Some(whole), None]),
            // Whoever had the directory open under this name is kept out by the lock of the directory itself.
            Err(error) if files::is_foreign(&error) => Ok([Some(whole), None]),
            Err(error) => Err(StoreError::io("open", &path, error)),
        }
    }

    /// The format that the directory had when it was opened.
    #[must_use]
    pub fn found_format(&self) -> u32 {
        self.found_format
    }

    /// What the opening found that has to be reported; it is handed out once.
    pub(super) fn take_findings(&mut self) -> Vec<NewDoubt> {
        std::mem::take(&mut self.findings)
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Segments of the journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Segments of the dead-letter journal.
    #[must_use]
    pub fn dead(&self) -> PathBuf {
        self.root.join("dead")
    }

    /// The documents.
    #[must_use]
    pub fn documents(&self) -> PathBuf {
        self.root.join("documents")
    }

    /// The record of what limits have consumed.
    #[must_use]
    pub fn limits(&self) -> PathBuf {
        self.root.join("limits")
    }

    /// The index; made by its owner.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// How much room is left, against a watermark of `needed_bytes`.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the system does not say.
    pub fn room(&self, needed_bytes: u64) -> Result<DiskRoom, StoreError> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|error| StoreError::io("ask for room in", &self.root, error))?;
        Ok(DiskRoom { free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize), needed_bytes })
    }

    /// Bytes that all files of the store take.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        disk_bytes(&self.root)
    }

    /// Brings the directory up to our format. Each step may be repeated; the format is written last, so that a start
    /// that is cut short anywhere in between leaves a directory of the old one.
    fn upgrade(&mut self, verdict: format::Verdict) -> Result<(), StoreError> {
        self.findings.extend(verdict.doubts);
        for room in names::ROOMS {
            access::make_room(&self.root.join(room))?;
        }
        format::write_copy(&self.root)?;
        if verdict.upgrade_from == Some(1) {
            UsageLog::lay_open(&self.limits())?;
        }
        if verdict.is_due {
            format::write(&self.root)?;
        }
        Ok(())
    }

    /// Puts the ballast aside while there is plenty of room; its lack is no reason not to start.
    fn fill_ballast(&self) {
        let path = self.root.join("ballast");
        let full = fs::symlink_metadata(&path).is_ok_and(|meta| meta.len() == BALLAST_BYTES);
        let roomy = self.room(BALLAST_BYTES * 4).is_ok_and(|room| room.check().is_ok());
        if full || !roomy {
            return;
        }
        let file = files::create(&path).or_else(|_| files::write(&path));
        let _ = file.map(|file| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES));
    }
}

/// The lock of the directory itself.
fn lock_root(root: &Path) -> Result<File, StoreError> {
    let file = File::open(root).map_err(|error| StoreError::io("open", root, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = files::read(&root.join("LOCK")).ok().flatten();
            Err(in_use(root, holder.as_mut()))
        }
        Err(error) => Err(StoreError::io("lock", root, error)),
    }
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("LOCK");
    let opened = match files::create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => files::write(&path),
        made => made,
    };
    let mut file = opened.map_err(|error| StoreError::io("open", &path, error))?;
    exclusive(root, &path, &mut file)?;
    // The pid is a help for people; the lock holds without it, also on a full disk.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    Ok(file)
}

fn exclusive(root: &Path, path: &Path, file: &mut File) -> Result<(), StoreError> {
    match rustix::fs::flock(&*file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(in_use(root, Some(file))),
        Err(error) => Err(StoreError::io("lock", path, error)),
    }
}

fn in_use(root: &Path, holder: Option<&mut File>) -> StoreError {
    let mut pid = String::new();
    if let Some(file) = holder {
        let _ = file.read_to_string(&mut pid);
    }
    StoreError::Locked { path: root.display().to_string(), pid: pid.trim().to_owned() }
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    files::sync_dir(path).map_err(|error| StoreError::io("sync", path, error))
}

fn disk_bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
        Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;
    use crate::clock::Timestamp;
    use crate::store::journal::{Journal, JournalOptions};

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
        let Err(StoreError::Locked { pid, .. }) = DataDir::open(&root) else { panic!("opened twice") };
        assert_eq!(pid, std::process::id().to_string());
        assert!(matches!(DataDir::hold(&root), Err(StoreError::Locked { .. })));
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
        for name in ["LOCK", "FORMAT", "ballast"] {
            let mode = fs::metadata(dir.root().join(name)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert!(dir.disk_bytes() >= BALLAST_BYTES);
    }

    #[test]
    fn a_lock_file_that_is_replaced_lets_nobody_in() {
        let temp = tempfile::tempdir().expect("temp");
        let first = DataDir::open(temp.path()).expect("opens");
        fs::remove_file(temp.path().join("LOCK")).expect("deletes");
        assert!(matches!(DataDir::open(temp.path()), Err(StoreError::Locked { .. })));
        fs::write(temp.path().join("LOCK"), "").expect("writes");
        assert!(matches!(DataDir::hold(temp.path()), Err(StoreError::Locked { .. })));
        drop(first);
        DataDir::open(temp.path()).expect("the control: free");
    }

    #[test]
    fn below_the_watermark_appends_are_refused() {
        let temp = tempfile::tempdir().expect("temp");
        let dir = DataDir::open(temp.path()).expect("opens");
        assert!(dir.room(0).expect("room").check().is_ok());
        let Err(StoreError::Full { free_bytes, .. }) = dir.room(u64::MAX).expect("room").check() else {
            panic!("not full")
        };
        assert!(free_bytes > 0);
    }
    /// A small file system of its own, taken away again at the end.
    struct SmallDisk(tempfile::TempDir);

    impl SmallDisk {
        fn mount(bytes: u64) -> Self {
            let temp = tempfile::tempdir().expect("temp");
            let options = format!("size={bytes},mode=0700");
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
    fn on_a_full_disk_the_ballast_makes_room_to_open() {
        let disk = SmallDisk::mount(BALLAST_BYTES * 6);
        let root = disk.0.path().join("data");
        drop(DataDir::open(&root).expect("opens"));
        let ballast = root.join("ballast");
        assert_eq!(fs::metadata(&ballast).expect("there").len(), BALLAST_BYTES);
        disk.fill();
        let options = JournalOptions { segment_bytes: BALLAST_BYTES / 2, ..JournalOptions::default() };
        let journal = |dir: &DataDir| Journal::open(&dir.journal(), options, 0, Timestamp::ZERO).map(drop);

        let dir = DataDir::open(&root).expect("opens on a full disk");
        assert!(!ballast.exists());
        let room = dir.room(BALLAST_BYTES).expect("asks");
        assert!(room.free_bytes >= BALLAST_BYTES / 2, "{room:?}");
        assert!(matches!(
            dir.room(DEFAULT_NEEDED_BYTES).expect("asks").check(),
            Err(StoreError::Full { .. })
        ));
        journal(&dir).expect("a segment fits into what the ballast held");

        disk.fill();
        let control = journal(&dir);
        assert!(matches!(control, Err(StoreError::Io { .. })), "without a ballast it would not: {control:?}");
        drop(dir);
        fs::remove_file(disk.0.path().join("other")).expect("deletes");
        drop(DataDir::open(&root).expect("opens"));
        assert!(ballast.exists(), "put aside again once there is room");
    }
}
