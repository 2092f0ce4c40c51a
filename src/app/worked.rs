//! What the limits did since the last look, for the counters: the limits count since the start of the process.
//!
//! Must not know: how limits count.

use std::collections::HashMap;
use std::time::Duration;

use crate::dispatch::Figures;
use crate::event::PolicyId;
use crate::limit::{Kind, WAITING_KINDS};
use crate::policy::{Runtime, RuntimePolicy};
use crate::telemetry::{LimitViolated, LimiterWorked};

/// What was counted of each limit so far.
#[derive(Default)]
pub(super) struct Worked(HashMap<(PolicyId, Kind), Counted>);

#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    permits: u64,
    held: Duration,
    violations: u64,
}

impl Worked {
    /// Counts what came since the last call; policies that are gone are forgotten.
    pub(super) fn count(&mut self, runtime: &Runtime, figures: &Figures) {
        self.0.retain(|(policy, _), _| runtime.get(policy).is_some());
        for policy in runtime.policies() {
            for kind in kinds(policy) {
                // From the first look on its series are there.
                self.0.entry((policy.id.clone(), kind)).or_insert_with(|| {
                    LimiterWorked {
                        policy: policy.id.as_str(),
                        limit: kind.word(),
                        permits: 0,
                        held_seconds: 0,
                    }
                    .emit();
                    LimitViolated { policy: policy.id.as_str(), limit: kind.word(), count: 0 }.emit();
                    Counted::default()
                });
            }
        }
        for (policy, worked) in &figures.worked {
            let counts = WAITING_KINDS.into_iter().zip(worked.permits).zip(worked.held);
            for ((kind, permits), held) in counts {
                let Some(counted) = self.0.get_mut(&(policy.clone(), kind)) else { continue };
                // After its limits were gone they count from zero.
                let since = permits.checked_sub(counted.permits).unwrap_or(permits);
                let held_seconds =
                    held.as_secs().checked_sub(counted.held.as_secs()).unwrap_or(held.as_secs());
                (counted.permits, counted.held) = (permits, held);
                if since + held_seconds > 0 {
                    LimiterWorked {
                        policy: policy.as_str(),
                        limit: kind.word(),
                        permits: since,
                        held_seconds,
                    }
                    .emit();
                }
            }
        }
        for ((policy, kind), violations) in &figures.violations {
            let Some(counted) = self.0.get_mut(&(policy.clone(), *kind)) else { continue };
            let count = violations.saturating_sub(std::mem::replace(&mut counted.violations, *violations));
            if count > 0 {
                LimitViolated { policy: policy.as_str(), limit: kind.word(), count }.emit();
            }
        }
    }
}

/// The kinds of limits that a policy has; every one has slots.
fn kinds(policy: &RuntimePolicy) -> impl Iterator<Item = Kind> {
    let limits = &policy.spec.limits;
    let has = [
        (Kind::Pace, limits.pace.is_some()),
        (Kind::Window, limits.window.is_some()),
        (Kind::Quota, limits.quota.is_some()),
        (Kind::Slots, true),
    ];
    has.into_iter().filter_map(|(kind, has)| has.then_some(kind))
}
