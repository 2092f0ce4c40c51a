//! The life of one policy, the same for every dialect: authoring states and deployed
//! generations. Pure; times are arguments.
//!
//! ```text
//! created --update--> updated            deploy: generation n becomes active
//!    |                   |               undeploy: it drains for a while, the state before the deploy returns
//!    +------deploy-------+--> deployed   redeploy: generation n + 1 becomes active beside it
//!                  deployed --update--> updated, still deployed: the same generation goes on
//! ```

use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::policy::Generations;

/// How long an undeployed generation may finish its backlog, unless the operator allows less.
pub const DRAIN_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// What the authoring side shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made and not touched since.
    Created,
    /// Changed since it was made or deployed.
    Updated,
    /// Deployed and not changed since.
    Deployed,
}

/// One deployed life.
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

/// Why a transition is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// Deploy of a deployed one.
    #[error("already deployed")]
    AlreadyDeployed,
    /// Undeploy of one that is not deployed.
    #[error("not deployed")]
    NotDeployed,
    /// Deletion of a deployed one.
    #[error("still deployed")]
    StillDeployed,
    /// The authoring side says deployed, but no generation is active.
    #[error("deployed, but no generation is active")]
    NotActive,
}

/// Where a policy stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    pub(super) state: State,
    /// What an undeploy puts back.
    pub(super) before_deploy: State,
    pub(super) deployed: bool,
    pub(super) generations: Generations,
    /// Never goes back, so that no two lives share a lane.
    pub(super) next_generation: u32,
}

impl Lifecycle {
    /// Just made.
    #[must_use]
    pub const fn created() -> Self {
        Self {
            state: State::Created,
            before_deploy: State::Created,
            deployed: false,
            generations: Generations::new(),
            next_generation: 1,
        }
    }

    /// Just made, after `last` generations of an earlier policy of the same name.
    pub(super) fn created_after(last: u32) -> Self {
        Self { next_generation: last.saturating_add(1), ..Self::created() }
    }

    /// The highest generation that it ever had; 0 before the first deploy.
    pub(super) const fn last_generation(&self) -> u32 {
        self.next_generation.saturating_sub(1)
    }

    /// What the authoring side shows.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The contracts' `hasBeenDeployed`: deployed now.
    #[must_use]
    pub const fn is_deployed(&self) -> bool {
        self.deployed
    }

    /// Its deployed lives that still have something to do.
    #[must_use]
    pub const fn generations(&self) -> &Generations {
        &self.generations
    }

    /// An edit was saved.
    ///
    /// # Errors
    /// [`TransitionError::NotActive`] when it counts as deployed without an active generation.
    pub fn update(&mut self) -> Result<(), TransitionError> {
        if self.deployed {
            if self.active().is_none() {
                return Err(TransitionError::NotActive);
            }
            self.before_deploy = State::Updated;
        }
        self.state = State::Updated;
        Ok(())
    }

    /// Starts a new generation.
    ///
    /// # Errors
    /// [`TransitionError::AlreadyDeployed`].
    pub fn deploy(&mut self) -> Result<(), TransitionError> {
        if self.deployed {
            return Err(TransitionError::AlreadyDeployed);
        }
        self.before_deploy = self.state;
        self.state = State::Deployed;
        self.deployed = true;
        self.generations.insert(self.next_generation, GenerationState::Active);
        self.next_generation = self.next_generation.saturating_add(1);
        Ok(())
    }

    /// Lets the active generation drain for `window`.
    ///
    /// # Errors
    /// [`TransitionError::NotDeployed`].
    pub fn undeploy(&mut self, now: Timestamp, window: Duration) -> Result<(), TransitionError> {
        if !self.deployed {
            return Err(TransitionError::NotDeployed);
        }
        self.state = self.before_deploy;
        self.deployed = false;
        let until = Timestamp::from_millis((now + window).ceil_millis());
        for generation in self.generations.values_mut() {
            if *generation == GenerationState::Active {
                *generation = GenerationState::Draining { until };
            }
        }
        Ok(())
    }

    /// Whether it may be deleted; `force` undeploys it first.
    ///
    /// # Errors
    /// [`TransitionError::StillDeployed`] without `force`.
    pub fn delete(&mut self, now: Timestamp, window: Duration, force: bool) -> Result<(), TransitionError> {
        match (self.deployed, force) {
            (false, _) => Ok(()),
            (true, true) => self.undeploy(now, window),
            (true, false) => Err(TransitionError::StillDeployed),
        }
    }

    /// Forgets generations whose drain window is over.
    pub fn expire(&mut self, now: Timestamp) {
        self.generations.retain(|generation| !generation.is_over(now));
    }

    /// Whether the drain window of any generation is over.
    pub(super) fn ends_one(&self, now: Timestamp) -> bool {
        self.generations.values().any(|generation| generation.is_over(now))
    }

    /// Whether any generation drains.
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

    /// Made again under the same name while old lives drain: the numbering goes on.
    pub(super) fn revive(&mut self) {
        let old = std::mem::replace(self, Self::created());
        self.generations = old.generations;
        self.next_generation = old.next_generation;
    }

    /// The generation that new events are routed to.
    #[must_use]
    pub fn active(&self) -> Option<u32> {
        self.generations.active()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use GenerationState::{Active, Draining};
    use State::{Created, Deployed, Updated};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Update,
        Deploy,
        Undeploy,
        Delete,
        ForceDelete,
    }
    use Step::{Delete, Deploy, ForceDelete, Undeploy, Update};

    fn take(life: &mut Lifecycle, step: Step) -> Result<(), TransitionError> {
        match step {
            Update => life.update(),
            Deploy => life.deploy(),
            Undeploy => life.undeploy(NOW, DRAIN_WINDOW),
            Delete => life.delete(NOW, DRAIN_WINDOW, false),
            ForceDelete => life.delete(NOW, DRAIN_WINDOW, true),
        }
    }

    #[test]
    fn the_table_of_the_contract() {
        type Row = (&'static [Step], Step, Result<(), TransitionError>, State, bool);
        let table: &[Row] = &[
            (&[], Update, Ok(()), Updated, false),
            (&[Update], Update, Ok(()), Updated, false),
            (&[], Deploy, Ok(()), Deployed, true),
            (&[Update], Deploy, Ok(()), Deployed, true),
            (&[Deploy], Undeploy, Ok(()), Created, false),
            (&[Update, Deploy], Undeploy, Ok(()), Updated, false),
            (&[Deploy], Update, Ok(()), Updated, true),
            (&[Deploy, Update], Undeploy, Ok(()), Updated, false),
            (&[Deploy], Deploy, Err(TransitionError::AlreadyDeployed), Deployed, true),
            (&[Deploy, Update], Deploy, Err(TransitionError::AlreadyDeployed), Updated, true),
            (&[], Undeploy, Err(TransitionError::NotDeployed), Created, false),
            (&[Deploy, Undeploy], Undeploy, Err(TransitionError::NotDeployed), Created, false),
            (&[Deploy, Undeploy], Deploy, Ok(()), Deployed, true),
            (&[], Delete, Ok(()), Created, false),
            (&[Deploy, Undeploy], Delete, Ok(()), Created, false),
            (&[Deploy], ForceDelete, Ok(()), Created, false),
            (&[], ForceDelete, Ok(()), Created, false),
        ];
        for (before, step, answer, state, deployed) in table {
            let mut life = Lifecycle::created();
            for step in *before {
                take(&mut life, *step).expect("a step that is allowed");
            }
            assert_eq!(take(&mut life, *step), *answer, "{before:?} {step:?}");
            assert_eq!((life.state(), life.is_deployed()), (*state, *deployed), "{before:?} {step:?}");
        }
    }

    #[test]
    fn a_deployed_one_is_not_deleted_without_force() {
        let mut life = Lifecycle::created();
        life.deploy().expect("not deployed");
        let before = life.clone();
        assert_eq!(life.delete(NOW, DRAIN_WINDOW, false), Err(TransitionError::StillDeployed));
        assert_eq!(life, before, "a refusal changes nothing");
    }

    #[test]
    fn each_deploy_is_a_new_generation_and_the_old_one_drains_a_day() {
        let mut life = Lifecycle::created();
        life.deploy().expect("not deployed");
        life.update().expect("active");
        assert_eq!(life.generations(), &Generations::from([(1, Active)]), "an update keeps the generation");
        life.undeploy(NOW, DRAIN_WINDOW).expect("deployed");
        life.deploy().expect("not deployed");
        let until = NOW + DRAIN_WINDOW;
        assert_eq!(life.generations(), &Generations::from([(1, Draining { until }), (2, Active)]));
        life.expire(until - Duration::from_nanos(1));
        assert_eq!(life.generations().len(), 2);
        life.expire(until);
        assert_eq!(life.generations(), &Generations::from([(2, Active)]));
        life.undeploy(until, DRAIN_WINDOW).expect("deployed");
        life.expire(Timestamp::MAX);
        life.deploy().expect("not deployed");
        assert_eq!(life.active(), Some(3), "numbers are not used twice");
    }

    #[test]
    fn deployed_without_a_generation_is_noticed() {
        let mut life = Lifecycle::created();
        life.deploy().expect("not deployed");
        life.generations = Generations::new();
        assert_eq!(life.update(), Err(TransitionError::NotActive));
    }
}
