//! Codes, messages and envelopes (contracts.md 1.1, 1.5, 2.3).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::manage::throttling::ThrottlingApi;

/// Every failure of an operation that the service itself reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Delete without force of a deployed one.
    DeleteForbidden,
    /// Delete failed in an unexpected way.
    Delete,
    /// Deploy failed, also because the config has faults.
    Deploy,
    /// Undeploy failed in an unexpected way.
    Undeploy,
    /// Get failed in an unexpected way.
    Get,
    /// Update of one that counts as deployed but rules nothing.
    UpdateNotActive,
    /// Update failed, also because faults are refused.
    Update,
    /// A sandbox that is not for production.
    NonProdSandbox,
    /// Create failed, also because faults are refused.
    Create,
    /// The organisation has its config already.
    CreateLimit,
    /// Deploy of a deployed one.
    AlreadyDeployed,
    /// No such config in this organisation.
    NotFound,
    /// Undeploy of one that is not deployed.
    NotDeployed,
    /// The sandbox does not exist.
    UnknownSandbox,
    /// The body is no config at all.
    InvalidPayload,
    /// The body is longer than what is read.
    TooLarge,
}

impl Failure {
    /// Status, code and message.
    pub(super) const fn facts(self) -> (StatusCode, u32, &'static str) {
        const REFUSED: StatusCode = StatusCode::BAD_REQUEST;
        const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        match self {
            Self::InvalidPayload => (REFUSED, 106, "throttling config: invalid payload"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 106, "throttling config: invalid payload"),
            Self::DeleteForbidden => {
                (REFUSED, 1456, "Can't delete a deployed throttling config. Undeploy it before deleting it")
            }
            Self::Delete => (BROKEN, 1457, "Can't delete throttling config: unexpected error occurs"),
            Self::Deploy => (BROKEN, 1458, "Can't deploy throttling config: unexpected error occurs"),
            Self::Undeploy => (BROKEN, 1459, "Can't undeploy throttling config: unexpected error occurs"),
            Self::Get => (BROKEN, 1460, "Can't get throttling config: unexpected error occurs"),
            Self::UpdateNotActive => {
                (REFUSED, 1461, "Can't update throttling config: runtime version is not active")
            }
            Self::Update => (BROKEN, 1462, "Can't update throttling config: unexpected error occurs"),
            Self::NonProdSandbox => {
                (REFUSED, 1463, "Operation not allowed on throttling config: non prod sandbox")
            }
            Self::Create => (BROKEN, 1464, "Can't create throttling config: unexpected error occurs"),
            Self::CreateLimit => {
                (REFUSED, 1465, "Can't create throttling config: only one config allowed per org")
            }
            Self::AlreadyDeployed => (REFUSED, 14466, "Can't deploy throttling config: already deployed"),
            Self::NotFound => (StatusCode::NOT_FOUND, 14467, "throttling config not found"),
            Self::NotDeployed => (REFUSED, 14468, "Can't undeploy throttling config: not deployed yet"),
            Self::UnknownSandbox => (BROKEN, 4000, "INTERNAL ERROR"),
        }
    }
}

/// What the platform's gateway answers before the service is asked (contracts.md 1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GatewayError {
    /// No `Authorization`.
    NoToken,
    /// No `x-api-key`.
    NoApiKey,
    /// A mandatory header of the dialect is absent or unreadable.
    MissingHeader,
    /// A body of another type than JSON.
    ContentType,
}

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Gateway(GatewayError),
    Service { failure: Failure, sandbox: String },
}

/// How the service refuses.
#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingError)]
pub(super) struct Envelope {
    status: u16,
    error: ErrorMember,
    #[serde(rename = "requestId")]
    request_id: String,
}

/// JSON text, or the object itself where `manage.error_as_object` is set.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ThrottlingErrorMember)]
enum ErrorMember {
    Text(String),
    Object(ErrorObject),
}

#[derive(Serialize, ToSchema)]
#[schema(as = ThrottlingErrorObject)]
struct ErrorObject {
    code: u32,
    family: &'static str,
    message: &'static str,
    service: &'static str,
    version: String,
    context: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    schema: Option<String>,
}

/// How the platform's gateway refuses.
#[derive(Serialize, ToSchema)]
#[schema(as = GatewayError)]
pub(super) struct GatewayBody {
    error_code: &'static str,
    message: &'static str,
}

/// How the platform's gateway refuses a content type.
#[derive(Serialize, ToSchema)]
#[schema(as = GatewayContentTypeError)]
pub(super) struct ContentTypeBody {
    #[serde(rename = "type")]
    kind: &'static str,
    status: u16,
    title: &'static str,
    detail: &'static str,
}

impl ThrottlingApi {
    /// The answer to a request that is turned away.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Response {
        match refusal {
            Refusal::Gateway(error) => {
                let (status, answer) = error.answer();
                json(status, &answer)
            }
            Refusal::Service { failure, sandbox } => self.envelope(*failure, sandbox),
        }
    }

    fn envelope(&self, failure: Failure, sandbox: &str) -> Response {
        let (status, ..) = failure.facts();
        json(status, &Envelope::of(failure, sandbox, self.options.error_as_object, self.new_request_id()))
    }
}

impl Envelope {
    /// Of a failure in a sandbox.
    pub(super) fn of(failure: Failure, sandbox: &str, as_object: bool, request_id: String) -> Self {
        let (status, code, message) = failure.facts();
        let internal = failure == Failure::UnknownSandbox;
        let object = ErrorObject {
            code,
            family: if internal { "INTERNAL_ERROR" } else { "INPUT_OUTPUT_ERROR" },
            message,
            service: "vyg-authoring-api",
            version: build_id(),
            context: format!("tidegate.manage.throttling:{code}"),
            schema: (!internal).then(|| format!("throttlingConfigs${sandbox}")),
        };
        let error = if as_object {
            ErrorMember::Object(object)
        } else {
            // Text and numbers always serialise.
            ErrorMember::Text(serde_json::to_string(&object).unwrap_or_default())
        };
        Self { status: status.as_u16(), error, request_id }
    }
}

/// What the gateway says.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum GatewayAnswer {
    Refused(GatewayBody),
    ContentType(ContentTypeBody),
}

impl GatewayError {
    pub(super) const fn answer(self) -> (StatusCode, GatewayAnswer) {
        let (status, error_code, message) = match self {
            Self::NoToken => (StatusCode::FORBIDDEN, "403010", "Oauth token is missing."),
            Self::NoApiKey => (StatusCode::FORBIDDEN, "403000", "Api Key is required"),
            Self::MissingHeader => (StatusCode::BAD_REQUEST, "400003", "Missing header"),
            Self::ContentType => {
                let status = StatusCode::BAD_REQUEST;
                let body = ContentTypeBody {
                    kind: "urn:tidegate:problem:content_type",
                    status: status.as_u16(),
                    title: "BadRequestError",
                    detail: "A valid content-type must be specified",
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
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{:07x}", hash >> 4)
}

/// A JSON answer with the contract's content type.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Text, numbers and lists always serialise.
    let mut response = Response::new(Body::from(serde_json::to_vec(body).unwrap_or_default()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json;charset=utf-8"));
    response
}
