//! `quarantine/`: raw bytes that no longer decode, and files that belong to nobody, kept for a person.
//!
//! Must not know: why they are set aside.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Makes the directory in `dir`, if there is none, and returns where it is.
pub(super) fn room(dir: &Path) -> io::Result<PathBuf> {
    let room = dir.join("quarantine");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&room)?;
    Ok(room)
}

/// Copies `bytes` bytes from `offset` on, once; what cannot be copied completely leaves nothing.
pub(super) fn copy(dir: &Path, segment: u32, mut file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    let path = room(dir)?.join(format!("{segment:010}-{offset}.bin"));
    // Kept by an earlier start: each scan meets the same damage again.
    if path.exists() {
        return Ok(());
    }
    let mut kept = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let copied = file
        .seek(SeekFrom::Start(offset))
        .and_then(|_| io::copy(&mut file.take(bytes), &mut kept))
        .inspect_err(|_| drop(fs::remove_file(&path)));
    copied.map(drop)
}
