//! The two error bodies of the V3 API (contract.md 4), and why a request gets one.
//!
//! `errorCode` is the HTTP status: the contract names no other numbers.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::manage::call::{BodyRefused, json_answer};
use crate::manage::late;
use crate::manage::mashery::says::Code;
use crate::policy::Late;

/// Most properties that one answer names.
const PROPERTIES_MAX: usize = 64;

/// A property that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct PropertyError {
    /// The name of the property on the wire.
    pub(super) property: Box<str>,
    /// The rule, in words that follow the name.
    pub(super) message: Box<str>,
}

impl PropertyError {
    pub(super) fn new(property: &str, message: impl Into<Box<str>>) -> Self {
        Self { property: property.into(), message: message.into() }
    }
}

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The gateway before the API lets nobody in without a token.
    NoToken,
    /// The request as a whole, with a status of its own.
    Whole {
        /// The status, which is the code too.
        status: StatusCode,
        /// What is wrong, in words for the author.
        message: Box<str>,
    },
    /// For some of its properties: 400.
    Properties(Vec<PropertyError>),
}

impl Refusal {
    /// 400 for the request as a whole, of which no single property is at fault.
    pub(super) fn invalid(message: impl Into<Box<str>>) -> Self {
        Self::whole(StatusCode::BAD_REQUEST, message)
    }

    /// 400 for one property that breaks a rule.
    pub(super) fn property(name: &str, message: impl Into<Box<str>>) -> Self {
        Self::Properties(vec![PropertyError::new(name, message)])
    }

    /// The same for an object that stands in this member of another one.
    pub(super) fn within(self, name: &str) -> Self {
        match self {
            Self::Properties(errors) => Self::Properties(
                errors
                    .into_iter()
                    .map(|error| PropertyError::new(&format!("{name}.{}", error.property), error.message))
                    .collect(),
            ),
            other => other,
        }
    }

    /// 404: no such object, or not below this parent.
    pub(super) fn not_found() -> Self {
        Self::whole(StatusCode::NOT_FOUND, "Resource not found")
    }

    /// 409: the object is as it should not be for this.
    pub(super) fn conflict(message: impl Into<Box<str>>) -> Self {
        Self::whole(StatusCode::CONFLICT, message)
    }

    /// 405: the path has no such verb.
    pub(super) fn method_not_allowed() -> Self {
        Self::whole(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    /// 413, 415, or why else the body is not read.
    pub(super) fn of_body(refused: &BodyRefused) -> Self {
        Self::whole(refused.status(), refused.to_string())
    }

    /// 500: the caller is not at fault, and the log has the reason.
    pub(super) fn internal() -> Self {
        Self::whole(StatusCode::INTERNAL_SERVER_ERROR, "Internal error")
    }

    /// 503: the store did not answer in time.
    pub(super) fn late(late: Late) -> Self {
        Self::whole(StatusCode::SERVICE_UNAVAILABLE, late::text(late))
    }

    /// Whether the store did not answer in time, so that the request may be repeated later.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Whole { status: StatusCode::SERVICE_UNAVAILABLE, .. })
    }

    fn whole(status: StatusCode, message: impl Into<Box<str>>) -> Self {
        Self::Whole { status, message: message.into() }
    }

    /// The answer to the request that is turned away.
    pub(super) fn answer(&self) -> Response {
        match self {
            Self::NoToken => Code::NotAuthorized.told(None).into_response(),
            Self::Whole { status, .. } => {
                let answer = json(*status, &self.text());
                if *status == StatusCode::SERVICE_UNAVAILABLE { late::retry_later(answer) } else { answer }
            }
            Self::Properties(_) => json(StatusCode::BAD_REQUEST, &self.text()),
        }
    }

    /// The body of an answer in JSON.
    pub(super) fn text(&self) -> Option<Value> {
        match self {
            Self::NoToken => None,
            Self::Whole { status, message } => {
                Some(json!({"errorCode": status.as_u16(), "errorMessage": message}))
            }
            Self::Properties(errors) => {
                // Cut, because a list in the body may have a fault in each of its members.
                Some(json!({"errors": errors.get(..PROPERTIES_MAX).unwrap_or(errors)}))
            }
        }
    }
}

/// A JSON answer with the content type of the V3 API.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_answer(status, "application/json;charset=utf-8", body)
}
