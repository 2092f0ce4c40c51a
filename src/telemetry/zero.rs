//! The series with which a policy, or the process, begins: every counter of every bounded set of label values, at 0.
//!
//! Must not know: which policies there are.

use std::sync::OnceLock;

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
pub struct EndpointWords {
    /// That they are busy or over a limit: another call may follow.
    pub waits: Vec<&'static str>,
    /// That they will never take the call.
    pub denials: Vec<&'static str>,
}

/// Says which words of endpoints are series from the start. To be called before any policy is known; later words of the
/// same process are passed over.
pub fn endpoints_may_say(words: EndpointWords) {
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
    for result in ends_for_good().chain(ends_for_now()) {
        counter!(names::CALL_ATTEMPTS.name, "policy" => policy.clone(), "result" => result).increment(0);
    }
    for cause in ends_for_now() {
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
        assert_eq!((waits().count(), denials().count()), (6, 1));
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
