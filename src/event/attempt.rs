//! What is kept of an attempt, for people who ask why an event is where it is.
//!
//! Must not know: how it is kept, how an attempt is made.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::EventId;

/// A short word of a closed set; owned when it comes back from where it was kept.
pub(crate) type Word = Cow<'static, str>;

/// One attempt of an event that had a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptDetail {
    /// The id by which people know the event, the same after a redrive.
    pub event: EventId,
    /// Which attempt it was, from 1, as the header `tidegate-attempt` says it.
    pub number: u16,
    /// When its call started.
    pub started_at: Timestamp,
    /// From its start to the end of the answer, or to its failure.
    pub took: Duration,
    /// `delivered`, or why it failed, such as `http_503` or `timeout`.
    pub result: Word,
    /// The status of the answer, where that decided.
    pub status: Option<u16>,
    /// What the queue did with the event afterwards.
    pub then: Follows,
    /// What was remarkable about the answer; `None` in most cases.
    pub noticed: Option<Box<Noticed>>,
}

/// What followed an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follows {
    /// `retried`, or how the event ended.
    pub what: Word,
    /// Why so, in a word or in the reason of the dead letter.
    pub why: Word,
    /// When it may be tried again; `None` where it ended.
    pub next_at: Option<Timestamp>,
}

/// What was remarkable about an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Noticed {
    /// The time to come back that it named.
    pub named: Option<NamedTime>,
    /// Lines of its head that break the grammar of HTTP: they were joined, trimmed or left out.
    pub broken_lines: u32,
    /// Sound lines of its head beyond the most that are read.
    pub surplus_lines: u32,
    /// The beginning of the answer, of an endpoint for which that is asked for.
    pub answer: Option<AnswerExcerpt>,
}

impl Noticed {
    /// Whether nothing of it says anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A time to come back that an answer named, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTime {
    /// The header that named it, `Retry-After` or `RateLimit`.
    pub by: Word,
    /// How long it asked for; `None` where it cannot be read.
    pub asked: Option<Duration>,
    /// For how long it was obeyed; `None` where it was not.
    pub obeyed: Option<Duration>,
    /// Why it was cut or ignored; `None` where it was obeyed as it stood there.
    pub why: Option<Word>,
}

impl NamedTime {
    /// It is no time that can be read.
    pub const UNREADABLE: Word = Word::Borrowed("unreadable");
    /// An answer of this status says nothing of the time to come back.
    pub const OTHER_STATUS: Word = Word::Borrowed("status_names_no_wait");
    /// It was cut to the longest wait there is.
    pub const BEYOND_LONGEST: Word = Word::Borrowed("beyond_a_year");
    /// It was cut to the life of the event.
    pub const BEYOND_LIFE: Word = Word::Borrowed("beyond_life");
    /// Something else in the same answer asked for more, or the time comes from a code in it.
    pub const OTHER_PREVAILS: Word = Word::Borrowed("another_time_prevails");
    /// A date, while it is not certain what time it is: an hour was waited.
    pub const CLOCK_IN_DOUBT: Word = Word::Borrowed("clock_in_doubt");
}

/// The beginning of an answer as text, its credentials masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerExcerpt {
    /// The status of the answer.
    pub status: u16,
    /// The header lines of the answer, as far as there was room.
    pub head: String,
    /// The beginning of its body; `None` where that is empty, is no text, or found no room.
    pub body: Option<String>,
    /// Whether there was more of it.
    pub is_cut: bool,
}
