//! What is sent: the list as Responsys spells it (contract.md 1), accounts in tidegate's own words.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::manage::responsys::doc::source;
use crate::manage::responsys::objects::Source;
use crate::manage::responsys::objects::account::{Account, Block};
use crate::manage::responsys::objects::catalogue::{Api, catalogue};

/// The limit of one function, its members in the order of the published sample; all of them are text.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsysLimit)]
pub(super) struct Item {
    /// Requests per minute, as text.
    limit: String,
    /// The system name of the function.
    api: &'static str,
    resource_path: &'static str,
    verb: &'static str,
    description: &'static str,
}

impl Item {
    /// The limits of an account, the defaults where nothing is known of it.
    pub(super) fn list(account: Option<&Account>) -> Vec<Self> {
        let limit = |api: &Api| account.map_or(api.default_limit, |account| account.limit_of(api));
        let item = |api: &Api| Self {
            limit: limit(api).to_string(),
            api: api.name,
            resource_path: api.resource_path,
            verb: api.verb,
            description: api.description,
        };
        catalogue().iter().map(item).collect()
    }
}

/// The answer to a login.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsysLogin)]
pub(super) struct LoggedIn {
    /// To be sent as `Authorization`, without a scheme.
    #[serde(rename = "authToken")]
    pub(super) auth_token: String,
    /// In milliseconds since 1970.
    #[serde(rename = "issuedAt")]
    pub(super) issued_at: u64,
    /// The address at which to go on.
    #[serde(rename = "endPoint")]
    pub(super) end_point: String,
}

/// All accounts.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsysAccounts)]
pub(super) struct Accounts<'a> {
    /// Those of the configuration file first, each kind in the order of creation.
    accounts: Vec<Shown<'a>>,
}

/// An account as it is shown.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsysAccount)]
pub(super) struct Shown<'a> {
    name: &'a str,
    /// `file` or `api`.
    #[schema(schema_with = source)]
    source: &'static str,
    /// Its own limits, in requests per minute.
    limits: &'a BTreeMap<String, u32>,
    blocked: &'a [Block],
    /// Users whose login belongs to it; absent without any.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    #[schema(required = false)]
    users: &'a [String],
}

impl<'a> Accounts<'a> {
    pub(super) fn of(all: &'a [(Source, Account)]) -> Self {
        Self { accounts: all.iter().map(|(source, account)| Shown::of(*source, account)).collect() }
    }
}

impl<'a> Shown<'a> {
    pub(super) fn of(source: Source, account: &'a Account) -> Self {
        let Account { name, limits, blocked, users } = account;
        Self { name, source: source.name(), limits, blocked, users }
    }
}
