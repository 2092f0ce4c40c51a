//! From the configuration to log lines.

use crate::app::{AppError, AppErrorKind};
use crate::config::{Config, LogFormat};
use crate::telemetry::logging::{self, Format};

/// Sets up the process's log lines as configured.
///
/// # Errors
/// [`AppError`] when they are already set up.
pub fn init_logging(config: &Config) -> Result<(), AppError> {
    let format = match config.log.format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Human => Format::Human,
        LogFormat::Json => Format::Json,
    };
    logging::init(&config.log.level, format)
        .map_err(|error| AppError { kind: AppErrorKind::Other, detail: error.to_string() })
}
