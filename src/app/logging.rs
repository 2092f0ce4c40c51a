//! From the configuration to log lines.

use std::time::Duration;

use tracing::warn;

use crate::app::{AppError, AppErrorKind};
use crate::config::{Config, LoadedConfig};
use crate::telemetry::{logging, output, printable_lines};

/// How long the end of the process waits for its last lines to be written: perhaps they are not read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Sets up the process's log lines as configured.
///
/// # Errors
/// [`AppError`] when they are already set up.
pub fn init_logging(config: &Config) -> Result<(), AppError> {
    logging::init(&config.log.level, config.log.format, journal_stream().as_deref())
        .map_err(|error| AppError { kind: AppErrorKind::Other, detail: error.to_string() })
}

/// Where the service manager says that standard error goes (systemd.exec(5)).
#[expect(clippy::disallowed_methods, reason = "the service manager's own variable, no setting of ours")]
fn journal_stream() -> Option<String> {
    std::env::var("JOURNAL_STREAM").ok()
}

/// Says which variables were passed over that look as if they were meant for tidegate.
pub(crate) fn warn_of(loaded: &LoadedConfig) {
    for warning in loaded.warnings() {
        warn!(%warning, "a variable of the environment is passed over");
    }
}

/// Writes a line, or several, to standard error, in order with the log lines. They are dropped and counted if that cannot
/// be written. Control characters are escaped: a text may repeat what somebody else has written.
pub(crate) fn write_line(text: &str) {
    output::stderr().line(format!("{}\n", printable_lines(text)).as_bytes());
}

/// Waits until the lines so far are written, a second at most. To be called before the process ends.
pub(crate) fn flush_lines() {
    output::flush(LAST_LINES);
}
