//! What an operator may set about this dialect.

use std::time::Duration;

use crate::config::Config;
use crate::config::dialects::{ResponsysAccount, ResponsysBlock};
use crate::manage::responsys::{Block, RawAccount};
use crate::policy::DRAIN_WINDOW;

/// What an operator may set about this dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsysOptions {
    /// Whether a token is asked for (contract.md 5).
    pub require_headers: bool,
    /// The account whose limits are listed.
    pub default_account: Option<String>,
    /// How long limits that are gone may finish their backlog.
    pub drain_window: Duration,
}

impl ResponsysOptions {
    /// As they are configured.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            require_headers: config.manage.require_headers,
            default_account: config.labels.get("account").cloned(),
            drain_window: config.queue.drain,
        }
    }
}

/// The accounts of the configuration file as they are written, with their names.
pub(super) fn accounts(config: &Config) -> impl Iterator<Item = (String, RawAccount)> {
    config.dialects.responsys.accounts.iter().map(|account| {
        let ResponsysAccount { name, limits, blocked } = account;
        let block = |block: &ResponsysBlock| Block { user: block.user.clone(), apis: block.apis.clone() };
        let blocked = blocked.iter().map(block).collect();
        (name.clone(), RawAccount { limits: limits.clone(), blocked })
    })
}

impl Default for ResponsysOptions {
    fn default() -> Self {
        Self { require_headers: false, default_account: None, drain_window: DRAIN_WINDOW }
    }
}
