//! The handle of the running dispatcher: figures, questions, promises, purges, idleness, stop.
//!
//! Must not know: how calls are planned.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Leap;
use crate::dispatch::input::PlannerFigures;
use crate::dispatch::planner::report::LaneReport;
use crate::dispatch::stops::Stops;
use crate::event::{Entry, EventId, Lane, LaneKey, PolicyId};
use crate::limit::{Admission, LimitKind, LimiterFigures, StateUsageError, Tried};
use crate::queue::{Queue, ReadAhead};
use crate::store::StoreError;

/// How long the queue is trusted to announce what it holds, while somebody waits for it to become empty.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Limiters whose figures are read at a time: few enough that calls do not wait for them.
const LIMITERS_AT_ONCE: usize = 1024;

/// A cheap handle of the running [`Service`](super::Service).
#[derive(Clone)]
pub(crate) struct DispatchHandle {
    pub(super) commands: mpsc::UnboundedSender<PlannerCommand>,
    pub(super) quiet: watch::Receiver<bool>,
    pub(super) queue: Queue,
}

pub(super) enum PlannerCommand {
    Ping(oneshot::Sender<()>),
    Figures(oneshot::Sender<PlannerFigures>),
    Limiters {
        from: usize,
        most: usize,
        answer: oneshot::Sender<(Vec<LimiterFigures>, Option<usize>)>,
    },
    LimitersOf {
        policy: PolicyId,
        after: Option<String>,
        most: usize,
        answer: oneshot::Sender<Vec<LimiterFigures>>,
    },
    Report(Lane, oneshot::Sender<LaneReport>),
    Place(LaneKey, EventId, oneshot::Sender<Option<usize>>),
    LetGo(LaneKey, HashSet<EventId>, oneshot::Sender<Vec<Entry>>),
    Promise {
        lanes: Vec<Lane>,
        /// By which promises are given back.
        back: mpsc::UnboundedSender<PlannerCommand>,
        answer: oneshot::Sender<Vec<Tried>>,
    },
    Withdraw(LaneKey),
    Purge(PolicyId, oneshot::Sender<u64>),
    Trust(oneshot::Sender<Option<Leap>>),
    Stops(Arc<Stops>, oneshot::Sender<()>),
    StateUsage(UsageStatement, oneshot::Sender<Result<(), StateUsageFailed>>),
    Stop {
        grace: Duration,
    },
}

/// What an operator states that is used of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsageStatement {
    /// The policy whose limit it is.
    pub policy: PolicyId,
    /// Its label values, as in [`crate::limit::LimiterFigures::key`].
    pub key: Box<str>,
    /// Which of its limits: the quota or the window.
    pub kind: LimitKind,
    /// How many starts are used of the present period or window.
    pub used: u32,
}

/// Why usage was not stated. What was used before still counts.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StateUsageFailed {
    /// There is no such limit, or the figure is above it.
    #[error(transparent)]
    Refused(#[from] StateUsageError),
    /// It could not be put on record.
    #[error("it could not be put on record: {0}")]
    NotRecorded(#[from] StoreError),
}

impl DispatchHandle {
    /// Waits until the dispatcher has come round to answer; `false` once it has stopped.
    pub(crate) async fn is_alive(&self) -> bool {
        self.ask(PlannerCommand::Ping).await.is_some()
    }

    /// What is going on; `None` once the dispatcher has stopped.
    pub(crate) async fn figures(&self) -> Option<PlannerFigures> {
        self.ask(PlannerCommand::Figures).await
    }

    /// The state of every limiter, read in portions; `None` once the dispatcher has stopped.
    pub(crate) async fn limiters(&self) -> Option<Vec<LimiterFigures>> {
        let mut all = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            // Each portion is a command of its own: calls start between them.
            let most = LIMITERS_AT_ONCE;
            let (page, after) = self.ask(|answer| PlannerCommand::Limiters { from, most, answer }).await?;
            all.extend(page);
            next = after;
        }
        Some(all)
    }

    /// The state of up to `most` limiters of a policy in order of their keys, those after `after`.
    pub(crate) async fn limiters_of(
        &self,
        policy: &PolicyId,
        after: Option<String>,
        most: usize,
    ) -> Option<Vec<LimiterFigures>> {
        let policy = policy.clone();
        self.ask(|answer| PlannerCommand::LimitersOf { policy, after, most, answer }).await
    }

    /// What a lane waits for at present; `None` once the dispatcher has stopped.
    pub(crate) async fn report(&self, lane: Lane) -> Option<LaneReport> {
        self.ask(|answer| PlannerCommand::Report(lane, answer)).await
    }

    /// Drops what waits under a policy now; returns how much that was when all of it is dropped. Goes on when the
    /// caller goes away.
    pub(crate) async fn purge(&self, policy: PolicyId) -> Option<u64> {
        self.ask(|answer| PlannerCommand::Purge(policy, answer)).await
    }

    /// Acts by these emergency stops from now on: when this returns, nothing starts that they hold. `None` once the
    /// dispatcher has stopped.
    pub(crate) async fn stop_by(&self, stops: Arc<Stops>) -> Option<()> {
        self.ask(|answer| PlannerCommand::Stops(stops, answer)).await
    }

    /// Ends the doubt about the wall clock ([`crate::clock::Clock::trust`]); `None` when there is none.
    pub(crate) async fn trust(&self) -> Option<Leap> {
        self.ask(PlannerCommand::Trust).await.flatten()
    }

    /// States what is used of a limit: on record and counted on return. Goes on when the caller goes away. `None` once
    /// the dispatcher has stopped.
    pub(crate) async fn state_usage(
        &self,
        statement: UsageStatement,
    ) -> Option<Result<(), StateUsageFailed>> {
        self.ask(|answer| PlannerCommand::StateUsage(statement, answer)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> PlannerCommand) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        // Either end fails only when the dispatcher has stopped.
        self.commands.send(command(answer)).ok()?;
        answered.await.ok()
    }

    /// Starts nothing any more; calls in flight may go on for `grace`, then they are abandoned and repeated
    /// after the next start. [`Service::run`](super::Service::run) returns when all is settled.
    pub(crate) fn stop(&self, grace: Duration) {
        // A dispatcher that has stopped already needs no command.
        let _ = self.commands.send(PlannerCommand::Stop { grace });
    }

    /// Waits until the queue holds nothing and nothing is in flight, or the dispatcher has stopped.
    pub(crate) async fn idle(&self) {
        let mut quiet = self.quiet.clone();
        loop {
            if quiet.wait_for(|quiet| *quiet).await.is_err() {
                return;
            }
            self.queue.flush().await;
            // Asked after the flush, which may have taken long.
            let has_stopped = quiet.has_changed().is_err();
            if has_stopped || self.queue.is_empty() && *quiet.borrow() {
                return;
            }
            // Entries that were just accepted, or that are put off: both will make noise, but the queue may
            // also become empty without the dispatcher.
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl ReadAhead for DispatchHandle {
    fn place(&self, lane: LaneKey, id: EventId) -> BoxFuture<'_, Option<usize>> {
        async move { self.ask(|answer| PlannerCommand::Place(lane, id, answer)).await.flatten() }.boxed()
    }

    fn let_go(&self, lane: LaneKey, ids: HashSet<EventId>) -> BoxFuture<'_, Vec<Entry>> {
        let asked = self.ask(|answer| PlannerCommand::LetGo(lane, ids, answer));
        asked.map(Option::unwrap_or_default).boxed()
    }

    fn taken(&self, lane: LaneKey) {
        // A dispatcher that has stopped keeps no promises.
        let _ = self.commands.send(PlannerCommand::Withdraw(lane));
    }
}

impl Admission for DispatchHandle {
    fn promise(&self, lanes: Vec<Lane>) -> BoxFuture<'_, Option<Vec<Tried>>> {
        let back = self.commands.clone();
        self.ask(|answer| PlannerCommand::Promise { lanes, back, answer }).boxed()
    }

    fn used(&self, lane: Lane) -> BoxFuture<'_, Vec<LimiterFigures>> {
        async move { self.report(lane).await.map(|report| report.limits).unwrap_or_default() }.boxed()
    }
}
