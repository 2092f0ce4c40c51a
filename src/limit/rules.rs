//! What one policy limits, as the gate takes it.
//!
//! Must not know: who is limited, what was consumed.

use std::time::Duration;

use crate::limit::sliding::is_recorded;
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
    /// Whether a window whose starts are put on record is longer than the one before.
    pub(super) fn reach_further_than(&self, before: &Self) -> bool {
        let reach = |Limits { pace, window, .. }: &Limits| {
            [pace.map(Pace::window), *window].map(|window| {
                window.filter(|window| is_recorded(*window)).map_or(Duration::ZERO, Window::length)
            })
        };
        reach(&self.limits).into_iter().zip(reach(&before.limits)).any(|(now, before)| now > before)
    }
}

impl From<&RuntimePolicy> for Rules {
    fn from(policy: &RuntimePolicy) -> Self {
        let RuntimePolicy { limits, family, scope, .. } = policy;
        Self { limits: limits.clone(), family: *family, scope: scope.clone() }
    }
}
