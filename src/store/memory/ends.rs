//! The promises for ends, kept in memory without a bound.
//!
//! Must not know: what ends an entry.

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::MemoryStore;
use crate::store::{EndLog, EndPlace, EndRecord, EndsKept, EndsPage, EndsRead, StoreError};

/// There is one log, which lives as long as the store.
const LOG: u64 = 1;

const fn place(number: u64) -> EndPlace {
    EndPlace { log: LOG, number }
}

fn page(ends: &[EndRecord], from: Option<EndPlace>, most: usize) -> EndsRead {
    let from = from.unwrap_or(place(0));
    let at = usize::try_from(from.number).unwrap_or(usize::MAX);
    let Some(ends) = ends.get(at..).filter(|_| from.log == LOG) else { return EndsRead::Gone };
    let found: Vec<_> = ends
        .iter()
        .take(most.max(1))
        .zip(from.number + 1..)
        .map(|(end, behind)| (place(behind), end.clone()))
        .collect();
    let next = found.last().map_or(from, |(behind, _)| *behind);
    EndsRead::Page(EndsPage { ends: found, next })
}

impl EndLog for MemoryStore {
    fn read(&self, from: Option<EndPlace>, most: usize) -> BoxFuture<'_, Result<EndsRead, StoreError>> {
        Box::pin(async move { self.read(|contents| page(&contents.ends, from, most)) })
    }

    fn kept(&self) -> EndsKept {
        let count = self.lock().contents.ends.len() as u64;
        EndsKept { first: place(0), next: place(count), known_since: None, bytes: 0 }
    }

    fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }
}
