//! Raw bytes of a damaged block, kept for a person before its segment goes.
//!
//! Must not know: why the block does not decode.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};

use crate::store::embedded::directory::DataDir;
use crate::store::embedded::files;
use crate::store::embedded::journal::{self, FRAME_HEADER_BYTES, Position};

/// The longest payload of a frame; a damaged length may claim more.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Copies what stands at `at` into the quarantine, once. Best effort: the bytes are still in the segment.
pub(super) fn keep(dir: &DataDir, at: Position) {
    if let Err(error) = copy(dir, at) {
        tracing::warn!(%error, segment = at.segment, offset = at.offset, "a damaged block could not be set aside");
    }
}

fn copy(dir: &DataDir, at: Position) -> io::Result<()> {
    let room = dir.journal().join("quarantine");
    DirBuilder::new().recursive(true).mode(0o700).create(&room)?;
    let copy = room.join(format!("{:010}-{}.bin", at.segment, at.offset));
    let path = dir.journal().join(journal::segment_name(at.segment, false));
    let Some(file) = files::read(&path)? else { return Ok(()) };
    let mut header = [0; FRAME_HEADER_BYTES];
    file.read_exact_at(&mut header, at.offset.into())?;
    // The length that the header claims, which may be damaged itself.
    let claimed = header.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let length = usize::try_from(claimed).unwrap_or(MAX_BYTES).min(MAX_BYTES) + FRAME_HEADER_BYTES;
    let mut bytes = vec![0; length];
    let mut read = 0;
    while let Some(rest) = bytes.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, u64::from(at.offset) + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    match files::create(&copy) {
        Ok(file) => file.write_all_at(&bytes, 0),
        // Kept before, or the name is taken by something else, which is left alone.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}
