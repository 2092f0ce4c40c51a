//! One struct per thing that happens; `emit` counts it and, where it helps, writes the debug line.

use std::time::Duration;

use metrics::{Counter, counter, gauge, histogram};
use tracing::{debug, error, trace};

use crate::clock::Timestamp;
use crate::event::{Lane, LaneKey, Reason};
use crate::telemetry::{LaneSeries, kept, names, policies, zero};

/// The policies of a lane by name, or `-` where none governs: an event counts under each of them.
pub(crate) fn policy_names(lane: &Lane) -> impl Iterator<Item = &str> {
    let none = lane.policies().is_empty().then_some("-");
    lane.policies().iter().map(|part| part.policy.as_str()).chain(none)
}

/// The same for a line of the log, with commas between them.
#[must_use]
pub(crate) fn policy_list(lane: &Lane) -> String {
    policy_names(lane).collect::<Vec<_>>().join(",")
}

/// The door an event came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSource {
    /// The HTTP door, `POST /v1/events`.
    Http,
    /// Standard input, one event a line.
    Stdin,
    /// A redrive: a dead letter was handed in again.
    Redrive,
}

impl EventSource {
    /// All doors, for series that begin at zero.
    pub const ALL: [Self; 3] = [Self::Http, Self::Stdin, Self::Redrive];

    /// The value of the metric label `source`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Stdin => "stdin",
            Self::Redrive => "redrive",
        }
    }
}

/// Events of one lane were made durable.
#[derive(Debug, Clone, Copy)]
pub struct EventsEnqueued<'a> {
    /// The lane that they wait in, for the trace.
    pub lane: &'a LaneKey,
    /// They count under each policy of it.
    pub series: &'a LaneSeries,
    /// The door that they came through.
    pub source: EventSource,
    /// How many events of this lane and door.
    pub count: u64,
}

impl EventsEnqueued<'_> {
    /// Adds them to the counters of the lane's policies.
    pub fn emit(&self) {
        self.series.each(|policy| policy.enqueued(self.source.label(), self.count));
        trace!(lane = %self.lane, source = self.source.label(), count = self.count, "events enqueued");
    }
}

/// Events were refused at a door.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventsRejected {
    /// The `code` of the refusal, as answers give it.
    pub reason: &'static str,
    /// How many events were refused together.
    pub count: u64,
}

impl EventsRejected {
    /// Adds them to the counter of their reason.
    pub(crate) fn emit(&self) {
        counter!(names::EVENTS_REJECTED.name, "reason" => self.reason).increment(self.count);
        debug!(reason = self.reason, count = self.count, "events rejected");
    }

    /// Shows the counter before anything was refused for this reason.
    pub(crate) fn show(reason: &'static str) {
        counter!(names::EVENTS_REJECTED.name, "reason" => reason).increment(0);
    }
}

/// An entry reached its end, which is on record.
#[derive(Debug, Clone, Copy)]
pub struct EntryCompleted<'a> {
    /// The lane that it stands in, for the trace.
    pub lane: &'a LaneKey,
    /// It counts under each policy of it.
    pub series: &'a LaneSeries,
    /// The outcome: [`Settlement::outcome_label`](crate::event::Settlement::outcome_label) of its end.
    pub outcome: &'static str,
    /// The cause, where the outcome leaves it open: [`Settlement::cause_label`](crate::event::Settlement::cause_label).
    pub cause: Option<&'static str>,
    /// From its acceptance to the record of its end.
    pub lived: Duration,
}

impl EntryCompleted<'_> {
    /// Shows the lifetimes of every outcome before anything has ended so. The counters begin with their policy.
    pub fn show_lifetimes() {
        zero::begin_lifetimes();
    }

    /// Counts it under the lane's policies, and records how long it lived.
    pub fn emit(&self) {
        // An empty label counts as none.
        let cause = self.cause.unwrap_or_default();
        self.series.each(|policy| policy.completed(self.outcome, cause));
        kept::lived(self.outcome, self.lived);
        trace!(lane = %self.lane, outcome = self.outcome, cause = self.cause, "entry completed");
    }
}

/// An entry reached its end, for one reason of a closed set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventEnded {
    /// The outcome of its end, as in [`EntryCompleted`].
    pub outcome: &'static str,
    /// Why: [`Reason::label`](crate::event::Reason::label).
    pub reason: &'static str,
}

impl EventEnded {
    /// Shows a counter at zero for each reason.
    pub(crate) fn show() {
        let statuses = [300, 400, 429, 500].map(Reason::Status);
        for reason in Reason::WORDS.iter().map(|(reason, _)| *reason).chain(statuses) {
            Self { outcome: reason.outcome(), reason: reason.label() }.counter().increment(0);
        }
    }

    /// Counts one end of this kind.
    pub(crate) fn emit(self) {
        self.counter().increment(1);
    }

    fn counter(self) -> Counter {
        counter!(names::EVENTS_ENDED.name, "outcome" => self.outcome, "reason" => self.reason)
    }
}

/// A call ended, whatever came of it.
#[derive(Debug, Clone, Copy)]
pub struct AttemptFinished<'a> {
    /// The lane that it stands in, for the trace.
    pub lane: &'a LaneKey,
    /// It counts under each policy of it.
    pub series: &'a LaneSeries,
    /// The result: `2xx`, or [`Cause::label`](crate::event::Cause::label) of what went wrong.
    pub result: &'static str,
    /// From its start to its end.
    pub took: Duration,
}

impl AttemptFinished<'_> {
    /// Counts it and records its duration.
    pub fn emit(&self) {
        self.series.each(|policy| policy.attempted(self.result, self.took));
        trace!(lane = %self.lane, result = self.result, took = ?self.took, "attempt finished");
    }
}

/// A name was looked up, wherever the answer came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameLookedUp {
    /// `hosts`, `cache`, `joined`, `asked` or `full`.
    pub from: &'static str,
}

impl NameLookedUp {
    /// Adds one to the counter of where the answer came from.
    pub(crate) fn emit(&self) {
        counter!(names::NAME_LOOKUPS.name, "from" => self.from).increment(1);
    }
}

/// The name servers were asked for a name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameAsked {
    /// The result: `found`, or [`NameFailure::label`](crate::event::NameFailure::label) of the failure.
    pub result: &'static str,
    /// From the first question to the answer.
    pub took: Duration,
}

impl NameAsked {
    /// Counts it and records its duration.
    pub(crate) fn emit(&self) {
        counter!(names::NAME_QUESTIONS.name, "result" => self.result).increment(1);
        histogram!(names::NAME_QUESTION_DURATION.name).record(self.took);
    }
}

/// A retry was put off until its wait is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryScheduled<'a> {
    /// The lane that it stands in, for the trace.
    pub lane: &'a LaneKey,
    /// It counts under each policy of it.
    pub series: &'a LaneSeries,
    /// The cause of the failure: [`Cause::label`](crate::event::Cause::label) of it.
    pub cause: &'static str,
}

impl RetryScheduled<'_> {
    /// Adds one to the counters of the lane's policies.
    pub(crate) fn emit(&self) {
        self.series.each(|policy| policy.put_off(self.cause));
        debug!(lane = %self.lane, cause = self.cause, "retry scheduled");
    }
}

/// An entry's call started, and its wait is over.
#[derive(Debug, Clone, Copy)]
pub struct QueueWaited<'a> {
    /// It counts under each policy of its lane.
    pub series: &'a LaneSeries,
    /// From the moment it might go to its start.
    pub waited: Duration,
}

impl QueueWaited<'_> {
    /// Records the wait under the lane's policies.
    pub fn emit(&self) {
        self.series.each(|policy| policy.waited(self.waited));
    }
}

/// The dispatcher's timer fired, in time or late.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DispatchLag {
    /// How much later than asked for.
    pub lag: Duration,
}

impl DispatchLag {
    /// Records the lag in its histogram.
    pub(crate) fn emit(&self) {
        histogram!(names::DISPATCH_LAG.name).record(self.lag);
    }
}

/// The limiter found starts beyond a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimitViolated<'a> {
    /// The policy whose limit it is.
    pub policy: &'a str,
    /// The kind of limit, as the metric label names it.
    pub limit: &'static str,
    /// How many starts too many; zero shows the counter without a word.
    pub count: u64,
}

impl LimitViolated<'_> {
    /// Counts them, loudly: a broken promise is a defect.
    pub(crate) fn emit(&self) {
        counter!(names::LIMIT_VIOLATIONS.name, "policy" => policies::label(self.policy), "limit" => self.limit)
            .increment(self.count);
        if self.count > 0 {
            error!(policy = self.policy, limit = self.limit, count = self.count, "starts beyond the limit");
        }
    }
}

/// What the limits of a policy did since the last time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimiterWorked<'a> {
    /// The policy whose limits these are.
    pub policy: &'a str,
    /// The kind of limit, as the metric label names it.
    pub limit: &'static str,
    /// Starts that it allowed since the last time.
    pub permits: u64,
    /// Time in which it let none start of those that were ready.
    pub held: Duration,
}

impl LimiterWorked<'_> {
    /// Adds both to the counters of the policy.
    pub(crate) fn emit(&self) {
        let policy = policies::label(self.policy);
        counter!(names::LIMITER_PERMITS.name, "policy" => policy.clone(), "limit" => self.limit)
            .increment(self.permits);
        // Series of seconds are kept in their parts.
        let held_us = u64::try_from(self.held.as_micros()).unwrap_or(u64::MAX);
        counter!(names::LIMITER_HELD_SECONDS.name, "policy" => policy, "limit" => self.limit)
            .increment(held_us);
    }
}

/// The configuration file was read while the daemon runs, or at its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConfigReloaded {
    /// Whether it was applied; the reason why not is logged where it is known.
    pub is_applied: bool,
    /// The moment at which it was read.
    pub at: Timestamp,
}

impl ConfigReloaded {
    /// Counts it by its result, and shows when it last succeeded.
    pub(crate) fn emit(&self) {
        let count = |result, count| counter!(names::CONFIG_RELOADS.name, "result" => result).increment(count);
        // Both results each time, so that the series of either begins at zero.
        count("applied", u64::from(self.is_applied));
        count("refused", u64::from(!self.is_applied));
        if self.is_applied {
            let at_s = self.at.since(Timestamp::ZERO).as_secs_f64();
            gauge!(names::CONFIG_LAST_RELOAD.name).set(at_s);
        }
        gauge!(names::CONFIG_LAST_RELOAD_SUCCESSFUL.name).set(f64::from(u8::from(self.is_applied)));
    }
}

/// The longest life of an event is settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LifeSettled {
    /// The life that `queue.ttl_seconds` gives to events.
    pub ttl: Duration,
}

impl LifeSettled {
    /// Shows it as a gauge, in seconds.
    pub(crate) fn emit(&self) {
        gauge!(names::QUEUE_TTL.name).set(self.ttl.as_secs_f64());
    }
}

/// The clocks did something unusual, as the watch found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockAnomaly {
    /// The kind: `forward`, `backward`, `start` or `suspend`.
    pub kind: &'static str,
    /// How many times; zero shows the counter.
    pub count: u64,
}

impl ClockAnomaly {
    /// Adds the count to that of its kind.
    pub(crate) fn emit(&self) {
        counter!(names::CLOCK_ANOMALIES.name, "kind" => self.kind).increment(self.count);
    }
}

/// The store was opened with events that an earlier process owed an end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EventsRecovered {
    /// How many events were found and are owed an end.
    pub count: u64,
}

impl EventsRecovered {
    /// Adds them to the counter of recovered events.
    pub(crate) fn emit(&self) {
        counter!(names::STORE_RECOVERED_EVENTS.name).increment(self.count);
    }
}

/// An operation of the store ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreOperation {
    /// Which one: `append`, `settle`, `read`, `sync`, `flush`, …
    pub op: &'static str,
    /// How long it took, from its begin to its end.
    pub took: Duration,
}

impl StoreOperation {
    /// Records its duration under its name.
    pub(crate) fn emit(&self) {
        histogram!(names::STORE_OPERATION_DURATION.name, "op" => self.op).record(self.took);
    }
}

/// An operation of the store failed. The error itself is logged where it is handled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreFailed {
    /// The operation that failed, by the name that [`StoreOperation`] gives it.
    pub op: &'static str,
}

impl StoreFailed {
    /// Adds one to the counter of this operation.
    pub(crate) fn emit(&self) {
        counter!(names::STORE_ERRORS.name, "op" => self.op).increment(1);
    }

    /// Shows the counter before anything has failed.
    pub(crate) fn show(&self) {
        counter!(names::STORE_ERRORS.name, "op" => self.op).increment(0);
    }
}
