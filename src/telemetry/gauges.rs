//! Gauges: set in one place from a snapshot of the whole, so that no two rooms write the same figure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add;
use std::time::Duration;

use metrics::{SharedString, counter, gauge};

use crate::clock::Timestamp;
use crate::telemetry::{names, output, policies};

/// The figures of one policy; lanes of the same policy are added up by whoever takes the snapshot.
#[derive(Debug, Clone, Default)]
pub struct PolicyGauges {
    /// The policy, or `-` where none governs.
    pub policy: String,
    /// Entries in plain order.
    pub ready: u64,
    /// Entries put off.
    pub delayed: u64,
    /// Entries handed out and not settled.
    pub inflight: u64,
    /// Entries parked for a person.
    pub dead: u64,
    /// Calls under way.
    pub calls: u64,
    /// When the oldest entry was accepted that waits for its turn or is taken up.
    pub oldest: Option<Timestamp>,
    /// The pace, in starts per second.
    pub permits_per_second: Option<f64>,
    /// Most starts in any window of late, by kind of limit: the highest over all label values.
    pub window_peaks: BTreeMap<&'static str, u64>,
    /// What is left of the quota, where there is one: the least over all label values.
    pub quota_remaining: Option<u64>,
    /// Combinations of label values with counters of their own.
    pub limit_keys: Option<u64>,
    /// Lanes that may not send although their limits have room, by reason.
    pub held: BTreeMap<&'static str, u64>,
}

/// Everything at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The moment.
    pub now: Timestamp,
    /// One row per policy.
    pub policies: Vec<PolicyGauges>,
    /// Bytes of the data directory.
    pub store_disk_bytes: u64,
    /// Age of the store's operation under way.
    pub store_operation_age: Duration,
    /// Events lost since the data directory was made.
    pub store_lost_events: u64,
    /// Damaged places found since then.
    pub store_damaged_frames: u64,
    /// For each kind of doubt how many are open and not acknowledged, and how many events these concern.
    pub doubts: Vec<(&'static str, u64, u64)>,
}

/// Sets the gauges and remembers which policies have some, so that those of a vanished policy fall to zero
/// instead of standing for ever at their last value.
#[derive(Debug, Default)]
pub struct Gauges {
    shown: BTreeSet<SharedString>,
}

impl Gauges {
    /// Sets every gauge from `snapshot`.
    pub fn set(&mut self, snapshot: &Snapshot) {
        set_build_info();
        let (stderr, stdout) = output::dropped_lines();
        counter!(names::OUTPUT_DROPPED_LINES.name, "output" => "stderr").absolute(stderr);
        counter!(names::OUTPUT_DROPPED_LINES.name, "output" => "stdout").absolute(stdout);
        gauge!(names::STORE_OPERATION_AGE.name).set(snapshot.store_operation_age.as_secs_f64());
        counter!(names::STORE_LOST_EVENTS.name).absolute(snapshot.store_lost_events);
        counter!(names::STORE_DAMAGED_FRAMES.name).absolute(snapshot.store_damaged_frames);
        gauge!(names::STORE_DISK_BYTES.name).set(figure(snapshot.store_disk_bytes));
        for (kind, open, events) in &snapshot.doubts {
            gauge!(names::DOUBTS.name, "kind" => *kind).set(figure(*open));
            gauge!(names::DOUBT_EVENTS.name, "kind" => *kind).set(figure(*events));
        }
        let rows = by_label(&snapshot.policies);
        let empty =
            PolicyGauges { permits_per_second: Some(0.0), limit_keys: Some(0), ..PolicyGauges::default() };
        for gone in self.shown.iter().filter(|label| !rows.contains_key(*label)) {
            set_policy(gone, &empty, snapshot.now);
        }
        for (label, row) in &rows {
            set_policy(label, row, snapshot.now);
        }
        self.shown = rows.into_keys().collect();
    }
}

/// The rows by their labels; those that share one are added up.
fn by_label(rows: &[PolicyGauges]) -> BTreeMap<SharedString, PolicyGauges> {
    let mut by_label: BTreeMap<SharedString, PolicyGauges> = BTreeMap::new();
    for row in rows {
        let label = if row.is_used() { policies::used } else { policies::present };
        by_label.entry(label(&row.policy)).or_default().add(row);
    }
    by_label
}

impl PolicyGauges {
    fn is_used(&self) -> bool {
        self.ready + self.delayed + self.inflight + self.dead + self.calls > 0
    }

    /// Of both together: sums, the oldest, the highest peak and the least that is left of a quota.
    fn add(&mut self, other: &Self) {
        self.ready += other.ready;
        self.delayed += other.delayed;
        self.inflight += other.inflight;
        self.dead += other.dead;
        self.calls += other.calls;
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
        self.permits_per_second =
            self.permits_per_second.into_iter().chain(other.permits_per_second).reduce(f64::add);
        self.quota_remaining = self.quota_remaining.into_iter().chain(other.quota_remaining).min();
        self.limit_keys = self.limit_keys.into_iter().chain(other.limit_keys).reduce(u64::add);
        for (&limit, peak) in &other.window_peaks {
            let highest = self.window_peaks.entry(limit).or_default();
            *highest = (*highest).max(*peak);
        }
        for (&reason, lanes) in &other.held {
            *self.held.entry(reason).or_default() += lanes;
        }
    }
}

fn set_build_info() {
    gauge!(
        names::BUILD_INFO.name,
        "version" => env!("CARGO_PKG_VERSION"),
        "revision" => option_env!("TIDEGATE_REVISION").unwrap_or("unknown"),
        "engine" => "embedded",
    )
    .set(1.0);
}

fn set_policy(label: &SharedString, row: &PolicyGauges, now: Timestamp) {
    let states =
        [("ready", row.ready), ("delayed", row.delayed), ("inflight", row.inflight), ("dead", row.dead)];
    for (state, count) in states {
        gauge!(names::QUEUE_EVENTS.name, "policy" => label.clone(), "state" => state).set(figure(count));
    }
    gauge!(names::CALLS_INFLIGHT.name, "policy" => label.clone()).set(figure(row.calls));
    let oldest = row.oldest.unwrap_or(now);
    gauge!(names::QUEUE_OLDEST_ENQUEUED.name, "policy" => label.clone())
        .set(oldest.since(Timestamp::ZERO).as_secs_f64());
    if let Some(permits) = row.permits_per_second {
        gauge!(names::LIMIT_PERMITS_PER_SECOND.name, "policy" => label.clone()).set(permits);
    }
    for (limit, peak) in &row.window_peaks {
        gauge!(names::LIMIT_WINDOW_PEAK.name, "policy" => label.clone(), "limit" => *limit)
            .set(figure(*peak));
    }
    if let Some(remaining) = row.quota_remaining {
        gauge!(names::QUOTA_REMAINING.name, "policy" => label.clone()).set(figure(remaining));
    }
    if let Some(keys) = row.limit_keys {
        gauge!(names::LIMIT_KEYS.name, "policy" => label.clone()).set(figure(keys));
    }
    for (reason, lanes) in &row.held {
        gauge!(names::LANES_HELD.name, "policy" => label.clone(), "reason" => *reason).set(figure(*lanes));
    }
}

/// A count as the text format has it: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "no queue holds 2^53 of anything")]
fn figure(count: u64) -> f64 {
    count as f64
}
