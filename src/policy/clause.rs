//! Which calls a policy governs: those that fulfil all that one of its clauses asks.
//!
//! Must not know: what is limited.

use std::borrow::Cow;

use http::Method;

use crate::event::{CanonicalUrl, Labels};
use crate::policy::UrlPattern;

/// One way to fall under a policy: a call has to fulfil all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The canonical urls that fall under it.
    pub pattern: UrlPattern,
    /// The methods that it governs; an empty list means all.
    pub methods: Vec<Method>,
    /// Which labels an event must carry, all of them.
    pub labels: Vec<LabelCondition>,
    /// A label that the path gives to an event without it.
    pub segment: Option<Segment>,
}

/// A label that an event without it gets from its path: the first segment that is one of the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The label that is given; one that the event carries is left as it is.
    pub label: Box<str>,
    /// The start of the path that is not looked at.
    pub after: Box<str>,
    /// The values that a segment may have, compared byte by byte.
    pub names: Vec<Box<str>>,
}

/// A label that an event must carry with exactly this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelCondition {
    /// The name of the label.
    pub key: String,
    /// The value that the label must have, compared byte by byte.
    pub value: String,
    /// Whether an event without the label fulfils the condition too: the value is the label's default
    /// (such as `service`, which is `action` when it is absent).
    pub or_absent: bool,
}

impl LabelCondition {
    /// The label must be there with this value.
    #[must_use]
    pub fn equals(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), or_absent: false }
    }

    /// The label must have this value or be absent.
    #[must_use]
    pub fn equals_or_absent(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into(), or_absent: true }
    }

    fn holds(&self, value: Option<&str>) -> bool {
        value.map_or(self.or_absent, |value| value == self.value)
    }
}

impl Clause {
    /// A clause for all methods, whatever the labels of an event.
    #[must_use]
    pub const fn of(pattern: UrlPattern) -> Self {
        Self { pattern, methods: Vec::new(), labels: Vec::new(), segment: None }
    }

    /// Whether it lists the verb, or all.
    pub(super) fn has_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// The first condition that a call to this address with these labels does not fulfil.
    pub(super) fn broken_by(&self, labels: &Labels, url: &CanonicalUrl) -> Option<&LabelCondition> {
        self.labels.iter().find(|condition| {
            // A label that the event carries comes first: the path only stands in for one that is missing.
            let given = labels.get(&condition.key);
            let in_path = || self.segment.as_ref().filter(|segment| *segment.label == *condition.key);
            !condition.holds(given.or_else(|| in_path()?.find_in(url.path())))
        })
    }
}

impl Segment {
    fn find_in(&self, path: &str) -> Option<&str> {
        let mut segments = path.strip_prefix(&*self.after)?.split('/');
        segments.find_map(|segment| {
            // Undone here and not in the url, which goes out as the producer spelled it.
            let meant = decoded(segment);
            self.names.iter().find(|name| name.as_bytes() == &*meant).map(|name| &**name)
        })
    }
}

/// The bytes that a segment of a path stands for: escapes are another spelling of the same name.
pub(crate) fn decoded(segment: &str) -> Cow<'_, [u8]> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment.as_bytes());
    }
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [byte, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{labels, url};

    #[test]
    fn the_path_gives_a_label_that_is_not_there() {
        let segment = Segment {
            label: "api_method".into(),
            after: "/v1/api".into(),
            names: ["get", "put", "a+b c", "caf\u{e9}", "a%b"].map(Box::from).to_vec(),
        };
        let clause = |name: &str| Clause {
            labels: vec![LabelCondition::equals("api_method", name)],
            segment: Some(segment.clone()),
            ..Clause::of(UrlPattern::parse("https://h.org/v1/api*").expect("valid"))
        };
        let governs = |name: &str, to: &str, pairs: &[(&str, &str)]| {
            clause(name).broken_by(&labels(pairs), &url(to)).is_none()
        };
        assert!(governs("get", "https://h.org/v1/api/x/get?put", &[]));
        assert!(governs("put", "https://h.org/v1/api/put/get", &[]), "the first that is a name");
        assert!(!governs("get", "https://h.org/v1/api/put/get", &[]));
        assert!(!governs("get", "https://h.org/v1/api/getter", &[]), "whole segments");
        assert!(governs("get", "https://h.org/v1/api/put", &[("api_method", "get")]), "the label goes first");
        assert!(!governs("get", "https://h.org/get/v1/api", &[]), "only behind the start");
        assert!(governs("a+b c", "https://h.org/v1/api/a%2Bb%20c", &[]), "however it is spelt");
        assert!(governs("caf\u{e9}", "https://h.org/v1/api/caf%C3%A9", &[]));
        assert!(governs("a%b", "https://h.org/v1/api/a%25b", &[]));
    }
}
