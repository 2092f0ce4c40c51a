//! Questions to the running dispatcher and what it is asked to do.
//!
//! Must not know: who asks.

use tokio::sync::mpsc::UnboundedSender;

use crate::dispatch::handle::Command;
use crate::dispatch::input::{Figures, Input};
use crate::dispatch::service::Service;
use crate::event::LaneKey;
use crate::limit::{Promise, Tried};

/// A promise of a start in this lane that comes back to this dispatcher.
fn promise(lane: LaneKey, back: UnboundedSender<Command>) -> Promise {
    // A dispatcher that has stopped keeps no promises.
    Promise::new(move || drop(back.send(Command::Withdraw(lane))))
}

impl Service {
    /// Answers a question or does as asked. Whoever asked may have gone.
    pub(super) fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Ping(answer) => answer.send(()).unwrap_or_default(),
            Command::Figures(answer) => {
                let (worked, looks) = (self.planner.worked(now), self.planner.look(now));
                drop(answer.send(Figures { worked, looks, ..self.planner.figures(now) }));
            }
            Command::Limiters { from, most, answer } => {
                drop(answer.send(self.planner.gate().figures(from, most, now)));
            }
            Command::LimitersOf { policy, after, most, answer } => {
                drop(answer.send(self.planner.gate().figures_of(&policy, after.as_deref(), most, now)));
            }
            Command::Place(lane, id, answer) => drop(answer.send(self.planner.place(&lane, id, now))),
            Command::Report(lane, answer) => drop(answer.send(self.planner.report(&lane, now))),
            Command::Promise { lanes, back, answer } => {
                let tried = lanes.iter().map(|lane| -> Tried {
                    let promised = self.planner.promise(lane, now)?;
                    Ok(promised.then(|| promise(lane.key().clone(), back.clone())))
                });
                // What nobody hears is dropped, and so given back.
                drop(answer.send(tried.collect()));
            }
            Command::Withdraw(lane) => self.planner.withdraw(&lane, 1, now),
            Command::Trust(answer) => {
                let leap = self.clock.trust();
                if let Some(leap) = &leap {
                    self.step(Input::TimeTrusted(leap.clone()));
                }
                drop(answer.send(leap));
            }
            Command::Purge(policy, answer) => {
                // What was accepted before is known before.
                let mut signals = Vec::new();
                self.signals.take_all(&mut signals);
                signals.into_iter().for_each(|signal| self.step(signal.into()));
                let id = self.planner.purge(&policy, now, &mut self.effects);
                self.purging.push((id, answer));
                self.carry_out();
                self.step(Input::Tick);
            }
            Command::StateUsage(statement, answer) => self.state_usage(&statement, answer),
            // Ends the loop that calls this.
            Command::Stop { .. } => {}
        }
    }

    /// Tells those who wait for the end of a purge.
    pub(super) fn tell_purged(&mut self) {
        for (id, dropped) in self.planner.take_purged() {
            if let Some(at) = self.purging.iter().position(|(purge, _)| *purge == id) {
                // Whoever asked may have gone.
                let _ = self.purging.swap_remove(at).1.send(dropped);
            }
        }
    }
}
