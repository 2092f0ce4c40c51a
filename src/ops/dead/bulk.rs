//! `POST /v1/dead-letters:redrive` and `:purge`, and `GET /v1/dead-letters/operations`.
//!
//! Without `confirm` the letters are counted and nothing is changed. The answer has their number and the moment of the count:
//! with both in the same request the change begins, and goes on by itself.
//!
//! Must not know: how an operation is carried out.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use serde_json::Value;
use tracing::info;
use utoipa::ToSchema;

use super::filter::{Filter, FilterBody};
use super::remake::remake;
use super::verbs::again;
use super::wire::{CountedBody, OperationBody, OperationList};
use super::{DeadDesk, doc, store_problem, whole_millis};
use crate::ops::body::{invalid, read};
use crate::ops::desk::{OpsAnswer, json, respond};
use crate::ops::query::Parameters;
use crate::problem::{Problem, codes};
use crate::queue::{OperationTask, OperationVerb};
use crate::store::DeadLetter;

/// Which letters are handed in again, and how. All members of the filter that are given have to hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveManyRequest)]
struct RedriveManyRequest {
    /// Which letters are meant.
    #[schema(required = false, value_type = FilterBody)]
    filter: Option<Value>,
    /// Every letter is meant; excludes a filter that names more than `before`.
    #[schema(required = false, value_type = bool)]
    all: Option<Value>,
    /// Another URL that the same policies govern; letters of others are refused.
    #[schema(required = false, value_type = String)]
    url: Option<Value>,
    /// Whether each event gets a new id and `webhook-id`.
    #[schema(required = false, value_type = bool)]
    new_id: Option<Value>,
    /// Who asks for it, for those who look at the events.
    #[schema(required = false, value_type = String, max_length = 100)]
    by: Option<Value>,
    /// The number that was counted; without it they are counted.
    #[schema(required = false, value_type = u64)]
    confirm: Option<Value>,
}

/// Which letters are dropped for good. All members of the filter that are given have to hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PurgeManyRequest)]
struct PurgeManyRequest {
    /// Which letters are meant.
    #[schema(required = false, value_type = FilterBody)]
    filter: Option<Value>,
    /// Every letter is meant; excludes a filter that names more than `before`.
    #[schema(required = false, value_type = bool)]
    all: Option<Value>,
    /// The number that was counted; without it they are counted.
    #[schema(required = false, value_type = u64)]
    confirm: Option<Value>,
}

/// Hand in many dead letters' events again
///
/// Without `confirm` they are counted and nothing is changed. With the `count` and the `before` of that answer an operation
/// begins, in bounded batches, under the limits of the lanes; `GET /v1/dead-letters/operations` shows how far it is. After a
/// crash the same request, counted anew with the same `before`, goes on with what is left: what has died again since is not
/// meant.
#[utoipa::path(
    post, path = "/v1/dead-letters:redrive", tag = "dead letters", operation_id = "redrive_dead_letters",
    request_body(content = RedriveManyRequest, example = json!({"filter": {"reason": "http_404"}})),
    responses(
        (status = 200, description = "They were counted.", body = CountedBody, example = json!(doc::counted())),
        (status = 202, description = "It was begun.", body = OperationBody, example = json!(doc::operation())),
        doc::Many,
    ),
)]
pub(in crate::ops) async fn redrive_many(
    State(desk): State<DeadDesk>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    respond(redrive(&desk, &headers, body).await)
}

/// Purge many dead letters
///
/// Counted, confirmed and carried out as a redrive is. The events are dropped for good, with their bodies.
#[utoipa::path(
    post, path = "/v1/dead-letters:purge", tag = "dead letters", operation_id = "purge_dead_letters",
    request_body(content = PurgeManyRequest, example = json!({"filter": {"host": "gone.example.org"}})),
    responses(
        (status = 200, description = "They were counted.", body = CountedBody, example = json!(doc::counted())),
        (status = 202, description = "It was begun.", body = OperationBody, example = json!(doc::operation())),
        doc::Many,
    ),
)]
pub(in crate::ops) async fn purge_many(
    State(desk): State<DeadDesk>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    respond(purge(&desk, &headers, body).await)
}

/// Show the operations on dead letters
///
/// The last 16 of this process, the newest first, with their progress.
#[utoipa::path(
    get, path = "/v1/dead-letters/operations", tag = "dead letters", operation_id = "list_dead_letter_operations",
    responses(
        (status = 200, description = "The operations.", body = OperationList, example = json!({"operations": [doc::operation()]})),
        doc::Operations,
    ),
)]
pub(in crate::ops) async fn operations(State(desk): State<DeadDesk>, uri: Uri) -> Response {
    let known = Parameters::read(&uri, &[], &[]);
    respond(known.map(|_| {
        let operations = desk.operations.list().into_iter().map(OperationBody::of).collect();
        json(&OperationList { operations }, None)
    }))
}

async fn redrive(desk: &DeadDesk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request: RedriveManyRequest = read(headers, body).await?;
    let again = again(request.url.as_ref(), request.new_id.as_ref(), request.by.as_ref())?;
    let filter = filter(request.filter.as_ref(), request.all.as_ref())?;
    let worker = desk.clone();
    let made = Arc::new(move |letter: &DeadLetter| remake(&worker, letter, &again));
    count_or_start(desk, OperationVerb::Redrive(made), filter, request.confirm.as_ref()).await
}

async fn purge(desk: &DeadDesk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request: PurgeManyRequest = read(headers, body).await?;
    let filter = filter(request.filter.as_ref(), request.all.as_ref())?;
    count_or_start(desk, OperationVerb::Purge, filter, request.confirm.as_ref()).await
}

async fn count_or_start(
    desk: &DeadDesk,
    verb: OperationVerb,
    mut filter: Filter,
    confirm: Option<&Value>,
) -> OpsAnswer {
    let confirmed = confirm.map(|confirm| {
        let rule = "must be the count that the same request without it was answered with";
        confirm.as_u64().ok_or_else(|| invalid("confirm", rule.to_owned()))
    });
    let confirmed = confirmed.transpose()?;
    let before = match (filter.before, confirmed) {
        (Some(before), _) => before,
        (None, None) => whole_millis(desk.clock.now()),
        (None, Some(_)) => {
            let rule =
                "is missing; it must be the before that the same request without confirm was answered with";
            return Err(invalid_in_filter("before", rule.to_owned()));
        }
    };
    filter.before = Some(before);
    let about = filter.about();
    let wanted = filter.shared();
    let count = desk.operations.count(&wanted).await.map_err(|error| store_problem(&error))?;
    let Some(confirmed) = confirmed else {
        return Ok(json(&CountedBody { count, before: before.to_string() }, None));
    };
    // Fewer are harmless: the others were redriven or purged, or have outlived their time.
    if count > confirmed {
        let detail = format!("{count} dead letters are meant, not {confirmed}; confirm that number");
        return Err(Box::new(Problem::of(codes::WRONG_COUNT, detail)));
    }
    let begun = desk.operations.start(OperationTask { verb, wanted, count, about }).map_err(|_| {
        let detail =
            "another operation on dead letters goes on; GET /v1/dead-letters/operations shows how far it is";
        Box::new(Problem::of(codes::OPERATION_BUSY, detail))
    })?;
    info!(id = begun.id, verb = begun.verb, count, about = begun.about, "operation on dead letters begun");
    let answer = json(&OperationBody::of(begun), None);
    Ok((StatusCode::ACCEPTED, answer).into_response())
}

/// Which letters are meant. That all are has to be said.
fn filter(filter: Option<&Value>, all: Option<&Value>) -> Result<Filter, Box<Problem>> {
    let filter = match filter {
        None => Filter::default(),
        Some(given) => {
            let is_object = given.is_object();
            let rule =
                "must be an object with some of policy, reason, status, host, after, before and labels";
            let body: Option<FilterBody> =
                is_object.then(|| serde_json::from_value(given.clone()).ok()).flatten();
            body.ok_or_else(|| invalid("filter", rule.to_owned()))?.read(invalid_in_filter)?
        }
    };
    match all {
        None | Some(Value::Bool(false)) if filter.names_nothing() => {
            let rule = "must name some letters; give all: true where every letter is meant".to_owned();
            Err(invalid("filter", rule))
        }
        None | Some(Value::Bool(false)) => Ok(filter),
        Some(Value::Bool(true)) if filter.names_nothing() => Ok(filter),
        Some(Value::Bool(true)) => Err(invalid("all", "excludes a filter; leave one of them out".to_owned())),
        Some(_) => Err(invalid("all", "must be true or false".to_owned())),
    }
}

fn invalid_in_filter(member: &str, rule: String) -> Box<Problem> {
    let detail = format!("filter: {member} {rule}");
    let pointer = crate::event::json_pointer(["filter", member]);
    Box::new(Problem::of(codes::INVALID_REQUEST, detail).field(pointer, rule))
}
