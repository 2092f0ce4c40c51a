//! Which dead letters are meant: the same members in a query and in a body. All that are given have to hold.
//!
//! Must not know: what is done to them.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::clock::Timestamp;
use crate::event::{Event, Lane, PolicyId};
use crate::ops::changes::request;
use crate::ops::query::Parameters;
use crate::problem::Problem;
use crate::store::{DeadLetter, record};

/// The parameters of a query that a filter reads, beside `label.KEY`.
pub(super) const PARAMETERS: [&str; 6] = ["policy", "reason", "status", "host", "after", "before"];

/// Says that a member breaks its rule.
pub(super) type Invalid = fn(&str, String) -> Box<Problem>;

/// Which letters are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    policy: Option<PolicyId>,
    reason: Option<String>,
    status: Option<u16>,
    host: Option<String>,
    /// Parked at this moment or later.
    after: Option<Timestamp>,
    /// Parked before this moment.
    before: Option<Timestamp>,
    labels: Vec<(String, String)>,
}

/// The members of a body that make a filter.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadLetterFilter)]
pub(super) struct FilterBody {
    /// A policy that governed the event.
    #[schema(required = false, value_type = String)]
    policy: Option<Value>,
    /// Why it was parked, such as `http_404`, or the part before the colon, such as `attempts_exhausted`.
    #[schema(required = false, value_type = String)]
    reason: Option<Value>,
    /// The HTTP status that the last attempt was answered with.
    #[schema(required = false, value_type = u16, minimum = 100, maximum = 599)]
    status: Option<Value>,
    /// The host of the URL, with or without its port.
    #[schema(required = false, value_type = String)]
    host: Option<Value>,
    /// Parked at this moment or later.
    #[schema(required = false, value_type = String, format = "date-time")]
    after: Option<Value>,
    /// Parked before this moment.
    #[schema(required = false, value_type = String, format = "date-time")]
    before: Option<Value>,
    /// Labels of the event with their values.
    #[schema(required = false, value_type = BTreeMap<String, String>)]
    labels: Option<Value>,
}

impl FilterBody {
    /// The filter that the members make.
    ///
    /// # Errors
    /// The first member that breaks its rule.
    pub(super) fn read(&self) -> Result<Filter, Box<Problem>> {
        // A number is as good as its text.
        let status = match &self.status {
            Some(Value::Number(number)) => Some(number.to_string()),
            status => request::text("status", status.as_ref())?,
        };
        let given = Given {
            policy: request::text("policy", self.policy.as_ref())?,
            reason: request::text("reason", self.reason.as_ref())?,
            status,
            host: request::text("host", self.host.as_ref())?,
            after: request::text("after", self.after.as_ref())?,
            before: request::text("before", self.before.as_ref())?,
            labels: request::labels(self.labels.as_ref())?,
        };
        given.check(request::invalid_in_filter)
    }
}

/// The members as texts.
struct Given {
    policy: Option<String>,
    reason: Option<String>,
    status: Option<String>,
    host: Option<String>,
    after: Option<String>,
    before: Option<String>,
    labels: Vec<(String, String)>,
}

impl Given {
    fn check(self, invalid: Invalid) -> Result<Filter, Box<Problem>> {
        let policy = self.policy.map(|policy| {
            PolicyId::parse(&policy).map_err(|_| invalid("policy", "must be the id of a policy".to_owned()))
        });
        let status = self.status.map(|status| {
            let number = status.parse().ok().filter(|number| (100..=599).contains(number));
            number.ok_or_else(|| invalid("status", "must be a number from 100 to 599".to_owned()))
        });
        let date = |name: &str, date: Option<String>| {
            let rule = "must be an RFC 3339 date such as 2030-01-31T08:00:00Z";
            date.map(|date| Timestamp::parse(&date).ok_or_else(|| invalid(name, rule.to_owned()))).transpose()
        };
        Ok(Filter {
            policy: policy.transpose()?,
            reason: self.reason,
            status: status.transpose()?,
            host: self.host.map(|host| host.to_ascii_lowercase()),
            after: date("after", self.after)?,
            before: date("before", self.before)?,
            labels: self.labels,
        })
    }
}

impl Filter {
    /// The filter that the parameters of a query make.
    pub(super) fn of_query(parameters: &Parameters, invalid: Invalid) -> Result<Self, Box<Problem>> {
        let text = |name: &str| parameters.get(name).map(str::to_owned);
        let labels = parameters.family("label.").map(|(key, value)| (key.to_owned(), value.to_owned()));
        let given = Given {
            policy: text("policy"),
            reason: text("reason"),
            status: text("status"),
            host: text("host"),
            after: text("after"),
            before: text("before"),
            labels: labels.collect(),
        };
        given.check(invalid)
    }

    /// The same, of letters that were parked before this moment.
    pub(super) fn until(self, moment: Timestamp) -> Self {
        let before = self.before.map_or(moment, |before| before.min(moment));
        Self { before: Some(before), ..self }
    }

    /// Whether every letter is meant.
    pub(super) fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing but a moment is asked for, which every count sets.
    pub(super) fn names_nothing(&self) -> bool {
        Self { before: None, ..self.clone() }.is_everything()
    }

    /// Whether this letter is meant. What cannot be read of it is no match.
    pub(super) fn wants(&self, letter: &DeadLetter) -> bool {
        let is_in_time = self.after.is_none_or(|after| letter.at >= after)
            && self.before.is_none_or(|before| letter.at < before);
        is_in_time
            && self.status.is_none_or(|status| letter.status() == Some(status))
            && self.reason.as_deref().is_none_or(|reason| has_reason(letter, reason))
            && self.policy.as_ref().is_none_or(|policy| is_under(letter, policy))
            // The record last: it has to be decoded.
            && (self.host.is_none() && self.labels.is_empty()
                || record::decode(&letter.record).is_ok_and(|event| self.wants_event(&event)))
    }

    fn wants_event(&self, event: &Event) -> bool {
        let is_host = |host: &String| {
            let full = event.url.host_and_port();
            full == *host || full.rsplit_once(':').is_some_and(|(name, _)| name == host)
        };
        self.host.as_ref().is_none_or(is_host)
            && self.labels.iter().all(|(key, value)| event.labels.get(key) == Some(value))
    }

    /// The filter in words, for people who look at a change.
    pub(super) fn about(&self) -> String {
        let date = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let members = [
            ("policy", self.policy.as_ref().map(ToString::to_string)),
            ("reason", self.reason.clone()),
            ("status", self.status.map(|status| status.to_string())),
            ("host", self.host.clone()),
            ("after", date(self.after)),
            ("before", date(self.before)),
        ];
        let labels = self.labels.iter().map(|(key, value)| format!("label.{key}={value}"));
        let members = members.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        members.chain(labels).collect::<Vec<_>>().join(" ")
    }
}

fn has_reason(letter: &DeadLetter, reason: &str) -> bool {
    letter.reason == reason || letter.reason.split_once(':').is_some_and(|(word, _)| word == reason)
}

fn is_under(letter: &DeadLetter, policy: &PolicyId) -> bool {
    Lane::parse(&letter.lane).is_ok_and(|lane| lane.policies().iter().any(|part| part.policy == *policy))
}
