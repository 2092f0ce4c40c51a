//! What is kept of attempts, for people: promises of every implementation.
//!
//! - To note an attempt never waits, neither for a disk nor for room: what finds no room is dropped and counted.
//! - What was noted is found until there are too many bytes of it; the oldest goes first.
//! - A kill may lose the newest of it, and damage any part; never is an attempt shown that was not noted as it is shown.
//!
//! Must not know: how attempts are made, what follows from them.

use futures_util::future::BoxFuture;

use crate::event::{AttemptDetail, EventId};

/// Most attempts of one event that are told.
pub(crate) const ATTEMPTS_TOLD: usize = 5;

/// Where attempts are noted. See the head of this file.
pub trait AttemptStore: Send + Sync + 'static {
    /// Keeps an attempt, as far as there is room.
    fn note(&self, attempt: AttemptDetail);

    /// The last attempts of this event that are kept, the newest first, at most [`ATTEMPTS_TOLD`].
    fn last(&self, event: EventId) -> BoxFuture<'_, Vec<AttemptDetail>>;

    /// Hands what was noted to the system, and keeps nothing further.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Keeps nothing of any attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NoAttempts;

impl AttemptStore for NoAttempts {
    fn note(&self, _: AttemptDetail) {}

    fn last(&self, _: EventId) -> BoxFuture<'_, Vec<AttemptDetail>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
