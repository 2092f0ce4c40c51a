//! The routes of the dead letters in the API description: their examples and what they refuse.
//!
//! Must not know: how what they show comes about.

use serde_json::{Value, json};
use utoipa::ToSchema;

use super::wire::{GroupList, LetterList};
use crate::problem::doc::refuses;

refuses! {
    /// What `GET /v1/dead-letters` may be refused with.
    List: INVALID_PARAMETER STORAGE_ERROR STORE_SLOW OUTCOME_UNKNOWN STORE_HELD;
    /// What `GET /v1/dead-letters/{id}` may be refused with.
    Show: INVALID_PARAMETER NOT_FOUND DEAD_LETTER_NOT_FOUND METHOD_NOT_ALLOWED STORAGE_ERROR STORE_SLOW OUTCOME_UNKNOWN STORE_HELD;
    /// What `:redrive` of one letter may be refused with.
    Redrive: INVALID_JSON INCOMPLETE_BODY NOT_FOUND DEAD_LETTER_NOT_FOUND BODY_TIMEOUT PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE
        UNSUPPORTED_ENCODING INVALID_REQUEST NOT_REDRIVABLE STORAGE_ERROR STORE_HELD STORE_SLOW OUTCOME_UNKNOWN;
    /// What `:purge` of one letter may be refused with.
    Purge: INVALID_JSON INCOMPLETE_BODY NOT_FOUND DEAD_LETTER_NOT_FOUND BODY_TIMEOUT PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE
        UNSUPPORTED_ENCODING INVALID_REQUEST STORAGE_ERROR STORE_HELD STORE_SLOW OUTCOME_UNKNOWN;
    /// What an export may be refused with; what happens later breaks the answer off.
    Export: INVALID_PARAMETER;
    /// What an import may be refused with.
    Import: INCOMPLETE_BODY BODY_TIMEOUT PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_ENCODING INVALID_REQUEST
        STORAGE_ERROR STORE_HELD STORE_SLOW OUTCOME_UNKNOWN;
}

/// Letters, or groups of them.
#[derive(ToSchema)]
#[serde(untagged)]
#[schema(as = DeadLetters)]
#[expect(dead_code, reason = "it is described and never made")]
pub(super) enum Listed {
    Letters(Box<LetterList>),
    Groups(Box<GroupList>),
}

pub(super) const ID: &str = "0198c4f0-5f3a-7c00-8000-000000000001";

pub(super) fn letter() -> Value {
    json!({
        "id": ID,
        "parked_at": "2030-01-31T08:00:00Z",
        "reason": "attempts_exhausted: http_503",
        "status": 503,
        "attempts": 8,
        "policies": ["orders"],
        "lane": "orders@1;~host=127.0.0.1:9000",
        "priority": "normal",
        "method": "POST",
        "url": "http://127.0.0.1:9000/orders",
        "labels": {"org": "ACME"},
        "body_bytes": 11,
        "redriven": {"count": 1, "at": "2030-01-31T07:00:00Z", "by": "on call", "from_url": null},
    })
}

pub(super) fn letter_with_body() -> Value {
    let mut letter = letter();
    letter["content_type"] = json!("application/json");
    letter["body"] = json!("{\"order\":7}");
    letter["last_attempts"] = json!([{
        "number": 8,
        "started_at": "2030-01-31T07:59:59Z",
        "duration_seconds": 0.25,
        "result": "http_503",
        "status": 503,
        "then": "dead",
        "why": "attempts_exhausted: http_503",
        "next_at": null,
    }]);
    letter
}

/// One letter whose record does not decode: `AQ==` is the version alone.
pub(super) fn lines() -> String {
    let line = json!({
        "id": ID,
        "event": ID,
        "lane": "orders@1;~host=127.0.0.1:9000",
        "parked_at": "2030-01-31T08:00:00Z",
        "attempts": 8,
        "reason": "http_404",
        "record": "AQ==",
    });
    format!("{line}\n")
}

pub(super) fn group() -> Value {
    json!({
        "reason": "http_404",
        "endpoint": "127.0.0.1:9000",
        "count": 12,
        "oldest": "2030-01-31T07:00:00Z",
        "newest": "2030-01-31T08:00:00Z",
    })
}

pub(super) fn redriven() -> Value {
    json!({
        "id": ID,
        "policies": ["orders"],
        "lane": "orders@1;~host=127.0.0.1:9000",
        "expires_at": "2030-01-31T14:00:00Z",
        "count": 1,
    })
}
