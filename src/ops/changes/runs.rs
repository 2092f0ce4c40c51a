//! Changes of many while they are made: which there are, how far each has come, and the task that makes one.
//!
//! A run ends with the process; what it has changed stays changed.
//!
//! Must not know: what is changed, how a request asks for one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::ops::changes::work::{ChangeVerb, Place, Step, Tally, Work};
use crate::queue::QueueError;

/// Runs that are remembered after their end.
const REMEMBERED: usize = 32;
/// The shortest pause before a run looks at everything once more: calls under way come to their end meanwhile.
const ROUND_PAUSE: Duration = Duration::from_millis(200);

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ops) struct Run {
    pub number: u64,
    pub verb: ChangeVerb,
    /// Which are meant, in words for people.
    pub about: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub state: RunState,
    /// How many were meant when they were counted.
    pub matched: u64,
    /// There may have been more: counting took too long.
    pub is_at_least: bool,
    /// What has become of them.
    pub tally: Tally,
    /// What ended it before its end, if something did.
    pub error: Option<String>,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum RunState {
    /// Further ones are changed, or it has just begun.
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
    pub(in crate::ops) const fn word(self) -> &'static str {
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

/// What a run is about, as it was confirmed.
pub(super) struct Begun {
    pub verb: ChangeVerb,
    pub about: String,
    pub matched: u64,
    pub is_at_least: bool,
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
    pub(in crate::ops) fn all(&self) -> Vec<Run> {
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
    pub(super) fn begin(&self, clock: &Clock, begun: Begun, work: impl Work) -> Option<Run> {
        let mut kept = self.lock();
        if kept.runs.iter().any(|run| run.state.goes_on()) {
            return None;
        }
        while kept.tasks.try_join_next().is_some() {}
        kept.started += 1;
        let Begun { verb, about, matched, is_at_least } = begun;
        let run = Run {
            number: kept.started,
            verb,
            about,
            started_at: clock.now(),
            ended_at: None,
            state: RunState::Running,
            matched,
            is_at_least,
            tally: Tally::default(),
            error: None,
        };
        kept.runs.push_back(run.clone());
        if kept.runs.len() > REMEMBERED {
            kept.runs.pop_front();
        }
        let task =
            RunTask { runs: self.clone(), clock: clock.clone(), number: run.number, work: Box::new(work) };
        kept.tasks.spawn(task.carry_out());
        Some(run)
    }

    fn update(&self, number: u64, update: impl FnOnce(&mut Run)) {
        if let Some(run) = self.lock().of(number) {
            update(run);
        }
    }

    /// How many a run may still deal with; `None` when it is to stop.
    fn room(&self, number: u64) -> Option<u64> {
        let run = self.get(number).filter(|run| run.state == RunState::Running)?;
        Some(if run.is_at_least { u64::MAX } else { run.matched.saturating_sub(run.tally.dealt_with()) })
    }
}

/// Makes the changes of one run.
struct RunTask {
    runs: Runs,
    clock: Clock,
    number: u64,
    work: Box<dyn Work>,
}

impl RunTask {
    async fn carry_out(self) {
        // Also after a panic: another run may begin.
        let mut end =
            EndOfRun { task: &self, state: RunState::Failed, error: Some("it panicked".to_owned()) };
        match self.change_all().await {
            Ok(state) => (end.state, end.error) = (state, None),
            Err(error) => end.error = Some(error.to_string()),
        }
    }

    async fn change_all(&self) -> Result<RunState, QueueError> {
        let is_exhaustive = self.work.is_exhaustive();
        let (mut after, mut round): (Option<Place>, _) = (None, Tally::default());
        loop {
            let Some(room) = self.runs.room(self.number) else { return Ok(RunState::Stopped) };
            let most = if is_exhaustive { u64::MAX } else { room };
            if most == 0 {
                return Ok(RunState::Done);
            }
            let begun = self.clock.now();
            let Step { tally, next, error } = self.work.change(after, most).await?;
            let has_looked_only = tally == Tally::default();
            round.add(tally.clone());
            self.runs.update(self.number, |run| run.tally.add(tally));
            if let Some(error) = error {
                return Err(error);
            }
            if has_looked_only {
                // As long as it has looked: a search over very much leaves half of the time to others.
                tokio::time::sleep(self.clock.now().since(begun)).await;
            }
            after = next;
            if after.is_none() {
                if !is_exhaustive || (round.changed == 0 && round.under_way == 0) {
                    return Ok(RunState::Done);
                }
                tokio::time::sleep(ROUND_PAUSE).await;
                round = Tally::default();
                // What is said of them at the end is what the last round has found.
                self.runs.update(self.number, |run| {
                    run.tally = Tally { changed: run.tally.changed, ..Tally::default() };
                });
            }
        }
    }
}

/// Says how a run ended, whichever way it does.
struct EndOfRun<'r> {
    task: &'r RunTask,
    state: RunState,
    error: Option<String>,
}

impl Drop for EndOfRun<'_> {
    fn drop(&mut self) {
        let RunTask { runs, clock, number, .. } = self.task;
        let (now, state, error) = (clock.now(), self.state, self.error.take());
        runs.update(*number, |run| {
            (run.state, run.ended_at, run.error) = (state, Some(now), error);
        });
        let Some(Run { number: run, verb, tally, error, .. }) = runs.get(*number) else { return };
        let (verb, of, state) = (verb.word(), verb.of(), state.word());
        let Tally { changed, under_way, left, unread, .. } = tally;
        match error {
            None => info!(run, verb, of, state, changed, under_way, left, unread, "change of many ended"),
            Some(error) => {
                warn!(run, verb, of, changed, under_way, left, unread, error, "change of many failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::ops::changes::work::Looked;
    use crate::store::LetterPlace;

    /// Changes one of its things in each step; `under_way` rounds find the last one under way.
    struct Steps {
        left: Mutex<u64>,
        under_way: Mutex<u64>,
        is_exhaustive: bool,
    }

    impl Steps {
        fn new(left: u64, under_way: u64, is_exhaustive: bool) -> Self {
            Self { left: Mutex::new(left), under_way: Mutex::new(under_way), is_exhaustive }
        }
    }

    impl Work for Steps {
        fn look(&self, _: Option<Place>) -> BoxFuture<'_, Result<Looked, QueueError>> {
            async { Ok(Looked::default()) }.boxed()
        }

        fn change(&self, _: Option<Place>, most: u64) -> BoxFuture<'_, Result<Step, QueueError>> {
            let (mut left, mut under_way) =
                (self.left.lock().expect("no panic"), self.under_way.lock().expect("no panic"));
            let tally = match (*left, *under_way) {
                (0, 0) => Tally::default(),
                (0, _) => {
                    *under_way -= 1;
                    Tally { under_way: 1, unread: 1, ..Tally::default() }
                }
                _ => {
                    *left -= most.min(1);
                    Tally { changed: most.min(1), ..Tally::default() }
                }
            };
            let next = (*left > 0).then_some(Place::Letter(LetterPlace::of_number(1)));
            async move { Ok(Step { tally, next, error: None }) }.boxed()
        }

        fn is_exhaustive(&self) -> bool {
            self.is_exhaustive
        }
    }

    fn begin(runs: &Runs, matched: u64, is_at_least: bool, work: Steps) -> Option<Run> {
        let begun = Begun { verb: ChangeVerb::Cancel, about: String::new(), matched, is_at_least };
        runs.begin(&Clock::manual(Timestamp::ZERO), begun, work)
    }

    async fn ended(runs: &Runs) -> Run {
        loop {
            let run = runs.all().remove(0);
            if !run.state.goes_on() {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_changed_than_were_counted_unless_there_may_have_been_more() {
        let runs = Runs::default();
        begin(&runs, 3, false, Steps::new(10, 0, false)).expect("free");
        let run = ended(&runs).await;
        assert_eq!((run.state, run.tally.changed), (RunState::Done, 3));
        begin(&runs, 3, true, Steps::new(10, 0, false)).expect("free");
        assert_eq!(ended(&runs).await.tally.changed, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn an_exhaustive_run_ends_when_a_round_has_found_nothing() {
        let runs = Runs::default();
        begin(&runs, 1, false, Steps::new(2, 3, true)).expect("free");
        let run = ended(&runs).await;
        assert_eq!((run.state, run.tally), (RunState::Done, Tally { changed: 2, ..Tally::default() }));
        // The control: another one leaves alone what is under way.
        begin(&runs, 2, false, Steps::new(1, 3, false)).expect("free");
        assert_eq!(ended(&runs).await.tally.changed, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn one_run_goes_on_at_a_time_and_can_be_stopped() {
        let runs = Runs::default();
        let first = begin(&runs, 1, false, Steps::new(0, u64::MAX, true)).expect("free");
        assert_eq!(begin(&runs, 1, false, Steps::new(0, 0, false)), None);
        assert_eq!(runs.stop(first.number).map(|run| run.state), Some(RunState::Stopping));
        let run = ended(&runs).await;
        assert_eq!((run.state, run.ended_at), (RunState::Stopped, Some(Timestamp::ZERO)));
        assert_eq!(runs.stop(first.number).map(|run| run.state), Some(RunState::Stopped), "it has ended");
        assert_eq!(begin(&runs, 0, false, Steps::new(1, 0, false)).map(|run| run.number), Some(2));
        assert_eq!(ended(&runs).await.tally.changed, 0);
    }
}
