//! The series with which a policy, or the process, begins: every counter of every bounded set of label values, at 0.
//!
//! Must not know: which policies there are.

use metrics::{SharedString, counter, histogram};

use crate::telemetry::events::Source;
use crate::telemetry::names;

/// How an event can end, with why.
const ENDS: [(&str, &str); 7] = [
    ("delivered", ""),
    ("dead", ""),
    ("expired", ""),
    ("expired", "held"),
    ("config_drained", ""),
    ("cancelled", ""),
    ("lost", ""),
];

/// How a call can end after which no other follows.
const FINAL: [&str; 4] = ["2xx", "3xx", "blocked", "api_blocked"];

/// How a call can end after which another one may follow.
const RETRIED: [&str; 18] = [
    "4xx",
    "429",
    "5xx",
    "timeout",
    "connect",
    "dns",
    "tls",
    "closed",
    "refused",
    "malformed",
    "shortage",
    "internal",
    "developer_over_qps",
    "developer_over_rate",
    "service_over_qps",
    "api_limit",
    "capacity",
    "next_message",
];

/// Makes the histogram of every outcome.
pub(super) fn begin_lifetimes() {
    for (outcome, _) in ENDS {
        let _ = histogram!(names::EVENT_LIFETIME.name, "outcome" => outcome);
    }
}

/// Makes the series of a policy.
pub(super) fn begin(policy: &SharedString) {
    for source in Source::ALL {
        counter!(names::EVENTS_ENQUEUED.name, "policy" => policy.clone(), "source" => source.label())
            .increment(0);
    }
    for (outcome, cause) in ENDS {
        counter!(names::EVENTS_COMPLETED.name, "policy" => policy.clone(), "outcome" => outcome, "cause" => cause)
            .increment(0);
    }
    for result in FINAL.into_iter().chain(RETRIED) {
        counter!(names::CALL_ATTEMPTS.name, "policy" => policy.clone(), "result" => result).increment(0);
    }
    for cause in RETRIED {
        counter!(names::RETRIES_SCHEDULED.name, "policy" => policy.clone(), "cause" => cause).increment(0);
    }
    for name in [names::CALL_DURATION.name, names::QUEUE_WAIT.name] {
        // It is there from the moment on at which it is asked for.
        let _ = histogram!(name, "policy" => policy.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Busy, Cause, NameFailure, Shortage};

    #[test]
    fn every_cause_of_a_failure_has_a_series_from_the_start() {
        use Cause::{
            ApiBlocked, Blocked, Closed, Connect, Dns, Internal, Malformed, Refused, Status, Timeout, Tls,
        };
        let statuses = [300, 404, 429, 500].map(Status);
        let busy = [
            Busy::DeveloperOverQps,
            Busy::DeveloperOverRate,
            Busy::ServiceOverQps,
            Busy::ApiLimit,
            Busy::Capacity,
            Busy::NextMessage,
        ];
        let others = [
            Timeout,
            Connect,
            Dns(NameFailure::Timeout),
            Cause::Shortage(Shortage::Ports),
            Tls,
            Closed,
            Refused,
            Blocked,
            Malformed,
            ApiBlocked,
            Internal,
        ];
        for cause in statuses.into_iter().chain(busy.map(Cause::Busy)).chain(others) {
            assert!(FINAL.contains(&cause.label()) || RETRIED.contains(&cause.label()), "{cause:?}");
        }
    }
}
