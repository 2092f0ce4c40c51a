//! Copies of a data directory, also of one that a process is using.
//!
//! A copy is as the directory would be after a crash at some moment after the copying began: everything that was
//! acknowledged before is in it. That rests on the order. The account and the other small files are copied first, since
//! the journal may have more than the account says, never less; then the segments, which only grow; then what limits
//! have consumed; the documents last, since what waits may name a generation that only a newer policy book knows. A
//! segment that is deleted or renamed meanwhile makes another pass necessary, which copies what has changed. The last
//! segments are kept as far as they are without a gap. The index is not copied: a start makes it from the journal.
//!
//! The lock of the directory is not kept meanwhile, so that a daemon can start at any time: it is asked for before and
//! after each pass, for a moment. A directory at rest that has another epoch or a newer account at the end of the pass
//! than at its beginning was started, and is copied again as one in use.
//!
//! A redriven letter goes the other way: from `dead` to the journal. A pass in which that happened may have neither of the two,
//! which the document of the letters under way tells: another pass follows.
//!
//! Every pass ends with the store's own check of the copy.
//!
//! Must not know: where copies are kept, who may go back to one.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::directory::DataDir;
use super::names::{self, Role};
use super::sealed::{self, Sealed};
use super::verify::{self, VerifyReport};
use super::{access, account, documents, epoch, files, format, journal, under_way};
use crate::store::{DirectoryError, LETTERS_UNDER_WAY, StoreError, Version};

/// Passes over a directory that changes all the time.
const MAX_PASSES: usize = 20;
/// Segments at the end of a journal that a process may be writing to.
const GROWING: usize = 2;
/// Zeros of this length are left out: a hole reads the same.
const BLOCK_BYTES: usize = 64 * 1024;
/// What is copied of the rooms, in order. The mark of a record before the record.
const ROOMS: [&str; 4] = ["journal", "dead", "limits", "documents"];
/// Of the process that has the directory, or room and rests of replacements.
const LEFT_OUT: [&str; 3] = ["LOCK", "index.rebuilding", under_way::NAME];
const UNFINISHED: [&str; 3] = [".tmp", ".link", ".new"];
/// Says what the copy is of.
const NOTE: &str = "backup";
const FORMAT: u32 = 1;

/// A finished copy, and what may be missing from it.
#[derive(Debug)]
pub(crate) struct Copied {
    /// What the check of it found.
    pub report: VerifyReport,
    /// A process was using the directory: it may have acknowledged more since.
    pub was_running: bool,
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Note {
    /// A process was using the directory while it was copied.
    pub was_running: bool,
    /// When it was made, Unix milliseconds.
    pub made_at_ms: u64,
}

/// Where a backup has the copied directory.
#[must_use]
pub(crate) fn data_of(backup: &Path) -> PathBuf {
    backup.join("data")
}

/// Copies `root` to `to`, which must not exist, and checks the copy. Keeps nobody from starting on `root` meanwhile.
///
/// # Errors
/// [`StoreError`] when the system refuses, or a newer version wrote the directory. What was copied until then is left.
pub(crate) fn copy(root: &Path, to: &Path) -> Result<Copied, StoreError> {
    let mut moment = DirectoryProgress::look(root)?;
    format::judge(root, false)?;
    access::make_room(to)?;
    let mut copier = Copier { root, to, is_growing: true, seen: HashMap::new() };
    let mut passes = 0;
    loop {
        passes += 1;
        copier.is_growing = moment.is_running;
        let letters = LettersMoved::look(root)?;
        let is_whole = copier.pass()?;
        let after = DirectoryProgress::look(root)?;
        let has_letters = !moment.is_running || letters.is_quiet && letters == LettersMoved::look(root)?;
        // At rest and changed: it was started meanwhile, and the first files may not fit the later ones.
        let is_whole = is_whole && (moment.is_running || moment == after) && has_letters;
        let is_last = passes == MAX_PASSES;
        if is_last && !has_letters {
            return Err(StoreError::Io {
                operation: "copy",
                place: to.display().to_string(),
                reason: "dead letters are being redriven all the time: repeat it when that has ended"
                    .to_owned(),
            });
        }
        if is_whole || is_last {
            let report = verify::verify(to, None)?;
            // At rest there is nothing that another pass would find.
            // A running process may have deleted what one file names before the next was copied.
            if report.is_sound() || is_last || !moment.is_running {
                return Ok(Copied { report, was_running: moment.is_running || !is_whole });
            }
        }
        moment = after;
    }
}

/// Copies a backup's directory back into `to`, which is there and empty, and checks the copy. Nobody can use the backup
/// meanwhile.
///
/// # Errors
/// [`DirectoryError::Locked`] when a process uses the backup; others as [`copy`].
pub(crate) fn copy_back(root: &Path, to: &Path) -> Result<VerifyReport, StoreError> {
    let _held = DataDir::hold(root)?;
    format::judge(root, false)?;
    Copier { root, to, is_growing: false, seen: HashMap::new() }.pass()?;
    verify::verify(to, None)
}

/// How far a directory has come: equal at rest means that nothing was acknowledged in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DirectoryProgress {
    is_running: bool,
    /// Grows before the first event of a run is acknowledged.
    epoch: u64,
    /// The version of the account, which grows before that, too.
    account: u64,
}

impl DirectoryProgress {
    fn look(root: &Path) -> Result<Self, StoreError> {
        // Held until the rest is read: nobody starts and ends in between.
        let held = match DataDir::hold(root) {
            Ok(held) => Some(held),
            Err(StoreError::Directory(DirectoryError::Locked { .. })) => None,
            Err(error) => return Err(error),
        };
        let epoch = epoch::read(root)?.epoch.map_or(0, |epoch| epoch.number);
        Ok(Self { is_running: held.is_none(), epoch, account: account::read(root)?.version })
    }
}

/// Whether dead letters are on their way into the journal, and which change of that was the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LettersMoved {
    version: Option<Version>,
    is_quiet: bool,
}

impl LettersMoved {
    fn look(root: &Path) -> Result<Self, StoreError> {
        match documents::read(&documents::path(root, LETTERS_UNDER_WAY)) {
            Ok(None) => Ok(Self { version: None, is_quiet: true }),
            Ok(Some((version, body))) => Ok(Self { version: Some(version), is_quiet: body.is_empty() }),
            // Nothing can be noted there, and so nothing is moved.
            Err(StoreError::Damaged { .. }) => Ok(Self { version: None, is_quiet: true }),
            Err(error) => Err(error),
        }
    }
}

/// Writes what a backup says of itself.
///
/// # Errors
/// [`StoreError`] when the system refuses.
pub(crate) fn note(backup: &Path, note: &Note) -> Result<(), StoreError> {
    // Numbers and flags always have a JSON form.
    let body = serde_json::to_vec(note).unwrap_or_default();
    sealed::replace(&backup.join(NOTE), FORMAT, 1, &body)
}

/// What a backup says of itself; `None` when it is none, or not whole.
///
/// # Errors
/// [`StoreError`] when it cannot be read or a newer version wrote it.
pub(crate) fn read_note(backup: &Path) -> Result<Option<Note>, StoreError> {
    let path = backup.join(NOTE);
    match sealed::read(&path)? {
        Sealed::Whole { format, .. } if format > FORMAT => {
            Err(StoreError::Format { what: path.display().to_string(), found: format, known: FORMAT })
        }
        Sealed::Whole { body, .. } => Ok(serde_json::from_slice(&body).ok()),
        Sealed::Missing | Sealed::Damaged { .. } => Ok(None),
    }
}

/// Makes the directory in which a backup grows, beside the one that it is to be; nothing of this name may be there.
///
/// # Errors
/// [`DirectoryError::Occupied`] when something is, others when the system refuses.
pub(crate) fn begin(partial: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().mode(0o700).create(partial) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(StoreError::Directory(DirectoryError::Occupied {
                path: partial.display().to_string(),
                reason: "is there: another backup of this name is being made, or was killed; delete it then"
                    .to_owned(),
            }))
        }
        made => made.map_err(|error| StoreError::io("create", partial, error)),
    }
}

/// Where a backup of this name is to stand: its directory, behind all links.
///
/// # Errors
/// [`StoreError`] when there is no such directory.
pub(crate) fn directory_for(backup: &Path) -> Result<PathBuf, StoreError> {
    let parent = files::parent_of(backup);
    fs::canonicalize(parent).map_err(|error| StoreError::io("look at", parent, error))
}

/// Makes a finished directory the one of this name. Nothing but an empty directory can have taken the name meanwhile
/// and gives way.
///
/// # Errors
/// [`StoreError`] when the system refuses; the directory may have the name then.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), StoreError> {
    files::sync_dir(from).map_err(|error| StoreError::io("sync", from, error))?;
    files::rename_durably(from, to).map_err(|error| StoreError::io("rename to", to, error))
}

struct Copier<'a> {
    root: &'a Path,
    to: &'a Path,
    /// A process writes to the directory.
    is_growing: bool,
    /// Segments that were copied when nobody wrote to them any more, as they were before.
    seen: HashMap<PathBuf, FileStamp>,
}

/// Of a file: number, length, change of the content and of anything in seconds and nanoseconds.
type FileStamp = (u64, u64, [i64; 4]);

impl Copier<'_> {
    /// Returns whether nothing went away meanwhile.
    fn pass(&mut self) -> Result<bool, StoreError> {
        self.top()?;
        self.rooms(&ROOMS)
    }

    /// What stands in the directory itself.
    fn top(&self) -> Result<(), StoreError> {
        let entries = names::walk(self.root)?;
        self.delete_gone(Path::new(""), &entries)?;
        for entry in &entries {
            let name = entry.path.to_string_lossy();
            let is_left = LEFT_OUT.contains(&&*name) || name.starts_with("ballast");
            if entry.role == Role::File && entry.meta.is_file() && !name.contains('/') && !is_left {
                self.file(&entry.path)?;
            }
        }
        Ok(())
    }

    /// Deletes from the copy what an earlier pass has found in a room, or at the top, and is gone since.
    fn delete_gone(&self, room: &Path, there: &[names::DirectoryEntry]) -> Result<(), StoreError> {
        for copied in names::walk(self.to)? {
            let is_inside = copied.path.parent() == Some(room) && copied.meta.is_file();
            if is_inside && !there.iter().any(|entry| entry.path == copied.path) {
                let path = self.to.join(&copied.path);
                files::remove(&path).map_err(|error| StoreError::io("delete", &path, error))?;
            }
        }
        Ok(())
    }

    /// These rooms, one after the other. Returns whether no segment went away meanwhile.
    fn rooms(&mut self, rooms: &[&str]) -> Result<bool, StoreError> {
        let mut is_whole = true;
        for room in rooms {
            access::make_room(&self.to.join(room))?;
            match *room {
                "journal" | "dead" => is_whole &= self.segments(room)?,
                _ => self.small_files(room)?,
            }
            self.sync(Path::new(room))?;
        }
        self.sync(Path::new(""))?;
        Ok(is_whole)
    }

    fn segments(&mut self, room: &str) -> Result<bool, StoreError> {
        let found = journal::list(&self.root.join(room))?;
        let names: Vec<PathBuf> = found
            .iter()
            .filter_map(|segment| Some(Path::new(room).join(segment.path.file_name()?)))
            .collect();
        for old in journal::list(&self.to.join(room))? {
            let is_there = names.iter().any(|name| self.to.join(name) == old.path);
            if !is_there {
                files::remove(&old.path).map_err(|error| StoreError::io("delete", &old.path, error))?;
            }
        }
        // Only the last ones may still be written to: the others are copied once for all passes.
        let closed = found.len().saturating_sub(if self.is_growing { GROWING } else { 0 });
        let mut is_whole = true;
        for (nth, (segment, name)) in found.iter().zip(&names).enumerate() {
            let is_closed = nth < closed;
            if is_closed && self.is_unchanged(name) {
                continue;
            }
            let before = state_of(&self.root.join(name));
            let is_copied = self.file(name)?;
            is_whole &= is_copied;
            match before.filter(|_| is_closed) {
                // The state from before the copy: a change during it makes the next pass copy again.
                Some(before) => self.seen.insert(name.clone(), before),
                None => self.seen.remove(name),
            };
            if is_copied && !is_closed {
                journal::keep_sound_prefix(&self.to.join(name), segment.number)?;
            }
        }
        if room == "journal" {
            self.take_back_preallocation()?;
        }
        Ok(is_whole)
    }

    /// A segment that became full since the account was copied has given back what it did not use; by the account of
    /// the copy it has that still, and would be taken for one that was cut. Only what the directory's own account
    /// explains.
    fn take_back_preallocation(&self) -> Result<(), StoreError> {
        let (Some(copied), Some(now)) = (account::read(self.to)?.mark, account::read(self.root)?.mark) else {
            return Ok(());
        };
        for segment in journal::list(&self.to.join("journal"))? {
            let size = |mark: &account::AccountMark| mark.segments.get(&segment.number).map(|row| row.size);
            let failed = |error| StoreError::io("write to", &segment.path, error);
            let length = fs::metadata(&segment.path).map_err(failed)?.len();
            // One that the account does not name any more held nothing that lives.
            let is_explained = size(&now).is_none_or(|now| now <= length);
            if let Some(size) = size(&copied).filter(|size| is_explained && length < *size) {
                let file = File::options().write(true).open(&segment.path).map_err(failed)?;
                file.set_len(size).and_then(|()| file.sync_all()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Backwards, so that what is about a file stands before it: `usage.mark` goes before `usage.log`.
    fn small_files(&self, room: &str) -> Result<(), StoreError> {
        let entries = names::walk(self.root)?;
        self.delete_gone(Path::new(room), &entries)?;
        let inside = entries.iter().rev().filter(|entry| {
            entry.path.parent() == Some(Path::new(room)) && entry.role == Role::File && entry.meta.is_file()
        });
        for entry in inside {
            self.file(&entry.path)?;
        }
        Ok(())
    }

    /// Copies a file; false when it is gone.
    fn file(&self, name: &Path) -> Result<bool, StoreError> {
        let (from, to) = (self.root.join(name), self.to.join(name));
        if UNFINISHED.iter().any(|ending| name.to_string_lossy().ends_with(ending)) {
            return Ok(true);
        }
        let Some(source) = files::read(&from).map_err(|error| StoreError::io("read", &from, error))? else {
            files::remove(&to).map_err(|error| StoreError::io("delete", &to, error))?;
            return Ok(false);
        };
        let target = files::create_temporary(&to).map_err(|error| StoreError::io("create", &to, error))?;
        fill(source, &target).map_err(|error| StoreError::io("copy to", &to, error))?;
        Ok(true)
    }

    fn is_unchanged(&self, name: &Path) -> bool {
        let state = state_of(&self.root.join(name));
        state.is_some() && self.seen.get(name) == state.as_ref()
    }

    fn sync(&self, room: &Path) -> Result<(), StoreError> {
        let dir = self.to.join(room);
        files::sync_dir(&dir).map_err(|error| StoreError::io("sync", &dir, error))
    }
}

/// `None` when there is no such file.
fn state_of(path: &Path) -> Option<FileStamp> {
    let meta = fs::symlink_metadata(path).ok()?;
    let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
    Some((meta.ino(), meta.len(), times))
}

/// Copies the bytes and makes them durable.
fn fill(mut source: File, target: &File) -> io::Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = 0;
    loop {
        let read = match source.read(&mut block) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = block.get(..read).unwrap_or_default();
        // A segment is mostly preallocation: its copy need not take that room.
        if bytes.iter().any(|byte| *byte != 0) {
            target.write_all_at(bytes, at)?;
        }
        at += read as u64;
    }
    // Zeros at the end were not written.
    target.set_len(at)?;
    target.sync_all()
}

#[cfg(test)]
mod tests;
