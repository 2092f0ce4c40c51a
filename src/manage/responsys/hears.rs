//! How Responsys says that a limit turns a call away (contract.md 3): the member `errorCode` of a JSON body, whatever
//! the status; a 401 may be a limit. It names no time: limits are per minute, capacity is per ten minutes, both on the
//! clock.
//!
//! Must not know: what is done about it.

use std::time::Duration;

use serde::Deserialize;

use crate::delivery::{Answer, Hears, Words, until_edge};
use crate::event::{Cause, Outcome, Said, Wait};
use crate::manage::responsys::Responsys;
use crate::manage::responsys::says::{API_BLOCKED, API_LIMIT_EXCEEDED};

/// Too many calls of one function in this minute.
const API_LIMIT: Said = Said { code: API_LIMIT_EXCEEDED, label: "api_limit" };
/// The capacity of the whole account is used up for these ten minutes.
const CAPACITY: Said = Said { code: "INTERNAL_CAPACITY_LIMIT_EXCEEDED", label: "capacity" };
/// The function is blocked for this user.
const BLOCKED: Said = Said { code: API_BLOCKED, label: "api_blocked" };

const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);

impl Hears for Responsys {
    fn words(&self) -> Words {
        Words { waits: &[API_LIMIT, CAPACITY], denials: &[BLOCKED] }
    }

    fn body(&self, answer: &Answer<'_>) -> Option<Outcome> {
        #[derive(Deserialize)]
        struct Error {
            #[serde(rename = "errorCode")]
            error_code: String,
        }
        // An answer of another shape says nothing.
        let error: Error = serde_json::from_slice(answer.body).ok()?;
        // The end of the period on the clock: the answer names no time, and its limits begin anew there.
        let wait = |said, period| Outcome::Wait(Wait::new(said, until_edge(answer.wall, period)));
        match error.error_code.as_str() {
            code if code == API_LIMIT.code => Some(wait(API_LIMIT, MINUTE)),
            code if code == CAPACITY.code => Some(wait(CAPACITY, TEN_MINUTES)),
            code if code == BLOCKED.code => Some(Outcome::Reject { cause: Cause::Denied(BLOCKED) }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing::{JSON, TO_MINUTE_MS, reject, told, wait};
    use crate::event::testing::DEVELOPER_OVER_QPS;

    const QPS: (&str, &str) = ("x-mashery-error-code", "ERR_403_DEVELOPER_OVER_QPS");

    #[test]
    fn responsys_is_known_by_the_error_code_of_its_body_whatever_the_status() {
        let body = |code: &str| {
            format!(r#"{{"type":"","title":"t","errorCode":"{code}","detail":"d","errorDetails":[]}}"#)
        };
        for status in [400, 401, 403, 404, 429, 500, 503] {
            let of = |code: &str| told(status, &[JSON], &body(code));
            assert_eq!(of("API_LIMIT_EXCEEDED"), wait(API_LIMIT, TO_MINUTE_MS), "{status}");
            let capacity = wait(CAPACITY, 420_000 + TO_MINUTE_MS);
            assert_eq!(of("INTERNAL_CAPACITY_LIMIT_EXCEEDED"), capacity, "{status}");
            assert_eq!(of("API_BLOCKED"), Outcome::Reject { cause: Cause::Denied(BLOCKED) }, "{status}");
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
        assert_eq!(both, wait(DEVELOPER_OVER_QPS, 1_000));
    }
}
