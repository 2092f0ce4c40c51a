//! How emergency stops are asked for and shown.
//!
//! Must not know: how they are kept, how calls are held back.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::dispatch::{Stop, StopTarget};
use crate::ops::body::{invalid, missing};
use crate::ops::wire::date;
use crate::problem::Problem;

/// Exactly one of `everything`, `host` and `organisation`, and at most one of the two ends; without one it lasts until it is
/// ended.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EmergencyStopRequest)]
pub(super) struct StopRequest {
    /// `true` stops all calls.
    #[schema(required = false, value_type = bool)]
    pub everything: Option<Value>,
    /// Stops the calls to a host: `api.example.org:8443`, or `api.example.org` for those to any of its ports.
    #[schema(required = false, value_type = String)]
    pub host: Option<Value>,
    /// Stops the events whose label `org` or `organisation` has this value.
    #[schema(required = false, value_type = String, min_length = 1, max_length = 256)]
    pub organisation: Option<Value>,
    /// Why: shown to everyone who asks what holds an event.
    #[schema(required, value_type = String, min_length = 1, max_length = 200)]
    pub reason: Option<Value>,
    /// At most 366 days from now.
    #[schema(required = false, value_type = String, format = "date-time")]
    pub until: Option<Value>,
    #[schema(required = false, value_type = f64, exclusive_minimum = 0, maximum = 31_622_400)]
    pub for_seconds: Option<Value>,
}

/// Exactly one of them, as it was stopped.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EndEmergencyStopRequest)]
pub(super) struct EndRequest {
    /// `true` ends the stop of everything; those of hosts and organisations stay.
    #[schema(required = false, value_type = bool)]
    pub everything: Option<Value>,
    #[schema(required = false, value_type = String)]
    pub host: Option<Value>,
    #[schema(required = false, value_type = String, min_length = 1, max_length = 256)]
    pub organisation: Option<Value>,
}

/// The emergency stops in force.
#[derive(Serialize, ToSchema)]
#[schema(as = Dispatch)]
pub(super) struct DispatchBody {
    stops: Vec<StopBody>,
    /// Why the record of stops cannot be read, if that is so: nothing is sent then, whatever is listed.
    #[schema(required)]
    record_unreadable: Option<String>,
}

/// An emergency stop that is active, with its reason and end.
#[derive(Serialize, ToSchema)]
#[schema(as = EmergencyStop)]
pub(in crate::ops) struct StopBody {
    /// `everything`, `host` or `organisation`.
    target: &'static str,
    /// Which host or organisation; null for everything.
    #[schema(required)]
    name: Option<String>,
    reason: String,
    #[schema(format = DateTime)]
    since: String,
    /// When it ends by itself; null until somebody ends it.
    #[schema(required, format = DateTime)]
    until: Option<String>,
}

impl StopBody {
    pub(in crate::ops) fn of(stop: &Stop) -> Self {
        Self {
            target: stop.target.kind(),
            name: stop.target.name().map(str::to_owned),
            reason: stop.reason.clone(),
            since: stop.since.to_string(),
            until: date(stop.until),
        }
    }
}

impl DispatchBody {
    pub(super) fn of(stops: &[Stop], record_unreadable: Option<&str>) -> Self {
        let record_unreadable = record_unreadable.map(str::to_owned);
        Self { stops: stops.iter().map(StopBody::of).collect(), record_unreadable }
    }
}

/// What is to be stopped, or was.
pub(super) fn target(
    everything: Option<&Value>,
    host: Option<&Value>,
    organisation: Option<&Value>,
) -> Result<StopTarget, Box<Problem>> {
    let one = "says what is meant: give exactly one of everything, host and organisation";
    match (everything, host, organisation) {
        (Some(Value::Bool(true)), None, None) => Ok(StopTarget::Everything),
        (Some(_), None, None) => Err(invalid("everything", "must be true, or be left out".to_owned())),
        (None, Some(host), None) => {
            let rule = "must be a host with or without a port, such as api.example.org:8443";
            host.as_str().and_then(StopTarget::host).ok_or_else(|| invalid("host", rule.to_owned()))
        }
        (None, None, Some(name)) => {
            let rule = "must be text of 1 to 256 bytes without control characters";
            let named = name.as_str().and_then(StopTarget::organisation);
            named.ok_or_else(|| invalid("organisation", rule.to_owned()))
        }
        (None, None, None) => Err(missing("everything", one.to_owned())),
        (Some(_), ..) => Err(invalid("everything", one.to_owned())),
        (None, ..) => Err(invalid("host", one.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn exactly_one_thing_is_meant() {
        let read = |body: Value| {
            let request: EndRequest = serde_json::from_value(body).expect("an object");
            target(request.everything.as_ref(), request.host.as_ref(), request.organisation.as_ref())
        };
        assert_eq!(read(json!({"everything": true})).expect("valid"), StopTarget::Everything);
        assert_eq!(read(json!({"host": "H:1"})).expect("valid"), StopTarget::Host("h:1".to_owned()));
        assert_eq!(
            read(json!({"organisation": "A"})).expect("valid"),
            StopTarget::Organisation("A".to_owned())
        );
        for (body, pointer) in [
            (json!({}), "/everything"),
            (json!({"everything": false}), "/everything"),
            (json!({"everything": true, "host": "h"}), "/everything"),
            (json!({"host": "h", "organisation": "A"}), "/host"),
            (json!({"host": "a b"}), "/host"),
            (json!({"host": 1}), "/host"),
            (json!({"organisation": ""}), "/organisation"),
        ] {
            let problem = read(body.clone()).expect_err("refused");
            assert_eq!((problem.status, &*problem.errors[0].pointer), (422, pointer), "{body}");
        }
    }
}
