//! The suite of all stores, run against the one in a directory.

use std::fs;
use std::sync::Arc;

use super::{clock, options};
use crate::clock::Clock;
use crate::store::conformance::{Subject, suite};
use crate::store::embedded::EmbeddedStore;
use crate::store::{DeadLetters, DocumentStore, EntryStore, UsageStore};

pub(super) struct Embedded {
    dir: tempfile::TempDir,
    clock: Clock,
    /// Open, but between two processes.
    store: Option<Arc<EmbeddedStore>>,
}

impl Embedded {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut subject = Self { dir, clock: clock(), store: None };
        subject.open();
        subject
    }

    fn open(&mut self) {
        let store = EmbeddedStore::open(self.dir.path(), options(), self.clock.clone()).expect("opens");
        self.store = Some(Arc::new(store));
    }

    fn opened(&self) -> &Arc<EmbeddedStore> {
        self.store.as_ref().expect("open")
    }
}

impl Subject for Embedded {
    fn entries(&self) -> Arc<dyn EntryStore> {
        Arc::clone(self.opened()) as Arc<dyn EntryStore>
    }

    fn documents(&self) -> Arc<dyn DocumentStore> {
        Arc::new(self.opened().documents())
    }

    fn usages(&self) -> Arc<dyn UsageStore> {
        Arc::new(self.opened().usages())
    }

    fn dead(&self) -> Arc<dyn DeadLetters> {
        Arc::clone(self.opened()) as Arc<dyn DeadLetters>
    }

    fn crash(&mut self) {
        self.store = None;
        self.open();
    }

    fn lose_usages(&mut self) {
        self.store = None;
        fs::remove_file(self.dir.path().join("limits/usage.log")).expect("deletes");
        self.open();
    }
}

suite!(crate::store::embedded::tests::conformance::Embedded::new());
