//! `tidegate restore`: a data directory from a backup, and who may go back to which.
//!
//! Must not know: how a directory is copied or put in place, flags.

use std::path::Path;

use serde::Serialize;

use crate::app::backup::{Contents, sound};
use crate::app::{AppError, AppErrorKind, descriptors};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::StoreError;
use crate::store::embedded::backup::{self, Note};
use crate::store::embedded::restore::{Restore, RestoredDirectory as InPlace};
use crate::store::embedded::rollback;

/// A data directory that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Restored {
    /// Path of the directory, as it is configured.
    pub data_dir: String,
    /// Path of the backup, as it was given.
    pub backup: String,
    /// When the backup was made, Unix milliseconds.
    pub made_at_ms: u64,
    /// Events may have been acknowledged after the backup; they are lost.
    pub may_lack: bool,
    /// The epoch of the directory from now on.
    pub epoch: u64,
    /// The user to whom it belongs.
    pub owner_uid: u32,
    /// Counts from the check of the restored directory.
    #[serde(flatten)]
    pub contents: Contents,
}

/// Makes the data directory, which must not be there, be empty, or be left by a restore that was cut short, from a backup,
/// under a new epoch.
///
/// # Errors
/// [`AppErrorKind::Damaged`] when the backup does not add up, or may lack what was acknowledged since and `accepts_rollback`
/// is not set; other kinds when something is in the directory or the system refuses. The directory is as it was found then.
pub(crate) fn restore(config: &Config, from: &Path, accepts_rollback: bool) -> Result<Restored, AppError> {
    descriptors::raise();
    let root = &config.store.data_dir;
    let Some(note) = backup::read_note(from)? else {
        let detail =
            format!("{} is no backup of `tidegate backup`, or its note does not read", from.display());
        return Err(AppError { kind: AppErrorKind::Damaged, detail });
    };
    let data = backup::data_of(from);
    check_place(root, from)?;
    let epoch_file = config.store.embedded.epoch_file.as_deref();
    let doubt = doubt(&data, epoch_file, &note)?;
    // Nothing irreversible on doubt: to go back may lose what was acknowledged since.
    if let Some(reason) = doubt.as_ref().filter(|_| !accepts_rollback) {
        let detail = format!(
            "{reason}: what was acknowledged since would be lost, and what has ended since would be sent again; \
             --accept-rollback goes back all the same"
        );
        return Err(AppError { kind: AppErrorKind::Damaged, detail });
    }
    let (contents, InPlace { epoch, owner }) =
        put_in_place(root, &data, epoch_file).map_err(|error| with_way_out(error, root))?;
    Ok(Restored {
        data_dir: root.display().to_string(),
        backup: from.display().to_string(),
        made_at_ms: note.made_at_ms,
        may_lack: doubt.is_some(),
        epoch,
        owner_uid: owner.uid,
        contents,
    })
}

fn put_in_place(
    root: &Path,
    data: &Path,
    epoch_file: Option<&Path>,
) -> Result<(Contents, InPlace), AppError> {
    let restore = Restore::begin(root)?;
    // Before the copy is put in place: a directory that has its name is known to be sound.
    let contents = sound(&backup::copy_back(data, &restore.tree())?, "the backup")?;
    let raised = rollback::prepare(&restore.tree(), epoch_file, Clock::system().now())?;
    Ok((contents, restore.finish(raised)?))
}

/// The directory must not lie in the backup, nor be it.
fn check_place(root: &Path, backup: &Path) -> Result<(), AppError> {
    let above = std::path::absolute(root)?;
    // The directory may not be there yet: then the nearest one above it counts.
    let inside = above.ancestors().find_map(|above| std::fs::canonicalize(above).ok());
    let (Some(inside), Ok(backup)) = (inside, std::fs::canonicalize(backup)) else { return Ok(()) };
    if !inside.starts_with(&backup) {
        return Ok(());
    }
    let (root, backup) = (root.display(), backup.display());
    let detail = format!("the data directory {root} lies in the backup {backup}; restore to a place outside");
    Err(AppError::other(detail))
}

fn with_way_out(error: AppError, root: &Path) -> AppError {
    let what = match error.kind {
        AppErrorKind::Store | AppErrorKind::Permission => "see to what it names and repeat the restore",
        AppErrorKind::InUse => "stop what uses it and repeat the restore",
        _ => return error,
    };
    error.with(&format!("{} is not restored: {what}", root.display()))
}

/// Why the backup may lack what was acknowledged; `None` when it is known to have all of it.
fn doubt(data: &Path, epoch_file: Option<&Path>, note: &Note) -> Result<Option<String>, StoreError> {
    let Some(file) = epoch_file else {
        return Ok(Some(
            "without store.epoch_file nobody knows whether the backup is the newest state".to_owned(),
        ));
    };
    if let Some(reason) = rollback::check_copy(data, file)? {
        return Ok(Some(reason));
    }
    let running = "the backup was made while the daemon ran, which may have gone on";
    Ok(note.was_running.then(|| running.to_owned()))
}
