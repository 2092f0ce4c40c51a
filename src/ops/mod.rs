//! Operations: probes and metrics here; beside them the operators' desk, which shows what policies do and why an event
//! is where it is, and passes on their verbs.
//!
//! ```text
//! desk (routes) -> policies, explain: read queue, book, dispatcher -> wire
//!               -> verbs: pause, resume -> policy book; purge -> dispatcher
//!               -> authoring: PUT, DELETE -> policy book
//!               -> events: list, cancel, delay, send-now, one or many; purge, dead ones too -> queue
//!               -> stops: pause and resume everything, a host, an organisation -> a document, dispatcher
//! changes: many at once, counted, confirmed, with progress: the work is that of events, or of dead
//! dead: dead letters -> queue: they are shown, redriven and purged
//! outcomes: how events ended, page by page or waited for -> the log of ends
//! doubts: what the store could not establish, and what an operator decides about it
//! ```
//!
//! Probes read and never change anything. Nothing here touches an endpoint.
//!
//! Must not know: how what it shows comes about; where metrics come from.

mod asked;
mod authoring;
mod body;
mod candidates;
mod changes;
mod dead;
mod desk;
mod doc;
mod doubts;
mod events;
mod explain;
mod figures;
mod held;
mod outcomes;
mod policies;
mod precondition;
mod pulse;
mod query;
mod resource;
mod status;
mod stops;
#[cfg(test)]
mod tests;
mod usage;
mod verbs;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::clock::Clock;
use crate::dispatch::DispatchHandle;
use crate::policy::Policies;
use crate::problem::{Problem, codes};
use crate::queue::Queue;
use crate::store::doubts::{Doubt, DoubtHold, DoubtKind};
use crate::store::{KeyUse, StoreHealth};

pub(crate) use changes::Runs;
pub(crate) use dead::{DeadDesk, dead_routes};
pub(crate) use desk::{Desk, desk_routes};
pub(crate) use doc::api_doc;
pub(crate) use doubts::{DecisionError, Decisions, DoubtDesk, doubt_routes};
pub(crate) use outcomes::{OutcomeDesk, OutcomeLine, outcome_routes};
pub(crate) use pulse::Pulse;
pub(crate) use stops::StopRecord;

/// Renders the metrics as Prometheus text. May block for milliseconds.
pub(crate) type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Returns in a sentence how a part of delivery stands at present; `None` where there is no such part.
pub(crate) type DeliveryState = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// The parts that probes, metrics and the status look at.
#[derive(Clone)]
pub(crate) struct Ops {
    /// The queue, for its ledger, its doubts and the state of the store.
    pub queue: Queue,
    /// Says how many policies are deployed or draining.
    pub policies: Policies,
    /// Cancelled when no more events are taken.
    pub closing: CancellationToken,
    /// Renders the metrics when they are asked for.
    pub render_metrics: RenderMetrics,
    /// Whether calls are held because the egress guard denies their address, where one is.
    pub egress_state: DeliveryState,
    /// Which endpoints are called through proxies that find addresses themselves, where one is.
    pub proxy_state: DeliveryState,
    /// Which endpoints lack a token for their calls, where some need one.
    pub token_state: DeliveryState,
    /// How names are resolved at present, where they are.
    pub name_state: DeliveryState,
    /// How the limit on open files is shared out, in a sentence.
    pub descriptors: Arc<str>,
    /// The dispatcher, asked for calls under way and holds.
    pub dispatch: DispatchHandle,
    /// The emergency stops, which `/readyz?verbose` names.
    pub stops: StopRecord,
    /// The clock for ages and uptime.
    pub clock: Clock,
    /// Since when the process runs, and its rates.
    pub pulse: Pulse,
}

/// `/livez`, `/readyz`, `/healthz`, `/metrics` and `/v1/status`.
pub(crate) fn routes(ops: Ops) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status::status))
        .with_state(ops)
}

/// One thing that `/readyz` looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ReadinessCheck)]
struct ReadinessCheck {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Whether the process answers
#[utoipa::path(
    get, path = "/livez", tag = "operations", operation_id = "live",
    responses((status = 200, description = "It does.", body = String, example = json!("ok\n")), doc::Live),
)]
async fn live() -> &'static str {
    "ok\n"
}

/// Whether events may be handed in
///
/// `/healthz` is the same. With `?verbose` each check is listed, as JSON.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", operation_id = "ready",
    params(("verbose" = Option<String>, Query, allow_reserved, description = "Lists the checks, whatever its value.")),
    responses(
        (status = 200, description = "They may.", content(
            (String = "text/plain", example = json!("ok\n")),
            (ReadinessReport = "application/json", example = json!(doc::readiness(true))))),
        doc::Ready,
    ),
)]
async fn ready(State(ops): State<Ops>, RawQuery(query): RawQuery) -> Response {
    let checks = all_checks(&ops);
    let ok = checks.iter().all(|check| check.ok);
    // The name alone counts, with any value or none.
    let verbose = query
        .is_some_and(|query| query.split('&').any(|part| matches!(part.split('=').next(), Some("verbose"))));
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if verbose {
        let mut response = (status, axum::Json(ReadinessReport { ready: ok, checks })).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        return response;
    }
    if ok {
        return "ok\n".into_response();
    }
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    Problem::of(codes::NOT_READY, failed.join("; ")).into_response()
}

#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
struct ReadinessReport {
    ready: bool,
    checks: Vec<ReadinessCheck>,
}

/// Every check that `/readyz` makes, with those that only report.
fn all_checks(ops: &Ops) -> Vec<ReadinessCheck> {
    let deployed = ops.policies.runtime().policies().count();
    let doubts = ops.queue.doubts();
    let mut checks = checks(&ops.queue.store_health(), &doubts.list(), deployed, ops.closing.is_cancelled());
    // Events are accepted whether names resolve or not.
    checks.push(ReadinessCheck { name: "descriptors", ok: true, detail: ops.descriptors.to_string() });
    // Nor while nothing is sent: events go on being taken.
    checks.push(ReadinessCheck { name: "dispatch", ok: true, detail: dispatch_state(&ops.stops) });
    checks.extend(keys_check(&ops.queue.store_health().keys));
    checks.extend((ops.egress_state)().map(|detail| ReadinessCheck { name: "egress", ok: true, detail }));
    checks.extend((ops.proxy_state)().map(|detail| ReadinessCheck { name: "proxy", ok: true, detail }));
    checks.extend((ops.token_state)().map(|detail| ReadinessCheck { name: "tokens", ok: true, detail }));
    checks.extend((ops.name_state)().map(|detail| ReadinessCheck { name: "names", ok: true, detail }));
    checks
}

/// What an operator has stopped, in a sentence.
fn dispatch_state(stops: &StopRecord) -> String {
    if let Some(reason) = stops.stops().why_unreadable() {
        return format!("nothing is sent: the record of emergency stops cannot be read ({reason})");
    }
    let in_force: Vec<String> = stops
        .in_force()
        .iter()
        .map(|stop| match stop.until {
            Some(until) => format!("{} until {until}: {}", stop.target, stop.reason),
            None => format!("{} until it is resumed: {}", stop.target, stop.reason),
        })
        .collect();
    if in_force.is_empty() {
        return "nothing is stopped".to_owned();
    }
    format!("stopped by an operator: {}", in_force.join("; "))
}

/// The keys that records need. It never fails: what needs a key that is missing waits, and everything else goes on.
fn keys_check(keys: &[KeyUse]) -> Option<ReadinessCheck> {
    let first = keys.iter().find(|of| of.encrypts);
    let mut parts = match first.and_then(|of| of.id.as_deref()) {
        Some(id) => vec![format!("{id} encrypts")],
        None => vec!["what is new is not encrypted".to_owned()],
    };
    for of in keys.iter().filter(|of| !of.encrypts && of.records > 0) {
        let KeyUse { id, present, files, records, .. } = of;
        let word = match id {
            None => "not encrypted",
            Some(_) if *present => "needed",
            Some(_) => "MISSING from store.key_file",
        };
        let id = id.as_deref().map_or_else(String::new, |id| format!("{id} "));
        parts.push(format!("{id}{word}: {records} events and dead letters in {files} files"));
    }
    (!keys.is_empty()).then(|| ReadinessCheck { name: "encryption", ok: true, detail: parts.join("; ") })
}

/// The readiness checks. Damage that was set aside is reported but does not fail readiness; neither do doubts, unless
/// they hold the store.
fn checks(store: &StoreHealth, doubts: &[Doubt], deployed: usize, closing: bool) -> Vec<ReadinessCheck> {
    // The worse of the two is named: a failed store has to be restarted, a full disk only needs room.
    let writable = match (&store.poisoned, &store.no_room) {
        (Some(reason), _) => (false, format!("takes no more writes: {reason}")),
        (None, Some(reason)) => (false, reason.clone()),
        (None, None) => (true, format!("{} bytes used, {} left", store.used_bytes, store.free_bytes)),
    };
    let responsive = match store.operation_age {
        age if store.slow => {
            let operation = store.operation.unwrap_or("store");
            format!("a write or sync has been under way for {} s ({operation})", age.as_secs())
        }
        _ => "writes and syncs are answered in time".to_owned(),
    };
    let intact = format!("{} damaged_frames, {} lost_entries", store.damaged, store.lost_entries);
    let trusted = store.held.clone().unwrap_or_else(|| "nothing holds it".to_owned());
    let serving = if closing { "shutting down" } else { "taking events" };
    let check = |name, ok, detail: String| ReadinessCheck { name, ok, detail };
    vec![
        check("store_writable", writable.0, writable.1),
        check("store_responsive", !store.slow, responsive),
        check("store_trusted", store.held.is_none(), trusted),
        // It never fails: what is damaged was set aside, and the rest can be used.
        check("store_intact", true, intact),
        doubts_check(doubts),
        check("policies_loaded", true, format!("{deployed} deployed or draining")),
        check("not_draining", !closing, serving.to_owned()),
    ]
}

/// The doubts that nobody has acknowledged, by kind. One that holds the store is named whether it is acknowledged or
/// not.
fn doubts_check(doubts: &[Doubt]) -> ReadinessCheck {
    let holding = doubts.iter().find(|doubt| doubt.kind.holds() == DoubtHold::Store);
    let mut parts: Vec<String> = holding
        .map(|doubt| format!("the store is held by doubt {}: {}; {}", doubt.id, doubt.detail, doubt.way_out))
        .into_iter()
        .collect();
    for kind in DoubtKind::ALL {
        let open = doubts.iter().filter(|doubt| doubt.kind == kind && !doubt.acknowledged).count();
        if open > 0 {
            parts.push(format!("{open} {}", kind.word()));
        }
    }
    let detail = if parts.is_empty() { "none unacknowledged".to_owned() } else { parts.join(", ") };
    ReadinessCheck { name: "doubts", ok: holding.is_none(), detail }
}

/// The metrics
///
/// In the Prometheus text format.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", operation_id = "metrics",
    responses((status = 200, description = "All of them.", body = String), doc::Metrics),
)]
async fn metrics(State(ops): State<Ops>) -> Response {
    // With thousands of series it takes milliseconds, which the tasks of other requests must not lose.
    let rendered = tokio::task::spawn_blocking(move || (ops.render_metrics)()).await;
    match rendered {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => {
            let detail = "the metrics could not be rendered";
            Problem::of(codes::INTERNAL, detail).into_response()
        }
    }
}
