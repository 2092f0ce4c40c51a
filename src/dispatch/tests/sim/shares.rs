//! The promise of the shares, by plain counting: while no lane joins those with work, all of them can reach their share
//! at once.
//!
//! Must not know: how shares are kept.

use crate::dispatch::lanes::TurnPlace;
use crate::dispatch::planner::Planner;

pub(super) struct ShareCheck {
    most: usize,
    /// The fewest lanes with work since half of the slots were free.
    fewest: usize,
    /// Steps after which a lane waited for its share.
    pub(super) waits: usize,
}

impl ShareCheck {
    pub(super) fn new(most: usize) -> Self {
        Self { most, fewest: usize::MAX, waits: 0 }
    }

    pub(super) fn check(&mut self, planner: &Planner) -> Result<(), String> {
        let lanes = || {
            planner.roster.present().iter().filter(|lane| lane.place != TurnPlace::Out || lane.inflight > 0)
        };
        let (count, calls) = (lanes().count(), lanes().map(|lane| lane.inflight).sum::<usize>());
        self.waits += usize::from(lanes().any(|lane| lane.place == TurnPlace::Full));
        self.fewest = if calls <= self.most / 2 { count } else { self.fewest.min(count) };
        if count == 0 || count > self.fewest {
            return Ok(());
        }
        let share = self.most / (2 * count);
        let left: usize = lanes().map(|lane| share.saturating_sub(lane.inflight)).sum();
        if calls + left > self.most {
            let each: Vec<usize> = lanes().map(|lane| lane.inflight).collect();
            return Err(format!("{count} lanes cannot all reach their share of {share}: {each:?}"));
        }
        Ok(())
    }
}
