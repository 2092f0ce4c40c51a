//! Settlements on their way into the journal, and those that found no room there, or no descriptor for a segment: they
//! are kept and tried again, because their calls were made already. Appends are refused meanwhile: what room there is
//! belongs to settlements.
//!
//! Must not know: how a group is written, the index.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Timestamp;
use crate::store::embedded::journal::SettledRun;
use crate::store::{DeadLetter, StoreError};
use crate::telemetry::defect;

/// How long settlements wait for room before they are tried again.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// The settlements of one commit, with the callers that wait until these are durable.
#[derive(Default)]
pub(super) struct Settling {
    pub runs: Vec<SettledRun>,
    /// Letters that are not durable yet.
    pub letters: Vec<DeadLetter>,
    pub replies: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

impl Settling {
    pub(super) fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    pub(super) fn refuse(self, error: &StoreError) {
        for reply in self.replies {
            // A caller that has gone away does not want to know.
            let _ = reply.send(Err(error.clone()));
        }
    }
}

/// Settlements that wait for room, in order.
#[derive(Default)]
pub(super) struct QueuedSettlements {
    waiting: VecDeque<Settling>,
    /// Why the first of them was not written.
    reason: Option<StoreError>,
    retry_at: Timestamp,
}

impl QueuedSettlements {
    /// Why nothing else may be written before.
    pub(super) fn reason(&self) -> Option<&StoreError> {
        // The reason outlives the last one that waited; it blocks nothing then.
        self.reason.as_ref().filter(|_| !self.waiting.is_empty())
    }

    /// Puts settlements behind those that wait already; without a caller there is nothing to put.
    pub(super) fn push(&mut self, settling: Settling) {
        defect!(unless self.reason.is_some(), "settlements that wait for no reason");
        if !settling.is_empty() {
            self.waiting.push_back(settling);
        }
    }

    /// The next ones to write, once it is time.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Settling> {
        if now < self.retry_at { None } else { self.waiting.pop_front() }
    }

    /// Puts back those that found no room.
    pub(super) fn put_back(&mut self, settling: Settling, reason: StoreError, now: Timestamp) {
        if self.reason().is_none() {
            tracing::warn!(error = %reason, "settlements cannot be written at present; they are tried again");
        }
        defect!(unless !settling.is_empty(), "settlements put back that nobody waits for");
        // At the front, where it came from: settlements of one entry must reach the journal in order.
        self.waiting.push_front(settling);
        self.reason = Some(reason);
        self.retry_at = now + RETRY_EVERY;
    }

    /// How long until they are tried again; `None` when none waits.
    pub(super) fn patience(&self, now: Timestamp) -> Option<Duration> {
        (!self.waiting.is_empty()).then(|| self.retry_at.since(now))
    }

    /// Tries them at the next occasion, for the last time.
    pub(super) fn hurry(&mut self) {
        self.retry_at = Timestamp::ZERO;
    }

    /// Answers all that wait with an error: after a failed write or sync nothing is written any more.
    pub(super) fn refuse(&mut self, error: &StoreError) {
        for settling in self.waiting.drain(..) {
            settling.refuse(error);
        }
    }
}
