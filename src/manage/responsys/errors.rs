//! The body and the headers of Responsys' failures (contract.md 3).

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::manage::call::json_answer;
use crate::manage::dice::uuid_of;
use crate::manage::responsys::ResponsysApi;

/// The content type of all JSON that this dialect sends.
pub(super) const CONTENT_TYPE: &str = "application/json;charset=UTF-8";
/// The header by which a failure can be found again.
pub(super) const CORRELATION: HeaderName = HeaderName::from_static("x-correlationid");

/// Why a request for the list is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No token, or one with a scheme: a 500 on this route alone.
    Token,
    /// The path has a version, for which there is no such route.
    NotFound,
    /// The request has another verb than GET.
    Method,
    /// The stored accounts cannot be read; the log has the reason.
    Unexpected,
}

/// A failure as it is sent.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsysError)]
pub(super) struct ErrorBody<'a> {
    /// Always empty.
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    #[serde(rename = "errorCode")]
    error_code: &'a str,
    detail: &'a str,
    #[serde(rename = "errorDetails")]
    #[schema(value_type = Vec<String>, max_items = 0)]
    error_details: [(); 0],
}

impl<'a> ErrorBody<'a> {
    pub(super) const fn new(title: &'a str, error_code: &'a str, detail: &'a str) -> Self {
        Self { kind: "", title, error_code, detail, error_details: [] }
    }

    pub(super) const fn error_code(&self) -> &'a str {
        self.error_code
    }

    pub(super) const fn detail(&self) -> &'a str {
        self.detail
    }

    pub(super) fn to_json(&self) -> String {
        // Text always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Failure {
    /// The status and the body of the answer.
    pub(super) const fn facts(self) -> (StatusCode, ErrorBody<'static>) {
        const UNEXPECTED: &str = "Unexpected exception";
        const CODE: &str = "UNEXPECTED_EXCEPTION";
        match self {
            Self::Token => (
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorBody::new(UNEXPECTED, CODE, "Not a valid authentication token"),
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                ErrorBody::new("Resource not found", "RESOURCE_NOT_FOUND", "Not Found"),
            ),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                ErrorBody::new("Method not allowed", "METHOD_NOT_ALLOWED", "Only GET can be done here"),
            ),
            Self::Unexpected => (
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorBody::new(UNEXPECTED, CODE, "The throttling limits cannot be read"),
            ),
        }
    }
}

impl ResponsysApi {
    /// The answer to a request that is turned away.
    pub(super) fn refuse(&self, failure: Failure) -> Response {
        let (status, body) = failure.facts();
        let mut response = json(status, &body);
        let headers = response.headers_mut();
        // A UUID is plain ASCII: the value is always valid.
        if let Ok(id) = HeaderValue::from_str(&correlation_id(self.dice.roll())) {
            headers.insert(CORRELATION, id);
        }
        if failure == Failure::Method {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
        }
        response
    }
}

/// An id that no other failure has.
pub(super) fn correlation_id(roll: u128) -> String {
    uuid_of(roll)
}

/// A JSON answer with the content type of the dialect.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_answer(status, CONTENT_TYPE, body)
}
