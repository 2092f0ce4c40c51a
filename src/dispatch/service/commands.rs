//! Questions to the running dispatcher, and those that are not answered yet.
//!
//! Must not know: who asks, how calls are made.

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::clock::Timestamp;
use crate::dispatch::handle::PlannerCommand;
use crate::dispatch::input::PlannerFigures;
use crate::dispatch::planner::Planner;
use crate::dispatch::planner::figures::FiguresWalk;
use crate::dispatch::planner::purge::PurgeId;
use crate::event::LaneKey;
use crate::limit::{Promise, Tried};
use crate::telemetry::defect;

/// The questions that cannot be answered at once.
#[derive(Default)]
pub(super) struct OpenQuestions {
    /// For the end of a purge.
    purging: Vec<(PurgeId, oneshot::Sender<u64>)>,
    /// For figures, which are taken in parts.
    walks: Vec<(FiguresWalk, oneshot::Sender<PlannerFigures>)>,
}

impl OpenQuestions {
    /// Whether an answer is being worked out.
    pub(super) fn is_busy(&self) -> bool {
        !self.walks.is_empty()
    }

    /// Somebody waits for the end of a purge.
    pub(super) fn waits_for(&mut self, purge: PurgeId, answer: oneshot::Sender<u64>) {
        self.purging.push((purge, answer));
    }

    /// Answers a question that concerns the planner alone. The caller may have gone.
    pub(super) fn answer(&mut self, question: PlannerCommand, planner: &mut Planner, now: Timestamp) {
        match question {
            PlannerCommand::Ping(answer) => answer.send(()).unwrap_or_default(),
            PlannerCommand::Figures(answer) => self.walks.push((planner.walk(now), answer)),
            PlannerCommand::Limiters { from, most, answer } => {
                drop(answer.send(planner.gate().figures(from, most, now)));
            }
            PlannerCommand::LimitersOf { policy, after, most, answer } => {
                drop(answer.send(planner.gate().figures_of(&policy, after.as_deref(), most, now)));
            }
            PlannerCommand::Place(lane, id, answer) => drop(answer.send(planner.place(&lane, id, now))),
            PlannerCommand::Report(lane, answer) => drop(answer.send(planner.report(&lane, now))),
            PlannerCommand::Promise { lanes, back, answer } => {
                let tried = lanes.iter().map(|lane| -> Tried {
                    let promised = planner.promise(lane, now)?;
                    Ok(promised.then(|| promise(lane.key().clone(), back.clone())))
                });
                // What nobody hears is dropped, and so given back.
                drop(answer.send(tried.collect()));
            }
            PlannerCommand::Withdraw(lane) => planner.withdraw(&lane, 1, now),
            PlannerCommand::Trust(_)
            | PlannerCommand::Stops(..)
            | PlannerCommand::Purge(..)
            | PlannerCommand::LetGo(..)
            | PlannerCommand::StateUsage(..)
            | PlannerCommand::Stop { .. } => {
                defect!("a command that asks the planner nothing");
            }
        }
    }

    /// Reports purges that have ended to their callers, and goes on with one part of the oldest figures.
    pub(super) fn go_on(&mut self, planner: &mut Planner, now: Timestamp) {
        for (id, dropped) in planner.take_purged() {
            if let Some(at) = self.purging.iter().position(|(purge, _)| *purge == id) {
                // The caller may have gone.
                let _ = self.purging.swap_remove(at).1.send(dropped);
            }
        }
        // A caller that has gone needs none.
        self.walks.retain(|(_, answer)| !answer.is_closed());
        if let Some((walk, _)) = self.walks.first_mut()
            && let Some(figures) = planner.walk_on(walk, now)
        {
            let _ = self.walks.remove(0).1.send(figures);
        }
    }
}

/// A promise of a start in this lane that comes back to this dispatcher.
fn promise(lane: LaneKey, back: UnboundedSender<PlannerCommand>) -> Promise {
    // A dispatcher that has stopped keeps no promises.
    Promise::new(move || drop(back.send(PlannerCommand::Withdraw(lane))))
}
