//! What an operator may set about this dialect.

use std::time::Duration;

use crate::config::Config;
use crate::policy::DRAIN_WINDOW;

/// Options of the dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasheryOptions {
    /// Refuse requests without `Authorization` (contract.md 5).
    pub require_headers: bool,
    /// How long calls that were taken may go on under an object that is deleted.
    pub drain_window: Duration,
}

impl MasheryOptions {
    /// As they are configured.
    pub(super) fn of(config: &Config) -> Self {
        Self { require_headers: config.manage.require_headers, drain_window: config.queue.drain }
    }
}

impl Default for MasheryOptions {
    fn default() -> Self {
        Self { require_headers: false, drain_window: DRAIN_WINDOW }
    }
}
