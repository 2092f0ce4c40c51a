//! Where both APIs are reached, and what their paths and queries carry (contract.md 1, 2).

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

/// The uid of a path, as far as it can be read.
pub(in crate::manage) type Uid = Result<Path<String>, PathRejection>;

/// The two base paths under which every route is found.
pub(in crate::manage) const BASES: [&str; 2] = ["/authoring", "/journey/orchestration"];

/// The same routes under both base paths.
pub(in crate::manage) fn under_both_bases(routes: &Router) -> Router {
    BASES.iter().fold(Router::new(), |router, base| router.nest(base, routes.clone()))
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
