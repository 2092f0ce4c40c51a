//! The limits of the simulated policies: drawn by seed, as the checks know them, and as the planner is told.
//!
//! Must not know: what the planner does with them.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::tests::sim::check::Allowed;
use crate::dispatch::tests::sim::world::{MAX_INFLIGHT, POLICIES, Sabotage, policy};
use crate::dispatch::{BreakerPolicy, DueShare, Planner, PlannerOptions, RetryPolicy};
use crate::event::PolicyId;
use crate::limit::Gate;
use crate::policy::{Book, Limits, Origin, Period, Quota, Runtime, Spec, Window, testing};

/// Random limits of a policy.
pub(super) fn limits(n: u64, rng: &mut fastrand::Rng) -> Spec {
    let per_second = rng.choice([5_u32, 20, 50, 200]).unwrap_or(5);
    let mut spec = testing::spec(&format!("https://h{n}.org/*"), f64::from(per_second));
    spec.limits.slots = NonZeroU32::new(rng.u32(1..12));
    match rng.u8(..4) {
        0 => spec.limits.window = Window::new(rng.i64(5..40), 300).ok(),
        1 => spec.limits.window = Window::new(rng.i64(20..90), 4_000).ok(),
        2 => spec.limits.quota = Quota::new(rng.i64(200..400), Period::Minute).ok(),
        _ => {}
    }
    spec
}

/// What the rules allow by the book.
pub(super) fn allowed(book: &Book) -> BTreeMap<PolicyId, Allowed> {
    let runtime = Runtime::build(book).expect("small");
    let of = |limits: &Limits| Allowed {
        windows: limits.pace.map(|pace| pace.window()).into_iter().chain(limits.window).collect(),
        per_minute: limits.quota.and_then(|quota| quota.calls).map(|calls| calls.get() as usize),
        slots: limits.slots.expect("set").get() as usize,
    };
    runtime.policies().map(|policy| (policy.id.clone(), of(&policy.spec.limits))).collect()
}

/// What the book says, or less of it.
pub(super) fn build(book: &Book, sabotage: Sabotage) -> Arc<Runtime> {
    let mut told = book.clone();
    if matches!(sabotage, Sabotage::NoPace | Sabotage::NoWindow | Sabotage::NoSlots) {
        for n in 0..POLICIES {
            // A draining one keeps its limits.
            let active = told.get(&policy(n)).filter(|policy| policy.lifecycle().active().is_some());
            let ruling = active.and_then(|policy| policy.ruling().cloned());
            if let Some(mut spec) = ruling {
                match sabotage {
                    Sabotage::NoPace => spec.limits.pace = None,
                    Sabotage::NoWindow => spec.limits.window = None,
                    _ => spec.limits.slots = None,
                }
                told.put(&Origin::new("sim"), &policy(n), spec).expect("nobody else's");
            }
        }
    }
    Arc::new(Runtime::build(&told).expect("small"))
}

/// A planner whose retries and holds are short.
pub(super) fn planner(
    gate: Gate,
    runtime: &Arc<Runtime>,
    (sabotage, due_share): (Sabotage, DueShare),
    now: Timestamp,
    seed: u64,
) -> Planner {
    let ms = Duration::from_millis;
    let retry = RetryPolicy { base: ms(50), cap: Duration::from_secs(5), max_attempts: NonZeroU16::new(8) };
    let breaker = BreakerPolicy { failures: 6, min_hold: ms(200), max_hold: Duration::from_secs(2) };
    let max_inflight = if sabotage == Sabotage::NoShares { 10 * MAX_INFLIGHT } else { MAX_INFLIGHT };
    let sends_per_step = 16;
    let options = PlannerOptions {
        retry,
        due_share,
        breaker,
        max_inflight,
        sends_per_step,
        ..PlannerOptions::default()
    };
    Planner::new(gate, (runtime, Arc::default()), options, fastrand::Rng::with_seed(seed), now)
}
