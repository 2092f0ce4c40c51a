//! Answers of endpoints that could not be taken as they were.

use metrics::counter;
use tracing::debug;

use crate::telemetry::names;

/// What may be wrong with header lines.
const AMENDED: [&str; 2] = ["broken", "surplus"];

/// Why a time to come back is not waited for as it stands there: it cannot be read, an answer of its status names none, it
/// is cut to the life of the event or to the longest wait there is, or it is a date while the clock is in doubt.
const IGNORED: [&str; 5] =
    ["unreadable", "status_names_no_wait", "beyond_life", "beyond_a_year", "clock_in_doubt"];

/// The head of an answer had to be amended before it could be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerAmended<'a> {
    /// The host of the endpoint, for the debug line.
    pub host: &'a str,
    /// Lines that break the grammar: joined, trimmed or left out.
    pub broken: usize,
    /// Sound lines beyond the most that are read.
    pub surplus: usize,
    /// Whether the connection is closed after the answer.
    pub closes: bool,
}

impl AnswerAmended<'_> {
    /// Adds its lines to the counters of what was wrong with them.
    pub(crate) fn emit(&self) {
        for (why, lines) in AMENDED.into_iter().zip([self.broken, self.surplus]) {
            let lines = u64::try_from(lines).unwrap_or(u64::MAX);
            counter!(names::ANSWER_LINES_AMENDED.name, "why" => why).increment(lines);
        }
        let Self { host, broken, surplus, closes } = self;
        debug!(host, broken, surplus, closes, "header lines of an answer were amended or left out");
    }

    /// Shows the counters before the first one.
    pub(crate) fn show() {
        for why in AMENDED {
            counter!(names::ANSWER_LINES_AMENDED.name, "why" => why).increment(0);
        }
    }
}

/// An answer named a time to come back that is not waited for as it stands there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerTimeIgnored {
    /// Why it was cut or ignored: one of [`IGNORED`].
    pub why: &'static str,
}

impl AnswerTimeIgnored {
    /// Adds one to the counter of why.
    pub(crate) fn emit(&self) {
        counter!(names::ANSWER_TIMES_IGNORED.name, "why" => self.why).increment(1);
        debug!(why = self.why, "a time to come back of an answer is not waited for as it stands there");
    }

    /// Shows the counters before the first one.
    pub(crate) fn show() {
        for why in IGNORED {
            counter!(names::ANSWER_TIMES_IGNORED.name, "why" => why).increment(0);
        }
    }
}
