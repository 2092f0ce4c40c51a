//! Accounts to specs (contract.md 4, 5): for every function one policy that counts and, where users are
//! blocked, one that lets them start nothing.

use crate::event::PolicyId;
use crate::manage::responsys::objects::account::{Account, WINDOW_MS};
use crate::manage::responsys::objects::catalogue::{Api, catalogue, find};
use crate::manage::responsys::says::{API_BLOCKED, API_LIMIT_EXCEEDED};
use crate::policy::{
    Clause, Family, LabelCondition, Limits, Overlap, Overrides, RefusalCodes, Scope, Spec, UrlPattern, Window,
};

/// The policies of these accounts; none without accounts.
///
/// They name the accounts in their overrides and have no limits of their own: other accounts are not governed.
pub(super) fn derive(accounts: &[Account]) -> Vec<(PolicyId, Spec)> {
    // Without overrides a policy would govern every account, and limit none of them.
    if accounts.is_empty() {
        return Vec::new();
    }
    let limits = catalogue().iter().filter_map(|api| rate(api, accounts));
    let blocks = catalogue().iter().filter_map(|api| block(api, accounts));
    limits.chain(blocks).collect()
}

fn rate(api: &Api, accounts: &[Account]) -> Option<(PolicyId, Spec)> {
    let scope = Scope::new(&["account"]).ok()?;
    let rows = accounts.iter().filter_map(|account| {
        let window = Window::new(account.limit_of(api).into(), WINDOW_MS).ok()?;
        Some((vec![account.name.as_str().into()], Limits { window: Some(window), ..Limits::default() }))
    });
    let overrides = Overrides::new(&scope, rows);
    let id = PolicyId::parse(&format!("responsys.{}", api.name)).ok()?;
    Some((id, Spec { scope, overrides, rank: 1, ..refusing(api, "rate")? }.called(&title(api, accounts))))
}

/// The policy of a function that closes it to some users; `None` when nobody is blocked.
fn block(api: &Api, accounts: &[Account]) -> Option<(PolicyId, Spec)> {
    let scope = Scope::new(&["account", "user"]).ok()?;
    let blocks =
        accounts.iter().flat_map(|account| account.blocked.iter().map(move |block| (account, block)));
    let rows: Vec<_> = blocks
        .filter_map(|(account, block)| {
            let limits = if block.apis.iter().any(|blocked| blocked == api.name) {
                Limits::closed()
            // Not closed, but present: for this user the more literal function wins its calls from the one that is
            // blocked.
            } else if has_rival(api, &block.apis) {
                Limits::default()
            } else {
                return None;
            };
            Some((vec![account.name.as_str().into(), block.user.as_str().into()], limits))
        })
        .collect();
    if rows.is_empty() {
        return None;
    }
    let overrides = Overrides::new(&scope, rows);
    let id = PolicyId::parse(&format!("responsys.{}.block", api.name)).ok()?;
    Some((id, Spec { scope, overrides, rank: 0, ..refusing(api, "block")? }.called(&title(api, accounts))))
}

/// What people call the limits of a function: by the account while there is one alone.
fn title(api: &Api, accounts: &[Account]) -> String {
    match accounts {
        [only] => format!("{} {}", only.name, api.name),
        several => format!("{} of {} accounts", api.name, several.len()),
    }
}

/// Whether a path that is this function's fits the template of one of these: their block must not be its.
fn has_rival(api: &Api, blocked: &[String]) -> bool {
    let mut rivals = blocked.iter().filter_map(|name| find(name)).filter(|other| other.overlaps(api));
    rivals.any(|other| other.pattern().is_some() && api.pattern().is_some())
}

/// A policy without limits for the calls of a function: those that name it, and those that are made where nothing else
/// is called. Of several that fit a path the most literal one counts.
fn refusing(api: &Api, among: &str) -> Option<Spec> {
    let by_label = Clause {
        // A call that names its function is known by that, wherever it goes.
        labels: vec![LabelCondition::equals("api", api.name)],
        ..Clause::of(UrlPattern::any_host("/*").ok()?)
    };
    let by_path = match api.pattern() {
        Some(pattern) => Some(Clause {
            methods: vec![api.method()?],
            // A call that names another function is not this one, although the path fits.
            labels: vec![LabelCondition::equals_or_absent("api", api.name)],
            ..Clause::of(pattern)
        }),
        None => None,
    };
    Some(Spec {
        family: Family::Refuse,
        overlap: Overlap::MostSpecific { among: among.into() },
        wording: Some(RefusalCodes {
            per_window: API_LIMIT_EXCEEDED.into(),
            per_quota: API_LIMIT_EXCEEDED.into(),
            closed: API_BLOCKED.into(),
            subject: api.name.into(),
        }),
        ..Spec::new([by_label].into_iter().chain(by_path).collect(), Limits::default())
    })
}
