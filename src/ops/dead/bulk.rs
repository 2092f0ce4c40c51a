//! `POST /v1/dead-letters:redrive` and `:purge`: the changes of many letters. See `changes` for how they are counted, confirmed
//! and carried out.
//!
//! Must not know: how letters are found and changed.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::DeadDesk;
use super::filter::{Filter, FilterBody};
use super::many::{LetterChange, LetterWork};
use super::verbs::again;
use crate::clock::Timestamp;
use crate::ops::body::read;
use crate::ops::changes::asked::{Asked, count_or_begin};
use crate::ops::changes::doc::Many;
use crate::ops::changes::request;
use crate::ops::changes::work::ChangeVerb;
use crate::ops::desk::{OpsAnswer, respond};
use crate::problem::Problem;

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
    /// Another URL that the same policies govern; letters of others are left alone.
    #[schema(required = false, value_type = String)]
    url: Option<Value>,
    /// Whether each event gets a new id and `webhook-id`.
    #[schema(required = false, value_type = bool)]
    new_id: Option<Value>,
    /// Who asks for it, for those who look at the events.
    #[schema(required = false, value_type = String, max_length = 100)]
    by: Option<Value>,
    /// The confirmation that the count answered; without it they are counted.
    #[schema(required = false, value_type = String)]
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
    /// The confirmation that the count answered; without it they are counted.
    #[schema(required = false, value_type = String)]
    confirm: Option<Value>,
}

/// Hand in many dead letters' events again
///
/// Without `confirm` they are counted and nothing is changed. With the confirmation of that answer a run begins, in bounded
/// batches, under the limits of the lanes; see `/v1/changes/{id}`. After a crash the same request, counted anew with the
/// `counted_at` of the first count as `before`, goes on with what is left: what has died again since is not meant.
#[utoipa::path(
    post, path = "/v1/dead-letters:redrive", tag = "dead letters", operation_id = "redrive_dead_letters",
    request_body(content = RedriveManyRequest, example = json!({"filter": {"reason": "http_404"}})),
    responses(Many),
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
    responses(Many),
)]
pub(in crate::ops) async fn purge_many(
    State(desk): State<DeadDesk>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    respond(purge(&desk, &headers, body).await)
}

async fn redrive(desk: &DeadDesk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request: RedriveManyRequest = read(headers, body).await?;
    let again = again(request.url.as_ref(), request.new_id.as_ref(), request.by.as_ref())?;
    let filter = filter(request.filter.as_ref(), request.all.as_ref())?;
    let more = format!("{:?} {:?} {:?}", request.url, request.new_id, request.by);
    let asked = Asked { verb: ChangeVerb::Redrive, about: filter.about(), more, confirm: request.confirm };
    let change = LetterChange::Redrive(again);
    count_or_begin(&desk.runs, &desk.clock, asked, |at| work(desk, filter, at, change)).await
}

async fn purge(desk: &DeadDesk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request: PurgeManyRequest = read(headers, body).await?;
    let filter = filter(request.filter.as_ref(), request.all.as_ref())?;
    let verb = ChangeVerb::PurgeLetters;
    let asked = Asked { verb, about: filter.about(), more: String::new(), confirm: request.confirm };
    count_or_begin(&desk.runs, &desk.clock, asked, |at| work(desk, filter, at, LetterChange::Purge)).await
}

/// What was parked after the count is not meant, nor what the filter leaves out.
fn work(desk: &DeadDesk, filter: Filter, counted_at: Timestamp, change: LetterChange) -> LetterWork {
    LetterWork { desk: desk.clone(), filter: filter.until(counted_at), change }
}

fn filter(filter: Option<&Value>, all: Option<&Value>) -> Result<Filter, Box<Problem>> {
    let members = "policy, reason, status, host, after, before and labels";
    let read = |body: FilterBody| body.read();
    request::filter(filter, all, members, read, Filter::names_nothing)
}
