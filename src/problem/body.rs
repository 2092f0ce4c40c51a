//! What can be wrong with the body of a request before anybody looks into it: its media type, and how reading it failed.
//!
//! Must not know: what a body holds, how a dialect words its refusals.

use std::error::Error;
use std::io;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use crate::problem::codes::{self, Code};

/// Longest part of a media type that is repeated to the client, in characters.
const SHOWN_CHARS_MAX: usize = 100;

/// A body that must be JSON is stated to be something else. The text names what was stated and what may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stated}; Content-Type must be application/json or another type that ends in +json")]
pub(crate) struct NotJson {
    stated: String,
}

impl NotJson {
    /// For a body of which no media type is stated.
    #[must_use]
    pub(crate) fn unstated() -> Self {
        Self { stated: "the body has no Content-Type".to_owned() }
    }
}

/// Whether the one `Content-Type` is a JSON media type (RFC 8259, RFC 6839 section 3.1).
///
/// # Errors
/// [`NotJson`] when it is another one, missing or given several times.
pub(crate) fn check_json(headers: &HeaderMap) -> Result<(), NotJson> {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let stated = match (given.next(), given.next()) {
        (None, _) => return Err(NotJson::unstated()),
        // Two readers could take the body for different things: nobody chooses one.
        (Some(_), Some(_)) => "the body has several Content-Types".to_owned(),
        (Some(kind), None) if is_json(kind) => return Ok(()),
        (Some(kind), None) => {
            let shown: String =
                String::from_utf8_lossy(kind.as_bytes()).chars().take(SHOWN_CHARS_MAX).collect();
            format!("the body has the Content-Type {shown:?}")
        }
    };
    Err(NotJson { stated })
}

fn is_json(kind: &HeaderValue) -> bool {
    let Some(essence) = essence(kind) else { return false };
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The media type of the one `Content-Type`, in lower case and without parameters; `None` when it is missing, given several
/// times or no text.
#[must_use]
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (kind, None) = (given.next()?, given.next()) else { return None };
    essence(kind)
}

fn essence(kind: &HeaderValue) -> Option<String> {
    let essence = kind.to_str().ok()?.split(';').next()?;
    Some(essence.trim().to_ascii_lowercase())
}

/// Whether a body is stated to be encoded, as by compression.
#[must_use]
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    // `identity` stands for no coding at all.
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The whole body, of at most `most_bytes`.
///
/// # Errors
/// [`BodyFault`] when it is longer or does not come.
pub(crate) async fn read_whole(body: Body, most_bytes: usize) -> Result<Bytes, BodyFault> {
    axum::body::to_bytes(body, most_bytes).await.map_err(|error| BodyFault::of(&error))
}

/// How reading a body failed, so that nothing was done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFault {
    /// It is longer than its route reads.
    TooLarge,
    /// It stopped coming, or came too slowly.
    TooSlow,
    /// The connection ended before the body did.
    Incomplete,
}

impl BodyFault {
    /// The code by which tidegate's own routes say so.
    #[must_use]
    pub(crate) const fn code(self) -> Code {
        match self {
            Self::TooLarge => codes::PAYLOAD_TOO_LARGE,
            Self::TooSlow => codes::BODY_TIMEOUT,
            Self::Incomplete => codes::INCOMPLETE_BODY,
        }
    }

    /// From the error of reading it, at most so far.
    #[must_use]
    pub(crate) fn of(error: &axum::Error) -> Self {
        // Several layers wrap what went wrong: the first one whose kind is known counts.
        let mut cause = error.source();
        while let Some(inner) = cause {
            if inner.is::<http_body_util::LengthLimitError>() {
                return Self::TooLarge;
            }
            let io = inner.downcast_ref::<io::Error>();
            if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
                return Self::TooSlow;
            }
            cause = inner.source();
        }
        Self::Incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(kinds: &[&'static str]) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        for kind in kinds {
            headers.append(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        check_json(&headers).map_err(|not| not.to_string())
    }

    #[test]
    fn json_media_types_and_no_others() {
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert_eq!(verdict(&[kind]), Ok(()), "{kind}");
        }
        for kind in
            ["text/plain", "text/json", "application/x-www-form-urlencoded", "application/jsonp", "+json", ""]
        {
            let refused = verdict(&[kind]).expect_err(kind);
            assert!(
                refused.contains(&format!("{kind:?}")) && refused.contains("application/json"),
                "{refused}"
            );
        }
        assert!(verdict(&[]).expect_err("none").contains("no Content-Type"));
        assert!(verdict(&["application/json", "application/json"]).is_err());
    }
}
