//! The stored form of a config: the authoring record in the policy book.

mod kept;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};
use utoipa::ToSchema;

use crate::manage::adobe::stamp::Stamp;
use crate::manage::throttling::{ORIGIN, doc};
use crate::policy::{Lifecycle, Origin};

/// The origin of this dialect's policies.
pub(super) fn origin() -> Origin {
    Origin::new(ORIGIN)
}

/// A config as it was sent, stripped of unknown members (contract.md 1).
///
/// Described as it is sent; it is stored under the names of these fields.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = ThrottlingConfig, rename_all = "camelCase", description = doc::ABOUT_CONFIG)]
pub(in crate::manage) struct Config {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    #[schema(example = "https://api.example.org/data/*")]
    pub(super) url_pattern: Option<String>,
    /// In the order sent, without repeats.
    pub(super) methods: Option<Vec<String>>,
    /// 200 to 5000. Another number is kept as it was sent, and cannot be deployed.
    #[schema(value_type = Option<i64>)]
    pub(super) max_throughput: Option<Number>,
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
    pub(super) deployed: Option<Stamp>,
}

/// A config with its authoring state.
pub(in crate::manage) struct Kept {
    record: Record,
    life: Lifecycle,
}

impl Record {
    /// `None` when it was not written by this dialect.
    pub(super) fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    /// Whether a stored record is one of an organisation, without reading the rest of it.
    pub(super) fn is_of(value: &Value, org: &str) -> bool {
        value.get("org_id").and_then(Value::as_str) == Some(org)
    }

    pub(super) fn write(&self) -> Value {
        // Text, numbers and lists always make a value.
        serde_json::to_value(self).unwrap_or_default()
    }
}
