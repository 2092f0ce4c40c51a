//! The body and the headers of Responsys' failures (contract.md 3).

use axum::response::Response;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::manage::call::json_answer;
use crate::manage::dice::{Dice, uuid_of};

/// The content type of all JSON that this dialect sends.
pub(super) const CONTENT_TYPE: &str = "application/json;charset=UTF-8";
/// The header by which a failure can be found again.
pub(super) const CORRELATION: HeaderName = HeaderName::from_static("x-correlationid");

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// No token, or one with a scheme: a 500 on this route alone.
    Token,
    /// The path has a version, for which there is no such route.
    NotFound,
    /// The path has only this verb.
    Method(&'static str),
    /// The login has no user name or no password.
    Credentials,
    /// The login asks for what is not known here.
    Parameters,
    /// A new token is asked for with one that tidegate has not given out.
    StaleToken,
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

    /// What is wrong, in words.
    pub(super) const fn words(&self) -> &'a str {
        if self.detail.is_empty() { self.title } else { self.detail }
    }

    pub(super) fn to_json(&self) -> String {
        // Text always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Failure {
    /// The status and the body of the answer.
    pub(super) fn facts(self) -> (StatusCode, ErrorBody<'static>) {
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
            Self::Method(verb) => {
                let is_get = verb.eq_ignore_ascii_case("GET");
                let detail = if is_get { "Only GET can be done here" } else { "Only POST can be done here" };
                (
                    StatusCode::METHOD_NOT_ALLOWED,
                    ErrorBody::new("Method not allowed", "METHOD_NOT_ALLOWED", detail),
                )
            }
            Self::Credentials => (
                StatusCode::BAD_REQUEST,
                ErrorBody::new("Invalid username or password", "INVALID_USER_NAME_PASSWORD", ""),
            ),
            Self::Parameters => (
                StatusCode::BAD_REQUEST,
                ErrorBody::new(
                    "Invalid request parameters",
                    "INVALID_PARAMETER",
                    "auth_type must be password, with user_name and password, or token",
                ),
            ),
            Self::StaleToken => (
                StatusCode::UNAUTHORIZED,
                ErrorBody::new("Not a valid token", "INVALID_TOKEN", "Not a valid authentication token"),
            ),
            Self::Unexpected => (
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorBody::new(UNEXPECTED, CODE, "The throttling limits cannot be read"),
            ),
        }
    }
}

impl Failure {
    /// The answer to a request that is turned away, with an id by which it can be found again.
    pub(super) fn answer(self, dice: &Dice) -> Response {
        let (status, body) = self.facts();
        let mut response = json(status, &body);
        let headers = response.headers_mut();
        // A UUID is plain ASCII: the value is always valid.
        if let Ok(id) = HeaderValue::from_str(&correlation_id(dice.roll())) {
            headers.insert(CORRELATION, id);
        }
        if let Self::Method(verb) = self {
            headers.insert(header::ALLOW, HeaderValue::from_static(verb));
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
