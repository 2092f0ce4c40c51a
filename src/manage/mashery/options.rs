//! What an operator may set about this dialect.

use std::time::Duration;

use crate::policy::DRAIN_WINDOW;

/// What an operator may set about this dialect. The default is what the contract documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasheryOptions {
    /// Refuse requests without `Authorization` (contract.md 6).
    pub require_headers: bool,
    /// How long calls that were taken may go on under an object that is deleted.
    pub drain_window: Duration,
    /// Whether answers to single calls tell how far the limits of their key are used.
    pub usage_headers: bool,
}

impl Default for MasheryOptions {
    fn default() -> Self {
        Self { require_headers: false, drain_window: DRAIN_WINDOW, usage_headers: false }
    }
}
