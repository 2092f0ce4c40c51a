//! The sound beginning of a segment that was copied while it was written to: what a copy has behind it may have holes.
//!
//! Must not know: what frames hold, who copies.

use std::fs::File;
use std::io;
use std::path::Path;

use super::HEAD_BYTES;
use super::head::{FileStart, HeadFields};
use super::scan::MAX_FILE_BYTES;
use super::walk::{Walk, WalkStep};
use super::window::FileWindow;
use crate::store::StoreError;
use crate::store::embedded::files;

/// Clears in a copy of segment `number` what follows its last frame before the first gap. Its length stays: the rest
/// reads as preallocated.
///
/// # Errors
/// [`StoreError`] when it cannot be read or written.
pub(crate) fn keep_sound_prefix(path: &Path, number: u32) -> Result<(), StoreError> {
    let failed = |error: io::Error| StoreError::io("cut", path, error);
    let file = files::write(path).map_err(failed)?;
    let Some(end) = sound_prefix(&file, number).map_err(failed)? else { return Ok(()) };
    let length = file.metadata().map_err(failed)?.len();
    // Shorter and longer again: what was behind `end` reads as zeros, which is preallocation.
    file.set_len(end).and_then(|()| file.set_len(length)).and_then(|()| file.sync_all()).map_err(failed)
}

/// Where it ends; `None` when the segment has no head.
fn sound_prefix(file: &File, number: u32) -> io::Result<Option<u64>> {
    let mut window = FileWindow::new(file, MAX_FILE_BYTES)?;
    let salt = match HeadFields::decode(window.bytes(0, HEAD_BYTES)?, number) {
        FileStart::Sound { head, .. } => head.salt,
        FileStart::Newer(_) | FileStart::Nothing => return Ok(None),
    };
    let mut walk = Walk::new(file, HEAD_BYTES, salt, number)?;
    let mut end = HEAD_BYTES as u64;
    // A copy of a file that is being written may miss a page in its middle: only what lies before a gap is certain.
    while let Some(WalkStep::Frame { offset, header, .. }) = walk.next()? {
        end = u64::from(offset) + header.frame_bytes() as u64;
    }
    Ok(Some(end))
}
