//! What a policy says once it is valid: which calls it governs and what it allows them.
//!
//! Must not know: how limits are kept, who wrote the policy.

use http::Method;

use crate::event::Labels;
use crate::policy::{Limits, UrlPattern};

/// A valid limit configuration. Only a policy that has one can be deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Which addresses.
    pub pattern: UrlPattern,
    /// Which verbs; none means all.
    pub methods: Vec<Method>,
    /// Which labels an event must carry, all of them.
    pub labels: Vec<LabelCondition>,
    /// What is allowed.
    pub limits: Limits,
    /// What happens when there is no room.
    pub family: Family,
    /// Whether other policies of its origin apply beside it.
    pub overlap: Overlap,
    /// By which labels its limits are told apart.
    pub scope: Scope,
}

/// A label that an event must carry with exactly this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelCondition {
    /// The label.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Whether an event without the label fulfils the condition too: the value is the label's default
    /// (such as `service`, which is `action` when it is absent; contracts.md, "Decided" 4).
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

    /// Whether labels fulfil it.
    #[must_use]
    pub fn holds(&self, labels: &Labels) -> bool {
        labels.get(&self.key).map_or(self.or_absent, |value| value == self.value)
    }
}

/// Waiting limits hold an event until there is room; refusing ones turn it away (contracts.md, "Decided" 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Hold it in its lane.
    Wait,
    /// Turn it away. Calls in flight wait all the same.
    Refuse,
}

/// What becomes of an event that several policies of one origin match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// The one with the most literal pattern rules alone, of equals the oldest (contracts.md section 7, item 3).
    MostSpecific,
    /// All of them apply.
    All,
}

/// The labels by whose values the limits of one policy are told apart: each combination has counters of its own,
/// and an event that lacks one of the labels is not governed. Without labels there is one set for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope(Box<[Box<str>]>);

/// Why a scope is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Too many labels.
    #[error("a scope has at most {} labels, this one has {given}", Scope::MAX)]
    TooMany {
        /// How many there are.
        given: usize,
    },
    /// Not a label.
    #[error("{given:?} is not a label: 1 to {} letters, digits, '_', '-' or '.'", Labels::MAX_KEY_BYTES)]
    NoLabel {
        /// As given.
        given: String,
    },
    /// Twice the same.
    #[error("the label {given:?} stands twice in the scope")]
    Repeated {
        /// As given.
        given: String,
    },
}

impl Scope {
    /// Most labels.
    pub const MAX: usize = 4;

    /// Checks and sorts.
    ///
    /// # Errors
    /// [`ScopeError`] names the rule that is broken.
    pub fn new(labels: &[impl AsRef<str>]) -> Result<Self, ScopeError> {
        if labels.len() > Self::MAX {
            return Err(ScopeError::TooMany { given: labels.len() });
        }
        let mut scope: Vec<Box<str>> = labels.iter().map(|label| label.as_ref().into()).collect();
        scope.sort_unstable();
        if let Some(label) = scope.iter().find(|label| !Labels::is_key(label)) {
            return Err(ScopeError::NoLabel { given: label.chars().take(80).collect() });
        }
        match scope.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first) {
            Some(label) => Err(ScopeError::Repeated { given: label.to_string() }),
            None => Ok(Self(scope.into())),
        }
    }

    /// The labels, sorted.
    #[must_use]
    pub fn labels(&self) -> &[Box<str>] {
        &self.0
    }

    /// The first label that is missing.
    #[must_use]
    pub fn missing_in(&self, labels: &Labels) -> Option<&str> {
        self.0.iter().find(|label| labels.get(label).is_none()).map(|label| &**label)
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
