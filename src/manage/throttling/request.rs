//! What the routes take from a request: its headers, its query, its body.
//!
//! Must not know: what the routes do.

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use http::{HeaderMap, header};

use crate::event::Labels;
use crate::manage::throttling::errors::{Failure, GatewayError, Refusal};

/// Longest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The uid in a path; what is not even text is an error.
pub(super) type Uid = Result<Path<String>, PathRejection>;

pub(super) async fn read_body(body: Body) -> Result<bytes::Bytes, Failure> {
    // A body that breaks off fails as well, but then nobody is left to read the answer.
    axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| Failure::TooLarge)
}

pub(super) fn require(headers: &HeaderMap, name: &str, missing: GatewayError) -> Result<(), Refusal> {
    if headers.contains_key(name) { Ok(()) } else { Err(Refusal::Gateway(missing)) }
}

/// A header that becomes an attribute. One that no label could equal counts as missing; it never falls back
/// to the default, which would be somebody else's.
pub(super) fn attribute(headers: &HeaderMap, name: &str, default: &str) -> Result<String, Refusal> {
    let Some(value) = headers.get(name) else { return Ok(default.to_owned()) };
    let readable = value.to_str().ok().filter(|text| {
        !text.is_empty() && text.len() <= Labels::MAX_VALUE_BYTES && !text.chars().any(char::is_control)
    });
    readable.map(str::to_owned).ok_or(Refusal::Gateway(GatewayError::MissingHeader))
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split_once(';').map_or(value, |(media_type, _)| media_type);
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// Only the value `true` forces, in any case (contracts.md 1.2); when repeated, every time.
pub(super) fn is_forced(query: Option<&str>) -> bool {
    let mut values = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter_map(|pair| pair.split_once('='))
        .filter(|(name, _)| *name == "forceDelete")
        .map(|(_, value)| value.eq_ignore_ascii_case("true"))
        .peekable();
    values.peek().is_some() && values.all(|forced| forced)
}
