//! Segment files: names, listing, creation, end of life.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::head::HeadFields;
use crate::store::StoreError;
use crate::store::embedded::files;

/// Highest segment number: what an event id can hold.
pub(crate) const MAX_SEGMENT: u32 = (1 << 24) - 1;

/// Size of a segment that is begun on a disk that is full, or that a larger one would fill.
const SMALL_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// What a larger segment leaves free: room for a small segment of the dead log, the index, the documents and the
/// ballast. At a start the ballast is given up first, and a journal that took its room would leave none for the rest.
const LEFT_FREE_BYTES: u64 = 32 * 1024 * 1024;

/// A segment's file as a listing of its directory shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    /// Its number, as its name says it.
    pub number: u32,
    /// Only its settlements count any more.
    pub settled: bool,
    /// Path of the file.
    pub path: PathBuf,
    /// Bytes that its file takes on the disk.
    pub disk_bytes: u64,
}

/// The segments of a directory in ascending order. A directory that does not exist has none.
///
/// # Errors
/// [`StoreError::Io`] when the directory cannot be read.
pub(crate) fn list(dir: &Path) -> Result<Vec<SegmentFile>, StoreError> {
    let entries = match files::list(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", dir, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("list", dir, error))?;
        let path = entry.path();
        // Links, FIFOs and directories are none, whatever their name: see `strays`.
        let is_plain = entry.file_type().map_err(|error| StoreError::io("list", dir, error))?.is_file();
        let named = path.file_name().and_then(|name| parse_name(name.to_str()?));
        if let Some((number, settled)) = named.filter(|_| is_plain) {
            let disk_bytes =
                entry.metadata().map_or(0, |meta| std::os::unix::fs::MetadataExt::blocks(&meta) * 512);
            found.push(SegmentFile { number, settled, path, disk_bytes });
        }
    }
    found.sort_unstable_by_key(|file| file.number);
    Ok(found)
}

/// Renames a segment whose entries are all settled but which settles entries of older, living segments.
///
/// # Errors
/// [`StoreError::Io`]; the segment is as before.
pub(crate) fn mark_settled(dir: &Path, number: u32) -> Result<(), StoreError> {
    let from = dir.join(name(number, false));
    fs::rename(&from, dir.join(name(number, true))).map_err(|error| StoreError::io("rename", &from, error))
}

/// Deletes a segment in either form. Not synced: one that comes back after a power cut is deleted again.
///
/// # Errors
/// [`StoreError::Io`]; one that is already gone is no error.
pub(crate) fn remove(dir: &Path, number: u32) -> Result<(), StoreError> {
    for settled in [false, true] {
        let path = dir.join(name(number, settled));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("delete", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The file name of a segment.
#[must_use]
pub(crate) fn name(number: u32, settled: bool) -> String {
    format!("{number:010}.{}", if settled { "settled" } else { "seg" })
}

/// The number of the segment that has this file name; `None` when it is no segment's.
#[must_use]
pub(crate) fn number(name: &str) -> Option<u32> {
    parse_name(name).map(|(number, _)| number)
}

pub(super) fn parse_name(name: &str) -> Option<(u32, bool)> {
    let (digits, ending) = name.split_once('.')?;
    let plain = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse().ok().filter(|number| plain && (1..=MAX_SEGMENT).contains(number))?;
    match ending {
        "seg" => Some((number, false)),
        "settled" => Some((number, true)),
        _ => None,
    }
}

/// Creates a segment that is ready for its first group: preallocated, headed, synced, its directory synced. Returns
/// it with its size: where there is no room for `size_bytes`, a small one. One that cannot be made leaves no file.
pub(super) fn create(
    dir: &Path,
    head: HeadFields,
    size_bytes: u64,
    disk: &mut dyn Disk,
) -> Result<(File, u64), StoreError> {
    let made = make(dir, head, size_bytes, disk);
    if made.as_ref().is_err_and(StoreError::is_refusal) {
        // Nothing was written into it that anybody was answered for, and its number is used again.
        let _ = fs::remove_file(dir.join(name(head.segment, false)));
    }
    made
}

fn make(
    dir: &Path,
    head: HeadFields,
    size_bytes: u64,
    disk: &mut dyn Disk,
) -> Result<(File, u64), StoreError> {
    let path = dir.join(name(head.segment, false));
    let failed = |operation| {
        let path = path.clone();
        move |error: io::Error| StoreError::io(operation, &path, error)
    };
    let file = files::create(&path).map_err(failed("create"))?;
    let size_bytes = fitting(dir, size_bytes);
    let size_bytes = match preallocate(&file, size_bytes).map_err(failed("preallocate")) {
        Err(error) if error.is_full() && size_bytes > SMALL_SEGMENT_BYTES => {
            // A failed preallocation may have taken part of the room.
            file.set_len(0).map_err(failed("preallocate"))?;
            preallocate(&file, SMALL_SEGMENT_BYTES).map_err(failed("preallocate"))?;
            SMALL_SEGMENT_BYTES
        }
        done => done.map(|()| size_bytes)?,
    };
    // Head and name are durable before the first group: without them a scan could neither find nor check its frames.
    disk.write_at(&file, &head.encode(), 0).map_err(failed("write"))?;
    disk.sync(&file).map_err(failed("sync"))?;
    sync_dir(dir)?;
    Ok((file, size_bytes))
}

/// `size_bytes`, or less where that would fill the disk.
fn fitting(dir: &Path, size_bytes: u64) -> u64 {
    // Where the free room is unknown, preallocating finds out whether there is enough.
    let free_bytes =
        rustix::fs::statvfs(dir).map_or(u64::MAX, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if size_bytes.saturating_add(LEFT_FREE_BYTES) > free_bytes {
        size_bytes.min(SMALL_SEGMENT_BYTES)
    } else {
        size_bytes
    }
}

fn preallocate(file: &File, size_bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size_bytes) {
        // Not every file system can; then the file grows as it is written.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        done => Ok(done?),
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    files::sync_dir(dir).map_err(|error| StoreError::io("sync directory", dir, error))
}
