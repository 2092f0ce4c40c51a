//! The dialects, from the configuration to their routes and words.
//!
//! Must not know: what the dialects do with them.

use std::sync::Arc;

use axum::Router;
use http::StatusCode;

use crate::app::{AppError, AppErrorKind};
use crate::clock::Clock;
use crate::config::{Config, ResponsysAccount};
use crate::event::PolicyId;
use crate::manage::Dice;
use crate::manage::adobe::{AdobeOptions, Sandbox, SandboxKind};
use crate::manage::capping::{self, CappingApi, CappingOptions};
use crate::manage::mashery::{self, MasheryApi, MasheryOptions};
use crate::manage::mediarithmics::{self, MediarithmicsApi, MediarithmicsOptions};
use crate::manage::responsys::{self, Account, Block, RawAccount, ResponsysApi, ResponsysOptions, Statuses};
use crate::manage::throttling::{self, ThrottlingApi, ThrottlingOptions};
use crate::policy::{Bounds, Policies};
use crate::problem::Tell;

/// Their routes.
pub(super) fn routes(
    config: &Config,
    policies: &Policies,
    clock: &Clock,
    dice: &mut fastrand::Rng,
) -> Router {
    let policies = policies.bounded(bounds(config));
    let mut parts = || (policies.clone(), clock.clone(), dice.fork());
    let (policies, clock, dice) = parts();
    let throttling = ThrottlingApi::new(policies, throttling_options(config), clock, dice);
    let (policies, clock, dice) = parts();
    let capping = CappingApi::new(policies, capping_options(config), clock, dice);
    let (policies, clock, dice) = parts();
    let mashery = MasheryApi::new(policies, mashery_options(config), clock, dice);
    let (policies, clock, dice) = parts();
    let mediarithmics = MediarithmicsApi::new(policies, mediarithmics_options(config), clock, dice);
    let (policies, clock, dice) = parts();
    let responsys = ResponsysApi::new(policies, responsys_options(config), clock, dice);
    throttling::router(throttling)
        .merge(capping::router(capping))
        .merge(mashery::router(mashery))
        .merge(mediarithmics::router(mediarithmics))
        .merge(responsys::router(responsys))
}

/// Speaks for the dialects whose limits turn calls away.
pub(super) fn tell(config: &Config, dice: fastrand::Rng) -> Tell {
    let status = |number: u16, default| StatusCode::from_u16(number).unwrap_or(default);
    let defaults = Statuses::default();
    let statuses = Statuses {
        limit: status(config.responsys.limit_status, defaults.limit),
        blocked: status(config.responsys.blocked_status, defaults.blocked),
    };
    let capped = status(config.capping.status, StatusCode::TOO_MANY_REQUESTS);
    let dice = Dice::new(dice);
    Arc::new(move |refused| match refused.origin {
        responsys::ORIGIN => responsys::tell(refused, statuses, dice.roll()),
        capping::ORIGIN => capping::tell(refused, capped),
        mashery::ORIGIN => mashery::tell(refused),
        _ => None,
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

/// Which dialect gives policies names of this form. The configuration file may have them all the same, as it always could.
pub(super) fn owner_of_form(id: &PolicyId) -> Option<&'static str> {
    let is_uuid = |text: &str| {
        let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits = |(at, c): (usize, u8)| if is_dash(at) { c == b'-' } else { c.is_ascii_hexdigit() };
        text.len() == 36 && text.bytes().enumerate().all(fits)
    };
    match id.as_str().split_once('.') {
        None if is_uuid(id.as_str()) => Some("throttling"),
        Some(("responsys", _)) => Some(responsys::ORIGIN),
        Some(("mics", _)) => Some("mediarithmics"),
        Some((uid, "action" | "dataSource")) if is_uuid(uid) => Some(capping::ORIGIN),
        Some((id, _)) if is_uuid(id) => Some(mashery::ORIGIN),
        _ => None,
    }
}

/// How much the dialects and the configuration file may add to the policy book.
pub(super) fn bounds(config: &Config) -> Bounds {
    Bounds {
        policies: config.manage.max_policies.get(),
        policies_per_dialect: config.manage.max_policies_per_dialect.get(),
        ..Bounds::default()
    }
}

fn throttling_options(config: &Config) -> ThrottlingOptions {
    ThrottlingOptions {
        adobe: adobe_options(config),
        throughput_min: config.throttling.min.get(),
        throughput_max: config.throttling.max.get(),
        max_configs_per_org: config.throttling.max_configs_per_org.get(),
        error_as_object: config.manage.error_as_object,
    }
}

fn capping_options(config: &Config) -> CappingOptions {
    CappingOptions {
        adobe: adobe_options(config),
        require_strategy: config.capping.require_strategy,
        max_configs_per_org: config.capping.max_configs_per_org.get(),
    }
}

fn adobe_options(config: &Config) -> AdobeOptions {
    let label = |name: &str| config.labels.get(name).cloned();
    let defaults = AdobeOptions::default();
    AdobeOptions {
        default_org: label("org").unwrap_or(defaults.default_org),
        default_sandbox: label("sandbox").unwrap_or(defaults.default_sandbox),
        sandboxes: config.manage.sandboxes.iter().map(sandbox).collect(),
        reject_invalid: config.manage.reject_invalid,
        require_headers: config.manage.require_headers,
        drain_window: config.queue.drain,
        identity: defaults.identity,
    }
}

fn mashery_options(config: &Config) -> MasheryOptions {
    MasheryOptions { require_headers: config.manage.require_headers, drain_window: config.queue.drain }
}

fn sandbox(sandbox: &crate::config::Sandbox) -> Sandbox {
    let kind = if sandbox.production { SandboxKind::Production } else { SandboxKind::Development };
    Sandbox { name: sandbox.name.clone(), id: sandbox.id.clone(), kind }
}

fn mediarithmics_options(config: &Config) -> MediarithmicsOptions {
    MediarithmicsOptions { require_headers: config.manage.require_headers, drain_window: config.queue.drain }
}

fn responsys_options(config: &Config) -> ResponsysOptions {
    ResponsysOptions {
        require_headers: config.manage.require_headers,
        default_account: config.labels.get("account").cloned(),
        drain_window: config.queue.drain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_forms_of_dialects_are_known() {
        let uuid = "0198c4f0-5f3a-4c00-8000-00000000000f";
        for (name, owner) in [
            (uuid.to_owned(), Some("throttling")),
            (format!("{uuid}.action"), Some("capping")),
            (format!("{uuid}.dataSource"), Some("capping")),
            (format!("{uuid}.keys"), Some("mashery")),
            ("responsys.login.block".to_owned(), Some("responsys")),
            ("mics.1001".to_owned(), Some("mediarithmics")),
            ("crm".to_owned(), None),
            ("orders.action".to_owned(), None),
            ("responsys".to_owned(), None),
            (uuid.replace('f', "g"), None),
        ] {
            let id = PolicyId::parse(&name).expect("valid");
            assert_eq!(owner_of_form(&id), owner, "{name}");
        }
    }
}
