//! Looks at a data directory at rest, for the command line.

use crate::app::build::embedded_options;
use crate::app::{AppError, AppErrorKind, descriptors, keys};
use crate::clock::Clock;
use crate::config::Config;
use crate::policy;
use crate::store::embedded::EmbeddedStore;
use crate::store::embedded::directory::DataDir;
use crate::store::embedded::documents::book;
pub(crate) use crate::store::embedded::documents::book::BookSource;
use crate::store::embedded::{rollback, verify};

/// What a look at a data directory at rest found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The findings for eyes, in several lines.
    pub text: String,
    /// Whether everything that was looked at adds up.
    pub sound: bool,
}

/// Reads the whole data directory and says whether it adds up; changes nothing.
///
/// # Errors
/// [`AppError`] when it cannot be read or is in use.
pub(crate) fn verify_store(config: &Config) -> Result<Findings, AppError> {
    descriptors::raise();
    // Everything else can be checked without the keys.
    let unread = keys::use_keys(config).err();
    let keys = unread.is_none().then_some(&config.store.embedded.keys);
    let epoch_file = config.store.embedded.epoch_file.as_deref();
    let mut report = verify::verify_with(&config.store.data_dir, epoch_file, keys)?;
    report.notes.extend(unread.map(|error| format!("without keys: {error}")));
    Ok(Findings { text: report.to_string(), sound: report.is_sound() })
}

/// Makes the index anew from the journal.
///
/// # Errors
/// [`AppError`] when there is no such directory or it cannot be used, or when the keys cannot be read.
pub(crate) fn rebuild_store(config: &Config) -> Result<Findings, AppError> {
    // Before anything is made anew: what encrypted records say of redrives would be missing from the index.
    keys::use_keys(config)?;
    // Opening makes what is missing: a mistyped directory would come out empty and sound.
    drop(DataDir::hold(&config.store.data_dir)?);
    let now = Clock::system().now();
    let report = EmbeddedStore::rebuild(&config.store.data_dir, &embedded_options(config), now)?;
    let sound = report.verdict.damaged == 0 && report.verdict.is_sound();
    Ok(Findings { text: report.to_string(), sound })
}

/// Goes on with the data directory as it is though it may be an older copy: gives it an epoch above the highest one.
/// Returns that epoch.
///
/// # Errors
/// [`AppError`] when there is no such directory, it is in use, or the epoch cannot be written.
pub(crate) fn accept_rollback(config: &Config) -> Result<u64, AppError> {
    let root = &config.store.data_dir;
    drop(DataDir::hold_to_change(root)?);
    Ok(rollback::accept(root, config.store.embedded.epoch_file.as_deref(), Clock::system().now())?)
}

/// Makes another policy book the accepted one: what waits stays, under the policies of that book. It takes the place of
/// one that is missing, older than the newest that was seen, or damaged; the damaged one is kept beside it.
///
/// # Errors
/// [`AppErrorKind::Damaged`] when there is no such book or it cannot be understood; other kinds when the directory is
/// in use or the system refuses.
pub(crate) fn adopt_book(config: &Config, source: BookSource) -> Result<Findings, AppError> {
    let root = &config.store.data_dir;
    let _held = DataDir::hold_to_change(root)?;
    let damaged = |error: policy::PolicyError| AppError {
        kind: AppErrorKind::Damaged,
        detail: format!("{error}; --previous or --empty takes another book"),
    };
    let body = match source {
        BookSource::Empty => policy::empty_stored().map_err(damaged)?,
        BookSource::Present | BookSource::Previous => book::candidate(root, source)?,
    };
    let policies = policy::check_stored(&body).map_err(damaged)?;
    let version = book::adopt(root, &body, Clock::system().now())?.0;
    let text = format!("the policy book is accepted as version {version}, with {policies} policies");
    Ok(Findings { text, sound: true })
}
