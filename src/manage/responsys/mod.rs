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
mod hears;
mod objects;
mod options;
mod routes;
mod says;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use axum::Router;
use utoipa::openapi::OpenApi;

use crate::clock::Clock;
use crate::delivery::Hears;
use crate::event::PolicyId;
use crate::manage::desk::Desk;
use crate::manage::dialect::{Derived, Dialect, Listed, Parts, Says, Source, Unreadable, all_active};
use crate::manage::{Dice, Options};
use crate::policy::{Book, Policies};

pub(crate) use objects::account::{Account, Block, RawAccount};
pub(crate) use objects::listed_accounts;
#[cfg(test)]
pub(crate) use objects::{FileAccountsError, put_file_accounts};
pub(crate) use options::{ResponsysOptions, Statuses};
pub(crate) use routes::router;

/// The name of the origin of this dialect's policies.
pub(crate) const ORIGIN: &str = "responsys";

/// The setting of the configuration file that lists accounts.
const ACCOUNTS: &str = "responsys.accounts";

/// Oracle Responsys' throttling limits, as a dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Responsys;

impl Dialect for Responsys {
    fn name(&self) -> &'static str {
        ORIGIN
    }

    fn labels(&self) -> &'static [&'static str] {
        &["account", "user", "api"]
    }

    fn names(&self, policy: &PolicyId) -> bool {
        policy.as_str().starts_with("responsys.")
    }

    fn sources(&self) -> &'static [Source] {
        &[
            Source { label: "account", header: None, otherwise: "`labels.account`" },
            Source { label: "user", header: None, otherwise: "nowhere: no block of a user applies" },
            Source {
                label: "api",
                header: None,
                otherwise: "verb and path, where one function alone has them",
            },
        ]
    }

    fn routes(&self, options: &Options, parts: Parts) -> Router {
        let Parts { policies, clock, random } = parts;
        router(ResponsysApi::new(policies, options.responsys.clone(), clock, random))
    }

    fn api_doc(&self) -> OpenApi {
        doc::api_doc()
    }

    fn derive(&self, book: &Book) -> Result<Derived, Unreadable> {
        let accounts: Vec<Account> = objects::all(book)?.into_iter().map(|(_, account)| account).collect();
        Ok(all_active(derive::derive(&accounts)))
    }

    fn says(&self, options: &Options, dice: &Dice) -> Option<Says> {
        let (statuses, dice) = (options.responsys.statuses, dice.clone());
        Some(Box::new(move |refused| says::tell(refused, statuses, dice.roll())))
    }

    fn hears(&self) -> Option<&'static dyn Hears> {
        Some(&Self)
    }

    fn listed_in(&self) -> Option<&'static str> {
        Some(ACCOUNTS)
    }

    fn listed(&self, options: &Options) -> Result<Option<Listed>, String> {
        let accounts = Account::check_all(options.responsys.accounts.iter().cloned());
        let accounts = accounts.map_err(|problems| format!("{ACCOUNTS}: {}", problems.join("; ")))?;
        Ok(Some(listed_accounts(accounts)))
    }
}

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ResponsysApi {
    desk: Desk,
    options: Arc<ResponsysOptions>,
    /// Makes the ids by which failures can be found again.
    dice: Dice,
}

impl ResponsysApi {
    /// The routes over these policies, under the dialect's options.
    #[must_use]
    pub(crate) fn new(
        policies: Policies,
        options: ResponsysOptions,
        clock: Clock,
        random: fastrand::Rng,
    ) -> Self {
        let desk = Desk::new(&Responsys, policies, clock, options.drain_window);
        Self { desk, options: Arc::new(options), dice: Dice::new(random) }
    }
}
