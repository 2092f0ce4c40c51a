//! Looks at a data directory at rest, for the command line.

use crate::app::AppError;
use crate::app::build::embedded_options;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::directory::DataDir;
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
    let now = Clock::system().now();
    let report = EmbeddedStore::rebuild(&config.store.data_dir, &embedded_options(config), now)?;
    let sound = report.verdict.damaged == 0 && report.verdict.is_sound();
    Ok(Findings { text: report.to_string(), sound })
}
