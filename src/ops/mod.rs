//! Probes and metrics. They read and never change anything, and never touch an endpoint.
//!
//! Must not know: how to change anything by itself; where metrics come from.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::policy::Policies;
use crate::problem::Problem;
use crate::queue::Queue;
use crate::store::StoreHealth;

/// Renders the metrics as Prometheus text. May block for milliseconds.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the probes look at.
#[derive(Clone)]
pub struct Ops {
    /// The state of the store.
    pub queue: Queue,
    /// What is deployed.
    pub policies: Policies,
    /// Cancelled when no more events are taken.
    pub closing: CancellationToken,
    /// The metrics.
    pub render_metrics: RenderMetrics,
}

/// `/livez`, `/readyz`, `/healthz` and `/metrics`.
pub fn routes(ops: Ops) -> Router {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(ops)
}

/// One thing that `/readyz` looks at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(ops): State<Ops>, RawQuery(query): RawQuery) -> Response {
    let deployed = ops.policies.runtime().policies().count();
    let checks = checks(&ops.queue.store_health(), deployed, ops.closing.is_cancelled());
    let ok = checks.iter().all(|check| check.ok);
    let verbose = query
        .is_some_and(|query| query.split('&').any(|part| matches!(part.split('=').next(), Some("verbose"))));
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if verbose {
        let mut response = (status, axum::Json(Report { ready: ok, checks })).into_response();
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
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready", failed.join("; ")).into_response()
}

#[derive(Serialize)]
struct Report {
    ready: bool,
    checks: Vec<Check>,
}

/// What speaks for and against handing in events. Damage that was set aside is told, but is no reason to be
/// taken out of service.
fn checks(store: &StoreHealth, deployed: usize, closing: bool) -> Vec<Check> {
    let writable = match (&store.poisoned, store.full) {
        (Some(reason), _) => (false, format!("takes no more writes: {reason}")),
        (None, true) => (false, format!("the disk is nearly full: {} bytes left", store.free_bytes)),
        (None, false) => (true, format!("{} bytes used, {} left", store.disk_bytes, store.free_bytes)),
    };
    let intact = format!("{} damaged_frames, {} lost_entries", store.damaged_frames, store.lost_entries);
    let serving = if closing { "shutting down" } else { "taking events" };
    let check = |name, ok, detail: String| Check { name, ok, detail };
    vec![
        check("store_writable", writable.0, writable.1),
        check("store_intact", true, intact),
        check("policies_loaded", true, format!("{deployed} deployed or draining")),
        check("not_draining", !closing, serving.to_owned()),
    ]
}

async fn metrics(State(ops): State<Ops>) -> Response {
    let rendered = tokio::task::spawn_blocking(move || (ops.render_metrics)()).await;
    match rendered {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => {
            let detail = "the metrics could not be rendered";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail)
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(store: &StoreHealth, closing: bool) -> Vec<&'static str> {
        checks(store, 0, closing).iter().filter(|check| !check.ok).map(|check| check.name).collect()
    }

    #[test]
    fn each_reason_not_to_be_ready_is_named() {
        let well = StoreHealth::default();
        assert!(failed(&well, false).is_empty());
        assert_eq!(failed(&well, true), ["not_draining"]);
        assert_eq!(failed(&StoreHealth { full: true, ..well.clone() }, false), ["store_writable"]);
        let poisoned = StoreHealth { poisoned: Some("sync failed".to_owned()), ..well };
        assert_eq!(failed(&poisoned, true), ["store_writable", "not_draining"]);
    }

    #[test]
    fn damage_is_told_but_keeps_the_store_in_service() {
        let damaged = StoreHealth { damaged_frames: 2, lost_entries: 3, ..StoreHealth::default() };
        assert!(failed(&damaged, false).is_empty());
        let told =
            checks(&damaged, 0, false).iter().any(|check| check.detail.contains("2 damaged_frames, 3 lost"));
        assert!(told);
    }
}
