//! Finds the entry of the event that goes by an id: after a redrive it is another one than the entry that was accepted
//! under this id.
//!
//! Must not know: lanes, who asks, how an event is shown.

use std::sync::Arc;

use crate::event::EventId;
use crate::queue::QueueError;
use crate::queue::ends::{End, KnownEnd, RecentEnds};
use crate::queue::parked::redrive_key;
use crate::store::{Appended, EntryStore, KeptEnd, LastRedrive, Lookup};

/// Redrives of one event that are asked for together.
const REDRIVES_AT_ONCE: u16 = 32;

/// A cheap handle; clones share everything.
#[derive(Clone)]
pub(super) struct NamedEntries {
    pub(super) store: Arc<dyn EntryStore>,
    pub(super) ended: RecentEnds,
}

impl NamedEntries {
    /// The id of the entry, and what the store has of it.
    pub(super) async fn find(&self, name: EventId) -> Result<(EventId, Lookup), QueueError> {
        let found = self.store.lookup(name).await?;
        let may_be_redriven = match &found {
            Lookup::Waiting(..) | Lookup::Lost => false,
            Lookup::Settled(kept) => {
                self.ended_as(name, kept.clone()).is_none_or(|known| known.end == End::Dead)
            }
            Lookup::Unknown => true,
        };
        let entry = if may_be_redriven { self.redriven_as(name).await? } else { None };
        Ok(match entry {
            Some(entry) => match self.store.lookup(entry).await? {
                // It was handed in, and nothing is left of it.
                Lookup::Unknown => (entry, Lookup::Settled(None)),
                found => (entry, found),
            },
            None => (name, found),
        })
    }

    /// How an entry has ended, as far as that is known.
    pub(super) fn ended_as(&self, entry: EventId, kept: Option<KeptEnd>) -> Option<KnownEnd> {
        self.ended.of(entry).or_else(|| kept.map(KnownEnd::of_store))
    }

    /// The last redrive of an event that goes by this id, also after its end, as far as it is on record.
    pub(super) async fn last_redrive(&self, name: EventId) -> Result<Option<LastRedrive>, QueueError> {
        Ok(self.store.last_redrives(vec![name]).await?.pop().flatten())
    }

    /// The entry of that redrive.
    async fn redriven_as(&self, name: EventId) -> Result<Option<EventId>, QueueError> {
        if let Some(last) = self.last_redrive(name).await? {
            return Ok(Some(last.entry));
        }
        // One that was handed in before the store kept that beside the keys.
        let (mut last, mut asked) = (None, 0_u16);
        loop {
            // The key of an earlier redrive may be gone while that of a later one is there.
            let counts = asked.saturating_add(1)..=asked.saturating_add(REDRIVES_AT_ONCE);
            let keys = counts.map(|count| redrive_key(name, count, false)).collect();
            let found = self.store.find_keys(keys).await?;
            let is_last_known = matches!(found.last(), Some(Some(_)));
            let kept = found.into_iter().rev().find_map(|found| match found? {
                Appended::New(entry) | Appended::Duplicate(entry) => Some(entry),
                // It goes by an id of its own.
                Appended::Conflict(_) => None,
            });
            last = kept.or(last);
            asked = asked.saturating_add(REDRIVES_AT_ONCE);
            if !is_last_known || asked == u16::MAX {
                return Ok(last);
            }
        }
    }
}
