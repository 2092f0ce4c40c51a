//! Looks at a data directory at rest, for the command line.

use crate::app::build::embedded_options;
use crate::app::{AppError, AppErrorKind};
use crate::clock::Clock;
use crate::config::Config;
use crate::policy;
use crate::store::directory::DataDir;
use crate::store::documents::book::{self, Source};
use crate::store::embedded::EmbeddedStore;
use crate::store::verify;

/// What a look at a data directory at rest found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// For eyes, several lines.
    pub text: String,
    /// Whether everything adds up.
    pub sound: bool,
}

/// Reads the whole data directory and says whether it adds up; changes nothing.
///
/// # Errors
/// [`AppError`] when it cannot be read or is in use.
pub fn verify_store(config: &Config) -> Result<Findings, AppError> {
    let report = verify::verify(&config.store.data_dir)?;
    Ok(Findings { text: report.to_string(), sound: report.is_sound() })
}

/// Makes the index anew from the journal.
///
/// # Errors
/// [`AppError`] when there is no such directory or it cannot be used.
pub fn rebuild_store(config: &Config) -> Result<Findings, AppError> {
    // Opening makes what is missing: a mistyped directory would come out empty and sound.
    drop(DataDir::hold(&config.store.data_dir)?);
    let report = EmbeddedStore::rebuild(&config.store.data_dir, &embedded_options(config))?;
    Ok(Findings { text: report.to_string(), sound: report.journal.damaged == 0 })
}

/// Makes another policy book the accepted one: what waits stays, under the policies of that book. It takes the place of
/// one that is missing, older than the newest that was seen, or damaged; the damaged one is kept beside it.
///
/// # Errors
/// [`AppErrorKind::Damaged`] when there is no such book or it cannot be understood; other kinds when the directory is in
/// use or the system refuses.
pub fn adopt_book(config: &Config, source: Source) -> Result<Findings, AppError> {
    let root = &config.store.data_dir;
    let _held = DataDir::hold(root)?;
    let damaged = |error: policy::PolicyError| AppError {
        kind: AppErrorKind::Damaged,
        detail: format!("{error}; --previous or --empty takes another book"),
    };
    let body = match source {
        Source::Empty => policy::empty_stored().map_err(damaged)?,
        Source::Present | Source::Previous => book::candidate(root, source)?,
    };
    let policies = policy::check_stored(&body).map_err(damaged)?;
    let version = book::adopt(root, &body, Clock::system().now())?.0;
    let text = format!("the policy book is accepted as version {version}, with {policies} policies");
    Ok(Findings { text, sound: true })
}
