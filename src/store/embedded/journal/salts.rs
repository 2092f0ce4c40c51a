//! The salt as the heads of a directory's segments have it.
//!
//! Must not know: what a salt is for.

use std::io::{self, Read};
use std::path::Path;

use super::head::{HEAD_BYTES, HeadFields};
use super::segment;
use crate::store::StoreError;
use crate::store::embedded::files;

/// The salts that the heads of a directory name, one for each readable head.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Salts {
    /// Segment files, whatever their heads are like.
    pub files: usize,
    /// The salt of each file with a sound copy of its head.
    pub salts: Vec<u64>,
}

/// Reads the head of every segment in `dir`. One whose head is damaged, or that is no plain file, says nothing.
///
/// # Errors
/// [`StoreError`] when the system does not let one be read: nothing is known about it then.
pub(crate) fn salts(dir: &Path) -> Result<Salts, StoreError> {
    let mut found = Salts::default();
    for file in segment::list(dir)? {
        let failed = |error| StoreError::io("read", &file.path, error);
        let opened = match files::read(&file.path) {
            Ok(Some(opened)) => opened,
            Err(error) if !files::is_foreign(&error) => return Err(failed(error)),
            _ => continue,
        };
        // Counted even if its head is damaged: a directory with segments has had a salt.
        found.files += 1;
        if let Some(head) = HeadFields::of_any(&first(opened).map_err(failed)?) {
            found.salts.push(head.salt);
        }
    }
    Ok(found)
}

fn first(file: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
