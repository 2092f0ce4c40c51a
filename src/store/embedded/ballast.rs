//! Room put aside for a full disk: files `ballast`, `ballast.1` to `ballast.23` of [`PIECE_BYTES`] each, given up one
//! by one when a write that must not fail finds no room, and put aside again when there is room. A file given up
//! frees blocks as well as an inode.
//!
//! What may use it: a start and a stop all of it; documents and the record of usages what they leave for the next
//! start; settlements and the index a little less. New events may not.
//!
//! Must not know: what the room is used for.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;

use super::files;
use crate::store::StoreError;

/// Bytes of one piece: the reserve is given up in steps of this size.
pub(super) const PIECE_BYTES: u64 = 1024 * 1024;
/// Pieces put aside where there is plenty of room.
pub(super) const PIECES: u64 = 24;
/// Pieces that only a start and a stop may take: whatever waits for room while the process runs goes on later, and a
/// start that finds none does not.
pub(super) const FOR_START: u64 = 12;
/// Pieces that settlements and the index leave: a pause or a purge works also when they have used up the rest.
pub(super) const FOR_DOCUMENTS: u64 = FOR_START + 2;
/// A piece is put aside only while this many times the whole ballast stays free.
const SHARE: u64 = 4;
/// Nor is one while fewer files than this can be made.
const FREE_FILES: u64 = 2 * PIECES;

fn piece(root: &Path, number: u64) -> PathBuf {
    if number == 0 { root.join("ballast") } else { root.join(format!("ballast.{number}")) }
}

fn is_whole(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file() && meta.blocks() * 512 >= PIECE_BYTES)
}

/// How many pieces are put aside.
pub(super) fn pieces(root: &Path) -> u64 {
    (0..PIECES).filter(|number| is_whole(&piece(root, *number))).count() as u64
}

/// Gives one piece up; false when there is none beside the first `kept` ones.
pub(super) fn release(root: &Path, kept: u64) -> bool {
    // The highest first: the lowest ones are kept for a start.
    let released = (kept..PIECES).rev().any(|number| {
        let path = piece(root, number);
        fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file()) && fs::remove_file(&path).is_ok()
    });
    if released {
        tracing::debug!(left = pieces(root), "the disk is full: a part of the reserve was given up");
    }
    released
}

/// Puts pieces aside while there is plenty of room beside `kept_free_bytes`; the lack of them is no failure.
pub(super) fn fill(root: &Path, kept_free_bytes: u64) {
    for number in 0..PIECES {
        let path = piece(root, number);
        let needed = kept_free_bytes.saturating_add((number + 1) * PIECE_BYTES * SHARE);
        if is_whole(&path) {
            continue;
        }
        if !has_room(root, needed) || !put_aside(&path) {
            return;
        }
    }
}

/// Puts up to `wanted` pieces aside from room that the store itself has just given back.
pub(super) fn refill(root: &Path, wanted: u64) {
    for number in 0..wanted.min(PIECES) {
        let path = piece(root, number);
        if !is_whole(&path) && !put_aside(&path) {
            return;
        }
    }
}

fn put_aside(path: &Path) -> bool {
    let Ok(file) = files::create_temporary(path) else { return false };
    // Allocated and not only long: a sparse file would free nothing.
    let done = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, PIECE_BYTES).is_ok();
    if !done {
        // Half a piece would be room taken from others for nothing.
        let _ = fs::remove_file(path);
    }
    done
}

fn has_room(root: &Path, needed_bytes: u64) -> bool {
    let Ok(stat) = rustix::fs::statvfs(root) else { return false };
    // File systems without a table of files say that there are none.
    let has_files = stat.f_files == 0 || stat.f_favail >= FREE_FILES;
    has_files && stat.f_bavail.saturating_mul(stat.f_frsize) >= needed_bytes
}

/// Does what must not fail for lack of room: again after each piece of ballast that it takes. It leaves the first
/// `kept` ones: none, [`FOR_START`] or [`FOR_DOCUMENTS`].
///
/// # Errors
/// Those of `work`; one for which [`StoreError::is_full`] holds only when nothing that it may take is left.
pub(super) fn with_room<T>(
    root: &Path,
    kept: u64,
    mut work: impl FnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    loop {
        match work() {
            Err(error) if error.is_full() && release(root, kept) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_room() -> StoreError {
        StoreError::io("write", Path::new("x"), rustix::io::Errno::NOSPC)
    }

    #[test]
    fn work_without_room_is_done_again_while_there_is_ballast() {
        let temp = tempfile::tempdir().expect("temp");
        refill(temp.path(), PIECES);
        assert_eq!(pieces(temp.path()), PIECES);
        let mut left = 2;
        let done = with_room(temp.path(), 0, || {
            left -= 1;
            if left >= 0 { Err(no_room()) } else { Ok(()) }
        });
        assert!(done.is_ok());
        assert_eq!(pieces(temp.path()), PIECES - 2, "a piece for each time that it found no room");
        let never = || Err::<(), _>(no_room());
        assert!(with_room(temp.path(), FOR_START, never).is_err_and(|error| error.is_full()));
        assert_eq!(pieces(temp.path()), FOR_START, "a start needs them");
        assert!(with_room(temp.path(), 0, never).is_err_and(|error| error.is_full()));
        assert_eq!(pieces(temp.path()), 0);
        refill(temp.path(), 3);
        let other = with_room(temp.path(), 0, || Err::<(), _>(StoreError::Closed));
        assert!(matches!(other, Err(StoreError::Closed)));
        assert_eq!(pieces(temp.path()), 3, "the control: other errors take nothing");
    }

    #[test]
    fn a_link_in_the_place_of_a_piece_is_neither_followed_nor_counted() {
        let temp = tempfile::tempdir().expect("temp");
        let target = temp.path().join("target");
        fs::write(&target, "kept").expect("writes");
        std::os::unix::fs::symlink(&target, temp.path().join("ballast.2")).expect("links");
        assert_eq!(pieces(temp.path()), 0);
        assert!(!release(temp.path(), 0));
        refill(temp.path(), PIECES);
        assert_eq!(pieces(temp.path()), PIECES);
        assert_eq!(fs::read_to_string(&target).expect("there"), "kept");
    }
}
