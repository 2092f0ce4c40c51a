//! Emergency stops: what an operator holds back at once, whatever policies say. Of everything, of the calls to one host, or
//! of the events of one organisation. Nothing starts that a stop concerns; calls under way go on, events are accepted, and
//! their lives go on.
//!
//! A record of stops that cannot be read stops everything: what was in it is unknown, and one that is missed would let calls
//! out.
//!
//! Must not know: how stops are kept, who asks for them.

use std::cell::LazyCell;
use std::fmt;

use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, Event, Labels, Lane};

/// The labels by which an event names its organisation.
const ORGANISATION: [&str; 2] = ["org", "organisation"];

/// Longest name of an organisation, in bytes: that of a label's value.
const MAX_ORGANISATION: usize = 256;

/// Which calls an emergency stop holds back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopTarget {
    /// All calls, whatever they are for.
    Everything,
    /// The calls to a host: `host:port`, or `host` for those to any of its ports.
    Host(String),
    /// The events that have one of the labels `org` and `organisation` with this value.
    Organisation(String),
}

/// One stop, in force until its end or until somebody ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    /// What is stopped; no two stops have the same.
    pub target: StopTarget,
    /// Why, in the operator's words.
    pub reason: String,
    /// When the operator asked for it.
    pub since: Timestamp,
    /// Until when, a whole millisecond; `None` means until it is ended.
    pub until: Option<Timestamp>,
}

/// All stops that are on record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stops {
    list: Vec<Stop>,
    /// Why the record could not be read, if that is so.
    unreadable: Option<String>,
}

impl StopTarget {
    /// All kinds, by the words that API and metrics use.
    const KINDS: [&str; 3] = ["everything", "host", "organisation"];

    /// The host of this text, such as `api.example.org` or `api.example.org:8443`; `None` when it is none.
    pub(crate) fn host(text: &str) -> Option<Self> {
        let url = CanonicalUrl::handed_in(&format!("http://{text}/")).ok()?;
        let named = url.host_and_port();
        let (host, _) = named.rsplit_once(':')?;
        // What would name more than a host, such as a path or a user.
        if url.path_and_query() != "/" || text.contains(['@', '/', '?', '#']) {
            return None;
        }
        let has_port = !text.ends_with(']') && text.rsplit_once(':').is_some();
        Some(Self::Host(if has_port { named } else { host.to_owned() }))
    }

    /// The organisation of this name; `None` when no label can have it.
    pub(crate) fn organisation(name: &str) -> Option<Self> {
        let is_sound =
            !name.is_empty() && name.len() <= MAX_ORGANISATION && !name.chars().any(char::is_control);
        is_sound.then(|| Self::Organisation(name.to_owned()))
    }

    /// The word of its kind.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Host(_) => "host",
            Self::Organisation(_) => "organisation",
        }
    }

    /// Which host or organisation; `None` for everything.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Everything => None,
            Self::Host(name) | Self::Organisation(name) => Some(name),
        }
    }

    /// Whether it concerns a call to the host `called` of an event with these labels.
    fn concerns(&self, called: &LazyCell<String, impl FnOnce() -> String>, labels: &Labels) -> bool {
        match self {
            Self::Everything => true,
            Self::Host(host) => is_host(host, called),
            Self::Organisation(name) => {
                ORGANISATION.iter().any(|label| labels.get(label) == Some(name.as_str()))
            }
        }
    }

    /// Whether it concerns every event of a lane.
    fn covers(&self, lane: &Lane) -> bool {
        match self {
            Self::Everything => true,
            Self::Host(host) => lane.key().host().is_some_and(|named| is_host(host, named)),
            Self::Organisation(name) => ORGANISATION.iter().any(|label| lane.has_label(label, name)),
        }
    }
}

/// Whether a host is that of a call, which is named with its port.
fn is_host(stopped: &str, called: &str) -> bool {
    stopped == called || called.rsplit_once(':').is_some_and(|(host, _)| host == stopped)
}

impl fmt::Display for StopTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("everything"),
            Self::Host(host) => write!(f, "the host {host}"),
            Self::Organisation(name) => write!(f, "the organisation {name:?}"),
        }
    }
}

impl Stop {
    /// Whether it is in force at `now`; with no certain time it has no end.
    pub(crate) fn holds(&self, now: Option<Timestamp>) -> bool {
        self.until.zip(now).is_none_or(|(until, now)| until > now)
    }
}

impl Stops {
    /// These stops, of which each has a target of its own.
    pub(crate) const fn new(list: Vec<Stop>) -> Self {
        Self { list, unreadable: None }
    }

    /// The record could not be read, for this reason: everything is stopped.
    pub(crate) const fn unreadable(reason: String) -> Self {
        Self { list: Vec::new(), unreadable: Some(reason) }
    }

    /// Why the record could not be read, if that is so.
    pub(crate) fn why_unreadable(&self) -> Option<&str> {
        self.unreadable.as_deref()
    }

    /// Those in force at `now`; without a certain time none has an end.
    pub(crate) fn in_force(&self, now: Option<Timestamp>) -> impl Iterator<Item = &Stop> {
        self.list.iter().filter(move |stop| stop.holds(now))
    }

    /// The same with this stop, in the place of one of the same target.
    pub(crate) fn with(&self, stop: Stop) -> Self {
        let mut list = self.without(&stop.target).list;
        list.push(stop);
        list.sort_by(|a, b| a.target.cmp(&b.target));
        Self { list, unreadable: self.unreadable.clone() }
    }

    /// The same without the stop of this target.
    pub(crate) fn without(&self, target: &StopTarget) -> Self {
        let list = self.list.iter().filter(|stop| stop.target != *target).cloned().collect();
        Self { list, unreadable: self.unreadable.clone() }
    }

    /// The stop that holds the call of an event with these labels back for longest.
    pub(crate) fn of_call(
        &self,
        url: &CanonicalUrl,
        labels: &Labels,
        now: Option<Timestamp>,
    ) -> Option<&Stop> {
        // Written out once, however many hosts are stopped, and not at all when none is.
        let called = LazyCell::new(|| url.host_and_port());
        longest(self.in_force(now).filter(|stop| stop.target.concerns(&called, labels)))
    }

    /// Until when such a call is stopped: with no end while somebody has to end it.
    pub(crate) fn call_until(
        &self,
        url: &CanonicalUrl,
        labels: &Labels,
        now: Option<Timestamp>,
    ) -> Option<Option<Timestamp>> {
        if self.unreadable.is_some() {
            return Some(None);
        }
        // In doubt about time a stop has no end.
        self.of_call(url, labels, now).map(|stop| stop.until.filter(|_| now.is_some()))
    }

    /// Whether an event may not start at `now`.
    pub(super) fn hold(&self, event: &Event, now: Option<Timestamp>) -> bool {
        self.unreadable.is_some()
            || !self.list.is_empty() && self.of_call(&event.url, &event.labels, now).is_some()
    }

    /// Until when a lane is stopped of which no event may start: with no end while somebody has to end it.
    pub(crate) fn of_lane(&self, lane: &Lane, now: Option<Timestamp>) -> Option<Option<Timestamp>> {
        if self.unreadable.is_some() {
            return Some(None);
        }
        let stop = longest(self.in_force(now).filter(|stop| stop.target.covers(lane)))?;
        // In doubt about time a stop has no end.
        Some(stop.until.filter(|_| now.is_some()))
    }

    /// How many are in force of each kind. A record that cannot be read counts as a stop of everything.
    pub(super) fn by_kind(&self, now: Option<Timestamp>) -> [(&'static str, u64); 3] {
        StopTarget::KINDS.map(|kind| {
            let stops = self.in_force(now).filter(|stop| stop.target.kind() == kind).count() as u64;
            let unread = kind == StopTarget::Everything.kind() && self.unreadable.is_some();
            (kind, stops + u64::from(unread))
        })
    }

    /// When the first of those in force ends by itself.
    pub(crate) fn first_end(&self, now: Option<Timestamp>) -> Option<Timestamp> {
        now.and_then(|_| self.in_force(now).filter_map(|stop| stop.until).min())
    }
}

fn longest<'s>(stops: impl Iterator<Item = &'s Stop>) -> Option<&'s Stop> {
    stops.max_by_key(|stop| stop.until.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::policy::testing::{labels, url};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn stop(target: StopTarget, until: Option<u64>) -> Stop {
        Stop { target, reason: "why".to_owned(), since: at(1), until: until.map(at) }
    }

    fn event(to: &str, pairs: &[(&str, &str)]) -> Event {
        Event {
            method: Method::POST,
            url: url(to),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            labels: labels(pairs),
            due_at: None,
            is_dated: false,
            expires_at: Timestamp::MAX,
            redriven: None,
        }
    }

    #[test]
    fn a_host_is_meant_with_its_port_or_with_all_of_them() {
        let host = |text: &str| StopTarget::host(text).and_then(|target| target.name().map(str::to_owned));
        assert_eq!(host("API.example.org").as_deref(), Some("api.example.org"));
        assert_eq!(host("api.example.org:80").as_deref(), Some("api.example.org:80"));
        assert_eq!(host("[::1]").as_deref(), Some("[::1]"));
        assert_eq!(host("[::1]:81").as_deref(), Some("[::1]:81"));
        for none in ["", "a b", "http://a", "a/b", "u@a", "a?b", "::1", "a:b"] {
            assert_eq!(host(none), None, "{none:?}");
        }
        let stops = |text| Stops::new(vec![stop(StopTarget::host(text).expect("a host"), None)]);
        let holds = |text, to| stops(text).hold(&event(to, &[]), Some(at(5)));
        assert!(holds("a.org", "http://a.org/x") && holds("a.org", "https://a.org:8443/"));
        assert!(holds("a.org:443", "https://a.org/") && !holds("a.org:443", "http://a.org/"));
        assert!(!holds("a.org", "http://b.a.org/") && !holds("a.org", "http://a.org.b/"));
    }

    #[test]
    fn an_organisation_is_meant_by_either_label() {
        let stops = Stops::new(vec![stop(StopTarget::organisation("A C").expect("a name"), Some(10))]);
        let holds = |pairs: &[(&str, &str)], now| stops.hold(&event("http://a.org/", pairs), now);
        assert!(holds(&[("org", "A C")], Some(at(9))) && holds(&[("organisation", "A C")], Some(at(9))));
        assert!(!holds(&[("org", "A")], Some(at(9))) && !holds(&[("name", "A C")], Some(at(9))));
        assert!(!holds(&[("org", "A C")], Some(at(10))), "it has ended");
        assert!(holds(&[("org", "A C")], None), "in doubt about time it has no end");
        let lane =
            |pairs: &[(&str, &str)]| Lane::scoped(Vec::new(), &labels(pairs), &["org"]).expect("short");
        assert_eq!(stops.of_lane(&lane(&[("org", "A C")]), Some(at(2))), Some(Some(at(10))));
        assert_eq!(stops.of_lane(&lane(&[("org", "A C")]), None), Some(None));
        assert_eq!(stops.of_lane(&lane(&[]), Some(at(2))), None, "it may hold others");
    }

    #[test]
    fn a_record_that_cannot_be_read_stops_everything() {
        let stops = Stops::unreadable("it is damaged".to_owned());
        let lane = Lane::of(Vec::new()).expect("short");
        assert!(stops.hold(&event("http://a.org/", &[]), Some(at(5))));
        assert_eq!(stops.of_lane(&lane, Some(at(5))), Some(None));
        let none = Stops::default();
        assert!(!none.hold(&event("http://a.org/", &[]), Some(at(5))), "the control: nothing is stopped");
        assert_eq!(none.of_lane(&lane, None), None);
    }

    #[test]
    fn one_target_has_one_stop() {
        let both = Stops::default().with(stop(StopTarget::Everything, None));
        let both = both.with(stop(StopTarget::Host("a".to_owned()), Some(7)));
        let changed = both.with(stop(StopTarget::Everything, Some(9)));
        assert_eq!(changed.in_force(Some(at(2))).count(), 2);
        assert_eq!(changed.first_end(Some(at(2))), Some(at(7)));
        assert_eq!(changed.first_end(Some(at(7))), Some(at(9)));
        assert_eq!(changed.first_end(None), None);
        assert_eq!(changed.without(&StopTarget::Everything).in_force(Some(at(2))).count(), 1);
    }
}
