//! Oracle Responsys' throttling limits (contract.md): the list of them, and the accounts for which tidegate
//! keeps to them.
//!
//! Choices where the contract is open, beyond those it decides itself:
//!
//! - `GET /rest/api/ratelimit` shows the limits of the configured default account, and the defaults without one.
//! - Accounts come from the configuration file and from `/v1/responsys/accounts`, a route of tidegate's own. Limits are
//!   kept for known accounts alone; without any there are none.
//! - A call whose verb and path fit several functions, as the three POSTs on `lists/{listName}/members`, is limited only
//!   when it carries the label `api`. Where one path fits another's template, as `members/count` does `members/{riid}`,
//!   the more literal one counts.
//! - `{docPath}` and the other paths of the content library stand for one or more segments, every other parameter for one.
//! - A token of one word is a valid one; which tokens Responsys gave is not known here.
//!
//! Must not know: how limits are kept, what waits in the queue.
#![doc = include_str!("contract.md")]

mod derive;
mod doc;
mod errors;
mod objects;
mod options;
mod routes;
mod says;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use crate::clock::Clock;
use crate::manage::Dice;
use crate::policy::Policies;

pub use doc::api_doc;
pub use objects::account::{Account, AccountFault, Block, RawAccount};
pub use objects::{FileAccountsError, ORIGIN, Unreadable, put_file_accounts};
pub use options::ResponsysOptions;
pub use routes::router;
pub use says::{Statuses, tell};

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub struct ResponsysApi {
    policies: Policies,
    options: Arc<ResponsysOptions>,
    clock: Clock,
    /// Makes correlation ids.
    dice: Dice,
}

impl ResponsysApi {
    /// Brings the parts together.
    #[must_use]
    pub fn new(policies: Policies, options: ResponsysOptions, clock: Clock, random: fastrand::Rng) -> Self {
        Self { policies, options: Arc::new(options), clock, dice: Dice::new(random) }
    }
}
