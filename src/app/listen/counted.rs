//! Counts what tidegate answers, by route template: a closed set, whichever paths are asked for.
//!
//! Must not know: what the routes do.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;
use tokio::time::Instant;

use crate::telemetry::RequestAnswered;

/// Stands for a path without a route, and for a method that is not listed here.
const OTHER: &str = "other";

/// Answers a request and counts the answer.
pub(super) async fn count(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let method = word(request.method());
    let response = next.run(request).await;
    // Routers that stand below another one have a wildcard in its place.
    let route = matched.as_ref().map(MatchedPath::as_str).filter(|path| !path.contains("{*"));
    let route = route.unwrap_or(OTHER);
    RequestAnswered { route, method, code: response.status().as_u16(), took: begun.elapsed() }.emit();
    response
}

fn word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => OTHER,
    }
}
