//! The operators' desk: the routes that show what policies do and why an event is where it is, and that pause, resume
//! and purge.
//!
//! Must not know: how limits count, how calls are planned, who listens.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;

use crate::clock::Clock;
use crate::dispatch::DispatchHandle;
use crate::event::PolicyId;
use crate::ingest::{AboutPolicies, CallRouter};
use crate::limit::Outlooks;
use crate::ops::changes::Runs;
use crate::ops::explain::{ExplainBody, Explainer};
use crate::ops::policies::PolicyViews;
use crate::ops::resource::POLICIES;
use crate::ops::verbs::PolicyVerb;
use crate::ops::wire::{List, PolicyBody};
use crate::ops::{StopRecord, authoring, changes, doc, events, stops, verbs};
use crate::policy::Policies;
use crate::problem::{Problem, codes};
use crate::queue::{Parked, Queue};
use crate::store::StoreError;
use crate::telemetry::defect;

/// What the desk looks at: each of its parts borrows what it needs of it.
#[derive(Clone)]
pub(crate) struct Desk {
    /// Says where events stand, and records what becomes of them.
    pub queue: Queue,
    /// The policies, read and changed; changes wait for the disk for a bounded time.
    pub policies: Policies,
    /// The same, for what is authored here: within the bounds on their number.
    pub authoring: Policies,
    /// Which dialect derives policies with names of this form, if one does: they are not for others to take.
    pub reserved: fn(&PolicyId) -> Option<&'static str>,
    /// How long what waits under a deleted policy may drain.
    pub drain: Duration,
    /// The dispatcher, asked for holds, calls and figures.
    pub dispatch: DispatchHandle,
    /// What forecasts are made from; the housekeeper replaces it.
    pub outlooks: Arc<ArcSwap<Outlooks>>,
    /// The clock for the ends of pauses and for forecasts.
    pub clock: Clock,
    /// Finds the lanes of calls that were not handed in, as the door does.
    pub router: CallRouter,
    /// What answers say about policies beside what policies know themselves.
    pub about: AboutPolicies,
    /// The changes of many that go on or have ended.
    pub runs: Runs,
    /// The emergency stops: shown, begun and ended here.
    pub stops: StopRecord,
    /// The dead letters: what is purged of everything is purged of them, too.
    pub parked: Parked,
}

pub(super) type OpsAnswer = Result<Response, Box<Problem>>;
pub(super) type PathName = Result<Path<String>, PathRejection>;

/// `/v1/policies`, `/v1/policies/{id}` with its verbs, `/v1/explain`, the changes of events, and those of many.
pub(crate) fn desk_routes(desk: Desk) -> Router {
    Router::new()
        .route("/v1/policies", get(list))
        .route(
            // A verb stands behind a colon in the same segment, which the router cannot take apart: one route serves
            // both.
            "/v1/policies/{name}",
            get(show).post(act).put(authoring::put).delete(authoring::delete).fallback(other_method),
        )
        .route("/v1/explain", get(explain).post(explain_event))
        .merge(events::routes())
        .merge(stops::routes())
        .merge(changes::routes())
        .with_state(desk)
}

/// List the policies
///
/// Every policy that is deployed, drains or is authored and idle, by id, with live figures.
#[utoipa::path(
    get, path = "/v1/policies", tag = "policies", operation_id = "list_policies",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Entries of the page; 100 when missing."),
        ("cursor" = Option<String>, Query, description = "As an answer gave it."),
    ),
    responses(
        (status = 200, description = "A page.",
            headers(("Link" = String, description = "The next page, with `rel=\"next\"`; missing on the last one.")),
            body = List, example = json!({"policies": [doc::policy()], "next_cursor": null})),
        doc::List,
    ),
)]
pub(super) async fn list(State(desk): State<Desk>, uri: Uri) -> Response {
    respond(PolicyViews::from(&desk).list(&uri).await)
}

/// Explain an event or a call
///
/// Which policies match it and why, where it stands or would stand, what holds it now, when it would go. Give either
/// `id`, or `url` with `method`, `priority`, `label.KEY` and `header.NAME`, the last two as often as needed. Headers of the request
/// itself that are labels of events count as in `POST /v1/events`. What is told by the body of a call needs the `POST`.
#[utoipa::path(
    get, path = "/v1/explain", tag = "policies", operation_id = "explain",
    params(
        ("id" = Option<String>, Query, format = "uuid", description = "An event."),
        ("url" = Option<String>, Query, description = "Of a call that was not handed in.", example = "http://127.0.0.1:9000/orders"),
        ("method" = Option<String>, Query, description = "Of that call; POST when missing."),
        ("priority" = Option<String>, Query, description = "Of that call: `high`, `normal` or `low`; `normal` when missing."),
        ("labels" = inline(Option<doc::CallParameters>), Query, style = Form, explode, description = "Labels and headers of that call, each \
            a parameter of its own: `label.org=ACME`, `header.x-key=k1`."),
    ),
    responses(
        (status = 200, description = "What is known.", body = doc::Explained, examples(
            ("call" = (value = json!(doc::explained_call()))),
            ("settled" = (value = json!(doc::explained_settled()))))),
        doc::Explain,
    ),
)]
pub(super) async fn explain(State(desk): State<Desk>, uri: Uri, headers: HeaderMap) -> Response {
    respond(Explainer::from(&desk).explain(&uri, &headers).await)
}

/// Explain a whole event
///
/// The same for an event as `POST /v1/events` takes it, which is not handed in: with its headers and its body, by which
/// systems tell calls apart, and with the headers of the request that are labels of its events. At most 64 KiB.
#[utoipa::path(
    post, path = "/v1/explain", tag = "policies", operation_id = "explain_event",
    request_body(content = ref("#/components/schemas/Event"), content_type = "application/json", example = json!(doc::asked_event())),
    responses(
        (status = 200, description = "What is known.", body = ExplainBody, example = json!(doc::explained_call())),
        doc::ExplainEvent,
    ),
)]
pub(super) async fn explain_event(State(desk): State<Desk>, headers: HeaderMap, body: Body) -> Response {
    respond(Explainer::from(&desk).explain_handed_in(&headers, body).await)
}

/// Show a policy
///
/// With each set of its counters, in key order. Figures over all keys stand on the first page.
#[utoipa::path(
    get, path = "/v1/policies/{id}", tag = "policies", operation_id = "show_policy",
    params(
        ("id" = String, Path, description = "The policy."),
        ("keys_limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Keys of the page; 100 when missing."),
        ("keys_cursor" = Option<String>, Query, description = "As an answer gave it."),
    ),
    responses(
        (status = 200, description = "The policy.",
            headers(
                ("Link" = String, description = "The next page of keys, with `rel=\"next\"`; missing on the last one."),
                ("ETag" = String, description = "Changes with the definition, not with figures, for `If-Match`; missing once it \
                    is deleted and drains."),
            ),
            body = PolicyBody, example = json!(doc::policy_with_keys())),
        doc::Show,
    ),
)]
pub(super) async fn show(State(desk): State<Desk>, name: PathName, uri: Uri) -> Response {
    let (id, verb) = split(&name);
    match verb {
        None => respond(PolicyViews::from(&desk).show(id, &uri).await),
        Some(verb) => POLICIES.refuse(Some(verb)),
    }
}

async fn act(State(desk): State<Desk>, name: PathName, headers: HeaderMap, body: Body) -> Response {
    let (id, verb) = split(&name);
    match verb.and_then(PolicyVerb::parse) {
        Some(verb) => respond(verbs::act(&desk, id, verb, &headers, body).await),
        None => POLICIES.refuse(verb),
    }
}

async fn other_method(name: PathName) -> Response {
    POLICIES.refuse(split(&name).1)
}

/// The id and the verb behind the colon, which no id contains. What is not even text is no id.
pub(super) fn split(name: &PathName) -> (&str, Option<&str>) {
    let text = name.as_ref().map_or("", |Path(text)| text.as_str());
    text.split_once(':').map_or((text, None), |(id, verb)| (id, Some(verb)))
}

pub(super) fn respond(answer: OpsAnswer) -> Response {
    answer.unwrap_or_else(|problem| {
        // A refusal before the body was read leaves the connection in no state to go on.
        let close = matches!(problem.status, 408 | 413 | 415);
        let mut response = problem.into_response();
        if close {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    })
}

/// An answer that is true for a moment only.
pub(super) fn json<T: Serialize>(body: &T, next: Option<String>) -> Response {
    // Structs of texts and numbers always serialise.
    let body = serde_json::to_vec(body).unwrap_or_else(|_| {
        defect!("an answer to an operator that does not serialise");
        Vec::new()
    });
    let mut response = (StatusCode::OK, body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Figures change every moment: a cache would show old ones.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let link = next.map(|next| HeaderValue::try_from(format!("<{next}>; rel=\"next\"")));
    defect!(unless link.as_ref().is_none_or(Result::is_ok), "a link to the next page that is no header");
    if let Some(Ok(link)) = link {
        headers.insert(header::LINK, link);
    }
    response
}

/// The id in a path; a text that can be none is answered like an unknown policy.
pub(super) fn policy_id(text: &str) -> Result<PolicyId, Box<Problem>> {
    PolicyId::parse(text).map_err(|_| no_policy(text))
}

pub(super) fn no_policy(id: &str) -> Box<Problem> {
    // The path repeats what a caller has sent: it is cut, so that the answer stays short.
    let id: String = id.chars().take(PolicyId::MAX_BYTES).collect();
    let detail = format!("there is no policy {id:?}; GET /v1/policies lists them");
    Box::new(Problem::of(codes::POLICY_NOT_FOUND, detail))
}

/// Why a change was not made, where it may be repeated; `None` for other errors.
pub(super) fn late(error: &StoreError) -> Option<Box<Problem>> {
    let problem = match error {
        // In both cases the change was not begun.
        StoreError::Slow | StoreError::Shortage { .. } => Problem::store_slow(
            "the disk does not take the change at present; nothing was changed, repeat it later",
        ),
        StoreError::OutcomeUnknown => Problem::outcome_unknown(
            "the disk has not confirmed the change in time: it may come about; look before repeating it",
        ),
        _ => return None,
    };
    Some(Box::new(problem))
}

pub(super) fn shutting_down() -> Box<Problem> {
    let detail = "tidegate is shutting down; ask again after its restart";
    let problem = Problem::of(codes::SHUTTING_DOWN, detail).retry_after(5);
    Box::new(problem)
}

pub(super) fn wrong_method(allow: &'static str, detail: &str) -> Response {
    let problem = Problem::of(codes::METHOD_NOT_ALLOWED, detail);
    let mut response = problem.into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
