//! Changes of many letters: counted first, then carried out in bounded batches, with progress that can be asked for.
//!
//! An operation is forgotten with its process. What it has done by then is done, and the same operation may be started again:
//! it goes on with what is left of the letters that were parked before the moment at which they were counted.
//!
//! Must not know: which letters are wanted and why, where events go.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Parked, Remade, Turn};
use crate::clock::Timestamp;
use crate::queue::QueueError;
use crate::store::{DeadLetter, LetterOrder, PlacedLetter, ReadLimit};

/// Letters of one batch: together they are less than what the store makes durable at once.
const BATCH: ReadLimit = ReadLimit { entries: 256, bytes: 3 << 19 };
/// Letters that a count reads at once.
const COUNTED_AT_ONCE: ReadLimit = ReadLimit { entries: 1_024, bytes: 8 << 20 };
/// Operations that can be asked for after their end.
const REMEMBERED: usize = 16;

/// Says whether a letter is wanted.
pub(crate) type Wanted = Arc<dyn Fn(&DeadLetter) -> bool + Send + Sync>;

/// Makes the event of a letter as it is handed in again, or says why there is none.
pub(crate) type Remake = Arc<dyn Fn(&DeadLetter) -> Result<Remade, String> + Send + Sync>;

/// What is done to letters.
#[derive(Clone)]
pub(crate) enum OperationVerb {
    /// They are handed in again.
    Redrive(Remake),
    /// They are dropped for good.
    Purge,
}

/// What an operation is to do.
#[derive(Clone)]
pub(crate) struct OperationTask {
    /// What is done to each letter.
    pub verb: OperationVerb,
    /// Which letters it is done to.
    pub wanted: Wanted,
    /// How many letters were counted: no more than these are touched.
    pub count: u64,
    /// The letters in the words of who asked.
    pub about: String,
}

/// How far an operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationState {
    /// Further letters are changed, or it has just begun.
    Running,
    /// All letters were looked at.
    Done,
    /// It stopped before its end: it may be started again.
    Failed,
}

/// An operation, as it is at a moment.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    /// Its number in this process, from 1.
    pub id: u64,
    /// `redrive` or `purge`.
    pub verb: &'static str,
    /// The letters in the words of who asked.
    pub about: String,
    /// How far it has come.
    pub state: OperationState,
    /// How many letters were confirmed.
    pub count: u64,
    /// How many were redriven or purged.
    pub done: u64,
    /// How many could not be redriven: they are letters still.
    pub refused: u64,
    /// Why the first of those could not.
    pub refusal: Option<String>,
    /// Why it stopped before its end.
    pub error: Option<String>,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When it ended, in whichever way; `None` while it runs.
    pub ended_at: Option<Timestamp>,
}

/// Another operation goes on: one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// The operations of this process. Clones share them.
#[derive(Clone)]
pub(crate) struct Operations {
    parked: Parked,
    known: Arc<Mutex<VecDeque<Operation>>>,
}

impl OperationVerb {
    const fn word(&self) -> &'static str {
        match self {
            Self::Redrive(_) => "redrive",
            Self::Purge => "purge",
        }
    }
}

impl OperationState {
    /// The word that answers use.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Operations {
    pub(crate) fn new(parked: Parked) -> Self {
        Self { parked, known: Arc::default() }
    }

    /// How many letters are wanted. Costs a walk over all of them, in bounded pieces.
    ///
    /// # Errors
    /// [`QueueError::Store`] when they cannot be read.
    pub(crate) async fn count(&self, wanted: &Wanted) -> Result<u64, QueueError> {
        let (mut count, mut after) = (0_u64, None);
        loop {
            let page = self.parked.page(LetterOrder::OldestFirst, after, COUNTED_AT_ONCE).await?;
            count += page.letters.iter().filter(|placed| wanted(&placed.letter)).count() as u64;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(count),
            }
        }
    }

    /// Begins an operation, which goes on by itself.
    ///
    /// # Errors
    /// [`Busy`] while another one goes on.
    pub(crate) fn start(&self, task: OperationTask) -> Result<Operation, Busy> {
        let mut known = self.known();
        if known.front().is_some_and(|last| last.state == OperationState::Running) {
            return Err(Busy);
        }
        let operation = Operation {
            id: known.front().map_or(1, |last| last.id + 1),
            verb: task.verb.word(),
            about: task.about.clone(),
            state: OperationState::Running,
            count: task.count,
            done: 0,
            refused: 0,
            refusal: None,
            error: None,
            started_at: self.parked.0.clock.now(),
            ended_at: None,
        };
        known.truncate(REMEMBERED - 1);
        known.push_front(operation.clone());
        drop(known);
        let operations = self.clone();
        tokio::spawn(async move { operations.run(task).await });
        Ok(operation)
    }

    /// The last operations, the newest first.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<Operation> {
        self.known().iter().cloned().collect()
    }

    async fn run(&self, task: OperationTask) {
        // Also after a panic: nobody waits for it in vain.
        let mut end = EndOfOperation { operations: self, error: Some("it panicked".to_owned()) };
        end.error = self.carry_out(&task).await.err().map(|error| error.to_string());
    }

    async fn carry_out(&self, task: &OperationTask) -> Result<(), QueueError> {
        let mut after = None;
        loop {
            // Let go of between two batches, so that others get their turn.
            let mut turn = self.parked.turn().await?;
            let page = turn.page(after, BATCH).await?;
            let left =
                self.current(|operation| operation.count.saturating_sub(operation.done + operation.refused));
            let wanted = page.letters.into_iter().filter(|placed| (task.wanted)(&placed.letter));
            let wanted = wanted.take(usize::try_from(left).unwrap_or(usize::MAX)).collect::<Vec<_>>();
            let is_over = wanted.len() as u64 >= left;
            self.batch(&mut turn, &task.verb, wanted).await?;
            match page.next {
                Some(next) if !is_over => after = Some(next),
                _ => return Ok(()),
            }
        }
    }

    async fn batch(
        &self,
        turn: &mut Turn<'_>,
        verb: &OperationVerb,
        letters: Vec<PlacedLetter>,
    ) -> Result<(), QueueError> {
        let done = match verb {
            OperationVerb::Purge => turn.purge(letters.iter().map(|placed| placed.place).collect()).await?,
            OperationVerb::Redrive(remake) => {
                let mut batch = Vec::with_capacity(letters.len());
                for placed in letters {
                    match remake(&placed.letter) {
                        Ok(remade) => batch.push((placed, remade)),
                        Err(refusal) => self.current(|operation| {
                            operation.refused += 1;
                            operation.refusal.get_or_insert(refusal);
                        }),
                    }
                }
                let asked = batch.len() as u64;
                let done = turn.redrive(batch).await?.len() as u64;
                if done < asked {
                    let refusal = "another letter goes by the same id and was redriven as often";
                    self.current(|operation| {
                        operation.refused += asked - done;
                        operation.refusal.get_or_insert_with(|| refusal.to_owned());
                    });
                }
                done
            }
        };
        self.current(|operation| operation.done += done);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Operation>> {
        // Figures alone: a panic elsewhere leaves them as they were.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The operation that goes on: the newest one.
    fn current<T: Default>(&self, look: impl FnOnce(&mut Operation) -> T) -> T {
        self.known().front_mut().map(look).unwrap_or_default()
    }
}

/// Says how an operation ended, whichever way it does.
struct EndOfOperation<'o> {
    operations: &'o Operations,
    error: Option<String>,
}

impl Drop for EndOfOperation<'_> {
    fn drop(&mut self) {
        let (now, error) = (self.operations.parked.0.clock.now(), self.error.take());
        self.operations.current(|operation| {
            operation.state = if error.is_none() { OperationState::Done } else { OperationState::Failed };
            operation.error = error;
            operation.ended_at = Some(now);
            let (id, verb, done, refused) = (operation.id, operation.verb, operation.done, operation.refused);
            match &operation.error {
                None => tracing::info!(id, verb, done, refused, "operation on dead letters ended"),
                Some(error) => {
                    tracing::warn!(id, verb, done, refused, error, "operation on dead letters stopped");
                }
            }
        });
    }
}
