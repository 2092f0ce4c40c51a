//! What a refusal is about, for programs: the policy, its limit with the numbers, and what keeps other policies from governing
//! the call.
//!
//! Must not know: where policies come from, how limits count.

use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

/// A policy, by all that it is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct NamedPolicy {
    /// As `/v1/policies` lists it.
    pub id: String,
    /// What people call it; null where its id is all.
    #[schema(required)]
    pub name: Option<String>,
    /// Whose limit it is: the management API that it comes from, `file` or `api`; null once the policy is gone.
    #[schema(required)]
    pub system: Option<String>,
    /// The id that its system gave to the config which it comes from; null where configs have none.
    #[schema(required)]
    pub config: Option<String>,
}

/// A limit with its numbers; a member that means nothing for its kind is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(crate) struct LimitNumbers {
    /// One of `pace`, `window`, `quota`, `slots` and `closed`.
    pub kind: &'static str,
    /// The label values that it counts by, such as `account=acme`; empty where it counts all calls together.
    pub key: String,
    /// Calls that it allows in its window or period.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub calls: Option<u32>,
    /// The length of its sliding window.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub per_ms: Option<u64>,
    /// Its calendar period: `minute`, `hour`, `day` or `month`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub per: Option<&'static str>,
    /// Starts per second, of a pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = f64)]
    pub per_second: Option<Number>,
}

/// A policy that came close to governing a call, and what about the call does not fit it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct NearMiss {
    pub policy: NamedPolicy,
    /// The member of the event that does not fit: `url`, `method`, or a label such as `labels.org`.
    pub member: String,
    /// What was there, cut where it is long; null where nothing was.
    #[schema(required)]
    pub given: Option<String>,
    /// What the policy wants there, cut where it is long.
    pub wants: String,
    /// Where a label comes from when the event does not carry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub without_label: Option<String>,
}

/// The members of a refusal that say what it is about.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(crate) struct About {
    /// The policy whose limit has no room for the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub policy: Option<NamedPolicy>,
    /// The limit that has no room, with its numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub limit: Option<LimitNumbers>,
    /// The policies that came closest to governing the call, the closest first; at most 5.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub misses: Vec<NearMiss>,
    /// The request that explains the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub explain: Option<String>,
    /// Of what ended before this time nothing may be known any more; missing where every end is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub known_since: Option<String>,
    /// The request that goes on from what is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub go_on: Option<String>,
}
