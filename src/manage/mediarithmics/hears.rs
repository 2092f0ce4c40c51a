//! How a plugin says when it wants the next message (contract.md 4): `x-mics-next-msg-delay` in milliseconds, on 429
//! and 503.
//!
//! Must not know: what is done about it.

use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::clock::Timestamp;
use crate::delivery::{Hears, Words, retry_after};
use crate::event::{Said, Wait};
use crate::manage::mediarithmics::Mediarithmics;

const DELAY: &str = "x-mics-next-msg-delay";

/// The plugin says when it wants the next message.
const NEXT_MESSAGE: Said = Said { code: DELAY, label: "next_message" };

impl Hears for Mediarithmics {
    fn words(&self) -> Words {
        Words { waits: &[NEXT_MESSAGE], denials: &[] }
    }

    /// A `Retry-After` beside it prevails when it asks for longer.
    fn head(&self, status: StatusCode, headers: &HeaderMap, wall: Timestamp) -> Option<Wait> {
        // Under another status the header is a hint beside an answer and no refusal for now.
        if !matches!(status.as_u16(), 429 | 503) {
            return None;
        }
        let text = headers.get(DELAY)?.to_str().ok()?.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Digits that do not fit are more than the longest wait.
        let delay = Duration::from_millis(text.parse().unwrap_or(u64::MAX));
        Some(Wait::new(NEXT_MESSAGE, delay.max(retry_after(headers, wall).unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::{JSON, reject, retry, told, wait};
    use crate::event::Outcome;

    #[test]
    fn a_plugin_says_in_milliseconds_when_it_wants_the_next_message() {
        let retry_body = r#"{"status":"RETRY","message":"I'm busy right now, sorry."}"#;
        for (status, head, expected) in [
            (429, &[JSON, (DELAY, "1500")][..], wait(NEXT_MESSAGE, 1_500)),
            (503, &[(DELAY, "1500")], wait(NEXT_MESSAGE, 1_500)),
            (429, &[(DELAY, "0")], wait(NEXT_MESSAGE, 100)),
            (429, &[(DELAY, "99999999999999999999999")], wait(NEXT_MESSAGE, 3_600_000)),
            (429, &[(DELAY, "1500"), ("retry-after", "1")], wait(NEXT_MESSAGE, 1_500)),
            (429, &[(DELAY, "1500"), ("retry-after", "2")], wait(NEXT_MESSAGE, 2_000)),
            (429, &[JSON], retry(429, None)),
            (429, &[(DELAY, "-1")], retry(429, None)),
            (429, &[(DELAY, "1.5")], retry(429, None)),
            (429, &[(DELAY, "soon"), ("retry-after", "2")], retry(429, Some(2))),
            (429, &[(DELAY, "")], retry(429, None)),
            (500, &[(DELAY, "1500")], retry(500, None)),
            (400, &[(DELAY, "1500")], reject(400)),
            (200, &[(DELAY, "1500")], Outcome::Delivered { status: 200 }),
        ] {
            assert_eq!(told(status, head, retry_body), expected, "{status} {head:?}");
        }
    }
}
