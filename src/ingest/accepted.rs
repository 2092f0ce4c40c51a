//! The log lines about single events at the door, at the level `debug`: one for each that became durable.
//!
//! Must not know: how events arrive, what was refused.

use tracing::debug;

use crate::event::{Lane, TraceContext};
use crate::queue::NewEvent;
use crate::store::Appended;
use crate::telemetry::policy_list;

/// What is said about events once it is known that they are durable. Empty, and free, at other levels.
pub(super) struct AcceptedLog(Vec<(Lane, Option<String>)>);

impl AcceptedLog {
    pub(super) fn of(batch: &[NewEvent]) -> Self {
        // The queue takes the batch, so that what is to be logged has to be copied before: at other levels for nothing.
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return Self(Vec::new());
        }
        let line = |accept: &NewEvent| {
            let traceparent = TraceContext::parent_in(&accept.event.headers).map(str::to_owned);
            (accept.lane.clone(), traceparent)
        };
        Self(batch.iter().map(line).collect())
    }

    pub(super) fn tell(self, appended: &[Appended]) {
        for ((lane, traceparent), appended) in self.0.iter().zip(appended) {
            // A repetition was logged when its event came first, and a conflict adds no event.
            if let Appended::New(event_id) = appended {
                debug!(%event_id, policy = policy_list(lane), traceparent, "event accepted");
            }
        }
    }
}
