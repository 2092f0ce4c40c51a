//! What one policy limits, as the gate takes it.
//!
//! Must not know: who is limited, what was consumed.

use std::time::Duration;

use crate::policy::{Family, Limits, Pace, RuntimePolicy, Scope, Window};

/// What one policy limits, and how its limiters are told apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What is allowed.
    pub limits: Limits,
    /// What becomes of calls that are not.
    pub family: Family,
    /// The labels whose values have limiters of their own.
    pub scope: Scope,
}

impl Rules {
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
        let Limits { pace, window, .. } = &self.limits;
        [pace.map(Pace::window), *window].map(|window| window.map_or(Duration::ZERO, Window::length))
    }
}

impl From<&RuntimePolicy> for Rules {
    fn from(policy: &RuntimePolicy) -> Self {
        let RuntimePolicy { limits, family, scope, .. } = policy;
        Self { limits: limits.clone(), family: *family, scope: scope.clone() }
    }
}
