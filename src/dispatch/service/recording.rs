//! Putting on record what limits are about to use, and what they used at an orderly end.
//!
//! Must not know: what limits count.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::dispatch::handle::StateUsageFailed;
use crate::dispatch::service::TaskReport;
use crate::limit::{Consumed, Reservation, UsageToState};
use crate::store::{Owner, Usage, UsageStore};

/// Where it is put on record, and who hears of it.
pub(super) struct UsageRecorder {
    usages: Arc<dyn UsageStore>,
    /// In whose name limits use what is recorded.
    owner: Owner,
    reports: mpsc::UnboundedSender<TaskReport>,
}

impl UsageRecorder {
    /// With a record that is open; what came of it goes to `reports`.
    pub(super) fn new(usages: Arc<dyn UsageStore>, reports: mpsc::UnboundedSender<TaskReport>) -> Self {
        Self { owner: usages.owner(), usages, reports }
    }

    /// Puts starts to come on record, and reports when they are there, or could not be put there.
    pub(super) fn make(&self, reservations: Vec<Reservation>) -> impl Future<Output = ()> + use<> {
        let (usages, owner) = (Arc::clone(&self.usages), self.owner);
        let reports = self.reports.clone();
        async move {
            let batch = reservations.iter().map(|made| usage(made.name.clone(), &made.consumed)).collect();
            let recorded = usages.record(owner, batch).await;
            if let Err(error) = &recorded {
                error!(%error, "starts to come are not on record: limits over long times wait");
            }
            // Nobody listens only when the dispatcher has stopped.
            let _ = reports.send(TaskReport::Recorded(reservations, recorded.is_ok()));
        }
    }

    /// Puts on record what an operator states that is used.
    pub(super) fn state(
        &self,
        to_state: UsageToState,
        answer: oneshot::Sender<Result<(), StateUsageFailed>>,
    ) -> impl Future<Output = ()> + use<> {
        let (usages, owner) = (Arc::clone(&self.usages), self.owner);
        let reports = self.reports.clone();
        async move {
            match usages.record(owner, vec![usage(to_state.name.clone(), &to_state.consumed)]).await {
                // Nobody listens only when the dispatcher has stopped: it is on record.
                Ok(()) => drop(reports.send(TaskReport::UsageStated(Box::new(to_state), answer))),
                Err(error) => drop(answer.send(Err(error.into()))),
            }
        }
    }

    /// Leaves on record what the limits consumed. Nothing may start any more.
    pub(super) async fn close(&self, consumed: Vec<(Box<str>, Consumed)>) {
        let usages = consumed.into_iter().map(|(name, consumed)| usage(name, &consumed)).collect();
        if let Err(error) = self.usages.close(self.owner, usages).await {
            warn!(%error, "what the limits consumed is not on record: they are silent after the next start");
        }
    }
}

fn usage(limit: Box<str>, consumed: &Consumed) -> Usage {
    Usage { limit, count: consumed.count, at: consumed.at, over_at: consumed.over_at }
}
