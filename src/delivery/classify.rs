//! What an answer or a failure means: pure, by status, header, error code and error type, never by text.
//!
//! Must not know: sockets, time other than what it is handed.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::StatusCode;
use hyper_util::client::legacy::Error as CallError;
use rustls::AlertDescription;

use super::asked::{self, NOTHING_LEFT};
use super::egress::BlockedAddress;
use super::heads::HeadError;
use super::hears::{self, Answer, Systems};
use crate::event::{Cause, NameFailure, Outcome, Shortage, Wait};
use crate::names::NameError;

/// The outcome of a complete response head and of its body, where [that may decide](hears::may_be_told_by_body) and
/// is complete; empty otherwise. An endpoint that says when it wants the next call is left alone whatever the answer.
pub(super) fn answer(systems: &Systems, answer: &Answer<'_>) -> Outcome {
    let end = meaning(systems, answer);
    let used_up = match end {
        // It holds the lane by itself.
        Outcome::Wait(_) => return end,
        Outcome::Retry { retry_after: Some(_), .. } => None,
        _ => asked::limits(answer.headers, answer.wall).used_up,
    };
    let next = hears::next(systems, answer.headers)
        .into_iter()
        .chain(used_up.map(|until| Wait::new(NOTHING_LEFT, until)))
        .max_by_key(Wait::length);
    match next {
        Some(next) => Outcome::Paced { end: Box::new(end), next },
        None => end,
    }
}

/// 2xx is delivered whatever becomes of the body. What `systems` hear of being busy is a wait under any
/// status of failure. For the rest 408, 425, 429 and 5xx may heal, as may 403 and 413 that name a time to come back;
/// everything else will not, redirects included, which are never followed.
fn meaning(systems: &Systems, answer: &Answer<'_>) -> Outcome {
    let Answer { status, headers, wall, .. } = *answer;
    if let Some(wait) = hears::told_by_head(systems, status, headers, wall) {
        return Outcome::Wait(wait);
    }
    if let Some(outcome) = hears::told_by_body(systems, answer) {
        return outcome;
    }
    let cause = Cause::Status(status.as_u16());
    let code @ (403 | 408 | 413 | 425 | 429 | 500..) = status.as_u16() else {
        return match status.as_u16() {
            code @ 200..=299 => Outcome::Delivered { status: code },
            _ => Outcome::Reject { cause },
        };
    };
    match (code, come_back(answer)) {
        // Without a time it is no matter of time.
        (403 | 413, None) => Outcome::Reject { cause },
        (_, retry_after) => Outcome::Retry { cause, retry_after },
    }
}

/// When an answer of failure wants the next call, if it says so.
fn come_back(answer: &Answer<'_>) -> Option<Duration> {
    let Answer { status, headers, wall, .. } = *answer;
    asked::retry_after(headers, wall).or_else(|| {
        let limits = asked::limits(headers, wall);
        // That a limit turned this call away is certain only then. Of several it was most likely the shortest.
        let any = limits.first.filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
        limits.used_up.or(any)
    })
}

/// The address that the egress guard denied, if that is why an attempt failed.
pub(super) fn blocked(error: &CallError) -> Option<&BlockedAddress> {
    find(error)
}

/// The outcome of an attempt without a complete response head, other than one that was [`blocked`]; `begun` says
/// whether a byte of the request may have been written.
pub(super) fn failure(error: &CallError, begun: bool) -> Outcome {
    if find::<rustls::Error>(error).is_some_and(is_certificate_refused) {
        // The handshake of the endpoint has not ended, so that it has read none of what was written.
        return Outcome::Unprocessed { cause: Cause::Tls };
    }
    failed(transport_cause(error), begun)
}

/// The outcome where the request could not even be put together: it never will be.
pub(super) const fn unbuildable() -> Outcome {
    Outcome::Reject { cause: Cause::Internal }
}

/// The outcome where TLS cannot be spoken as it is set for the endpoint: that can be mended.
pub(super) const fn without_tls() -> Outcome {
    Outcome::Unprocessed { cause: Cause::Tls }
}

/// The outcome where there is no token to send: calls are asked for one before they start.
pub(super) const fn without_token() -> Outcome {
    Outcome::Unprocessed { cause: Cause::Internal }
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

fn transport_cause(error: &CallError) -> Cause {
    // The most telling error of the chain decides: a shortage, a name that does not resolve and a failed handshake all
    // come wrapped in a failure to connect.
    if find::<h2::Error>(error).is_some_and(is_refusal) {
        Cause::Refused
    } else if find::<h2::Error>(error).is_some_and(is_malformed) {
        Cause::Malformed
    } else if let Some(shortage) = sources(error).find_map(shortage) {
        Cause::Shortage(shortage)
    } else if sources(error).any(is_timeout) {
        Cause::Timeout
    } else if let Some(unresolved) = find::<NameError>(error) {
        Cause::Dns(unresolved.failure)
    } else if find::<rustls::Error>(error).is_some() {
        Cause::Tls
    } else if error.is_connect() {
        Cause::Connect
    } else if find::<HeadError>(error).is_some()
        || find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse)
    {
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

/// Whether the head of an answer breaks the rules of HTTP/2 (RFC 9113 8.1.1): its stream alone was reset here.
fn is_malformed(error: &h2::Error) -> bool {
    error.is_library() && error.is_reset() && error.reason() == Some(h2::Reason::PROTOCOL_ERROR)
}

/// Whether the endpoint turns away the certificate that was shown to it, or misses one. Under TLS 1.3 it says so after the
/// handshake has ended on this side, when the request may be on its way (RFC 8446 4.4.2.4, 6.2).
const fn is_certificate_refused(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::CertificateRequired
        )
    )
}

/// Whether the guard denies an address.
pub(super) fn is_blocked(error: &(dyn Error + 'static)) -> bool {
    chain(Some(error)).any(|error| error.is::<BlockedAddress>())
}

/// Whether a failure to connect says something of ourselves alone.
pub(super) fn is_shortage(error: &(dyn Error + 'static)) -> bool {
    chain(Some(error)).any(|error| {
        let unresolved = error.downcast_ref::<NameError>();
        shortage(error).is_some() || unresolved.is_some_and(|error| error.failure == NameFailure::Shortage)
    })
}

fn shortage(error: &(dyn Error + 'static)) -> Option<Shortage> {
    error.downcast_ref().and_then(Shortage::of)
}

/// Whether a deadline has passed, one of the system included.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let by_system = error.downcast_ref::<io::Error>().map(io::Error::kind);
    by_system == Some(io::ErrorKind::TimedOut)
        || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout)
}

/// The first error of type `E` among the sources.
fn find<E: Error + 'static>(error: &CallError) -> Option<&E> {
    sources(error).find_map(|error| error.downcast_ref::<E>())
}

fn sources(error: &CallError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    chain(error.source())
}

/// An error and the chain of its sources. An `io::Error` names as its source what lies below the error it wraps, so that
/// the wrapped one comes as well.
fn chain<'e>(first: Option<&'e (dyn Error + 'static)>) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(first, |&current| {
        match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::clock::Timestamp;
    use crate::delivery::testing::headers;

    /// What an answer without a body means while no system is listened for.
    fn means(status: StatusCode, headers: &HeaderMap, wall: Timestamp) -> Outcome {
        answer(&[], &Answer { status, headers, body: b"", wall })
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
    fn a_time_to_come_back_makes_a_wait_of_what_would_be_refused() {
        let retry = |code, s: Option<u64>| Outcome::Retry {
            cause: Cause::Status(code),
            retry_after: s.map(Duration::from_secs),
        };
        let refused = |code| Outcome::Reject { cause: Cause::Status(code) };
        let paced = |end: Outcome, s| Outcome::Paced {
            end: Box::new(end),
            next: Wait::new(NOTHING_LEFT, Duration::from_secs(s)),
        };
        let delivered = Outcome::Delivered { status: 200 };
        let later = &[("retry-after", "7200")][..];
        let empty = &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")][..];
        let left = &[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "30")][..];
        let both = &[("retry-after", "5"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")][..];
        let unreadable = &[("retry-after", "soon")][..];
        for (status, head, wanted) in [
            (429, later, retry(429, Some(7200))),
            (503, later, retry(503, Some(7200))),
            (403, later, retry(403, Some(7200))),
            (413, later, retry(413, Some(7200))),
            (404, later, refused(404)),
            (301, later, refused(301)),
            (200, later, delivered.clone()),
            (429, empty, retry(429, Some(30))),
            (503, empty, retry(503, Some(30))),
            (403, empty, retry(403, Some(30))),
            (404, empty, paced(refused(404), 30)),
            (200, empty, paced(delivered.clone(), 30)),
            (429, left, retry(429, Some(30))),
            (503, left, retry(503, None)),
            (403, left, refused(403)),
            (200, left, delivered),
            (429, both, retry(429, Some(5))),
            (429, unreadable, retry(429, None)),
            (403, unreadable, refused(403)),
        ] {
            let headers = headers(head);
            let status = StatusCode::from_u16(status).expect("status");
            assert_eq!(means(status, &headers, Timestamp::ZERO), wanted, "{status} {head:?}");
        }
    }
}
