//! `/v1/event-changes`: how far changes of many events have come, and stopping one.
//!
//! Must not know: how a run is begun or carried out.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ops::body::read_optional;
use crate::ops::desk::{Desk, OpsAnswer, PathName, json as answer, respond, split, wrong_method};
use crate::ops::doc::{ListRuns, ShowRun, StopRun};
use crate::ops::events::runs::Run;
use crate::ops::events::{doc, word};
use crate::problem::{Problem, codes};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StopRequest {}

/// A change of many events.
#[derive(Serialize, ToSchema)]
#[schema(as = EventChange)]
pub(in crate::ops) struct RunBody {
    id: u64,
    /// `cancel`, `delay` or `send_now`.
    change: &'static str,
    /// `running`, `stopping`, `stopped`, `done` or `failed`.
    state: &'static str,
    #[schema(format = DateTime)]
    started_at: String,
    /// `null` while it goes on.
    #[schema(required, format = DateTime)]
    ended_at: Option<String>,
    /// As they were counted.
    matched: u64,
    changed: u64,
    /// Left alone: their calls were under way.
    under_way: u64,
    /// Left alone: they had ended, or would have been put off beyond their life.
    left: u64,
    /// Passed over: they could not be read.
    unread: u64,
}

/// The changes of many events since the start, newest first; the last 32.
#[derive(Serialize, ToSchema)]
#[schema(as = EventChanges)]
pub(in crate::ops) struct RunsBody {
    changes: Vec<RunBody>,
}

impl RunBody {
    pub(super) fn of(run: &Run) -> Self {
        Self {
            id: run.number,
            change: word(run.change),
            state: run.state.word(),
            started_at: run.started_at.to_string(),
            ended_at: run.ended_at.map(|at| at.to_string()),
            matched: run.matched,
            changed: run.changed,
            under_way: run.under_way,
            left: run.left,
            unread: run.unread,
        }
    }
}

/// The changes of many events while they are made.
pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/v1/event-changes", get(list))
        .route("/v1/event-changes/{id}", get(show).post(act).fallback(other_method))
}

/// List the changes of many events
#[utoipa::path(
    get, path = "/v1/event-changes", tag = "events", operation_id = "list_event_changes",
    responses(
        (status = 200, description = "Those of this process.", body = RunsBody, example = json!({"changes": [doc::run("cancel")]})),
        ListRuns,
    ),
)]
pub(in crate::ops) async fn list(State(desk): State<Desk>) -> Response {
    answer(&RunsBody { changes: desk.runs.all().iter().map(RunBody::of).collect() }, None)
}

/// How far a change of many events has come
#[utoipa::path(
    get, path = "/v1/event-changes/{id}", tag = "events", operation_id = "show_event_change",
    params(("id" = u64, Path, description = "As the answer to the confirmed change named it.")),
    responses((status = 200, description = "It is known.", body = RunBody, example = json!(doc::run("cancel"))), ShowRun),
)]
pub(in crate::ops) async fn show(State(desk): State<Desk>, path: PathName) -> Response {
    match split(&path) {
        (id, None) => respond(found(id, number(id).and_then(|number| desk.runs.get(number)))),
        (_, verb) => no_such_method(verb),
    }
}

async fn other_method(path: PathName) -> Response {
    no_such_method(split(&path).1)
}

/// A change of many events and its verb share a route and have different methods.
fn no_such_method(verb: Option<&str>) -> Response {
    match verb {
        None => wrong_method("GET,HEAD", "a change is looked up here; POST goes to {id}:stop"),
        Some("stop") => wrong_method("POST", "verbs change things: call them with POST"),
        Some(_) => {
            let detail = "no such verb; changes of many events have :stop";
            respond(Err(Box::new(Problem::of(codes::NOT_FOUND, detail))))
        }
    }
}

async fn act(State(desk): State<Desk>, path: PathName, headers: HeaderMap, body: Body) -> Response {
    match split(&path) {
        (id, Some("stop")) => respond(stop(&desk, id, &headers, body).await),
        (_, verb) => no_such_method(verb),
    }
}

/// Stop a change of many events
///
/// It ends after the batch that it is about; what it has changed stays changed. The body is an empty object or missing.
#[utoipa::path(
    post, path = "/v1/event-changes/{id}:stop", tag = "events", operation_id = "stop_event_change",
    params(("id" = u64, Path, description = "As the answer to the confirmed change named it.")),
    request_body(content = Option<StopRequest>, example = json!({})),
    responses((status = 200, description = "It ends, or has ended.", body = RunBody, example = json!(doc::run("cancel"))), StopRun),
)]
pub(in crate::ops) async fn stop(desk: &Desk, id: &str, headers: &HeaderMap, body: Body) -> OpsAnswer {
    read_optional::<StopRequest>(headers, body).await?;
    found(id, number(id).and_then(|number| desk.runs.stop(number)))
}

/// A number has one spelling.
fn number(id: &str) -> Option<u64> {
    id.parse().ok().filter(|number: &u64| number.to_string() == id)
}

fn found(id: &str, run: Option<Run>) -> OpsAnswer {
    let run = run.ok_or_else(|| {
        let id: String = id.chars().take(20).collect();
        let detail = format!("there is no change {id:?}; GET /v1/event-changes lists those since the start");
        Problem::of(codes::CHANGE_NOT_FOUND, detail)
    })?;
    Ok(answer(&RunBody::of(&run), None))
}
