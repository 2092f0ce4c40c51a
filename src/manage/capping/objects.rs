//! The stored form of a config: an element of the policy book.

mod kept;
pub(super) mod life;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use utoipa::ToSchema;

use crate::manage::adobe::stamp::Stamp;
use crate::manage::capping::objects::life::Life;
use crate::manage::capping::{ORIGIN, doc};
use crate::manage::dialect::Unreadable;
use crate::policy::Origin;

/// The kind of this dialect's elements.
pub(super) const KIND: &str = "endpointConfig";

/// The origin of this dialect's elements and policies.
pub(super) fn origin() -> Origin {
    Origin::new(ORIGIN)
}

/// A config as it was sent, stripped of unknown members (contract.md 1).
///
/// Described as it is sent; it is stored under the names of these fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = CappingConfig, rename_all = "camelCase", description = doc::ABOUT_CONFIG)]
pub(in crate::manage) struct Config {
    /// As sent if it is text.
    #[schema(example = "https://api.example.org/data/*")]
    pub(super) url: Option<String>,
    /// In the order sent, without repeats.
    pub(super) methods: Option<Vec<String>>,
    /// By name, `action` and `dataSource`.
    pub(super) services: Option<BTreeMap<String, Service>>,
}

/// What is capped for one kind of callers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = CappingService, rename_all = "camelCase")]
pub(in crate::manage) struct Service {
    /// `capping`, or left out unless `capping.require_strategy` is set.
    pub(super) strategy: Option<String>,
    /// Calls under way at the same time, at most 400 of them; without bound when missing or less than one.
    #[schema(value_type = Option<i64>)]
    pub(super) max_http_connections: Option<Number>,
    pub(super) rating: Option<Rating>,
}

/// So many calls in any period.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = CappingRating, rename_all = "camelCase")]
pub(in crate::manage) struct Rating {
    /// 1 to 10⁹.
    #[schema(value_type = Option<i64>)]
    pub(super) max_calls_count: Option<Number>,
    /// 1 to 2 678 400 000, that is 31 days.
    #[schema(value_type = Option<i64>)]
    pub(super) period_in_ms: Option<Number>,
}

/// A config with what the system adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::manage) struct Record {
    pub(super) config: Config,
    pub(super) org_id: String,
    pub(super) sandbox_id: String,
    pub(super) sandbox_name: String,
    pub(super) created: Stamp,
    pub(super) modified: Stamp,
    /// Kept after an undeploy.
    pub(super) last_deployed: Option<Stamp>,
    pub(super) life: Life,
}

impl Record {
    /// `None` when it was not written by this dialect.
    fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// Whether a stored record is one of an organisation, without reading the rest of it.
    pub(super) fn is_of(value: &Value, org: &str) -> bool {
        value.get("org_id").and_then(Value::as_str) == Some(org)
    }

    /// The same of the stored config `uid`.
    pub(super) fn kept(uid: &str, value: &Value) -> Result<Self, Unreadable> {
        Self::read(value).ok_or_else(|| Unreadable { object: format!("the stored endpoint config {uid:?}") })
    }

    pub(super) fn write(&self) -> Value {
        // Text, numbers and lists always make a value.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Config {
    /// As it is deployed: a missing `maxHttpConnections` is written as -1, the default of the system (contract.md 1).
    pub(super) fn as_deployed(&self) -> Self {
        let mut config = self.clone();
        for service in config.services.iter_mut().flat_map(BTreeMap::values_mut) {
            service.max_http_connections.get_or_insert_with(|| Number::from(-1));
        }
        config
    }
}
