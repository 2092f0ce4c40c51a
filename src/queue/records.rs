//! Records of the store, read as they are meant now: what was given while the clock was in doubt is corrected.
//!
//! Must not know: lanes, who asks.

use crate::clock::{self, Clock, Timestamp};
use crate::event::Event;
use crate::store::StoredEntry;
use crate::store::record::{self, RecordError};

/// Reads records, with what is known now about the time at which they were written.
pub(super) struct RecordReader {
    pub(super) clock: Clock,
}

impl RecordReader {
    /// Reads a record. What was accepted while the clock was in doubt is not aged by its correction.
    pub(super) fn event_of(&self, stored: &StoredEntry) -> Result<Event, RecordError> {
        let mut event = record::decode(&stored.record)?;
        let corrections = self.clock.corrections();
        event.expires_at = clock::corrected(&corrections, stored.id.accepted_at(), event.expires_at);
        Ok(event)
    }

    /// When an entry that was put off is due, after all corrections of the clock since that was decided.
    pub(super) fn due_at(&self, stored: &StoredEntry, event: &Event) -> Option<Timestamp> {
        let due_at = stored.due_at?;
        // One that was moved, or tried, is due at another time than it was accepted for.
        let is_first = event.due_at == Some(due_at);
        // A date is meant by the wall clock, however the line has moved since.
        if is_first && event.is_dated {
            return Some(due_at + self.clock.ahead());
        }
        let set_at = stored.doubted_at.or_else(|| is_first.then(|| stored.id.accepted_at()));
        Some(set_at.map_or(due_at, |set_at| clock::corrected(&self.clock.corrections(), set_at, due_at)))
    }
}
