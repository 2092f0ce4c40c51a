//! `GET /v1/events`: the events that wait, by policy, state, labels, URL and time of acceptance.
//!
//! Must not know: how the queue looks for them.

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use crate::ingest::StateBody;
use crate::ops::desk::{Desk, OpsAnswer, json as answer, respond};
use crate::ops::doc::{LabelParameters, ListEvents};
use crate::ops::events::filter::{Filter, Given, STATES};
use crate::ops::events::{doc, unreadable};
use crate::ops::query::{Parameters, cursor_after, invalid};
use crate::problem::Problem;
use crate::store::ScanPlace;

/// Parameters that say which events are meant, and what begins those that are labels.
const FILTER: [&str; 5] = ["policy", "state", "priority", "url_prefix", "accepted_after"];
const LABEL: &str = "label.";

/// Events that wait, a page of them.
#[derive(Serialize, ToSchema)]
#[schema(as = EventList)]
pub(in crate::ops) struct EventsBody<'a> {
    events: Vec<StateBody<'a>>,
    /// Events that were passed over because they cannot be read at present; see `/v1/doubts`.
    unread: u64,
    /// `null` when there are no more. A page may be empty and have one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List events that wait
///
/// Those that have not ended, lane by lane, in a lane in the order of acceptance. One page looks at 10 000 events at most, or
/// for 50 ms: it may be empty and lead on by its `next_cursor`. A cursor keeps its place whatever is settled or accepted
/// meanwhile, over restarts too; an event that waits all the time is on exactly one page.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "list_events",
    params(
        ("policy" = Option<String>, Query, description = "A policy that governs them."),
        ("state" = Option<String>, Query, description = "`ready`, `delayed` or `inflight`."),
        ("priority" = Option<String>, Query, description = "`high`, `normal` or `low`."),
        ("labels" = inline(Option<LabelParameters>), Query, style = Form, explode, description = "Labels that they have, each a \
            parameter of its own: `label.org=ACME`. Those that the configuration gives to all events count too."),
        ("url_prefix" = Option<String>, Query, description = "How their URL begins, as answers show it: without its query."),
        ("accepted_after" = Option<String>, Query, format = DateTime, description = "They were accepted later."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Events of the page; 100 when missing."),
        ("cursor" = Option<String>, Query, description = "As an answer gave it."),
    ),
    responses(
        (status = 200, description = "A page.",
            headers(("Link" = String, description = "The next page, with `rel=\"next\"`; missing on the last one.")),
            body = EventsBody<'_>, example = json!({"events": [doc::delayed()], "unread": 0, "next_cursor": null})),
        ListEvents,
    ),
)]
pub(in crate::ops) async fn list(State(desk): State<Desk>, uri: Uri) -> Response {
    respond(page(&desk, &uri).await)
}

/// Which events a request asks for.
fn filter(parameters: &Parameters) -> Result<Filter, Box<Problem>> {
    let [policy, state, priority, url_prefix, accepted_after] = FILTER.map(|name| parameters.get(name));
    let labels = parameters.family(LABEL).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let given = Given { policy, state, priority, url_prefix, accepted_after, labels };
    Filter::of(given, &STATES).map_err(|broken| invalid(broken.member, broken.rule))
}

async fn page(desk: &Desk, uri: &Uri) -> OpsAnswer {
    let known: Vec<&str> = FILTER.into_iter().chain(["limit", "cursor"]).collect();
    let parameters = Parameters::read(uri, &known, &[LABEL])?;
    let filter = filter(&parameters)?;
    let most = parameters.page("limit")?;
    let after = parameters.cursor("cursor")?.map(|text| place(&text)).transpose()?;
    let search = filter.page(&desk.router.defaults.labels, after, most);
    let found = desk.queue.search(&search).await.map_err(|error| unreadable(&error))?;
    let runtime = desk.policies.runtime();
    let bodies = found.events.iter();
    let events = bodies
        .filter_map(|(id, standing)| {
            StateBody::of(*id, standing, &runtime, &desk.about, &desk.router.endpoint_of)
        })
        .collect();
    let next_cursor = found.next.map(|place| cursor_after(&format!("{:x}", place.to_bits())));
    let next = next_cursor.as_ref().map(|cursor| link(uri, cursor));
    Ok(answer(&EventsBody { events, unread: found.unread, next_cursor }, next))
}

fn place(text: &str) -> Result<ScanPlace, Box<Problem>> {
    let bits = u128::from_str_radix(text, 16).map(ScanPlace::from_bits);
    bits.map_err(|_| invalid("cursor", "must be a cursor as an answer or its Link header gave it".to_owned()))
}

/// The same request with another cursor. What it asks for stands there as it was sent, which is encoded already.
fn link(uri: &Uri, cursor: &str) -> String {
    let others = uri.query().into_iter().flat_map(|query| query.split('&'));
    let others = others.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let cursor = format!("cursor={cursor}");
    let query: Vec<&str> = others.chain([cursor.as_str()]).collect();
    format!("/v1/events?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Filter, Box<Problem>> {
        let uri: Uri = format!("/v1/events?{query}").parse().expect("a uri");
        filter(&Parameters::read(&uri, &FILTER, &[LABEL])?)
    }

    #[test]
    fn each_rule_names_its_parameter() {
        for (query, name) in [
            ("policy=a%20b", "policy"),
            ("state=settled", "state"),
            ("priority=urgent", "priority"),
            ("accepted_after=now", "accepted_after"),
            ("colour=red", "colour"),
        ] {
            let problem = read(query).expect_err(query);
            assert_eq!((problem.status, &*problem.errors[0].pointer), (400, name));
        }
        let all = "policy=p&state=ready&priority=low&label.org=A%26B&url_prefix=http://h/&accepted_after=2030-01-31T08:00:00Z";
        assert!(read(all).expect("valid") != Filter::default());
        assert_eq!(read("").expect("valid"), Filter::default());
    }

    #[test]
    fn the_next_page_is_the_same_request_with_another_cursor() {
        let uri: Uri = "/v1/events?cursor=old&label.org=A%26B&limit=5".parse().expect("a uri");
        assert_eq!(link(&uri, "new"), "/v1/events?label.org=A%26B&limit=5&cursor=new");
        assert_eq!(link(&"/v1/events".parse().expect("a uri"), "x"), "/v1/events?cursor=x");
    }
}
