//! Refusals in the words of the system that a limit comes from: what its clients would see, status, headers and body.
//!
//! Must not know: the systems; the rooms that speak for them hand in a [`RefusalRenderer`].

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// A call that was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefusedCall<'a> {
    /// The origin of the policy, by which the system is found that speaks.
    pub origin: &'a str,
    /// The code by which that system calls the refusal.
    pub code: &'a str,
    /// What is limited, in the words of the system; may be empty.
    pub subject: &'a str,
    /// Whole seconds after which there may be room; `None` when that is never.
    pub retry_after_seconds: Option<u64>,
}

/// The refusal in the words of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignRefusal {
    /// The code in its error body or header.
    pub code: &'static str,
    /// Its message, as a sentence for people.
    pub message: String,
    /// The HTTP status that the system answers with.
    pub status: StatusCode,
    /// The HTTP status of the same refusal in tidegate's own form.
    pub uniform_status: StatusCode,
    /// Its own headers, without those that describe the body.
    pub headers: HeaderMap,
    /// The media type of the body.
    pub content_type: &'static str,
    /// The body that it answers with, as its clients parse it.
    pub body: Bytes,
}

/// Speaks for the systems; `None` for those that have no words of their own.
pub(crate) type RefusalRenderer = Arc<dyn Fn(&RefusedCall<'_>) -> Option<ForeignRefusal> + Send + Sync>;

impl IntoResponse for ForeignRefusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.headers, self.body).into_response();
        // Bytes alone would be sent as `application/octet-stream`.
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response
    }
}
