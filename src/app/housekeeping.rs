//! What has to be done now and then: gauges, histogram upkeep, the end of drain windows, a look at the store.
//!
//! Must not know: HTTP.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Clock;
use crate::dispatch::{DispatchFigures, DispatchHandle};
use crate::event::{Lane, PolicyId};
use crate::policy::Policies;
use crate::queue::{LaneCounts, Queue};
use crate::telemetry::{Gauges, LimitViolated, MetricsHandle, PolicyGauges, Snapshot, policy_label};

/// How often the gauges are set. Folding the histograms rides along.
const GAUGES_EVERY: Duration = Duration::from_secs(1);
/// How many rounds of gauges pass between two looks at the drain windows.
const ROUNDS_PER_EXPIRY: u32 = 5;

/// What the housekeeper looks at.
pub(super) struct Housekeeper {
    pub(super) queue: Queue,
    pub(super) policies: Policies,
    pub(super) dispatch: DispatchHandle,
    pub(super) metrics: MetricsHandle,
    pub(super) clock: Clock,
}

impl Housekeeper {
    /// Runs until cancelled.
    pub(super) async fn run(self, cancelled: CancellationToken) {
        let mut gauges = Gauges::default();
        let mut violations = BTreeMap::new();
        let mut ticks = tokio::time::interval(GAUGES_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0_u32;
        while cancelled.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Some(figures) = self.dispatch.figures().await {
                gauges.set(&self.snapshot(&figures));
                count_violations(&mut violations, &figures);
            }
            self.metrics.upkeep();
            round = round.wrapping_add(1);
            if round.is_multiple_of(ROUNDS_PER_EXPIRY)
                && let Err(error) = self.policies.expire(self.clock.now()).await
            {
                warn!(%error, "drained policies stay on record for now");
            }
        }
    }

    fn snapshot(&self, figures: &DispatchFigures) -> Snapshot {
        let mut rows: BTreeMap<String, PolicyGauges> = BTreeMap::new();
        for limit in &figures.limits {
            let row = row(&mut rows, limit.policy.as_str());
            row.permits_per_second = limit.permits_per_second;
            row.window_peak = Some(u64::from(limit.window_peak));
        }
        for lane in self.queue.counts() {
            add_lane(&mut rows, &lane);
        }
        for (policy, calls) in &figures.planner.calls {
            let row = row(&mut rows, policy);
            row.calls = *calls;
            // What was taken up but is not under way still waits for its turn.
            row.ready += row.inflight.saturating_sub(*calls);
            row.inflight = *calls;
        }
        for row in rows.values_mut().filter(|row| !figures.planner.calls.contains_key(&row.policy)) {
            row.ready += std::mem::take(&mut row.inflight);
        }
        let store = self.queue.store_health();
        // The store counts them as a whole: their policies may be long gone.
        if store.dead_entries > 0 {
            row(&mut rows, "-").dead = store.dead_entries;
        }
        Snapshot {
            now: self.clock.now(),
            policies: rows.into_values().collect(),
            store_disk_bytes: store.disk_bytes,
        }
    }
}

/// The limits count since the start of the process; the metric gets what came since the last look.
fn count_violations(seen: &mut BTreeMap<PolicyId, u64>, figures: &DispatchFigures) {
    for limit in &figures.limits {
        let before = seen.insert(limit.policy.clone(), limit.violations).unwrap_or(0);
        let count = limit.violations.saturating_sub(before);
        LimitViolated { policy: limit.policy.as_str(), count }.emit();
    }
}

fn add_lane(rows: &mut BTreeMap<String, PolicyGauges>, counts: &LaneCounts) {
    let lane = Lane::parse(&counts.lane).ok();
    let row = row(rows, lane.as_ref().map_or("-", policy_label));
    row.ready += counts.ready;
    row.delayed += counts.delayed;
    row.inflight += counts.taken_up;
    row.oldest = row.oldest.into_iter().chain(counts.oldest).min();
}

fn row<'a>(rows: &'a mut BTreeMap<String, PolicyGauges>, policy: &str) -> &'a mut PolicyGauges {
    rows.entry(policy.to_owned())
        .or_insert_with(|| PolicyGauges { policy: policy.to_owned(), ..PolicyGauges::default() })
}
