//! `GET /v1/outcomes`: how events ended, as lines of JSON in the order in which that became durable. A request waits for the
//! next one if it is asked to.
//!
//! Must not know: how ends are kept.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, Uri, header};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::event::PolicyId;
use crate::ops::desk::{OpsAnswer, respond, shutting_down};
use crate::ops::query::{Parameters, cursor_after, invalid};
use crate::problem::doc::refuses;
use crate::problem::{About, Problem, codes};
use crate::store::{EndLog, EndPlace, EndRecord, EndsRead, StoreError};

const PARAMETERS: [&str; 5] = ["after", "limit", "wait_seconds", "policy", "result"];
/// The words of `result`.
const RESULTS: [&str; 6] = ["delivered", "dead", "expired", "config_drained", "cancelled", "lost"];
/// In place of a cursor: behind the newest end.
const NOW: &str = "now";
/// The longest wait: connections are not held for ever.
const MAX_WAIT_SECONDS: u64 = 60;
/// Ends of one read, and reads of one request that find none of those that are meant.
const READ_AT_ONCE: usize = 1_000;
const READS: usize = 10;
/// Behind the part of a cursor that tells its log.
const SEPARATOR: char = '.';

/// What the feed looks at.
#[derive(Clone)]
pub(crate) struct OutcomeDesk {
    /// The ends that are kept.
    pub ends: Arc<dyn EndLog>,
    /// How long looks take.
    pub clock: Clock,
    /// Cancelled when the daemon stops: nobody waits any longer.
    pub closing: CancellationToken,
}

/// How one event ended. A member of which nothing is known is left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Outcome)]
pub(crate) struct OutcomeLine {
    /// The id of the receipt; of an event that was redriven that of its last redrive.
    id: String,
    /// One of `delivered`, `dead`, `expired`, `config_drained`, `cancelled` and `lost`.
    result: &'static str,
    /// Why, of a closed set; an HTTP status as `http_404`.
    reason: String,
    /// The status of the last answer of the endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    /// The attempts that counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    attempts: Option<u16>,
    /// The policies that governed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    policies: Option<Vec<String>>,
    #[schema(format = DateTime)]
    accepted_at: String,
    /// When its end became durable.
    #[schema(format = DateTime)]
    ended_at: String,
    /// The place behind it, for `after`.
    cursor: String,
}

impl OutcomeLine {
    /// Of one end, at the place behind it.
    pub(crate) fn of(behind: EndPlace, end: &EndRecord) -> Self {
        let names =
            |text: &Arc<str>| text.split('+').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Self {
            id: end.id.to_string(),
            result: end.why.reason.outcome(),
            reason: end.why.reason.word(),
            status: end.why.status,
            attempts: end.attempts,
            policies: end.policies.as_ref().map(names),
            accepted_at: end.id.accepted_at().to_string(),
            ended_at: end.ended_at.to_string(),
            cursor: cursor(behind),
        }
    }
}

refuses! {
    /// What `GET /v1/outcomes` may be refused with.
    Outcomes: INVALID_PARAMETER CURSOR_GONE STORAGE_ERROR SHUTTING_DOWN;
}

/// The route `/v1/outcomes`, to be merged into the others.
pub(crate) fn outcome_routes(desk: OutcomeDesk) -> Router {
    Router::new().route("/v1/outcomes", get(outcomes)).with_state(desk)
}

/// Follow the ends of events
///
/// One JSON object a line, in the order in which the ends became durable, every end from the cursor on: each line has the
/// cursor behind it, and `Link` names the request that goes on, on an empty answer too. Cursors hold over restarts and
/// crashes. With `wait_seconds` an answer that would be empty waits for the next end. A cursor older than the ends that are
/// kept is answered with 410 and `known_since`.
#[utoipa::path(
    get, path = "/v1/outcomes", tag = "events", operation_id = "follow_outcomes",
    params(
        ("after" = Option<String>, Query, description = "The cursor of a line, or `now` for ends to come. From the oldest one \
            kept when missing."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Lines of the answer; 100 when missing."),
        ("wait_seconds" = Option<u64>, Query, minimum = 0, maximum = 60, description = "How long to wait for the next one; 0 when \
            missing."),
        ("policy" = Option<String>, Query, description = "Ends of events that this policy governed alone; an answer may be empty \
            and lead on."),
        ("result" = Option<String>, Query, description = "Ends with this result alone; an answer may be empty and lead on."),
    ),
    responses(
        (status = 200, description = "Ends in their order.",
            headers(("Link" = String, description = "Where to go on, with `rel=\"next\"`; always there.")),
            content((String = "application/x-ndjson", example = json!(lines())))),
        Outcomes,
    ),
)]
pub(in crate::ops) async fn outcomes(State(desk): State<OutcomeDesk>, uri: Uri) -> Response {
    respond(desk.answer(&uri).await)
}

/// An outcome, for the description.
pub(in crate::ops) fn example() -> Value {
    json!({
        "id": "0198c4f0-5f3a-7c00-8000-000000000001",
        "result": "dead",
        "reason": "http_404",
        "status": 404,
        "attempts": 1,
        "policies": ["orders"],
        "accepted_at": "2030-01-31T08:00:00.123Z",
        "ended_at": "2030-01-31T08:00:00.342Z",
        "cursor": "PjFmLjJh",
    })
}

fn lines() -> String {
    format!("{}\n", example())
}

/// Which ends are meant.
struct Meant {
    policy: Option<PolicyId>,
    result: Option<&'static str>,
}

impl Meant {
    fn of(parameters: &Parameters) -> Result<Self, Box<Problem>> {
        let policy = parameters.get("policy").map(PolicyId::parse).transpose();
        let policy = policy.map_err(|error| invalid("policy", format!("must be the id of one: {error}")))?;
        let word = |text| {
            let known = RESULTS.into_iter().find(|word| *word == text);
            known.ok_or_else(|| invalid("result", format!("must be one of {}", RESULTS.join(", "))))
        };
        let result = parameters.get("result").map(word).transpose()?;
        Ok(Self { policy, result })
    }

    fn wants(&self, end: &EndRecord) -> bool {
        let is_of = |policy: &PolicyId| {
            let names = end.policies.as_deref().unwrap_or_default();
            names.split('+').any(|name| name == policy.as_str())
        };
        self.policy.as_ref().is_none_or(is_of)
            && self.result.is_none_or(|result| end.why.reason.outcome() == result)
    }
}

/// Lines and where to go on.
struct Found {
    lines: Vec<u8>,
    next: EndPlace,
}

impl OutcomeDesk {
    async fn answer(&self, uri: &Uri) -> OpsAnswer {
        let parameters = Parameters::read(uri, &PARAMETERS, &[])?;
        let (meant, most) = (Meant::of(&parameters)?, parameters.page("limit")?);
        let wait = wait(&parameters)?;
        let mut from = match parameters.get("after") {
            Some(NOW) => Some(self.ends.kept().next),
            Some(_) => parameters.cursor("after")?.map(|text| place(&text)).transpose()?,
            None => None,
        };
        if wait.is_zero() {
            return Ok(shown(uri, self.find(from, &meant, most).await?));
        }
        let found = tokio::time::timeout(wait, async {
            loop {
                // Before the look: an end in between is not missed.
                let mut grown = self.ends.grown();
                let begun = self.clock.now();
                let found = self.find(from, &meant, most).await?;
                if !found.lines.is_empty() {
                    return Ok::<_, Box<Problem>>(found);
                }
                from = Some(found.next);
                if self.ends.kept().next == found.next {
                    // It ends only with the store.
                    let _ = grown.changed().await;
                } else {
                    // As long as it has looked: a search of very much leaves half of the time to others.
                    tokio::time::sleep(self.clock.now().since(begun)).await;
                }
            }
        });
        let found = tokio::select! {
            found = found => found,
            () = self.closing.cancelled() => {
                return Err(shutting_down());
            }
        };
        let found = match found {
            Ok(found) => found?,
            // What was read when the time was over is read once more.
            Err(_) => self.find(from, &meant, most).await?,
        };
        Ok(shown(uri, found))
    }

    /// The ends that are meant from a place on; after some reads without any it is left to the next request.
    async fn find(
        &self,
        mut from: Option<EndPlace>,
        meant: &Meant,
        most: usize,
    ) -> Result<Found, Box<Problem>> {
        let mut found = Found { lines: Vec::new(), next: from.unwrap_or_else(|| self.ends.kept().first) };
        let mut count = 0;
        for _ in 0..READS {
            let read = self.ends.read(from, READ_AT_ONCE).await.map_err(|error| failed(&error))?;
            let EndsRead::Page(page) = read else { return Err(self.gone()) };
            if page.ends.is_empty() && page.next == found.next {
                break;
            }
            found.next = page.next;
            for (behind, end) in page.ends {
                if meant.wants(&end) {
                    // Texts and numbers always serialise.
                    found
                        .lines
                        .extend(serde_json::to_vec(&OutcomeLine::of(behind, &end)).unwrap_or_default());
                    found.lines.push(b'\n');
                    count += 1;
                }
                if count == most {
                    found.next = behind;
                    return Ok(found);
                }
            }
            if count > 0 {
                break;
            }
            from = Some(found.next);
        }
        Ok(found)
    }

    /// The place is older than what is kept, or of another log.
    fn gone(&self) -> Box<Problem> {
        let kept = self.ends.kept();
        let known_since = kept.known_since.map(|since| since.to_string());
        let since = known_since.as_ref().map_or_else(
            || "the cursor is of another data directory".to_owned(),
            |since| {
                format!(
                    "every end since {since} is kept, and the cursor is older or of another data directory"
                )
            },
        );
        let go_on = format!("/v1/outcomes?after={}", cursor(kept.first));
        let detail =
            format!("{since}; go on with GET {go_on}, and look up by their ids the events that you miss");
        Box::new(Problem::of(codes::CURSOR_GONE, detail).about(About {
            known_since,
            go_on: Some(go_on),
            ..About::default()
        }))
    }
}

fn wait(parameters: &Parameters) -> Result<Duration, Box<Problem>> {
    let Some(text) = parameters.get("wait_seconds") else { return Ok(Duration::ZERO) };
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|seconds| is_plain && *seconds <= MAX_WAIT_SECONDS);
    let rule = || invalid("wait_seconds", format!("must be a number from 0 to {MAX_WAIT_SECONDS}"));
    seconds.map(Duration::from_secs).ok_or_else(rule)
}

/// The text of a place.
pub(crate) fn cursor(place: EndPlace) -> String {
    cursor_after(&format!("{:x}{SEPARATOR}{:x}", place.log, place.number))
}

fn place(text: &str) -> Result<EndPlace, Box<Problem>> {
    let read = || {
        let (log, number) = text.split_once(SEPARATOR)?;
        let part = |text| u64::from_str_radix(text, 16).ok();
        Some(EndPlace { log: part(log)?, number: part(number)? })
    };
    read().ok_or_else(|| invalid("after", "must be a cursor as a line or a Link header gave it".to_owned()))
}

fn shown(uri: &Uri, found: Found) -> Response {
    let mut response = found.lines.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let others = uri.query().into_iter().flat_map(|query| query.split('&'));
    let others = others.filter(|pair| !pair.is_empty() && !pair.starts_with("after="));
    let after = format!("after={}", cursor(found.next));
    let query: Vec<&str> = others.chain([after.as_str()]).collect();
    // A query that was parsed has no characters that a header may not have.
    if let Ok(link) = HeaderValue::try_from(format!("</v1/outcomes?{}>; rel=\"next\"", query.join("&"))) {
        headers.insert(header::LINK, link);
    }
    response
}

fn failed(error: &StoreError) -> Box<Problem> {
    if matches!(error, StoreError::Closed) {
        return shutting_down();
    }
    tracing::warn!(%error, "ends of events could not be read");
    let detail = "the ends of events cannot be read at present; ask again with the same cursor";
    Box::new(Problem::of(codes::STORAGE_ERROR, detail).retry_after(10))
}

#[cfg(test)]
mod tests;
