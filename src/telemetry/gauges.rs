//! Gauges: set in one place from a snapshot of the whole, so that no two rooms write the same figure.

use std::collections::BTreeMap;
use std::ops::Add;
use std::time::Duration;

use metrics::{SharedString, counter, gauge};

use crate::clock::Timestamp;
use crate::telemetry::{names, output, policies};

/// The reasons to hold a lane that lie with its endpoint, or with an operator who spares it.
const ENDPOINT_REASONS: [&str; 4] = ["retry_after", "busy", "breaker", "paused"];

/// The figures of one policy; lanes of the same policy are added up when the snapshot is taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PolicyGauges {
    /// The policy, or `-` where none governs.
    pub policy: String,
    /// Entries in plain order that wait for their turn.
    pub ready: u64,
    /// Entries that wait for their due time.
    pub delayed: u64,
    /// Entries handed out and not settled.
    pub inflight: u64,
    /// Entries parked for a person, where these are counted: as a whole, not for each policy.
    pub dead: Option<u64>,
    /// Dead letters of events that it governed.
    pub letters: u64,
    /// Calls of its lanes that are under way.
    pub calls: u64,
    /// About the bytes of the entries that are owed an end.
    pub bytes: u64,
    /// When the oldest entry was accepted that waits for its turn or is taken up.
    pub oldest: Option<Timestamp>,
    /// The earliest due time that an entry waits for.
    pub oldest_due: Option<Timestamp>,
    /// Most calls under way at once.
    pub concurrency_limit: Option<u64>,
    /// The same for all combinations of label values in use together, each of which has all slots.
    pub concurrency_capacity: Option<u64>,
    /// The pace, in starts per second.
    pub permits_per_second: Option<f64>,
    /// The same for all combinations of label values in use together, each of which has the whole pace.
    pub capacity_per_second: Option<f64>,
    /// Most starts in any window of late, by kind of limit: the highest over all label values.
    pub window_peaks: BTreeMap<&'static str, u64>,
    /// What is left of the quota, where there is one: the least over all label values.
    pub quota_remaining: Option<u64>,
    /// When the present period of the quota ends.
    pub quota_resets_at: Option<Timestamp>,
    /// Entries of its generations that drain, whatever their state.
    pub draining: u64,
    /// When the first of its generations that drain ends.
    pub drains_until: Option<Timestamp>,
    /// Combinations of label values with counters of their own.
    pub limit_keys: Option<u64>,
    /// Lanes that may not send although their limits have room, by reason.
    pub held: BTreeMap<&'static str, u64>,
    /// Lanes that start less than their limits allow, by reason.
    pub slowed: BTreeMap<&'static str, u64>,
    /// The rate of the slowest of them, in starts per second.
    pub slowest: Option<f64>,
    /// Lanes that nothing known keeps back and that stand still.
    pub stalled: u64,
    /// Lanes with an event near the end of its life.
    pub near_expiry: u64,
}

/// Everything that gauges show, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    /// The moment of the snapshot, to which ages refer.
    pub now: Timestamp,
    /// One row for each policy that has something to show.
    pub policies: Vec<PolicyGauges>,
    /// How many policies there are in each state.
    pub policy_states: Vec<(&'static str, u64)>,
    /// Bytes that the data directory takes on the disk.
    pub store_disk_bytes: u64,
    /// Bytes of the ends of events that are kept.
    pub store_ends_bytes: u64,
    /// Bytes that are free on its file system.
    pub store_free_bytes: u64,
    /// Age of the store's operation under way.
    pub store_operation_age: Duration,
    /// Events lost since the data directory was made.
    pub store_lost_events: u64,
    /// Records at rest, by what their key is.
    pub store_records: Vec<(&'static str, u64)>,
    /// Damaged places that were found since then.
    pub store_damaged_frames: u64,
    /// How many emergency stops are in force, by what they stop.
    pub stops: Vec<(&'static str, u64)>,
    /// Events that wait for their turn or are taken up, by priority.
    pub priorities: Vec<(&'static str, u64)>,
    /// For each kind of doubt how many are open and not acknowledged, and how many events these concern.
    pub doubts: Vec<(&'static str, u64, u64)>,
}

/// Sets the gauges and remembers which labels have some, so that those of a label without policies fall to zero instead
/// of standing for ever at their last value. Those of a row that is as it was are left alone: most policies rest.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    shown: BTreeMap<SharedString, PolicyGauges>,
    /// When series were begun or ended the last time.
    version: u64,
}

impl Gauges {
    /// Sets every gauge from `snapshot`, and counters that are kept elsewhere to their present value.
    pub(crate) fn set(&mut self, snapshot: &Snapshot) {
        set_build_info();
        let (stderr, stdout) = output::dropped_lines();
        counter!(names::OUTPUT_DROPPED_LINES.name, "output" => "stderr").absolute(stderr);
        counter!(names::OUTPUT_DROPPED_LINES.name, "output" => "stdout").absolute(stdout);
        gauge!(names::STORE_OPERATION_AGE.name).set(snapshot.store_operation_age.as_secs_f64());
        gauge!(names::STORE_LOST_EVENTS.name).set(figure(snapshot.store_lost_events));
        for (key, records) in &snapshot.store_records {
            gauge!(names::STORE_RECORDS.name, "key" => *key).set(figure(*records));
        }
        counter!(names::STORE_DAMAGED_FRAMES.name).absolute(snapshot.store_damaged_frames);
        gauge!(names::STORE_DISK_BYTES.name).set(figure(snapshot.store_disk_bytes));
        gauge!(names::STORE_ENDS_BYTES.name).set(figure(snapshot.store_ends_bytes));
        gauge!(names::STORE_FREE_BYTES.name).set(figure(snapshot.store_free_bytes));
        for (target, count) in &snapshot.stops {
            gauge!(names::DISPATCH_STOPS.name, "target" => *target).set(figure(*count));
        }
        for (priority, count) in &snapshot.priorities {
            gauge!(names::PRIORITY_EVENTS.name, "priority" => *priority).set(figure(*count));
        }
        for (kind, open, events) in &snapshot.doubts {
            gauge!(names::DOUBTS.name, "kind" => *kind).set(figure(*open));
            gauge!(names::DOUBT_EVENTS.name, "kind" => *kind).set(figure(*events));
        }
        for (state, count) in &snapshot.policy_states {
            gauge!(names::POLICIES.name, "state" => *state).set(figure(*count));
        }
        gauge!(names::POLICIES_WITHOUT_SERIES.name).set(figure(policies::without_series() as u64));
        // Before the rows are told apart: what ends from here on is set anew at the next call.
        let version = policies::version();
        let rows = by_label(&snapshot.policies);
        // Those of a policy end with it; the ones that several share go on without a row.
        let stays = |label: &&SharedString| !rows.contains_key(*label) && policies::is_there(label);
        for gone in self.shown.keys().filter(stays) {
            set_policy(gone, &PolicyGauges::default(), snapshot.now);
        }
        // A series that has ended and begun again meanwhile has no gauges yet.
        let are_there = version == self.version;
        for (label, row) in &rows {
            if are_there && self.shown.get(label) == Some(row) {
                set_ages(label, row, snapshot.now);
            } else {
                set_policy(label, row, snapshot.now);
            }
        }
        (self.shown, self.version) = (rows, version);
    }
}

/// The rows by their labels; those that share one are added up.
fn by_label(rows: &[PolicyGauges]) -> BTreeMap<SharedString, PolicyGauges> {
    let mut by_label: BTreeMap<SharedString, PolicyGauges> = BTreeMap::new();
    for row in rows {
        by_label.entry(policies::label(&row.policy)).or_default().add(row);
    }
    by_label
}

impl PolicyGauges {
    /// Of both together: sums, the oldest, the highest peak and the least that is left of a quota.
    fn add(&mut self, other: &Self) {
        self.ready += other.ready;
        self.delayed += other.delayed;
        self.inflight += other.inflight;
        self.dead = self.dead.into_iter().chain(other.dead).reduce(u64::add);
        self.letters += other.letters;
        self.calls += other.calls;
        self.bytes += other.bytes;
        self.draining += other.draining;
        self.stalled += other.stalled;
        self.near_expiry += other.near_expiry;
        self.oldest = earlier(self.oldest, other.oldest);
        self.oldest_due = earlier(self.oldest_due, other.oldest_due);
        self.quota_resets_at = earlier(self.quota_resets_at, other.quota_resets_at);
        self.drains_until = earlier(self.drains_until, other.drains_until);
        self.concurrency_limit =
            self.concurrency_limit.into_iter().chain(other.concurrency_limit).reduce(u64::saturating_add);
        self.concurrency_capacity = self
            .concurrency_capacity
            .into_iter()
            .chain(other.concurrency_capacity)
            .reduce(u64::saturating_add);
        self.permits_per_second =
            self.permits_per_second.into_iter().chain(other.permits_per_second).reduce(f64::add);
        self.capacity_per_second =
            self.capacity_per_second.into_iter().chain(other.capacity_per_second).reduce(f64::add);
        // Not a sum: what matters is the first quota that will be used up.
        self.quota_remaining = self.quota_remaining.into_iter().chain(other.quota_remaining).min();
        self.limit_keys = self.limit_keys.into_iter().chain(other.limit_keys).reduce(u64::add);
        for (&limit, peak) in &other.window_peaks {
            let highest = self.window_peaks.entry(limit).or_default();
            *highest = (*highest).max(*peak);
        }
        for (&reason, lanes) in &other.held {
            *self.held.entry(reason).or_default() += lanes;
        }
        for (&reason, lanes) in &other.slowed {
            *self.slowed.entry(reason).or_default() += lanes;
        }
        self.slowest = self.slowest.into_iter().chain(other.slowest).reduce(f64::min);
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
    let states = [("ready", row.ready), ("delayed", row.delayed), ("inflight", row.inflight)];
    for (state, count) in states.into_iter().chain(row.dead.map(|dead| ("dead", dead))) {
        gauge!(names::QUEUE_EVENTS.name, "policy" => label.clone(), "state" => state).set(figure(count));
    }
    gauge!(names::DEAD_LETTERS.name, "policy" => label.clone()).set(figure(row.letters));
    gauge!(names::CALLS_INFLIGHT.name, "policy" => label.clone()).set(figure(row.calls));
    set_ages(label, row, now);
    gauge!(names::QUEUE_BYTES.name, "policy" => label.clone()).set(figure(row.bytes));
    gauge!(names::POLICY_DRAINING_EVENTS.name, "policy" => label.clone()).set(figure(row.draining));
    gauge!(names::LANES_STALLED.name, "policy" => label.clone()).set(figure(row.stalled));
    gauge!(names::LANES_NEAR_EXPIRY.name, "policy" => label.clone()).set(figure(row.near_expiry));
    set_limits(label, row);
    for (reason, lanes) in &row.slowed {
        gauge!(names::LANES_SLOWED.name, "policy" => label.clone(), "reason" => *reason).set(figure(*lanes));
    }
    for (reason, lanes) in &row.held {
        gauge!(names::LANES_HELD.name, "policy" => label.clone(), "reason" => *reason).set(figure(*lanes));
        if ENDPOINT_REASONS.contains(reason) {
            // A gauge of its own, so that an alert on endpoints does not fire for shares or doubts.
            gauge!(names::ENDPOINT_HELD.name, "policy" => label.clone(), "reason" => *reason)
                .set(figure(u64::from(*lanes > 0)));
        }
    }
}

/// What is never the same twice: without an event the oldest one is of now.
fn set_ages(label: &SharedString, row: &PolicyGauges, now: Timestamp) {
    // So that the age that is computed from it is zero, and not that of the epoch.
    let oldest = row.oldest.unwrap_or(now);
    gauge!(names::QUEUE_OLDEST_ENQUEUED.name, "policy" => label.clone()).set(seconds(oldest));
    let oldest_due = row.oldest_due.unwrap_or(now);
    gauge!(names::QUEUE_OLDEST_DUE.name, "policy" => label.clone()).set(seconds(oldest_due));
}

fn set_limits(label: &SharedString, row: &PolicyGauges) {
    let figures = [
        (names::POLICY_DRAIN_DEADLINE, row.drains_until.map(seconds)),
        (names::CONCURRENCY_LIMIT, row.concurrency_limit.map(figure)),
        (names::CONCURRENCY_CAPACITY, row.concurrency_capacity.map(figure)),
        (names::QUOTA_RESET, row.quota_resets_at.map(seconds)),
        (names::LIMIT_PERMITS_PER_SECOND, row.permits_per_second),
        (names::LIMIT_CAPACITY_PER_SECOND, row.capacity_per_second),
        (names::SLOWED_RATE, row.slowest),
        (names::QUOTA_REMAINING, row.quota_remaining.map(figure)),
        (names::LIMIT_KEYS, row.limit_keys.map(figure)),
    ];
    for (metric, value) in figures {
        // What is not a number is not shown.
        gauge!(metric.name, "policy" => label.clone()).set(value.unwrap_or(f64::NAN));
    }
    for (limit, peak) in &row.window_peaks {
        gauge!(names::LIMIT_WINDOW_PEAK.name, "policy" => label.clone(), "limit" => *limit)
            .set(figure(*peak));
    }
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

fn seconds(at: Timestamp) -> f64 {
    at.since(Timestamp::ZERO).as_secs_f64()
}

/// A count as the text format has it: exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "no queue holds 2^53 of anything")]
fn figure(count: u64) -> f64 {
    count as f64
}
