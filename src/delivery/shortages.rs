//! Shortages of tidegate's own in the log: one line for many.
//!
//! Must not know: what becomes of the calls.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::warn;

use crate::clock::Timestamp;
use crate::event::{Cause, Outcome};

/// How often a shortage is logged at most: thousands of calls may meet the same one at once.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// When a shortage was last logged, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Shortages {
    /// Zero before the first line is written.
    logged_ms: AtomicU64,
}

impl Shortages {
    /// Logs a shortage, unless one was logged a short time before `now`.
    pub(super) fn note(&self, outcome: &Outcome, now: Timestamp) {
        let Outcome::Shortage { cause } = outcome else { return };
        let before_ms = self.logged_ms.load(Ordering::Relaxed);
        let is_soon = now.since(Timestamp::from_millis(before_ms)) < LOGGED_EVERY;
        if before_ms != 0 && is_soon {
            return;
        }
        // 0 stands for never. Two calls at the same moment may both log, which does no harm.
        self.logged_ms.store(now.as_millis().max(1), Ordering::Relaxed);
        let reason = match cause {
            Cause::Shortage(shortage) => shortage.to_string(),
            Cause::Dns(failure) => failure.to_string(),
            other => other.to_string(),
        };
        warn!("calls cannot be made and are tried again soon: {reason}");
    }
}
