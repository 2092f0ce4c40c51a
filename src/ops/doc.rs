//! The operators' routes in the API description: their examples and what they refuse.
//!
//! Must not know: how what they show comes about.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{ContentBuilder, OpenApi, RefOr, Response};
use utoipa::{IntoResponses, OpenApi as _, PartialSchema, ToSchema};

use crate::ops::explain::{ExplainBody, SettledBody};
use crate::ops::{
    authoring, changes, dead, desk, doubts, events, outcomes, status as status_route, stops, usage, verbs,
};
use crate::problem::codes;
use crate::problem::doc::{refusals, refuses};

/// The description of the probes, the metrics and the desk.
#[must_use]
pub(crate) fn api_doc() -> OpenApi {
    let mut doc = Operations::openapi();
    let mut health = doc.paths.paths.get("/readyz").cloned().unwrap_or_default();
    if let Some(health) = &mut health.get {
        // The route is the same one under another path, and the ids of operations have to be unique.
        health.operation_id = Some("health".to_owned());
    }
    doc.paths.paths.insert("/healthz".to_owned(), health);
    doc
}

#[derive(utoipa::OpenApi)]
#[openapi(
    paths(
        desk::list,
        desk::show,
        authoring::put,
        authoring::delete,
        verbs::pause,
        verbs::resume,
        verbs::purge,
        usage::set_usage,
        desk::explain,
        desk::explain_event,
        dead::list::list,
        dead::list::show,
        dead::verbs::redrive,
        dead::verbs::purge,
        dead::bulk::redrive_many,
        dead::bulk::purge_many,
        dead::transfer::export,
        dead::transfer::import,
        events::list::list,
        events::bulk::cancel,
        events::bulk::delay,
        events::bulk::send_now,
        events::bulk::purge,
        changes::progress::list,
        changes::progress::show,
        changes::progress::stop,
        events::cancel,
        events::delay,
        events::send_now,
        stops::show,
        stops::pause,
        stops::resume,
        outcomes::outcomes,
        doubts::list::list,
        doubts::list::show,
        doubts::verbs::acknowledge,
        doubts::verbs::retry,
        doubts::verbs::give_up,
        doubts::verbs::confirm,
        super::live,
        super::ready,
        super::metrics,
        status_route::status
    ),
    tags(
        (name = "policies", description = "Watching and steering what limits do, whatever set them."),
        (name = "dispatch", description = "Emergency stops of everything, a host or an organisation."),
        (name = "dead letters", description = "Events that were parked for a person: looked at, handed in again, purged."),
        (name = "changes", description = "Changes of many events or dead letters: how far they have come, and stopping one."),
        (name = "doubts", description = "What the store could not establish, and deciding about it."),
        (name = "operations", description = "Probes, metrics and the whole at a glance.")
    )
)]
struct Operations;

/// What is known of an event or a call.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) enum Explained {
    Living(Box<ExplainBody>),
    Settled(Box<SettledBody>),
}

/// Query parameters whose names begin with `label.` or `header.`.
pub(super) struct CallParameters;

impl PartialSchema for CallParameters {
    fn schema() -> RefOr<Schema> {
        named(r"^(label|header)\..+")
    }
}

impl ToSchema for CallParameters {}

/// Query parameters whose names begin with `label.`.
pub(super) struct LabelParameters;

impl PartialSchema for LabelParameters {
    fn schema() -> RefOr<Schema> {
        named(r"^label\..+")
    }
}

impl ToSchema for LabelParameters {}

/// Texts under names of this pattern.
fn named(pattern: &str) -> RefOr<Schema> {
    let text = |pattern: Option<&str>| ObjectBuilder::new().schema_type(Type::String).pattern(pattern);
    let schema = ObjectBuilder::new().property_names(Some(text(Some(pattern))));
    schema.additional_properties(Some(Schema::from(text(None)))).into()
}

refuses! {
    /// What `GET /v1/policies` may be refused with.
    List: INVALID_PARAMETER STORAGE_ERROR SHUTTING_DOWN;
    /// What `GET /v1/policies/{id}` may be refused with.
    Show: INVALID_PARAMETER NOT_FOUND POLICY_NOT_FOUND METHOD_NOT_ALLOWED STORAGE_ERROR SHUTTING_DOWN;
    /// What `PUT /v1/policies/{id}` may be refused with.
    Put: INVALID_JSON INCOMPLETE_BODY INVALID_PARAMETER NOT_FOUND METHOD_NOT_ALLOWED BODY_TIMEOUT POLICY_OWNED POLICIES_FULL
        PRECONDITION_FAILED PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_ENCODING INVALID_REQUEST INTERNAL
        STORAGE_ERROR STORE_HELD STORE_SLOW OUTCOME_UNKNOWN;
    /// What `DELETE /v1/policies/{id}` may be refused with.
    Delete: INVALID_PARAMETER NOT_FOUND POLICY_NOT_FOUND METHOD_NOT_ALLOWED POLICY_OWNED PRECONDITION_FAILED INTERNAL
        STORAGE_ERROR STORE_HELD STORE_SLOW OUTCOME_UNKNOWN;
    /// What `GET /v1/explain` may be refused with.
    Explain: INVALID_PARAMETER INVALID_HEADER EVENT_NOT_FOUND INVALID_EVENT TOO_MANY_POLICIES LANE_TOO_LONG INTERNAL
        STORAGE_ERROR EVENT_UNREAD SHUTTING_DOWN;
    /// What `POST /v1/explain` may be refused with.
    ExplainEvent: INVALID_JSON INVALID_HEADER INCOMPLETE_BODY BODY_TIMEOUT PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE
        UNSUPPORTED_ENCODING INVALID_EVENT TOO_MANY_POLICIES LANE_TOO_LONG INTERNAL SHUTTING_DOWN;
    /// What the verbs of policies may be refused with.
    Verb: INVALID_JSON INCOMPLETE_BODY NOT_FOUND POLICY_NOT_FOUND BODY_TIMEOUT PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE
        UNSUPPORTED_ENCODING INVALID_REQUEST STORAGE_ERROR STORE_HELD STORE_SLOW OUTCOME_UNKNOWN SHUTTING_DOWN;
    /// What `GET /v1/events` may be refused with.
    ListEvents: INVALID_PARAMETER STORAGE_ERROR SHUTTING_DOWN;
    /// What `DELETE /v1/events/{id}` may be refused with.
    Cancel: INVALID_ID NOT_FOUND EVENT_NOT_FOUND EVENT_INFLIGHT EVENT_ENDED STORAGE_ERROR EVENT_UNREAD STORE_HELD STORE_SLOW
        OUTCOME_UNKNOWN SHUTTING_DOWN;
    /// What the verbs of events may be refused with.
    EventVerb: INVALID_ID INVALID_JSON INCOMPLETE_BODY NOT_FOUND EVENT_NOT_FOUND METHOD_NOT_ALLOWED BODY_TIMEOUT EVENT_INFLIGHT
        EVENT_ENDED PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_ENCODING INVALID_REQUEST STORAGE_ERROR
        EVENT_UNREAD STORE_HELD STORE_SLOW OUTCOME_UNKNOWN SHUTTING_DOWN;
    /// What `GET /v1/dispatch` may be refused with.
    ShowDispatch: INVALID_PARAMETER;
    /// What `POST /v1/dispatch:pause` and `:resume` may be refused with.
    DispatchVerb: INVALID_JSON INCOMPLETE_BODY BODY_TIMEOUT NOT_APPLICABLE PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE
        UNSUPPORTED_ENCODING INVALID_REQUEST STORAGE_ERROR STORE_HELD STORE_SLOW OUTCOME_UNKNOWN SHUTTING_DOWN;
    /// What `GET /livez` may be refused with.
    Live: ;
    /// What `GET /metrics` may be refused with.
    Metrics: INTERNAL;
    /// What `GET /v1/status` may be refused with.
    Status: INVALID_PARAMETER INTERNAL SHUTTING_DOWN;
}

/// What `GET /readyz` answers when events may not be handed in.
pub(super) struct Ready;

impl IntoResponses for Ready {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let mut responses = refusals(&[codes::NOT_READY]);
        if let Some(RefOr::T(response)) = responses.get_mut("503") {
            let schema = utoipa::openapi::Ref::from_schema_name("Readiness");
            let content = ContentBuilder::new().schema(Some(schema)).example(Some(readiness(false))).build();
            response.content.insert("application/json".to_owned(), content.into());
        }
        responses
    }
}

pub(super) const ID: &str = "orders";

pub(super) fn readiness(ready: bool) -> Value {
    let detail = if ready { "taking events" } else { "shutting down" };
    json!({"ready": ready, "checks": [{"name": "not_draining", "ok": ready, "detail": detail}]})
}

pub(super) fn status() -> Value {
    json!({
        "version": "0.1.0",
        "started_at": "2030-01-31T08:00:00.000Z",
        "uptime_seconds": 3600.25,
        "ready": true,
        "problems": [],
        "events": {"ready": 12, "delayed": 3, "inflight": 2, "oldest": "2030-01-31T08:59:58.120Z"},
        "ended": {"delivered": 719_988, "dead": 4, "expired": 0, "dropped": 0, "lost": 0},
        "rates": {"accepted_per_second": 200.3, "delivered_per_second": 200.0, "over_seconds": 10.0},
        "policies": {"deployed": 2, "draining": 0, "idle": 1, "paused": 0, "held": 1},
        "held": [{"reason": "retry_after", "lanes": 1, "until": "2030-01-31T09:00:30.000Z"}],
        "stops": [],
        "doubts": {"open": 0, "unacknowledged": 0, "events": 0},
        "store": {"id": "5f2a9c04d1e37b68", "disk_bytes": 83_886_080, "free_bytes": 53_687_091_200_u64, "keys": [
            {"id": "7c1f0a9e", "present": true, "encrypts": true, "files": 3, "records": 14},
        ]},
    })
}

pub(super) fn definition() -> Value {
    json!({
        "url": "https://api.example.org/*",
        "methods": ["POST"],
        "labels": {"org": "ACME"},
        "pace": 200,
        "quota": {"calls": 1000, "per": "hour"},
        "slots": 50,
    })
}

pub(super) fn created() -> Value {
    // The request may leave the name out; the answer has it.
    let mut after = definition();
    after["name"] = json!("crm");
    json!({
        "id": "crm",
        "change": "created",
        "dry_run": false,
        "differs": ["labels", "methods", "name", "pace", "quota", "slots", "url"],
        "before": null,
        "after": after,
        "etag": "\"9f86d081884c7d65\"",
        "hold": null,
    })
}

pub(super) fn changed() -> Value {
    let mut changed = created();
    changed["change"] = json!("updated");
    changed["differs"] = json!(["pace"]);
    changed["before"] = changed["after"].clone();
    changed["before"]["pace"] = json!(100);
    changed
}

pub(super) fn deleted() -> Value {
    let mut deleted = created();
    deleted["change"] = json!("deleted");
    deleted["dry_run"] = json!(true);
    // A deletion has what was before and nothing after.
    deleted["before"] = deleted["after"].take();
    deleted["etag"] = Value::Null;
    deleted
}

pub(super) fn pause() -> Value {
    json!({"reason": "the other side is being rebuilt", "for_seconds": 600})
}

pub(super) fn set_usage() -> Value {
    json!({"limit": "quota", "used": 250})
}

pub(super) fn usage_set() -> Value {
    json!({"policy": ID, "limit": "quota", "key": "", "used": 250})
}

pub(super) fn policy() -> Value {
    json!({
        "id": ID,
        "name": null,
        "config": null,
        "origin": "file",
        "state": "deployed",
        "pattern": "http://127.0.0.1:9000/*",
        "methods": [],
        "labels": [],
        "scope": [],
        "family": "wait",
        "limits": {"pace": 200.0, "window": null, "quota": null, "slots": null, "timeout_ms": null},
        "generations": [{"number": 1, "state": "active", "draining_until": null}],
        "definition": {"name": ID, "url": "http://127.0.0.1:9000/*", "pace": 200},
        "etag": "\"9f86d081884c7d65\"",
        "hold": null,
        "figures": {
            "keys": 1,
            "inflight": 0,
            "waiting": 12,
            "delayed": 0,
            "oldest": "2030-01-31T08:00:00Z",
            "limits": {"pace": {"used": 1, "window_peak": 1, "violations": 0}},
            "held": [],
            "drains_in_seconds": 0.06,
        },
    })
}

pub(super) fn paused_policy() -> Value {
    let mut policy = policy();
    policy["hold"] = json!({
        "reason": "the other side is being rebuilt",
        "since": "2030-01-31T08:00:00Z",
        "until": "2030-01-31T08:10:00Z",
    });
    policy
}

pub(super) fn policy_with_keys() -> Value {
    let mut policy = policy();
    policy["keys"] = json!([{
        "key": "",
        "limits": {"pace": {"used": 1, "limit": 200, "per_ms": 1000, "peak": 1, "resets_at": "2030-01-31T08:00:01Z"}},
        "inflight": 0,
        "slots": null,
        "waiting": 12,
        "delayed": 0,
        "oldest": "2030-01-31T08:00:00Z",
        "drains_in_seconds": 0.06,
    }]);
    policy
}

pub(super) fn asked_event() -> Value {
    json!({"url": "http://127.0.0.1:9000/orders", "headers": {"x-source": "shop"}, "body": {"order": 17}})
}

pub(super) fn explained_call() -> Value {
    let verdict = json!({
        "policy": ID, "name": null, "verdict": "applies", "text": "It applies.", "label": null, "value": null, "by": null,
    });
    json!({
        "method": "POST",
        "url": "http://127.0.0.1:9000/orders",
        "endpoint": null,
        "policies": [verdict],
        "lane": {
            "name": "orders@1;~host=127.0.0.1:9000", "policies": [{"policy": ID, "name": null, "generation": 1}], "labels": {},
            "host": "127.0.0.1:9000",
            "priority": "normal",
        },
        "due_at": null,
        "ahead": 0,
        "held": {
            "by": "nothing", "text": "Nothing holds it; it goes next.", "reason": null, "limit": null, "policy": null,
            "key": null, "until": null,
        },
        "rate": null,
        "draining_until": null,
        "starts_at": "2030-01-31T08:00:00Z",
        "expires_at": "2030-01-31T14:00:00Z",
        "expires_first": false,
    })
}

pub(super) fn explained_settled() -> Value {
    json!({"id": "0198c4f0-5f3a-7c00-8000-000000000001", "state": "settled", "outcome": "delivered", "reason": "delivered"})
}
