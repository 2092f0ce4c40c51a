//! `/v1/changes`: how far changes of many have come, and stopping one.
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
use crate::ops::changes::doc;
use crate::ops::changes::runs::{Run, Runs};
use crate::ops::desk::{Desk, OpsAnswer, PathName, json as answer, respond, split};
use crate::ops::resource::CHANGES;
use crate::problem::{Problem, codes};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StopRequest)]
struct StopRequest {}

/// A change of many.
#[derive(Serialize, ToSchema)]
#[schema(as = Change)]
pub(in crate::ops) struct ChangeBody {
    /// Its number since the start of the process.
    id: u64,
    /// `cancel`, `delay`, `send_now`, `redrive` or `purge`.
    verb: &'static str,
    /// `events` or `dead_letters`; a purge of events is one of their dead letters, too.
    of: &'static str,
    /// Which are meant, as it was asked for.
    about: String,
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
    /// Left alone for another reason: they had ended, would have been put off beyond their life, or cannot be redriven.
    left: u64,
    /// Why the first of these was.
    #[schema(required)]
    left_because: Option<String>,
    /// Passed over: they could not be read.
    unread: u64,
    /// What ended it before its end; null while nothing did.
    #[schema(required)]
    error: Option<String>,
}

/// The changes of many since the start, newest first; the last 32.
#[derive(Serialize, ToSchema)]
#[schema(as = Changes)]
pub(in crate::ops) struct ChangeList {
    changes: Vec<ChangeBody>,
}

impl ChangeBody {
    pub(super) fn of(run: &Run) -> Self {
        Self {
            id: run.number,
            verb: run.verb.word(),
            of: run.verb.of(),
            about: run.about.clone(),
            state: run.state.word(),
            started_at: run.started_at.to_string(),
            ended_at: run.ended_at.map(|at| at.to_string()),
            matched: run.matched,
            changed: run.tally.changed,
            under_way: run.tally.under_way,
            left: run.tally.left,
            left_because: run.tally.left_because.clone(),
            unread: run.tally.unread,
            error: run.error.clone(),
        }
    }
}

/// The changes of many while they are made.
pub(in crate::ops) fn routes() -> Router<Desk> {
    Router::new()
        .route("/v1/changes", get(list))
        .route("/v1/changes/{id}", get(show).post(act).fallback(other_method))
}

/// List the changes of many
#[utoipa::path(
    get, path = "/v1/changes", tag = "changes", operation_id = "list_changes",
    responses(
        (status = 200, description = "Those of this process.", body = ChangeList, example = json!({"changes": [doc::change()]})),
        doc::List,
    ),
)]
pub(in crate::ops) async fn list(State(desk): State<Desk>) -> Response {
    answer(&ChangeList { changes: desk.runs.all().iter().map(ChangeBody::of).collect() }, None)
}

/// How far a change of many has come
#[utoipa::path(
    get, path = "/v1/changes/{id}", tag = "changes", operation_id = "show_change",
    params(("id" = u64, Path, description = "As the answer to the confirmed change named it.")),
    responses((status = 200, description = "It is known.", body = ChangeBody, example = json!(doc::change())), doc::Show),
)]
pub(in crate::ops) async fn show(State(desk): State<Desk>, path: PathName) -> Response {
    match split(&path) {
        (id, None) => respond(found(id, number(id).and_then(|number| desk.runs.get(number)))),
        (_, verb) => CHANGES.refuse(verb),
    }
}

async fn other_method(path: PathName) -> Response {
    CHANGES.refuse(split(&path).1)
}

async fn act(State(desk): State<Desk>, path: PathName, headers: HeaderMap, body: Body) -> Response {
    match split(&path) {
        (id, Some("stop")) => respond(stop(&desk.runs, id, &headers, body).await),
        (_, verb) => CHANGES.refuse(verb),
    }
}

/// Stop a change of many
///
/// It ends after the batch that it is about; what it has changed stays changed. The body is an empty object or missing.
#[utoipa::path(
    post, path = "/v1/changes/{id}:stop", tag = "changes", operation_id = "stop_change",
    params(("id" = u64, Path, description = "As the answer to the confirmed change named it.")),
    request_body(content = Option<StopRequest>, example = json!({})),
    responses((status = 200, description = "It ends, or has ended.", body = ChangeBody, example = json!(doc::change())), doc::Stop),
)]
pub(in crate::ops) async fn stop(runs: &Runs, id: &str, headers: &HeaderMap, body: Body) -> OpsAnswer {
    read_optional::<StopRequest>(headers, body).await?;
    found(id, number(id).and_then(|number| runs.stop(number)))
}

/// A number has one spelling.
fn number(id: &str) -> Option<u64> {
    id.parse().ok().filter(|number: &u64| number.to_string() == id)
}

fn found(id: &str, run: Option<Run>) -> OpsAnswer {
    let run = run.ok_or_else(|| {
        let id: String = id.chars().take(20).collect();
        let detail = format!("there is no change {id:?}; GET /v1/changes lists those since the start");
        Problem::of(codes::CHANGE_NOT_FOUND, detail)
    })?;
    Ok(answer(&ChangeBody::of(&run), None))
}
