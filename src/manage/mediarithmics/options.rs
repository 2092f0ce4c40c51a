//! What an operator may set about this dialect.

use std::time::Duration;

use crate::policy::DRAIN_WINDOW;

/// What an operator may set about this dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediarithmicsOptions {
    /// Whether a token is asked for (contract.md 3).
    pub require_headers: bool,
    /// How long a deleted throttling may finish its backlog.
    pub drain_window: Duration,
}

impl Default for MediarithmicsOptions {
    fn default() -> Self {
        Self { require_headers: false, drain_window: DRAIN_WINDOW }
    }
}
