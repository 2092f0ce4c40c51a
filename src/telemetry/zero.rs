//! The series with which a policy, or the process, begins: every counter of every bounded set of label values, at 0.
//!
//! Must not know: which policies there are.

use std::sync::OnceLock;

use metrics::{Counter, SharedString, counter, histogram};

use crate::telemetry::events::EventSource;
use crate::telemetry::kept::{self, KeptSeries, RecorderId};
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

/// How a call can end after which no other follows, in the words of every endpoint.
const FINAL: [&str; 3] = ["2xx", "3xx", "blocked"];

/// How a call can end after which another one may follow, in the words of every endpoint.
const RETRIED: [&str; 12] = [
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
];

/// What endpoints may say beside that, which those who hear them know.
static SAID: OnceLock<EndpointWords> = OnceLock::new();

/// The labels of what endpoints may say in words of their own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EndpointWords {
    /// That they are busy or over a limit: another call may follow.
    pub waits: Vec<&'static str>,
    /// That they will never take the call.
    pub denials: Vec<&'static str>,
}

/// Says which words of endpoints are series from the start. To be called before any policy is known; later words of the
/// same process are passed over.
pub(crate) fn endpoints_may_say(words: EndpointWords) {
    let _first_ones_stay = SAID.set(words);
}

/// How a call can end after which no other follows.
fn ends_for_good() -> impl Iterator<Item = &'static str> {
    FINAL.into_iter().chain(SAID.get().into_iter().flat_map(|said| said.denials.iter().copied()))
}

/// How a call can end after which another one may follow.
fn ends_for_now() -> impl Iterator<Item = &'static str> {
    RETRIED.into_iter().chain(SAID.get().into_iter().flat_map(|said| said.waits.iter().copied()))
}

/// Makes the histogram of every outcome.
pub(super) fn begin_lifetimes() {
    kept::begin_lifetimes(ENDS.into_iter().map(|(outcome, _)| outcome));
}

/// Makes the series of a policy.
pub(super) fn begin(policy: &SharedString) -> KeptSeries {
    let begun = |counter: Counter| {
        counter.increment(0);
        counter
    };
    let enqueued = |source: EventSource| {
        let source = source.label();
        counter!(names::EVENTS_ENQUEUED.name, "policy" => policy.clone(), "source" => source)
    };
    let completed = |outcome: &'static str, cause: &'static str| {
        let policy = policy.clone();
        counter!(names::EVENTS_COMPLETED.name, "policy" => policy, "outcome" => outcome, "cause" => cause)
    };
    let attempts = |result: &'static str| counter!(names::CALL_ATTEMPTS.name, "policy" => policy.clone(), "result" => result);
    let retries = |cause: &'static str| counter!(names::RETRIES_SCHEDULED.name, "policy" => policy.clone(), "cause" => cause);
    KeptSeries {
        recorder: RecorderId::present(),
        enqueued: EventSource::ALL.map(|source| (source.label(), begun(enqueued(source)))).into(),
        completed: ENDS.map(|(outcome, cause)| ((outcome, cause), begun(completed(outcome, cause)))).into(),
        // All results from the start: a rate over a series that begins at its first failure misses that failure.
        attempts: ends_for_good()
            .chain(ends_for_now())
            .map(|result| (result, begun(attempts(result))))
            .collect(),
        retries: ends_for_now().map(|cause| (cause, begun(retries(cause)))).collect(),
        // They are there from the moment on at which they are asked for.
        call_duration: histogram!(names::CALL_DURATION.name, "policy" => policy.clone()),
        queue_wait: histogram!(names::QUEUE_WAIT.name, "policy" => policy.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cause, NameFailure, Shortage};
    use crate::manage;

    #[test]
    fn every_cause_of_a_failure_has_a_series_from_the_start() {
        use Cause::{Blocked, Closed, Connect, Dns, Internal, Malformed, Refused, Status, Timeout, Tls};
        let hears = manage::hears();
        let waits = || hears.iter().flat_map(|one| one.words().waits);
        let denials = || hears.iter().flat_map(|one| one.words().denials);
        endpoints_may_say(EndpointWords {
            waits: waits().map(|said| said.label).collect(),
            denials: denials().map(|said| said.label).collect(),
        });
        assert_eq!((waits().count(), denials().count()), (7, 1));
        let said = waits().map(|said| Cause::Busy(*said)).chain(denials().map(|said| Cause::Denied(*said)));
        let statuses = [300, 404, 429, 500].map(Status);
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
            Internal,
        ];
        for cause in statuses.into_iter().chain(said).chain(others) {
            let mut series = ends_for_good().chain(ends_for_now());
            assert!(series.any(|label| label == cause.label()), "{cause:?}");
        }
    }
}
