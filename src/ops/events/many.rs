//! Changes of many events that wait, step by step.
//!
//! Must not know: how a run is begun, how its progress is shown.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use crate::dispatch::DispatchHandle;
use crate::event::{EventId, Labels};
use crate::ops::changes::work::{Looked, Place, Step, Tally, Work};
use crate::ops::desk::Desk;
use crate::ops::events::filter::Filter;
use crate::ops::events::word;
use crate::queue::{Change, Changed, Queue, QueueError, ReadAhead, Standing};
use crate::store::{ScanPlace, StoreError};
use crate::telemetry::EventsChanged;

/// Events that are changed together: they share a few writes, and dispatch goes on between them.
const AT_ONCE: usize = 256;
/// Events that are found in one step of a count.
const COUNTED_AT_ONCE: usize = 10_000;

/// Events that wait and are to be changed.
pub(super) struct EventWork {
    pub(super) queue: Queue,
    pub(super) dispatch: DispatchHandle,
    /// Labels of all events.
    pub(super) defaults: Arc<Labels>,
    pub(super) filter: Filter,
    change: Change,
}

impl EventWork {
    pub(super) fn new(desk: &Desk, filter: Filter, change: Change) -> Self {
        Self {
            queue: desk.queue.clone(),
            dispatch: desk.dispatch.clone(),
            defaults: Arc::clone(&desk.router.defaults.labels),
            filter,
            change,
        }
    }

    async fn count(&self, after: Option<ScanPlace>) -> Result<Looked, QueueError> {
        let page = self.queue.search(&self.filter.page(&self.defaults, after, COUNTED_AT_ONCE)).await?;
        Ok(Looked {
            matched: page.events.len() as u64,
            unread: page.unread,
            next: page.next.map(Place::Waiting),
        })
    }

    async fn step(&self, after: Option<ScanPlace>, most: u64) -> Result<Step, QueueError> {
        let most = usize::try_from(most).unwrap_or(AT_ONCE).min(AT_ONCE);
        let found = self.queue.search(&self.filter.page(&self.defaults, after, most)).await?;
        let by: Arc<dyn ReadAhead> = Arc::new(self.dispatch.clone());
        // By the entry, which is there also where nothing leads from the id of a redriven event to it any more.
        let changes = found
            .events
            .iter()
            .map(|(id, standing)| self.queue.change(entry_of(*id, standing), self.change, Arc::clone(&by)));
        // Together, so that they share a sync of the store.
        let mut step = tallied(join_all(changes).await);
        step.tally.unread += found.unread;
        step.next = found.next.map(Place::Waiting);
        if step.tally.changed > 0 {
            EventsChanged { change: word(self.change), count: step.tally.changed }.emit();
        }
        Ok(step)
    }
}

impl Work for EventWork {
    fn look(&self, after: Option<Place>) -> BoxFuture<'_, Result<Looked, QueueError>> {
        self.count(waiting(after)).boxed()
    }

    fn change(&self, after: Option<Place>, most: u64) -> BoxFuture<'_, Result<Step, QueueError>> {
        self.step(waiting(after), most).boxed()
    }
}

/// The place among what waits.
pub(super) const fn waiting(place: Option<Place>) -> Option<ScanPlace> {
    match place {
        Some(Place::Waiting(place)) => Some(place),
        _ => None,
    }
}

fn entry_of(id: EventId, standing: &Standing) -> EventId {
    standing.waiting().map_or(id, |waiting| waiting.entry)
}

/// All that was done counts, whatever failed beside it.
fn tallied(changes: Vec<Result<Changed, QueueError>>) -> Step {
    let (mut tally, mut failed) = (Tally::default(), None);
    for change in changes {
        match change {
            Ok(Changed::Done) => tally.changed += 1,
            Ok(Changed::UnderWay | Changed::OnItsWay) => tally.under_way += 1,
            Ok(Changed::Ended(_) | Changed::Unknown) => tally.leave(1, || "it had ended".to_owned()),
            Ok(Changed::TooLate { expires_at }) => {
                tally.leave(1, || format!("it would be due after the end of its life at {expires_at}"));
            }
            // The others are not concerned.
            Err(error) if is_unread(&error) => tally.unread += 1,
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Step { tally, next: None, error: failed }
}

/// Whether one event could not be read, which says nothing of others.
fn is_unread(error: &QueueError) -> bool {
    matches!(
        error,
        QueueError::Record(_)
            | QueueError::Store(
                StoreError::Unread { .. }
                    | StoreError::Damaged { .. }
                    | StoreError::Io { operation: "read" | "open", .. }
            )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_done_counts_and_what_cannot_be_read_is_passed_over() {
        let unread = |operation| {
            let (place, reason) = ("a segment".to_owned(), "made to fail".to_owned());
            Err(QueueError::Store(StoreError::Io { operation, place, reason }))
        };
        let done = || Ok(Changed::Done);
        let Step { tally, error, .. } =
            tallied(vec![done(), unread("read"), Ok(Changed::UnderWay), done(), Ok(Changed::Unknown)]);
        assert_eq!((tally.changed, tally.under_way, tally.left, tally.unread), (2, 1, 1, 1));
        assert!(error.is_none(), "the run goes on");
        // The control: what says that no more can be changed.
        let reason = "the first".to_owned();
        let failed = || Err(QueueError::Store(StoreError::Poisoned { reason: reason.clone() }));
        let Step { tally, error, .. } = tallied(vec![failed(), done(), unread("write"), done()]);
        assert_eq!((tally.changed, tally.unread), (2, 0));
        assert!(matches!(error, Some(QueueError::Store(StoreError::Poisoned { .. }))));
    }
}
