//! What the queue tells the dispatcher: which lanes have work, and what else has become of entries.
//!
//! Must not know: the store, what the dispatcher does about it.

use std::collections::HashSet;

use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey};

/// What the dispatcher hears from the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LaneSignal {
    /// The lane has new work; said at most once until it is loaded.
    Ready(LaneKey),
    /// An entry of the lane waits for this due time, earlier than all others that are known.
    PutOff(LaneKey, Timestamp),
    /// These entries of the lane were handed out and are no longer owed: an operator gave them up.
    GivenUp(LaneKey, HashSet<EventId>),
    /// Reads that failed are to be tried again now.
    ReadAgain,
}

/// Where the dispatcher hears which lanes have work.
pub(crate) struct LaneSignals(pub(super) mpsc::UnboundedReceiver<LaneSignal>);

impl LaneSignals {
    /// Waits for signals and appends them; returns how many came, zero once the queue is gone.
    pub(crate) async fn recv_many(&mut self, into: &mut Vec<LaneSignal>, most: usize) -> usize {
        self.0.recv_many(into, most).await
    }

    /// Appends the signals that are there.
    pub(crate) fn take_all(&mut self, into: &mut Vec<LaneSignal>) {
        while let Ok(signal) = self.0.try_recv() {
            into.push(signal);
        }
    }
}
