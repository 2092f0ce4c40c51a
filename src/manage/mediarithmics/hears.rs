//! How a plugin says that it is busy, and when it wants the next message (contract.md 4): `x-mics-next-msg-delay` in
//! milliseconds on any answer, and `RETRY` as the `status` of the body of a 429 or 503.
//!
//! Must not know: what is done about it.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::clock::Timestamp;
use crate::delivery::{Answer, Hears, Words, retry_after};
use crate::event::{Outcome, Said, Wait};
use crate::manage::mediarithmics::Mediarithmics;

const DELAY: &str = "x-mics-next-msg-delay";
const RETRY: &str = "RETRY";

/// The plugin says when it wants the next message.
const NEXT_MESSAGE: Said = Said { code: DELAY, label: "next_message" };
/// The plugin is busy and does not say for how long.
const BUSY: Said = Said { code: RETRY, label: "plugin_busy" };

/// A plugin that is busy measures its load twice a second.
const BUSY_WAIT: Duration = Duration::from_secs(1);

impl Hears for Mediarithmics {
    fn words(&self) -> Words {
        Words { waits: &[NEXT_MESSAGE, BUSY], denials: &[] }
    }

    fn headers(&self) -> &'static [&'static str] {
        &[DELAY]
    }

    /// Set before the plugin chooses its status: it counts whatever that is.
    fn next(&self, headers: &HeaderMap) -> Option<Wait> {
        let delay = delay(headers)?;
        // Zero is what plugins set that want no pause.
        (!delay.is_zero()).then(|| Wait::new(NEXT_MESSAGE, delay))
    }

    /// A plugin that is busy has processed nothing. A `Retry-After` beside it prevails when it asks for longer.
    fn head(&self, status: StatusCode, headers: &HeaderMap, wall: Timestamp) -> Option<Wait> {
        if !is_refusal_for_now(status) {
            return None;
        }
        let asked = delay(headers)?.max(retry_after(headers, wall).unwrap_or_default());
        Some(Wait::new(NEXT_MESSAGE, asked))
    }

    fn may_say(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        // Plugins send their JSON as text, which their framework calls HTML.
        let of_plugins = ["application/json", "text/html"];
        let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim();
        is_refusal_for_now(status) && of_plugins.iter().any(|known| essence.eq_ignore_ascii_case(known))
    }

    fn body(&self, answer: &Answer<'_>) -> Option<Outcome> {
        #[derive(Deserialize)]
        struct Refused {
            status: String,
        }
        let refused: Refused = serde_json::from_slice(answer.body).ok()?;
        // The two spellings of plugins: in capitals where the plugin as a whole is busy.
        refused.status.eq_ignore_ascii_case(RETRY).then(|| {
            let asked = retry_after(answer.headers, answer.wall).unwrap_or_default();
            Outcome::Wait(Wait::new(BUSY, asked.max(BUSY_WAIT)))
        })
    }
}

/// The statuses under which a plugin wants the message again.
fn is_refusal_for_now(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 503)
}

fn delay(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(DELAY)?.to_str().ok()?.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Digits that do not fit are more than the longest wait.
    Some(Duration::from_millis(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::{JSON, reject, retry, told, wait};

    const DELIVERED: Outcome = Outcome::Delivered { status: 200 };

    fn paced(end: Outcome, ms: u64) -> Outcome {
        Outcome::Paced { end: Box::new(end), next: Wait::new(NEXT_MESSAGE, Duration::from_millis(ms)) }
    }

    #[test]
    fn a_plugin_says_in_milliseconds_when_it_wants_the_next_message() {
        let fine = r#"{"status":"ok"}"#;
        for (status, head, expected) in [
            (429, &[JSON, (DELAY, "1500")][..], wait(NEXT_MESSAGE, 1_500)),
            (503, &[(DELAY, "1500")], wait(NEXT_MESSAGE, 1_500)),
            (429, &[(DELAY, "0")], wait(NEXT_MESSAGE, 100)),
            (429, &[(DELAY, "99999999999999999999999")], wait(NEXT_MESSAGE, 366 * 86_400_000)),
            (429, &[(DELAY, "1500"), ("retry-after", "1")], wait(NEXT_MESSAGE, 1_500)),
            (429, &[(DELAY, "1500"), ("retry-after", "2")], wait(NEXT_MESSAGE, 2_000)),
            (429, &[JSON], retry(429, None)),
            (429, &[(DELAY, "-1")], retry(429, None)),
            (429, &[(DELAY, "1.5")], retry(429, None)),
            (429, &[(DELAY, "soon"), ("retry-after", "2")], retry(429, Some(2))),
            (429, &[(DELAY, "")], retry(429, None)),
            (500, &[(DELAY, "1500")], paced(retry(500, None), 1_500)),
            (400, &[(DELAY, "1500")], paced(reject(400), 1_500)),
            (302, &[(DELAY, "1500")], paced(reject(302), 1_500)),
            (200, &[(DELAY, "1500")], paced(DELIVERED, 1_500)),
            (200, &[(DELAY, "20")], paced(DELIVERED, 100)),
            (200, &[(DELAY, "0")], DELIVERED),
            (200, &[(DELAY, "soon")], DELIVERED),
            (200, &[], DELIVERED),
        ] {
            assert_eq!(told(status, head, fine), expected, "{status} {head:?}");
        }
    }

    #[test]
    fn a_busy_plugin_is_known_by_the_status_in_its_body() {
        let busy = r#"{"status":"RETRY","message":"I'm busy right now, sorry."}"#;
        let html = ("content-type", "text/html; charset=utf-8");
        for (status, head, body, expected) in [
            (429, &[JSON][..], busy, wait(BUSY, 1_000)),
            (503, &[JSON], busy, wait(BUSY, 1_000)),
            (429, &[html], r#"{"status":"retry"}"#, wait(BUSY, 1_000)),
            (429, &[JSON, ("retry-after", "7")], busy, wait(BUSY, 7_000)),
            (429, &[JSON, (DELAY, "1500")], busy, wait(NEXT_MESSAGE, 1_500)),
            (429, &[("content-type", "text/plain")], busy, retry(429, None)),
            (429, &[JSON], r#"{"status":"ERROR"}"#, retry(429, None)),
            (429, &[JSON], r#"{"status":7}"#, retry(429, None)),
            (429, &[JSON], "RETRY", retry(429, None)),
            (500, &[JSON], busy, retry(500, None)),
            (400, &[JSON], busy, reject(400)),
            (200, &[JSON], busy, DELIVERED),
        ] {
            assert_eq!(told(status, head, body), expected, "{status} {head:?} {body}");
        }
    }
}
