//! What an operator may set about this dialect.

use std::time::Duration;

use http::StatusCode;

use crate::manage::Place;
use crate::manage::responsys::RawAccount;
use crate::policy::DRAIN_WINDOW;

/// What an operator may set about this dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponsysOptions {
    /// Whether a token is asked for (contract.md 5).
    pub require_headers: bool,
    /// The account whose limits `GET /rest/api/ratelimit` lists.
    pub default_account: Option<String>,
    /// How long limits that are gone may finish their backlog.
    pub drain_window: Duration,
    /// With which statuses calls are turned away.
    pub statuses: Statuses,
    /// Where a call names its account when neither its event nor its token does.
    pub account_in: Option<Place>,
    /// Where a call names its user in that case.
    pub user_in: Option<Place>,
    /// The address at which clients go on after the login; `None` for the one that they logged in at.
    pub endpoint: Option<String>,
    /// The accounts of the configuration file as they are written, with their names.
    pub accounts: Vec<(String, RawAccount)>,
}

/// With which statuses calls are turned away: Oracle's pages differ. Clients wait on 429 and log in again on 401, which
/// uses up the limit of the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statuses {
    /// The status of a call over its limit, `API_LIMIT_EXCEEDED`.
    pub limit: StatusCode,
    /// The status of a call that is blocked, `API_BLOCKED`.
    pub blocked: StatusCode,
}

impl Default for ResponsysOptions {
    fn default() -> Self {
        Self {
            require_headers: false,
            default_account: None,
            drain_window: DRAIN_WINDOW,
            statuses: Statuses::default(),
            account_in: None,
            user_in: None,
            endpoint: None,
            accounts: Vec::new(),
        }
    }
}

impl Default for Statuses {
    fn default() -> Self {
        Self { limit: StatusCode::TOO_MANY_REQUESTS, blocked: StatusCode::BAD_REQUEST }
    }
}
