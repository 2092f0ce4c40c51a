//! The verbs that a config may list (throttling/contract.md 1, capping/contract.md 1).

use http::Method;

/// Verbs as they are spelled in HTTP, and the contract's `OPTION`.
pub(in crate::manage) fn read_method(text: &str) -> Option<Method> {
    match text {
        "GET" => Some(Method::GET),
        "POST" => Some(Method::POST),
        "PUT" => Some(Method::PUT),
        "PATCH" => Some(Method::PATCH),
        "DELETE" => Some(Method::DELETE),
        "HEAD" => Some(Method::HEAD),
        "OPTION" | "OPTIONS" => Some(Method::OPTIONS),
        _ => None,
    }
}
