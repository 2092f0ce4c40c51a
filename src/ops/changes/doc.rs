//! Changes of many in the API description: their examples, and what all of them answer.
//!
//! Must not know: how what they show comes about.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::{ContentBuilder, HeaderBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{
    IntoResponses,
    openapi::schema::{ObjectBuilder, Type},
};

use crate::problem::codes;
use crate::problem::doc::{add_refusals, refuses};

refuses! {
    /// What `GET /v1/changes` may be refused with.
    List: ;
    /// What `GET /v1/changes/{id}` may be refused with.
    Show: NOT_FOUND CHANGE_NOT_FOUND METHOD_NOT_ALLOWED;
    /// What `POST /v1/changes/{id}:stop` may be refused with.
    Stop: INVALID_JSON INCOMPLETE_BODY NOT_FOUND CHANGE_NOT_FOUND METHOD_NOT_ALLOWED BODY_TIMEOUT PAYLOAD_TOO_LARGE
        UNSUPPORTED_MEDIA_TYPE UNSUPPORTED_ENCODING INVALID_REQUEST STORE_HELD;
}

/// What every change of many answers: a count, a run that has begun, or a refusal.
pub(in crate::ops) struct Many;

impl IntoResponses for Many {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let place = HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .description(Some("Where its progress can be looked up."));
        let mut responses = BTreeMap::from([
            ("200".to_owned(), answered("They are counted.", "Counted", counted()).build().into()),
            (
                "202".to_owned(),
                answered("The run has begun.", "Change", change())
                    .header("Location", place.build())
                    .build()
                    .into(),
            ),
        ]);
        add_refusals(
            &mut responses,
            &[
                codes::INVALID_JSON,
                codes::INCOMPLETE_BODY,
                codes::BODY_TIMEOUT,
                codes::CHANGE_NOT_CONFIRMED,
                codes::CHANGE_UNDER_WAY,
                codes::PAYLOAD_TOO_LARGE,
                codes::UNSUPPORTED_MEDIA_TYPE,
                codes::UNSUPPORTED_ENCODING,
                codes::INVALID_REQUEST,
                codes::STORAGE_ERROR,
                codes::STORE_HELD,
                codes::STORE_SLOW,
                codes::OUTCOME_UNKNOWN,
                codes::SHUTTING_DOWN,
            ],
        );
        responses
    }
}

fn answered(description: &str, schema: &str, example: Value) -> ResponseBuilder {
    let schema = Ref::from_schema_name(schema);
    let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
    ResponseBuilder::new().description(description).content("application/json", content)
}

pub(in crate::ops) fn counted() -> Value {
    json!({
        "matched": 1200,
        "at_least": false,
        "unread": 0,
        "counted_at": "2030-01-31T08:00:00Z",
        "confirm": "1b8a1f3c000-4b0-0-9f2c51d07a9e4c4bb2f5f7c8a1d4e6b3",
        "confirm_until": "2030-01-31T08:10:00Z",
    })
}

pub(in crate::ops) fn change() -> Value {
    json!({
        "id": 1,
        "verb": "cancel",
        "of": "events",
        "about": "policy=orders label.fairness_key=shop-3",
        "state": "running",
        "started_at": "2030-01-31T08:00:05Z",
        "ended_at": null,
        "matched": 1200,
        "changed": 512,
        "under_way": 3,
        "left": 0,
        "left_because": null,
        "unread": 0,
        "error": null,
    })
}
