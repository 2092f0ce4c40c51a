//! What becomes of dead letters.
//!
//! Must not know: who decides it.

use metrics::counter;
use tracing::debug;

use crate::telemetry::names;

/// Dead letters are gone: redriven, purged, or let go by the retention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LettersRemoved {
    /// One of [`LettersRemoved::HOW`].
    pub how: &'static str,
    /// How many letters went together.
    pub count: u64,
}

impl LettersRemoved {
    /// All ways in which a letter goes.
    const HOW: [&'static str; 3] = ["redriven", "purged", "retention"];

    /// Adds them to the counter of how they went.
    pub(crate) fn emit(&self) {
        if self.count == 0 {
            return;
        }
        counter!(names::DEAD_LETTERS_REMOVED.name, "how" => self.how).increment(self.count);
        debug!(how = self.how, count = self.count, "dead letters removed");
    }

    /// Shows every counter before any letter has gone.
    pub(crate) fn show() {
        for how in Self::HOW {
            counter!(names::DEAD_LETTERS_REMOVED.name, "how" => how).increment(0);
        }
    }
}
