//! The authoring state of one config, of either API (contract.md 6): what is shown of it, and what of it is active.
//!
//! ```text
//! created --update--> updated            deploy: what is written now becomes active
//!    |                   |               undeploy: nothing is active, the state before the deploy returns
//!    +------deploy-------+--> deployed
//!                  deployed --update--> updated, still deployed: the API says whether what is active changes with it
//! ```
//!
//! Must not know: what a config says, generations of policies.

use serde::{Deserialize, Serialize};

/// What a config shows as its `state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum State {
    /// Made, and neither changed nor deployed since.
    Created,
    /// Changed since it was made, or since it was deployed.
    Updated,
    /// Deployed, and not changed since the deploy.
    Deployed,
}

/// Where a config stands between its author and what is active.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::manage) struct Life<C> {
    /// Changed at least once since it was made.
    updated: bool,
    deployed: Option<Deployed<C>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Deployed<C> {
    /// What is active; `None` of a config that was changed while it was deployed and comes from an older book.
    config: Option<C>,
    /// Changed since the last deploy; what is shown may differ from what is active.
    outdated: bool,
}

/// What of a config is active, as its policies are derived from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum Active<'l, C> {
    /// Nothing is active: its policies are idle.
    Nothing,
    /// This config is active, which may be an older one than what is written.
    As(&'l C),
    /// What its policies say; the config itself does not know any more.
    Unknown,
}

impl<C> Life<C> {
    /// The life of a config that was just made.
    pub(in crate::manage) const fn created() -> Self {
        Self { updated: false, deployed: None }
    }

    /// The state that answers show; a change after the deploy hides that it is deployed.
    pub(in crate::manage) const fn state(&self) -> State {
        match &self.deployed {
            Some(Deployed { outdated: false, .. }) => State::Deployed,
            _ if self.updated => State::Updated,
            _ => State::Created,
        }
    }

    /// The contracts' `hasBeenDeployed`: deployed now.
    pub(in crate::manage) const fn is_deployed(&self) -> bool {
        self.deployed.is_some()
    }

    /// What of it is active now.
    pub(in crate::manage) const fn active(&self) -> Active<'_, C> {
        match &self.deployed {
            None => Active::Nothing,
            Some(Deployed { config: Some(config), .. }) => Active::As(config),
            Some(Deployed { config: None, .. }) => Active::Unknown,
        }
    }

    /// A change was saved; of a deployed config `at_once` becomes active with it.
    pub(in crate::manage) fn update(&mut self, at_once: Option<C>) {
        self.updated = true;
        if let Some(Deployed { config, outdated }) = &mut self.deployed {
            *outdated = true;
            // Otherwise what was deployed stays active: also an unknown one, whose policies say what it is.
            if at_once.is_some() {
                *config = at_once;
            }
        }
    }

    /// This config is active from now on, and shown as deployed.
    pub(in crate::manage) fn deploy(&mut self, config: C) {
        self.deployed = Some(Deployed { config: Some(config), outdated: false });
    }

    /// Nothing is active any more; `false` when nothing was.
    pub(in crate::manage) fn undeploy(&mut self) -> bool {
        self.deployed.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use State::{Created, Deployed, Updated};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Update,
        Deploy,
        Undeploy,
    }
    use Step::{Deploy, Undeploy, Update};

    fn after(steps: &[Step]) -> Life<u32> {
        let mut life = Life::created();
        for step in steps {
            match step {
                Update => life.update(None),
                Deploy => life.deploy(1),
                Undeploy => drop(life.undeploy()),
            }
        }
        life
    }

    #[test]
    fn the_table_of_the_contract() {
        let table: &[(&[Step], State, bool)] = &[
            (&[], Created, false),
            (&[Update], Updated, false),
            (&[Update, Update], Updated, false),
            (&[Deploy], Deployed, true),
            (&[Update, Deploy], Deployed, true),
            (&[Deploy, Undeploy], Created, false),
            (&[Update, Deploy, Undeploy], Updated, false),
            (&[Deploy, Update], Updated, true),
            (&[Deploy, Update, Deploy], Deployed, true),
            (&[Deploy, Update, Deploy, Undeploy], Updated, false),
            (&[Deploy, Update, Undeploy], Updated, false),
            (&[Deploy, Deploy], Deployed, true),
            (&[Undeploy], Created, false),
            (&[Deploy, Undeploy, Undeploy], Created, false),
            (&[Deploy, Undeploy, Deploy], Deployed, true),
        ];
        for (steps, state, deployed) in table {
            let life = after(steps);
            assert_eq!((life.state(), life.is_deployed()), (*state, *deployed), "{steps:?}");
        }
    }

    #[test]
    fn an_update_changes_what_is_active_only_where_it_is_told_to() {
        let mut life = after(&[Deploy, Update]);
        assert_eq!(life.active(), Active::As(&1));
        life.update(Some(2));
        assert_eq!(life.active(), Active::As(&2));
        assert!(life.undeploy());
        life.update(Some(3));
        assert_eq!(life.active(), Active::Nothing, "nothing becomes active without a deploy");
        let unknown = json!({"updated": true, "deployed": {"config": null, "outdated": true}});
        let mut life: Life<u32> = serde_json::from_value(unknown).expect("a life");
        assert_eq!((life.active(), life.state()), (Active::Unknown, Updated));
        life.update(Some(4));
        assert_eq!(life.active(), Active::As(&4));
    }
}
