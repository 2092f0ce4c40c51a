//! Error answers of tidegate's own API: RFC 9457 `application/problem+json` with a stable `code`, the field,
//! the rule and the way out. The dialects keep their own envelopes.
//!
//! Must not know: what the problems are about.

mod about;
mod body;
pub mod codes;
pub(crate) mod doc;
mod foreign;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::codes::Code;

pub(crate) use about::{About, LimitNumbers, NamedPolicy, NearMiss};
pub(crate) use body::{BodyFault, NotJson, check_json, is_encoded, media_type, read_whole};
pub(crate) use foreign::{ForeignRefusal, RefusalRenderer, RefusedCall};

/// One refusal, ready to be sent or written as a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A stable URI for the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words, the same for every occurrence.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs: each status of a route lists its own.
    pub code: &'static str,
    /// What is wrong here and what to do about it.
    pub detail: String,
    /// Which field broke which rule: the first [`Problem::MAX_ERRORS`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which a repetition may succeed; also sent as `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry_after_seconds: Option<u64>,
    #[serde(flatten)]
    pub about: Box<About>,
    /// Further headers of the answer.
    #[serde(skip)]
    pub headers: HeaderMap,
    /// Sent instead of this problem when the request holds one event.
    #[serde(skip)]
    pub instead: Option<Box<ForeignRefusal>>,
}

/// One field that broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// JSON pointer to the field, `` for the whole document.
    pub pointer: String,
    /// The rule and the way out.
    pub detail: String,
}

impl Problem {
    /// Most fields that are named: an answer stays small however much is wrong.
    pub(crate) const MAX_ERRORS: usize = 32;
    /// When to ask again after [`Problem::store_held`]: a person has to act first.
    const HELD_RETRY_SECONDS: u64 = 60;
    /// When to ask again after [`Problem::event_unread`]: the disk is asked again all the time.
    const UNREAD_RETRY_SECONDS: u64 = 10;
    /// Seconds until a repetition is worth trying while the disk does not answer.
    const LATE_RETRY_SECONDS: u64 = 5;

    /// A problem of the kind `code`, from which type URI, title and status follow; `detail` says what is wrong here and
    /// what to do about it.
    #[must_use]
    pub(crate) fn of(code: Code, detail: impl Into<String>) -> Self {
        debug_assert!((400..600).contains(&code.status), "a problem has the status of an error");
        Self {
            kind: format!("urn:tidegate:problem:{}", code.word),
            title: code.title,
            status: code.status,
            code: code.word,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
            about: Box::default(),
            headers: HeaderMap::new(),
            instead: None,
        }
    }

    /// Nothing is taken or changed while the store as a whole is in doubt: `reason` says why, with the way out.
    #[must_use]
    pub(crate) fn store_held(reason: &str) -> Self {
        let detail = format!("nothing was kept or changed: {reason}");
        Self::of(codes::STORE_HELD, detail).retry_after(Self::HELD_RETRY_SECONDS)
    }

    /// An event that waits cannot be read at present: `reason` says why, with the way out.
    #[must_use]
    pub(crate) fn event_unread(reason: &str) -> Self {
        let detail = format!("the event waits, but the disk does not let it be read: {reason}");
        Self::of(codes::EVENT_UNREAD, detail).retry_after(Self::UNREAD_RETRY_SECONDS)
    }

    /// The store has not taken what was asked for in the time that its caller waits; `detail` says what that means.
    #[must_use]
    pub(crate) fn store_slow(detail: &str) -> Self {
        Self::of(codes::STORE_SLOW, detail).retry_after(Self::LATE_RETRY_SECONDS)
    }

    /// The store has taken it and has not confirmed it in the time that its caller waits; `detail` says what that means.
    #[must_use]
    pub(crate) fn outcome_unknown(detail: &str) -> Self {
        Self::of(codes::OUTCOME_UNKNOWN, detail).retry_after(Self::LATE_RETRY_SECONDS)
    }

    /// Names a field by its JSON pointer, unless enough are named.
    #[must_use]
    pub(crate) fn field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        if self.errors.len() < Self::MAX_ERRORS {
            self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        }
        self
    }

    /// The same with what it is about.
    #[must_use]
    pub(crate) fn about(mut self, about: About) -> Self {
        *self.about = about;
        self
    }

    /// The same with the seconds after which a repetition may succeed.
    #[must_use]
    pub(crate) const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if let Some(told) = self.instead {
            return told.into_response();
        }
        // Every code has a status from 400 to 599: the fallback only spares a panic.
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // A struct of text and numbers always serialises.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        debug_assert!(!body.is_empty(), "a problem has a body");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers);
        // After the further headers: none of them may say that the body is something else.
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn status_and_title_follow_from_the_code() {
        let problem = Problem::of(codes::PAYLOAD_TOO_LARGE, "an event of 9 MB");
        assert_eq!(
            (&*problem.kind, problem.title, problem.status, problem.code, &*problem.detail),
            (
                "urn:tidegate:problem:payload_too_large",
                "The request is too large",
                413,
                "payload_too_large",
                "an event of 9 MB"
            )
        );
        assert_eq!(Problem::of(BodyFault::TooSlow.code(), "").title, codes::BODY_TIMEOUT.title);
    }

    #[test]
    fn every_code_is_listed_once_with_a_status_of_an_error_and_a_title() {
        let words: HashSet<_> = codes::ALL.iter().map(|code| code.word).collect();
        assert_eq!(words.len(), codes::ALL.len());
        for code in codes::ALL {
            assert!((400..600).contains(&code.status), "{code:?}");
            assert!(code.title.starts_with(char::is_uppercase) && !code.title.ends_with('.'), "{code:?}");
        }
    }
}
