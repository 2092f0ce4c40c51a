//! `POST /v1/events:cancel`, `:delay`, `:send-now` and `:purge`: the changes of many events. See `changes` for how they are
//! counted, confirmed and carried out.
//!
//! Must not know: how events are found and changed.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::post;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::ops::body::read;
use crate::ops::changes::asked::{Asked, CountBody, count_or_begin};
use crate::ops::changes::doc::{Many, counted};
use crate::ops::changes::request;
use crate::ops::changes::work::ChangeVerb;
use crate::ops::desk::{Desk, OpsAnswer, respond};
use crate::ops::events::filter::{Filter, Given};
use crate::ops::events::many::EventWork;
use crate::ops::events::purge::PurgeWork;
use crate::ops::events::{DelayRequest, doc, length};
use crate::problem::Problem;
use crate::queue::Change;

/// The states in which an event can be changed.
const STATES: [&str; 2] = ["ready", "delayed"];

/// Which events are meant: all of what is there has to hold.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EventFilter)]
struct FilterBody {
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
}

/// Which events are purged, waiting or dead: all of what is there has to hold.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PurgeFilter)]
struct PurgeFilterBody {
    /// Labels that they have, those that the configuration gives to all events included.
    #[schema(required = false, value_type = BTreeMap<String, String>)]
    labels: Option<Value>,
    /// How their URL begins, without its query.
    #[schema(required = false, value_type = String)]
    url_prefix: Option<Value>,
}

/// Which events are changed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChangeManyRequest {
    /// Which events are meant.
    #[schema(required = false, value_type = FilterBody)]
    filter: Option<Value>,
    /// Every event that waits is meant; excludes a filter.
    #[schema(required = false, value_type = bool)]
    all: Option<Value>,
    /// The confirmation that the count answered; without it they are counted.
    #[schema(required = false, value_type = String)]
    confirm: Option<Value>,
}

/// Which events are put off, and until when: exactly one of the last two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DelayManyRequest {
    /// Which events are meant.
    #[schema(required = false, value_type = FilterBody)]
    filter: Option<Value>,
    /// Every event that waits is meant; excludes a filter.
    #[schema(required = false, value_type = bool)]
    all: Option<Value>,
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

/// Which events are purged.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PurgeEventsRequest {
    /// Which events are meant.
    #[schema(required, value_type = PurgeFilterBody)]
    filter: Option<Value>,
    /// The confirmation that the count answered; without it they are counted.
    #[schema(required = false, value_type = String)]
    confirm: Option<Value>,
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
        .route(
            "/v1/events:purge",
            post(async |State(desk): State<Desk>, headers: HeaderMap, body: Body| {
                respond(purge(&desk, &headers, body).await)
            }),
        )
}

/// Cancel many events
///
/// Without `confirm` it counts those that wait and are meant. With the confirmation of that answer a run begins that cancels
/// them, in small batches; see `/v1/changes/{id}`. Calls under way are left alone.
#[utoipa::path(
    post, path = "/v1/events:cancel", tag = "events", operation_id = "cancel_events",
    request_body(content = ChangeManyRequest, example = json!(doc::meant())),
    // All changes of many answer the same; the schema is listed by this one.
    responses((status = 200, description = "They are counted.", body = CountBody, example = json!(counted())), Many),
)]
pub(in crate::ops) async fn cancel(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request = read(headers, body).await?;
    bulk(desk, ChangeVerb::Cancel, &request, Change::Cancel, String::new()).await
}

/// Send many events ahead of their turn
///
/// As `/v1/events:cancel`; each goes before all in its lane that were accepted later, within every limit.
#[utoipa::path(
    post, path = "/v1/events:send-now", tag = "events", operation_id = "send_events_now",
    request_body(content = ChangeManyRequest, example = json!(doc::meant())),
    responses(Many),
)]
pub(in crate::ops) async fn send_now(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request = read(headers, body).await?;
    bulk(desk, ChangeVerb::SendNow, &request, Change::SendNow, String::new()).await
}

/// Put many events off
///
/// As `/v1/events:cancel`; those whose life ends before are left alone.
#[utoipa::path(
    post, path = "/v1/events:delay", tag = "events", operation_id = "delay_events",
    request_body(content = DelayManyRequest, example = json!(doc::meant_later())),
    responses(Many),
)]
pub(in crate::ops) async fn delay(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let DelayManyRequest { filter, all, confirm, due_at, delay_seconds } = read(headers, body).await?;
    let until = DelayRequest { due_at, delay_seconds };
    let (length, _) = length(&desk.clock, &until)?;
    let now = desk.clock.now();
    let due_at = Timestamp::from_millis((now + length).ceil_millis());
    let doubted_at = (!desk.clock.is_trusted()).then_some(now);
    // What is confirmed is what was asked for, not the moment that it comes to.
    let more = format!("{:?} {:?}", until.due_at, until.delay_seconds);
    let request = ChangeManyRequest { filter, all, confirm };
    bulk(desk, ChangeVerb::Delay, &request, Change::PutOff { due_at, doubted_at }, more).await
}

/// Purge events, waiting or dead
///
/// All that have these labels, and whose URL begins so: those that wait end as `cancelled`, dead letters are dropped. Counted and
/// confirmed as `/v1/events:cancel`. A call under way is not torn: its event ends as `cancelled` when the call fails, and is neither
/// repeated nor parked; the run goes on until no such call is left. What it says in the end of `under_way` and `unread` could not
/// be removed.
#[utoipa::path(
    post, path = "/v1/events:purge", tag = "events", operation_id = "purge_events",
    request_body(content = PurgeEventsRequest, example = json!(doc::purged())),
    responses(Many),
)]
pub(in crate::ops) async fn purge(desk: &Desk, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let PurgeEventsRequest { filter, confirm } = read(headers, body).await?;
    let read = |body: PurgeFilterBody| {
        FilterBody { labels: body.labels, url_prefix: body.url_prefix, ..FilterBody::default() }.read()
    };
    let filter =
        request::filter(filter.as_ref(), None, "labels and url_prefix", read, Filter::names_nothing)?;
    let asked = Asked { verb: ChangeVerb::Purge, about: filter.about(), more: String::new(), confirm };
    count_or_begin(&desk.runs, &desk.clock, asked, |at| PurgeWork::new(desk, filter.until(at), at)).await
}

impl FilterBody {
    fn read(self) -> Result<Filter, Box<Problem>> {
        let Self { policy, state, priority, labels, url_prefix, accepted_after } = self;
        let [policy, state, priority, url_prefix, accepted_after] = [
            ("policy", policy),
            ("state", state),
            ("priority", priority),
            ("url_prefix", url_prefix),
            ("accepted_after", accepted_after),
        ]
        .map(|(name, value)| request::text(name, value.as_ref()));
        let (policy, state, priority) = (policy?, state?, priority?);
        let (url_prefix, accepted_after) = (url_prefix?, accepted_after?);
        let given = Given {
            policy: policy.as_deref(),
            state: state.as_deref(),
            priority: priority.as_deref(),
            url_prefix: url_prefix.as_deref(),
            accepted_after: accepted_after.as_deref(),
            labels: request::labels(labels.as_ref())?,
        };
        Filter::of(given, &STATES).map_err(|broken| request::invalid_in_filter(broken.member, broken.rule))
    }
}

impl ChangeManyRequest {
    fn filter(&self) -> Result<Filter, Box<Problem>> {
        let members = "policy, state, priority, labels, url_prefix and accepted_after";
        request::filter(
            self.filter.as_ref(),
            self.all.as_ref(),
            members,
            FilterBody::read,
            Filter::names_nothing,
        )
    }
}

async fn bulk(
    desk: &Desk,
    verb: ChangeVerb,
    request: &ChangeManyRequest,
    change: Change,
    more: String,
) -> OpsAnswer {
    let filter = request.filter()?;
    let asked = Asked { verb, about: filter.about(), more, confirm: request.confirm.clone() };
    count_or_begin(&desk.runs, &desk.clock, asked, |at| EventWork::new(desk, filter.until(at), change)).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn something_has_to_be_meant_and_each_member_has_its_rule() {
        let meant = |body: Value| {
            let request: ChangeManyRequest = serde_json::from_value(body).expect("an object");
            request.filter()
        };
        for (body, pointer) in [
            (json!({}), "/filter"),
            (json!({"filter": {}}), "/filter"),
            (json!({"filter": []}), "/filter"),
            (json!({"filter": {"url_prefix": ""}}), "/filter"),
            (json!({"filter": {"labels": {}}}), "/filter"),
            (json!({"filter": {"labels": {}, "url_prefix": ""}}), "/filter"),
            (json!({"filter": {"colour": "red"}}), "/filter"),
            (json!({"filter": {"policy": "p"}, "all": true}), "/all"),
            (json!({"all": "yes"}), "/all"),
            (json!({"filter": {"policy": 1}}), "/filter/policy"),
            (json!({"filter": {"state": "inflight"}}), "/filter/state"),
            (json!({"filter": {"labels": ["a"]}}), "/filter/labels"),
            (json!({"filter": {"labels": {"a": 1}}}), "/filter/labels"),
            (json!({"filter": {"accepted_after": "now"}}), "/filter/accepted_after"),
        ] {
            let problem = meant(body.clone()).expect_err("refused");
            assert_eq!((problem.status, &*problem.errors[0].pointer), (422, pointer), "{body}");
        }
        let a = meant(json!({"filter": {"labels": {"b": "2", "a": "1"}, "policy": "p"}})).expect("valid");
        let b = meant(json!({"filter": {"policy": "p", "labels": {"a": "1", "b": "2"}}})).expect("valid");
        assert_eq!((a.about(), &a), (b.about(), &b), "in any order");
        assert!(meant(json!({"all": true})).expect("valid").names_nothing());
    }
}
