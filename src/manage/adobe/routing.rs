//! Where both APIs are reached, and what their paths and queries carry (contract.md 1, 2).

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::manage::adobe::scope::ORGANISATION;
use crate::policy::decoded;

/// What stands in the path of one config.
#[derive(Deserialize)]
pub(in crate::manage) struct InPath {
    pub(in crate::manage) uid: String,
}

/// The uid of a path, as far as it can be read.
pub(in crate::manage) type Uid = Result<Path<InPath>, PathRejection>;

/// The base paths under which every route is found.
pub(in crate::manage) const BASES: [&str; 2] = ["/authoring", "/journey/orchestration"];

/// The base path of the first draft, which has no header for the organisation.
pub(in crate::manage) const DRAFTED_BASE: &str = "/{organization}/authoring";

/// The same routes under all base paths.
pub(in crate::manage) fn under_all_bases(routes: &Router) -> Router {
    let router = BASES.iter().fold(Router::new(), |router, base| router.nest(base, routes.clone()));
    let drafted = Router::new().nest(DRAFTED_BASE, routes.clone());
    // Around the base path and not below it, where the organisation would be cut off.
    router.merge(drafted.layer(from_fn(with_organisation)))
}

/// Puts the organisation of the path where the later versions have it. One that contradicts a header is a second value of it,
/// which names no organisation.
async fn with_organisation(mut request: Request, next: Next) -> Response {
    let first = request.uri().path().split('/').nth(1).unwrap_or_default();
    // One that cannot stand in a header is no organisation either.
    let of_path = HeaderValue::from_bytes(&decoded(first)).unwrap_or(HeaderValue::from_static(""));
    let headers = request.headers_mut();
    if headers.get(ORGANISATION).is_none_or(|given| *given != of_path) {
        headers.append(ORGANISATION, of_path);
    }
    next.run(request).await
}

/// The contract has no HEAD, which would otherwise be answered like GET.
pub(in crate::manage) fn no_head(allowed: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)]).into_response()
}

/// Only `forceDelete` of the value `true` forces, in any case; when repeated, every time.
pub(in crate::manage) fn is_forced(query: Option<&str>) -> bool {
    let mut values = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| *name == "forceDelete")
        .map(|(_, value)| value.eq_ignore_ascii_case("true"))
        .peekable();
    // Deleting what is deployed must be unmistakable: one contradiction is enough to refuse it.
    values.peek().is_some() && values.all(|forced| forced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_true_forces() {
        for query in [
            "forceDelete=true",
            "forceDelete=TRUE",
            "a=b&forceDelete=True",
            "forceDelete=true&forceDelete=true",
        ] {
            assert!(is_forced(Some(query)), "{query}");
        }
        for query in [
            "",
            "forceDelete",
            "forceDelete=",
            "forceDelete=1",
            "forcedelete=true",
            "forceDelete=true&forceDelete=no",
        ] {
            assert!(!is_forced(Some(query)), "{query}");
        }
        assert!(!is_forced(None));
    }
}
