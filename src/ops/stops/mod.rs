//! `GET /v1/dispatch`, `POST /v1/dispatch:pause` and `:resume`: the emergency stops. Each may be repeated without harm.
//!
//! Must not know: how calls are held back.

mod record;
mod wire;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, Uri};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::dispatch::StopTarget;
use crate::ops::body::read;
use crate::ops::desk::{Desk, OpsAnswer, json as answer, late, respond, shutting_down};
use crate::ops::doc::{DispatchVerb, ShowDispatch};
use crate::ops::query::Parameters;
use crate::ops::verbs::{end_of_pause, reason};
use crate::problem::{Problem, codes};
use crate::store::RunToEnd;

pub(crate) use record::StopRecord;
use record::{MOST, RecordError};
pub(super) use wire::StopBody;
use wire::{DispatchBody, EndRequest, StopRequest, target};

pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/v1/dispatch", get(show))
        .route(
            "/v1/dispatch:pause",
            post(async |State(desk): State<Desk>, headers: HeaderMap, body: Body| {
                respond(pause(&desk, &headers, body).await)
            }),
        )
        .route(
            "/v1/dispatch:resume",
            post(async |State(desk): State<Desk>, headers: HeaderMap, body: Body| {
                respond(resume(&desk, &headers, body).await)
            }),
        )
}

/// List the emergency stops
///
/// Those in force. Pauses of single policies stand with the policies.
#[utoipa::path(
    get, path = "/v1/dispatch", tag = "dispatch", operation_id = "show_dispatch",
    responses(
        (status = 200, description = "What is stopped.", body = DispatchBody, example = json!(stopped())),
        ShowDispatch,
    ),
)]
pub(super) async fn show(State(desk): State<Desk>, uri: Uri) -> Response {
    // There are none: a parameter that means nothing is refused rather than passed over.
    respond(Parameters::read(&uri, &[], &[]).map(|_| body(&desk)))
}

/// Stop everything, a host or an organisation
///
/// Nothing starts that it concerns when this is answered; calls under way go on to their ends. Events go on being taken, and
/// their lives go on. It holds over restarts, until its end or until it is ended. A second stop of the same replaces reason
/// and end of the first.
#[utoipa::path(
    post, path = "/v1/dispatch:pause", tag = "dispatch", operation_id = "pause_dispatch",
    request_body(content = StopRequest, example = json!({"host": "api.example.org", "reason": "wrong prices", "for_seconds": 3600})),
    responses(
        (status = 200, description = "It is stopped.", body = DispatchBody, example = json!(stopped())),
        DispatchVerb,
    ),
)]
pub(super) async fn pause(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request: StopRequest = read(headers, body).await?;
    let StopRequest { everything, host, organisation, reason: given, until, for_seconds } = &request;
    let target = target(everything.as_ref(), host.as_ref(), organisation.as_ref())?;
    let reason = reason(given.as_ref())?.to_owned();
    let until = end_of_pause(&desk.clock, (until.as_ref(), for_seconds.as_ref()), desk.clock.now())?;
    let (stops, dispatch) = (desk.stops.clone(), desk.dispatch.clone());
    let (about, why) = (target.clone(), reason.clone());
    // It is made to its end also when the caller goes away.
    let stopped = RunToEnd::new(async move { stops.stop(&dispatch, target, reason, until).await });
    in_time(desk, stopped).await.map_err(|error| not_stopped(&about, &error))?;
    let until = until.map(|until| until.to_string());
    warn!(target = %about, reason = why, until, "dispatch stopped by an operator");
    Ok(self::body(desk))
}

/// End an emergency stop
///
/// Ending one that is not there does nothing. Ending that of everything also takes the place of a record of stops that cannot be
/// read; its bytes are kept.
#[utoipa::path(
    post, path = "/v1/dispatch:resume", tag = "dispatch", operation_id = "resume_dispatch",
    request_body(content = EndRequest, example = json!({"host": "api.example.org"})),
    responses(
        (status = 200, description = "It is not stopped by this any more.", body = DispatchBody,
            example = json!({"stops": [], "record_unreadable": null})),
        DispatchVerb,
    ),
)]
pub(super) async fn resume(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let EndRequest { everything, host, organisation } = read(headers, body).await?;
    let target = target(everything.as_ref(), host.as_ref(), organisation.as_ref())?;
    let (stops, dispatch, about) = (desk.stops.clone(), desk.dispatch.clone(), target.clone());
    let ended = RunToEnd::new(async move { stops.end(&dispatch, &target).await });
    in_time(desk, ended).await.map_err(|error| not_resumed(&about, &error))?;
    info!(target = %about, "dispatch resumed by an operator");
    Ok(self::body(desk))
}

/// Waits while the disk answers.
async fn in_time(desk: &Desk, change: RunToEnd<Result<(), RecordError>>) -> Result<(), RecordError> {
    // Begun before it is asked whether the disk answers: a stop is in force whatever the disk does.
    desk.queue.outlast(change).await.unwrap_or_else(|error| Err(error.into()))
}

fn body(desk: &Desk) -> Response {
    let (stops, in_force) = (desk.stops.stops(), desk.stops.in_force());
    answer(&DispatchBody::of(&in_force, stops.why_unreadable()), None)
}

fn not_stopped(target: &StopTarget, error: &RecordError) -> Box<Problem> {
    warn!(%target, %error, "an emergency stop could not be put on record");
    match error {
        RecordError::Store(error) => {
            let detail = format!(
                "it is stopped now, and could not be put on record ({error}): a restart would end the stop; repeat it"
            );
            let code = late(error).map_or(codes::STORAGE_ERROR, |_| codes::OUTCOME_UNKNOWN);
            Box::new(Problem::of(code, detail).retry_after(10))
        }
        other => refused(other),
    }
}

fn not_resumed(target: &StopTarget, error: &RecordError) -> Box<Problem> {
    warn!(%target, %error, "an emergency stop could not be ended");
    match error {
        RecordError::Store(error) => late(error).unwrap_or_else(|| {
            let detail = format!("it stays stopped: the record could not be changed ({error}); repeat it");
            Box::new(Problem::of(codes::STORAGE_ERROR, detail).retry_after(10))
        }),
        other => refused(other),
    }
}

fn refused(error: &RecordError) -> Box<Problem> {
    match error {
        RecordError::Full => {
            let detail = format!("there are {MOST} emergency stops, as many as there may be; end some first");
            Box::new(Problem::of(codes::NOT_APPLICABLE, detail))
        }
        RecordError::Unreadable(reason) => {
            let detail = format!(
                "the record of stops cannot be read ({reason}), and everything is stopped; resume everything first, which \
                 sets the record aside"
            );
            Box::new(Problem::of(codes::NOT_APPLICABLE, detail))
        }
        RecordError::Closed | RecordError::Store(_) => shutting_down(),
    }
}

fn stopped() -> Value {
    json!({
        "stops": [{
            "target": "host",
            "name": "api.example.org",
            "reason": "wrong prices",
            "since": "2030-01-31T08:00:00.000Z",
            "until": "2030-01-31T09:00:00.000Z",
        }],
        "record_unreadable": null,
    })
}
