//! The optional headers that tell a caller how much of its limits is used (contract.md 2), off by default.
//!
//! The limits of a plan are those of each of its keys, so that of the headers on plans there is only the time of the reset.
//!
//! Must not know: where the numbers come from.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::manage::Usage;
use crate::manage::mashery::derive::KEYS;
use crate::manage::mashery::derive::plans::PLAN;
use crate::manage::mashery::objects::origin;
use crate::policy::Origin;

/// The headers for the limits of a key: the window is that of its calls per second.
pub(super) fn headers(usage: &Usage) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let pairs = [
        (usage.window, "x-packagekey-qps-allotted", "x-packagekey-qps-current"),
        (usage.quota, "x-packagekey-quota-allotted", "x-packagekey-quota-current"),
    ];
    for (used, allotted, current) in pairs {
        if let Some(used) = used {
            headers.insert(HeaderName::from_static(allotted), HeaderValue::from(used.allotted));
            headers.insert(HeaderName::from_static(current), HeaderValue::from(used.current));
        }
    }
    let reset = usage.quota_resets_at.and_then(|at| HeaderValue::try_from(show_reset(at)).ok());
    headers.extend(reset.map(|reset| (HeaderName::from_static("x-plan-quota-reset"), reset)));
    headers
}

/// Whether a policy is one that counts the calls of single keys: of a service, or over a plan.
pub(super) fn counts_for_a_key(of: &Origin, policy: &PolicyId) -> bool {
    // With the dot, so that no other suffix counts that ends in these letters.
    let counts = |suffix| policy.as_str().strip_suffix(suffix).is_some_and(|id: &str| id.ends_with('.'));
    *of == origin() && (counts(KEYS) || counts(PLAN))
}

/// `Saturday, July 30, 2016 12:00:00 AM GMT`
fn show_reset(at: Timestamp) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let time = chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default();
    time.format("%A, %B %-d, %Y %-I:%M:%S %p GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::Used;

    #[test]
    fn the_headers_are_those_of_the_samples() {
        let at = Timestamp::parse("2016-07-30T00:00:00Z").expect("a date");
        let usage = Usage {
            window: Some(Used { allotted: 5, current: 3 }),
            quota: Some(Used { allotted: 1000, current: 999 }),
            quota_resets_at: Some(at),
        };
        let told: Vec<(String, String)> = headers(&usage)
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
            .collect();
        let expected = [
            ("x-packagekey-qps-allotted", "5"),
            ("x-packagekey-qps-current", "3"),
            ("x-packagekey-quota-allotted", "1000"),
            ("x-packagekey-quota-current", "999"),
            ("x-plan-quota-reset", "Saturday, July 30, 2016 12:00:00 AM GMT"),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(headers(&Usage::default()), HeaderMap::new());
    }
}
