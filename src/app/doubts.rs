//! What an operator decides about a doubt is carried out here, on the queue or the clock that is in doubt.
//!
//! Must not know: HTTP, the command line.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::app::in_doubt::{FURTHER, FURTHER_WAY_OUT};
use crate::clock::Clock;
use crate::event::LaneKey;
use crate::ops::{DecisionError, Decisions, DoubtDesk};
use crate::queue::{Queue, QueueError};
use crate::store::doubts::{Doubt, DoubtKind};
use crate::store::{GiveUp, RunToEnd};

/// How long a retry waits for the reads that it brings about.
const RETRY_WAIT: Duration = Duration::from_secs(2);
/// How often a retry looks whether its doubt has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The desk of the doubts over a queue and its clock.
pub(super) fn doubt_desk(queue: &Queue, clock: &Clock) -> DoubtDesk {
    let decisions = Deciding { queue: queue.clone(), clock: clock.clone() };
    DoubtDesk { doubts: queue.doubts(), decisions: Arc::new(decisions) }
}

/// Carries out the decisions of operators on the queue and the clock.
struct Deciding {
    queue: Queue,
    clock: Clock,
}

impl Deciding {
    /// Waits until the doubt has ended, for a moment at most.
    async fn ended(&self, doubt: &Doubt) {
        let ended = async {
            while self.queue.doubts().get(doubt.id).is_some() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // A doubt that is still open is what the answer then says.
        let _ = tokio::time::timeout(RETRY_WAIT, ended).await;
    }

    async fn given_up(&self, doubt: &Doubt, what: GiveUp) -> Result<u64, DecisionError> {
        // The store ends a doubt about reads itself, when nothing unread is left.
        let ends = matches!(what, GiveUp::Lane(_));
        let (queue, id) = (self.queue.clone(), doubt.id);
        // It runs to its end even when the request is dropped: events that were given up must not leave their doubt
        // behind.
        let work = RunToEnd::new(async move {
            let given_up = queue.give_up(what).await;
            if ends && given_up.is_ok() {
                queue.doubts().remove(id);
            }
            given_up
        });
        self.queue.in_time(work).await?.map_err(|error| match error {
            QueueError::Store(error) => error.into(),
            QueueError::Record(error) => DecisionError::Other(error.to_string()),
        })
    }
}

impl Decisions for Deciding {
    fn retry<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>> {
        async move {
            match doubt.kind {
                DoubtKind::Unread => self.queue.read_again(),
                _ => return Err(not_here(doubt)),
            }
            self.ended(doubt).await;
            Ok(())
        }
        .boxed()
    }

    fn give_up<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<u64, DecisionError>> {
        async move {
            let what = match doubt.kind {
                // No more events than the operator has confirmed: a read may have found further ones since.
                DoubtKind::Unread => GiveUp::Unread { subject: doubt.subject.clone(), at_most: doubt.events },
                DoubtKind::Generation if doubt.subject == FURTHER => {
                    return Err(DecisionError::Other(format!(
                        "it stands for lanes without a name: {FURTHER_WAY_OUT}"
                    )));
                }
                DoubtKind::Generation => {
                    let lane = LaneKey::new(&doubt.subject);
                    GiveUp::Lane(lane.map_err(|error| DecisionError::Other(error.to_string()))?)
                }
                _ => return Err(not_here(doubt)),
            };
            self.given_up(doubt, what).await
        }
        .boxed()
    }

    fn confirm<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>> {
        async move {
            match doubt.kind {
                DoubtKind::Clock => self.clock.confirm(),
                _ => return Err(not_here(doubt)),
            }
            self.ended(doubt).await;
            Ok(())
        }
        .boxed()
    }
}

/// The desk asks only for what it lists as possible.
fn not_here(doubt: &Doubt) -> DecisionError {
    DecisionError::Other(format!("nobody decides about doubts of the kind {}", doubt.kind.word()))
}

#[cfg(test)]
mod tests;
