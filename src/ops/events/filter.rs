//! Which events are meant by a list or by a change of many: by policy, state, labels, URL and time of acceptance.
//!
//! Must not know: how a request says it.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::{Event, EventId, Labels, Lane, LaneKey, PolicyId, Priority};
use crate::queue::Search;
use crate::store::{LanePick, ScanPlace};

/// The states of events that have not ended.
pub(super) const STATES: [&str; 3] = ["ready", "delayed", "inflight"];

/// What a request says, as texts.
#[derive(Debug, Default)]
pub(super) struct Given<'r> {
    pub policy: Option<&'r str>,
    pub state: Option<&'r str>,
    pub priority: Option<&'r str>,
    pub url_prefix: Option<&'r str>,
    pub accepted_after: Option<&'r str>,
    pub labels: Vec<(String, String)>,
}

/// A member that breaks its rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub member: &'static str,
    pub rule: String,
}

/// Which events are meant: all of what is there has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Filter {
    policy: Option<PolicyId>,
    state: Option<&'static str>,
    priority: Option<Priority>,
    /// In the order of their names.
    labels: Vec<(String, String)>,
    url_prefix: Option<String>,
    accepted_after: Option<Timestamp>,
    /// What was accepted later is not meant.
    accepted_until: Option<Timestamp>,
}

impl Filter {
    /// Reads what a request says; `states` are those that it may ask for.
    ///
    /// # Errors
    /// The first member that breaks its rule.
    pub(super) fn of(given: Given<'_>, states: &[&'static str]) -> Result<Self, Broken> {
        let broken = |member, rule: String| Broken { member, rule };
        let policy = given.policy.map(PolicyId::parse).transpose();
        let policy = policy.map_err(|_| broken("policy", "must be the id of a policy".to_owned()))?;
        let state = given.state.map(|word| {
            let known = states.iter().copied().find(|state| *state == word);
            let rule =
                || format!("must be one of {}; events that have ended are not meant", states.join(", "));
            known.ok_or_else(|| broken("state", rule()))
        });
        let priority = given
            .priority
            .map(|word| Priority::parse(word).ok_or_else(|| broken("priority", Priority::RULE.to_owned())));
        let accepted_after = given.accepted_after.map(|date| {
            let rule = || "must be an RFC 3339 date such as 2030-01-31T08:00:00Z".to_owned();
            Timestamp::parse(date).ok_or_else(|| broken("accepted_after", rule()))
        });
        let mut labels = given.labels;
        labels.sort_unstable();
        Ok(Self {
            policy,
            state: state.transpose()?,
            priority: priority.transpose()?,
            labels,
            // Every URL begins so: it names nothing.
            url_prefix: given.url_prefix.filter(|prefix| !prefix.is_empty()).map(str::to_owned),
            accepted_after: accepted_after.transpose()?,
            accepted_until: None,
        })
    }

    /// The same, of what was accepted until then.
    pub(super) fn until(self, accepted_until: Timestamp) -> Self {
        Self { accepted_until: Some(accepted_until), ..self }
    }

    /// Whether all are meant, apart from those that come later.
    pub(super) fn names_nothing(&self) -> bool {
        Self { accepted_until: None, ..self.clone() } == Self::default()
    }

    /// The filter in words, for people who look at a change.
    pub(super) fn about(&self) -> String {
        let members = [
            ("policy", self.policy.as_ref().map(ToString::to_string)),
            ("state", self.state.map(str::to_owned)),
            ("priority", self.priority.map(|priority| priority.word().to_owned())),
            ("url_prefix", self.url_prefix.clone()),
            ("accepted_after", self.accepted_after.map(|at| at.to_string())),
        ];
        let labels = self.labels.iter().map(|(key, value)| format!("label.{key}={value}"));
        let members = members.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        members.chain(labels).collect::<Vec<_>>().join(" ")
    }

    /// A page of such events.
    pub(super) fn page(&self, defaults: &Arc<Labels>, after: Option<ScanPlace>, most: usize) -> Search {
        let (filter, defaults) = (self.clone(), Arc::clone(defaults));
        Search {
            after,
            lanes: self.lanes(),
            accepted_from: self.accepted_after.unwrap_or(Timestamp::ZERO),
            is_meant: Box::new(move |id, event| filter.means(id, event, &defaults)),
            state: self.state,
            most,
        }
    }

    /// The lanes in which such events may stand.
    fn lanes(&self) -> LanePick {
        if self.policy.is_none() && self.priority.is_none() {
            return LanePick::new(|_| true);
        }
        let (policy, priority) = (self.policy.clone(), self.priority);
        let is_governed = move |key: &LaneKey| {
            policy.as_ref().is_none_or(|policy| {
                Lane::parse(key).is_ok_and(|lane| lane.policies().iter().any(|part| part.policy == *policy))
            })
        };
        LanePick::new(move |key: &LaneKey| {
            priority.is_none_or(|priority| key.priority() == priority) && is_governed(key)
        })
    }

    /// Whether an event is meant, apart from its policy, its priority and its state. Labels that stand for all events count where the
    /// event has none of its own.
    fn means(&self, id: EventId, event: &Event, defaults: &Labels) -> bool {
        self.is_of_its_time(id, event) && self.means_what(event, defaults)
    }

    /// Whether an event was accepted at a time that is meant. One that was redriven was accepted when it came first, or its
    /// present entry was: what was there at a count is meant, and nothing that came later.
    pub(super) fn is_of_its_time(&self, id: EventId, event: &Event) -> bool {
        let first = event.name(id).accepted_at().min(id.accepted_at());
        self.accepted_after.is_none_or(|after| id.accepted_at() > after)
            && self.accepted_until.is_none_or(|until| first <= until)
    }

    /// Whether an event is meant by its labels and its URL.
    pub(super) fn means_what(&self, event: &Event, defaults: &Labels) -> bool {
        let is_so = |(key, value): &(String, String)| {
            event.labels.get(key).or_else(|| defaults.get(key)) == Some(value.as_str())
        };
        // Without the query, which may carry secrets: a search must not tell them letter by letter.
        let url = event.url.without_query();
        self.url_prefix.as_ref().is_none_or(|prefix| url.starts_with(prefix.as_str()))
            && self.labels.iter().all(is_so)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::policy::testing::{labels, url};

    fn event() -> Event {
        Event {
            method: Method::POST,
            url: url("https://api.test/orders?token=secret"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            labels: labels(&[("org", "ACME")]),
            due_at: None,
            is_dated: false,
            expires_at: Timestamp::MAX,
            redriven: None,
        }
    }

    #[test]
    fn all_of_what_is_given_has_to_hold() {
        let defaults = labels(&[("org", "OTHER"), ("region", "eu")]);
        let id = EventId::new(5_000, 1);
        let means = |given| Filter::of(given, &STATES).expect("valid").means(id, &event(), &defaults);
        let by_url = |text| Given { url_prefix: Some(text), ..Given::default() };
        assert!(means(Given::default()) && means(by_url("https://api.test/ord")));
        assert!(!means(by_url("https://api.test/orders?token=s")), "a query cannot be guessed");
        let by_label = |key: &str, value: &str| Given {
            labels: vec![(key.to_owned(), value.to_owned())],
            ..Given::default()
        };
        assert!(means(by_label("org", "ACME")) && means(by_label("region", "eu")));
        assert!(!means(by_label("org", "OTHER")), "a default counts where there is nothing else");
        assert!(
            !means(Given { url_prefix: Some("https://api.test/"), ..by_label("org", "X") }),
            "both have to hold"
        );
        let after = |date| Given { accepted_after: Some(date), ..Given::default() };
        assert!(means(after("1970-01-01T00:00:04Z")) && !means(after("1970-01-01T00:00:05Z")));
    }

    #[test]
    fn what_comes_later_is_not_meant() {
        let means = |ms| {
            let filter = Filter::default().until(Timestamp::from_millis(ms));
            filter.means(EventId::new(5_000, 1), &event(), &Labels::default())
        };
        assert!(means(5_000) && !means(4_999));
    }

    #[test]
    fn a_policy_is_found_in_the_names_of_lanes() {
        let filter = Filter::of(Given { policy: Some("q"), ..Given::default() }, &STATES).expect("valid");
        let has = |key: &str| filter.lanes().has(&LaneKey::new(key).expect("short"));
        assert!(has("q@1;~host=h:80") && !has("p@1;~host=h:80") && !has("-"));
        assert!(has("q@1;~priority=low;~host=h:80"), "of any priority");
        let low = Given { policy: Some("q"), priority: Some("low"), ..Given::default() };
        let lanes = Filter::of(low, &STATES).expect("valid").lanes();
        let has = |key: &str| lanes.has(&LaneKey::new(key).expect("short"));
        assert!(has("q@1;~priority=low;~host=h:80") && has("q@1;~priority=low"));
        assert!(!has("q@1;~host=h:80") && !has("p@1;~priority=low"));
    }
}
