//! Operations that may wait for the disk: which are under way, and since when.
//!
//! Must not know: what they write, how long anybody waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::telemetry::defect;

/// What an operation writes or syncs. Of each kind at most one is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// The journal or the dead letters.
    Journal,
    /// Rows of the index while a commit is applied.
    Index,
    /// A document, such as the policy book.
    Document,
    /// The record of what limits have consumed.
    Usages,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Journal, Self::Index, Self::Document, Self::Usages];

    /// The word that logs and the readiness probe use.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Index => "index",
            Self::Document => "document",
            Self::Usages => "usages",
        }
    }
}

/// The operations of one store. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Operations(Arc<BeginTimes>);

/// When the operation of each kind began, in ns of the steady line; zero while there is none.
#[derive(Default)]
struct BeginTimes {
    journal: AtomicU64,
    index: AtomicU64,
    document: AtomicU64,
    usages: AtomicU64,
}

impl BeginTimes {
    const fn of(&self, operation: Operation) -> &AtomicU64 {
        match operation {
            Operation::Journal => &self.journal,
            Operation::Index => &self.index,
            Operation::Document => &self.document,
            Operation::Usages => &self.usages,
        }
    }
}

/// An operation under way, until it is dropped.
pub(super) struct OperationGuard(Operations, Operation);

impl Drop for OperationGuard {
    fn drop(&mut self) {
        self.0.0.of(self.1).store(0, Ordering::Release);
    }
}

impl Operations {
    /// Notes that an operation begins. The caller sees to it that no other of its kind is under way.
    pub(super) fn begin(&self, operation: Operation, now: Timestamp) -> OperationGuard {
        // Zero means none.
        let before = self.0.of(operation).swap(now.as_nanos().max(1), Ordering::AcqRel);
        defect!(unless before == 0, "two operations of one kind at a time");
        OperationGuard(self.clone(), operation)
    }

    /// The operation that has been under way for the longest time, and its age.
    pub(super) fn oldest(&self, now: Timestamp) -> Option<(Operation, Duration)> {
        let begun = Operation::ALL.map(|operation| (self.0.of(operation).load(Ordering::Acquire), operation));
        let (since, operation) =
            begun.into_iter().filter(|(since, _)| *since > 0).min_by_key(|(since, _)| *since)?;
        Some((operation, Duration::from_nanos(now.as_nanos().saturating_sub(since))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_operation_counts_until_it_ends() {
        let (operations, at) = (Operations::default(), Timestamp::from_millis);
        assert_eq!(operations.oldest(at(9)), None);
        let document = operations.begin(Operation::Document, at(2));
        let journal = operations.begin(Operation::Journal, at(1));
        let age = Duration::from_millis;
        assert_eq!(operations.oldest(at(9)), Some((Operation::Journal, age(8))));
        drop(journal);
        assert_eq!(operations.clone().oldest(at(9)), Some((Operation::Document, age(7))));
        drop(document);
        assert_eq!(operations.oldest(at(9)), None);
    }
}
