//! Changes of many events while they are made: which there are, how far each has come, and the task that makes one.
//!
//! A run ends with the process; what it has changed stays changed.
//!
//! Must not know: how a request asks for one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::ops::desk::Desk;
use crate::ops::events::filter::Filter;
use crate::ops::events::word;
use crate::queue::{Change, Changed, QueueError, ReadAhead};
use crate::store::{ScanPlace, StoreError};
use crate::telemetry::EventsChanged;

/// Events that are changed together: they share a few writes, and dispatch goes on between them.
const AT_ONCE: usize = 256;
/// Runs that are remembered after their end.
const REMEMBERED: usize = 32;

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub number: u64,
    pub change: Change,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub state: RunState,
    /// How many events were meant when they were counted.
    pub matched: u64,
    pub changed: u64,
    /// Left alone because their calls were under way.
    pub under_way: u64,
    /// Left alone because they had ended, or would have been put off beyond their life.
    pub left: u64,
    /// Passed over because they could not be read.
    pub unread: u64,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RunState {
    /// Further events are changed, or it has just begun.
    Running,
    /// It is to end after what it is about.
    Stopping,
    /// An operator has stopped it.
    Stopped,
    /// It has come to the end.
    Done,
    /// The store could not be read or did not take a change.
    Failed,
}

impl RunState {
    /// The word by which answers name it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    const fn goes_on(self) -> bool {
        matches!(self, Self::Running | Self::Stopping)
    }
}

/// The runs of this process. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Runs(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    started: u64,
    /// Those of this process, the oldest first.
    runs: VecDeque<Run>,
    /// The task of the one that goes on.
    tasks: JoinSet<()>,
}

impl Kept {
    fn of(&mut self, number: u64) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.number == number)
    }
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Plain counters: after a panic elsewhere they are still the best knowledge there is.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All that are remembered, newest first.
    pub(super) fn all(&self) -> Vec<Run> {
        self.lock().runs.iter().rev().cloned().collect()
    }

    pub(super) fn get(&self, number: u64) -> Option<Run> {
        self.lock().of(number).cloned()
    }

    /// Has a run end after what it is about; one that has ended stays as it is.
    pub(super) fn stop(&self, number: u64) -> Option<Run> {
        let mut kept = self.lock();
        let run = kept.of(number)?;
        if run.state == RunState::Running {
            run.state = RunState::Stopping;
        }
        Some(run.clone())
    }

    /// Begins a run; `None` while another one goes on.
    pub(super) fn begin(&self, desk: &Desk, filter: Filter, change: Change, matched: u64) -> Option<Run> {
        let mut kept = self.lock();
        if kept.runs.iter().any(|run| run.state.goes_on()) {
            return None;
        }
        while kept.tasks.try_join_next().is_some() {}
        kept.started += 1;
        let run = Run {
            number: kept.started,
            change,
            started_at: desk.clock.now(),
            ended_at: None,
            state: RunState::Running,
            matched,
            changed: 0,
            under_way: 0,
            left: 0,
            unread: 0,
        };
        kept.runs.push_back(run.clone());
        if kept.runs.len() > REMEMBERED {
            kept.runs.pop_front();
        }
        let task = RunTask { runs: self.clone(), desk: desk.clone(), filter, change, number: run.number };
        kept.tasks.spawn(task.carry_out());
        info!(run = run.number, change = word(change), matched, "change of many events begun");
        Some(run)
    }

    fn update(&self, number: u64, update: impl FnOnce(&mut Run)) {
        if let Some(run) = self.lock().of(number) {
            update(run);
        }
    }
}

/// Makes the changes of one run.
struct RunTask {
    runs: Runs,
    desk: Desk,
    filter: Filter,
    change: Change,
    number: u64,
}

impl RunTask {
    async fn carry_out(self) {
        // Also after a panic: another run may begin.
        let mut end = EndOfRun { task: &self, state: RunState::Failed };
        match self.change_all().await {
            Ok(state) => end.state = state,
            Err(error) => warn!(run = self.number, %error, "change of many events failed"),
        }
    }

    async fn change_all(&self) -> Result<RunState, QueueError> {
        let mut after: Option<ScanPlace> = None;
        loop {
            if self.runs.get(self.number).is_none_or(|run| run.state == RunState::Stopping) {
                return Ok(RunState::Stopped);
            }
            let begun = self.desk.clock.now();
            let found = self.desk.queue.search(&self.filter.page(&self.desk, after, AT_ONCE)).await?;
            self.runs.update(self.number, |run| run.unread += found.unread);
            if found.events.is_empty() {
                // As long as it has looked: a search over very much leaves half of the time to others.
                tokio::time::sleep(self.desk.clock.now().since(begun)).await;
            }
            let by: Arc<dyn ReadAhead> = Arc::new(self.desk.dispatch.clone());
            // By the entry, which is there also where nothing leads from the id of a redriven event to it any more.
            let changes = found.events.iter().map(|(id, standing)| {
                let entry = standing.waiting().map_or(*id, |waiting| waiting.entry);
                self.desk.queue.change(entry, self.change, Arc::clone(&by))
            });
            // Together, so that they share a sync of the store.
            let batch = Batch::of(join_all(changes).await);
            self.count(&batch);
            if let Some(error) = batch.error {
                return Err(error);
            }
            match found.next {
                None => return Ok(RunState::Done),
                next => after = next,
            }
        }
    }

    fn count(&self, batch: &Batch) {
        self.runs.update(self.number, |run| {
            run.changed += batch.changed;
            run.under_way += batch.under_way;
            run.left += batch.left;
            run.unread += batch.unread;
        });
        if batch.changed > 0 {
            EventsChanged { change: word(self.change), count: batch.changed }.emit();
        }
    }
}

/// Says how a run ended, whichever way it does.
struct EndOfRun<'r> {
    task: &'r RunTask,
    state: RunState,
}

impl Drop for EndOfRun<'_> {
    fn drop(&mut self) {
        let RunTask { runs, desk, number, .. } = self.task;
        let (now, state) = (desk.clock.now(), self.state);
        runs.update(*number, |run| {
            run.state = state;
            run.ended_at = Some(now);
        });
        if let Some(Run { changed, under_way, left, unread, .. }) = runs.get(*number) {
            let (run, state) = (*number, state.word());
            info!(run, state, changed, under_way, left, unread, "change of many events ended");
        }
    }
}

/// What came of events that were changed together.
#[derive(Debug, Default)]
struct Batch {
    changed: u64,
    under_way: u64,
    left: u64,
    unread: u64,
    /// Why no more can be changed.
    error: Option<QueueError>,
}

impl Batch {
    /// All that was done counts, whatever failed beside it.
    fn of(changes: Vec<Result<Changed, QueueError>>) -> Self {
        let mut batch = Self::default();
        for change in changes {
            match change {
                Ok(Changed::Done) => batch.changed += 1,
                Ok(Changed::UnderWay | Changed::OnItsWay) => batch.under_way += 1,
                Ok(Changed::Ended(_) | Changed::TooLate { .. } | Changed::Unknown) => batch.left += 1,
                // The others are not concerned.
                Err(error) if is_unread(&error) => batch.unread += 1,
                Err(error) => batch.error = batch.error.or(Some(error)),
            }
        }
        batch
    }
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
        let batch =
            Batch::of(vec![done(), unread("read"), Ok(Changed::UnderWay), done(), Ok(Changed::Unknown)]);
        assert_eq!((batch.changed, batch.under_way, batch.left, batch.unread), (2, 1, 1, 1));
        assert!(batch.error.is_none(), "the run goes on");
        // The control: what says that no more can be changed.
        let reason = "the first".to_owned();
        let failed = || Err(QueueError::Store(StoreError::Poisoned { reason: reason.clone() }));
        let batch = Batch::of(vec![failed(), done(), unread("write"), done()]);
        assert_eq!((batch.changed, batch.unread), (2, 0));
        assert!(matches!(batch.error, Some(QueueError::Store(StoreError::Poisoned { .. }))));
    }
}
