//! Attempts in memory, all of them.
//!
//! Must not know: files, threads.

use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;

use crate::event::{AttemptDetail, EventId};
use crate::store::attempts::{ATTEMPTS_TOLD, AttemptStore};

/// What was noted, in order.
#[derive(Debug, Default)]
pub(super) struct MemoryAttempts(Mutex<Vec<AttemptDetail>>);

impl AttemptStore for MemoryAttempts {
    fn note(&self, attempt: AttemptDetail) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
    }

    fn last(&self, event: EventId) -> BoxFuture<'_, Vec<AttemptDetail>> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = all.iter().rev().filter(|attempt| attempt.event == event);
        let last = of.take(ATTEMPTS_TOLD).cloned().collect();
        Box::pin(std::future::ready(last))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
