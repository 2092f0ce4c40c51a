//! Oracle Responsys' throttling limits (contract.md): the list of them, and the accounts for which tidegate
//! keeps to them.
//!
//! Choices where the contract is open, beyond those it decides itself:
//!
//! - `GET /rest/api/ratelimit` shows the limits of the configured default account, and the defaults without one.
//! - Accounts come from the configuration file and from `/v1/responsys/accounts`, a route of tidegate's own. Limits are
//!   kept for known accounts alone; without any there are none.
//! - A call whose verb and path fit several functions, as the three POSTs on `lists/{listName}/members`, is told by the
//!   member `action` of its query, then by the members of its body; what is still open then counts as the function with the
//!   tightest limit. Where one path fits another's template, as `members/count` does `members/{riid}`, the more literal one
//!   counts.
//! - What is asked for asynchronously (`/rest/asyncApi/`, `/rest/haAsyncApi/`) counts as the function itself.
//! - The login takes any password: its token only says which account and user it was given to.
//! - `{docPath}` and the other paths of the content library stand for one or more segments, every other parameter for one.
//! - A token of one word is a valid one; which tokens Responsys gave is not known here.
//!
//! Must not know: how limits are kept, what waits in the queue.
#![doc = include_str!("contract.md")]

mod derive;
mod doc;
mod errors;
mod hears;
mod implies;
mod objects;
mod options;
mod routes;
mod says;
#[cfg(test)]
mod tests;
mod wire;

use axum::Router;
use http::HeaderMap;
use utoipa::openapi::OpenApi;

use crate::delivery::Hears;
use crate::event::PolicyId;
use crate::manage::dialect::{
    Carried, Derived, Dialect, Implies, Listed, Parts, Says, Source, Unreadable, all_active,
};
use crate::manage::{Dice, Options};
use crate::policy::Book;
use crate::problem::Problem;

pub(crate) use objects::account::{Account, Block, RawAccount};
pub(crate) use objects::listed_accounts;
use objects::token::Token;
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
            Source {
                label: "account",
                implied: Some(
                    "the token of a login here that the call carries, else the place that `responsys.account_in` names",
                ),
                header: None,
                otherwise: "such a token in `Authorization` of the request, else `labels.account`",
            },
            Source {
                label: "user",
                implied: Some(
                    "the token of a login here that the call carries, else the place that `responsys.user_in` names",
                ),
                header: None,
                otherwise: "such a token in `Authorization` of the request, else nowhere: no block of a user applies",
            },
            Source {
                label: "api",
                implied: Some("verb, path, `action` and body"),
                header: None,
                otherwise: "of the functions that the call may be, the one with the tightest limit",
            },
        ]
    }

    /// The token says by itself to whom it was given, so it is not looked up.
    fn carried(&self, _options: &Options, headers: &HeaderMap) -> Result<Carried, Box<Problem>> {
        let Some(Token { account, user, .. }) = Token::of(headers) else { return Ok(Vec::new()) };
        Ok(account.map(|account| ("account", account)).into_iter().chain([("user", user)]).collect())
    }

    fn routes(&self, options: &Options, parts: Parts) -> Router {
        router(&options.responsys, parts)
    }

    fn api_doc(&self) -> OpenApi {
        doc::api_doc()
    }

    fn derive(&self, book: &Book) -> Result<Derived, Unreadable> {
        let accounts: Vec<Account> = objects::all(book)?.into_iter().map(|(_, account)| account).collect();
        Ok(all_active(derive::derive(&accounts)))
    }

    fn implies(&self, options: &Options, book: &Book) -> Result<Option<Implies>, Unreadable> {
        let accounts = objects::all(book)?.into_iter().map(|(_, account)| account).collect();
        Ok(implies::implies(&options.responsys, accounts))
    }

    fn asks_with_post(&self) -> &'static [&'static str] {
        &["/auth/token"]
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
