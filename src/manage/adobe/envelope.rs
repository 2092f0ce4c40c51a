//! Refusals: the platform gateway's (contract.md 1) and the service's error envelope (contract.md 5).

use std::borrow::Cow;

use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::manage::Dice;
use crate::manage::adobe::answers::{CanDeploy, json};
use crate::manage::adobe::errors::{Failure, Failures};
use crate::manage::late;
use crate::policy::{ExceededBound, Late};
use crate::problem::NotJson;

/// What the platform's gateway answers before the service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum GatewayError {
    /// The request has no `Authorization`, or an empty one.
    NoToken,
    /// The request has an `Authorization` that is not `Bearer` with a token.
    BadToken,
    /// The request has no `x-api-key`, or an empty one.
    NoApiKey,
    /// A mandatory header of the dialect is absent or unreadable.
    MissingHeader,
    /// A body of another type than JSON.
    ContentType,
}

/// What the envelope says about one failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manage) struct Facts {
    /// HTTP status, repeated in the body.
    pub(in crate::manage) status: StatusCode,
    pub(in crate::manage) code: u32,
    pub(in crate::manage) message: Cow<'static, str>,
    /// The validation status of a config that is refused for its faults.
    pub(in crate::manage) can_deploy: Option<Box<CanDeploy>>,
}

impl Facts {
    pub(in crate::manage) const fn of(status: StatusCode, code: u32, message: &'static str) -> Self {
        Self { status, code, message: Cow::Borrowed(message), can_deploy: None }
    }

    /// The same of a config that is refused for what its validation status lists.
    pub(in crate::manage) fn because_of(self, can_deploy: CanDeploy) -> Self {
        Self { can_deploy: Some(Box::new(can_deploy)), ..self }
    }
}

/// The code of what is nobody's fault but the system's: a family of its own, without a schema.
const INTERNAL: u32 = 4000;

/// What an operation answers whose change the store did not answer in time: as `unexpected`, with what is known.
pub(in crate::manage) fn late(late: Late, unexpected: Facts) -> Facts {
    Facts { status: StatusCode::SERVICE_UNAVAILABLE, message: Cow::Borrowed(late::text(late)), ..unexpected }
}

/// What an operation answers whose change would exceed a bound: which one, and the way out.
pub(in crate::manage) fn full<Own: Failures>(bound: &ExceededBound, failure: Failure<Own>) -> Facts {
    Facts { message: Cow::Owned(bound.to_string()), ..failure.at_a_bound().into() }
}

/// The sandbox of a request does not exist.
pub(in crate::manage) const UNKNOWN_SANDBOX: Facts = internal();

/// Something went wrong that no code of the API names.
pub(in crate::manage) const fn internal() -> Facts {
    Facts::of(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL, "INTERNAL ERROR")
}

/// How one API words its envelopes.
#[derive(Clone, Copy)]
pub(in crate::manage) struct Voice {
    /// The text that `context` begins with, before the code.
    pub(in crate::manage) context: &'static str,
    /// `schema`, from the organisation and the sandbox's name.
    pub(in crate::manage) schema: fn(&str, &str) -> String,
    /// Send `error` as an object instead of JSON text in a string.
    pub(in crate::manage) error_as_object: bool,
}

/// Why a request is turned away, and in whose shape that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::manage) enum Refusal {
    Gateway(GatewayError),
    /// A body of another type than JSON, where the gateway's own rule is not asked for.
    MediaType(NotJson),
    Service {
        facts: Facts,
        org: String,
        sandbox: String,
    },
}

/// What a route comes to: an answer or a refusal.
pub(in crate::manage) type Answer = Result<Response, Refusal>;

/// How the service refuses.
#[derive(Serialize, ToSchema)]
#[schema(as = AdobeError)]
pub(in crate::manage) struct Envelope {
    status: u16,
    error: ErrorMember,
    #[serde(rename = "requestId")]
    request_id: String,
    /// Of a config that is refused for its faults, with `manage.reject_invalid`.
    #[serde(rename = "canDeploy", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    can_deploy: Option<CanDeploy>,
}

/// JSON text in the Throttling API, unless `manage.error_as_object` is set; the object itself in the Capping API.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AdobeErrorMember)]
enum ErrorMember {
    Text(String),
    Object(ErrorObject),
}

#[derive(Serialize, ToSchema)]
#[schema(as = AdobeErrorObject)]
struct ErrorObject {
    code: u32,
    family: &'static str,
    message: Cow<'static, str>,
    service: &'static str,
    version: String,
    context: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    schema: Option<String>,
}

/// The body of a refusal by the gateway.
#[derive(Serialize)]
#[serde(untagged)]
pub(in crate::manage) enum GatewayAnswer {
    Refused(GatewayBody),
    ContentType(ContentTypeBody),
}

/// How the platform's gateway refuses.
#[derive(Serialize, ToSchema)]
#[schema(as = GatewayError)]
pub(in crate::manage) struct GatewayBody {
    error_code: &'static str,
    message: &'static str,
}

/// How the platform's gateway refuses a content type.
#[derive(Serialize, ToSchema)]
#[schema(as = GatewayContentTypeError)]
pub(in crate::manage) struct ContentTypeBody {
    #[serde(rename = "type")]
    kind: &'static str,
    status: u16,
    title: &'static str,
    detail: String,
}

impl ContentTypeBody {
    /// The body with the HTTP status that it has.
    pub(in crate::manage) fn of(not_json: &NotJson) -> (StatusCode, Self) {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let body = Self {
            kind: "urn:tidegate:problem:content_type",
            status: status.as_u16(),
            title: "UnsupportedMediaTypeError",
            detail: not_json.to_string(),
        };
        (status, body)
    }
}

/// Words the refusals of one API. Cheap to clone.
#[derive(Clone)]
pub(in crate::manage) struct Refusals {
    voice: Voice,
    /// Makes the ids of requests.
    dice: Dice,
}

impl Refusals {
    pub(in crate::manage) const fn new(voice: Voice, dice: Dice) -> Self {
        Self { voice, dice }
    }

    /// The answer, also when it is a refusal.
    pub(in crate::manage) fn answer(&self, answer: Answer) -> Response {
        answer.unwrap_or_else(|refusal| match refusal {
            Refusal::Gateway(error) => {
                let (status, answer) = error.answer();
                json(status, &answer)
            }
            Refusal::MediaType(not_json) => {
                let (status, body) = ContentTypeBody::of(&not_json);
                json(status, &body)
            }
            Refusal::Service { facts, org, sandbox } => {
                // Of the organisation and sandbox that the request named, also where they do not exist.
                let schema = (self.voice.schema)(&org, &sandbox);
                let status = facts.status;
                // A random id of 32 letters and digits, as the contract has it.
                let request_id = self.dice.letters(32);
                let answer = json(status, &Envelope::of(facts, self.voice, schema, request_id));
                if status == StatusCode::SERVICE_UNAVAILABLE { late::retry_later(answer) } else { answer }
            }
        })
    }
}

impl Envelope {
    /// Of a failure; `schema` is left out where nobody but the system is at fault.
    pub(in crate::manage) fn of(facts: Facts, voice: Voice, schema: String, request_id: String) -> Self {
        let Facts { status, code, message, can_deploy } = facts;
        let internal = code == INTERNAL;
        let object = ErrorObject {
            code,
            family: if internal { "INTERNAL_ERROR" } else { "INPUT_OUTPUT_ERROR" },
            message,
            service: "vyg-authoring-api",
            version: build_id(),
            context: format!("{}:{code}", voice.context),
            // The contract has no schema for a 4000.
            schema: (!internal).then_some(schema),
        };
        let error = if voice.error_as_object {
            ErrorMember::Object(object)
        } else {
            // Text and numbers always serialise.
            ErrorMember::Text(serde_json::to_string(&object).unwrap_or_default())
        };
        let can_deploy = can_deploy.map(|can_deploy| *can_deploy);
        Self { status: status.as_u16(), error, request_id, can_deploy }
    }
}

impl GatewayError {
    pub(in crate::manage) fn answer(self) -> (StatusCode, GatewayAnswer) {
        let (status, error_code, message) = match self {
            Self::NoToken => (StatusCode::FORBIDDEN, "403010", "Oauth token is missing."),
            Self::BadToken => (StatusCode::UNAUTHORIZED, "401013", "Oauth token is not valid"),
            Self::NoApiKey => (StatusCode::FORBIDDEN, "403000", "Api Key is required"),
            Self::MissingHeader => (StatusCode::BAD_REQUEST, "400003", "Missing header"),
            Self::ContentType => {
                let status = StatusCode::BAD_REQUEST;
                let body = ContentTypeBody {
                    kind: "urn:tidegate:problem:content_type",
                    status: status.as_u16(),
                    title: "BadRequestError",
                    detail: "A valid content-type must be specified".to_owned(),
                };
                return (status, GatewayAnswer::ContentType(body));
            }
        };
        (status, GatewayAnswer::Refused(GatewayBody { error_code, message }))
    }
}

/// Seven hexadecimal digits that are the same for all builds of one version (FNV-1a of its number).
fn build_id() -> String {
    let hash = env!("CARGO_PKG_VERSION")
        .bytes()
        // Offset basis and prime of FNV-1a for 32 bits.
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{:07x}", hash >> 4)
}
