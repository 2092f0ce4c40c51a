//! Answers of endpoints and what they mean, for the tests of those who hear them.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::clock::Timestamp;
use crate::delivery::TokenSource;
use crate::delivery::classify::answer;
use crate::delivery::hears::Answer;
use crate::event::{CanonicalUrl, Cause, Outcome, Said, Wait};
use crate::manage;

/// 17.25 s before the edge of a minute, 7 min 17.25 s before one of ten minutes.
pub(crate) const WALL: Timestamp = Timestamp::from_millis(1_700_000_400_000 + 162_750);
/// From [`WALL`] to the edge of the minute.
pub(crate) const TO_MINUTE_MS: u64 = 17_250;
/// A body in JSON.
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json;charset=UTF-8");

/// A map of headers with these names and values, for a test to send or to compare.
pub(crate) fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
    of.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// What an answer at [`WALL`] means while all dialects listen.
pub(crate) fn told(status: u16, head: &[(&'static str, &'static str)], body: &str) -> Outcome {
    let status = StatusCode::from_u16(status).expect("status");
    let headers = headers(head);
    answer(&manage::hears(), &Answer { status, headers: &headers, body: body.as_bytes(), wall: WALL })
}

/// Credentials of an authorization server that nobody asks.
pub(crate) fn token_source() -> TokenSource {
    TokenSource {
        url: CanonicalUrl::parse("https://id.org/token").expect("valid"),
        form: vec![("grant_type".to_owned(), "client_credentials".to_owned())],
        basic: Some(("tidegate".to_owned(), "CANARY".to_owned())),
        member: "access_token".to_owned(),
        header: AUTHORIZATION,
        scheme: "Bearer".to_owned(),
        lifetime: Duration::from_secs(3_600),
    }
}

/// A wait of this many milliseconds.
pub(crate) fn wait(said: Said, ms: u64) -> Outcome {
    Outcome::Wait(Wait::new(said, Duration::from_millis(ms)))
}

/// The status stands, for good.
pub(crate) fn reject(status: u16) -> Outcome {
    Outcome::Reject { cause: Cause::Status(status) }
}

/// The status stands and may heal.
pub(crate) fn retry(status: u16, retry_after_s: Option<u64>) -> Outcome {
    let retry_after = retry_after_s.map(Duration::from_secs);
    Outcome::Retry { cause: Cause::Status(status), retry_after }
}
