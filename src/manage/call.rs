//! What several dialects ask of a request before they look into it: a bounded body, a token, a name in the path.
//!
//! Must not know: any dialect's members, codes or envelopes.

use axum::body::Body;
use http::{HeaderMap, header};

use crate::event::Labels;

/// Longest request body, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// A body that is longer than [`BODY_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// The whole body.
pub(super) async fn read_body(body: Body) -> Result<bytes::Bytes, TooLarge> {
    // A body that breaks off fails as well, but then nobody is left to read the answer.
    axum::body::to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| TooLarge)
}

/// Whether there is one `Authorization` that is a token alone, without a scheme before it.
pub(super) fn has_plain_token(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Whether a label can have this value, and it is not empty.
pub(super) fn is_label_value(text: &str) -> bool {
    !text.is_empty() && text.len() <= Labels::MAX_VALUE_BYTES && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

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
