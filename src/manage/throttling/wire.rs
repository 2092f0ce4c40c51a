//! What is received and sent, member by member in the order of the published samples (contracts.md 1.3, 1.4).

use serde::Serialize;
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;

use crate::manage::throttling::doc::{always, never, state, validation_status};
use crate::manage::throttling::record::{Config, Stamp};

/// A body that is not JSON, not an object, or has a wrong type in a known member: refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidPayload;

/// Reads a config. `null` counts as absent. `maxThroughput` of a decimal, text or boolean is a semantic
/// fault, kept only if it is a number (contracts.md 2.1).
pub(super) fn read_config(body: &[u8]) -> Result<Config, InvalidPayload> {
    let mut members = read_object(body)?;
    let methods = match members.remove("methods") {
        None | Some(Value::Null) => None,
        Some(Value::Array(items)) => {
            let mut methods: Vec<String> = Vec::new();
            for item in items {
                let Value::String(method) = item else { return Err(InvalidPayload) };
                if !methods.contains(&method) {
                    methods.push(method);
                }
            }
            Some(methods)
        }
        Some(_) => return Err(InvalidPayload),
    };
    let max_throughput = match members.remove("maxThroughput") {
        None | Some(Value::Null | Value::Bool(_) | Value::String(_)) => None,
        Some(Value::Number(number)) => Some(number),
        Some(Value::Array(_) | Value::Object(_)) => return Err(InvalidPayload),
    };
    Ok(Config {
        name: text(&mut members, "name")?,
        description: text(&mut members, "description")?,
        url_pattern: text(&mut members, "urlPattern")?,
        methods,
        max_throughput,
    })
}

fn read_object(body: &[u8]) -> Result<Map<String, Value>, InvalidPayload> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) | Err(_) => Err(InvalidPayload),
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, InvalidPayload> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(InvalidPayload),
    }
}

/// The part of a list that is asked for: `(skip, take)`. Without a body, or without two valid numbers, all.
pub(super) fn read_page(body: &[u8]) -> Result<(usize, usize), InvalidPayload> {
    const ALL: (usize, usize) = (0, usize::MAX);
    if body.trim_ascii().is_empty() {
        return Ok(ALL);
    }
    let members = read_object(body)?;
    let number = |name: &str| members.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    Ok(match (number("page"), number("pageSize")) {
        (Some(page), Some(size)) if size > 0 => (page.saturating_mul(size), size),
        _ => ALL,
    })
}

/// Answer to create.
#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigCreated)]
#[serde(rename_all = "camelCase")]
pub(super) struct Created<'a> {
    pub(super) can_deploy: CanDeploy,
    pub(super) created_element: Element<'a>,
    pub(super) uid: &'a str,
    pub(super) uri: String,
    pub(super) res_status: &'static str,
}

/// Answer to update.
#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigUpdated)]
#[serde(rename_all = "camelCase")]
pub(super) struct Updated<'a> {
    pub(super) updated_element: Element<'a>,
    pub(super) uid: &'a str,
    pub(super) uri: String,
    pub(super) res_status: &'static str,
    pub(super) can_deploy: CanDeploy,
}

/// Answer to get.
#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigFound)]
pub(super) struct One<'a> {
    pub(super) result: Element<'a>,
}

/// Answer to list.
#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigList)]
pub(super) struct List<'a> {
    pub(super) results: Vec<Element<'a>>,
}

/// Answer to canDeploy.
#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigChecked)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checked {
    pub(super) can_deploy: CanDeploy,
}

/// The validation status.
#[derive(Serialize, Debug, PartialEq, Eq, ToSchema)]
#[schema(as = ThrottlingCanDeploy)]
#[serde(rename_all = "camelCase")]
pub(super) struct CanDeploy {
    #[schema(schema_with = validation_status)]
    pub(super) validation_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<CheckError>,
}

/// One fault of a config.
#[derive(Serialize, Debug, PartialEq, Eq, ToSchema)]
#[schema(as = ThrottlingFault)]
#[serde(rename_all = "camelCase")]
pub(super) struct CheckError {
    pub(super) error_code: &'static str,
    pub(super) error: String,
}

/// A config as it is shown. The samples order the members of a deployed one differently.
#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigElement)]
#[serde(untagged)]
pub(super) enum Element<'a> {
    Idle(IdleElement<'a>),
    Deployed(DeployedElement<'a>),
}

#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigIdle)]
#[serde(rename_all = "camelCase")]
pub(super) struct IdleElement<'a> {
    #[serde(rename = "_id", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) url_pattern: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) methods: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false)]
    pub(super) max_throughput: Option<&'a Number>,
    pub(super) org_id: &'a str,
    pub(super) sandbox_id: &'a str,
    pub(super) sandbox_name: &'a str,
    pub(super) uid: &'a str,
    pub(super) metadata: IdleMetadata<'a>,
    #[schema(schema_with = state)]
    pub(super) state: &'static str,
    pub(super) authoring_format_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = never)]
    pub(super) has_been_deployed: Option<bool>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigDeployed)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeployedElement<'a> {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) org_id: &'a str,
    pub(super) sandbox_id: &'a str,
    pub(super) sandbox_name: &'a str,
    pub(super) uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) url_pattern: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) methods: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64, nullable = false)]
    pub(super) max_throughput: Option<&'a Number>,
    pub(super) authoring_format_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) description: Option<&'a str>,
    pub(super) version: &'static str,
    #[schema(schema_with = state)]
    pub(super) state: &'static str,
    pub(super) metadata: DeployedMetadata<'a>,
    #[schema(schema_with = always)]
    pub(super) has_been_deployed: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingMetadata)]
#[serde(rename_all = "camelCase")]
pub(super) struct IdleMetadata<'a> {
    pub(super) created_by: &'a str,
    pub(super) created_by_id: &'a str,
    pub(super) last_modified_by: &'a str,
    pub(super) last_modified_by_id: &'a str,
    pub(super) created_at: &'a str,
    pub(super) last_modified_at: &'a str,
    #[serde(flatten)]
    pub(super) deployed: Option<LastDeployed<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingDeployedMetadata)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeployedMetadata<'a> {
    pub(super) created_by: &'a str,
    pub(super) created_by_id: &'a str,
    pub(super) created_at: &'a str,
    pub(super) last_modified_by: &'a str,
    pub(super) last_modified_by_id: &'a str,
    pub(super) last_modified_at: &'a str,
    #[serde(flatten)]
    pub(super) deployed: Option<LastDeployed<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingLastDeployed)]
#[serde(rename_all = "camelCase")]
pub(super) struct LastDeployed<'a> {
    pub(super) last_deployed_by: &'a str,
    pub(super) last_deployed_by_id: &'a str,
    pub(super) last_deployed_at: &'a str,
}

impl<'a> LastDeployed<'a> {
    pub(super) fn of(stamp: &'a Stamp) -> Self {
        Self { last_deployed_by: &stamp.by, last_deployed_by_id: &stamp.by_id, last_deployed_at: &stamp.at }
    }
}
