//! What several dialects ask of a request before they look into it: a bounded body in JSON, a token, a name in the path;
//! and how a value becomes an answer.
//!
//! Must not know: any dialect's members, codes or envelopes.

use std::fmt;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::event::Labels;
use crate::problem::{BodyFault, NotJson, check_json, read_whole};

/// Longest request body of a dialect, in bytes: far above what one object says.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// The whole body, when it is stated to be JSON.
pub(super) async fn read_json(headers: &HeaderMap, body: Body) -> Result<Bytes, BodyRefused> {
    // Before the body is read: one of another type is refused without waiting for it.
    check_json(headers)?;
    Ok(read_body(body).await?)
}

/// The whole body, of whatever type.
pub(super) async fn read_body(body: Body) -> Result<Bytes, BodyFault> {
    read_whole(body, BODY_BYTES_MAX).await
}

/// Why a body is not read, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BodyRefused {
    /// It is of another type than JSON.
    Type(NotJson),
    /// The body could not be read to its end: too large, too slow or broken off.
    Fault(BodyFault),
}

impl From<NotJson> for BodyRefused {
    fn from(not_json: NotJson) -> Self {
        Self::Type(not_json)
    }
}

impl From<BodyFault> for BodyRefused {
    fn from(fault: BodyFault) -> Self {
        Self::Fault(fault)
    }
}

impl BodyRefused {
    /// The HTTP status that says so.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Type(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Fault(BodyFault::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Fault(BodyFault::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::Fault(BodyFault::Incomplete) => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for BodyRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(not_json) => not_json.fmt(f),
            Self::Fault(BodyFault::TooLarge) => write!(f, "a body has at most {BODY_BYTES_MAX} bytes"),
            // A caller that was cut off has to know whether it may repeat the request.
            Self::Fault(BodyFault::TooSlow) => f.write_str("the body stopped coming; nothing was changed"),
            Self::Fault(BodyFault::Incomplete) => {
                f.write_str("the body broke off before its end; nothing was changed")
            }
        }
    }
}

/// A value as the body of an answer, in JSON under the content type that the dialect gives it.
pub(super) fn json_answer(status: StatusCode, content_type: &'static str, body: &impl Serialize) -> Response {
    // Texts, numbers, lists and maps with text keys always serialise.
    let body = serde_json::to_vec(body).unwrap_or_default();
    debug_assert!(!body.is_empty(), "an answer in JSON has a body");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Whether there is one `Authorization` that is a token alone, without a scheme before it.
pub(super) fn has_plain_token(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    // Two of them could be read as two callers.
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    // A scheme would be followed by a blank, which is not graphic.
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Whether a label can have this value, and it is not empty.
pub(super) fn is_label_value(text: &str) -> bool {
    !text.is_empty() && text.len() <= Labels::MAX_VALUE_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            has_plain_token(&headers)
        };
        assert!(of(&["api:1:abc=="]));
        for refused in [&[][..], &[""], &["Bearer abc"], &["a", "b"]] {
            assert!(!of(refused), "{refused:?}");
        }
    }

    #[test]
    fn a_label_value_is_short_and_has_no_control_characters() {
        assert!(is_label_value("1502") && is_label_value(&"x".repeat(Labels::MAX_VALUE_BYTES)));
        for refused in ["", "a\u{0}", "a\u{85}b", &"x".repeat(Labels::MAX_VALUE_BYTES + 1)] {
            assert!(!is_label_value(refused), "{refused:?}");
        }
    }
}
