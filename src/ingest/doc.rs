//! The events door in the API description: its examples and what it refuses.
//!
//! Must not know: how events are taken in.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{OpenApi, RefOr, Response};
use utoipa::{IntoParams, IntoResponses, OpenApi as _, ToSchema};

use crate::ingest::answer::{AcceptedLine, RefusedLine};
use crate::ingest::http;
use crate::ingest::wire::WireEvent;
use crate::problem::doc::{also_other_codes, refuses};

/// The routes of the events door.
#[must_use]
pub(crate) fn api_doc() -> OpenApi {
    Door::openapi()
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(http::hand_in, http::show),
    components(schemas(CloudEvent)),
    tags((name = "events", description = "Handing in calls and looking after them."))
)]
struct Door;

/// What `POST /v1/events` takes as JSON.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) enum EventOrList<'a> {
    Event(Box<WireEvent<'a>>),
    List(Vec<WireEvent<'a>>),
}

/// A CloudEvent in JSON. Its call carries it on as it came, with all attributes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is described and never made")]
struct CloudEvent {
    /// Version of the specification; only `1.0` is read.
    specversion: String,
    /// With `source`, what idempotency keys are for other events.
    #[schema(min_length = 1)]
    id: String,
    #[schema(format = "uri-reference", min_length = 1)]
    source: String,
    #[schema(rename = "type", min_length = 1)]
    kind: String,
    /// Of the data; of JSON when missing.
    #[schema(nullable = false)]
    datacontenttype: Option<String>,
    #[schema(nullable = false, format = "uri")]
    dataschema: Option<String>,
    #[schema(nullable = false, min_length = 1)]
    subject: Option<String>,
    #[schema(nullable = false, format = DateTime)]
    time: Option<String>,
    /// Absolute http(s) URL without user name and password. Where it is missing, a `[[cloudevents]]` block of the
    /// configuration file for the source names what is called.
    #[schema(nullable = false)]
    tidegateurl: Option<String>,
    /// HTTP method of the call; POST when missing.
    #[schema(nullable = false)]
    tidegatemethod: Option<String>,
    /// Labels, written as a query: `org=ACME&fairness_key=shop-3`.
    #[schema(nullable = false)]
    tidegatelabels: Option<String>,
    /// Not before this RFC 3339 time.
    #[schema(nullable = false, format = DateTime)]
    tidegatedueat: Option<String>,
    /// Not before this many seconds from now.
    #[schema(nullable = false)]
    tidegatedelayseconds: Option<String>,
    /// A shorter life than the configured one.
    #[schema(nullable = false)]
    tidegatettlseconds: Option<String>,
    /// `high`, `normal` or `low`; `normal` when missing.
    #[schema(nullable = false)]
    tidegatepriority: Option<String>,
    /// Any JSON value; or `data_base64`, or neither.
    #[schema(value_type = Value)]
    data: Option<Value>,
    #[schema(nullable = false, content_encoding = "base64")]
    data_base64: Option<String>,
}

/// The attributes of a CloudEvent whose data is the body; values are percent-encoded.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) struct CeHeaders {
    /// `1.0`. One of the first four makes the request one that carries a CloudEvent, which needs all of them.
    #[param(rename = "ce-specversion")]
    specversion: Option<String>,
    /// With `ce-source`, what idempotency keys are for other events.
    #[param(rename = "ce-id")]
    id: Option<String>,
    /// Context of the occurrence, a URI or a reference.
    #[param(rename = "ce-source")]
    source: Option<String>,
    /// Type of the occurrence, such as `com.example.order.created`.
    #[param(rename = "ce-type")]
    kind: Option<String>,
    /// What of its source it is about.
    #[param(rename = "ce-subject")]
    subject: Option<String>,
    /// When it occurred, as an RFC 3339 time.
    #[param(rename = "ce-time")]
    time: Option<String>,
    /// URI of the schema that the data keeps to.
    #[param(rename = "ce-dataschema")]
    dataschema: Option<String>,
    /// Absolute http(s) URL to call; missing where a `[[cloudevents]]` block names it.
    #[param(rename = "ce-tidegateurl")]
    tidegateurl: Option<String>,
    /// The verb; that of the block or POST when missing.
    #[param(rename = "ce-tidegatemethod")]
    tidegatemethod: Option<String>,
    /// Labels, written as a query: `org=ACME&fairness_key=shop-3`.
    #[param(rename = "ce-tidegatelabels")]
    tidegatelabels: Option<String>,
    /// Not before this RFC 3339 time.
    #[param(rename = "ce-tidegatedueat")]
    tidegatedueat: Option<String>,
    /// Not before this many seconds from now.
    #[param(rename = "ce-tidegatedelayseconds")]
    tidegatedelayseconds: Option<String>,
    /// A shorter life than the configured one.
    #[param(rename = "ce-tidegatettlseconds")]
    tidegatettlseconds: Option<String>,
    /// `high`, `normal` or `low`; `normal` when missing.
    #[param(rename = "ce-tidegatepriority")]
    tidegatepriority: Option<String>,
}

/// What is answered for one event of several.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) enum Line<'a> {
    Accepted(AcceptedLine<'a>),
    Refused(RefusedLine<'a>),
}

/// What `POST /v1/events` may be refused with, the codes of dialects included.
pub(super) struct HandIn;

impl IntoResponses for HandIn {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = OwnRefusals::responses();
        let which = "Or a code of the system whose limit it is. With `manage.refusals = \"dialect\"` one event is then \
                     answered with that system's own status, headers and body.";
        // Which codes the dialects have is not known here; that there are others is said in words.
        for status in ["403", "429"] {
            also_other_codes(&mut responses, status, which);
        }
        if let Some(RefOr::T(over_limit)) = responses.get("429") {
            let mut over_limit = over_limit.clone();
            over_limit.description = "As 429, where that system is set to say so.".to_owned();
            responses.insert("409".to_owned(), over_limit.into());
        }
        responses
    }
}

refuses! {
    /// By `POST /v1/events`, in tidegate's own words.
    OwnRefusals: INVALID_JSON INCOMPLETE_BODY INVALID_IDEMPOTENCY_KEY BODY_TIMEOUT PAYLOAD_TOO_LARGE BATCH_TOO_LARGE
        UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_ENCODING INVALID_EVENT INVALID_HEADER EGRESS_DENIED UNMATCHED
        TOO_MANY_POLICIES LANE_TOO_LONG IDEMPOTENCY_CONFLICT OVER_PACE OVER_WINDOW OVER_QUOTA CLOSED DOOMED INTERNAL
        OVERLOADED STORE_SLOW OUTCOME_UNKNOWN STORAGE_FULL STORE_SHORT STORAGE_ERROR STORE_HELD SHUTTING_DOWN;
    /// What `GET /v1/events/{id}` may be refused with.
    Show: INVALID_ID NOT_FOUND EVENT_NOT_FOUND STORE_SLOW OUTCOME_UNKNOWN STORAGE_FULL STORE_SHORT STORAGE_ERROR
        EVENT_UNREAD
        SHUTTING_DOWN;
}

const ID: &str = "0198c4f0-5f3a-7c00-8000-000000000001";

pub(super) fn event() -> Value {
    json!({
        "url": "http://127.0.0.1:9000/orders?dry=1",
        "headers": {"x-source": "shop", "accept": ["application/json", "text/plain"]},
        "body": {"order": 17},
        "labels": {"fairness_key": "shop-3"},
        "delay_seconds": 3600,
        "idempotency_key": "order-17",
    })
}

pub(super) fn list() -> Value {
    json!([
        {"url": "http://127.0.0.1:9000/orders", "body_text": "17", "due_at": "2001-01-31T08:00:00Z"},
        {"url": "http://127.0.0.1:9000/orders", "delay_seconds": 30, "ttl_seconds": 20},
    ])
}

pub(super) fn lines() -> Value {
    let second = r#"{"url": "http://127.0.0.1:9000/orders", "colour": "red"}"#;
    Value::String(format!(
        "{}\n{second}\n",
        r#"{"url": "http://127.0.0.1:9000/orders", "body_base64": "MTc="}"#
    ))
}

pub(super) fn receipt() -> Value {
    json!({
        "id": ID,
        "policies": ["orders"],
        "lane": "orders@1;~host=127.0.0.1:9000",
        "due_at": "2030-01-31T09:00:00Z",
        "expires_at": "2030-01-31T14:00:00Z",
        "forecast": forecast("2030-01-31T09:00:00Z"),
    })
}

fn forecast(starts_at: &str) -> Value {
    json!({"starts_at": starts_at, "expires_first": false})
}

pub(super) fn answers() -> Value {
    let rule = "lies beyond the event's life of 20 s; it would expire unsent";
    json!([
        {"line": 1, "status": 202, "id": ID, "forecast": forecast("2030-01-31T08:00:00Z")},
        {
            "line": 2, "status": 422, "code": "invalid_event", "detail": format!("/delay_seconds {rule}"),
            "errors": [{"pointer": "/delay_seconds", "detail": rule}],
        },
    ])
}

pub(super) fn answer_lines() -> Value {
    let Value::Array(answers) = answers() else { return Value::Null };
    Value::String(answers.iter().map(|answer| format!("{answer}\n")).collect())
}

pub(super) fn delayed() -> Value {
    json!({
        "id": ID,
        "state": "delayed",
        "lane": "orders@1;~host=127.0.0.1:9000",
        "priority": "normal",
        "attempts": 0,
        "due_at": "2030-01-31T09:00:00Z",
        "expires_at": "2030-01-31T14:00:00Z",
        "method": "POST",
        "url": "http://127.0.0.1:9000/orders",
        "endpoint": null,
    })
}

pub(super) fn retried() -> Value {
    let mut event = delayed();
    event["attempts"] = json!(1);
    event["last_attempts"] = json!([{
        "number": 1,
        "started_at": "2030-01-31T08:00:00Z",
        "duration_seconds": 0.25,
        "result": "http_503",
        "status": 503,
        "then": "retried",
        "why": "endpoint_asked",
        "next_at": "2030-01-31T09:00:00Z",
        "named_time": {"by": "Retry-After", "asked_seconds": 3600.0, "obeyed_seconds": 3600.0, "why": null},
        "broken_lines": 1,
        "answer": {"status": 503, "head": "retry-after: 3600\nset-cookie: ***\n", "body": "come back later", "is_cut": false},
    }]);
    event
}

pub(super) fn settled() -> Value {
    let policy = json!({"id": "orders", "name": null, "system": "file", "config": null});
    json!({
        "id": ID, "state": "settled", "outcome": "dead", "reason": "over_quota", "policy": policy,
        "limit": {"kind": "quota", "key": "", "calls": 1000, "per": "day"},
    })
}
