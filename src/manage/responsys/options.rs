//! What an operator may set about this dialect.

use std::time::Duration;

use crate::policy::DRAIN_WINDOW;

/// What an operator may set about this dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsysOptions {
    /// Whether a token is asked for (contract.md 5).
    pub require_headers: bool,
    /// The account whose limits are listed.
    pub default_account: Option<String>,
    /// How long limits that are gone may finish their backlog.
    pub drain_window: Duration,
}

impl Default for ResponsysOptions {
    fn default() -> Self {
        Self { require_headers: false, default_account: None, drain_window: DRAIN_WINDOW }
    }
}
