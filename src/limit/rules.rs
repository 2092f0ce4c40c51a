//! What one policy limits, as the gate takes it.
//!
//! Must not know: who is limited, what was consumed.

use std::time::Duration;

use crate::event::PolicyId;
use crate::policy::{Family, Limits, Overrides, Pace, RuntimePolicy, Scope, Spec, Window};

/// What one policy limits, and how its limiters are told apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What is allowed.
    pub limits: Limits,
    /// What becomes of calls that are not.
    pub family: Family,
    /// The labels whose values have limiters of their own.
    pub scope: Scope,
    /// What is allowed to single label values instead.
    pub overrides: Overrides,
    /// The policy whose counters its window and quota bound; it has none of its own then.
    pub counts_on: Option<PolicyId>,
    /// In which order it is asked.
    pub rank: u8,
}

impl Rules {
    /// The same for all label values, with counters of its own.
    #[must_use]
    pub fn new(limits: Limits, family: Family, scope: Scope) -> Self {
        Self { limits, family, scope, overrides: Overrides::default(), counts_on: None, rank: 0 }
    }

    /// What is allowed to these label values.
    pub(super) fn of_key(&self, key: &str) -> &Limits {
        self.overrides.get(key).unwrap_or(&self.limits)
    }

    /// Whether a limiter needs to know more than one under `before` does: a window is longer or has come, or label values
    /// are told apart in another way.
    pub(super) fn reach_further_than(&self, before: &Self) -> bool {
        let mut lengths = self.lengths().into_iter().zip(before.lengths());
        self.scope != before.scope || lengths.any(|(now, before)| now > before)
    }

    /// How far back the longest of its windows reaches.
    pub(super) fn reach(&self) -> Duration {
        self.lengths().into_iter().max().unwrap_or_default()
    }

    fn lengths(&self) -> [Duration; 2] {
        let lengths = |limits: &Limits| {
            let windows = [limits.pace.map(Pace::window), limits.window];
            windows.map(|window| window.map_or(Duration::ZERO, Window::length))
        };
        let all = self.overrides.iter().map(|(_, limits)| lengths(limits));
        all.fold(lengths(&self.limits), |[pace, window], [other_pace, other_window]| {
            [pace.max(other_pace), window.max(other_window)]
        })
    }
}

impl From<&RuntimePolicy> for Rules {
    fn from(policy: &RuntimePolicy) -> Self {
        let Spec { limits, family, scope, overrides, counts_on, rank, .. } = &policy.spec;
        Self {
            limits: limits.clone(),
            family: *family,
            scope: scope.clone(),
            overrides: overrides.clone(),
            counts_on: counts_on.clone(),
            rank: *rank,
        }
    }
}
