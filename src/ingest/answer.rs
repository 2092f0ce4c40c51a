//! How the doors answer: the receipt of one event, one line per event of a batch, the state of an event.
//!
//! Must not know: how events arrive.

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::event::{AttemptDetail, EventId, LaneKey, Redriven};
use crate::ingest::ended::EndBody;
use crate::ingest::intake::{IntakeAnswer, Receipt};
use crate::ingest::prospects::AboutPolicies;
use crate::ingest::route::EndpointOf;
use crate::ingest::tried::{AttemptBody, attempts_at};
use crate::limit::Forecast;
use crate::policy::Runtime;
use crate::problem::{About, FieldError, Problem};
use crate::queue::{Standing, WaitingEntry};
use crate::telemetry::defect;

/// The receipt of a durable event.
#[derive(Serialize, ToSchema)]
#[schema(as = Receipt)]
pub(super) struct ReceiptBody<'a> {
    #[schema(format = "uuid")]
    id: String,
    /// Ids of the policies that govern the event; empty when it is sent without limits.
    policies: Vec<&'a str>,
    /// Key of the lane in which it waits.
    lane: &'a str,
    /// `null` when it may go at once.
    #[schema(required, format = DateTime)]
    due_at: Option<String>,
    #[schema(format = DateTime)]
    expires_at: String,
    forecast: ForecastBody,
    /// The same key and content came before: this is the first event's receipt. Left out otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// When it is expected to start at the present limits; null while it is held without an end.
#[derive(Serialize, ToSchema)]
#[schema(as = Forecast)]
struct ForecastBody {
    #[schema(required, format = DateTime)]
    starts_at: Option<String>,
    /// Whether it would outlive its time before.
    expires_first: bool,
}

/// One event of several that is durable.
#[derive(Serialize, ToSchema)]
pub(super) struct AcceptedLine<'a> {
    /// Number of the line, or of the member of the list, counted from 1.
    #[schema(minimum = 1)]
    line: u64,
    #[schema(minimum = 202, maximum = 202)]
    status: u16,
    #[schema(format = "uuid")]
    id: &'a str,
    forecast: ForecastBody,
    /// Left out unless it is true.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// One event of several that was refused.
#[derive(Serialize, ToSchema)]
pub(super) struct RefusedLine<'a> {
    /// Number of the line, or of the member of the list, counted from 1.
    #[schema(minimum = 1)]
    line: u64,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The stable code of the error, the same as in a problem document.
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    retry_after_seconds: Option<u64>,
    #[serde(flatten)]
    about: &'a About,
}

/// Where an event stands and, until it has ended, what it is and when it may go.
#[derive(Serialize, ToSchema)]
#[schema(as = EventState)]
pub(crate) struct StateBody<'a> {
    #[schema(format = "uuid")]
    id: String,
    /// One of `ready`, `delayed`, `inflight` and `settled`.
    state: &'static str,
    /// How it ended, unless that is so long ago that only the fact is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<&'static str>,
    #[serde(flatten)]
    why: Option<EndBody>,
    #[serde(flatten)]
    waiting: Option<WaitingBody<'a>>,
    /// The last attempts, the newest first, of an event that had a failure; asked for by its id alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_attempts: Option<Vec<AttemptBody>>,
    /// The last redrive, of an event that was a dead letter; kept for a while after its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    redriven: Option<EventRedrivenBody<'a>>,
}

/// Of an event that has not ended.
#[derive(Serialize, ToSchema)]
#[schema(as = WaitingEvent)]
struct WaitingBody<'a> {
    lane: &'a str,
    /// `high`, `normal` or `low`.
    priority: &'static str,
    /// Without the tries that cost none.
    attempts: u16,
    #[schema(required, format = DateTime)]
    due_at: Option<String>,
    #[schema(format = DateTime)]
    expires_at: String,
    method: &'a str,
    /// The URL of the call without its query.
    url: &'a str,
    /// The `[[endpoint]]` block that rules its calls; null where the settings for all calls hold.
    #[schema(required)]
    endpoint: Option<String>,
}

/// The last redrive of an event.
#[derive(Serialize, ToSchema)]
#[schema(as = EventRedriven)]
struct EventRedrivenBody<'a> {
    /// How many redrives there were.
    count: u16,
    #[schema(format = DateTime)]
    at: String,
    /// Who asked for it, in words of their own; empty when they did not say.
    by: &'a str,
    /// The URL to which it went before, without its query; null when it is the same.
    #[schema(required)]
    from_url: Option<&'a str>,
}

fn date(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// The receipt of one event. `due_at` is null for an event that may go at once.
pub(super) fn receipt(receipt: &Receipt) -> Vec<u8> {
    json(&ReceiptBody {
        id: receipt.id.to_string(),
        policies: receipt.lane.policies().iter().map(|part| part.policy.as_str()).collect(),
        lane: receipt.lane.key().as_str(),
        due_at: date(receipt.due_at),
        expires_at: receipt.expires_at.to_string(),
        forecast: forecast(receipt.forecast),
        duplicate: receipt.duplicate,
    })
}

fn forecast(forecast: Forecast) -> ForecastBody {
    ForecastBody { starts_at: date(forecast.starts_at), expires_first: forecast.expires_first }
}

impl<'a> StateBody<'a> {
    /// The state of an event, without its body, headers and query; `None` when it is unknown.
    pub(crate) fn of(
        id: EventId,
        standing: &'a Standing,
        runtime: &Runtime,
        about: &AboutPolicies,
        endpoint_of: &EndpointOf,
    ) -> Option<Self> {
        let state = standing.word()?;
        let known = match standing {
            Standing::Settled(known) => known.as_ref(),
            _ => None,
        };
        Some(Self {
            id: id.to_string(),
            state,
            outcome: known.map(|known| known.end.word()),
            why: known.map(|known| EndBody::of(known, runtime, about)),
            waiting: standing.waiting().map(|waiting| waiting_body(waiting, endpoint_of)),
            last_attempts: None,
            redriven: standing
                .waiting()
                .and_then(|waiting| waiting.event.redriven.as_deref())
                .map(redriven_body),
        })
    }

    /// The same with what is kept of the attempts.
    fn with_attempts(self, standing: &Standing, details: Vec<AttemptDetail>) -> Self {
        Self { last_attempts: attempts_at(standing, details), ..self }
    }

    /// The same of an event that has ended and of which this redrive is on record.
    pub(crate) fn with_redrive(mut self, last: Option<&'a Redriven>) -> Self {
        self.redriven = self.redriven.or_else(|| last.map(redriven_body));
        self
    }
}

/// The same as JSON.
pub(super) fn state(
    id: EventId,
    standing: &Standing,
    runtime: &Runtime,
    about: &AboutPolicies,
    endpoint_of: &EndpointOf,
    last: Option<&Redriven>,
    tried: Vec<AttemptDetail>,
) -> Option<Vec<u8>> {
    let body = StateBody::of(id, standing, runtime, about, endpoint_of)?;
    Some(json(&body.with_redrive(last).with_attempts(standing, tried)))
}

fn waiting_body<'w>(waiting: &'w WaitingEntry, endpoint_of: &EndpointOf) -> WaitingBody<'w> {
    let lane: &LaneKey = &waiting.lane;
    WaitingBody {
        lane: lane.as_str(),
        priority: lane.priority().word(),
        attempts: waiting.attempts,
        due_at: date(waiting.due_at),
        expires_at: waiting.event.expires_at.to_string(),
        method: waiting.event.method.as_str(),
        url: waiting.event.url.without_query(),
        endpoint: endpoint_of(&waiting.event.url),
    }
}

fn redriven_body(redriven: &Redriven) -> EventRedrivenBody<'_> {
    EventRedrivenBody {
        count: redriven.count,
        at: redriven.at.to_string(),
        by: &redriven.by,
        from_url: redriven.from_url.as_deref(),
    }
}

/// Appends what is answered for the event of one line, without a line end.
pub(super) fn line(out: &mut Vec<u8>, line: u64, verdict: &IntakeAnswer) {
    match verdict {
        Ok(receipt) => {
            // Encoded on the stack: a text for each line of a large batch would be an allocation each.
            let mut buffer = uuid::Uuid::encode_buffer();
            let id = uuid::Uuid::from_bytes(receipt.id.to_bytes()).hyphenated().encode_lower(&mut buffer);
            append(
                out,
                &AcceptedLine {
                    line,
                    status: 202,
                    id,
                    forecast: forecast(receipt.forecast),
                    duplicate: receipt.duplicate,
                },
            );
        }
        Err(problem) => refused_line(out, line, problem),
    }
}

/// Appends the refusal of one line, without a line end.
pub(super) fn refused_line(out: &mut Vec<u8>, line: u64, problem: &Problem) {
    append(
        out,
        &RefusedLine {
            line,
            status: problem.status,
            code: problem.code,
            detail: &problem.detail,
            errors: &problem.errors,
            retry_after_seconds: problem.retry_after_seconds,
            about: &problem.about,
        },
    );
}

/// A JSON list with one member per event, numbered from 1.
pub(super) fn list(verdicts: &[IntakeAnswer]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + verdicts.len() * 80);
    out.push(b'[');
    for (number, verdict) in (1..).zip(verdicts) {
        if number > 1 {
            out.push(b',');
        }
        line(&mut out, number, verdict);
    }
    out.push(b']');
    out
}

/// One JSON object per event, each ended by a line feed; numbers are those of the lines.
pub(super) fn lines<'v>(verdicts: impl Iterator<Item = (u64, &'v IntakeAnswer)>) -> Bytes {
    let mut out = Vec::with_capacity(verdicts.size_hint().0 * 80);
    for (number, verdict) in verdicts {
        line(&mut out, number, verdict);
        out.push(b'\n');
    }
    Bytes::from(out)
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    // Structs of texts and numbers always serialise.
    serde_json::to_vec(value).unwrap_or_else(|_| {
        defect!("an answer to an event that does not serialise");
        Vec::new()
    })
}

fn append<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    // As above, and a vector always takes what is written to it.
    let written = serde_json::to_writer(out, value);
    defect!(unless written.is_ok(), "a line of an answer that does not serialise");
}
