//! `tidegate backup`: a copy of a data directory, running or at rest.
//!
//! Must not know: how a directory is copied, flags.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::app::{AppError, AppErrorKind, descriptors};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::StoreError;
use crate::store::embedded::backup::{self, Copied, Note};
use crate::store::embedded::verify;
use crate::telemetry::defect;

/// A finished backup: where it is, of what, and what the check of it counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BackedUp {
    /// Path of the backup, as it was given.
    pub backup: String,
    /// The directory of which it is.
    pub data_dir: String,
    /// A daemon was using the directory: it may have acknowledged more since.
    pub was_running: bool,
    /// When it was begun, Unix milliseconds.
    pub made_at_ms: u64,
    /// Counts from the check of the finished copy.
    #[serde(flatten)]
    pub contents: Contents,
}

/// What a checked copy of a data directory holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Contents {
    /// Number of segments of the journal.
    pub segments: u64,
    /// Bytes of these segments, without the index.
    pub bytes: u64,
    /// Events in them, with those that have ended.
    pub events: u64,
    /// Number of dead letters that are kept.
    pub dead_letters: u64,
    /// Documents, such as the policy book.
    pub documents: u64,
    /// The findings of the check, for eyes.
    #[serde(skip)]
    pub report: String,
}

/// A backup under another name until it is finished; it goes when this is dropped before.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    /// Makes it; nothing that is there is touched.
    fn of(path: &Path) -> Result<Self, AppError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        backup::begin(&partial)?;
        // From here on it is ours to delete.
        Ok(Self(Some(partial)))
    }

    fn path(&self) -> &Path {
        defect!(unless self.0.is_some(), "a backup that is asked for its path after its end");
        // `None` only after `finish`, which takes the value.
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn finish(mut self, path: &Path) -> Result<(), StoreError> {
        let published = backup::publish(self.path(), path);
        if published.is_ok() {
            // Published: the drop at the end of this function must not delete it.
            self.0 = None;
        } else if !self.path().exists() {
            // It has its name, which may not outlast a power cut: it is deleted under that name.
            self.0 = Some(path.to_owned());
        }
        published
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_dir_all(path)
        {
            tracing::warn!(path = %path.display(), %error, "the unfinished backup could not be deleted");
        }
    }
}

/// Copies the data directory to `to` and checks the copy. A daemon may be running on it, or start meanwhile.
///
/// # Errors
/// [`AppErrorKind::Damaged`] when the copy does not add up; other kinds when `to` is there or the system refuses.
/// Nothing is left of the copy then.
pub(crate) fn back_up(config: &Config, to: &Path) -> Result<BackedUp, AppError> {
    descriptors::raise();
    let root = &config.store.data_dir;
    check_place(to, root)?;
    let made_at_ms = Clock::system().wall().as_millis();
    let (contents, was_running) = write(root, to, made_at_ms).map_err(|error| with_way_out(error, to))?;
    let (backup, data_dir) = (to.display().to_string(), root.display().to_string());
    Ok(BackedUp { backup, data_dir, was_running, made_at_ms, contents })
}

fn write(root: &Path, to: &Path, made_at_ms: u64) -> Result<(Contents, bool), AppError> {
    let unfinished = Unfinished::of(to)?;
    let Copied { report, was_running } = backup::copy(root, &backup::data_of(unfinished.path()))?;
    // Before the copy gets its name: a backup that is there is known to be sound.
    let contents = sound(&report, "the copy")?;
    backup::note(unfinished.path(), &Note { was_running, made_at_ms })?;
    unfinished.finish(to)?;
    Ok((contents, was_running))
}

/// A backup gets a name of its own, outside the directory of which it is.
fn check_place(to: &Path, root: &Path) -> Result<(), AppError> {
    let place = to.display();
    match to.symlink_metadata() {
        Ok(_) => {
            let detail =
                format!("{place} is there; a backup gets a directory of its own: give it another name");
            return Err(AppError::other(detail));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(AppError::from(error).about(&format!("cannot look at {place}"))),
    }
    if to.file_name().is_none() {
        return Err(AppError::other(format!("{place} names no new directory; give the backup a name")));
    }
    let directory = backup::directory_for(to).map_err(|error| {
        AppError::from(error)
            .with("the directory in which the backup is to be has to be there: make it first")
    })?;
    // A data directory that does not open says so itself.
    if std::fs::canonicalize(root).is_ok_and(|root| directory.starts_with(root)) {
        let detail = format!("{place} lies in the data directory itself; give the backup a place outside");
        return Err(AppError::other(detail));
    }
    Ok(())
}

fn with_way_out(error: AppError, to: &Path) -> AppError {
    let what = match error.kind {
        AppErrorKind::Store | AppErrorKind::Permission => "see to what it names, or give another place",
        _ => return error,
    };
    error.with(&format!("nothing is left of the backup {}: {what}", to.display()))
}

/// What a copy holds that adds up.
///
/// # Errors
/// [`AppErrorKind::Damaged`] when it does not.
pub(super) fn sound(report: &verify::VerifyReport, what: &str) -> Result<Contents, AppError> {
    if !report.is_sound() {
        let detail = format!(
            "{report}\n{what} does not add up; `tidegate store verify` says more of a directory at rest. Open doubts are \
             acknowledged first"
        );
        return Err(AppError { kind: AppErrorKind::Damaged, detail });
    }
    Ok(Contents {
        segments: report.journal.segments,
        bytes: report.journal.bytes,
        events: report.journal.entries,
        dead_letters: report.dead.entries,
        documents: report.documents,
        report: report.to_string(),
    })
}
