//! How the traffic manager tells that a call is refused (contract.md 2): status, headers and body by code.
//!
//! Must not know: who is asked, and why a limit had no room.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::problem::{ForeignRefusal, RefusedCall};

/// The code of a refusal, from the default error set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    /// A key that is unknown or not active.
    DeveloperInactive,
    /// A key or method is over its calls per second.
    DeveloperOverQps,
    /// A key or method is over its calls per period.
    DeveloperOverRate,
    /// The service is over its calls per second.
    ServiceOverQps,
    /// The request carries no credentials where some are required.
    NotAuthorized,
}

/// The header that names the code of the refusal.
pub(super) const ERROR_CODE: HeaderName = HeaderName::from_static("x-mashery-error-code");
/// The header that says the refusal in words.
pub(super) const ERROR_DETAIL: HeaderName = HeaderName::from_static("x-error-detail-header");

/// What the dialect says about a call that one of its policies turned away; `None` when the code is none of its own.
pub(super) fn tell(refused: &RefusedCall<'_>) -> Option<ForeignRefusal> {
    Some(Code::parse(refused.code)?.told(refused.retry_after_seconds))
}

impl Code {
    /// All codes that tidegate answers with.
    pub(super) const ALL: [Self; 5] = [
        Self::DeveloperInactive,
        Self::DeveloperOverQps,
        Self::DeveloperOverRate,
        Self::ServiceOverQps,
        Self::NotAuthorized,
    ];

    /// The code with this text; `None` for any other text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// The text of the code, as `X-Mashery-Error-Code` has it.
    pub(super) const fn as_str(self) -> &'static str {
        self.facts().0
    }

    /// The code, its words and the body of the answer.
    const fn facts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::DeveloperInactive => {
                ("ERR_403_DEVELOPER_INACTIVE", "Account Inactive", "<h1>Developer Inactive</h1>")
            }
            Self::DeveloperOverQps => (
                "ERR_403_DEVELOPER_OVER_QPS",
                "Account Over Queries Per Second Limit",
                "<h1>Developer Over Qps</h1>",
            ),
            Self::DeveloperOverRate => {
                ("ERR_403_DEVELOPER_OVER_RATE", "Account Over Rate Limit", "<h1>Developer Over Rate</h1>")
            }
            Self::ServiceOverQps => {
                ("ERR_403_SERVICE_OVER_QPS", "Rate Limit Exceeded", "<h1>Service Over Qps</h1>")
            }
            Self::NotAuthorized => ("ERR_403_NOT_AUTHORIZED", "Not Authorized", "<h1>Not Authorized</h1>"),
        }
    }

    /// Whole seconds after which the call may be repeated: always one for a limit per second. What is no limit
    /// has none.
    pub(super) fn retry_after_seconds(self, seconds_to_room: Option<u64>) -> Option<u64> {
        match self {
            Self::DeveloperOverQps | Self::ServiceOverQps => Some(1),
            // Zero would ask for a repetition in the same period.
            Self::DeveloperOverRate => seconds_to_room.map(|seconds| seconds.max(1)),
            Self::DeveloperInactive | Self::NotAuthorized => None,
        }
    }

    /// The answer to a call that is refused; `seconds_to_room` is the time until a quota begins anew.
    pub(super) fn told(self, seconds_to_room: Option<u64>) -> ForeignRefusal {
        let (code, detail, body) = self.facts();
        let mut headers = HeaderMap::new();
        headers.insert(ERROR_CODE, HeaderValue::from_static(code));
        headers.insert(ERROR_DETAIL, HeaderValue::from_static(detail));
        if let Some(seconds) = self.retry_after_seconds(seconds_to_room) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        ForeignRefusal {
            code,
            message: detail.to_owned(),
            status: StatusCode::FORBIDDEN,
            uniform_status: StatusCode::TOO_MANY_REQUESTS,
            headers,
            content_type: "text/xml",
            body: Bytes::from_static(body.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Reason;

    /// Rows of the default error set: id, code, status and detail.
    const DEFAULT_ERROR_SET: [(&str, u16, &str, &str); 5] = [
        ("ERR_403_NOT_AUTHORIZED", 403, "Forbidden", "Not Authorized"),
        ("ERR_403_DEVELOPER_INACTIVE", 403, "Forbidden", "Account Inactive"),
        ("ERR_403_DEVELOPER_OVER_QPS", 403, "Forbidden", "Account Over Queries Per Second Limit"),
        ("ERR_403_DEVELOPER_OVER_RATE", 403, "Forbidden", "Account Over Rate Limit"),
        ("ERR_403_SERVICE_OVER_QPS", 403, "Forbidden", "Rate Limit Exceeded"),
    ];

    #[test]
    fn every_code_says_what_the_default_error_set_says() {
        for (id, status, reason, detail) in DEFAULT_ERROR_SET {
            let told = Code::parse(id).expect("known").told(Some(7));
            assert_eq!((told.code, told.message.as_str()), (id, detail));
            assert_eq!(told.status.as_u16(), status);
            assert_eq!(told.status.canonical_reason(), Some(reason));
            assert_eq!(told.headers["x-mashery-error-code"], id);
            assert_eq!(told.headers["x-error-detail-header"], detail);
            assert_eq!(told.content_type, "text/xml");
        }
        for code in Code::ALL {
            assert_eq!(
                Reason::of_letter(code.as_str()).word(),
                code.as_str(),
                "the end of an event keeps it"
            );
        }
        assert_eq!(DEFAULT_ERROR_SET.len(), Code::ALL.len());
        assert_eq!(Code::parse("ERR_403_DEVELOPER_UNKNOWN_REFERER"), None);
    }

    #[test]
    fn bodies_and_times_are_those_of_the_limit() {
        let told = |code: Code, seconds| {
            let told = code.told(seconds);
            let retry =
                told.headers.get("retry-after").map(|value| value.to_str().expect("digits").to_owned());
            (String::from_utf8(told.body.to_vec()).expect("text"), retry)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(told(Code::DeveloperOverQps, Some(1)), ("<h1>Developer Over Qps</h1>".into(), some("1")));
        assert_eq!(told(Code::DeveloperOverQps, None), ("<h1>Developer Over Qps</h1>".into(), some("1")));
        assert_eq!(
            told(Code::DeveloperOverRate, Some(3600)),
            ("<h1>Developer Over Rate</h1>".into(), some("3600"))
        );
        assert_eq!(told(Code::DeveloperOverRate, Some(0)).1, some("1"), "never at once");
        assert_eq!(told(Code::ServiceOverQps, Some(3)), ("<h1>Service Over Qps</h1>".into(), some("1")));
        assert_eq!(told(Code::DeveloperInactive, Some(9)), ("<h1>Developer Inactive</h1>".into(), None));
        assert_eq!(told(Code::NotAuthorized, None), ("<h1>Not Authorized</h1>".into(), None));
    }
}
