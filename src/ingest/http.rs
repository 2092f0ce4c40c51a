//! `POST /v1/events` and `GET /v1/events/{id}`.
//!
//! Must not know: who listens, and how connections are guarded.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::value::RawValue;
use tokio::sync::SemaphorePermit;

use crate::event::EventId;
use crate::ingest::answer::{ReceiptBody, StateBody};
use crate::ingest::cloudevents::{self, Mode, ReadCloudEvent};
use crate::ingest::decode::{Decoded, MAX_EVENT_BYTES, OfRequest};
use crate::ingest::diagnose::not_json;
use crate::ingest::intake::{Intake, IntakeAnswer, Receipt};
use crate::ingest::problems::internal;
use crate::ingest::{answer, doc, ndjson};
use crate::problem::codes::{self, Code};
use crate::problem::{BodyFault, Problem, is_encoded, media_type};
use crate::telemetry::{EventSource, EventsRejected, defect};

/// Most events in a JSON list; streams have no such bound.
pub(crate) const MAX_LIST_EVENTS: usize = 1000;
/// Longest body of a request with a JSON list or a batch, in bytes.
pub(crate) const MAX_LIST_BYTES: usize = 8 * 1024 * 1024;

type BoxedProblem = Box<Problem>;

/// The routes of the events door.
pub(crate) fn routes(intake: Intake) -> Router {
    Router::new().route("/v1/events", post(hand_in)).route("/v1/events/{id}", get(show)).with_state(intake)
}

/// Hand in events
///
/// One event, a list of at most 1000, or one event per line, streamed both ways. One event is answered with 202 once it
/// is durable; a list or lines with 200 and one answer per event, in order: a bad one spoils no other.
///
/// CloudEvents 1.0 are taken too: as `application/cloudevents+json`, in a list as `application/cloudevents-batch+json`,
/// or with their attributes as headers (`ce-id` and so on) and their data as the body, of any type; see the schema
/// `CloudEvent` and the manual. They are answered in the same way.
#[utoipa::path(
    post, path = "/v1/events", tag = "events", operation_id = "enqueue",
    params(
        ("idempotency-key" = Option<String>, Header, description = "Of one event; the same as its member."),
        ("tidegate-priority" = Option<String>, Header, description = "Of events that name none: `high`, `normal` or `low`."),
        doc::CeHeaders,
    ),
    request_body(content(
        (doc::EventOrList<'_> = "application/json", examples(
            ("event" = (summary = "One event", value = json!(doc::event()))),
            ("list" = (summary = "Several events, one of them bad", value = json!(doc::list()))))),
        (String = "application/x-ndjson", example = json!(doc::lines())),
    )),
    responses(
        (status = 200, description = "Each event has its answer.", content(
            (Vec<doc::Line<'_>> = "application/json", example = json!(doc::answers())),
            (String = "application/x-ndjson", example = json!(doc::answer_lines())))),
        (status = 202, description = "The event is durable.",
            headers(("Location" = String, description = "Where the event can be looked up.")),
            body = ReceiptBody<'_>, example = json!(doc::receipt())),
        doc::HandIn,
    ),
)]
pub(super) async fn hand_in(State(intake): State<Intake>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match hand_in_checked(&intake, &head.headers, body).await {
        Ok(response) => response,
        Err(problem) => {
            // Counted as one: the events that the request holds have not been looked at.
            EventsRejected { reason: problem.code, count: 1 }.emit();
            refuse(*problem)
        }
    }
}

/// A refusal before the body was read leaves the connection in no state to go on.
fn refuse(problem: Problem) -> Response {
    let close = matches!(problem.status, 408 | 413 | 415);
    let mut response = problem.into_response();
    if close {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An error is of the request as a whole; refused events have been counted, and their answer is an answer.
async fn hand_in_checked(intake: &Intake, headers: &HeaderMap, body: Body) -> Result<Response, BoxedProblem> {
    intake.check_held()?;
    if is_encoded(headers) {
        return Err(refused(codes::UNSUPPORTED_ENCODING, "send the body without Content-Encoding"));
    }
    let of_request = intake.of_request(headers)?;
    match BodyKind::of(headers) {
        BodyKind::CloudEvents(mode) => cloudevents(intake, mode, headers, body, of_request).await,
        BodyKind::Json => one_or_list(intake, headers, body, of_request).await,
        BodyKind::Lines if idempotency_key(headers)?.is_some() => {
            Err(bad_key("one key cannot name a stream; give each line its \"idempotency_key\""))
        }
        BodyKind::Lines => Ok(ndjson::respond(intake, body, of_request)),
        BodyKind::Other => {
            let rule = "Content-Type must be application/json (one event or a list), application/x-ndjson or a type of \
                        CloudEvents";
            Err(refused(codes::UNSUPPORTED_MEDIA_TYPE, rule))
        }
    }
}

/// How the body of a request is read, which its headers alone decide.
enum BodyKind {
    /// One event or a list, read to its end.
    Json,
    /// One event per line, read as a stream: lines are answered while more arrive.
    Lines,
    /// CloudEvents in one of their modes; the body is read to its end.
    CloudEvents(Mode),
    /// A type that is not read; the body is not touched.
    Other,
}

impl BodyKind {
    fn of(headers: &HeaderMap) -> Self {
        let kind = media_type(headers);
        // Before other types: in binary mode any of them may carry a CloudEvent.
        if let Some(mode) = Mode::of(headers, kind.as_deref()) {
            return Self::CloudEvents(mode);
        }
        match kind.as_deref() {
            Some("application/json") => Self::Json,
            Some("application/x-ndjson" | "application/ndjson") => Self::Lines,
            _ => Self::Other,
        }
    }
}

/// Whether the door reads the body of a request with these headers line by line, with a deadline of its own. It waits
/// for every other body to its end: the listener has to set the deadline.
pub(super) fn reads_lines(headers: &HeaderMap) -> bool {
    matches!(BodyKind::of(headers), BodyKind::Lines)
}

async fn one_or_list(
    intake: &Intake,
    headers: &HeaderMap,
    body: Body,
    of_request: OfRequest,
) -> Result<Response, BoxedProblem> {
    // A large body keeps its place until it is answered, because it is held in memory until then.
    let (body, _large) = read_all(intake, headers, body).await?;
    let key = idempotency_key(headers)?;
    if body.trim_ascii_start().first() == Some(&b'[') {
        return match key {
            None => list(intake, &body, of_request).await,
            Some(_) => Err(bad_key("one key cannot name a list; give each event its \"idempotency_key\"")),
        };
    }
    one(intake, &body, key, of_request).await
}

async fn one(
    intake: &Intake,
    body: &Bytes,
    key: Option<&str>,
    of_request: OfRequest,
) -> Result<Response, BoxedProblem> {
    if body.len() > MAX_EVENT_BYTES {
        return Err(too_large(MAX_EVENT_BYTES));
    }
    let decoded = intake.decoder().within(of_request).decode(body, body, key);
    take_one(intake, decoded, body.len(), |problem| problem).await
}

/// The same for a request that carries CloudEvents.
async fn cloudevents(
    intake: &Intake,
    mode: Mode,
    headers: &HeaderMap,
    body: Body,
    of_request: OfRequest,
) -> Result<Response, BoxedProblem> {
    if mode == Mode::Unknown {
        let rule = "CloudEvents are read as application/cloudevents+json, as application/cloudevents-batch+json, or with their \
                    attributes as headers";
        return Err(refused(codes::UNSUPPORTED_MEDIA_TYPE, rule));
    }
    if idempotency_key(headers)?.is_some() {
        return Err(bad_key("a CloudEvent is known by its source and id; leave Idempotency-Key out"));
    }
    let (body, _large) = read_all(intake, headers, body).await?;
    let (decoder, targets) = (intake.decoder().within(of_request), intake.targets());
    let mut reader = cloudevents::CloudEventReader { decoder, targets: &targets };
    if mode == Mode::Batched {
        let events = cloudevents::batch(&body)?;
        check_length(events.len())?;
        let read: Vec<_> = events.iter().map(|event| reader.batched(&body, event)).collect();
        let words: Vec<_> = read.iter().map(ReadCloudEvent::words).collect();
        let items = read.into_iter().map(|read| read.decoded).collect();
        let in_words = |nth: usize, problem| match words.get(nth) {
            Some(words) => words(problem),
            None => {
                defect!("an item of a batch without its words");
                problem
            }
        };
        return take_list(intake, items, body.len(), in_words).await;
    }
    if body.len() > MAX_EVENT_BYTES {
        return Err(too_large(MAX_EVENT_BYTES));
    }
    let read = match mode {
        Mode::Binary => reader.binary(headers, body.clone()),
        _ => reader.structured(headers, &body),
    };
    let words = read.words();
    take_one(intake, read.decoded, body.len(), words).await
}

async fn take_one(
    intake: &Intake,
    decoded: Result<Decoded, BoxedProblem>,
    bytes: usize,
    words: impl Fn(BoxedProblem) -> BoxedProblem,
) -> Result<Response, BoxedProblem> {
    let share = intake.reserve_bytes_soon(bytes).await?;
    // Before the event moves into the intake: the lane is found from it.
    let asked = decoded.as_ref().ok().and_then(|decoded| intake.usage_asked(decoded));
    let verdicts = intake.take(vec![decoded], EventSource::Http, share).await;
    let mut response = answer_one(intake, verdicts, words).await;
    if let Some(asked) = asked {
        response.headers_mut().extend(intake.usage(asked).await);
    }
    Ok(response)
}

/// `words` says how a refusal names members of the event.
async fn answer_one(
    intake: &Intake,
    verdicts: Vec<IntakeAnswer>,
    words: impl Fn(BoxedProblem) -> BoxedProblem,
) -> Response {
    defect!(unless verdicts.len() == 1, "one event with none or several answers");
    let verdict = verdicts.into_iter().next().unwrap_or_else(|| Err(Box::new(internal())));
    let receipt = match verdict {
        Ok(receipt) => original(intake, receipt).await,
        Err(problem) => return refuse(*words(problem)),
    };
    let mut response = (StatusCode::ACCEPTED, answer::receipt(&receipt)).into_response();
    json(&mut response);
    let location = HeaderValue::try_from(format!("/v1/events/{}", receipt.id));
    defect!(unless location.is_ok(), "the place of an event that is no header");
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A repeated event is answered with the times of the first one, as long as that is waiting.
async fn original(intake: &Intake, mut receipt: Receipt) -> Receipt {
    if receipt.duplicate
        && let Ok(standing) = intake.standing(receipt.id).await
        && let Some(waiting) = standing.waiting()
    {
        receipt.due_at = waiting.event.due_at;
        receipt.expires_at = waiting.event.expires_at;
        if let Ok(lane) = crate::event::Lane::parse(&waiting.lane) {
            receipt.lane = lane;
        }
    }
    receipt
}

async fn list(intake: &Intake, body: &Bytes, of_request: OfRequest) -> Result<Response, BoxedProblem> {
    let text = std::str::from_utf8(body).map_err(|error| not_json(&format!("not UTF-8: {error}")))?;
    let events: Vec<&RawValue> = serde_json::from_str(text).map_err(|error| not_json(&error.to_string()))?;
    check_length(events.len())?;
    let mut decoder = intake.decoder().within(of_request);
    let items = events.iter().map(|event| decoder.decode(body, event.get().as_bytes(), None)).collect();
    take_list(intake, items, body.len(), |_, problem| problem).await
}

fn check_length(events: usize) -> Result<(), BoxedProblem> {
    if events <= MAX_LIST_EVENTS {
        return Ok(());
    }
    let detail = format!(
        "the list has {events} events, at most {MAX_LIST_EVENTS} are taken; send several lists or application/x-ndjson"
    );
    Err(refused(codes::BATCH_TOO_LARGE, detail))
}

async fn take_list(
    intake: &Intake,
    items: Vec<Result<Decoded, BoxedProblem>>,
    bytes: usize,
    words: impl Fn(usize, BoxedProblem) -> BoxedProblem,
) -> Result<Response, BoxedProblem> {
    let share = intake.reserve_bytes_soon(bytes).await?;
    let count = items.len();
    let verdicts = intake.take(items, EventSource::Http, share).await;
    defect!(unless verdicts.len() == count, "a list with another number of answers than events");
    let in_words = |(nth, verdict): (usize, IntakeAnswer)| verdict.map_err(|problem| words(nth, problem));
    let verdicts: Vec<IntakeAnswer> = verdicts.into_iter().enumerate().map(in_words).collect();
    if verdicts.iter().all(Result::is_err)
        && let Some(problem) =
            verdicts.iter().find_map(|verdict| verdict.as_ref().err().filter(|p| p.status >= 500))
    {
        // The store took none of them: say so once.
        return Ok(refuse((**problem).clone()));
    }
    let mut response = (StatusCode::OK, answer::list(&verdicts)).into_response();
    json(&mut response);
    Ok(response)
}

/// Where an event stands
#[utoipa::path(
    get, path = "/v1/events/{id}", tag = "events", operation_id = "show_event",
    params(("id" = String, Path, format = "uuid", description = "The id of the receipt.")),
    responses(
        (status = 200, description = "It is known.", body = StateBody<'_>, examples(
            ("delayed" = (value = json!(doc::delayed()))),
            ("retried" = (value = json!(doc::retried()))),
            ("settled" = (value = json!(doc::settled()))))),
        doc::Show,
    ),
)]
pub(super) async fn show(State(intake): State<Intake>, id: Result<Path<String>, PathRejection>) -> Response {
    // What is not even text is no id either.
    let text = id.as_ref().map_or("", |Path(id)| id.as_str());
    // Verbs, which change events, share the route.
    if text.contains(':') {
        let problem = Problem::of(codes::METHOD_NOT_ALLOWED, "verbs change things: call them with POST");
        let mut response = problem.into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let id = match event_id(text) {
        Ok(id) => id,
        Err(problem) => return problem.into_response(),
    };
    match intake.shown(id).await {
        Ok(Some(body)) => {
            let mut response = (StatusCode::OK, body).into_response();
            json(&mut response);
            response
        }
        Ok(None) => super::no_event(intake.known_since()).into_response(),
        Err(problem) => problem.into_response(),
    }
}

/// The id that stands in a path.
///
/// # Errors
/// The problem of a text that is no id.
pub(crate) fn event_id(text: &str) -> Result<EventId, BoxedProblem> {
    let rule = "the last part of the path must be an event id as in the receipt, such as \
                0198c4f0-5f3a-7c00-8000-000000000001";
    text.parse().map_err(|_| refused(codes::INVALID_ID, rule))
}

/// The whole body of an ordinary request, within its bounds, and the place of a large one among the few that
/// may be there at once.
async fn read_all<'i>(
    intake: &'i Intake,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Bytes, Option<SemaphorePermit<'i>>), BoxedProblem> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    // Refused by what it announces, before any of it is read.
    if announced.is_some_and(|length| length > MAX_LIST_BYTES as u64) {
        return Err(too_large(MAX_LIST_BYTES));
    }
    let mut large = None;
    let mut whole = BytesMut::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| broken_body(&error))?;
        // A small body mostly comes in one piece, which is passed on without a copy.
        if whole.is_empty() && announced == Some(piece.len() as u64) {
            return Ok((piece, large));
        }
        if whole.len() + piece.len() > MAX_LIST_BYTES {
            return Err(too_large(MAX_LIST_BYTES));
        }
        // A place is taken for what has come and not for what is announced: a client that sends nothing must block none
        // of the few.
        if large.is_none() && whole.len() + piece.len() > MAX_EVENT_BYTES {
            large = Some(intake.reserve_large().await?);
        }
        whole.extend_from_slice(&piece);
    }
    Ok((whole.freeze(), large))
}

fn broken_body(error: &axum::Error) -> BoxedProblem {
    Box::new(match BodyFault::of(error) {
        BodyFault::TooSlow => ndjson::body_timeout(),
        BodyFault::TooLarge | BodyFault::Incomplete => ndjson::incomplete_body(),
    })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, BoxedProblem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let (first, second) = (values.next(), values.next());
    match (first.map(HeaderValue::to_str), second) {
        (None, _) => Ok(None),
        (Some(Ok(key)), None) => Ok(Some(key)),
        _ => Err(bad_key("send one Idempotency-Key header of visible ASCII")),
    }
}

fn refused(code: Code, detail: impl Into<String>) -> BoxedProblem {
    Box::new(Problem::of(code, detail))
}

fn bad_key(rule: &'static str) -> BoxedProblem {
    refused(codes::INVALID_IDEMPOTENCY_KEY, rule)
}

fn too_large(most: usize) -> BoxedProblem {
    let detail = format!("at most {most} bytes are taken here; use application/x-ndjson for many events");
    refused(codes::PAYLOAD_TOO_LARGE, detail)
}

fn json(response: &mut Response) {
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
}
