//! What became of the details of attempts, and of events that may have ended the process.

use metrics::counter;

use crate::telemetry::names;

/// Details of attempts were kept, or dropped for want of room, time or a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptsNoted {
    /// Handed to the system.
    pub kept: u64,
    /// Found no room, or could not be written.
    pub dropped: u64,
}

impl AttemptsNoted {
    /// Adds them to the counters.
    pub(crate) fn emit(&self) {
        for (result, count) in [("kept", self.kept), ("dropped", self.dropped)] {
            if count > 0 {
                counter!(names::ATTEMPT_DETAILS.name, "result" => result).increment(count);
            }
        }
    }

    /// Shows the counters before the first one.
    pub(crate) fn show() {
        for result in ["kept", "dropped"] {
            counter!(names::ATTEMPT_DETAILS.name, "result" => result).increment(0);
        }
    }
}
