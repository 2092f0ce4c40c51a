//! `POST /v1/events:cancel`, `:delay` and `:send-now`: the changes of many events. Without `confirm` those that are meant
//! are counted; with the confirmation of that answer a run begins, whose progress `/v1/event-changes/{id}` shows.
//!
//! Must not know: how a run is carried out.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ops::body::{invalid, missing, read};
use crate::ops::desk::{Desk, OpsAnswer, json as answer, respond};
use crate::ops::doc::BulkVerb;
use crate::ops::events::confirmation::{CONFIRMED_WITHIN, Confirmation};
use crate::ops::events::filter::{Filter, Given};
use crate::ops::events::progress::RunBody;
use crate::ops::events::{DelayRequest, doc, length, unreadable, word};
use crate::problem::{Problem, codes};
use crate::queue::Change;

/// The states in which an event can be changed.
const STATES: [&str; 2] = ["ready", "delayed"];
/// How long a request counts; what is left is not counted then.
const COUNT_WITHIN: Duration = Duration::from_secs(30);
/// Events that are found in one step of a count.
const COUNTED_AT_ONCE: usize = 10_000;

/// Which events are meant: all of what is there has to hold, and something has to be there.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BulkRequest {
    /// A policy that governs them.
    #[schema(required = false, value_type = String)]
    policy: Option<Value>,
    /// `ready` or `delayed`.
    #[schema(required = false, value_type = String)]
    state: Option<Value>,
    /// `high`, `normal` or `low`.
    #[schema(required = false, value_type = String)]
    priority: Option<Value>,
    /// Labels that they have, those that the configuration gives to all events included.
    #[schema(required = false, value_type = BTreeMap<String, String>)]
    labels: Option<Value>,
    /// How their URL begins, without its query.
    #[schema(required = false, value_type = String)]
    url_prefix: Option<Value>,
    /// They were accepted later.
    #[schema(required = false, value_type = String, format = "date-time")]
    accepted_after: Option<Value>,
    /// The confirmation that the count answered; without it they are counted.
    #[schema(required = false, value_type = String)]
    confirm: Option<Value>,
}

/// The same, and when they are to be due: exactly one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BulkDelayRequest {
    /// A policy that governs them.
    #[schema(required = false, value_type = String)]
    policy: Option<Value>,
    /// `ready` or `delayed`.
    #[schema(required = false, value_type = String)]
    state: Option<Value>,
    /// `high`, `normal` or `low`.
    #[schema(required = false, value_type = String)]
    priority: Option<Value>,
    /// Labels that they have, those that the configuration gives to all events included.
    #[schema(required = false, value_type = BTreeMap<String, String>)]
    labels: Option<Value>,
    /// How their URL begins, without its query.
    #[schema(required = false, value_type = String)]
    url_prefix: Option<Value>,
    /// They were accepted later.
    #[schema(required = false, value_type = String, format = "date-time")]
    accepted_after: Option<Value>,
    /// The confirmation that the count answered; without it they are counted.
    #[schema(required = false, value_type = String)]
    confirm: Option<Value>,
    /// Those whose life ends before are left alone.
    #[schema(required = false, value_type = String, format = "date-time")]
    due_at: Option<Value>,
    /// From the beginning of the run on.
    #[schema(required = false, value_type = f64, minimum = 0)]
    delay_seconds: Option<Value>,
}

/// How many events are meant.
#[derive(Serialize, ToSchema)]
#[schema(as = EventCount)]
struct CountBody {
    matched: u64,
    /// Counting took too long: there may be more.
    at_least: bool,
    /// Events that were passed over because they cannot be read at present.
    unread: u64,
    /// To be sent as `confirm` with the same members.
    confirm: String,
    /// Until when the confirmation holds. Events that are accepted after the count are not changed.
    #[schema(format = DateTime)]
    confirm_until: String,
}

/// The changes of many events.
pub(super) fn routes() -> Router<Desk> {
    Router::new()
        .route(
            "/v1/events:cancel",
            post(async |State(desk): State<Desk>, headers: HeaderMap, body: Body| {
                respond(cancel(&desk, &headers, body).await)
            }),
        )
        .route(
            "/v1/events:delay",
            post(async |State(desk): State<Desk>, headers: HeaderMap, body: Body| {
                respond(delay(&desk, &headers, body).await)
            }),
        )
        .route(
            "/v1/events:send-now",
            post(async |State(desk): State<Desk>, headers: HeaderMap, body: Body| {
                respond(send_now(&desk, &headers, body).await)
            }),
        )
}

/// Cancel many events
///
/// Without `confirm` it counts those that wait and are meant. With the confirmation of that answer a run begins that cancels
/// them, in small batches; see `/v1/event-changes/{id}`. Calls under way are left alone.
#[utoipa::path(
    post, path = "/v1/events:cancel", tag = "events", operation_id = "cancel_events",
    request_body(content = BulkRequest, example = json!(doc::meant())),
    responses(
        (status = 200, description = "They are counted.", body = CountBody, example = json!(doc::counted())),
        (status = 202, description = "The run has begun.",
            headers(("Location" = String, description = "Where its progress can be looked up.")),
            body = RunBody, example = json!(doc::run("cancel"))),
        BulkVerb,
    ),
)]
pub(in crate::ops) async fn cancel(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    bulk(desk, Meant::from(read::<BulkRequest>(headers, body).await?), Change::Cancel, "").await
}

/// Send many events ahead of their turn
///
/// As `/v1/events:cancel`; each goes before all in its lane that were accepted later, within every limit.
#[utoipa::path(
    post, path = "/v1/events:send-now", tag = "events", operation_id = "send_events_now",
    request_body(content = BulkRequest, example = json!(doc::meant())),
    responses(
        (status = 200, description = "They are counted.", body = CountBody, example = json!(doc::counted())),
        (status = 202, description = "The run has begun.",
            headers(("Location" = String, description = "Where its progress can be looked up.")),
            body = RunBody, example = json!(doc::run("send_now"))),
        BulkVerb,
    ),
)]
pub(in crate::ops) async fn send_now(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    bulk(desk, Meant::from(read::<BulkRequest>(headers, body).await?), Change::SendNow, "").await
}

/// Put many events off
///
/// As `/v1/events:cancel`; those whose life ends before are left alone.
#[utoipa::path(
    post, path = "/v1/events:delay", tag = "events", operation_id = "delay_events",
    request_body(content = BulkDelayRequest, example = json!(doc::meant_later())),
    responses(
        (status = 200, description = "They are counted.", body = CountBody, example = json!(doc::counted())),
        (status = 202, description = "The run has begun.",
            headers(("Location" = String, description = "Where its progress can be looked up.")),
            body = RunBody, example = json!(doc::run("delay"))),
        BulkVerb,
    ),
)]
pub(in crate::ops) async fn delay(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request: BulkDelayRequest = read(headers, body).await?;
    let until = DelayRequest { due_at: request.due_at.clone(), delay_seconds: request.delay_seconds.clone() };
    let (length, _) = length(&desk.clock, &until)?;
    let now = desk.clock.now();
    let due_at = Timestamp::from_millis((now + length).ceil_millis());
    let doubted_at = (!desk.clock.is_trusted()).then_some(now);
    // What is confirmed is what was asked for, not the moment that it comes to.
    let asked = format!("{:?} {:?}", request.due_at, request.delay_seconds);
    bulk(desk, Meant::from(request), Change::PutOff { due_at, doubted_at }, &asked).await
}

/// The members that both kinds of requests have.
struct Meant {
    members: [(&'static str, Option<Value>); 5],
    labels: Option<Value>,
    confirm: Option<Value>,
}

impl From<BulkRequest> for Meant {
    fn from(request: BulkRequest) -> Self {
        let BulkRequest { policy, state, priority, labels, url_prefix, accepted_after, confirm } = request;
        let members = [
            ("policy", policy),
            ("state", state),
            ("priority", priority),
            ("url_prefix", url_prefix),
            ("accepted_after", accepted_after),
        ];
        Self { members, labels, confirm }
    }
}

impl From<BulkDelayRequest> for Meant {
    fn from(request: BulkDelayRequest) -> Self {
        let BulkDelayRequest { policy, state, priority, labels, url_prefix, accepted_after, confirm, .. } =
            request;
        Self::from(BulkRequest { policy, state, priority, labels, url_prefix, accepted_after, confirm })
    }
}

impl Meant {
    fn filter(&self) -> Result<Filter, Box<Problem>> {
        if self.labels.is_none() && self.members.iter().all(|(_, value)| value.is_none()) {
            let rule =
                "says which events are meant, or another member does; {\"url_prefix\": \"http\"} means all"
                    .to_owned();
            return Err(missing("policy", rule));
        }
        let mut texts = [None; 5];
        for (text, (name, value)) in texts.iter_mut().zip(&self.members) {
            let Some(value) = value else { continue };
            *text = Some(value.as_str().ok_or_else(|| invalid(name, "must be text".to_owned()))?);
        }
        let [policy, state, priority, url_prefix, accepted_after] = texts;
        let rule = || invalid("labels", "must be an object of texts".to_owned());
        let mut labels = Vec::new();
        if let Some(value) = &self.labels {
            for (key, value) in value.as_object().ok_or_else(rule)? {
                labels.push((key.clone(), value.as_str().ok_or_else(rule)?.to_owned()));
            }
        }
        let given = Given { policy, state, priority, url_prefix, accepted_after, labels };
        Filter::of(given, &STATES).map_err(|broken| invalid(broken.member, broken.rule))
    }
}

/// Counts what is meant, or begins to change it when that is confirmed; `asked` is what else the request says.
async fn bulk(desk: &Desk, meant: Meant, change: Change, asked: &str) -> OpsAnswer {
    let filter = meant.filter()?;
    let what = format!("{} {filter:?} {asked}", word(change));
    let Some(confirm) = meant.confirm else { return count(desk, filter, &what).await };
    let confirmed = confirm.as_str().and_then(|text| Confirmation::read(text, &what));
    let confirmed = confirmed.filter(|confirmed| confirmed.holds(&desk.clock)).ok_or_else(|| {
        let detail =
            "confirm is no confirmation of these members, or older than ten minutes; count again without it";
        Problem::of(codes::CHANGE_NOT_CONFIRMED, detail)
    })?;
    let run = desk.runs.begin(desk, filter.until(confirmed.counted_at), change, confirmed.matched);
    let run = run.ok_or_else(|| {
        let detail =
            "another change of many events goes on; wait for its end or stop it: GET /v1/event-changes";
        Problem::of(codes::CHANGE_UNDER_WAY, detail)
    })?;
    let mut response = answer(&RunBody::of(&run), None);
    *response.status_mut() = StatusCode::ACCEPTED;
    // Digits and letters: always a header.
    if let Ok(location) = HeaderValue::try_from(format!("/v1/event-changes/{}", run.number)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn count(desk: &Desk, filter: Filter, what: &str) -> OpsAnswer {
    let begun = desk.clock.now();
    // To the millisecond, as the confirmation names it.
    let counted_at = Timestamp::from_millis(begun.as_millis());
    let filter = filter.until(counted_at);
    let (mut matched, mut unread, mut after, mut at_least) = (0, 0, None, false);
    loop {
        let page_begun = desk.clock.now();
        let page = desk.queue.search(&filter.page(desk, after, COUNTED_AT_ONCE)).await;
        let page = page.map_err(|error| unreadable(&error))?;
        matched += page.events.len() as u64;
        unread += page.unread;
        after = page.next;
        let now = desk.clock.now();
        if after.is_none() {
            break;
        }
        if now.since(begun) >= COUNT_WITHIN {
            at_least = true;
            break;
        }
        // As long as it has looked: a count of very much leaves half of the time to others.
        tokio::time::sleep(now.since(page_begun)).await;
    }
    let confirmation = Confirmation { counted_at, matched };
    let confirm_until = (counted_at + CONFIRMED_WITHIN).to_string();
    let confirm = confirmation.text(what);
    Ok(answer(&CountBody { matched, at_least, unread, confirm, confirm_until }, None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn something_has_to_be_meant_and_each_member_has_its_rule() {
        let meant = |body: Value| {
            let request: BulkRequest = serde_json::from_value(body).expect("an object");
            Meant::from(request).filter()
        };
        for (body, pointer) in [
            (json!({}), "/policy"),
            (json!({"policy": 1}), "/policy"),
            (json!({"state": "inflight"}), "/state"),
            (json!({"labels": ["a"]}), "/labels"),
            (json!({"labels": {"a": 1}}), "/labels"),
            (json!({"accepted_after": "now"}), "/accepted_after"),
        ] {
            let problem = meant(body.clone()).expect_err("refused");
            assert_eq!((problem.status, &*problem.errors[0].pointer), (422, pointer), "{body}");
        }
        let a = meant(json!({"labels": {"b": "2", "a": "1"}, "policy": "p"})).expect("valid");
        let b = meant(json!({"policy": "p", "labels": {"a": "1", "b": "2"}})).expect("valid");
        assert_eq!(a, b, "in any order");
    }
}
