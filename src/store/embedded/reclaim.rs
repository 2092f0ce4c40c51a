//! Giving back, before a start on a full disk, what earlier processes left allocated and nobody needs: the unused
//! preallocation of segments that were not closed in good order, and the index that was put aside at a rebuild.
//!
//! Preallocated bytes are zeros up to the end of the file and stay so: a hole reads as zeros.
//!
//! Must not know: frames, what the index holds.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use rustix::fs::FallocateFlags;

use super::{files, journal};
use crate::store::StoreError;

/// Bytes read at a time in search of the end of what was written.
const WINDOW_BYTES: u64 = 64 * 1024;
/// Room is given back in whole blocks of this size.
const BLOCK_BYTES: u64 = 4096;

/// Gives back what it can; what fails is left for the start to stumble over, or not.
pub(super) fn reclaim(root: &Path) -> Result<(), StoreError> {
    let aside = root.join("index.aside");
    if fs::symlink_metadata(&aside).is_ok_and(|meta| meta.is_dir()) {
        // Kept only for a person to look at; the start needs the room more.
        let _ = fs::remove_dir_all(&aside);
    }
    for room in ["journal", "dead"] {
        for segment in journal::list(&root.join(room))? {
            let Ok(file) = files::write(&segment.path) else { continue };
            if let Err(error) = punch(&file) {
                let path = segment.path.display();
                tracing::warn!(%path, %error, "unused room of a segment was not given back");
            }
        }
    }
    Ok(())
}

/// Gives back the blocks behind the last byte that is set.
fn punch(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    let length = meta.len();
    let used = used_bytes(file, length)?.next_multiple_of(BLOCK_BYTES);
    if used < length && meta.blocks() * 512 > used {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(file, flags, used, length - used)?;
    }
    Ok(())
}

/// Where the zeros at the end of the file begin.
fn used_bytes(file: &File, length: u64) -> io::Result<u64> {
    let mut window = vec![0; WINDOW_BYTES as usize];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(WINDOW_BYTES);
        let part = window.get_mut(..(end - start) as usize).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_preallocation_is_given_back_and_no_byte_changes() {
        let temp = tempfile::tempdir().expect("temp");
        for room in ["journal", "dead"] {
            fs::create_dir(temp.path().join(room)).expect("makes");
        }
        fs::create_dir(temp.path().join("index.aside")).expect("makes");
        let path = temp.path().join("journal/0000000001.seg");
        let file = files::create(&path).expect("makes");
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20).expect("allocates");
        file.write_all_at(&[7; 5000], 100).expect("writes");
        let bytes = fs::read(&path).expect("reads");
        let blocks = || fs::metadata(&path).expect("there").blocks() * 512;
        assert!(blocks() >= 1 << 20, "the control");
        reclaim(temp.path()).expect("gives back");
        assert!(blocks() <= 16 * 1024, "{}", blocks());
        assert!(fs::read(&path).expect("reads") == bytes);
        assert!(!temp.path().join("index.aside").exists());
        reclaim(temp.path()).expect("again");
    }
}
