//! What becomes of dead letters, and of posts of outcomes.
//!
//! Must not know: who decides it.

use metrics::counter;
use tracing::debug;

use crate::telemetry::names;

/// Ends of events were posted to the operator's URL, or the post has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutcomesPosted {
    /// What the post came to: one of [`OutcomesPosted::RESULTS`].
    pub result: &'static str,
}

impl OutcomesPosted {
    /// What a post may come to.
    const RESULTS: [&'static str; 2] = ["delivered", "failed"];

    /// Adds the post to the counter of its result.
    pub(crate) fn emit(&self) {
        counter!(names::OUTCOME_POSTS.name, "result" => self.result).increment(1);
        debug!(result = self.result, "outcomes posted");
    }

    /// Shows every counter before the first post.
    pub(crate) fn show() {
        for result in Self::RESULTS {
            counter!(names::OUTCOME_POSTS.name, "result" => result).increment(0);
        }
    }
}

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
