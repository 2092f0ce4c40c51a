//! Codes, texts and the envelope of failures (contract.md 3).

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::manage::Dice;
use crate::manage::call::{BodyRefused, json_answer};
use crate::manage::late;
use crate::policy::Late;
use crate::problem::BodyFault;

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The request breaks rules; the text names each of them.
    Invalid(String),
    /// No token, or one with a scheme.
    NoToken,
    /// No such throttling of this plugin and version.
    NotFound,
    /// The throttling of this id has the same scope, key and endpoint.
    Duplicate(String),
    /// There are too many, or all endpoints together are more than can be matched; the text says which.
    Full(String),
    /// The body is not read, or not to its end.
    Body(BodyRefused),
    /// The path has no such verb; the answer lists those that it has.
    Method {
        /// The verbs that the path has, as `Allow` lists them.
        allowed: &'static str,
    },
    /// The store did not answer in time.
    Late(Late),
    /// The change could not be stored or applied.
    Unexpected,
}

impl Failure {
    /// The status, the code and the text of the answer.
    fn facts(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::Invalid(faults) => (StatusCode::BAD_REQUEST, "INVALID_REQUEST", faults.clone()),
            Self::NoToken => {
                let text = "Authorization must carry an api token, without a scheme";
                (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text.to_owned())
            }
            Self::NotFound => {
                let text = "this plugin version has no such throttling";
                (StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND", text.to_owned())
            }
            Self::Duplicate(id) => {
                let text =
                    format!("throttling {id} has the same scope, throttling_key and plugin_endpoint already");
                (StatusCode::CONFLICT, "DUPLICATE_THROTTLING", text)
            }
            Self::Full(text) => (StatusCode::CONFLICT, "TOO_MANY_THROTTLINGS", text.clone()),
            Self::Body(refused) => {
                let code = match refused {
                    BodyRefused::Type(_) => "UNSUPPORTED_MEDIA_TYPE",
                    BodyRefused::Fault(BodyFault::TooLarge) => "PAYLOAD_TOO_LARGE",
                    BodyRefused::Fault(BodyFault::TooSlow) => "REQUEST_TIMEOUT",
                    BodyRefused::Fault(BodyFault::Incomplete) => "INVALID_REQUEST",
                };
                (refused.status(), code, refused.to_string())
            }
            Self::Method { allowed } => {
                let text = format!("only {allowed} can be done here");
                (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", text)
            }
            Self::Late(late) => {
                // Two codes, because only one of them allows a repetition without a look.
                let code = if *late == Late::NotMade { "STORE_SLOW" } else { "OUTCOME_UNKNOWN" };
                (StatusCode::SERVICE_UNAVAILABLE, code, late::text(*late).to_owned())
            }
            Self::Unexpected => {
                let text = "the throttlings could not be read or changed";
                (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", text.to_owned())
            }
        }
    }
}

/// A failure as it is sent.
#[derive(Serialize, ToSchema)]
#[schema(as = MediarithmicsError)]
pub(super) struct Envelope {
    /// Always `error`.
    status: &'static str,
    /// What is wrong, in words.
    error: String,
    /// What is wrong, for programs.
    error_code: &'static str,
    /// A UUID.
    error_id: String,
}

impl Envelope {
    /// The envelope with the HTTP status that it has.
    pub(super) fn of(failure: &Failure, error_id: String) -> (StatusCode, Self) {
        let (status, error_code, error) = failure.facts();
        (status, Self { status: "error", error, error_code, error_id })
    }
}

impl Failure {
    /// The answer to a request that is turned away, with an id by which it can be found again.
    pub(super) fn answer(&self, dice: &Dice) -> Response {
        let (status, envelope) = Envelope::of(self, dice.uuid());
        let mut response = json(status, &envelope);
        match self {
            Self::Method { allowed } => {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
                response
            }
            Self::Late(_) => late::retry_later(response),
            _ => response,
        }
    }
}

/// A JSON answer with the content type of the contract.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    json_answer(status, "application/json;charset=UTF-8", body)
}
