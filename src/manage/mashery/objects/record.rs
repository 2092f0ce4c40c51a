//! The stored form of an object, and typed views of what it says.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::policy::Period;

/// An object with what the system adds. It holds secrets, so it is not to be printed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::manage::mashery) struct Record {
    /// All members of its kind by their names on the wire, checked when they were taken.
    pub(in crate::manage::mashery) members: Map<String, Value>,
    /// The id of the service of an endpoint, of the endpoint of a method.
    pub(in crate::manage::mashery) parent: Option<String>,
    /// When the object was made, as it is shown.
    pub(in crate::manage::mashery) created: String,
    /// When the object was last changed, as it is shown.
    pub(in crate::manage::mashery) updated: String,
}

impl Record {
    /// `None` when it was not written by this dialect.
    pub(in crate::manage::mashery) fn read(value: &Value) -> Option<Self> {
        Self::deserialize(value).ok()
    }

    pub(in crate::manage::mashery) fn write(&self) -> Value {
        // Text, maps with text keys and numbers always make a value.
        let value = serde_json::to_value(self).unwrap_or_default();
        debug_assert!(value.is_object(), "an object that is stored can be read again");
        value
    }

    /// What it says, in terms of its kind.
    pub(in crate::manage::mashery) fn view<T: DeserializeOwned>(&self) -> Option<T> {
        // Members that the view does not name are passed over: they are only given back.
        T::deserialize(Value::Object(self.members.clone())).ok()
    }
}

/// What a service says about limits, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage::mashery) struct Service {
    pub(in crate::manage::mashery) name: String,
    /// Nothing, 0 and -1 mean without limit.
    pub(in crate::manage::mashery) qps_limit_overall: Option<i64>,
    pub(in crate::manage::mashery) rate_limit_ceiling: Option<u32>,
    #[serde(deserialize_with = "period")]
    pub(in crate::manage::mashery) rate_limit_period: Period,
    pub(in crate::manage::mashery) qps_limit_ceiling: Option<u32>,
    pub(in crate::manage::mashery) rate_limit_override_allowed: bool,
    pub(in crate::manage::mashery) qps_limit_override_allowed: bool,
}

/// What an endpoint says about calls and limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage::mashery) struct Endpoint {
    pub(in crate::manage::mashery) name: String,
    pub(in crate::manage::mashery) request_path_alias: String,
    pub(in crate::manage::mashery) public_domains: Vec<Domain>,
    /// The verbs that the endpoint takes; an empty list means all.
    pub(in crate::manage::mashery) supported_http_methods: Vec<String>,
    pub(in crate::manage::mashery) rate_limit_ceiling: Option<u32>,
    pub(in crate::manage::mashery) qps_limit_ceiling: Option<u32>,
}

/// A host, with or without a port, at which an endpoint is called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::manage::mashery) struct Domain {
    pub(in crate::manage::mashery) address: String,
}

/// What a method says about limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage::mashery) struct Method {
    pub(in crate::manage::mashery) name: String,
    pub(in crate::manage::mashery) rate_limit_ceiling: Option<u32>,
    /// The period of the method; `None` means that of its service.
    #[serde(deserialize_with = "optional_period")]
    pub(in crate::manage::mashery) rate_limit_period: Option<Period>,
    pub(in crate::manage::mashery) qps_limit_ceiling: Option<u32>,
}

/// What a key says about limits, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage::mashery) struct PackageKey {
    pub(in crate::manage::mashery) apikey: String,
    pub(in crate::manage::mashery) rate_limit_ceiling: Option<u32>,
    pub(in crate::manage::mashery) rate_limit_exempt: bool,
    pub(in crate::manage::mashery) qps_limit_ceiling: Option<u32>,
    pub(in crate::manage::mashery) qps_limit_exempt: bool,
    pub(in crate::manage::mashery) status: Status,
    pub(in crate::manage::mashery) service: Reference,
}

/// Whether calls with a key are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::manage::mashery) enum Status {
    /// The key is not let through yet.
    Waiting,
    /// The key is let through, within its limits.
    Active,
    /// The key is not let through any more.
    Disabled,
}

/// Names another object by its id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::manage::mashery) struct Reference {
    pub(in crate::manage::mashery) id: String,
}

fn period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
    // The words of the wire are those of [`Period`].
    let word = String::deserialize(deserializer)?;
    Period::parse(&word).ok_or_else(|| serde::de::Error::custom("no period"))
}

fn optional_period<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Period>, D::Error> {
    match Option::<String>::deserialize(deserializer)? {
        None => Ok(None),
        Some(word) => Period::parse(&word).map(Some).ok_or_else(|| serde::de::Error::custom("no period")),
    }
}
