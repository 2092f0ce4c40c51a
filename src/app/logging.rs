//! From the configuration to log lines.

use std::time::Duration;

use crate::app::{AppError, AppErrorKind};
use crate::config::{Config, LogFormat};
use crate::telemetry::logging::{self, Format};
use crate::telemetry::output;

/// How long the end of the process waits for its last lines to be written: perhaps nobody reads them.
const LAST_LINES: Duration = Duration::from_secs(1);

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

/// Writes a line to standard error, in order with the log lines. It is dropped and counted if that cannot be written.
pub fn write_line(text: &str) {
    output::stderr().line(format!("{text}\n").as_bytes());
}

/// Waits until the lines so far are written, a second at most. To be called before the process ends.
pub fn flush_lines() {
    output::stderr().flush(LAST_LINES);
}
