//! What the limits did since the last look, for the counters: the limits count since the start of the process.
//!
//! Must not know: how limits count.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::dispatch::PlannerFigures;
use crate::event::PolicyId;
use crate::limit::LimitKind;
use crate::policy::{Limit, Runtime, RuntimePolicy};
use crate::telemetry::{LimitViolated, LimiterWorked, defect, series_of};

/// What was counted of each limit so far.
#[derive(Default)]
pub(super) struct WorkCounter {
    limits: HashMap<(PolicyId, LimitKind), KindWork>,
    /// The number of the policies whose series were begun.
    begun: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct KindWork {
    permits: u64,
    held: Duration,
    violations: u64,
}

impl WorkCounter {
    /// Counts what came since the last call; policies that are gone are forgotten.
    pub(super) fn count(&mut self, runtime: &Runtime, figures: &PlannerFigures) {
        if self.begun != Some(runtime.number()) {
            self.begun = Some(runtime.number());
            self.limits.retain(|(policy, _), _| runtime.get(policy).is_some());
            begin(runtime);
        }
        for (policy, worked) in figures.worked.iter().filter(|(policy, _)| runtime.get(policy).is_some()) {
            // Under the others no call waits, so that nothing of theirs is counted here.
            for kind in LimitKind::ALL.into_iter().filter(|kind| kind.lets_wait()) {
                let (permits, held) = (*worked.permits.get(kind), *worked.held.get(kind));
                let counted = self.limits.entry((policy.clone(), kind)).or_default();
                // After its limits were gone they count from zero.
                let since = permits.checked_sub(counted.permits).unwrap_or(permits);
                let new_held = held.checked_sub(counted.held).unwrap_or(held);
                (counted.permits, counted.held) = (permits, held);
                if since > 0 || !new_held.is_zero() {
                    let (policy, limit) = (policy.as_str(), kind.word());
                    LimiterWorked { policy, limit, permits: since, held: new_held }.emit();
                }
            }
        }
        let rules = |((policy, _), _): &(&(PolicyId, LimitKind), &u64)| runtime.get(policy).is_some();
        for ((policy, kind), violations) in figures.violations.iter().filter(rules) {
            let counted = self.limits.entry((policy.clone(), *kind)).or_default();
            let before = std::mem::replace(&mut counted.violations, *violations);
            defect!(unless before <= *violations, "fewer violations of a limit than before");
            let count = violations.saturating_sub(before);
            if count > 0 {
                LimitViolated { policy: policy.as_str(), limit: kind.word(), count }.emit();
            }
        }
    }
}

/// The series of all limits are there from now on, each once: many policies may share a label.
fn begin(runtime: &Runtime) {
    let mut begun = HashSet::new();
    for policy in runtime.policies() {
        let policy_label = series_of(policy.id.as_str());
        for kind in kinds(policy).filter(|kind| begun.insert((policy_label, *kind))) {
            let (policy, limit) = (policy_label, kind.word());
            LimiterWorked { policy, limit, permits: 0, held: Duration::ZERO }.emit();
            if kind.is_checked() {
                LimitViolated { policy, limit, count: 0 }.emit();
            }
        }
    }
}

/// The kinds of limits that a policy has; every one has slots.
fn kinds(policy: &RuntimePolicy) -> impl Iterator<Item = LimitKind> {
    policy.spec.limits.metered().map(Limit::kind).chain([LimitKind::Slots])
}
