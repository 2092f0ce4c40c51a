//! The file of the usage record as a whole: replacing it in one step, and keeping the bytes that do not read.
//!
//! Must not know: when it is replaced, who adds to it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::format::{self, ProcessStand};
use super::mark::{self, Base, MarkFile};
use crate::clock::Timestamp;
use crate::store::embedded::files;
use crate::store::embedded::journal::Disk;
use crate::store::{StoreError, Usage};

/// Lines are written in parts of about this many bytes, so that a long record is not in memory twice.
const PART_BYTES: usize = 1024 * 1024;

/// Path of the record.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("usage.log")
}

/// What a record holds after a rewrite.
pub(super) struct Content<'a> {
    pub complete_from: Timestamp,
    pub usages: &'a [Usage],
    pub stand: ProcessStand,
}

/// Replaces the record: the old one or the new one is there at any moment, and the mark fits it. Returns the file and
/// its length.
pub(super) fn replace(
    dir: &Path,
    content: &Content<'_>,
    mark: Option<&mut MarkFile>,
    disk: &mut dyn Disk,
) -> Result<(File, u64), StoreError> {
    let path = path(dir);
    let temp = path.with_extension("log.tmp");
    let (file, base) = write(&temp, content, mark.is_some(), disk).map_err(|error| {
        // A full disk is fuller with it; the next rewrite would write over it.
        let _ = fs::remove_file(&temp);
        StoreError::io("write", &temp, error)
    })?;
    let mut mark = mark;
    if let Some(mark) = &mut mark {
        // Durable before the rename: after a crash the record fits the mark whichever of the two is there.
        mark.begin(base).map_err(|error| StoreError::io("write", &mark::path(dir), error))?;
    }
    files::rename_durably(&temp, &path).map_err(|error| StoreError::io("rename", &temp, error))?;
    if let Some(mark) = mark {
        mark.done(base);
    }
    Ok((file, base.bytes))
}

fn write(temp: &Path, content: &Content<'_>, marked: bool, disk: &mut dyn Disk) -> io::Result<(File, Base)> {
    let file = files::create_temporary(temp)?;
    let mut base = Base::default();
    let mut put = |part: &[u8]| {
        disk.write_at(&file, part, base.bytes)?;
        base = Base { bytes: base.bytes + part.len() as u64, sum: crc32c::crc32c_append(base.sum, part) };
        io::Result::Ok(())
    };
    let mut part = Vec::new();
    format::put_head(&mut part, content.complete_from, marked)?;
    for usage in content.usages {
        // Each counts as the first of its write: none of them may be taken for a torn end.
        format::put_usage(&mut part, usage, true)?;
        if part.len() >= PART_BYTES {
            put(&part)?;
            part.clear();
        }
    }
    format::put_mark(&mut part, content.stand)?;
    put(&part)?;
    disk.sync(&file)?;
    Ok((file, base))
}

/// Gives a name in the directory that is no plain file, and can therefore not be the record, another name.
pub(super) fn move_aside(dir: &Path, foreign: &Path) -> Result<PathBuf, StoreError> {
    let mut number = 1_u64;
    loop {
        let path = dir.join(format!("usage.foreign-{number}"));
        if fs::symlink_metadata(&path).is_err() {
            fs::rename(foreign, &path).map_err(|error| StoreError::io("rename", foreign, error))?;
            return sync_dir(dir).map(|()| path);
        }
        number += 1;
    }
}

/// Keeps bytes that do not read under a name of their own, durably.
pub(super) fn set_aside(dir: &Path, raw: &[u8]) -> Result<PathBuf, StoreError> {
    let mut number = 1_u64;
    loop {
        let path = dir.join(format!("usage.damaged-{number}"));
        match files::create(&path).and_then(|mut file| file.write_all(raw).and_then(|()| file.sync_all())) {
            Ok(()) => return sync_dir(dir).map(|()| path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(StoreError::io("write", &path, error)),
        }
    }
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    files::sync_dir(dir).map_err(|error| StoreError::io("sync", dir, error))
}
