//! `GET /v1/dead-letters:export` and `POST /v1/dead-letters:import`: letters as lines of JSON, whole, with headers and bodies.
//!
//! Must not know: where the lines are kept.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Uri, header};
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use super::filter::{Filter, PARAMETERS};
use super::remake::not_at_the_door;
use super::{DeadDesk, PIECE_BYTES, doc, store_problem, whole_millis};
use crate::event::LaneKey;
use crate::ops::body::invalid;
use crate::ops::desk::{OpsAnswer, json, respond};
use crate::ops::query::Parameters;
use crate::problem::{BodyFault, Problem, codes, is_encoded, media_type, read_whole};
use crate::queue::{Imported, QueueError};
use crate::store::{DeadLetter, LetterOrder, LetterPlace, MAX_RECORD_BYTES, ReadLimit, record};

const NDJSON: &str = "application/x-ndjson";
/// Letters of one piece of the stream, and lines and bytes of one request that are taken.
const EXPORTED_AT_ONCE: ReadLimit = ReadLimit { entries: 256, bytes: PIECE_BYTES };
const MAX_LINES: usize = 1_000;
const MAX_BYTES: usize = 8 << 20;

/// A letter as a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LetterLine {
    /// The id of its entry, by which it is recognised.
    id: String,
    /// The id by which the event is known, for people.
    event: String,
    lane: String,
    /// For people: what is imported is parked anew.
    parked_at: String,
    attempts: u16,
    reason: String,
    /// The record as the store has it, in Base64.
    record: String,
}

/// What became of the lines of a request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLettersImported)]
pub(in crate::ops) struct ImportedBody {
    /// Letters that were added.
    added: u64,
    /// Letters that are here, or whose event lives on or was redriven since.
    known: u64,
}

/// Export dead letters
///
/// One JSON object a line, oldest first, of all letters to which the filter applies: whole, with the headers and bodies of
/// their events, and so with the credentials in them.
#[utoipa::path(
    get, path = "/v1/dead-letters:export", tag = "dead letters", operation_id = "export_dead_letters",
    params(
        ("policy" = Option<String>, Query, description = "A policy that governed the event."),
        ("reason" = Option<String>, Query, description = "Why it was parked, or the part before the colon."),
        ("status" = Option<u16>, Query, minimum = 100, maximum = 599, description = "The HTTP status of the last attempt."),
        ("host" = Option<String>, Query, description = "The host of the URL, with or without its port."),
        ("after" = Option<String>, Query, format = DateTime, description = "Parked at this moment or later."),
        ("before" = Option<String>, Query, format = DateTime, description = "Parked before this moment."),
        ("labels" = inline(Option<crate::ops::doc::LabelParameters>), Query, style = Form, explode, description = "Labels of the \
            event, each a parameter of its own: `label.org=ACME`."),
    ),
    responses(
        (status = 200, description = "The letters.", content((String = "application/x-ndjson", example = json!(doc::lines())))),
        doc::Export,
    ),
)]
pub(in crate::ops) async fn export(State(desk): State<DeadDesk>, uri: Uri) -> Response {
    respond(exported(&desk, &uri))
}

/// Import dead letters
///
/// Lines of an export, at most 1 000 and 8 MiB. A letter that is here, or whose event lives on or was redriven since, is passed
/// over, so that a repetition does nothing. What is added is parked at this moment, and kept for the whole time from now on.
#[utoipa::path(
    post, path = "/v1/dead-letters:import", tag = "dead letters", operation_id = "import_dead_letters",
    request_body(content = String, content_type = "application/x-ndjson", example = json!(doc::lines())),
    responses(
        (status = 200, description = "They are here.", body = ImportedBody, example = json!({"added": 1, "known": 0})),
        doc::Import,
    ),
)]
pub(in crate::ops) async fn import(State(desk): State<DeadDesk>, headers: HeaderMap, body: Body) -> Response {
    respond(imported(&desk, &headers, body).await)
}

/// Where an export has come to.
struct Exported {
    desk: DeadDesk,
    filter: Filter,
    /// Behind which it goes on.
    after: Option<LetterPlace>,
    /// The last page was read.
    is_over: bool,
}

impl Exported {
    /// The next piece; an error breaks the answer off, so that nobody takes a part for the whole.
    async fn piece(mut self) -> Result<Option<(Bytes, Self)>, QueueError> {
        while !self.is_over {
            let page = self.desk.parked.page(LetterOrder::OldestFirst, self.after, EXPORTED_AT_ONCE).await?;
            let wanted = page.letters.iter().map(|placed| &placed.letter);
            let lines: Vec<u8> = wanted.filter(|letter| self.filter.wants(letter)).flat_map(line).collect();
            (self.after, self.is_over) = (page.next, page.next.is_none());
            if !lines.is_empty() {
                return Ok(Some((lines.into(), self)));
            }
        }
        Ok(None)
    }
}

fn line(letter: &DeadLetter) -> Vec<u8> {
    let line = LetterLine {
        id: letter.id.to_string(),
        event: letter.name().to_string(),
        lane: letter.lane.as_str().to_owned(),
        parked_at: letter.at.to_string(),
        attempts: letter.attempts,
        reason: letter.reason.clone(),
        record: STANDARD.encode(&letter.record),
    };
    // Texts and numbers always serialise.
    let mut line = serde_json::to_vec(&line).unwrap_or_default();
    line.push(b'\n');
    line
}

fn exported(desk: &DeadDesk, uri: &Uri) -> OpsAnswer {
    let parameters = Parameters::read(uri, &PARAMETERS, &["label."])?;
    let filter = Filter::of_query(&parameters, crate::ops::query::invalid)?;
    let begun = Exported { desk: desk.clone(), filter, after: None, is_over: false };
    let mut response = Body::from_stream(stream::try_unfold(begun, Exported::piece)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn imported(desk: &DeadDesk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    if is_encoded(headers) {
        let rule = "send the body without Content-Encoding";
        return Err(Box::new(Problem::of(codes::UNSUPPORTED_ENCODING, rule)));
    }
    if media_type(headers).as_deref() != Some(NDJSON) {
        let rule = "Content-Type must be application/x-ndjson: lines of an export";
        return Err(Box::new(Problem::of(codes::UNSUPPORTED_MEDIA_TYPE, rule)));
    }
    let body = read_whole(body, MAX_BYTES).await.map_err(not_read)?;
    let now = whole_millis(desk.clock.now());
    let lines = body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let (numbers, letters): (Vec<usize>, Vec<DeadLetter>) = lines
        .map(|(at, line)| read(at + 1, line, now).map(|letter| (at + 1, letter)))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .unzip();
    if letters.len() > MAX_LINES {
        let rule =
            format!("has {} lines, at most {MAX_LINES} are taken; send several requests", letters.len());
        return Err(invalid("", rule));
    }
    let count = letters.len() as u64;
    let mut turn = desk.parked.turn().await.map_err(|error| store_problem(&error))?;
    let added = match turn.import(letters).await.map_err(|error| store_problem(&error))? {
        Imported::Added(added) => added,
        Imported::Twin(at) => {
            let rule = "event and the number of its redrives must not be those of a letter of another id; redrive or purge \
                        that one first";
            return Err(wrong(numbers.get(at).copied().unwrap_or_default(), rule.to_owned()));
        }
    };
    info!(added, known = count - added, "dead letters imported");
    Ok(json(&ImportedBody { added, known: count - added }, None))
}

/// A line breaks this rule.
fn wrong(number: usize, rule: String) -> Box<Problem> {
    let detail = format!("line {number}: {rule}; nothing of the request was added");
    Box::new(Problem::of(codes::INVALID_REQUEST, detail).field(format!("/{number}"), rule))
}

/// The letter of a line.
fn read(number: usize, line: &[u8], now: crate::clock::Timestamp) -> Result<DeadLetter, Box<Problem>> {
    let wrong = |rule| wrong(number, rule);
    let line: LetterLine = serde_json::from_slice(line)
        .map_err(|error| wrong(format!("must be a line of an export: {error}")))?;
    let id = line.id.parse().map_err(|_| wrong("id must be that of an event".to_owned()))?;
    let lane = LaneKey::new(&line.lane).map_err(|_| wrong("lane must be the name of a lane".to_owned()))?;
    let record = STANDARD.decode(&line.record).ok().filter(|record| record.len() <= MAX_RECORD_BYTES);
    let record: Bytes = record
        .ok_or_else(|| wrong(format!("record must be Base64 of at most {MAX_RECORD_BYTES} bytes")))?
        .into();
    // One that does not decode may be of a newer version: it is kept, and never sent by this one.
    if let Ok(event) = record::decode(&record) {
        not_at_the_door(&event).map_err(|rule| wrong(format!("record is none of the store: {rule}")))?;
        if event.redriven.is_some_and(|redriven| redriven.count == 0) {
            return Err(wrong("record is none of the store: redrives are counted from 1".to_owned()));
        }
    }
    Ok(DeadLetter { id, lane, at: now, attempts: line.attempts, reason: line.reason, record })
}

fn not_read(fault: BodyFault) -> Box<Problem> {
    let detail = match fault {
        BodyFault::TooLarge => format!("at most {MAX_BYTES} bytes are taken here; send several requests"),
        BodyFault::TooSlow => "the body stopped coming; nothing was added".to_owned(),
        BodyFault::Incomplete => "the body broke off before its end; nothing was added".to_owned(),
    };
    Box::new(Problem::of(fault.code(), detail))
}
