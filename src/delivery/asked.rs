//! What an answer says of the time to come back: `Retry-After` (RFC 9110 10.2.3), and what counts of a limit are left until
//! when: `RateLimit` and `RateLimit-*` of the drafts of the IETF, `X-RateLimit-*` and `X-Rate-Limit-*` of many systems.
//!
//! Must not know: what follows from it, the words of single systems.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};

use super::times::{self, Named};
use crate::clock::Timestamp;
use crate::event::{Said, Wait};

/// Of a wait until a limit of the endpoint has room again.
pub(super) const NOTHING_LEFT: Said = Said { code: "RateLimit-Remaining: 0", label: "rate_limit" };
/// How long a date is waited for while it is not certain what time it is.
const IN_DOUBT: Duration = Duration::from_secs(60 * 60);
/// The field that holds all limits at once.
const ALL_IN_ONE: &str = "ratelimit";
/// What the names of fields for a single limit begin with.
const PREFIXES: [&str; 3] = ["ratelimit-", "x-ratelimit-", "x-rate-limit-"];
/// Most limits of one answer that are read; further ones are passed over.
const LIMITS_MAX: usize = 32;

/// `Retry-After` in one of the [forms](times) that are seen, at most [`Wait::LONGEST`]. A date is measured from the `Date` of
/// the answer, without one from `wall`, and means an hour while that is in doubt ([`Timestamp::ZERO`]). A date in the
/// past is zero; what cannot be read is nothing.
#[must_use]
pub(crate) fn retry_after(headers: &HeaderMap, wall: Timestamp) -> Option<Duration> {
    let named = headers.get_all(RETRY_AFTER).iter().filter_map(text).find_map(times::read)?;
    Some(length(named, headers, wall))
}

/// Whether the first `Retry-After` that can be read is a date, and it is not certain what time it is.
pub(super) fn is_in_doubt(headers: &HeaderMap, wall: Timestamp) -> bool {
    let named = || headers.get_all(RETRY_AFTER).iter().filter_map(text).find_map(times::read);
    wall == Timestamp::ZERO && matches!(named(), Some(Named::At(_))) && theirs(headers).is_none()
}

/// What is left of the limits that an answer tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Until all limits of which nothing is left have room again; `None` where something is left of each.
    pub(super) used_up: Option<Duration>,
    /// Until the first of the others starts anew; `None` where there is none.
    pub(super) first: Option<Duration>,
}

/// Reads the limits; what cannot be read is passed over, as is a limit that does not say when it starts anew.
pub(super) fn limits(headers: &HeaderMap, wall: Timestamp) -> Limits {
    let mut all: BTreeMap<String, Limit> = BTreeMap::new();
    for (name, value) in headers {
        let name = name.as_str();
        let Some(value) = text(value).filter(|_| all.len() < LIMITS_MAX) else { continue };
        if name == ALL_IN_ONE {
            for limit in in_one(value) {
                all.insert(format!("{ALL_IN_ONE}:{}", all.len()), limit);
            }
        } else if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            single(name, value, &mut all);
        }
    }
    let until = |is_used_up: bool| {
        let limits = all.values().filter(move |limit| limit.is_used_up() == is_used_up);
        limits.filter_map(move |limit| Some(length(limit.reset?, headers, wall)))
    };
    Limits { used_up: until(true).max(), first: until(false).min() }
}

/// As far as it has been read.
#[derive(Debug, Clone, Copy, Default)]
struct Limit {
    is_empty: Option<bool>,
    reset: Option<Named>,
    /// Its reset stands in a field that names a span beyond doubt.
    is_span: bool,
}

impl Limit {
    fn is_used_up(self) -> bool {
        self.is_empty == Some(true)
    }
}

/// Fields whose names differ in `remaining` and `reset` alone are about one limit.
fn single(name: &str, value: &str, all: &mut BTreeMap<String, Limit>) {
    let words = || name.split('-');
    let says = |wanted: &str| words().any(|word| word == wanted);
    let (is_count, is_span) = (says("remaining"), says("after"));
    if !is_count && !says("reset") {
        return;
    }
    let key: Vec<&str> = words().filter(|word| !matches!(*word, "remaining" | "reset" | "after")).collect();
    let limit = all.entry(key.join("-")).or_default();
    if is_count {
        limit.is_empty = is_zero(value).or(limit.is_empty);
    } else if let Some(named) = times::read(value).filter(|_| is_span || !limit.is_span) {
        (limit.reset, limit.is_span) = (Some(named), is_span);
    }
}

/// The limits of `"name";r=0;t=30, …` (from draft 8 on) or of `limit=10, remaining=0, reset=30` (draft 7).
fn in_one(value: &str) -> impl Iterator<Item = Limit> {
    let mut flat = Limit::default();
    let mut listed = Vec::new();
    for item in outside_quotes(value, ',') {
        let mut limit = Limit::default();
        let parts = outside_quotes(item, ';');
        for (name, number) in parts.iter().filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "r" => limit.is_empty = is_zero(number),
                "t" => limit.reset = times::read(number),
                "remaining" => flat.is_empty = is_zero(number),
                "reset" => flat.reset = times::read(number),
                _ => {}
            }
        }
        listed.push(limit);
    }
    listed.push(flat);
    listed.into_iter().filter(|limit| limit.is_empty.is_some() || limit.reset.is_some()).take(LIMITS_MAX)
}

/// The parts between these marks, those in quotation marks left out.
fn outside_quotes(text: &str, mark: char) -> Vec<&str> {
    let mut is_quoted = false;
    let parts = text.split(|c: char| {
        is_quoted ^= c == '"';
        c == mark && !is_quoted
    });
    parts.collect()
}

/// Whether a count is zero; `None` for what is no count.
fn is_zero(text: &str) -> Option<bool> {
    let text = text.trim().trim_matches('"');
    let is_count = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_count.then(|| text.bytes().all(|byte| matches!(byte, b'0' | b'.')))
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

fn length(named: Named, headers: &HeaderMap, wall: Timestamp) -> Duration {
    let until = match named {
        Named::After(span) => span,
        Named::At(moment) => {
            // The clock that set the date tells best how far away it is.
            match theirs(headers) {
                Some(now) => moment.since(now),
                None if wall == Timestamp::ZERO => IN_DOUBT,
                None => moment.since(wall),
            }
        }
    };
    until.min(Wait::LONGEST)
}

/// The time of the clock that made the answer.
fn theirs(headers: &HeaderMap) -> Option<Timestamp> {
    headers.get(DATE).and_then(text).and_then(|date| times::date(date.trim()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing::headers;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const DATE_MS: u64 = 784_111_777_000;
    const WALL: Timestamp = Timestamp::from_millis(DATE_MS - 90_000);

    fn seconds(s: u64) -> Option<Duration> {
        Some(Duration::from_secs(s))
    }

    #[test]
    fn retry_after_is_measured_by_the_clock_that_set_it() {
        let after = |head: &[(&'static str, &'static str)], wall| retry_after(&headers(head), wall);
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT");
        for (head, wanted) in [
            (&[("retry-after", "17")][..], seconds(17)),
            (&[("retry-after", "86400")], seconds(86_400)),
            (&[("retry-after", "soon"), ("retry-after", "3")], seconds(3)),
            (&[("retry-after", "soon")], None),
            (&[], None),
            (&[date], seconds(90)),
            (&[date, ("date", "Sun, 06 Nov 1994 08:49:20 GMT")], seconds(17)),
            (&[date, ("date", "soon")], seconds(90)),
            (&[date, ("date", "Sun, 06 Nov 1994 09:49:20 GMT")], seconds(0)),
            (&[("retry-after", "Sat, 06 Nov 2094 08:49:37 GMT")], Some(Wait::LONGEST)),
        ] {
            assert_eq!(after(head, WALL), wanted, "{head:?}");
        }
        assert_eq!(after(&[date], Timestamp::ZERO), seconds(3600), "in doubt");
        assert_eq!(after(&[("retry-after", "7")], Timestamp::ZERO), seconds(7), "no clock is needed");
        assert!(is_in_doubt(&headers(&[date]), Timestamp::ZERO) && !is_in_doubt(&headers(&[date]), WALL));
        assert!(!is_in_doubt(&headers(&[date, ("date", "Sun, 06 Nov 1994 08:49:20 GMT")]), Timestamp::ZERO));
        assert!(!is_in_doubt(&headers(&[("retry-after", "7")]), Timestamp::ZERO));
    }

    #[test]
    fn limits_are_read_in_all_forms() {
        const AT: &str = "784111777";
        // Before 10^9 seconds numbers are spans: these tests are later.
        let wall = Timestamp::from_millis(1_377_013_206_000);
        for (head, used_up, first) in [
            (&[][..], None, None),
            (&[("ratelimit", "\"default\";r=0;t=30")][..], seconds(30), None),
            (&[("ratelimit", "\"a,;r=0;t=9\";r=5;t=30, \"b\";r=0;t=60")], seconds(60), seconds(30)),
            (&[("ratelimit", "limit=100, remaining=0, reset=5")], seconds(5), None),
            (&[("ratelimit", "limit=100, remaining=50, reset=5")], None, seconds(5)),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "12")], seconds(12), None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1377013266")], seconds(60), None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1377013266000")], seconds(60), None),
            (
                &[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "2013-08-20T15:41:06Z")],
                seconds(60),
                None,
            ),
            (
                &[
                    ("x-ratelimit-remaining", "0"),
                    ("x-ratelimit-reset-after", "1.5"),
                    ("x-ratelimit-reset", "1377013266"),
                ],
                Some(Duration::from_millis(1_500)),
                None,
            ),
            (
                &[
                    ("x-ratelimit-remaining-requests", "59"),
                    ("x-ratelimit-reset-requests", "1s"),
                    ("x-ratelimit-remaining-tokens", "0"),
                    ("x-ratelimit-reset-tokens", "6m0s"),
                ],
                seconds(360),
                seconds(1),
            ),
            (
                &[("x-ratelimit-requests-remaining", "0"), ("x-ratelimit-requests-reset", "9")],
                seconds(9),
                None,
            ),
            // Of a limit without a time nothing is known, nor of a time without a count that it is the one.
            (&[("x-ratelimit-remaining", "0")], None, None),
            (&[("x-ratelimit-reset", "5")], None, seconds(5)),
            (&[("x-ratelimit-remaining", "none"), ("x-ratelimit-reset", "5")], None, seconds(5)),
            (&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", AT)], None, seconds(31_622_400)),
            (&[("x-ratelimit-limit", "0"), ("ratelimit-policy", "\"a\";q=0;w=0")], None, None),
        ] {
            let wanted = Limits { used_up, first };
            assert_eq!(limits(&headers(head), wall), wanted, "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_breaks_it(
            values in proptest::collection::vec((0..6_usize, "[ -~]{0,40}"), 0..40), wall in any::<u64>(),
        ) {
            const NAMES: [&str; 6] = [
                "ratelimit", "ratelimit-reset", "x-ratelimit-remaining", "x-rate-limit-reset-after", "retry-after", "date",
            ];
            let mut all = HeaderMap::new();
            for (name, value) in values {
                all.append(NAMES[name], HeaderValue::from_str(&value).expect("visible"));
            }
            let wall = Timestamp::from_nanos(wall);
            let Limits { used_up, first } = limits(&all, wall);
            for span in [used_up, first, retry_after(&all, wall)].into_iter().flatten() {
                prop_assert!(span <= Wait::LONGEST);
            }
        }
    }
}
