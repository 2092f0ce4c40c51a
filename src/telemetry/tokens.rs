//! Tokens that are asked for so that calls can carry them.

use metrics::{counter, gauge};

use crate::telemetry::names;

/// What may come of a question for a token.
const RESULTS: [&str; 8] =
    ["granted", "refused", "unreadable", "unreachable", "timeout", "blocked", "shortage", "setup"];

/// A token server was asked for a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokenAsked {
    /// `granted`, or what went wrong.
    pub result: &'static str,
}

impl TokenAsked {
    /// Adds one to the counter of what came of it.
    pub(crate) fn emit(&self) {
        counter!(names::TOKEN_REQUESTS.name, "result" => self.result).increment(1);
    }

    /// Shows the counters before the first one.
    pub(crate) fn show() {
        for result in RESULTS {
            counter!(names::TOKEN_REQUESTS.name, "result" => result).increment(0);
        }
    }
}

/// How many endpoints get no token at present, so that their calls wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TokensMissing {
    /// Blocks of the configuration file.
    pub endpoints: u32,
}

impl TokensMissing {
    /// Sets the gauge to this many endpoints.
    pub(crate) fn emit(&self) {
        gauge!(names::ENDPOINTS_WITHOUT_TOKEN.name).set(f64::from(self.endpoints));
    }
}
