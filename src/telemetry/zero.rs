//! The series with which a policy, or the process, begins: every counter of every bounded set of label values, at 0.
//!
//! Must not know: which policies there are.

use metrics::{Counter, SharedString, counter, histogram};

use crate::telemetry::events::Source;
use crate::telemetry::kept::{self, Kept, Recorder};
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
    kept::begin_lifetimes(ENDS.into_iter().map(|(outcome, _)| outcome));
}

/// Makes the series of a policy.
pub(super) fn begin(policy: &SharedString) -> Kept {
    let begun = |counter: Counter| {
        counter.increment(0);
        counter
    };
    let enqueued = |source: Source| {
        let source = source.label();
        counter!(names::EVENTS_ENQUEUED.name, "policy" => policy.clone(), "source" => source)
    };
    let completed = |outcome: &'static str, cause: &'static str| {
        let policy = policy.clone();
        counter!(names::EVENTS_COMPLETED.name, "policy" => policy, "outcome" => outcome, "cause" => cause)
    };
    let attempts = |result: &'static str| counter!(names::CALL_ATTEMPTS.name, "policy" => policy.clone(), "result" => result);
    let retries = |cause: &'static str| counter!(names::RETRIES_SCHEDULED.name, "policy" => policy.clone(), "cause" => cause);
    Kept {
        recorder: Recorder::present(),
        enqueued: Source::ALL.map(|source| (source.label(), begun(enqueued(source)))).into(),
        completed: ENDS.map(|(outcome, cause)| ((outcome, cause), begun(completed(outcome, cause)))).into(),
        attempts: FINAL.into_iter().chain(RETRIED).map(|result| (result, begun(attempts(result)))).collect(),
        retries: RETRIED.map(|cause| (cause, begun(retries(cause)))).into(),
        // They are there from the moment on at which they are asked for.
        call_duration: histogram!(names::CALL_DURATION.name, "policy" => policy.clone()),
        queue_wait: histogram!(names::QUEUE_WAIT.name, "policy" => policy.clone()),
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
