//! The life of one policy, the same for every origin: its deployed generations and their numbers. Pure; times are
//! arguments.
//!
//! ```text
//! begin: generation n becomes active         end: it drains for a while
//! begin again: generation n + 1 becomes active beside the one that drains
//! ```
//!
//! Must not know: what an author's own states are called, what a generation limits.

use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::policy::Generations;

/// How long an undeployed generation may finish its backlog, unless the operator allows less.
pub(crate) const DRAIN_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// The state of one deployed life of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationState {
    /// New events are routed to it.
    Active,
    /// It finishes what it has, until this moment.
    Draining {
        /// When the rest is dropped: a whole millisecond, as it is stored.
        until: Timestamp,
    },
}

impl GenerationState {
    /// Whether its drain window is over.
    fn is_over(self, now: Timestamp) -> bool {
        matches!(self, Self::Draining { until } if until <= now)
    }
}

/// The generations of a policy and the number of the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    pub(super) generations: Generations,
    /// Never goes back, so that no two lives share a lane.
    pub(super) next_generation: u32,
}

impl Lifecycle {
    /// Without a generation, after `last` ones of an earlier policy of the same name.
    pub(super) const fn after(last: u32) -> Self {
        Self { generations: Generations::new(), next_generation: last.saturating_add(1) }
    }

    /// The highest generation that it ever had; 0 before the first one.
    pub(super) const fn last_generation(&self) -> u32 {
        self.next_generation.saturating_sub(1)
    }

    /// Its deployed lives that still have something to do.
    #[must_use]
    pub const fn generations(&self) -> &Generations {
        &self.generations
    }

    /// The generation that new events are routed to.
    #[must_use]
    pub fn active(&self) -> Option<u32> {
        self.generations.active()
    }

    /// Starts a new generation, unless one is active: an active one goes on under the new values.
    pub(super) fn begin(&mut self) {
        if self.active().is_none() {
            self.generations.insert(self.next_generation, GenerationState::Active);
            // Four billion deploys of one policy do not happen; a number that wrapped around would find old lanes
            // again.
            self.next_generation = self.next_generation.saturating_add(1);
        }
        debug_assert!(self.active().is_some(), "a policy that has begun takes new events");
    }

    /// Lets the active generation drain for `window`.
    pub(super) fn end(&mut self, now: Timestamp, window: Duration) {
        // To the millisecond, as it is stored: a restart must find the same end. Never earlier than asked.
        let until = Timestamp::from_millis((now + window).ceil_millis());
        for generation in self.generations.values_mut() {
            if *generation == GenerationState::Active {
                *generation = GenerationState::Draining { until };
            }
        }
        debug_assert!(self.active().is_none(), "a policy that has ended takes no new events");
    }

    /// Forgets generations whose drain window is over.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.generations.retain(|generation| !generation.is_over(now));
    }

    /// Whether the drain window of any generation is over.
    pub(super) fn ends_one(&self, now: Timestamp) -> bool {
        self.generations.values().any(|generation| generation.is_over(now))
    }

    /// When the first of its drain windows is over; `None` while nothing drains.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        let until = |generation: &GenerationState| match generation {
            GenerationState::Active => None,
            GenerationState::Draining { until } => Some(*until),
        };
        self.generations.values().filter_map(until).min()
    }

    /// Whether any generation drains, its window over or not.
    pub(super) fn drains(&self) -> bool {
        self.generations.values().any(|generation| *generation != GenerationState::Active)
    }

    /// The line of time has leapt: a drain lasts as long as before. It is not known which ones began before the doubt.
    pub(super) fn leap(&mut self, leap: &Leap) {
        for generation in self.generations.values_mut() {
            if let GenerationState::Draining { until } = generation {
                *until = leap.moved(*until);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GenerationState::{Active, Draining};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn each_deploy_is_a_new_generation_and_the_old_one_drains_a_day() {
        let mut life = Lifecycle::after(0);
        life.begin();
        life.begin();
        assert_eq!(life.generations(), &Generations::from([(1, Active)]), "an update keeps the generation");
        life.end(NOW, DRAIN_WINDOW);
        life.begin();
        let until = NOW + DRAIN_WINDOW;
        assert_eq!(life.generations(), &Generations::from([(1, Draining { until }), (2, Active)]));
        life.expire(until - Duration::from_nanos(1));
        assert_eq!(life.generations().len(), 2);
        life.expire(until);
        assert_eq!(life.generations(), &Generations::from([(2, Active)]));
        life.end(until, DRAIN_WINDOW);
        life.expire(Timestamp::MAX);
        life.begin();
        assert_eq!(life.active(), Some(3), "numbers are not used twice");
    }

    #[test]
    fn an_end_leaves_what_drains_already_as_it_is() {
        let mut life = Lifecycle::after(4);
        life.begin();
        life.end(NOW, DRAIN_WINDOW);
        let before = life.clone();
        life.end(NOW + DRAIN_WINDOW, DRAIN_WINDOW);
        assert_eq!(life, before);
        assert_eq!((life.last_generation(), life.drains(), life.active()), (5, true, None));
    }
}
