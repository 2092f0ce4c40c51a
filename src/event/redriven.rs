//! What an event keeps of its redrives: it died, and a person handed it in again.
//!
//! Must not know: how it is stored, who may ask for it.

use crate::clock::Timestamp;
use crate::event::EventId;

/// The last redrive of an event, and how many there were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redriven {
    /// The id under which the event was known when it died.
    pub origin: EventId,
    /// It goes by the id of its new entry instead, for receivers that drop what they know by its id.
    pub is_renamed: bool,
    /// How many redrives there were, from 1.
    pub count: u16,
    /// When the last one was, in whole milliseconds.
    pub at: Timestamp,
    /// Who asked for it, in words of their own; empty when they did not say.
    pub by: String,
    /// The URL to which it went until then, without its query; `None` when it is the same.
    pub from_url: Option<String>,
}

impl Redriven {
    /// Longest `by`, in characters.
    pub(crate) const MAX_BY: usize = 100;
}
