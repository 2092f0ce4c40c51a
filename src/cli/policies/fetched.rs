//! Policies as the daemon lists them.
//!
//! Must not know: what is done with them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::cli::client::Client;
use crate::cli::exit::Failure;

/// Policies that are asked for at a time.
const PAGE: usize = 500;

/// What is needed of a listed policy.
#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct FetchedPolicy {
    pub(in crate::cli) id: String,
    pub(in crate::cli) origin: String,
    /// One of `deployed`, `draining` and `idle`.
    pub(in crate::cli) state: String,
    /// As a block of the configuration file says it; `None` where that cannot be.
    pub(in crate::cli) definition: Option<Value>,
    /// The edition for `If-Match`; `None` once it is deleted.
    pub(in crate::cli) etag: Option<String>,
    pub(in crate::cli) limits: Option<FetchedLimits>,
    pub(in crate::cli) generations: Vec<Generation>,
    pub(in crate::cli) hold: Option<FetchedHold>,
    pub(in crate::cli) figures: Option<Figures>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct FetchedLimits {
    pub(in crate::cli) pace: Option<f64>,
    pub(in crate::cli) window: Option<FetchedWindow>,
    pub(in crate::cli) quota: Option<FetchedQuota>,
    pub(in crate::cli) slots: Option<u32>,
    pub(in crate::cli) timeout_ms: Option<u64>,
    #[serde(default)]
    pub(in crate::cli) closed: bool,
    /// Limits of kinds that this program does not know: a policy that has no other must not look unlimited.
    #[serde(flatten)]
    pub(in crate::cli) others: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct FetchedWindow {
    pub(in crate::cli) calls: u32,
    pub(in crate::cli) per_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct FetchedQuota {
    pub(in crate::cli) calls: u32,
    pub(in crate::cli) per: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct Generation {
    pub(in crate::cli) draining_until: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct FetchedHold {
    pub(in crate::cli) reason: String,
    pub(in crate::cli) until: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct Figures {
    pub(in crate::cli) keys: u64,
    pub(in crate::cli) inflight: u64,
    pub(in crate::cli) waiting: u64,
    pub(in crate::cli) delayed: u64,
    pub(in crate::cli) oldest: Option<String>,
    pub(in crate::cli) limits: BTreeMap<String, Used>,
    pub(in crate::cli) held: Vec<Held>,
    pub(in crate::cli) drains_in_seconds: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct Used {
    pub(in crate::cli) used: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub(in crate::cli) struct Held {
    pub(in crate::cli) reason: String,
    pub(in crate::cli) lanes: u64,
}

/// All policies by id, as they were answered.
///
/// # Errors
/// [`Failure`] when the daemon refuses or breaks off.
pub(in crate::cli) async fn answered(client: &mut Client) -> Result<Vec<Value>, Failure> {
    let mut policies = Vec::new();
    let mut cursor = String::new();
    loop {
        let mut page = client.get(&format!("/v1/policies?limit={PAGE}{cursor}")).await?;
        if let Some(Value::Array(found)) = page.get_mut("policies").map(Value::take) {
            policies.extend(found);
        }
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            // Policies that are made meanwhile may be missing: each page is of its own moment.
            None => return Ok(policies),
        }
    }
}

/// The same, read.
///
/// # Errors
/// [`Failure`] also when an answer does not read.
pub(in crate::cli) async fn listed(client: &mut Client) -> Result<Vec<FetchedPolicy>, Failure> {
    answered(client).await?.iter().map(read).collect()
}

/// One policy of an answer.
///
/// # Errors
/// [`Failure`] when it does not read.
pub(in crate::cli) fn read(policy: &Value) -> Result<FetchedPolicy, Failure> {
    FetchedPolicy::deserialize(policy)
        .map_err(|error| Failure::new(format!("the answer does not read: {error}")))
}
