//! Backups of a data directory, running or at rest, and the way back from one.
//!
//! Must not know: how a directory is copied, flags.

use std::path::{Path, PathBuf};

use crate::app::{AppError, AppErrorKind, Findings, descriptors};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::backup::{self, Copied, Note};
use crate::store::{StoreError, rollback, verify};

/// A directory under another name until it is finished; it goes when this is dropped before.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// # Errors
    /// [`AppError`] when something has the name already.
    fn of(path: &Path) -> Result<Self, AppError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        if partial.symlink_metadata().is_ok() {
            let place = partial.display();
            let detail = format!("{place} is there: another run is making it, or was killed; delete it then");
            return Err(AppError::other(detail));
        }
        Ok(Self(Some(partial)))
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn finish(mut self, path: &Path) -> Result<(), StoreError> {
        backup::publish(self.path(), path)?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // What cannot be deleted keeps its name, which says what it is.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// Copies the data directory to `to` and checks the copy. A daemon may be running on it.
///
/// # Errors
/// [`AppErrorKind::Damaged`] when the copy does not add up; other kinds when `to` is there or the system refuses. Nothing is
/// left of the copy then.
pub fn back_up(config: &Config, to: &Path) -> Result<Findings, AppError> {
    descriptors::raise();
    if to.symlink_metadata().is_ok() {
        return Err(AppError::other(format!(
            "{} is there; a backup gets a directory of its own",
            to.display()
        )));
    }
    let unfinished = Unfinished::of(to)?;
    let clock = Clock::system();
    let made_at_ms = clock.wall().as_millis();
    std::fs::create_dir(unfinished.path()).map_err(|error| failed("create", unfinished.path(), &error))?;
    let data = backup::data_of(unfinished.path());
    let Copied { report, was_running } = backup::copy(&config.store.data_dir, &data)?;
    check(&report, "the copy")?;
    backup::note(unfinished.path(), &Note { was_running, made_at_ms })?;
    unfinished.finish(to)?;
    let of = if was_running { "of a running daemon" } else { "of a directory at rest" };
    Ok(Findings { text: format!("{report}\nbacked up to {}, {of}", to.display()), sound: true })
}

/// Makes the data directory, which must not be there or empty, from a backup, under a new epoch.
///
/// # Errors
/// [`AppErrorKind::Damaged`] when the backup does not add up, or may lack what was acknowledged since and `accepts_rollback`
/// is not set; other kinds when the directory is there or the system refuses. Nothing is left of the directory then.
pub fn restore(config: &Config, from: &Path, accepts_rollback: bool) -> Result<Findings, AppError> {
    descriptors::raise();
    let root = &config.store.data_dir;
    match std::fs::read_dir(root).map(|mut names| names.next().is_none()) {
        Ok(true) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Ok(false) => {
            let detail = format!("{} is not empty; move away what is there first", root.display());
            return Err(AppError::other(detail));
        }
        Err(error) => return Err(failed("read", root, &error)),
    }
    let Some(note) = backup::read_note(from)? else {
        let detail = format!("{} is no backup, or its note does not read", from.display());
        return Err(AppError { kind: AppErrorKind::Damaged, detail });
    };
    let data = backup::data_of(from);
    let epoch_file = config.store.epoch_file.as_deref();
    if let Some(reason) = doubt(&data, epoch_file, &note)?.filter(|_| !accepts_rollback) {
        let detail = format!(
            "{reason}: what was acknowledged since would be lost, and what has ended since would be sent again; \
             --accept-rollback goes back all the same"
        );
        return Err(AppError { kind: AppErrorKind::Damaged, detail });
    }
    let unfinished = Unfinished::of(root)?;
    let Copied { report, .. } = backup::copy(&data, unfinished.path())?;
    check(&report, "the backup")?;
    let epoch = rollback::accept(unfinished.path(), epoch_file, Clock::system().now())?;
    unfinished.finish(root)?;
    Ok(Findings { text: format!("{report}\nrestored to {}, epoch {epoch}", root.display()), sound: true })
}

fn failed(operation: &str, path: &Path, error: &std::io::Error) -> AppError {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => AppErrorKind::Permission,
        _ => AppErrorKind::Other,
    };
    AppError { kind, detail: format!("cannot {operation} {}: {error}", path.display()) }
}

fn check(report: &verify::VerifyReport, what: &str) -> Result<(), AppError> {
    if report.is_sound() {
        return Ok(());
    }
    let detail =
        format!("{report}\n{what} does not add up; `tidegate store verify` says more of a directory at rest");
    Err(AppError { kind: AppErrorKind::Damaged, detail })
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
