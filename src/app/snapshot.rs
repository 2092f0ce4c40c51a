//! The snapshot from which the gauges are set: one row for each policy with series of its own, and one for all others,
//! from what the queue, the dispatcher, the limits and the book say at one moment.
//!
//! Must not know: how metrics are called and rendered.

use std::collections::HashMap;

use crate::app::known::{KnownPolicies, add_keys};
use crate::app::letter_census::LetterCounts;
use crate::clock::{self, Clock, Correction};
use crate::dispatch::PlannerFigures;
use crate::event::{Lane, PolicyId, PolicyRef, Priority};
use crate::limit::{LimitKind, LimiterFigures};
use crate::policy::{GenerationState, Policies, Runtime};
use crate::queue::{LaneCounts, Queue};
use crate::store::KeyUse;
use crate::store::doubts::{Doubt, DoubtKind};
use crate::telemetry::{PolicyGauges, Snapshot, policy_names, series_of};

/// A row for each label; several policies may share one.
pub(super) type GaugeRows = HashMap<String, PolicyGauges>;

/// What the housekeeper has just seen.
pub(super) struct HousekeepingView<'a> {
    pub(super) figures: &'a PlannerFigures,
    pub(super) limiters: &'a [LimiterFigures],
    pub(super) lanes: &'a [LaneCounts],
    /// By labels of policies.
    pub(super) letters: &'a LetterCounts,
}

/// Takes the snapshot of what was seen, with a row for every known policy.
pub(super) fn take(
    known: &mut KnownPolicies,
    queue: &Queue,
    policies: &Policies,
    clock: &Clock,
    seen: &HousekeepingView<'_>,
) -> Snapshot {
    let HousekeepingView { figures, limiters, lanes, letters } = seen;
    let runtime = policies.runtime();
    let mut rows = known.rows(&runtime, clock.now());
    let mut keys: HashMap<&PolicyId, u64> = HashMap::new();
    limiters.iter().for_each(|limiter| *keys.entry(&limiter.policy).or_default() += 1);
    for (policy, keys) in keys.iter().filter_map(|(id, keys)| Some((runtime.get(id)?, *keys))) {
        add_keys(row(&mut rows, policy.id.as_str()), policy, keys);
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
    for (lane, rate) in &figures.slowed {
        for policy in policy_names(lane) {
            let row = row(&mut rows, policy);
            *row.slowed.entry(rate.reason.word()).or_default() += 1;
            row.slowest = row.slowest.into_iter().chain([rate.calls_per_second]).reduce(f64::min);
        }
    }
    for (policy, calls) in &figures.calls {
        row(&mut rows, policy).calls += calls;
    }
    for (policy, lanes) in &figures.looks.stalled {
        row(&mut rows, policy).stalled += lanes;
    }
    for (policy, lanes) in &figures.looks.near_expiry {
        row(&mut rows, policy).near_expiry += lanes;
    }
    for (policy, count) in *letters {
        row(&mut rows, policy).letters += count;
    }
    let store = queue.store_health();
    // The store counts them as a whole: their policies may be long gone.
    row(&mut rows, "-").dead = Some(store.dead_entries);
    Snapshot {
        now: clock.now(),
        policies: rows.into_values().collect(),
        policy_states: known.states(&policies.book(), clock.now()),
        store_disk_bytes: store.used_bytes,
        store_ends_bytes: queue.ends().kept().bytes,
        store_free_bytes: store.free_bytes,
        store_operation_age: store.operation_age,
        store_lost_events: store.lost_entries,
        store_records: record_rows(&store.keys),
        store_damaged_frames: store.damaged,
        stops: figures.stops.to_vec(),
        priorities: priority_rows(lanes),
        doubts: doubt_rows(&queue.doubts().list()),
    }
}

/// Every priority has a row, so that a figure falls to zero.
fn priority_rows(lanes: &[LaneCounts]) -> Vec<(&'static str, u64)> {
    let mut rows = Priority::ALL.map(|priority| (priority.word(), 0));
    for counts in lanes {
        if let Some((_, events)) = rows.get_mut(counts.lane.priority().place()) {
            *events += counts.ready + counts.inflight;
        }
    }
    rows.to_vec()
}

/// Every word has a row, so that a figure falls to zero.
fn record_rows(keys: &[KeyUse]) -> Vec<(&'static str, u64)> {
    let word = |of: &KeyUse| match of {
        KeyUse { id: None, .. } => "none",
        KeyUse { present: false, .. } => "missing",
        KeyUse { encrypts: true, .. } => "first",
        KeyUse { .. } => "other",
    };
    let records = |key| keys.iter().filter(|of| word(of) == key).map(|of| of.records).sum();
    ["first", "other", "missing", "none"].map(|key| (key, records(key))).to_vec()
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
        if counter.kind == LimitKind::Quota {
            // Several keys share a row: the one with the least left is shown.
            let left = u64::from(counter.calls.saturating_sub(counter.used));
            row.quota_remaining = Some(row.quota_remaining.map_or(left, |least| least.min(left)));
        }
    }
}

fn add_lane(rows: &mut GaugeRows, counts: &LaneCounts, corrections: &[Correction], runtime: &Runtime) {
    // A correction of the clock makes nothing older.
    let oldest = counts.oldest.map(|at| clock::corrected(corrections, at, at));
    let mut add = |policy: &str| {
        let row = row(rows, policy);
        row.ready += counts.ready;
        row.delayed += counts.delayed;
        row.inflight += counts.inflight;
        row.bytes += counts.bytes;
        row.oldest = row.oldest.into_iter().chain(oldest).min();
        row.oldest_due = row.oldest_due.into_iter().chain(counts.next_due).min();
    };
    // A lane whose name does not parse holds events all the same: they count under no policy.
    let Ok(lane) = Lane::parse(&counts.lane) else { return add("-") };
    policy_names(&lane).for_each(add);
    for part in lane.policies().iter().filter(|part| is_draining(runtime, part)) {
        row(rows, part.policy.as_str()).draining += counts.owed();
    }
}

/// Whether the lane belongs to a generation that drains, which its policy may have beside an active one.
fn is_draining(runtime: &Runtime, part: &PolicyRef) -> bool {
    let generation = runtime.get(&part.policy).and_then(|policy| policy.generations.get(&part.generation));
    matches!(generation, Some(GenerationState::Draining { .. }))
}

pub(super) fn row<'a>(rows: &'a mut GaugeRows, policy: &str) -> &'a mut PolicyGauges {
    let label = series_of(policy);
    rows.entry(label.to_owned())
        .or_insert_with(|| PolicyGauges { policy: label.to_owned(), ..PolicyGauges::default() })
}
