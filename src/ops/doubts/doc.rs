//! The routes of the doubts in the API description: their examples and what they refuse.
//!
//! Must not know: how what they show comes about.

use serde_json::{Value, json};

use crate::problem::doc::refuses;

refuses! {
    /// What `GET /v1/doubts` may be refused with.
    List: INVALID_PARAMETER;
    /// What `GET /v1/doubts/{id}` may be refused with.
    Show: NOT_FOUND DOUBT_NOT_FOUND METHOD_NOT_ALLOWED;
    /// What `:acknowledge` of a doubt may be refused with.
    Act: INVALID_JSON INCOMPLETE_BODY NOT_FOUND DOUBT_NOT_FOUND BODY_TIMEOUT PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE
        UNSUPPORTED_ENCODING INVALID_REQUEST;
    /// What `:retry` and `:confirm` may be refused with.
    Decide: INVALID_JSON INCOMPLETE_BODY NOT_FOUND DOUBT_NOT_FOUND BODY_TIMEOUT NOT_APPLICABLE PAYLOAD_TOO_LARGE
        UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_ENCODING INVALID_REQUEST STORAGE_ERROR;
    /// What `:give-up` of a doubt may be refused with.
    GiveUp: INVALID_JSON INCOMPLETE_BODY NOT_FOUND DOUBT_NOT_FOUND BODY_TIMEOUT NOT_APPLICABLE WRONG_COUNT
        PAYLOAD_TOO_LARGE UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_ENCODING INVALID_REQUEST STORAGE_ERROR STORE_SLOW
        OUTCOME_UNKNOWN;
}

pub(super) fn doubt() -> Value {
    json!({
        "id": 7,
        "kind": "unread",
        "subject": "journal/0000000000000001.seg",
        "detail": "the system does not let 12 events be read: Input/output error",
        "way_out": "look at the disk, then retry or give up",
        "events": 12,
        "at_most": false,
        "since": "2030-01-31T08:00:00Z",
        "holds": "lanes",
        "acknowledged": false,
        "verbs": ["acknowledge", "retry", "give-up"],
    })
}

pub(super) fn acknowledged() -> Value {
    let mut doubt = doubt();
    doubt["acknowledged"] = json!(true);
    doubt
}
