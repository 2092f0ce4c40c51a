//! What an answer or a failure means: pure, by status, header, error code and error type, never by text.
//!
//! Must not know: sockets, time other than what it is handed.

use std::error::Error;
use std::io;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use super::egress::BlockedAddress;
use super::hears::{self, Answer, Systems};
use crate::clock::Timestamp;
use crate::event::{Cause, NameFailure, Outcome, Shortage, Wait};
use crate::names::NameError;

/// The longest that an endpoint can ask to be left alone.
const RETRY_AFTER_MAX: Duration = Wait::LONGEST;

/// The outcome of a complete response head and of its body, where [that may decide](hears::may_be_told_by_body) and
/// is complete; empty otherwise. An endpoint that says when it wants the next call is left alone whatever the answer.
pub(super) fn answer(systems: &Systems, answer: &Answer<'_>) -> Outcome {
    match (meaning(systems, answer), hears::next(systems, answer.headers)) {
        // It holds the lane by itself.
        (wait @ Outcome::Wait(_), _) => wait,
        (end, Some(next)) => Outcome::Paced { end: Box::new(end), next },
        (end, None) => end,
    }
}

/// 2xx is delivered whatever becomes of the body. What `systems` hear of being busy is a wait under any
/// status of failure. For the rest 408, 425, 429 and 5xx may heal; everything else will not, redirects included,
/// which are never followed.
fn meaning(systems: &Systems, answer: &Answer<'_>) -> Outcome {
    let Answer { status, headers, wall, .. } = *answer;
    if let Some(wait) = hears::told_by_head(systems, status, headers, wall) {
        return Outcome::Wait(wait);
    }
    if let Some(outcome) = hears::told_by_body(systems, answer) {
        return outcome;
    }
    let cause = Cause::Status(status.as_u16());
    match status.as_u16() {
        code @ 200..=299 => Outcome::Delivered { status: code },
        408 | 425 | 429 | 500.. => Outcome::Retry { cause, retry_after: retry_after(headers, wall) },
        _ => Outcome::Reject { cause },
    }
}

/// The address that the egress guard denied, if that is why an attempt failed.
pub(super) fn blocked(error: &reqwest::Error) -> Option<&BlockedAddress> {
    find(error)
}

/// The outcome of an attempt without a complete response head, other than one that was [`blocked`]; `begun` says
/// whether a byte of the request may have been written.
pub(super) fn failure(error: &reqwest::Error, begun: bool) -> Outcome {
    if error.is_builder() {
        // The request could not even be put together: it never will be.
        return Outcome::Reject { cause: Cause::Internal };
    }
    failed(transport_cause(error), begun)
}

/// The outcome of an attempt that ran out of time.
pub(super) fn timed_out(begun: bool) -> Outcome {
    failed(Cause::Timeout, begun)
}

fn failed(cause: Cause, begun: bool) -> Outcome {
    match cause {
        // The protocol says so, also after the request was written.
        Cause::Refused => Outcome::Unprocessed { cause },
        // The endpoint may have acted on what was written, so it costs an attempt even if the cause is ours.
        cause if begun => Outcome::Retry { cause, retry_after: None },
        Cause::Shortage(_) | Cause::Dns(NameFailure::Shortage) => Outcome::Shortage { cause },
        cause => Outcome::Unprocessed { cause },
    }
}

fn transport_cause(error: &reqwest::Error) -> Cause {
    // The most telling error of the chain decides: a shortage, a name that does not resolve and a failed handshake all
    // come wrapped in a failure to connect.
    if find::<h2::Error>(error).is_some_and(is_refusal) {
        Cause::Refused
    } else if let Some(shortage) =
        sources(error).filter_map(|error| error.downcast_ref()).find_map(Shortage::of)
    {
        Cause::Shortage(shortage)
    } else if error.is_timeout() {
        Cause::Timeout
    } else if let Some(unresolved) = find::<NameError>(error) {
        Cause::Dns(unresolved.failure)
    } else if find::<rustls::Error>(error).is_some() {
        Cause::Tls
    } else if error.is_connect() {
        Cause::Connect
    } else if find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse) {
        Cause::Malformed
    } else {
        Cause::Closed
    }
}

/// Whether the endpoint says that it has not processed the request (RFC 9113 8.7): it reset the stream with
/// REFUSED_STREAM, or sent a GOAWAY whose last stream lies below. Other streams of a connection with a GOAWAY do not fail
/// with it. A status, 421 included, is an answer.
fn is_refusal(error: &h2::Error) -> bool {
    let is_refused_stream = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (is_refused_stream || error.is_go_away())
}

/// The first error of type `E` among the sources.
fn find<E: Error + 'static>(error: &reqwest::Error) -> Option<&E> {
    sources(error).find_map(|error| error.downcast_ref::<E>())
}

/// The chain of sources. An `io::Error` names as its source what lies below the error it wraps, so that the wrapped one
/// comes as well.
fn sources(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&current| {
        match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        }
    })
}

/// `Retry-After` in seconds or as one of the three HTTP dates (RFC 9110 5.6.7, 10.2.3), held within
/// 0 ..= 1 h. A date is measured from the `Date` of the answer, without one from `wall`. A date in the past is zero; what
/// cannot be read is nothing.
#[must_use]
pub(crate) fn retry_after(headers: &HeaderMap, wall: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that do not fit are more than the longest wait.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    let moment = |date: NaiveDateTime| {
        Timestamp::from_millis(u64::try_from(date.and_utc().timestamp_millis()).unwrap_or(0))
    };
    // The clock that set the date tells best how far away it is.
    let theirs = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?.trim()));
    Some(moment(http_date(text)?).since(theirs.map_or(wall, moment)).min(RETRY_AFTER_MAX))
}

fn http_date(text: &str) -> Option<NaiveDateTime> {
    if let Ok(date) = DateTime::parse_from_rfc2822(text) {
        return Some(date.naive_utc());
    }
    // The two obsolete forms, which a recipient has to accept too.
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    /// What an answer without a body means while no system is listened for.
    fn means(status: StatusCode, headers: &HeaderMap, wall: Timestamp) -> Outcome {
        answer(&[], &Answer { status, headers, body: b"", wall })
    }

    fn after(status: u16, value: &str, wall: Timestamp) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().expect("header"));
        match means(StatusCode::from_u16(status).expect("status"), &headers, wall) {
            Outcome::Retry { retry_after, .. } => retry_after,
            other => panic!("{status} is {other:?}"),
        }
    }

    #[test]
    fn every_status_has_its_meaning() {
        for code in 200..=999_u16 {
            let status = StatusCode::from_u16(code).expect("status");
            let outcome = means(status, &HeaderMap::new(), Timestamp::ZERO);
            let cause = Cause::Status(code);
            let wanted = match code {
                200..=299 => Outcome::Delivered { status: code },
                408 | 425 | 429 | 500..=999 => Outcome::Retry { cause, retry_after: None },
                _ => Outcome::Reject { cause },
            };
            assert_eq!(outcome, wanted, "{code}");
        }
    }

    #[test]
    fn retry_after_is_read_in_all_forms_and_clamped() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let date_ms = 784_111_777_000;
        let wall = Timestamp::from_millis(date_ms - 90_000);
        let seconds = |s| Some(Duration::from_secs(s));
        for (value, wanted) in [
            ("0", seconds(0)),
            ("17", seconds(17)),
            (" 17 ", seconds(17)),
            ("3600", seconds(3600)),
            ("3601", seconds(3600)),
            ("99999999999999999999999999", seconds(3600)),
            ("-5", None),
            ("+5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT", seconds(90)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", seconds(90)),
            ("Sun Nov  6 08:49:37 1994", seconds(90)),
            ("Sun, 06 Nov 1904 08:49:37 GMT", seconds(0)),
            ("Sun, 06 Nov 2094 08:49:37 GMT", None),
            ("Sat, 06 Nov 2094 08:49:37 GMT", seconds(3600)),
        ] {
            assert_eq!(after(503, value, wall), wanted, "{value:?}");
        }
        assert_eq!(after(429, "5", wall), seconds(5));
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT".parse().expect("header"));
        for (date, wanted) in
            [("Sun, 06 Nov 1994 08:49:20 GMT", 17), ("soon", 90), ("Sun, 06 Nov 1994 09:49:20 GMT", 0)]
        {
            headers.insert(DATE, date.parse().expect("header"));
            assert_eq!(retry_after(&headers, wall), seconds(wanted), "{date:?}");
        }
        assert_eq!(after(503, "Sun, 06 Nov 1994 08:49:37 GMT", Timestamp::ZERO), seconds(3600), "in doubt");
        assert_eq!(after(503, "Sun, 06 Nov 1994 08:49:37 GMT", wall + Duration::from_secs(100)), seconds(0));
    }
}
