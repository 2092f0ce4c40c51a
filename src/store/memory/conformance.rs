//! The suite of all stores, run against the one in memory.

use std::sync::Arc;

use super::{MemoryStore, MemoryUsages};
use crate::clock::{Clock, Timestamp};
use crate::store::conformance::{Subject, suite};
use crate::store::{DeadLetters, DocumentStore, EntryStore, UsageStore};

pub(super) struct Memory {
    store: MemoryStore,
    usages: MemoryUsages,
}

impl Memory {
    pub(super) fn new() -> Self {
        let clock = Clock::manual(Timestamp::from_millis(1_000));
        Self { store: MemoryStore::new(clock), usages: MemoryUsages::new() }
    }
}

impl Subject for Memory {
    fn entries(&self) -> Arc<dyn EntryStore> {
        Arc::new(self.store.clone())
    }

    fn documents(&self) -> Arc<dyn DocumentStore> {
        Arc::new(self.store.clone())
    }

    fn usages(&self) -> Arc<dyn UsageStore> {
        Arc::new(self.usages.clone())
    }

    fn dead(&self) -> Arc<dyn DeadLetters> {
        Arc::new(self.store.clone())
    }

    fn crash(&mut self) {
        self.store = self.store.crash();
        self.usages = self.usages.crash();
    }

    fn lose_usages(&mut self) {
        self.store = self.store.crash();
        self.usages = self.usages.lose();
    }
}

suite!(crate::store::memory::conformance::Memory::new());
