//! The promises for documents, kept in memory. Every document is vital.
//!
//! Must not know: what a document means.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::contents::Contents;
use super::{FailPoint, MemoryStore, injected};
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::{DocumentStore, Expect, StoreError, Version};

impl DocumentStore for MemoryStore {
    fn get(&self, name: &'static str) -> BoxFuture<'_, Result<Option<(Version, Bytes)>, StoreError>> {
        Box::pin(async move {
            let read = |contents: &Contents| {
                let found = contents.documents.get(name).cloned();
                if contents.damaged.contains(name) { Err(damaged(name)) } else { Ok(found) }
            };
            self.read(read)?
        })
    }

    fn put(
        &self,
        name: &'static str,
        expect: Expect,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Version, StoreError>> {
        Box::pin(async move {
            let mut state = self.lock();
            if state.closed {
                return Err(StoreError::Closed);
            }
            if let Some(reason) = self.held() {
                return Err(StoreError::Held { reason });
            }
            if state.fail.remove(&FailPoint::Put) {
                state.errors += 1;
                return Err(injected("put"));
            }
            if state.contents.damaged.contains(name) {
                if expect != Expect::Absent {
                    return Err(damaged(name));
                }
                state.contents.damaged.remove(name);
                state.contents.documents.remove(name);
            }
            let found = state.contents.documents.get(name).map(|(version, _)| *version);
            let version = expect.next(found)?;
            state.contents.documents.insert(name, (version, body));
            Ok(version)
        })
    }

    fn held(&self) -> Option<String> {
        self.doubts.store_held()
    }

    fn reject(&self, name: &'static str, reason: &str) {
        let doubt = NewDoubt {
            kind: DoubtKind::Book,
            subject: name.to_owned(),
            detail: format!("the document cannot be understood ({reason})"),
            way_out: "write another one".to_owned(),
            events: 0,
        };
        self.doubts.raise(doubt, self.clock.now());
    }
}

fn damaged(name: &str) -> StoreError {
    StoreError::Damaged { place: name.to_owned(), reason: "made to be".to_owned() }
}
