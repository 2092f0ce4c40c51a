//! Changes of many dead letters, step by step.
//!
//! Must not know: how a run is begun, how its progress is shown.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::DeadDesk;
use super::filter::Filter;
use super::remake::{Again, remake};
use crate::ops::changes::work::{Looked, Place, Step, Tally, Work};
use crate::queue::QueueError;
use crate::store::{LetterOrder, LetterPlace, ReadLimit};

/// Letters of one batch: together they are less than what the store makes durable at once.
const BATCH: ReadLimit = ReadLimit { entries: 256, bytes: 3 << 19 };
/// Letters that a count reads at once.
const COUNTED_AT_ONCE: ReadLimit = ReadLimit { entries: 1_024, bytes: 8 << 20 };

/// What is done to letters.
pub(super) enum LetterChange {
    /// Their events are handed in again.
    Redrive(Again),
    /// They are dropped for good.
    Purge,
}

/// Letters that are to be changed.
pub(super) struct LetterWork {
    pub(super) desk: DeadDesk,
    pub(super) filter: Filter,
    pub(super) change: LetterChange,
}

impl LetterWork {
    async fn count(&self, after: Option<LetterPlace>) -> Result<Looked, QueueError> {
        let page = self.desk.parked.page(LetterOrder::OldestFirst, after, COUNTED_AT_ONCE).await?;
        let matched = page.letters.iter().filter(|placed| self.filter.wants(&placed.letter)).count() as u64;
        Ok(Looked { matched, unread: page.unreadable, next: page.next.map(Place::Letter) })
    }

    async fn step(&self, after: Option<LetterPlace>, most: u64) -> Result<Step, QueueError> {
        // Let go of between two batches, so that others get their turn.
        let mut turn = self.desk.parked.turn().await?;
        let page = turn.page(after, BATCH).await?;
        let mut tally = Tally { unread: page.unreadable, ..Tally::default() };
        let wanted = page.letters.into_iter().filter(|placed| self.filter.wants(&placed.letter));
        let wanted = wanted.take(usize::try_from(most).unwrap_or(usize::MAX));
        match &self.change {
            LetterChange::Purge => {
                tally.changed = turn.purge(wanted.map(|placed| placed.place).collect()).await?;
            }
            LetterChange::Redrive(again) => {
                let mut batch = Vec::new();
                for placed in wanted {
                    match remake(&self.desk, &placed.letter, again) {
                        Ok(remade) => batch.push((placed, remade)),
                        Err(refusal) => tally.leave(1, || refusal),
                    }
                }
                let asked = batch.len() as u64;
                tally.changed = turn.redrive(batch).await?.len() as u64;
                tally.leave(asked.saturating_sub(tally.changed), || {
                    "another letter goes by the same id and was redriven as often".to_owned()
                });
            }
        }
        Ok(Step { tally, next: page.next.map(Place::Letter), error: None })
    }
}

impl Work for LetterWork {
    fn look(&self, after: Option<Place>) -> BoxFuture<'_, Result<Looked, QueueError>> {
        self.count(letter(after)).boxed()
    }

    fn change(&self, after: Option<Place>, most: u64) -> BoxFuture<'_, Result<Step, QueueError>> {
        self.step(letter(after), most).boxed()
    }
}

const fn letter(place: Option<Place>) -> Option<LetterPlace> {
    match place {
        Some(Place::Letter(place)) => Some(place),
        _ => None,
    }
}
