//! The dialects that have settings of their own kind, from the configuration to their routes and words.
//!
//! Must not know: what the dialects do with them.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use http::StatusCode;

use crate::app::{AppError, AppErrorKind};
use crate::clock::Clock;
use crate::config::{Config, ResponsysAccount};
use crate::manage::mediarithmics::{self, MediarithmicsApi, MediarithmicsOptions};
use crate::manage::refusals;
use crate::manage::responsys::{self, Account, Block, RawAccount, ResponsysApi, ResponsysOptions, Statuses};
use crate::policy::Policies;
use crate::problem::Tell;

/// Their routes.
pub(super) fn routes(
    config: &Config,
    policies: &Policies,
    clock: &Clock,
    dice: &mut fastrand::Rng,
) -> Router {
    let require_headers = config.manage.require_headers;
    let drain_window = config.queue.drain;
    let options = MediarithmicsOptions { require_headers, drain_window };
    let mediarithmics = MediarithmicsApi::new(policies.clone(), options, clock.clone(), dice.fork());
    let default_account = config.labels.get("account").cloned();
    let options = ResponsysOptions { require_headers, default_account, drain_window };
    let responsys = ResponsysApi::new(policies.clone(), options, clock.clone(), dice.fork());
    mediarithmics::router(mediarithmics).merge(responsys::router(responsys))
}

/// Speaks for the dialects whose limits turn calls away.
pub(super) fn tell(config: &Config, dice: fastrand::Rng) -> Tell {
    let status = |number: u16, default| StatusCode::from_u16(number).unwrap_or(default);
    let defaults = Statuses::default();
    let statuses = Statuses {
        limit: status(config.responsys.limit_status, defaults.limit),
        blocked: status(config.responsys.blocked_status, defaults.blocked),
    };
    let dice = Mutex::new(dice);
    Arc::new(move |refused| match refused.origin {
        responsys::ORIGIN => {
            // A generator is whole between any two calls, so a poisoned lock is harmless.
            let roll = dice.lock().unwrap_or_else(PoisonError::into_inner).u128(..);
            responsys::tell(refused, statuses, roll)
        }
        _ => refusals::tell(refused),
    })
}

/// The accounts of the configuration file.
///
/// # Errors
/// [`AppErrorKind::Config`] with all that is wrong with them.
pub(super) fn accounts(config: &Config) -> Result<Vec<Account>, AppError> {
    let list = config.responsys.accounts.iter().map(|account| {
        let ResponsysAccount { name, limits, blocked } = account;
        let block = |block: &crate::config::ResponsysBlock| Block {
            user: block.user.clone(),
            apis: block.apis.clone(),
        };
        let blocked = blocked.iter().map(block).collect();
        (name.clone(), RawAccount { limits: limits.clone(), blocked })
    });
    Account::check_all(list).map_err(|problems| AppError {
        kind: AppErrorKind::Config,
        detail: format!("responsys.accounts: {}", problems.join("; ")),
    })
}
