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
    /// The stored id of what it belongs to: the service of an endpoint, the plan of a service in it, the application of a
    /// key.
    pub(in crate::manage::mashery) parent: Option<String>,
    /// When the object was made, as it is shown.
    pub(in crate::manage::mashery) created: String,
    /// When the object was last changed, as it is shown.
    pub(in crate::manage::mashery) updated: String,
}

impl Record {
    /// What the object of a stored value belongs to, without reading all of it.
    pub(in crate::manage::mashery) fn parent_of(value: &Value) -> Option<&str> {
        value.get("parent").and_then(Value::as_str)
    }

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
    /// Whether calls without a key are let through; `None` when nothing is said of it.
    pub(in crate::manage::mashery) allow_missing_api_key: Option<bool>,
    /// Where the key stands, such as `request-header`; empty when nothing is said of it.
    #[serde(default)]
    pub(in crate::manage::mashery) api_key_value_locations: Vec<String>,
    /// What it is called there, or the numbers of segments of the path.
    pub(in crate::manage::mashery) api_key_value_location_key: Option<String>,
    /// Where the name of the method stands; empty when nothing is said of it.
    #[serde(default)]
    pub(in crate::manage::mashery) api_method_detection_locations: Vec<String>,
    /// What it is called there, or the numbers of segments of the path.
    pub(in crate::manage::mashery) api_method_detection_key: Option<String>,
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
    /// Given, it is the service that the key belongs to, whatever package and plan say.
    pub(in crate::manage::mashery) service: Option<Reference>,
    pub(in crate::manage::mashery) package: Option<Reference>,
    pub(in crate::manage::mashery) plan: Option<Reference>,
}

/// What a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage::mashery) enum Owner<'k> {
    /// One service, by its id: the short way.
    Service(&'k str),
    /// A plan of a package, and with it the services that are in the plan.
    Plan {
        /// The id of the package.
        package: &'k str,
        /// The id of the plan.
        plan: &'k str,
    },
}

impl PackageKey {
    /// What it belongs to; `None` when it does not say.
    pub(in crate::manage::mashery) fn owner(&self) -> Option<Owner<'_>> {
        match (&self.service, &self.package, &self.plan) {
            (Some(service), ..) => Some(Owner::Service(&service.id)),
            (None, Some(package), Some(plan)) => Some(Owner::Plan { package: &package.id, plan: &plan.id }),
            (None, ..) => None,
        }
    }
}

/// What a plan says about the limits of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage::mashery) struct Plan {
    pub(in crate::manage::mashery) name: String,
    pub(in crate::manage::mashery) rate_limit_ceiling: Option<u32>,
    pub(in crate::manage::mashery) rate_limit_exempt: bool,
    pub(in crate::manage::mashery) rate_limit_key_override_allowed: bool,
    #[serde(deserialize_with = "period")]
    pub(in crate::manage::mashery) rate_limit_period: Period,
    pub(in crate::manage::mashery) qps_limit_ceiling: Option<u32>,
    pub(in crate::manage::mashery) qps_limit_exempt: bool,
    pub(in crate::manage::mashery) qps_limit_key_override_allowed: bool,
    pub(in crate::manage::mashery) status: PlanStatus,
}

/// Whether keys of a plan are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::manage::mashery) enum PlanStatus {
    /// Those that are active themselves.
    Active,
    /// None of its keys, whatever they say themselves.
    Inactive,
}

/// The member of a service in a plan that is true once an endpoint was put into the plan by itself.
pub(in crate::manage::mashery) const ONLY_LISTED: &str = "onlyListed";

/// How much of a service is in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage::mashery) struct PlanService {
    /// Only the endpoints that are in the plan by themselves; otherwise all.
    #[serde(default)]
    pub(in crate::manage::mashery) only_listed: bool,
}

/// What a plan says about one method, for each of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage::mashery) struct PlanMethod {
    pub(in crate::manage::mashery) rate_limit_ceiling: Option<u32>,
    /// The period of the method in the plan; `None` means that of the plan.
    #[serde(deserialize_with = "optional_period")]
    pub(in crate::manage::mashery) rate_limit_period: Option<Period>,
    pub(in crate::manage::mashery) qps_limit_ceiling: Option<u32>,
}

/// What matters of objects that have no limits of their own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::manage::mashery) struct Named {
    /// The name of a package or application.
    #[serde(default)]
    pub(in crate::manage::mashery) name: String,
    /// The name by which a member is known.
    #[serde(default)]
    pub(in crate::manage::mashery) username: String,
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
