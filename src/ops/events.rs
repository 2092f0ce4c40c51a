//! `GET /v1/events`, `DELETE /v1/events/{id}`, and `POST` to its verbs `:delay` and `:send-now`: what an operator does with an event that
//! waits. Each may be repeated without harm. The list is in a file of its own.
//!
//! Must not know: how an event is taken out of its lane.

pub(super) mod bulk;
mod doc;
mod filter;
pub(super) mod list;
mod many;
mod purge;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use tracing::{info, warn};
use utoipa::ToSchema;

use crate::clock::{Clock, Timestamp};
use crate::event::EventId;
use crate::ingest::{StateBody, event_id, no_event};
use crate::ops::body::{invalid, missing, read, read_optional};
use crate::ops::desk::{Desk, OpsAnswer, PathName, json, late, respond, shutting_down, split};
use crate::ops::doc::{Cancel, EventVerb};
use crate::ops::resource::EVENTS;
use crate::problem::{Problem, codes};
use crate::queue::{Change, Changed, End, KnownEnd, QueueError};
use crate::store::StoreError;
use crate::telemetry::EventsChanged;

/// Exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DelayRequest {
    /// Before the end of the event's life.
    #[schema(required = false, value_type = String, format = "date-time")]
    due_at: Option<Value>,
    /// From now on, so that it ends before the event's life.
    #[schema(required = false, value_type = f64, minimum = 0)]
    delay_seconds: Option<Value>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SendNowRequest {}

/// The list, and the changes of single events.
pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route("/v1/events", get(list::list))
        .route("/v1/events/{id}", delete(take_back).post(act).fallback(other_method))
        .merge(bulk::routes())
}

async fn take_back(State(desk): State<Desk>, path: PathName) -> Response {
    match split(&path) {
        (id, None) => respond(cancel(&desk, id).await),
        (_, verb) => EVENTS.refuse(verb),
    }
}

async fn other_method(path: PathName) -> Response {
    EVENTS.refuse(split(&path).1)
}

async fn act(State(desk): State<Desk>, path: PathName, headers: HeaderMap, body: Body) -> Response {
    match split(&path) {
        (id, Some("delay")) => respond(delay(&desk, id, &headers, body).await),
        (id, Some("send-now")) => respond(send_now(&desk, id, &headers, body).await),
        (_, verb) => EVENTS.refuse(verb),
    }
}

/// Cancel an event
///
/// It ends as `cancelled` and is not sent: durable when it is answered. A call that is under way is left alone and answered
/// with 409; an event that comes back from it for a retry can be cancelled then. To cancel it once more changes nothing.
#[utoipa::path(
    delete, path = "/v1/events/{id}", tag = "events", operation_id = "cancel_event",
    params(("id" = String, Path, format = "uuid", description = "The id of the receipt.")),
    responses(
        (status = 200, description = "It is cancelled.", body = StateBody<'_>, example = json!(doc::cancelled())),
        Cancel,
    ),
)]
pub(super) async fn cancel(desk: &Desk, id: &str) -> OpsAnswer {
    EventDesk(desk).change(event_id(id)?, Change::Cancel, "").await
}

/// Put an event off
///
/// Also one that is due already, and one that waits for a retry. Its new due time holds over restarts; its attempts stay.
#[utoipa::path(
    post, path = "/v1/events/{id}:delay", tag = "events", operation_id = "delay_event",
    params(("id" = String, Path, format = "uuid", description = "The id of the receipt.")),
    request_body(content = DelayRequest, example = json!({"delay_seconds": 600})),
    responses(
        (status = 200, description = "It waits until then.", body = StateBody<'_>, example = json!(doc::delayed())),
        EventVerb,
    ),
)]
pub(super) async fn delay(desk: &Desk, id: &str, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request: DelayRequest = read(headers, body).await?;
    let id = event_id(id)?;
    let (length, member) = length(&desk.clock, &request)?;
    let now = desk.clock.now();
    let due_at = Timestamp::from_millis((now + length).ceil_millis());
    let doubted_at = (!desk.clock.is_trusted()).then_some(now);
    EventDesk(desk).change(id, Change::PutOff { due_at, doubted_at }, member).await
}

/// Send an event ahead of its turn
///
/// It goes first in its lane, before events that were accepted later, delayed or not, and within every limit: what holds
/// the lane holds it too. The body is an empty object or missing.
#[utoipa::path(
    post, path = "/v1/events/{id}:send-now", tag = "events", operation_id = "send_event_now",
    params(("id" = String, Path, format = "uuid", description = "The id of the receipt.")),
    request_body(content = Option<SendNowRequest>, example = json!({})),
    responses(
        (status = 200, description = "It goes first, or has gone.", body = StateBody<'_>, example = json!(doc::sent_now())),
        EventVerb,
    ),
)]
pub(super) async fn send_now(desk: &Desk, id: &str, headers: &HeaderMap, body: Body) -> OpsAnswer {
    read_optional::<SendNowRequest>(headers, body).await?;
    EventDesk(desk).change(event_id(id)?, Change::SendNow, "").await
}

/// How long an event is to be put off, and the member that says it.
fn length(clock: &Clock, request: &DelayRequest) -> Result<(Duration, &'static str), Box<Problem>> {
    match (&request.due_at, &request.delay_seconds) {
        (None, None) => Err(missing("delay_seconds", "says for how long; or give due_at".to_owned())),
        (Some(_), Some(_)) => Err(invalid("due_at", "excludes delay_seconds; give one of them".to_owned())),
        (Some(_), None) if !clock.is_trusted() => {
            let rule =
                "cannot be judged while the wall clock is in doubt; give delay_seconds, or confirm the clock";
            Err(invalid("due_at", rule.to_owned()))
        }
        (Some(date), None) => {
            let date = date.as_str().and_then(Timestamp::parse).ok_or_else(|| {
                invalid("due_at", "must be an RFC 3339 date such as 2030-01-31T08:00:00Z".to_owned())
            })?;
            // The steady line takes over from here: a later step of the wall clock does not move it.
            Ok((date.since(clock.wall()), "due_at"))
        }
        (None, Some(seconds)) => {
            let length = seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let rule = || invalid("delay_seconds", "must be 0 or a positive number of seconds".to_owned());
            Ok((length.ok_or_else(rule)?, "delay_seconds"))
        }
    }
}

/// Changes single events for the desk.
struct EventDesk<'d>(&'d Desk);

impl EventDesk<'_> {
    /// Changes an event and says where it stands then; `member` names what would put it off beyond its life.
    async fn change(&self, id: EventId, change: Change, member: &str) -> OpsAnswer {
        let Desk { queue, dispatch, .. } = self.0;
        // It goes on when this request is given up.
        let work = queue.change(id, change, Arc::new(dispatch.clone()));
        let changed = queue.in_time(work).await.map_err(QueueError::from).and_then(|changed| changed);
        match changed.map_err(|error| self.failed(id, &error))? {
            Changed::Done => {
                let word = word(change);
                EventsChanged { change: word, count: 1 }.emit();
                info!(event_id = %id, change = word, "event changed");
            }
            // Once more: it is as it was asked for.
            Changed::Ended(Some(known)) if is_cancelled(&known) && change == Change::Cancel => {}
            Changed::Ended(known) => return Err(ended(known.as_ref())),
            Changed::UnderWay => return Err(under_way()),
            Changed::TooLate { expires_at } => {
                let rule = format!(
                    "lies beyond the end of the event's life at {expires_at}; it would expire unsent"
                );
                return Err(invalid(member, rule));
            }
            Changed::Unknown => return Err(no_event(queue.known_since())),
            Changed::OnItsWay => {
                let detail =
                    "the event is being read or put on record at present; nothing was changed, repeat it";
                return Err(Box::new(Problem::store_slow(detail)));
            }
        }
        let standing = queue.standing(id, dispatch).await.map_err(|error| self.failed(id, &error))?;
        let runtime = self.0.policies.runtime();
        let body = StateBody::of(id, &standing, &runtime, &self.0.about, &self.0.router.endpoint_of)
            .ok_or_else(|| no_event(queue.known_since()))?;
        Ok(json(&body, None))
    }

    fn failed(&self, id: EventId, error: &QueueError) -> Box<Problem> {
        if let Some(reason) = self.0.queue.unread_reason(error) {
            return Box::new(Problem::event_unread(&reason));
        }
        warn!(event_id = %id, %error, "an event could not be changed");
        match error {
            QueueError::Store(StoreError::Held { reason }) => Box::new(Problem::store_held(reason)),
            QueueError::Store(store) => late(store).unwrap_or_else(|| unreadable(error)),
            QueueError::Record(_) => unreadable(error),
        }
    }
}

/// Why the store does not say or take what is asked of it.
fn unreadable(error: &QueueError) -> Box<Problem> {
    if matches!(error, QueueError::Store(StoreError::Closed)) {
        return shutting_down();
    }
    warn!(%error, "the store could not be asked about events");
    let detail = "the store cannot be asked at present; look at the events before repeating a change";
    Box::new(Problem::of(codes::STORAGE_ERROR, detail).retry_after(10))
}

const fn word(change: Change) -> &'static str {
    match change {
        Change::Cancel => "cancel",
        Change::SendNow => "send_now",
        Change::PutOff { .. } => "delay",
        Change::Purge => "purge",
    }
}

fn is_cancelled(known: &KnownEnd) -> bool {
    known.end == End::Cancelled
}

fn ended(known: Option<&KnownEnd>) -> Box<Problem> {
    let how = known.map_or_else(String::new, |known| format!(" as {}", known.end.word()));
    let detail = format!("the event has ended{how}; GET of the same path says what is known of it");
    Box::new(Problem::of(codes::EVENT_ENDED, detail))
}

fn under_way() -> Box<Problem> {
    let detail = "the call of the event is under way and is not torn; repeat this when the event has come back for a \
                  retry, or look for its end";
    Box::new(Problem::of(codes::EVENT_INFLIGHT, detail))
}
