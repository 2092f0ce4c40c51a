//! What one policy limits, as the gate takes it.
//!
//! Must not know: who is limited, what was consumed.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limit::LimitKind;
use crate::limit::meter;
#[cfg(any(test, feature = "testkit"))]
use crate::policy::{Family, Scope};
use crate::policy::{Limits, RuntimePolicy, Spec};

/// What one policy limits, and how its limiters are told apart: its spec, which it shares with the book. Which calls
/// that governs is of no interest here.
#[derive(Debug, Clone)]
pub struct Rules(Arc<Spec>);

impl Deref for Rules {
    type Target = Spec;

    fn deref(&self) -> &Spec {
        &self.0
    }
}

impl Rules {
    /// The same for all label values, with counters of its own.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn new(limits: Limits, family: Family, scope: Scope) -> Self {
        Self::from(Spec { family, scope, ..Spec::new(Vec::new(), limits) })
    }

    /// What is allowed to these label values.
    pub(super) fn of_key(&self, key: &str) -> &Limits {
        self.limits_of(key)
    }

    /// Whether a limiter needs to know more than one under `before` does: a window is longer or has come, or label
    /// values are told apart in another way.
    pub(super) fn reach_further_than(&self, before: &Self) -> bool {
        // Other label values are counted under other limiters, which know nothing of the starts so far.
        self.scope != before.scope
            || self.bounds_on.is_none() && before.bounds_on.is_some()
            || reach_further(&self.limits, &before.limits)
    }

    /// The label values whose limiters need to know more than under `before`.
    pub(super) fn keys_that_reach_further<'r>(&'r self, before: &'r Self) -> impl Iterator<Item = &'r str> {
        let keys = self.overrides.iter().chain(before.overrides.iter()).map(|(key, _)| key);
        keys.filter(|key| reach_further(self.of_key(key), before.of_key(key)))
    }

    /// The label values under which something could start before and nothing can now.
    pub(super) fn keys_taken_away<'r>(&'r self, before: &'r Self) -> impl Iterator<Item = &'r str> {
        let keys = before.overrides.iter().map(|(key, _)| key);
        keys.filter(|key| before.lets_start(key) && !self.lets_start(key))
    }

    /// Whether calls of these label values are governed and may start.
    pub(super) fn lets_start(&self, key: &str) -> bool {
        match self.overrides.get(key) {
            Some(limits) => !limits.closed,
            // Without limits for all only the listed label values are governed.
            None => {
                !self.limits.closed && (!self.limits.is_empty() || self.overrides.iter().next().is_none())
            }
        }
    }

    /// How far back the longest of its windows reaches.
    pub(super) fn reach(&self) -> Duration {
        let all = self.overrides.iter().map(|(_, limits)| limits).chain([&self.limits]);
        all.flat_map(Limits::metered).map(meter::reach).max().unwrap_or_default()
    }
}

impl Rules {
    /// Until when one of its limits counts as spent because what was consumed before `unknown_before` is not known, and
    /// nothing is stated about it.
    pub(super) fn spent_until(
        &self,
        unknown_before: Timestamp,
        now: Timestamp,
        is_stated: impl Fn(LimitKind) -> bool,
    ) -> Option<Timestamp> {
        if self.bounds_on.is_some() {
            return None;
        }
        let all = self.overrides.iter().map(|(_, limits)| limits).chain([&self.limits]);
        let unstated = all.flat_map(Limits::metered).filter(|limit| !is_stated(limit.kind()));
        let ends = unstated.filter_map(|limit| meter::spent_until(limit, unknown_before, now));
        ends.filter(|end| *end > now).max()
    }
}

/// Whether a window is longer, or has come.
fn reach_further(limits: &Limits, before: &Limits) -> bool {
    limits.metered().any(|limit| {
        let before = before.metered_by(limit.kind());
        meter::reach(limit) > before.map_or(Duration::ZERO, meter::reach)
    })
}

impl From<Spec> for Rules {
    fn from(spec: Spec) -> Self {
        Self(Arc::new(spec))
    }
}

impl From<&RuntimePolicy> for Rules {
    fn from(policy: &RuntimePolicy) -> Self {
        Self(Arc::clone(&policy.spec))
    }
}
