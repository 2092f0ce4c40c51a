//! The promises for dead letters, kept in memory.
//!
//! Must not know: how an entry becomes a letter.

use std::collections::HashSet;

use futures_util::future::BoxFuture;

use super::MemoryStore;
use crate::event::EventId;
use crate::store::{DeadLetters, LetterOrder, LetterPage, LetterPlace, Owner, ReadLimit, StoreError};

impl DeadLetters for MemoryStore {
    fn list(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<LetterPage, StoreError>> {
        Box::pin(async move { self.read(|contents| contents.letters(order, after, limit)) })
    }

    fn take(&self, owner: Owner, ids: Vec<EventId>) -> BoxFuture<'_, Result<Vec<EventId>, StoreError>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.writable()?;
            state.owner().check(owner)?;
            if let Some(reason) = self.doubts.store_held() {
                return Err(StoreError::Held { reason });
            }
            let mut there: HashSet<EventId> = state.contents.dead.values().map(|letter| letter.id).collect();
            let taken: Vec<EventId> = ids.into_iter().filter(|id| there.remove(id)).collect();
            state.contents.dead.retain(|_, letter| !taken.contains(&letter.id));
            Ok(taken)
        })
    }
}
