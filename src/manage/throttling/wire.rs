//! What is received and shown of a config, member by member in the order of the published samples
//! (adobe/contract.md 3, contract.md 1).

use serde::Serialize;
use serde_json::{Number, Value};
use utoipa::ToSchema;

use crate::manage::adobe::answers::{FORMAT_VERSION, show_state};
use crate::manage::adobe::body::{BodyError, object, text, text_set};
use crate::manage::adobe::doc::{always, never, state};
use crate::manage::adobe::life::State;
use crate::manage::adobe::stamp::{DeployedMetadata, Metadata};
use crate::manage::throttling::objects::{Config, Record};

/// Reads a config. `null` counts as absent. `maxThroughput` of a decimal, text or boolean is a semantic
/// fault, kept only if it is a number (contract.md 1).
///
/// # Errors
/// A body that is not JSON, not an object, or has a wrong type in a known member is refused as a whole.
pub(super) fn read_config(body: &[u8]) -> Result<Config, BodyError> {
    let mut members = object(body)?;
    let max_throughput = match members.remove("maxThroughput") {
        // The contract calls these a fault of the config and not of the body; only a number can be stored and shown.
        None | Some(Value::Null | Value::Bool(_) | Value::String(_)) => None,
        Some(Value::Number(number)) => Some(number),
        Some(Value::Array(_) | Value::Object(_)) => return Err(BodyError::Invalid),
    };
    Ok(Config {
        name: text(&mut members, "name")?,
        description: text(&mut members, "description")?,
        url_pattern: text(&mut members, "urlPattern")?,
        methods: text_set(&mut members, "methods")?,
        max_throughput,
    })
}

/// A config as it is shown. The samples order the members of a deployed one differently.
#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigElement)]
#[serde(untagged)]
pub(in crate::manage) enum Element<'a> {
    Idle(IdleElement<'a>),
    Deployed(DeployedElement<'a>),
}

#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingConfigIdle)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct IdleElement<'a> {
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
    pub(super) metadata: Metadata<'a>,
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
pub(in crate::manage) struct DeployedElement<'a> {
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

/// How a config is shown by the create answer: without `_id` and `hasBeenDeployed`.
pub(super) fn show_created<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
    let element = idle_element(uid, record, State::Created);
    Element::Idle(IdleElement { id: None, has_been_deployed: None, ..element })
}

/// How a config is shown by every other answer.
pub(super) fn show<'a>(uid: &'a str, record: &'a Record) -> Element<'a> {
    let state = record.life.state();
    if record.life.is_deployed() {
        Element::Deployed(deployed_element(uid, record, state))
    } else {
        Element::Idle(idle_element(uid, record, state))
    }
}

fn idle_element<'a>(uid: &'a str, record: &'a Record, state: State) -> IdleElement<'a> {
    let Record { config, org_id, sandbox_id, sandbox_name, created, modified, last_deployed, .. } = record;
    IdleElement {
        id: Some(format!("{uid}_{sandbox_id}")),
        name: config.name.as_deref(),
        description: config.description.as_deref(),
        url_pattern: config.url_pattern.as_deref(),
        methods: config.methods.as_deref(),
        max_throughput: config.max_throughput.as_ref(),
        org_id,
        sandbox_id,
        sandbox_name,
        uid,
        metadata: Metadata::of(created, modified, last_deployed.as_ref()),
        state: show_state(state),
        authoring_format_version: FORMAT_VERSION,
        has_been_deployed: Some(false),
    }
}

fn deployed_element<'a>(uid: &'a str, record: &'a Record, state: State) -> DeployedElement<'a> {
    let Record { config, org_id, sandbox_id, sandbox_name, created, modified, last_deployed, .. } = record;
    DeployedElement {
        id: format!("{uid}_{sandbox_id}"),
        org_id,
        sandbox_id,
        sandbox_name,
        uid,
        url_pattern: config.url_pattern.as_deref(),
        methods: config.methods.as_deref(),
        max_throughput: config.max_throughput.as_ref(),
        authoring_format_version: FORMAT_VERSION,
        name: config.name.as_deref(),
        description: config.description.as_deref(),
        version: "1.0",
        state: show_state(state),
        metadata: DeployedMetadata::of(created, modified, last_deployed.as_ref()),
        has_been_deployed: true,
    }
}
