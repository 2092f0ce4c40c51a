//! The sections of the dialects, each with its rules. Which objects a dialect may list in its section is its own business;
//! what can be told without it is checked here, so that all problems of a file are reported together.
//!
//! Must not know: what the dialects do with their settings.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use crate::config::check::Checker;

/// The sections of the dialects that have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialects {
    /// `[throttling]`
    pub throttling: Throttling,
    /// `[capping]`
    pub capping: Capping,
    /// `[mashery]`
    pub mashery: Mashery,
    /// `[responsys]`
    pub responsys: Responsys,
}

/// The throttling dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttling {
    /// Least `maxThroughput`, in calls per second.
    pub min: NonZeroU32,
    /// Most `maxThroughput`; not below `min`.
    pub max: NonZeroU32,
    /// Configs per organisation.
    pub max_configs_per_org: NonZeroUsize,
}

/// The Mashery dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mashery {
    /// Whether answers to single calls tell how far the limits of their key are used.
    pub usage_headers: bool,
}

/// The capping dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capping {
    /// The HTTP status of a refused call in the dialect's own words: 429 or 409.
    pub status: u16,
    /// Whether a service must say `strategy`.
    pub require_strategy: bool,
    /// Configs per organisation.
    pub max_configs_per_org: NonZeroUsize,
}

/// The Responsys dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responsys {
    /// The HTTP status of a call over a limit in the dialect's own words, 400 to 599.
    pub limit_status: u16,
    /// The HTTP status of a blocked user's call in the dialect's own words, 400 to 599.
    pub blocked_status: u16,
    /// The accounts as they are written; which functions they may name is the dialect's business.
    pub accounts: Vec<ResponsysAccount>,
}

/// One account of Responsys.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponsysAccount {
    /// What events name in their label `account`.
    pub name: String,
    /// Requests per minute by function, in place of the defaults.
    #[serde(default)]
    pub limits: BTreeMap<String, i64>,
    /// Users that may not call some functions.
    #[serde(default)]
    pub blocked: Vec<ResponsysBlock>,
}

/// A user that may not call some functions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponsysBlock {
    /// What events name in their label `user`.
    pub user: String,
    /// The functions.
    pub apis: Vec<String>,
}

impl Checker<'_> {
    /// Every section is checked before the first `?`, so that all problems are found.
    pub(super) fn dialects(&mut self) -> Option<Dialects> {
        let throttling = self.throttling();
        let mashery = self.mashery();
        let capping = self.capping();
        let responsys = self.responsys();
        Some(Dialects {
            throttling: throttling?,
            capping: capping?,
            mashery: mashery?,
            responsys: responsys?,
        })
    }

    fn throttling(&mut self) -> Option<Throttling> {
        let min = self.number("throttling.min", 1..=1_000_000);
        let max = self.number("throttling.max", 1..=1_000_000);
        let configs = self.number("throttling.max_configs_per_org", 1..=100_000);
        self.ordered("throttling.min", min, "throttling.max", max);
        Some(Throttling {
            min: NonZeroU32::new(u32::try_from(min?).ok()?)?,
            max: NonZeroU32::new(u32::try_from(max?).ok()?)?,
            max_configs_per_org: NonZeroUsize::new(usize::try_from(configs?).ok()?)?,
        })
    }

    fn capping(&mut self) -> Option<Capping> {
        let status = match self.number("capping.status", 100..=599) {
            Some(409) => Some(409),
            Some(429) => Some(429),
            Some(_) => self.wrong("capping.status", "must be 429 or 409".to_owned()),
            None => None,
        };
        let require_strategy = self.flag("capping.require_strategy");
        let configs = self.number("capping.max_configs_per_org", 1..=100_000);
        Some(Capping {
            status: status?,
            require_strategy: require_strategy?,
            max_configs_per_org: NonZeroUsize::new(usize::try_from(configs?).ok()?)?,
        })
    }

    fn mashery(&mut self) -> Option<Mashery> {
        Some(Mashery { usage_headers: self.flag("mashery.usage_headers")? })
    }

    fn responsys(&mut self) -> Option<Responsys> {
        let limit_status = self.error_status("responsys.limit_status");
        let blocked_status = self.error_status("responsys.blocked_status");
        let accounts: Option<Vec<ResponsysAccount>> = self.tables("responsys.accounts", "name");
        Some(Responsys { limit_status: limit_status?, blocked_status: blocked_status?, accounts: accounts? })
    }

    fn error_status(&mut self, setting: &str) -> Option<u16> {
        u16::try_from(self.number(setting, 400..=599)?).ok()
    }
}
