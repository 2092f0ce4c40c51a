//! The purge of events wherever they are: what waits is cancelled, dead letters are dropped, calls under way are marked and
//! looked at again until they have ended.
//!
//! What moves between the two while it is purged is met by the next round: the last one has found nothing.
//!
//! Must not know: how a run is begun, how its progress is shown.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::clock::Timestamp;
use crate::ops::changes::work::{Looked, Place, Step, Tally, Work};
use crate::ops::desk::Desk;
use crate::ops::events::filter::Filter;
use crate::ops::events::many::{EventWork, waiting};
use crate::queue::{Change, Parked, QueueError, ReadAhead};
use crate::store::{DeadLetter, LetterOrder, LetterPlace, ReadLimit, record};
use crate::telemetry::EventsChanged;

/// Letters that are purged together, and that a count reads at once.
const BATCH: ReadLimit = ReadLimit { entries: 256, bytes: 3 << 19 };
const COUNTED_AT_ONCE: ReadLimit = ReadLimit { entries: 1_024, bytes: 8 << 20 };

/// Events that are to go, wherever they are.
pub(super) struct PurgeWork {
    waiting: EventWork,
    parked: Parked,
    /// What came later is not meant.
    counted_at: Timestamp,
    /// Something may be marked: it is more than a count.
    has_begun: AtomicBool,
}

/// Whether a letter is meant.
enum Meant {
    Yes,
    No,
    /// Its record does not decode.
    Unread,
}

impl PurgeWork {
    pub(super) fn new(desk: &Desk, filter: Filter, counted_at: Timestamp) -> Self {
        let waiting = EventWork::new(desk, filter, Change::Purge);
        Self { waiting, parked: desk.parked.clone(), counted_at, has_begun: AtomicBool::new(false) }
    }

    async fn count(&self, after: Option<Place>) -> Result<Looked, QueueError> {
        let Some(after) = letters(after) else {
            let looked = self.waiting.look(after).await?;
            return Ok(Looked { next: looked.next.or(Some(Place::Letters)), ..looked });
        };
        let page = self.parked.page(LetterOrder::OldestFirst, after, COUNTED_AT_ONCE).await?;
        let mut looked = Looked { matched: 0, unread: page.unreadable, next: page.next.map(Place::Letter) };
        for placed in &page.letters {
            match self.means(&placed.letter) {
                Meant::Yes => looked.matched += 1,
                Meant::No => {}
                Meant::Unread => looked.unread += 1,
            }
        }
        Ok(looked)
    }

    async fn step(&self, after: Option<Place>) -> Result<Step, QueueError> {
        self.has_begun.store(true, Ordering::Relaxed);
        let ended = self.waiting.queue.take_last_calls();
        let count = ended.len() as u64;
        for (lane, id) in ended {
            // There is nothing to hand over.
            self.waiting.dispatch.let_go(lane, HashSet::from([id])).await;
        }
        if count > 0 {
            EventsChanged { change: "purge", count }.emit();
        }
        // What has ended counts, whatever comes of the rest.
        let mut step = match self.next(after).await {
            Ok(step) => step,
            Err(error) => Step { tally: Tally::default(), next: after, error: Some(error) },
        };
        step.tally.changed += count;
        Ok(step)
    }

    async fn next(&self, after: Option<Place>) -> Result<Step, QueueError> {
        let Some(after) = letters(after) else {
            let step = self.waiting.change(after, u64::MAX).await?;
            return Ok(Step { next: step.next.or(Some(Place::Letters)), ..step });
        };
        // Let go of between two batches, so that others get their turn.
        let mut turn = self.parked.turn().await?;
        let page = turn.page(after, BATCH).await?;
        let mut tally = Tally { unread: page.unreadable, ..Tally::default() };
        let mut places = Vec::new();
        for placed in page.letters {
            match self.means(&placed.letter) {
                Meant::Yes => places.push(placed.place),
                Meant::No => {}
                Meant::Unread => tally.unread += 1,
            }
        }
        tally.changed = turn.purge(places).await?;
        Ok(Step { tally, next: page.next.map(Place::Letter), error: None })
    }

    fn means(&self, letter: &DeadLetter) -> Meant {
        let Ok(event) = record::decode(&letter.record) else { return Meant::Unread };
        let EventWork { filter, defaults, .. } = &self.waiting;
        // One that was accepted elsewhere may have an id of another time.
        let is_there = letter.at < self.counted_at || filter.is_of_its_time(letter.id, &event);
        if is_there && filter.means_what(&event, defaults) { Meant::Yes } else { Meant::No }
    }
}

impl Work for PurgeWork {
    fn look(&self, after: Option<Place>) -> BoxFuture<'_, Result<Looked, QueueError>> {
        self.count(after).boxed()
    }

    fn change(&self, after: Option<Place>, _most: u64) -> BoxFuture<'_, Result<Step, QueueError>> {
        self.step(after).boxed()
    }

    fn is_exhaustive(&self) -> bool {
        true
    }
}

impl Drop for PurgeWork {
    fn drop(&mut self) {
        // A run that was stopped leaves alone what it has not removed.
        if *self.has_begun.get_mut() {
            self.waiting.queue.spare_all();
        }
    }
}

/// The place among the letters: `Some(None)` is their beginning.
fn letters(place: Option<Place>) -> Option<Option<LetterPlace>> {
    match place {
        Some(Place::Letters) => Some(None),
        Some(Place::Letter(place)) => Some(Some(place)),
        None | Some(Place::Waiting(_)) => {
            debug_assert_eq!(place.is_some(), waiting(place).is_some());
            None
        }
    }
}
