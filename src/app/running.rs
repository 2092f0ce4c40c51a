//! Everything running: named tasks, what ends them, and the order in which they end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::housekeeping::Housekeeper;
use crate::app::live::Live;
use crate::app::traces::Exporting;
use crate::app::{App, AppError, AppErrorKind, EventReport, ServiceManager, slow_store};
use crate::clock::Clock;
use crate::dispatch::DispatchHandle;
use crate::ingest::{self, Intake};
use crate::policy::Policies;
use crate::queue::Queue;
use crate::store::{EntryStore, UsageStore};

/// How often the store is asked whether it has failed for good.
const LOOK_AT_STORE_EVERY: Duration = Duration::from_millis(100);
/// How long the doors may take to finish the requests that they have taken.
const DOORS_GRACE: Duration = Duration::from_secs(5);

/// The running daemon: its tasks, and what ends them.
pub struct Running {
    addr: SocketAddr,
    queue: Queue,
    store: Arc<dyn EntryStore>,
    usages: Arc<dyn UsageStore>,
    intake: Intake,
    pub(super) live: Live,
    dispatch: DispatchHandle,
    pub(super) policies: Policies,
    pub(super) clock: Clock,
    /// Cancelled when no more events are taken.
    closing: CancellationToken,
    /// Cancelled when the tasks that look after the daemon have to end.
    ended: CancellationToken,
    doors: JoinHandle<()>,
    dispatcher: JoinHandle<()>,
    housekeeper: JoinHandle<()>,
    slow_store: JoinHandle<()>,
    tokens: JoinHandle<()>,
    exporting: Exporting,
    /// Posts outcomes, where they are posted.
    posting: Option<JoinHandle<()>>,
}

/// What has become of the lines of a stream of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedSummary {
    /// Events that were made durable, repeated ones included.
    pub accepted: u64,
    /// Refused, with the reason in the answers.
    pub refused: u64,
    /// Answers that could not be written, at most; what they answered is accepted or refused all the same.
    pub unanswered: u64,
}

/// Starts every task of a daemon that was built.
pub(super) fn spawn(app: App) -> Running {
    let ended = CancellationToken::new();
    let housekeeper = Housekeeper {
        queue: app.queue.clone(),
        policies: app.policies.clone(),
        dispatch: app.dispatch.clone(),
        metrics: app.metrics,
        clock: app.clock.clone(),
        outlooks: app.outlooks,
        pulse: app.pulse,
        letters: app.letters,
        spent: app.spent,
        live: app.live.clone(),
    };
    Running {
        addr: app.doors.listener.address(),
        doors: tokio::spawn(app.doors.listener.serve(
            app.doors.routes,
            app.doors.options,
            app.closing.clone(),
        )),
        dispatcher: tokio::spawn(app.service.run()),
        housekeeper: tokio::spawn(housekeeper.run(ended.clone())),
        slow_store: tokio::spawn(slow_store::watch(app.queue.clone(), app.clock.clone(), ended.clone())),
        tokens: tokio::spawn(app.deliver.keep_tokens(ended.clone())),
        posting: app.posting.map(|posting| tokio::spawn(posting.run(ended.clone()))),
        exporting: Exporting::spawn(app.exporter),
        queue: app.queue,
        store: app.store,
        usages: app.usages,
        intake: app.intake,
        live: app.live,
        dispatch: app.dispatch,
        policies: app.policies,
        clock: app.clock,
        closing: app.closing,
        ended,
    }
}

impl Running {
    /// The address at which the doors listen.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes NDJSON events from `input` until its end and writes one answer per line to `answers`.
    ///
    /// # Errors
    /// [`AppError`] when the input breaks. Answers that cannot be written are counted and end nothing.
    pub async fn feed<R, W>(&self, input: R, answers: W) -> Result<FeedSummary, AppError>
    where
        R: AsyncRead + Unpin + Send,
        W: AsyncWrite + Unpin + Send,
    {
        let summary = ingest::stdin::serve(&self.intake, input, answers)
            .await
            .map_err(|error| AppError::other(format!("the stream of events broke: {error}")))?;
        let ingest::stdin::StdinSummary { accepted, refused, unanswered, .. } = summary;
        Ok(FeedSummary { accepted, refused, unanswered })
    }

    /// Tells the service manager that the dispatch loop lives, as long as it does.
    pub async fn beat(&self, manager: &ServiceManager) -> Infallible {
        manager.beat(async || self.dispatch.is_alive().await).await
    }

    /// Returns once every event has reached its end.
    pub async fn idle(&self) {
        self.dispatch.idle().await;
    }

    /// What has become of the events so far.
    #[must_use]
    pub fn report(&self) -> EventReport {
        report(&self.queue)
    }

    /// Returns when something failed that tidegate cannot go on without: the store, or one of its own tasks.
    pub async fn failed(&self) -> AppError {
        loop {
            if let Some(reason) = self.queue.store_health().poisoned.or_else(|| self.usages.poisoned()) {
                let detail = format!("the store failed and takes no more writes: {reason}");
                return AppError { kind: AppErrorKind::Store, detail };
            }
            let tasks = [
                ("doors", &self.doors),
                ("dispatcher", &self.dispatcher),
                ("housekeeper", &self.housekeeper),
                ("slow_store", &self.slow_store),
                ("tokens", &self.tokens),
            ];
            for (name, task) in tasks.into_iter().chain(self.posting.iter().map(|task| ("posting", task))) {
                // A task that ends before `drain` has asked it to has failed, most likely by a panic.
                if task.is_finished() {
                    return AppError::other(format!("the task {name:?} ended by itself"));
                }
            }
            tokio::time::sleep(LOOK_AT_STORE_EVERY).await;
        }
    }

    /// Stops the doors, lets calls under way end within `grace`, syncs and closes the store.
    ///
    /// # Errors
    /// [`AppError`] when the store could not be closed in good order; nothing accepted is lost even then.
    pub async fn drain(self, grace: Duration) -> Result<EventReport, AppError> {
        self.closing.cancel();
        self.dispatch.stop(grace);
        let doors = self.doors.abort_handle();
        if tokio::time::timeout(DOORS_GRACE, ended("doors", self.doors)).await.is_err() {
            warn!("requests that did not end in time are cut off");
            doors.abort();
        }
        // Bounded by `grace`: calls that are under way then are given up and made again after the next start.
        ended("dispatcher", self.dispatcher).await;
        // Only after the last call: until then figures and doubts are kept up to date.
        self.ended.cancel();
        ended("housekeeper", self.housekeeper).await;
        ended("slow_store", self.slow_store).await;
        ended("tokens", self.tokens).await;
        if let Some(posting) = self.posting {
            ended("posting", posting).await;
        }
        self.queue.flush().await;
        let report = report(&self.queue);
        let closed = self.store.close().await;
        // Only now: a collector that does not answer must delay nothing that counts.
        self.exporting.end().await;
        closed?;
        Ok(report)
    }
}

pub(super) async fn ended(name: &'static str, task: JoinHandle<()>) {
    if let Err(error) = task.await {
        warn!(task = name, %error, "task did not end well");
    }
}

fn report(queue: &Queue) -> EventReport {
    let completed = queue.completed();
    EventReport {
        delivered: completed.delivered,
        dead: completed.dead,
        expired: completed.expired,
        dropped: completed.dropped,
        waiting: queue.ledger().owed(),
    }
}
