//! The marker of an index that is being made anew, `index.rebuilding`, an empty file in the data directory; and where
//! the index before it goes.
//!
//! What a rebuild finds missing is compared with the account, which goes on without it only when the start is through.
//! Until then the new index must not be taken for one that knows better than the account: a start that is cut short
//! would leave it, and the next one would find nothing missing. So the marker is durable before the first row is
//! written, and goes once the account has gone on; while it is there the index is made anew.
//!
//! Must not know: how the index is made.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::StoreError;
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::files;

/// The name in the data directory.
pub(in crate::store::embedded) const NAME: &str = "index.rebuilding";

/// Marks the index as unfinished, durably.
///
/// # Errors
/// [`StoreError`] when the system refuses: nothing may be written into the index then.
pub(super) fn begin(root: &Path) -> Result<(), StoreError> {
    let path = root.join(NAME);
    let made = match files::create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Durable before the first row of the new index.
        made => made.and_then(|file| file.sync_all()),
    };
    made.and_then(|()| files::sync_dir(root)).map_err(|error| StoreError::io("create", &path, error))
}

/// Whether the index is unfinished.
///
/// # Errors
/// [`StoreError`] when the system does not say.
pub(in crate::store::embedded) fn is_unfinished(root: &Path) -> Result<bool, StoreError> {
    let path = root.join(NAME);
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("read", &path, error)),
    }
}

/// The account has gone on: the index is as good as any from now on.
///
/// # Errors
/// [`StoreError`] when the system refuses.
pub(super) fn end(root: &Path) -> Result<(), StoreError> {
    let path = root.join(NAME);
    files::remove(&path).map_err(|error| StoreError::io("delete", &path, error))
}

/// Puts the index out of the way; the one that was put there before goes.
pub(super) fn set_aside(dir: &DataDir) -> Result<(), StoreError> {
    let (index, aside) = (dir.index(), aside(dir));
    if !is_there(&index) {
        return Ok(());
    }
    discard(&aside)?;
    fs::rename(&index, &aside).map_err(|error| StoreError::io("set aside", &index, error))
}

/// Where an index that is not used any more is put.
pub(super) fn aside(dir: &DataDir) -> PathBuf {
    dir.root().join("index.aside")
}

/// Whether anything has this path, a broken link included.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Removes what has this path, if anything.
pub(super) fn discard(path: &Path) -> Result<(), StoreError> {
    if !is_there(path) {
        return Ok(());
    }
    let removed = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    removed.map_err(|error| StoreError::io("remove", path, error))
}
