//! What has to be done now and then: gauges, forecasts, histogram upkeep, the end of drain windows.
//!
//! Must not know: HTTP.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::app::clock_watch::ClockWatch;
use crate::app::in_doubt;
use crate::app::spent::SpentLimits;
use crate::clock::{self, Clock, Correction, Timestamp};
use crate::dispatch::{DispatchHandle, Figures, HoldReason};
use crate::event::{Lane, LaneKey, PolicyId};
use crate::limit::{Kind, LimiterFigures, Outlooks};
use crate::ops::Pulse;
use crate::policy::{Policies, Runtime};
use crate::queue::{Completed, LaneCounts, Queue};
use crate::store::doubts::{Doubt, DoubtKind};
use crate::telemetry::{Gauges, LimitViolated, MetricsHandle, PolicyGauges, Snapshot, policy_label};

/// How often the figures are taken. Folding the histograms rides along.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Taking them uses at most this part of the time, however many lanes and limiters there are.
const SHARE_OF_TIME: u32 = 20;
/// The longest time between two looks, whatever they take.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long it may be until the drain windows are looked at again.
const EXPIRE_EVERY: Duration = Duration::from_secs(5);

/// What the housekeeper looks at.
pub(super) struct Housekeeper {
    pub(super) queue: Queue,
    pub(super) policies: Policies,
    pub(super) dispatch: DispatchHandle,
    pub(super) metrics: MetricsHandle,
    pub(super) clock: Clock,
    /// What forecasts are made from.
    pub(super) outlooks: Arc<ArcSwap<Outlooks>>,
    /// What rates are made from.
    pub(super) pulse: Pulse,
    /// The doubt about usages.
    pub(super) spent: SpentLimits,
}

impl Housekeeper {
    /// Runs until cancelled.
    pub(super) async fn run(mut self, cancelled: CancellationToken) {
        let mut gauges = Gauges::default();
        let mut violations = BTreeMap::new();
        let mut watch = ClockWatch::default();
        let mut expired_at = Timestamp::ZERO;
        let mut pause = Duration::ZERO;
        while cancelled.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
            watch.look(&self.clock, &self.dispatch, &self.policies, &self.queue).await;
            let begun = self.clock.now();
            let (figures, limiters) = (self.dispatch.figures().await, self.dispatch.limiters().await);
            if let (Some(figures), Some(limiters)) = (figures, limiters) {
                let lanes = self.queue.counts();
                in_doubt::report(&self.queue.doubts(), &figures, &lanes, begun);
                self.spent.look(figures.spent_until, figures.now);
                self.beat(&lanes, begun);
                gauges.set(&self.snapshot(&figures, &limiters, &lanes));
                count_violations(&mut violations, &self.policies.runtime(), &figures);
                self.outlooks.store(Arc::new(self.outlooks(&figures, limiters, &lanes)));
            }
            self.metrics.upkeep();
            if begun.since(expired_at) >= EXPIRE_EVERY {
                expired_at = begun;
                let waiting = self.policies.book().has_ended().then(|| self.waiting());
                let certain = if self.clock.is_trusted() { begun } else { Timestamp::ZERO };
                if let Err(error) = self.policies.expire(certain, waiting.as_ref()).await {
                    warn!(%error, "drained policies stay on record for now");
                }
            }
            // The line of time may have leapt, over a suspension, in between.
            pause = (self.clock.now().since(begun) * SHARE_OF_TIME).clamp(LOOK_EVERY, LONGEST_PAUSE);
        }
    }

    fn beat(&self, lanes: &[LaneCounts], now: Timestamp) {
        let Completed { delivered, dead, expired, dropped, lost } = self.queue.completed();
        let here = lanes.iter().map(|lane| lane.ready + lane.delayed + lane.taken_up).sum();
        self.pulse.beat(now, delivered, delivered + dead + expired + dropped + lost, here);
    }

    /// The policies under which something waits or is on its way into the queue.
    fn waiting(&self) -> BTreeSet<PolicyId> {
        let lanes = self.queue.counts();
        let lanes = lanes.iter().filter_map(|counts| Lane::parse(&counts.lane).ok());
        lanes
            .flat_map(|lane| lane.policies().iter().map(|part| part.policy.clone()).collect::<Vec<_>>())
            .collect()
    }

    fn snapshot(&self, figures: &Figures, limiters: &[LimiterFigures], lanes: &[LaneCounts]) -> Snapshot {
        let mut rows: BTreeMap<String, PolicyGauges> = BTreeMap::new();
        for policy in self.policies.runtime().policies() {
            let row = row(&mut rows, policy.id.as_str());
            row.permits_per_second = policy.spec.limits.pace.map(|pace| pace.starts_per_second());
            row.limit_keys = Some(0);
            row.held = HoldReason::ALL.map(|reason| (reason.word(), 0)).into();
            let limits = [
                policy.spec.limits.pace.map(|_| Kind::Pace),
                policy.spec.limits.window.map(|_| Kind::Window),
                policy.spec.limits.quota.map(|_| Kind::Quota),
            ];
            row.window_peaks = limits.into_iter().flatten().map(|kind| (kind.word(), 0)).collect();
            row.quota_remaining = policy.spec.limits.quota.map(|quota| u64::from(quota.calls.get()));
        }
        for limiter in limiters {
            add_limiter(row(&mut rows, limiter.policy.as_str()), limiter);
        }
        let corrections = self.clock.corrections();
        for lane in lanes {
            add_lane(&mut rows, lane, &corrections);
        }
        for (lane, hold) in &figures.held {
            *row(&mut rows, policy_label(lane)).held.entry(hold.reason.word()).or_default() += 1;
        }
        for (policy, calls) in &figures.calls {
            let row = row(&mut rows, policy);
            row.calls = *calls;
            // What was taken up but is not under way still waits for its turn.
            row.ready += row.inflight.saturating_sub(*calls);
            row.inflight = *calls;
        }
        for row in rows.values_mut().filter(|row| !figures.calls.contains_key(&row.policy)) {
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
            store_operation_age: store.operation_age,
            store_lost_events: store.lost_entries,
            store_damaged_frames: store.damaged_frames,
            doubts: doubt_rows(&self.queue.doubts().list()),
        }
    }

    fn outlooks(&self, figures: &Figures, limiters: Vec<LimiterFigures>, lanes: &[LaneCounts]) -> Outlooks {
        let runtime = self.policies.runtime();
        let mut outlooks = Outlooks::default();
        for limiter in limiters {
            outlooks.add_limiter(&limiter.policy, &limiter.key, limiter.outlook);
        }
        // Pauses are read from the policies, where they end at once; a clock in doubt holds back single events; a wait
        // for a share ends whenever a call does.
        let is_elsewhere =
            |reason| matches!(reason, HoldReason::Paused | HoldReason::Clock | HoldReason::Share);
        let held = figures.held.iter().filter(|(_, hold)| !is_elsewhere(hold.reason));
        let mut stalled: HashSet<&LaneKey> = figures.cautious.iter().collect();
        for (lane, hold) in held {
            outlooks.add_hold(lane.key().clone(), hold.until);
            stalled.insert(lane.key());
        }
        for counts in lanes.iter().filter(|counts| !stalled.contains(&counts.lane)) {
            if let Ok(lane) = Lane::parse(&counts.lane) {
                outlooks.add_lane(&lane, counts.ready + counts.taken_up, &runtime);
            }
        }
        outlooks
    }
}

/// Every kind has a row, so that a figure falls to zero.
fn doubt_rows(doubts: &[Doubt]) -> Vec<(&'static str, u64, u64)> {
    let row = |kind: DoubtKind| {
        let open = doubts.iter().filter(|doubt| doubt.kind == kind && !doubt.acknowledged);
        let (count, events) =
            open.fold((0, 0_u64), |(count, events), doubt| (count + 1, events.saturating_add(doubt.events)));
        (kind.word(), count, events)
    };
    DoubtKind::ALL.map(row).to_vec()
}

fn add_limiter(row: &mut PolicyGauges, limiter: &LimiterFigures) {
    row.limit_keys = Some(row.limit_keys.unwrap_or(0) + 1);
    for counter in &limiter.counters {
        let peak = row.window_peaks.entry(counter.kind.word()).or_default();
        *peak = (*peak).max(u64::from(counter.window_peak));
        if counter.kind == Kind::Quota {
            let left = u64::from(counter.calls.saturating_sub(counter.used));
            row.quota_remaining = Some(row.quota_remaining.map_or(left, |least| least.min(left)));
        }
    }
}

/// The limits count since the start of the process; the metric gets what came since the last look.
fn count_violations(seen: &mut BTreeMap<(PolicyId, Kind), u64>, runtime: &Runtime, figures: &Figures) {
    let kinds = [Kind::Pace, Kind::Window];
    let ruling = runtime.policies().flat_map(|policy| kinds.map(|kind| (policy.id.clone(), kind)));
    for limit in ruling.chain(figures.violations.keys().cloned()) {
        let violations = figures.violations.get(&limit).copied().unwrap_or(0);
        let (policy, kind) = limit.clone();
        let before = seen.insert(limit, violations).unwrap_or(0);
        LimitViolated { policy: policy.as_str(), limit: kind.word(), count: violations - before }.emit();
    }
}

fn add_lane(rows: &mut BTreeMap<String, PolicyGauges>, counts: &LaneCounts, corrections: &[Correction]) {
    let lane = Lane::parse(&counts.lane).ok();
    let row = row(rows, lane.as_ref().map_or("-", policy_label));
    row.ready += counts.ready;
    row.delayed += counts.delayed;
    row.inflight += counts.taken_up;
    // A correction of the clock makes nothing older.
    let oldest = counts.oldest.map(|at| clock::corrected(corrections, at, at));
    row.oldest = row.oldest.into_iter().chain(oldest).min();
}

fn row<'a>(rows: &'a mut BTreeMap<String, PolicyGauges>, policy: &str) -> &'a mut PolicyGauges {
    rows.entry(policy.to_owned())
        .or_insert_with(|| PolicyGauges { policy: policy.to_owned(), ..PolicyGauges::default() })
}
