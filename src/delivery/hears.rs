//! Who hears that an endpoint is busy or over a limit of its own, whatever its status stands for elsewhere.
//!
//! Each system has its own way to say so: a header, or a code in the body. Those who know one are handed in as a list; the
//! first that recognises an answer decides.
//!
//! Must not know: any of the systems, sockets, what other answers mean.

use std::fmt;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use crate::clock::Timestamp;
use crate::event::{Cause, Outcome, Said, Wait};

/// Knows how the endpoints of one system say that they are busy, over a limit, or will not take a call. Pure: by header
/// and code, without a clock of its own.
pub trait Hears: fmt::Debug + Send + Sync {
    /// Every code that [`Hears::head`] and [`Hears::body`] can report.
    fn words(&self) -> Words;

    /// The names, in small letters, of the headers of its own that [`Hears::next`] and [`Hears::head`] read.
    fn headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// When the endpoint wants the next call, as the head of an answer of any status says beside what it means.
    fn next(&self, headers: &HeaderMap) -> Option<Wait> {
        let _nothing = headers;
        None
    }

    /// What the head of an answer of 400 or above says; `None` when it says nothing of the kind. `wall` is the time of
    /// the answer.
    fn head(&self, status: StatusCode, headers: &HeaderMap, wall: Timestamp) -> Option<Wait> {
        let _nothing = (status, headers, wall);
        None
    }

    /// Whether the body of an answer of 400 or above may say something of the kind.
    fn may_say(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        let _any = status;
        is_json(headers)
    }

    /// What the complete body of an answer of 400 or above says, of which no head was recognised.
    fn body(&self, answer: &Answer<'_>) -> Option<Outcome> {
        let _nothing = answer;
        None
    }
}

/// An answer with its complete body.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// Its status; systems are asked about 400 or above.
    pub status: StatusCode,
    /// The headers of its head, without trailers.
    pub headers: &'a HeaderMap,
    /// Its body as it came.
    pub body: &'a [u8],
    /// The time of the answer.
    pub wall: Timestamp,
}

/// What endpoints of one system may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    /// What they say together with a time to wait, or while they are busy.
    pub waits: &'static [Said],
    /// What they say when they will not take the call at all.
    pub denials: &'static [Said],
}

/// All systems that are listened for, in the order in which they are asked.
pub(super) type Systems = [&'static dyn Hears];

/// What the head alone says; `None` when it says nothing of the kind.
pub(super) fn told_by_head(
    systems: &Systems,
    status: StatusCode,
    headers: &HeaderMap,
    wall: Timestamp,
) -> Option<Wait> {
    if status.as_u16() < 400 {
        return None;
    }
    systems.iter().find_map(|one| {
        let wait = one.head(status, headers, wall)?;
        debug_assert!(one.words().have(Some(Cause::Busy(wait.said()))), "{wait:?} is not listed");
        Some(wait)
    })
}

/// When the endpoint wants the next call, whatever it answered; `None` when it does not say.
pub(super) fn next(systems: &Systems, headers: &HeaderMap) -> Option<Wait> {
    systems.iter().find_map(|one| one.next(headers))
}

/// Whether only the body can tell: it is an error in a form that some system uses for that, and the head does not say that
/// the endpoint is busy.
pub(super) fn may_be_told_by_body(systems: &Systems, status: StatusCode, headers: &HeaderMap) -> bool {
    status.as_u16() >= 400
        && systems.iter().any(|one| one.may_say(status, headers))
        // Only whether the head is recognised counts here, so any time will do.
        && told_by_head(systems, status, headers, Timestamp::ZERO).is_none()
}

/// What a complete body says, of an answer whose head says nothing of the kind.
pub(super) fn told_by_body(systems: &Systems, answer: &Answer<'_>) -> Option<Outcome> {
    if answer.status.as_u16() < 400 {
        return None;
    }
    let mut listening = systems.iter().filter(|one| one.may_say(answer.status, answer.headers));
    listening.find_map(|one| {
        let outcome = one.body(answer)?;
        debug_assert!(one.words().have(outcome.cause()), "{outcome:?} is not listed");
        Some(outcome)
    })
}

impl Words {
    /// Whether this is one of them: each has its series of metrics from the start.
    fn have(&self, cause: Option<Cause>) -> bool {
        match cause {
            Some(Cause::Busy(said)) => self.waits.contains(&said),
            Some(Cause::Denied(said)) => self.denials.contains(&said),
            _ => false,
        }
    }
}

/// From `wall` to the next edge of a period of the clock, in UTC; a whole period at an edge.
#[must_use]
pub(crate) fn until_edge(wall: Timestamp, period: Duration) -> Duration {
    debug_assert!(!period.is_zero(), "callers name whole minutes or longer");
    let into_ns = u128::from(wall.as_nanos()) % period.as_nanos();
    // What remains is below the period, which is far below the 584 years that 64 bits of nanoseconds hold.
    period.saturating_sub(Duration::from_nanos(u64::try_from(into_ns).unwrap_or(0)))
}

fn is_json(headers: &HeaderMap) -> bool {
    // A type that is not text, or none, is taken for no JSON: the status decides then.
    let Some(Ok(text)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::{JSON, TO_MINUTE_MS, WALL, headers};
    use crate::manage;

    const MINUTE: Duration = Duration::from_secs(60);
    const TEN_MINUTES: Duration = Duration::from_secs(600);
    const QPS: (&str, &str) = ("x-mashery-error-code", "ERR_403_DEVELOPER_OVER_QPS");
    const MICS_DELAY: &str = "x-mics-next-msg-delay";

    #[test]
    fn a_body_is_asked_for_only_when_it_may_decide() {
        let asked = |status: u16, head: &[(&'static str, &'static str)]| {
            may_be_told_by_body(
                &manage::hears(),
                StatusCode::from_u16(status).expect("status"),
                &headers(head),
            )
        };
        for status in [400, 401, 403, 429, 500, 503] {
            assert!(asked(status, &[JSON]), "{status}");
            assert!(asked(status, &[("content-type", "Application/Problem+JSON")]), "{status}");
            assert!(!asked(status, &[JSON, QPS]), "{status}");
            for other in ["text/xml", "text/json", "application/jsonp", "json", "application/json, text/xml"]
            {
                assert!(!asked(status, &[("content-type", other)]), "{status} {other}");
            }
            assert!(!asked(status, &[]), "{status}");
        }
        assert!(!asked(429, &[JSON, (MICS_DELAY, "5")]) && asked(500, &[JSON, (MICS_DELAY, "5")]));
        let html = [("content-type", "text/html; charset=utf-8")];
        assert_eq!([400, 429, 500, 503].map(|status| asked(status, &html)), [false, true, false, true]);
        for status in [200, 204, 301, 399] {
            assert!(!asked(status, &[JSON]), "{status}");
        }
    }

    #[test]
    fn the_next_edge_is_never_now() {
        let minute = |ms| until_edge(Timestamp::from_millis(ms), MINUTE);
        assert_eq!(minute(0), MINUTE);
        assert_eq!(minute(1), Duration::from_millis(59_999));
        assert_eq!(minute(59_999), Duration::from_millis(1));
        assert_eq!(minute(60_000), MINUTE);
        let last_ns = Timestamp::from_nanos(120_000_000_000 - 1);
        assert_eq!(until_edge(last_ns, MINUTE), Duration::from_nanos(1));
        assert_eq!(until_edge(WALL, TEN_MINUTES), Duration::from_millis(420_000 + TO_MINUTE_MS));
        assert!(until_edge(Timestamp::MAX, TEN_MINUTES) <= TEN_MINUTES);
    }
}
