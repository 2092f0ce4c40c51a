//! Putting on record what limits are about to use, and what they used at an orderly end.
//!
//! Must not know: what limits count.

use std::sync::Arc;

use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::dispatch::handle::{StateUsageFailed, UsageStatement};
use crate::dispatch::input::Input;
use crate::dispatch::service::{Report, Service};
use crate::limit::{Consumed, Reservation, UsageToState};
use crate::store::Usage;

impl Service {
    /// Reports when it is on record, or could not be put there.
    pub(super) fn record(&mut self, reservations: Vec<Reservation>) {
        let usages = Arc::clone(&self.usages);
        let reports = self.reports.0.clone();
        self.tasks.spawn(async move {
            let batch = reservations.iter().map(|made| usage(made.name.clone(), &made.consumed)).collect();
            let recorded = usages.record(batch).await;
            if let Err(error) = &recorded {
                error!(%error, "starts to come are not on record: limits over long times wait");
            }
            // Nobody listens only when the dispatcher has stopped.
            let _ = reports.send(Report::Recorded(reservations, recorded.is_ok()));
        });
    }

    /// Puts on record what an operator states that is used.
    pub(super) fn state_usage(
        &mut self,
        statement: &UsageStatement,
        answer: oneshot::Sender<Result<(), StateUsageFailed>>,
    ) {
        let now = self.clock.now();
        let UsageStatement { policy, key, kind, used } = statement;
        let to_state = match self.planner.gate().usage_to_state(policy, key, *kind, *used, now) {
            Ok(to_state) => to_state,
            // Whoever asked may have gone.
            Err(error) => return drop(answer.send(Err(error.into()))),
        };
        let usages = Arc::clone(&self.usages);
        let reports = self.reports.0.clone();
        self.tasks.spawn(async move {
            match usages.record(vec![usage(to_state.name.clone(), &to_state.consumed)]).await {
                // Nobody listens only when the dispatcher has stopped: it is on record.
                Ok(()) => drop(reports.send(Report::UsageStated(Box::new(to_state), answer))),
                Err(error) => drop(answer.send(Err(error.into()))),
            }
        });
    }

    /// What was stated is on record and counts from now on.
    pub(super) fn usage_stated(
        &mut self,
        stated: &UsageToState,
        answer: oneshot::Sender<Result<(), StateUsageFailed>>,
    ) {
        self.step(Input::UsageStated(stated.clone()));
        // Whoever asked may have gone.
        let _ = answer.send(Ok(()));
    }

    /// Leaves on record what the limits used. Nothing may start any more.
    pub(super) async fn close_record(&mut self) {
        let now = self.clock.now();
        let usages = self
            .planner
            .gate()
            .consumed(now)
            .into_iter()
            .map(|(name, consumed)| usage(name, &consumed))
            .collect();
        if let Err(error) = self.usages.close(usages).await {
            warn!(%error, "what the limits consumed is not on record: they are silent after the next start");
        }
    }
}

fn usage(limit: Box<str>, consumed: &Consumed) -> Usage {
    Usage { limit, count: consumed.count, at: consumed.at, over_at: consumed.over_at }
}
