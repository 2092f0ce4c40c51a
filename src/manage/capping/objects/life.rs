//! The authoring state of one config (adobe/contract.md 6). An update of a deployed config waits for the next deploy: what
//! was deployed goes on ruling.
//!
//! ```text
//! created --update--> updated            deploy: what is written now rules
//!    |                   |               undeploy: nothing rules, the state before the deploy returns
//!    +------deploy-------+--> deployed
//!                  deployed --update--> updated, still deployed --deploy--> deployed
//! ```

use serde::{Deserialize, Serialize};

use crate::manage::capping::objects::Config;
use crate::policy::State;

/// Where a config stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(in crate::manage::capping) struct Life {
    /// Changed since it was made.
    updated: bool,
    deployed: Option<Deployed>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Deployed {
    /// What rules.
    config: Config,
    /// Changed since it was deployed.
    outdated: bool,
}

impl Life {
    /// What is shown as `state`.
    pub(in crate::manage::capping) const fn state(&self) -> State {
        match &self.deployed {
            Some(Deployed { outdated: false, .. }) => State::Deployed,
            _ if self.updated => State::Updated,
            _ => State::Created,
        }
    }

    /// What rules: the config as it was deployed.
    pub(in crate::manage::capping) fn deployed(&self) -> Option<&Config> {
        self.deployed.as_ref().map(|deployed| &deployed.config)
    }

    /// A change was saved.
    pub(in crate::manage::capping) const fn update(&mut self) {
        self.updated = true;
        if let Some(deployed) = &mut self.deployed {
            deployed.outdated = true;
        }
    }

    /// This rules from now on.
    pub(in crate::manage::capping) fn deploy(&mut self, config: Config) {
        self.deployed = Some(Deployed { config, outdated: false });
    }

    /// Nothing rules any more; tells whether anything did.
    pub(in crate::manage::capping) fn undeploy(&mut self) -> bool {
        self.deployed.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Created, Deployed, Updated};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Update,
        Deploy,
        Undeploy,
    }
    use Step::{Deploy, Undeploy, Update};

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
            let mut life = Life::default();
            for step in *steps {
                match step {
                    Update => life.update(),
                    Deploy => life.deploy(Config::default()),
                    Undeploy => drop(life.undeploy()),
                }
            }
            assert_eq!((life.state(), life.deployed().is_some()), (*state, *deployed), "{steps:?}");
        }
    }
}
