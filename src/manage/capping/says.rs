//! How a call over the cap is refused (contract.md 4). The sources give it a status, 429 or 409, the words "Too Many
//! Requests" and the name `capped`; the shape of the body is ours.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::problem::{ForeignRefusal, RefusedCall};

/// The code of every refusal of this dialect.
pub(super) const CAPPED: &str = "capped";

const MESSAGE: &str = "Too Many Requests: the endpoint is capped, the call was not tried";

#[derive(Serialize)]
struct CappedBody {
    status: u16,
    error: &'static str,
    message: &'static str,
}

/// What the dialect says about a call that one of its policies turned away; `None` when the code is none of its own.
pub(super) fn tell(refused: &RefusedCall<'_>, status: StatusCode) -> Option<ForeignRefusal> {
    if refused.code != CAPPED {
        return None;
    }
    let body = CappedBody { status: status.as_u16(), error: CAPPED, message: MESSAGE };
    let retry_after =
        refused.retry_after_seconds.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds)));
    Some(ForeignRefusal {
        code: CAPPED,
        message: MESSAGE.to_owned(),
        status,
        // Whichever form a caller gets: who follows the draft looks for its status.
        uniform_status: status,
        headers: retry_after.into_iter().collect::<HeaderMap>(),
        content_type: "application/json;charset=utf-8",
        // Text and numbers always serialise.
        body: serde_json::to_vec(&body).unwrap_or_default().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reason;

    #[test]
    fn the_status_is_the_configured_one_and_other_codes_are_not_ours() {
        let refused =
            |code| RefusedCall { origin: "capping", code, subject: "", retry_after_seconds: Some(2) };
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::CONFLICT] {
            let told = tell(&refused("capped"), status).expect("known");
            assert_eq!((told.code, told.status, told.uniform_status), ("capped", status, status));
            assert_eq!(told.headers.get("retry-after"), Some(&HeaderValue::from(2)));
            let body: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
            assert_eq!((&body["status"], &body["error"]), (&status.as_u16().into(), &"capped".into()));
        }
        assert_eq!(Reason::of_letter(CAPPED).word(), CAPPED, "the end of an event keeps it");
        assert_eq!(tell(&refused("over_window"), StatusCode::TOO_MANY_REQUESTS), None);
    }
}
