//! The snapshot from which the gauges are set: one row for each policy with series of its own, and one for all others, from
//! what the queue, the dispatcher, the limits and the book say at one moment.
//!
//! Must not know: how metrics are called and rendered.

use std::collections::{BTreeMap, HashMap};

use crate::clock::{self, Clock, Correction, Timestamp};
use crate::dispatch::{Figures, HoldReason};
use crate::event::{Lane, PolicyId, PolicyRef};
use crate::limit::{Kind, LimiterFigures, most_at_once, period_end};
use crate::policy::{GenerationState, Policies, Runtime, RuntimePolicy};
use crate::queue::{LaneCounts, Queue};
use crate::store::doubts::{Doubt, DoubtKind};
use crate::telemetry::{PolicyGauges, Snapshot, policy_names, series_of};

/// By their label.
type Rows = HashMap<String, PolicyGauges>;

/// What the housekeeper has just seen.
pub(super) struct Seen<'a> {
    pub(super) figures: &'a Figures,
    pub(super) limiters: &'a [LimiterFigures],
    pub(super) lanes: &'a [LaneCounts],
}

/// Takes the snapshot.
pub(super) fn take(queue: &Queue, policies: &Policies, clock: &Clock, seen: &Seen<'_>) -> Snapshot {
    let Seen { figures, limiters, lanes } = seen;
    let mut rows = Rows::new();
    let runtime = policies.runtime();
    let mut keys: HashMap<&PolicyId, u64> = HashMap::new();
    limiters.iter().for_each(|limiter| *keys.entry(&limiter.policy).or_default() += 1);
    for policy in runtime.policies() {
        let keys = keys.get(&policy.id).copied().unwrap_or(0);
        add_policy(row(&mut rows, policy.id.as_str()), policy, keys, clock.now());
    }
    for limiter in *limiters {
        add_limiter(row(&mut rows, limiter.policy.as_str()), limiter);
    }
    let corrections = clock.corrections();
    for lane in *lanes {
        add_lane(&mut rows, lane, &corrections, &runtime);
    }
    for (lane, hold) in &figures.held {
        for policy in policy_names(lane) {
            *row(&mut rows, policy).held.entry(hold.reason.word()).or_default() += 1;
        }
    }
    for (policy, calls) in &figures.calls {
        row(&mut rows, policy).calls += calls;
    }
    for row in rows.values_mut() {
        // What was taken up but is not under way still waits for its turn.
        row.ready += row.inflight.saturating_sub(row.calls);
        row.inflight = row.calls;
    }
    let store = queue.store_health();
    // The store counts them as a whole: their policies may be long gone.
    row(&mut rows, "-").dead = Some(store.dead_entries);
    Snapshot {
        now: clock.now(),
        policies: rows.into_values().collect(),
        policy_states: states(policies, clock.now()),
        store_disk_bytes: store.disk_bytes,
        store_free_bytes: store.free_bytes,
        store_operation_age: store.operation_age,
        store_lost_events: store.lost_entries,
        store_damaged_frames: store.damaged_frames,
        doubts: doubt_rows(&queue.doubts().list()),
    }
}

/// Adds what is known of a policy before anything happens under it.
fn add_policy(row: &mut PolicyGauges, policy: &RuntimePolicy, keys: u64, now: Timestamp) {
    let limits = &policy.spec.limits;
    if let Some(pace) = limits.pace {
        let pace = pace.starts_per_second();
        *row.permits_per_second.get_or_insert_default() += pace;
        // Before anything is added up: the keys of one policy have nothing to do with the pace of another.
        *row.capacity_per_second.get_or_insert_default() += pace * in_use(keys);
    }
    *row.concurrency_limit.get_or_insert_default() += u64::from(most_at_once(limits).get());
    row.limit_keys.get_or_insert_default();
    if row.held.is_empty() {
        row.held = HoldReason::ALL.map(|reason| (reason.word(), 0)).into();
    }
    for limit in limits.metered() {
        row.window_peaks.entry(limit.kind().word()).or_default();
    }
    if let Some((quota, calls)) = limits.quota.and_then(|quota| Some((quota, quota.calls?))) {
        let calls = u64::from(calls.get());
        row.quota_remaining = Some(row.quota_remaining.map_or(calls, |least| least.min(calls)));
        row.quota_resets_at = row.quota_resets_at.into_iter().chain([period_end(quota, now)]).min();
    }
    row.drains_until = row.drains_until.into_iter().chain(drains_until(policy)).min();
}

/// How many times the pace may be used at present: the first start makes the first key.
fn in_use(keys: u64) -> f64 {
    f64::from(u32::try_from(keys.max(1)).unwrap_or(u32::MAX))
}

/// When the first of its generations ends that drain.
fn drains_until(policy: &RuntimePolicy) -> Option<Timestamp> {
    let until = |state: &GenerationState| match state {
        GenerationState::Active => None,
        GenerationState::Draining { until } => Some(*until),
    };
    policy.generations.values().filter_map(until).min()
}

/// How many policies are in each state; every policy is in one.
fn states(policies: &Policies, now: Timestamp) -> Vec<(&'static str, u64)> {
    let mut states = BTreeMap::from(["deployed", "paused", "draining", "idle"].map(|state| (state, 0)));
    for (_, policy) in policies.book().after(None) {
        let life = policy.lifecycle();
        let state = match policy.pause() {
            _ if life.generations().is_empty() => "idle",
            Some(pause) if pause.holds(now) => "paused",
            _ if life.active().is_some() => "deployed",
            _ => "draining",
        };
        *states.entry(state).or_default() += 1;
    }
    states.into_iter().collect()
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

fn add_lane(rows: &mut Rows, counts: &LaneCounts, corrections: &[Correction], runtime: &Runtime) {
    // A correction of the clock makes nothing older.
    let oldest = counts.oldest.map(|at| clock::corrected(corrections, at, at));
    let mut add = |policy: &str| {
        let row = row(rows, policy);
        row.ready += counts.ready;
        row.delayed += counts.delayed;
        row.inflight += counts.taken_up;
        row.bytes += counts.bytes;
        row.oldest = row.oldest.into_iter().chain(oldest).min();
        row.oldest_due = row.oldest_due.into_iter().chain(counts.next_due).min();
    };
    let Ok(lane) = Lane::parse(&counts.lane) else { return add("-") };
    policy_names(&lane).for_each(add);
    for part in lane.policies().iter().filter(|part| is_draining(runtime, part)) {
        row(rows, part.policy.as_str()).draining += counts.ready + counts.delayed + counts.taken_up;
    }
}

/// Whether the lane belongs to a generation that drains, which its policy may have beside an active one.
fn is_draining(runtime: &Runtime, part: &PolicyRef) -> bool {
    let generation = runtime.get(&part.policy).and_then(|policy| policy.generations.get(&part.generation));
    matches!(generation, Some(GenerationState::Draining { .. }))
}

fn row<'a>(rows: &'a mut Rows, policy: &str) -> &'a mut PolicyGauges {
    let label = series_of(policy);
    rows.entry(label.to_owned())
        .or_insert_with(|| PolicyGauges { policy: label.to_owned(), ..PolicyGauges::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Book, Origin, testing};

    #[test]
    fn the_pace_is_multiplied_by_the_keys_of_its_own_policy_before_it_is_added_up() {
        let mut book = Book::default();
        for (name, pace) in [("fast", 100.0), ("slow", 2.0), ("idle", 5.0)] {
            let id = testing::id(name);
            book.create(id.clone(), Origin::new("x"), serde_json::Value::Null).expect("free");
            book.deploy(&id, serde_json::Value::Null, testing::spec("https://h.org/*", pace)).expect("idle");
        }
        let runtime = Runtime::build(&book).expect("small");
        let mut shared = PolicyGauges::default();
        for (name, keys) in [("fast", 1), ("slow", 30), ("idle", 0)] {
            let policy = runtime.get(&testing::id(name)).expect("deployed");
            add_policy(&mut shared, policy, keys, Timestamp::ZERO);
        }
        assert_eq!(shared.permits_per_second, Some(107.0));
        assert_eq!(shared.capacity_per_second, Some(165.0), "and not 107 for each of 31 keys");
    }
}
