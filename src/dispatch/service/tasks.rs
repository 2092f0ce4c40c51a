//! The tasks of the dispatcher: how a call begins, and how the end of a call or a load is reported whatever becomes of
//! its task.
//!
//! Must not know: what follows.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::coop::unconstrained;
use tracing::error;

use crate::clock::{Clock, Timestamp};
use crate::delivery::{Call, Deliver, Ended};
use crate::dispatch::input::Ticket;
use crate::dispatch::service::TaskReport;
use crate::event::{Cause, LaneKey, Outcome};
use crate::queue::{LoadedPage, QueueError};
use crate::traces;

/// A call after its first poll.
pub(super) enum FirstPoll {
    /// It has ended within its first poll.
    Over(Ended),
    /// It is to be polled on in a task of its own.
    UnderWay(BoxFuture<'static, Ended>),
}

/// Starts a call by polling it once.
pub(super) fn begin(deliver: &dyn Deliver, call: Call) -> FirstPoll {
    // Nothing is used of what a panic leaves behind.
    let begun = catch_unwind(AssertUnwindSafe(|| {
        let mut call = deliver.attempt_noticing(call);
        // The task that takes the call over polls it again and leaves its own waker. Without the budget of
        // this task, which many starts in a row would use up.
        let mut first = std::pin::pin!(unconstrained(&mut call));
        match first.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => FirstPoll::Over(ended),
            Poll::Pending => FirstPoll::UnderWay(call),
        }
    }));
    begun.unwrap_or_else(|_| {
        error!("the start of a call panicked: it counts as a failed attempt");
        FirstPoll::Over(died())
    })
}

/// The end of a call that died inside tidegate.
fn died() -> Ended {
    Outcome::Retry { cause: Cause::Internal, retry_after: None }.into()
}

/// Reports the end of a load, also when its task panics.
pub(super) struct LoadReporter {
    report: Option<TaskReport>,
    reports: mpsc::UnboundedSender<TaskReport>,
}

impl LoadReporter {
    /// Of the load of a lane.
    pub(super) fn of(lane: LaneKey, reports: mpsc::UnboundedSender<TaskReport>) -> Self {
        Self { report: Some(TaskReport::NotLoaded(lane)), reports }
    }

    /// The page came, or could not be read.
    pub(super) fn report(mut self, lane: LaneKey, page: Result<LoadedPage, QueueError>) {
        self.report = Some(TaskReport::Loaded(lane, page));
    }
}

impl Drop for LoadReporter {
    fn drop(&mut self) {
        if let Some(report) = self.report.take() {
            // Nobody listens only when the dispatcher has stopped: the next start hands out the page again.
            let _ = self.reports.send(report);
        }
    }
}

/// Reports the end of a call, also when its task panics.
pub(super) struct CallEnd {
    pub(super) ticket: Ticket,
    pub(super) started_at: Timestamp,
    pub(super) clock: Clock,
    pub(super) reports: mpsc::UnboundedSender<TaskReport>,
    pub(super) span: traces::Attempt,
    /// What came of it; `None` until it is known.
    pub(super) ended: Option<Ended>,
}

impl CallEnd {
    /// The call has ended: reports what came of it.
    pub(super) fn report(mut self, ended: Ended) {
        self.ended = Some(ended);
    }
}

impl Drop for CallEnd {
    fn drop(&mut self) {
        // Without a panic the call was abandoned at the end of the process.
        let is_abandoned = self.ended.is_none() && !std::thread::panicking();
        if self.ended.is_none() && !is_abandoned {
            error!("a call panicked: it counts as a failed attempt");
        }
        let ended = self.ended.take().unwrap_or_else(died);
        let took = self.clock.now().since(self.started_at);
        self.span.end((!is_abandoned).then_some(&ended.outcome), took);
        // Nobody listens only when the dispatcher has stopped: the next start repeats the call.
        let _ = self.reports.send(TaskReport::Finished { ticket: self.ticket, ended, took });
    }
}
