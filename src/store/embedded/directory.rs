//! The data directory: who may use it, in which format it is, and how much room is left.
//!
//! The directory itself and `LOCK` in it are held by flock, so that a lock file that is replaced lets nobody in; `LOCK`
//! names the process. `ballast` and its further pieces are room that is given up when the disk is full, so that the
//! rest can be opened and settled.
//!
//! Must not know: what the files in its rooms hold.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

pub(crate) use super::format::DIRECTORY_FORMAT;
use super::{UsageLog, access, ballast, files, format, names, reclaim, tidy, unfinished};
use crate::store::doubts::NewDoubt;
use crate::store::{DirectoryError, StoreError};

/// Room for a start: a small segment for the journal and one for dead letters, the index, small files.
const START_BYTES: u64 = 10 * 1024 * 1024;
const _: () =
    assert!(START_BYTES < ballast::FOR_START * ballast::PIECE_BYTES, "what is kept for a start does");
/// Files that a start may have to make, those that replace others included.
const START_FILES: u64 = 10;
/// Files that appends leave for segments, documents and the index.
const NEEDED_FILES: u64 = 16;
/// What appends leave free: two segments, a settlements' reserve and the index's growth.
pub(crate) const DEFAULT_NEEDED_BYTES: u64 = 256 * 1024 * 1024;

/// When a producer is asked to come back while the disk is full: time for some calls to end, and for the sweep to
/// delete.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// Room on the file system of the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskRoom {
    /// Bytes that this user may still take.
    pub free_bytes: u64,
    /// Bytes that must stay free for settlements and the index.
    pub needed_bytes: u64,
    /// Files that can still be made.
    pub free_files: u64,
}

impl DiskRoom {
    /// Whether an append may go ahead.
    ///
    /// # Errors
    /// [`DirectoryError::Full`] below the watermark, [`DirectoryError::FewFiles`] when hardly a file can be made.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let Self { free_bytes, needed_bytes, free_files } = *self;
        if free_files < NEEDED_FILES {
            return Err(StoreError::Directory(DirectoryError::FewFiles {
                free_files,
                needed_files: NEEDED_FILES,
                retry_after: RETRY_AFTER,
            }));
        }
        if free_bytes >= needed_bytes {
            return Ok(());
        }
        Err(StoreError::Directory(DirectoryError::Full {
            free_bytes,
            needed_bytes,
            retry_after: RETRY_AFTER,
        }))
    }
}

/// The directory, locked as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// It was started in this format before.
    has_run: bool,
    findings: Vec<NewDoubt>,
    /// Pieces of ballast that lay there when the directory was opened.
    ballast: u64,
    _locks: [File; 2],
}

impl DataDir {
    /// Makes the directory if needed, locks it, and checks its format.
    ///
    /// # Errors [`DirectoryError::Locked`] when a process has it, [`DirectoryError::Unusable`] when a restore was cut
    /// short in it, [`StoreError::Format`] when a newer version wrote it, [`DirectoryError::Denied`] when it is not
    /// private to this user and cannot be made so, [`StoreError::Io`] when the system fails.
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        let found = fs::metadata(root);
        if found.as_ref().is_ok_and(|meta| !meta.is_dir()) {
            let (operation, path) = ("open", root.display().to_string());
            return Err(StoreError::Io {
                operation,
                place: path,
                reason: "it is not a directory".to_owned(),
            });
        }
        // While it is restored it may be another user's: its lock and its mark say so first.
        let locked = found.is_ok().then(|| lock_root(root)).transpose()?;
        unfinished::refuse(root)?;
        // What a newer version wrote is refused before anything is changed, modes and the process id included.
        format::judge(root, false)?;
        access::own(root)?;
        let whole = locked.map_or_else(|| lock_root(root), Ok)?;
        // Only under the lock, since the upgrade below goes by it.
        let verdict = format::judge(root, format::holds_entries(root)?)?;
        let has_run = format::has_run(root)?;
        // Before anything in it is opened: a link or a FIFO under a name of ours must not be followed.
        let findings = tidy::tidy(root)?;
        let lock = lock(root)?;
        let ballast = ballast::pieces(root);
        let mut dir = Self { root: root.to_owned(), has_run, findings, ballast, _locks: [whole, lock] };
        // Before the upgrade, whose writes need room.
        dir.make_room()?;
        dir.upgrade(verdict)?;
        ballast::fill(&dir.root, 0);
        sync_dir(&dir.root)?;
        Ok(dir)
    }

    /// Keeps every process from an existing directory as long as the returned files live; changes nothing.
    ///
    /// # Errors
    /// [`DirectoryError::Locked`] when a process has it, [`DirectoryError::Unusable`] when a restore was cut short in
    /// it, [`StoreError::Io`] or [`DirectoryError::Denied`] when the system refuses, as it does when there is no such
    /// directory.
    pub(crate) fn hold(root: &Path) -> Result<[Option<File>; 2], StoreError> {
        fs::read_dir(root).map_err(|error| StoreError::io("read", root, error))?;
        let path = root.join("LOCK");
        let whole = lock_root(root)?;
        unfinished::refuse(root)?;
        match files::read(&path) {
            Ok(Some(mut file)) => exclusive(root, &path, &mut file).map(|()| [Some(whole), Some(file)]),
            Ok(None) => Ok([Some(whole), None]),
            // A process that has the directory open is kept out by the lock of the directory itself.
            Err(error) if files::is_foreign(&error) => Ok([Some(whole), None]),
            Err(error) => Err(StoreError::io("open", &path, error)),
        }
    }

    /// As [`DataDir::hold`], for a caller that is going to change something.
    ///
    /// # Errors
    /// As [`DataDir::hold`], and [`StoreError::Format`] when a newer version wrote it.
    pub(crate) fn hold_to_change(root: &Path) -> Result<[Option<File>; 2], StoreError> {
        let held = Self::hold(root)?;
        format::judge(root, false)?;
        Ok(held)
    }

    /// Whether the directory was started in this format before it was opened, so that it has had an account.
    #[must_use]
    pub(crate) fn has_run(&self) -> bool {
        self.has_run
    }

    /// What the opening found that has to be reported; it is handed out once.
    pub(super) fn take_findings(&mut self) -> Vec<NewDoubt> {
        std::mem::take(&mut self.findings)
    }

    /// Path of the directory itself.
    #[must_use]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Directory of the journal's segments.
    #[must_use]
    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Directory of the dead letters' segments.
    #[must_use]
    pub(crate) fn dead(&self) -> PathBuf {
        self.root.join("dead")
    }

    /// Directory of the documents.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn documents(&self) -> PathBuf {
        self.root.join("documents")
    }

    /// The record of what limits have consumed.
    #[must_use]
    pub(crate) fn limits(&self) -> PathBuf {
        self.root.join("limits")
    }

    /// The log of ends.
    #[must_use]
    pub(crate) fn ends(&self) -> PathBuf {
        self.root.join("ends")
    }

    /// The index; made by its owner.
    #[must_use]
    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// How much room is left, against a watermark of `needed_bytes`.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the system does not say.
    pub(crate) fn room(&self, needed_bytes: u64) -> Result<DiskRoom, StoreError> {
        let stat = rustix::fs::statvfs(&self.root)
            .map_err(|error| StoreError::io("ask for room in", &self.root, error))?;
        // File systems that make inodes as they go say that there are none at all.
        let free_files = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        Ok(DiskRoom { free_bytes, needed_bytes, free_files })
    }

    /// Puts the ballast aside again when there is plenty of room beside `kept_free_bytes`.
    pub(crate) fn fill_ballast(&self, kept_free_bytes: u64) {
        ballast::fill(&self.root, kept_free_bytes);
    }

    /// Puts aside again what a start has left of the ballast that it took.
    pub(crate) fn refill_ballast(&self) {
        ballast::refill(&self.root, self.ballast);
    }

    /// Puts aside what a start needs, from what segments that were cut to their length have just given back.
    pub(crate) fn keep_for_start(&self) {
        ballast::refill(&self.root, self.ballast.max(START_BYTES / ballast::PIECE_BYTES));
    }

    /// Makes room for a start where there is too little: without it even an open can fail.
    fn make_room(&self) -> Result<(), StoreError> {
        if !self.is_short()? {
            return Ok(());
        }
        tracing::warn!(
            held_bytes = self.ballast * ballast::PIECE_BYTES,
            "the disk is full: starting from the reserve"
        );
        reclaim::reclaim(&self.root)?;
        self.release_for_start()
    }

    /// Gives up what a start needs of the ballast; to be called again when it may have used some of the room.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the system does not say how much is free.
    pub(crate) fn release_for_start(&self) -> Result<(), StoreError> {
        while self.is_short()? && ballast::release(&self.root, 0) {}
        Ok(())
    }

    fn is_short(&self) -> Result<bool, StoreError> {
        let room = self.room(0)?;
        Ok(room.free_bytes < START_BYTES || room.free_files < START_FILES)
    }

    /// Bytes that all files of the store take.
    ///
    /// # Errors
    /// [`StoreError::Unread`] and others when the system does not say.
    pub(crate) fn disk_bytes(&self) -> Result<u64, StoreError> {
        disk_bytes(&self.root).map_err(|error| StoreError::io("list", &self.root, error))
    }

    /// Brings the directory up to our format. Each step may be repeated; the format is written last, so that a start
    /// that is cut short anywhere in between leaves a directory of the old one.
    fn upgrade(&mut self, verdict: format::FormatCheck) -> Result<(), StoreError> {
        self.findings.extend(verdict.doubts);
        if let Some(reason) = verdict.unread {
            tracing::warn!(reason, "FORMAT was not read; its copy says what it holds");
        }
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
}

/// Segments have been cut to their length by now: what they took goes back to the ballast before other programs can
/// take it, so that the next start has it.
impl Drop for DataDir {
    fn drop(&mut self) {
        self.keep_for_start();
    }
}

/// The lock of the directory itself.
///
/// # Errors
/// [`DirectoryError::Locked`] when a process has it, others when the system refuses.
pub(super) fn lock_root(root: &Path) -> Result<File, StoreError> {
    let file = File::open(root).map_err(|error| StoreError::io("open", root, error))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            // For the text alone: without it the error still says that the directory is in use.
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
    let pid = match pid.trim() {
        "" => "(its number cannot be read)".to_owned(),
        number => number.to_owned(),
    };
    StoreError::Directory(DirectoryError::Locked { path: root.display().to_string(), pid })
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    files::sync_dir(path).map_err(|error| StoreError::io("sync", path, error))
}

/// Bytes on the disk of everything below `path`. A file that is deleted meanwhile counts as nothing.
fn disk_bytes(path: &Path) -> io::Result<u64> {
    let there = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(0),
        _ => Err(error),
    };
    let of = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => Ok(meta.blocks() * 512),
            Err(error) => there(error),
        }
    };
    files::list(path).map_or_else(there, |entries| entries.map(of).sum())
}
