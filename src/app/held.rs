//! The held state: while the store as a whole is in doubt, the doors take nothing that would change anything.
//!
//! Questions are answered. The events door refuses by itself, so that it counts what it refuses; what an operator
//! decides about doubts is not guarded.
//!
//! Must not know: what is in doubt.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::Method;

use crate::manage;
use crate::problem::Problem;
use crate::store::Doubts;

/// The routes, refused with `store_held` where they would change something while the store is held.
pub(super) fn guard(routes: Router, doubts: Doubts) -> Router {
    routes.layer(middleware::from_fn_with_state(doubts, refuse))
}

/// Whether a request changes nothing. An event is explained with POST, and dialects may list with it what matches a filter.
pub(super) fn only_asks(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
        || path == "/v1/explain"
        || manage::all().iter().flat_map(|dialect| dialect.asks_with_post()).any(|list| path.ends_with(list))
}

async fn refuse(State(doubts): State<Doubts>, request: Request, next: Next) -> Response {
    if only_asks(request.method(), request.uri().path()) {
        return next.run(request).await;
    }
    match doubts.store_held() {
        Some(reason) => Problem::store_held(&reason).into_response(),
        None => next.run(request).await,
    }
}
