//! The handle of the running dispatcher: figures, idleness, stop.
//!
//! Must not know: how calls are planned.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::dispatch::input::Figures;
use crate::limit;
use crate::queue::Queue;

/// How long the queue is trusted to announce what it holds, while somebody waits for it to become empty.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A cheap handle of the running [`Service`](super::Service).
#[derive(Clone)]
pub struct DispatchHandle {
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) quiet: watch::Receiver<bool>,
    pub(super) queue: Queue,
}

/// The figures of the dispatcher and of every limit.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchFigures {
    /// The planner's.
    pub planner: Figures,
    /// One per policy.
    pub limits: Vec<limit::Figures>,
}

pub(super) enum Command {
    Figures(oneshot::Sender<DispatchFigures>),
    Stop { grace: Duration },
}

impl DispatchHandle {
    /// What is going on; `None` once the dispatcher has stopped.
    pub async fn figures(&self) -> Option<DispatchFigures> {
        let (answer, figures) = oneshot::channel();
        self.commands.send(Command::Figures(answer)).ok()?;
        figures.await.ok()
    }

    /// Starts nothing any more; calls in flight may go on for `grace`, then they are abandoned and repeated
    /// after the next start. [`Service::run`](super::Service::run) returns when all is settled.
    pub fn stop(&self, grace: Duration) {
        // A dispatcher that has stopped already needs no command.
        let _ = self.commands.send(Command::Stop { grace });
    }

    /// Waits until the queue holds nothing and nothing is in flight, or the dispatcher has stopped.
    pub async fn idle(&self) {
        let mut quiet = self.quiet.clone();
        loop {
            if quiet.wait_for(|quiet| *quiet).await.is_err() {
                return;
            }
            self.queue.flush().await;
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
