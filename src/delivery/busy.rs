//! How partner systems say that they are busy or over a limit of their own: pure, by header and error code,
//! whatever the status stands for elsewhere. A Responsys 401 may be a limit, a Mashery 403 mostly is none.
//!
//! - Mashery: `X-Mashery-Error-Code`, with `Retry-After` in seconds (mashery/contract.md 2). Its customers may put other
//!   statuses in front.
//! - mediarithmics: `x-mics-next-msg-delay`, in milliseconds, on 429 and 503 (mediarithmics/contract.md 4).
//! - Responsys: the member `errorCode` of a JSON body (responsys/contract.md 3). It names no time; limits are per minute,
//!   capacity is per ten minutes, both on the clock.
//!
//! Must not know: sockets, time other than what it is handed, what other answers mean.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::classify::retry_after;
use crate::clock::Timestamp;
use crate::event::{Busy, Cause, Outcome, Wait};

const MASHERY_CODE: &str = "x-mashery-error-code";
const MICS_DELAY: &str = "x-mics-next-msg-delay";

/// What a gateway counts per second has room again after one.
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// What the head alone says; `None` when it says nothing of the kind.
pub(super) fn told_by_head(status: StatusCode, headers: &HeaderMap, wall: Timestamp) -> Option<Wait> {
    if status.as_u16() < 400 {
        return None;
    }
    mashery(headers, wall).or_else(|| mediarithmics(status, headers, wall))
}

/// Whether only the body can tell: it is an error in JSON, and the head does not say that the endpoint is busy.
pub(super) fn may_be_told_by_body(status: StatusCode, headers: &HeaderMap) -> bool {
    status.as_u16() >= 400 && is_json(headers) && told_by_head(status, headers, Timestamp::ZERO).is_none()
}

/// What a complete body says, of an answer of which it [may tell](may_be_told_by_body).
pub(super) fn told_by_body(body: &[u8], wall: Timestamp) -> Option<Outcome> {
    #[derive(Deserialize)]
    struct Told {
        #[serde(rename = "errorCode")]
        error_code: String,
    }
    // An answer of another shape says nothing.
    let told: Told = serde_json::from_slice(body).ok()?;
    let wait = |busy, period| Some(Outcome::Wait(Wait::new(busy, until_edge(wall, period))));
    match told.error_code.as_str() {
        "API_LIMIT_EXCEEDED" => wait(Busy::ApiLimit, MINUTE),
        "INTERNAL_CAPACITY_LIMIT_EXCEEDED" => wait(Busy::Capacity, TEN_MINUTES),
        "API_BLOCKED" => Some(Outcome::Reject { cause: Cause::ApiBlocked }),
        _ => None,
    }
}

fn mashery(headers: &HeaderMap, wall: Timestamp) -> Option<Wait> {
    let code = headers.get(MASHERY_CODE)?.to_str().ok()?.trim();
    let known = [Busy::DeveloperOverQps, Busy::ServiceOverQps, Busy::DeveloperOverRate];
    let busy = known.into_iter().find(|busy| code.eq_ignore_ascii_case(busy.code()))?;
    // A quota ends with its period; the shortest one is a minute.
    let usual = if busy == Busy::DeveloperOverRate { until_edge(wall, MINUTE) } else { SECOND };
    Some(Wait::new(busy, retry_after(headers, wall).unwrap_or(usual)))
}

/// A `Retry-After` beside it prevails when it asks for longer.
fn mediarithmics(status: StatusCode, headers: &HeaderMap, wall: Timestamp) -> Option<Wait> {
    if !matches!(status.as_u16(), 429 | 503) {
        return None;
    }
    let text = headers.get(MICS_DELAY)?.to_str().ok()?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Digits that do not fit are more than the longest wait.
    let delay = Duration::from_millis(text.parse().unwrap_or(u64::MAX));
    Some(Wait::new(Busy::NextMessage, delay.max(retry_after(headers, wall).unwrap_or_default())))
}

/// From `wall` to the next edge of a period of the clock, in UTC; a whole period at an edge.
fn until_edge(wall: Timestamp, period: Duration) -> Duration {
    let into_ns = u128::from(wall.as_nanos()) % period.as_nanos();
    period.saturating_sub(Duration::from_nanos(u64::try_from(into_ns).unwrap_or(0)))
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(Ok(text)) = headers.get(CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::super::classify::answer;
    use super::*;

    /// 17.25 s before the edge of a minute, 7 min 17.25 s before one of ten minutes.
    const WALL: Timestamp = Timestamp::from_millis(1_700_000_400_000 + 162_750);
    const TO_MINUTE_MS: u64 = 17_250;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        of.iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn told(status: u16, head: &[(&'static str, &'static str)], body: &str) -> Outcome {
        answer(StatusCode::from_u16(status).expect("status"), &headers(head), body.as_bytes(), WALL)
    }

    fn wait(busy: Busy, ms: u64) -> Outcome {
        Outcome::Wait(Wait::new(busy, Duration::from_millis(ms)))
    }

    fn reject(status: u16) -> Outcome {
        Outcome::Reject { cause: Cause::Status(status) }
    }

    fn retry(status: u16, retry_after_s: Option<u64>) -> Outcome {
        let retry_after = retry_after_s.map(Duration::from_secs);
        Outcome::Retry { cause: Cause::Status(status), retry_after }
    }

    const QPS: (&str, &str) = (MASHERY_CODE, "ERR_403_DEVELOPER_OVER_QPS");
    const SERVICE: (&str, &str) = (MASHERY_CODE, "ERR_403_SERVICE_OVER_QPS");
    const RATE: (&str, &str) = (MASHERY_CODE, "ERR_403_DEVELOPER_OVER_RATE");
    const JSON: (&str, &str) = ("content-type", "application/json;charset=UTF-8");

    #[test]
    fn a_mashery_gateway_is_known_by_its_header_whatever_the_status() {
        let xml = ("content-type", "text/xml");
        for status in [400, 403, 429, 500, 503, 596] {
            let body = "<h1>Developer Over Qps</h1>";
            assert_eq!(told(status, &[QPS, xml], body), wait(Busy::DeveloperOverQps, 1_000), "{status}");
        }
        for (head, expected) in [
            (&[QPS, ("retry-after", "1")][..], wait(Busy::DeveloperOverQps, 1_000)),
            (&[QPS, ("retry-after", "3")], wait(Busy::DeveloperOverQps, 3_000)),
            (&[QPS, ("retry-after", "0")], wait(Busy::DeveloperOverQps, 100)),
            (&[QPS, ("retry-after", "soon")], wait(Busy::DeveloperOverQps, 1_000)),
            (&[SERVICE], wait(Busy::ServiceOverQps, 1_000)),
            (&[(MASHERY_CODE, " err_403_service_over_qps ")], wait(Busy::ServiceOverQps, 1_000)),
            (&[RATE, ("retry-after", "42")], wait(Busy::DeveloperOverRate, 42_000)),
            // A month's quota: one hour at a time.
            (&[RATE, ("retry-after", "1209600")], wait(Busy::DeveloperOverRate, 3_600_000)),
            (&[RATE], wait(Busy::DeveloperOverRate, TO_MINUTE_MS)),
            (&[(MASHERY_CODE, "ERR_403_DEVELOPER_INACTIVE"), ("retry-after", "1")], reject(403)),
            (&[(MASHERY_CODE, "ERR_403_NOT_AUTHORIZED")], reject(403)),
            (&[(MASHERY_CODE, "ERR_403_DEVELOPER_OVER_QPS_X")], reject(403)),
            (&[(MASHERY_CODE, "")], reject(403)),
            (&[("retry-after", "1")], reject(403)),
        ] {
            assert_eq!(told(403, head, ""), expected, "{head:?}");
        }
        // Without the header the status stands, and a success is one.
        assert_eq!(told(429, &[("retry-after", "2")], ""), retry(429, Some(2)));
        assert_eq!(told(200, &[QPS], ""), Outcome::Delivered { status: 200 });
        assert_eq!(told(302, &[QPS], ""), reject(302));
    }

    #[test]
    fn a_plugin_says_in_milliseconds_when_it_wants_the_next_message() {
        let retry_body = r#"{"status":"RETRY","message":"I'm busy right now, sorry."}"#;
        for (status, head, expected) in [
            (429, &[JSON, (MICS_DELAY, "1500")][..], wait(Busy::NextMessage, 1_500)),
            (503, &[(MICS_DELAY, "1500")], wait(Busy::NextMessage, 1_500)),
            (429, &[(MICS_DELAY, "0")], wait(Busy::NextMessage, 100)),
            (429, &[(MICS_DELAY, "99999999999999999999999")], wait(Busy::NextMessage, 3_600_000)),
            (429, &[(MICS_DELAY, "1500"), ("retry-after", "1")], wait(Busy::NextMessage, 1_500)),
            (429, &[(MICS_DELAY, "1500"), ("retry-after", "2")], wait(Busy::NextMessage, 2_000)),
            (429, &[JSON], retry(429, None)),
            (429, &[(MICS_DELAY, "-1")], retry(429, None)),
            (429, &[(MICS_DELAY, "1.5")], retry(429, None)),
            (429, &[(MICS_DELAY, "soon"), ("retry-after", "2")], retry(429, Some(2))),
            (429, &[(MICS_DELAY, "")], retry(429, None)),
            (500, &[(MICS_DELAY, "1500")], retry(500, None)),
            (400, &[(MICS_DELAY, "1500")], reject(400)),
            (200, &[(MICS_DELAY, "1500")], Outcome::Delivered { status: 200 }),
        ] {
            assert_eq!(told(status, head, retry_body), expected, "{status} {head:?}");
        }
    }

    #[test]
    fn responsys_is_known_by_the_error_code_of_its_body_whatever_the_status() {
        let body = |code: &str| {
            format!(r#"{{"type":"","title":"t","errorCode":"{code}","detail":"d","errorDetails":[]}}"#)
        };
        for status in [400, 401, 403, 404, 429, 500, 503] {
            let of = |code: &str| told(status, &[JSON], &body(code));
            assert_eq!(of("API_LIMIT_EXCEEDED"), wait(Busy::ApiLimit, TO_MINUTE_MS), "{status}");
            let capacity = wait(Busy::Capacity, 420_000 + TO_MINUTE_MS);
            assert_eq!(of("INTERNAL_CAPACITY_LIMIT_EXCEEDED"), capacity, "{status}");
            assert_eq!(of("API_BLOCKED"), Outcome::Reject { cause: Cause::ApiBlocked }, "{status}");
            let by_status = told(status, &[], "");
            for code in ["INVALID_TOKEN", "TOKEN_EXPIRED", "", "API_LIMIT_EXCEEDED "] {
                assert_eq!(of(code), by_status, "{status} {code}");
            }
            for other in [
                "",
                "API_LIMIT_EXCEEDED",
                "\"API_LIMIT_EXCEEDED\"",
                "[{\"errorCode\":\"API_LIMIT_EXCEEDED\"}]",
                "{\"errorCode\":7}",
                "{\"errorCode\":null}",
                "{\"error\":{\"errorCode\":\"API_LIMIT_EXCEEDED\"}}",
                "{\"errorCode\":\"API_LIMIT_EXCEEDED\"",
                "{\"title\":\"Request limit exceeded.\"}",
            ] {
                assert_eq!(told(status, &[JSON], other), by_status, "{status} {other}");
            }
            let not_json = told(status, &[("content-type", "text/html")], &body("API_LIMIT_EXCEEDED"));
            assert_eq!(not_json, by_status, "{status}");
        }
        let fine = told(200, &[JSON], &body("API_LIMIT_EXCEEDED"));
        assert_eq!(fine, Outcome::Delivered { status: 200 });
        assert_eq!(told(302, &[JSON], &body("API_LIMIT_EXCEEDED")), reject(302));
        let nested = format!("{}{}", "[".repeat(60_000), "]".repeat(5_000));
        assert_eq!(told(401, &[JSON], &nested), reject(401));
        // The header prevails, and then the body is not asked for.
        let both = told(403, &[QPS, JSON], &body("API_BLOCKED"));
        assert_eq!(both, wait(Busy::DeveloperOverQps, 1_000));
    }

    #[test]
    fn a_body_is_asked_for_only_when_it_may_decide() {
        let asked = |status: u16, head: &[(&'static str, &'static str)]| {
            may_be_told_by_body(StatusCode::from_u16(status).expect("status"), &headers(head))
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
