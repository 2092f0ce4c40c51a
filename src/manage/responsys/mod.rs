//! Oracle Responsys' throttling limits (contracts.md section 6): the list of them, and the accounts for which tidegate
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

mod account;
mod accounts;
#[cfg(test)]
mod active;
mod catalogue;
mod doc;
mod errors;
mod map;
mod refusal;
mod routes;
#[cfg(test)]
mod scenarios;
mod stored;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::manage::Dice;
use crate::policy::{DRAIN_WINDOW, Policies};

pub use account::{Account, AccountFault, Block, RawAccount};
pub use doc::api_doc;
pub use refusal::{Statuses, tell};
pub use routes::router;
pub use stored::{FileAccountsError, ORIGIN, Unreadable, put_file_accounts};

/// What an operator may set about this dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsysOptions {
    /// Whether a token is asked for (contracts.md, "Decided" 5).
    pub require_headers: bool,
    /// The account whose limits are listed.
    pub default_account: Option<String>,
    /// How long limits that are gone may finish their backlog.
    pub drain_window: Duration,
}

impl Default for ResponsysOptions {
    fn default() -> Self {
        Self { require_headers: false, default_account: None, drain_window: DRAIN_WINDOW }
    }
}

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
