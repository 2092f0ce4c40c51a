//! The mark of a data directory in which a restore has not finished: the file `restoring`.
//!
//! `restoring` is a sealed file (see `sealed`) of format 1 and version 1 with `{"uid":U,"gid":G,"mode":M}`: whose the
//! directory was when the restore began, and its mode. It is written before anything else and deleted last. While it is
//! there, whatever it holds, nothing but a restore takes the directory: what lies beside it may be half of it.
//!
//! Must not know: how a directory is restored.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::access::{self, FileOwner};
use super::files;
use super::sealed::{self, Sealed};
use crate::store::{DirectoryError, StoreError};

/// The name in the data directory.
pub(super) const NAME: &str = "restoring";
const FORMAT: u32 = 1;
const VERSION: u64 = 1;

/// Owner and mode of the directory before the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FormerAccess {
    uid: u32,
    gid: u32,
    /// The permission bits of its mode.
    pub(super) mode: u32,
}

/// What a directory says of a restore in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RestoreState {
    /// None has begun, or it has finished.
    Nothing,
    /// A restore was cut short: how the directory was before.
    CutShort(FormerAccess),
    /// There is a mark, and nobody knows whose: why.
    Unknown(String),
}

impl FormerAccess {
    /// Owner and mode as a directory has them now.
    pub(super) fn of(meta: &Metadata) -> Self {
        Self { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 }
    }

    /// To whom the directory is to be given back.
    pub(super) const fn owner(self) -> FileOwner {
        FileOwner { uid: self.uid, gid: self.gid }
    }
}

/// Whether the directory may be used.
///
/// # Errors
/// [`DirectoryError::Unusable`] when a restore was cut short in it, others when the system does not say.
pub(super) fn refuse(root: &Path) -> Result<(), StoreError> {
    let path = root.join(NAME);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("look at", &path, error)),
        Ok(_) => {
            let reason = format!(
                "{} says that a restore was cut short, so that not all may be there; repeat `tidegate restore`, which begins \
                 anew, or delete everything in the directory",
                path.display()
            );
            Err(StoreError::Directory(DirectoryError::Unusable { reason }))
        }
    }
}

/// Looks for the mark in `root`, which is as `dir` says.
///
/// # Errors
/// [`StoreError`] when the system does not let it be read.
pub(super) fn find(root: &Path, dir: &Metadata) -> Result<RestoreState, StoreError> {
    let path = root.join(NAME);
    let body = match sealed::read(&path)? {
        Sealed::Missing => return Ok(RestoreState::Nothing),
        Sealed::Damaged { reason } => return Ok(RestoreState::Unknown(reason)),
        Sealed::Whole { format: FORMAT, body, .. } => body,
        Sealed::Whole { format, .. } => {
            return Ok(RestoreState::Unknown(format!("it is of format {format}")));
        }
    };
    let Ok(before) = serde_json::from_slice::<FormerAccess>(&body) else {
        return Ok(RestoreState::Unknown("it says nothing".to_owned()));
    };
    let meta = fs::symlink_metadata(&path).map_err(|error| StoreError::io("look at", &path, error))?;
    Ok(match meta.uid() {
        uid if uid == access::user() => RestoreState::CutShort(before),
        // A service manager has given the directory with all in it to another user since.
        uid if uid == dir.uid() => {
            RestoreState::CutShort(FormerAccess { mode: before.mode, ..FormerAccess::of(dir) })
        }
        uid => RestoreState::Unknown(format!("it belongs to user {uid}")),
    })
}

/// Writes the mark, durably, where there is none.
///
/// # Errors
/// [`StoreError`] when the system refuses.
pub(super) fn write(root: &Path, before: FormerAccess) -> Result<(), StoreError> {
    // Numbers always have a JSON form.
    let body = serde_json::to_vec(&before).unwrap_or_default();
    sealed::replace(&root.join(NAME), FORMAT, VERSION, &body)
}

/// Takes the mark away, durably: the directory is complete, or nothing is left in it.
///
/// # Errors
/// [`StoreError`] when the system refuses.
pub(super) fn remove(root: &Path) -> Result<(), StoreError> {
    let path = root.join(NAME);
    let temporary = sealed::beside(&path, ".tmp");
    let removed = files::remove(&temporary).and_then(|()| files::remove(&path));
    removed.map_err(|error| StoreError::io("delete", &path, error))?;
    files::sync_dir(root).map_err(|error| StoreError::io("sync", root, error))
}
