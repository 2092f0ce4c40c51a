//! Changes that operators ask for.
//!
//! Must not know: who asks, how a change is made.

use metrics::counter;
use tracing::trace;

use crate::telemetry::names;

/// An operator has changed what becomes of events that wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventsChanged {
    /// What was done: one of [`EventsChanged::ALL`].
    pub change: &'static str,
    /// How many events were changed together.
    pub count: u64,
}

impl EventsChanged {
    /// All changes by their words, for series that begin at zero.
    pub(crate) const ALL: [&'static str; 4] = ["cancel", "delay", "send_now", "purge"];

    /// Shows a counter at zero for each change.
    pub(crate) fn show() {
        Self::ALL.into_iter().for_each(|change| Self { change, count: 0 }.emit());
    }

    /// Adds them to the counter of the change.
    pub(crate) fn emit(self) {
        counter!(names::EVENTS_CHANGED.name, "change" => self.change).increment(self.count);
        trace!(change = self.change, count = self.count, "events changed");
    }
}
