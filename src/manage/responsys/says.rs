//! How Responsys tells a caller that a limit turns a call away (contract.md 3).

use http::{HeaderValue, StatusCode};

use crate::manage::responsys::Statuses;
use crate::manage::responsys::errors::{CONTENT_TYPE, CORRELATION, ErrorBody, correlation_id};
use crate::problem::{ForeignRefusal, RefusedCall};

/// The account has called the function as often as it may.
pub(super) const API_LIMIT_EXCEEDED: &str = "API_LIMIT_EXCEEDED";
/// The user may not call the function.
pub(super) const API_BLOCKED: &str = "API_BLOCKED";

/// What Responsys says to a call that one of its policies turns away, with a random number as the id by which the answer
/// can be found again. `None` for a code that is none of Responsys'.
pub(super) fn tell(refused: &RefusedCall<'_>, statuses: Statuses, roll: u128) -> Option<ForeignRefusal> {
    let subject = refused.subject;
    let (code, status, title, message) = match refused.code {
        API_LIMIT_EXCEEDED => (
            API_LIMIT_EXCEEDED,
            statuses.limit,
            "Request limit exceeded.",
            format!(
                "You exceeded your allowable limit to call the {subject} API function. Please try again in a \
                 minute."
            ),
        ),
        API_BLOCKED => (
            API_BLOCKED,
            statuses.blocked,
            "Request blocked.",
            format!("The {subject} is currently not available to this user. Please contact tech support."),
        ),
        _ => return None,
    };
    let body = ErrorBody::new(title, code, &message).to_json().into();
    let id = HeaderValue::from_str(&correlation_id(roll)).ok();
    let headers = id.map(|id| (CORRELATION, id)).into_iter().collect();
    let uniform_status = StatusCode::TOO_MANY_REQUESTS;
    Some(ForeignRefusal { code, message, status, uniform_status, headers, content_type: CONTENT_TYPE, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reason;

    fn told(code: &str, subject: &str, statuses: Statuses) -> Option<ForeignRefusal> {
        let refused = RefusedCall { origin: "responsys", code, subject, retry_after_seconds: Some(60) };
        tell(&refused, statuses, 7)
    }

    #[test]
    fn a_limit_is_told_in_the_documented_words() {
        let told = told("API_LIMIT_EXCEEDED", "mergeListRecipients", Statuses::default()).expect("known");
        assert_eq!((told.code, told.status), ("API_LIMIT_EXCEEDED", StatusCode::TOO_MANY_REQUESTS));
        let message = "You exceeded your allowable limit to call the mergeListRecipients API function. Please try \
                       again in a minute.";
        assert_eq!(told.message, message);
        let body = format!(
            r#"{{"type":"","title":"Request limit exceeded.","errorCode":"API_LIMIT_EXCEEDED","detail":"{message}","errorDetails":[]}}"#
        );
        assert_eq!(told.body, body);
        assert_eq!(told.content_type, "application/json;charset=UTF-8");
        let id = told.headers.get("X-CorrelationID").and_then(|id| id.to_str().ok());
        assert!(id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok()), "{id:?}");
        assert_eq!(told.headers.len(), 1, "no Retry-After");
    }

    #[test]
    fn a_block_is_another_thing_and_statuses_can_be_set() {
        let status = |code: &str, statuses| told(code, "login", statuses).map(|told| told.status);
        assert_eq!(status("API_BLOCKED", Statuses::default()), Some(StatusCode::BAD_REQUEST));
        let statuses = Statuses { limit: StatusCode::BAD_REQUEST, blocked: StatusCode::FORBIDDEN };
        assert_eq!(status("API_BLOCKED", statuses), Some(StatusCode::FORBIDDEN));
        assert_eq!(status("API_LIMIT_EXCEEDED", statuses), Some(StatusCode::BAD_REQUEST));
        assert_eq!(status("capped", statuses), None);
        for code in [API_LIMIT_EXCEEDED, API_BLOCKED] {
            assert_eq!(Reason::of_letter(code).word(), code, "the end of an event keeps it");
        }
        let told = told("API_BLOCKED", "login", statuses).expect("known");
        let message = "The login is currently not available to this user. Please contact tech support.";
        assert_eq!((told.code, told.message.as_str()), ("API_BLOCKED", message));
        let body = String::from_utf8(told.body.to_vec()).expect("text");
        assert!(body.contains(r#""errorCode":"API_BLOCKED","detail":"The login is"#), "{body}");
    }
}
