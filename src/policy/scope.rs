//! By which labels the limits of one policy are told apart.
//!
//! Must not know: what is limited.

use std::borrow::Cow;

use crate::event::{CanonicalUrl, Labels, Lane};

/// The labels by whose values the limits of one policy are told apart: each combination has counters of its own,
/// and an event that lacks one of the labels is not governed. Without labels there is one set for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    labels: Box<[Box<str>]>,
    /// The label that counts as the host and port of the url where an event lacks it.
    host: Option<Box<str>>,
}

/// Why a list of labels is refused as a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// It lists more labels than a scope may have.
    #[error("a scope has at most {} labels, this one has {given}", Scope::MAX)]
    TooMany {
        /// How many labels were listed.
        given: usize,
    },
    /// One of the texts cannot be the name of a label.
    #[error("{given:?} is not a label: 1 to {} letters, digits, '_', '-' or '.'", Labels::MAX_KEY_BYTES)]
    NoLabel {
        /// The text that was given, cut to 80 characters.
        given: String,
    },
    /// It lists the same label twice.
    #[error("the label {given:?} stands twice in the scope")]
    Repeated {
        /// The label that stands there twice.
        given: String,
    },
}

impl Scope {
    /// Most labels that one scope may have.
    pub const MAX: usize = 4;

    /// A scope of these labels, in whatever order they are given.
    ///
    /// # Errors
    /// [`ScopeError`] names the rule that is broken.
    pub fn new(labels: &[impl AsRef<str>]) -> Result<Self, ScopeError> {
        if labels.len() > Self::MAX {
            return Err(ScopeError::TooMany { given: labels.len() });
        }
        let mut scope: Vec<Box<str>> = labels.iter().map(|label| label.as_ref().into()).collect();
        // One order for all spellings of a scope: keys of counters name the labels in it.
        scope.sort_unstable();
        // Cut for the message: the text may be of any length.
        if let Some(label) = scope.iter().find(|label| !Labels::is_key(label)) {
            return Err(ScopeError::NoLabel { given: label.chars().take(80).collect() });
        }
        match scope.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first) {
            Some(label) => Err(ScopeError::Repeated { given: label.to_string() }),
            None => Ok(Self { labels: scope.into(), host: None }),
        }
    }

    /// The labels, in the order of their names.
    #[must_use]
    pub fn labels(&self) -> &[Box<str>] {
        &self.labels
    }

    /// The same, but an event without this label of the scope counts as if it had the host and port of its url in it.
    #[must_use]
    pub fn with_host(self, label: &str) -> Self {
        let host = self.labels.iter().find(|known| ***known == *label).cloned();
        Self { host, ..self }
    }

    /// The label that [`Scope::with_host`] named, if there is one.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The key of a call that lacks none of them, as [`Lane::scope_key`] makes it.
    pub(super) fn key_of(&self, labels: &Labels, url: &CanonicalUrl) -> Box<str> {
        let value = |label: &str| labels.get(label).map(Cow::from).or_else(|| self.stand_in(label, url));
        debug_assert!(self.missing_in(labels).is_none(), "callers have asked whether a label is missing");
        let values = self.labels.iter().map(|label| value(label).unwrap_or_default().into());
        let values: Vec<Box<str>> = values.collect();
        Lane::key_of_scope(self.labels.iter().zip(&values))
    }

    /// What counts as the value of this label for a call that lacks it.
    pub(super) fn stand_in(&self, label: &str, url: &CanonicalUrl) -> Option<Cow<'static, str>> {
        (self.host() == Some(label)).then(|| url.host_and_port().into())
    }

    /// The first label of the scope that the call lacks and nothing stands in for.
    #[must_use]
    pub fn missing_in(&self, labels: &Labels) -> Option<&str> {
        let mut names = self.labels.iter().map(|label| &**label);
        names.find(|label| labels.get(label).is_none() && self.host() != Some(*label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_sorted_and_each_rule_is_told() {
        let scope = Scope::new(&["org", "datamart"]).expect("valid");
        assert_eq!(scope.labels(), ["datamart".into(), "org".into()]);
        let refused = |labels: &[&str]| Scope::new(labels).expect_err("refused").to_string();
        assert!(refused(&["a", "b", "a"]).contains("\"a\" stands twice"));
        assert!(refused(&["a b"]).contains("not a label"));
        assert!(refused(&[""]).contains("not a label"));
        assert!(refused(&["a", "b", "c", "d", "e"]).contains("at most 4"));
        assert_eq!(Scope::new(&[""; 0]), Ok(Scope::default()));
    }
}
