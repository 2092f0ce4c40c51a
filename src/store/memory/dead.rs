//! The promises for dead letters, kept in memory.
//!
//! Must not know: how an entry becomes a letter.

use futures_util::future::BoxFuture;

use super::{FailPoint, MemoryStore, injected};
use crate::event::EventId;
use crate::store::{
    DeadLetter, DeadLetters, LetterOrder, LetterPage, LetterPlace, Owner, PlacedLetter, ReadLimit, StoreError,
};

impl DeadLetters for MemoryStore {
    fn list(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> BoxFuture<'_, Result<LetterPage, StoreError>> {
        Box::pin(async move { self.read(|contents| contents.letters(order, after, limit)) })
    }

    fn find(&self, name: EventId) -> BoxFuture<'_, Result<Vec<PlacedLetter>, StoreError>> {
        let placed = |(place, letter): (&u64, &DeadLetter)| PlacedLetter {
            place: LetterPlace(*place),
            letter: letter.clone(),
        };
        Box::pin(async move {
            self.read(|contents| {
                contents.dead.iter().filter(|(_, letter)| letter.name() == name).map(placed).collect()
            })
        })
    }

    fn take(
        &self,
        owner: Owner,
        places: Vec<LetterPlace>,
    ) -> BoxFuture<'_, Result<Vec<LetterPlace>, StoreError>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.writable()?;
            state.owner().check(owner)?;
            if let Some(reason) = self.doubts.store_held() {
                return Err(StoreError::Held { reason });
            }
            if state.fail.remove(&FailPoint::Take) {
                state.errors += 1;
                return Err(injected("take"));
            }
            Ok(places.into_iter().filter(|place| state.contents.dead.remove(&place.0).is_some()).collect())
        })
    }

    fn add(&self, owner: Owner, letters: Vec<DeadLetter>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mut state = self.lock();
            state.writable()?;
            state.owner().check(owner)?;
            if let Some(reason) = self.doubts.store_held() {
                return Err(StoreError::Held { reason });
            }
            letters.into_iter().for_each(|letter| state.contents.park(letter));
            Ok(())
        })
    }
}
