//! Copies of a data directory, also of one that a process is using.
//!
//! A copy is as the directory would be after a crash at some moment after the copying began: everything that was
//! acknowledged before is in it. That rests on the order. The account and the other small files are copied first, since the
//! journal may have more than the account says, never less; then the segments, which only grow; then what limits have
//! consumed; the documents last, since what waits may name a generation that only a newer policy book knows. A segment
//! that is deleted or renamed meanwhile makes another pass necessary, which copies what has changed. The last segments are
//! kept as far as they are without a gap. The index is not copied: a start makes it from the journal.
//!
//! Every pass ends with the store's own check of the copy.
//!
//! Must not know: where copies are kept, who may go back to one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::directory::DataDir;
use super::names::{self, Role};
use super::sealed::{self, Sealed};
use super::verify::{self, VerifyReport};
use super::{StoreError, access, files, format, journal};

/// Passes over a directory that changes all the time.
const MAX_PASSES: usize = 20;
/// Segments at the end of a journal that a process may be writing to.
const GROWING: usize = 2;
/// Zeros of this length are left out: a hole reads the same.
const BLOCK_BYTES: usize = 64 * 1024;
/// What is copied of the rooms, in order. The mark of a record before the record.
const ROOMS: [&str; 4] = ["journal", "dead", "limits", "documents"];
/// Of the process that has the directory, or room and rests of replacements.
const LEFT_OUT: [&str; 2] = ["LOCK", "index.rebuilding"];
const UNFINISHED: [&str; 3] = [".tmp", ".link", ".new"];
/// Says what the copy is of.
const NOTE: &str = "backup";
const FORMAT: u32 = 1;

/// A copy that was made.
#[derive(Debug)]
pub struct Copied {
    /// What the check of it found.
    pub report: VerifyReport,
    /// A process was using the directory: it may have acknowledged more since.
    pub was_running: bool,
}

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// A process was using the directory while it was copied.
    pub was_running: bool,
    /// When it was made, Unix milliseconds.
    pub made_at_ms: u64,
}

/// Where a backup has the copied directory.
#[must_use]
pub fn data_of(backup: &Path) -> PathBuf {
    backup.join("data")
}

/// Copies `root` to `to`, which must not exist, and checks the copy.
///
/// # Errors
/// [`StoreError`] when the system refuses, or a newer version wrote the directory. What was copied until then is left.
pub fn copy(root: &Path, to: &Path) -> Result<Copied, StoreError> {
    // Nobody starts on a directory at rest meanwhile.
    let held = match DataDir::hold(root) {
        Ok(held) => Some(held),
        Err(StoreError::Locked { .. }) => None,
        Err(error) => return Err(error),
    };
    format::judge(root, false)?;
    access::make_room(to)?;
    let mut copier = Copier { root, to, is_growing: held.is_none(), seen: HashMap::new() };
    let mut passes = 0;
    loop {
        passes += 1;
        let is_whole = copier.pass()?;
        let is_last = passes == MAX_PASSES || held.is_some();
        if !is_whole && !is_last {
            continue;
        }
        let report = verify::verify(to, None)?;
        if report.is_sound() || is_last {
            return Ok(Copied { report, was_running: held.is_none() });
        }
    }
}

/// Writes what a backup says of itself.
///
/// # Errors
/// [`StoreError`] when the system refuses.
pub fn note(backup: &Path, note: &Note) -> Result<(), StoreError> {
    // Numbers and flags always have a JSON form.
    let body = serde_json::to_vec(note).unwrap_or_default();
    sealed::replace(&backup.join(NOTE), FORMAT, 1, &body)
}

/// What a backup says of itself; `None` when it is none, or not whole.
///
/// # Errors
/// [`StoreError`] when it cannot be read or a newer version wrote it.
pub fn read_note(backup: &Path) -> Result<Option<Note>, StoreError> {
    let path = backup.join(NOTE);
    match sealed::read(&path)? {
        Sealed::Whole { format, .. } if format > FORMAT => {
            Err(StoreError::Format { what: path.display().to_string(), found: format, known: FORMAT })
        }
        Sealed::Whole { body, .. } => Ok(serde_json::from_slice(&body).ok()),
        Sealed::Missing | Sealed::Damaged { .. } => Ok(None),
    }
}

/// Makes a finished directory the one of this name; an empty one that is there gives way.
///
/// # Errors
/// [`StoreError`] when the system refuses; nothing has changed then.
pub fn publish(from: &Path, to: &Path) -> Result<(), StoreError> {
    files::sync_dir(from).map_err(|error| StoreError::io("sync", from, error))?;
    files::rename_durably(from, to).map_err(|error| StoreError::io("rename to", to, error))
}

struct Copier<'a> {
    root: &'a Path,
    to: &'a Path,
    /// A process writes to the directory.
    is_growing: bool,
    /// What was copied and has not changed since: length, change in seconds and nanoseconds.
    seen: HashMap<PathBuf, (u64, i64, i64)>,
}

impl Copier<'_> {
    /// Returns whether nothing went away meanwhile.
    fn pass(&mut self) -> Result<bool, StoreError> {
        for entry in names::walk(self.root)? {
            let name = entry.path.to_string_lossy();
            let is_left = LEFT_OUT.contains(&&*name) || name.starts_with("ballast");
            if entry.role == Role::File && entry.meta.is_file() && !name.contains('/') && !is_left {
                self.file(&entry.path)?;
            }
        }
        let mut is_whole = true;
        for room in ROOMS {
            access::make_room(&self.to.join(room))?;
            is_whole &= match room {
                "journal" | "dead" => self.segments(room)?,
                _ => self.small_files(room)?,
            };
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
        let closed = found.len().saturating_sub(if self.is_growing { GROWING } else { 0 });
        let mut is_whole = true;
        for (nth, (segment, name)) in found.iter().zip(&names).enumerate() {
            let is_closed = nth < closed;
            if is_closed && self.is_unchanged(name) {
                continue;
            }
            let is_copied = self.file(name)?;
            is_whole &= is_copied;
            if is_copied && !is_closed {
                journal::keep_sound_prefix(&self.to.join(name), segment.number)?;
            }
        }
        Ok(is_whole)
    }

    /// Backwards, so that what is about a file stands before it: `usage.mark` goes before `usage.log`.
    fn small_files(&mut self, room: &str) -> Result<bool, StoreError> {
        let entries = names::walk(self.root)?;
        let inside = entries.iter().rev().filter(|entry| {
            entry.path.parent() == Some(Path::new(room)) && entry.role == Role::File && entry.meta.is_file()
        });
        for entry in inside {
            self.file(&entry.path)?;
        }
        Ok(true)
    }

    /// Copies a file; false when it is gone.
    fn file(&mut self, name: &Path) -> Result<bool, StoreError> {
        let (from, to) = (self.root.join(name), self.to.join(name));
        if UNFINISHED.iter().any(|ending| name.to_string_lossy().ends_with(ending)) {
            return Ok(true);
        }
        let Some(source) = files::read(&from).map_err(|error| StoreError::io("read", &from, error))? else {
            files::remove(&to).map_err(|error| StoreError::io("delete", &to, error))?;
            return Ok(false);
        };
        let meta = source.metadata().map_err(|error| StoreError::io("read", &from, error))?;
        self.seen.insert(name.to_owned(), state(&meta));
        let target = files::create_temporary(&to).map_err(|error| StoreError::io("create", &to, error))?;
        fill(source, &target).map_err(|error| StoreError::io("copy to", &to, error))?;
        Ok(true)
    }

    fn is_unchanged(&self, name: &Path) -> bool {
        let meta = fs::symlink_metadata(self.root.join(name));
        meta.is_ok_and(|meta| self.seen.get(name) == Some(&state(&meta)))
    }

    fn sync(&self, room: &Path) -> Result<(), StoreError> {
        let dir = self.to.join(room);
        files::sync_dir(&dir).map_err(|error| StoreError::io("sync", &dir, error))
    }
}

fn state(meta: &fs::Metadata) -> (u64, i64, i64) {
    (meta.len(), meta.mtime(), meta.mtime_nsec())
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
        if bytes.iter().any(|byte| *byte != 0) {
            target.write_all_at(bytes, at)?;
        }
        at += read as u64;
    }
    target.set_len(at)?;
    target.sync_all()
}

#[cfg(test)]
mod tests;
