//! The heads of the segments of a directory: a segment is what its head says, not what its name says.
//!
//! Must not know: who renames or passes over what.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use super::head::{self, FileStart, HEAD_BYTES, HeadFields};
use super::segment::{self, SegmentFile};
use crate::store::StoreError;
use crate::store::embedded::files;
use crate::store::embedded::keys::KeyId;

/// What the first 64 bytes of a segment's file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadState {
    /// At least one copy of the head is sound.
    Sound {
        /// The segment's number, whatever the file is named.
        number: u32,
        /// The salt of the directory that it belongs to.
        salt: u64,
        /// By which its records are encrypted, if they are.
        key: Option<KeyId>,
        /// One of the two copies is not sound.
        damaged: bool,
    },
    /// Neither copy of the head is sound: the segment's number and salt are unknown.
    Lost,
}

/// A segment's file with what its head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    /// The file as it is named.
    pub file: SegmentFile,
    /// What its first bytes say of it.
    pub head: HeadState,
}

/// Something under a segment's name that is no plain file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stray {
    /// Its name in the directory.
    pub name: String,
    /// The number that the name has.
    pub number: u32,
    /// What it is instead of a file, for people.
    pub what: &'static str,
}

/// Reads the heads of all segments of `dir`, in the order of their names. A directory that does not exist has none.
///
/// # Errors
/// [`StoreError::Io`] when the system does not let a head be read: nothing is known of the segment then;
/// [`StoreError::Format`] when a newer version wrote one.
pub(crate) fn heads(dir: &Path) -> Result<Vec<SegmentHead>, StoreError> {
    segment::list(dir)?.into_iter().filter_map(|file| read(file).transpose()).collect()
}

/// What stands under a segment's name in `dir` without being a plain file. None of it is opened.
///
/// # Errors
/// [`StoreError::Io`] when the directory cannot be read.
pub(crate) fn strays(dir: &Path) -> Result<Vec<Stray>, StoreError> {
    let failed = |error| StoreError::io("list", dir, error);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some((number, _)) = segment::parse_name(&name).filter(|_| !kind.is_file()) else { continue };
        let what = if kind.is_symlink() {
            "a link"
        } else if kind.is_dir() {
            "a directory"
        } else {
            "a special file"
        };
        found.push(Stray { name, number, what });
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// `None` when the name has become something else meanwhile.
fn read(file: SegmentFile) -> Result<Option<SegmentHead>, StoreError> {
    let failed = |error: io::Error| StoreError::io("read", &file.path, error);
    let opened = match files::read(&file.path) {
        Ok(Some(opened)) => opened,
        // Swept since it was listed.
        Ok(None) => return Ok(None),
        Err(error) if files::is_foreign(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    opened.take(HEAD_BYTES as u64).read_to_end(&mut bytes).map_err(failed)?;
    let head = match HeadFields::read(&bytes) {
        FileStart::Sound { head, damaged } => HeadState::Sound {
            number: head.segment,
            salt: head.salt,
            key: head.key,
            // A file of one copy alone was cut, though that copy is sound.
            damaged: damaged || bytes.len() < HEAD_BYTES,
        },
        FileStart::Nothing => HeadState::Lost,
        FileStart::Newer(version) => {
            return Err(head::newer(file.path.display().to_string(), version.into()));
        }
    };
    Ok(Some(SegmentHead { file, head }))
}
