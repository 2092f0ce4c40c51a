//! Exit codes, and the one line that says why.

use std::fmt;
use std::process::ExitCode;

use crate::app::{AppError, AppErrorKind};
use crate::config::ConfigError;

/// All went well: what was asked for is done.
pub(super) const OK: u8 = 0;
/// Something failed, or not every event was accepted or delivered.
pub(super) const FAILED: u8 = 1;
/// The command line asks for what cannot be done this way.
pub(super) const USAGE: u8 = 2;
/// The configuration is wrong; every problem of it is named.
pub(super) const BAD_CONFIG: u8 = 64;
/// The data directory is damaged or in doubt: a restart does not heal it.
pub(super) const DATA_DAMAGED: u8 = 65;
/// No daemon answers, or it takes nothing at present.
pub(super) const UNAVAILABLE: u8 = 69;
/// The store failed: a restart may heal it.
pub(super) const STORE_FAILED: u8 = 74;
/// Another process has the data directory.
pub(super) const IN_USE: u8 = 75;
/// The system denies access to a file or an address.
pub(super) const NO_PERMISSION: u8 = 77;

/// The codes as `--help` lists them.
pub(super) const HELP: &str = "Exit codes: 0 ok, 1 failure, 2 wrong usage, 64 bad configuration, 65 the data \
directory is damaged and a restart does not heal it, 69 no daemon answers or it takes nothing at present, 74 the store failed, 75 the data directory is in use, 77 permission denied";

/// Why the program ends otherwise than well.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// A failure without a code of its own.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into() }
    }

    /// What was asked for is not possible in this way.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { code: USAGE, message: message.into() }
    }

    /// No daemon answers, or it takes nothing at present: the same may go well later.
    pub(super) fn passing(message: impl Into<String>) -> Self {
        Self { code: UNAVAILABLE, message: message.into() }
    }

    /// Whether the same may go well later.
    pub(super) const fn is_passing(&self) -> bool {
        self.code == UNAVAILABLE
    }

    /// Whether the command line asks for what is not possible.
    pub(super) const fn is_usage(&self) -> bool {
        self.code == USAGE
    }

    /// The same, and what it is about before it.
    pub(super) fn about(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The same, and what to do after it.
    pub(super) fn with(self, way_out: &str) -> Self {
        Self { message: format!("{}; {way_out}", self.message), ..self }
    }

    /// Writes the line and gives the code.
    pub(super) fn report(self) -> ExitCode {
        super::note(&format!("tidegate: {}", self.message));
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let count = error.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        Self { code: BAD_CONFIG, message: format!("{count} {noun} in the configuration\n{error}") }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        let code = match error.kind {
            AppErrorKind::Store => STORE_FAILED,
            AppErrorKind::Damaged => DATA_DAMAGED,
            AppErrorKind::InUse => IN_USE,
            AppErrorKind::Permission => NO_PERMISSION,
            AppErrorKind::Config => BAD_CONFIG,
            AppErrorKind::Other => FAILED,
        };
        Self { code, message: error.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied => NO_PERMISSION,
            _ => FAILED,
        };
        Self { code, message: error.to_string() }
    }
}

impl Failure {
    /// Of a command whose code 1 says that it has found something: a failure without a code of its own has 2, as with
    /// diff(1).
    pub(super) fn trouble(self) -> Self {
        // Other codes keep their meaning, such as 69 where no daemon answers.
        Self { code: if self.code == FAILED { USAGE } else { self.code }, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let code = |kind| Failure::from(AppError { kind, detail: String::new() }).code;
        assert_eq!(code(AppErrorKind::Store), 74);
        assert_eq!(code(AppErrorKind::Damaged), 65);
        assert_eq!(code(AppErrorKind::InUse), 75);
        assert_eq!(code(AppErrorKind::Permission), 77);
        assert_eq!(code(AppErrorKind::Config), 64);
        assert_eq!(code(AppErrorKind::Other), 1);
        assert_eq!(Failure::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied)).code, 77);
    }

    #[test]
    fn the_help_names_every_code() {
        for code in
            [OK, FAILED, USAGE, BAD_CONFIG, DATA_DAMAGED, UNAVAILABLE, STORE_FAILED, IN_USE, NO_PERMISSION]
        {
            assert!(HELP.contains(&format!(" {code} ")), "{code}");
        }
    }
}
