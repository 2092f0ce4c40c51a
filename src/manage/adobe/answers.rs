//! The envelopes of answers, member by member in the order of the contract (contract.md 2, 4), and the words in
//! them that both APIs use.

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::manage::adobe::doc::validation_status;
use crate::manage::adobe::life::State;
use crate::manage::call::json_answer;

/// The `authoringFormatVersion` of every element.
pub(in crate::manage) const FORMAT_VERSION: &str = "1.0";

/// Answer to create.
#[derive(Serialize, ToSchema)]
#[schema(as = AdobeCreated)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct Created<'a, E> {
    pub(in crate::manage) can_deploy: CanDeploy,
    pub(in crate::manage) created_element: E,
    pub(in crate::manage) uid: &'a str,
    pub(in crate::manage) uri: String,
    pub(in crate::manage) res_status: &'static str,
}

/// Answer to update.
#[derive(Serialize, ToSchema)]
#[schema(as = AdobeUpdated)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct Updated<'a, E> {
    pub(in crate::manage) updated_element: E,
    pub(in crate::manage) uid: &'a str,
    pub(in crate::manage) uri: String,
    pub(in crate::manage) res_status: &'static str,
    pub(in crate::manage) can_deploy: CanDeploy,
}

/// Answer to get.
#[derive(Serialize, ToSchema)]
#[schema(as = AdobeFound)]
pub(in crate::manage) struct One<E> {
    pub(in crate::manage) result: E,
}

/// Answer to list.
#[derive(Serialize, ToSchema)]
#[schema(as = AdobeList)]
pub(in crate::manage) struct List<E> {
    pub(in crate::manage) results: Vec<E>,
}

/// Answer to canDeploy.
#[derive(Serialize, ToSchema)]
#[schema(as = AdobeChecked)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct Checked {
    pub(in crate::manage) can_deploy: CanDeploy,
}

/// The validation status.
#[derive(Serialize, Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(as = AdobeCanDeploy)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct CanDeploy {
    #[schema(schema_with = validation_status)]
    validation_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<CheckError>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<CheckWarning>,
}

/// One fault of a config.
#[derive(Serialize, Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(as = AdobeFault)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct CheckError {
    pub(in crate::manage) error_code: &'static str,
    pub(in crate::manage) error: String,
}

/// Something about a config that does not keep it from being deployed.
#[derive(Serialize, Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(as = AdobeWarning)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct CheckWarning {
    pub(in crate::manage) warning_code: &'static str,
    pub(in crate::manage) warning: &'static str,
    pub(in crate::manage) scope: WarningScope,
}

/// Which part of a config a warning is about.
#[derive(Serialize, Debug, Clone, PartialEq, Eq, ToSchema)]
#[schema(as = AdobeWarningScope)]
#[serde(rename_all = "camelCase")]
pub(in crate::manage) struct WarningScope {
    pub(in crate::manage) endpoint_config_service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(in crate::manage) endpoint_config_url: Option<String>,
}

impl CanDeploy {
    pub(in crate::manage) fn of(errors: Vec<CheckError>, warnings: Vec<CheckWarning>) -> Self {
        // The sentences of the contract, which have a form of their own for a single error.
        let reason = match errors.len() {
            0 => None,
            1 => Some("1 error is currently blocking the publication".to_owned()),
            more => Some(format!("{more} errors are currently blocking the publication")),
        };
        let validation_status = if errors.is_empty() { "ok" } else { "error" };
        Self { validation_status, reason, errors, warnings }
    }
}

/// The path of an element, which is the same under both base paths.
pub(in crate::manage) fn uri(collection: &str, uid: &str) -> String {
    format!("/voyager/apis/{collection}/{uid}")
}

/// The word by which the contract names a state.
pub(in crate::manage) const fn show_state(state: State) -> &'static str {
    match state {
        State::Created => "created",
        State::Updated => "updated",
        State::Deployed => "deployed",
    }
}

/// A JSON answer with the contract's content type.
pub(in crate::manage) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_answer(status, "application/json;charset=utf-8", body)
}
