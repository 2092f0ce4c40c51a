//! What a policy says once it is valid: which calls it governs and what it allows them.
//!
//! Must not know: how limits are kept, who wrote the policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Lane, PolicyId};
use crate::policy::{Clause, Limits, Scope};

/// A valid limit configuration. Only a policy that has one can be deployed.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Which calls: those that fall under any of these, at least one.
    pub clauses: Vec<Clause>,
    /// At most how much of them; a limit that is absent limits nothing.
    pub limits: Limits,
    /// What happens when there is no room.
    pub family: Family,
    /// Whether other policies of its origin apply beside it.
    pub overlap: Overlap,
    /// By which labels its limits are told apart.
    pub scope: Scope,
    /// What is allowed to single label values instead. A policy that allows all others anything governs these alone.
    pub overrides: Overrides,
    /// It keeps no counters: its window and quota are bounds on what is used of those of this policy, which has the same
    /// scope. The limits of both should have the same lengths. Only for [`Family::Refuse`], and without pace and slots: such
    /// a bound neither makes a call wait nor counts one.
    pub bounds_on: Option<PolicyId>,
    /// In which order policies that turn calls away are asked: the lowest without room names the refusal.
    pub rank: u8,
    /// How a refusal is called; `None` means tidegate's own words.
    pub wording: Option<RefusalCodes>,
    /// What people call the policy, in the words of its author; `None` when its id is all that it is called by.
    pub title: Option<Box<str>>,
    /// The id that the system of the policy gave to the config behind it; `None` where configs have none.
    pub config: Option<Box<str>>,
}

/// Limits of single label values, in place of those of the policy. Cheap to clone. Most policies have none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overrides(Option<Arc<BTreeMap<Box<str>, Limits>>>);

/// The codes by which the system that a policy comes from calls its refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalCodes {
    /// The code of a refusal by a pace or a window.
    pub per_window: Box<str>,
    /// The code of a refusal by a quota.
    pub per_quota: Box<str>,
    /// The code of a refusal where nothing is allowed at all.
    pub closed: Box<str>,
    /// What is limited, in the words of the system; may be empty.
    pub subject: Box<str>,
}

impl Spec {
    /// The longest name for people, in characters: it stands in log lines and labels of metrics.
    pub const MAX_TITLE_CHARS: usize = 120;

    /// Waits, beside all others, with one set of counters, under tidegate's own words.
    #[must_use]
    pub fn new(clauses: Vec<Clause>, limits: Limits) -> Self {
        Self {
            clauses,
            limits,
            family: Family::Wait,
            overlap: Overlap::All,
            scope: Scope::default(),
            overrides: Overrides::default(),
            bounds_on: None,
            rank: 0,
            wording: None,
            title: None,
            config: None,
        }
    }

    /// The same with a name for people, made fit for one line: blanks stand for control characters, and what is behind
    /// [`Spec::MAX_TITLE_CHARS`] is cut off.
    pub(crate) fn called(self, name: &str) -> Self {
        let line = name.chars().map(|c| if c.is_control() { ' ' } else { c });
        let line: String = line.take(Self::MAX_TITLE_CHARS).collect();
        let title = line.trim();
        Self { title: (!title.is_empty()).then(|| title.into()), ..self }
    }

    /// What is allowed to these label values, as [`Lane::scope_key`] names them.
    #[must_use]
    pub fn limits_of(&self, key: &str) -> &Limits {
        self.overrides.get(key).unwrap_or(&self.limits)
    }

    /// The label values that it governs alone, if it limits nothing else.
    pub(super) fn listed(&self) -> Option<&Overrides> {
        let is_listed = self.limits.is_empty() && self.overrides.0.is_some();
        is_listed.then_some(&self.overrides)
    }
}

impl Overrides {
    /// The limits of these label values, each set of them in the order of the labels of the scope.
    #[must_use]
    pub fn new(scope: &Scope, rows: impl IntoIterator<Item = (Vec<Box<str>>, Limits)>) -> Self {
        let key = |values: Vec<Box<str>>| Lane::key_of_scope(scope.labels().iter().zip(&values));
        Self::by_key(rows.into_iter().map(|(values, limits)| (key(values), limits)).collect())
    }

    /// Those of one key, as [`Lane::scope_key`] makes it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Limits> {
        self.0.as_ref()?.get(key)
    }

    /// All overrides by key, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Limits)> {
        self.0.iter().flat_map(|rows| rows.iter()).map(|(key, limits)| (&**key, limits))
    }

    pub(super) fn by_key(rows: BTreeMap<Box<str>, Limits>) -> Self {
        // None rather than an empty map, so that two specs without overrides are equal and cost no memory.
        Self((!rows.is_empty()).then(|| Arc::new(rows)))
    }
}

/// Waiting limits hold an event until there is room; refusing ones turn it away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Hold the event in its lane until there is room.
    Wait,
    /// Turn it away. Calls in flight wait all the same.
    Refuse,
}

/// What becomes of an event that several policies of one origin match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overlap {
    /// Of those that compete under the same word, the one with the most literal pattern rules alone, of equals the
    /// oldest.
    MostSpecific {
        /// The word; empty in dialects where all compete with all.
        among: Box<str>,
    },
    /// All of them apply, beside each other.
    All,
}

impl Overlap {
    /// The most specific of all policies of the origin applies alone.
    #[must_use]
    pub fn most_specific() -> Self {
        Self::MostSpecific { among: Box::from("") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_for_people_fits_into_one_line() {
        let title = |name: &str| Spec::new(Vec::new(), Limits::default()).called(name).title;
        assert_eq!(title(" crm\r\nevil=1\u{1b}[2J ").as_deref(), Some("crm  evil=1 [2J"));
        assert_eq!(title(" \n "), None);
        let long = title(&"\u{e9}".repeat(Spec::MAX_TITLE_CHARS + 1)).expect("some");
        assert_eq!(long.chars().count(), Spec::MAX_TITLE_CHARS);
    }
}
