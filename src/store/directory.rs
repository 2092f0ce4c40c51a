//! The data directory: who may use it, in which format it is, and how much room is left.
//!
//! `LOCK` is held by flock and names the process; `FORMAT` holds the format version of the whole; `ballast` is room
//! that is given up when the disk is full at the start, so that the rest can be opened.
//!
//! Must not know: what the files in its rooms hold.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};

use super::{StoreError, UsageLog, access};

/// Format version of the directory as a whole. Format 1 had no `limits/`; it is brought up to this one when it is opened.
pub const DIRECTORY_FORMAT: u32 = 2;
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
    _lock: File,
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
        let lock = lock(root)?;
        let mut dir = Self { root: root.to_owned(), found_format: DIRECTORY_FORMAT, _lock: lock };
        if dir.room(BALLAST_BYTES)?.check().is_err() {
            // Gives back what the last start put aside; without it even an open can fail.
            let _ = fs::remove_file(dir.root.join("ballast"));
        }
        let found = dir.check_format()?;
        dir.found_format = found;
        for room in ["journal", "dead", "documents", "limits"] {
            access::make_room(&dir.root.join(room))?;
        }
        if found < DIRECTORY_FORMAT {
            UsageLog::lay_open(&dir.limits())?;
            dir.write_format()?;
        }
        dir.fill_ballast();
        sync_dir(&dir.root)?;
        Ok(dir)
    }

    /// Keeps every process from an existing directory as long as the returned file lives; changes nothing. A copy
    /// without a lock file has nobody to be kept from.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when a process has it, [`StoreError::Io`] or [`StoreError::Denied`] when the system
    /// refuses, as it does when there is no such directory.
    pub fn hold(root: &Path) -> Result<Option<File>, StoreError> {
        fs::read_dir(root).map_err(|error| StoreError::io("read", root, error))?;
        let path = root.join("LOCK");
        match File::open(&path) {
            Ok(mut file) => exclusive(root, &path, &mut file).map(|()| Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("open", &path, error)),
        }
    }

    /// The format that the directory had when it was opened.
    #[must_use]
    pub fn found_format(&self) -> u32 {
        self.found_format
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

    /// The format of the directory, which is not above ours; a new one gets ours.
    fn check_format(&self) -> Result<u32, StoreError> {
        let path = self.root.join("FORMAT");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        // Empty: a first start that was cut short.
        if text.is_empty() {
            self.write_format()?;
            return Ok(DIRECTORY_FORMAT);
        }
        match text.trim().parse() {
            Ok(found @ 1..=DIRECTORY_FORMAT) => Ok(found),
            found => Err(StoreError::Format {
                what: path.display().to_string(),
                found: found.unwrap_or(0),
                known: DIRECTORY_FORMAT,
            }),
        }
    }

    fn write_format(&self) -> Result<(), StoreError> {
        let path = self.root.join("FORMAT");
        write_synced(&path, &format!("{DIRECTORY_FORMAT}\n"))
            .map_err(|error| StoreError::io("write", &path, error))
    }

    /// Puts the ballast aside while there is plenty of room; its lack is no reason not to start.
    fn fill_ballast(&self) {
        let path = self.root.join("ballast");
        let full = fs::metadata(&path).is_ok_and(|meta| meta.len() == BALLAST_BYTES);
        let roomy = self.room(BALLAST_BYTES * 4).is_ok_and(|room| room.check().is_ok());
        if full || !roomy {
            return;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let _ = file.map(|file| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES));
    }
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| StoreError::io("open", &path, error))?;
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
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            Err(StoreError::Locked { path: root.display().to_string(), pid: pid.trim().to_owned() })
        }
        Err(error) => Err(StoreError::io("lock", path, error)),
    }
}

fn write_synced(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|error| StoreError::io("sync", path, error))
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
        assert!(DataDir::hold(temp.path()).expect("nobody has it").is_none());
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
        assert!(held.is_some() && DataDir::open(&root).is_err());
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
    fn another_format_is_refused_and_a_half_written_one_completed() {
        let temp = tempfile::tempdir().expect("temp");
        drop(DataDir::open(temp.path()).expect("opens"));
        let format = temp.path().join("FORMAT");
        fs::write(&format, "3\n").expect("writes");
        assert!(matches!(DataDir::open(temp.path()), Err(StoreError::Format { found: 3, .. })));
        fs::write(&format, "").expect("writes");
        DataDir::open(temp.path()).expect("opens");
        assert_eq!(fs::read_to_string(&format).expect("there"), "2\n");
    }

    #[test]
    fn the_first_format_gets_a_record_of_usages_that_knows_of_no_orderly_end() {
        let temp = tempfile::tempdir().expect("temp");
        let dir = DataDir::open(temp.path()).expect("opens");
        let (format, limits) = (temp.path().join("FORMAT"), dir.limits());
        drop(dir);
        fs::write(&format, "1\n").expect("writes");
        assert_eq!(fs::read_dir(&limits).expect("there").count(), 0);
        drop(DataDir::open(temp.path()).expect("opens"));
        assert_eq!(fs::read_to_string(&format).expect("there"), "2\n");
        assert_eq!(fs::read_dir(&limits).expect("there").count(), 1);
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
            let mut file = OpenOptions::new()
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
