//! The recorder behind the metric macros and its text rendering: the exporter's, and beside it the series of policies,
//! which end.

use std::fmt::Write;
use std::sync::OnceLock;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::formatting::{write_help_line, write_type_line};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::telemetry::names::{self, Metric, MetricKind};
use crate::telemetry::policies;
use crate::telemetry::series::Series;

/// Renders what was recorded. Cheap to clone.
#[derive(Clone)]
pub struct MetricsHandle {
    exporter: PrometheusHandle,
    series: Series,
    process: metrics_process::Collector,
}

/// Series of policies go their own way.
pub(super) struct Router {
    exporter: PrometheusRecorder,
    pub(super) series: Series,
}

impl Recorder for Router {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_counter(key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_gauge(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.exporter.describe_histogram(key, unit, description);
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        if Series::holds(key) {
            self.series.counter(key)
        } else {
            self.exporter.register_counter(key, metadata)
        }
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        if Series::holds(key) { self.series.gauge(key) } else { self.exporter.register_gauge(key, metadata) }
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        if Series::holds(key) {
            self.series.histogram(key)
        } else {
            self.exporter.register_histogram(key, metadata)
        }
    }
}

/// The recorder could not be put in place.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the metrics: {reason}")]
pub struct RecorderError {
    /// What stood in the way, in words.
    pub reason: String,
}

static INSTALLED: OnceLock<Result<MetricsHandle, String>> = OnceLock::new();

/// Ends the series of the policies that are not there any more.
pub(super) fn end_series(is_there: impl Fn(&str) -> bool) {
    if let Some(Ok(handle)) = INSTALLED.get() {
        handle.series.prune(is_there);
    }
}

/// Ends one gauge of a policy whose labels have changed.
pub(super) fn end_gauge(key: &Key) {
    if let Some(Ok(handle)) = INSTALLED.get() {
        handle.series.end_gauge(key);
    }
}

/// Puts the process-wide recorder in place and describes every metric. A second call gives the handle of
/// the first, so that several apps in one process (tests) share it.
///
/// # Errors
/// [`RecorderError`] when another recorder was installed by somebody else.
pub fn install() -> Result<MetricsHandle, RecorderError> {
    // Kept with its failure: the macros can be given one recorder in the life of a process.
    let outcome = INSTALLED.get_or_init(|| {
        let (router, exporter) = router().map_err(|error| error.reason)?;
        let series = router.series.clone();
        metrics::set_global_recorder(router).map_err(|error| error.to_string())?;
        Ok(described(exporter, series))
    });
    outcome.clone().map_err(|reason| RecorderError { reason })
}

impl MetricsHandle {
    /// Everything in the text format, version 0.0.4, with the terms of the ledger at one moment. Costs milliseconds
    /// with many series: call it where blocking is allowed.
    #[must_use]
    pub fn render(&self, ledger: &[(&'static str, u64)]) -> String {
        // Read when it is asked for: figures of the process need no task.
        self.process.collect();
        let mut text = self.exporter.render();
        self.series.render(policies::is_there, &mut text);
        let Metric { name, help, kind, .. } = names::LEDGER_EVENTS;
        write_help_line(&mut text, name, None, None, help);
        write_type_line(&mut text, name, None, None, kind.word());
        for (term, events) in ledger {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}{{term=\"{term}\"}} {events}");
        }
        text
    }

    /// Folds recorded samples into their buckets, and ends what a policy that has just gone left behind. Call it every
    /// few seconds: until then each sample of a histogram is kept in memory.
    pub fn upkeep(&self) {
        self.exporter.run_upkeep();
        // Once more after the change itself: a thread that held the old labels may have counted under one that ended.
        if policies::have_changed() {
            self.series.prune(policies::is_there);
        }
    }
}

pub(super) fn router() -> Result<(Router, PrometheusHandle), RecorderError> {
    let exporter = builder()?.build_recorder();
    let handle = exporter.handle();
    Ok((Router { exporter, series: Series::new() }, handle))
}

fn builder() -> Result<PrometheusBuilder, RecorderError> {
    let mut builder = PrometheusBuilder::new();
    for metric in names::ALL {
        if let MetricKind::Histogram(buckets) = metric.kind {
            // Without bounds the exporter would make it a summary.
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets.bounds())
                .map_err(|error| RecorderError { reason: error.to_string() })?;
        }
    }
    Ok(builder)
}

/// Describes every metric to the present recorder and starts the counters without a policy at zero.
fn described(exporter: PrometheusHandle, series: Series) -> MetricsHandle {
    for metric in names::ALL {
        describe(metric);
    }
    let process = metrics_process::Collector::default();
    process.describe();
    MetricsHandle { exporter, series, process }
}

fn describe(metric: &Metric) {
    let (name, help) = (metric.name, metric.help);
    match (metric.kind, metric.unit) {
        (MetricKind::Counter, Some(unit)) => metrics::describe_counter!(name, unit, help),
        (MetricKind::Counter, None) => metrics::describe_counter!(name, help),
        (MetricKind::Gauge, Some(unit)) => metrics::describe_gauge!(name, unit, help),
        (MetricKind::Gauge, None) => metrics::describe_gauge!(name, help),
        (MetricKind::Histogram(_), Some(unit)) => metrics::describe_histogram!(name, unit, help),
        (MetricKind::Histogram(_), None) => metrics::describe_histogram!(name, help),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::LaneKey;
    use crate::telemetry::*;

    /// Runs `record` against a recorder of its own and returns the rendering.
    fn rendered(record: impl FnOnce()) -> String {
        let (router, exporter) = router().expect("bounds are not empty");
        let series = router.series.clone();
        metrics::with_local_recorder(&router, || {
            let handle = described(exporter, series);
            record();
            handle.upkeep();
            handle.render(&[("accepted", 1)])
        })
    }

    fn everything_happens() {
        let (policy, took) = ("-", Duration::from_millis(3));
        let lane = &LaneKey::new("-").expect("short");
        let series = &LaneSeries::named(lane);
        EventsEnqueued { lane, series, source: EventSource::Http, count: 2 }.emit();
        EventsRejected { reason: "unmatched", count: 1 }.emit();
        EntryCompleted { lane, series, outcome: "delivered", cause: None, lived: took }.emit();
        EventEnded { outcome: "delivered", reason: "delivered" }.emit();
        LettersRemoved { how: "redriven", count: 1 }.emit();
        OutcomesPosted { result: "delivered" }.emit();
        EventsChanged { change: "cancel", count: 1 }.emit();
        AttemptFinished { lane, series, result: "2xx", took }.emit();
        RetryScheduled { lane, series, cause: "5xx" }.emit();
        CallAmbiguous { cause: "timeout", then: "retried" }.emit();
        QueueWaited { series, waited: took }.emit();
        DispatchLag { lag: took }.emit();
        LimitViolated { policy, limit: "pace", count: 0 }.emit();
        LimiterWorked { policy, limit: "pace", permits: 1, held: took }.emit();
        EventsRecovered { count: 3 }.emit();
        Defect::show();
        TraceSpans::show();
        RequestAnswered { route: "/v1/events", method: "POST", code: 202, took }.emit();
        StoreOperation { op: "append", took }.emit();
        StoreFailed { op: "append" }.emit();
        LifeSettled { ttl: took }.emit();
        ClockAnomaly { kind: "forward", count: 1 }.emit();
        ConfigReloaded { is_applied: true, at: Timestamp::from_millis(1_500) }.emit();
        AnswerAmended { host: "api.example", broken: 1, surplus: 0, closes: true }.emit();
        AnswerTimeIgnored { why: "unreadable" }.emit();
        AttemptsNoted { kept: 1, dropped: 1 }.emit();
        RateHalved { lane }.emit();
        TokenAsked { result: "granted" }.emit();
        TokensMissing { endpoints: 1 }.emit();
        NameLookedUp { from: "cache" }.emit();
        NameAsked { result: "found", took }.emit();
        ConnectionsOpen { ordinary: 2, reserved: 0 }.emit();
        ConnectionsClosed { cause: "idle", count: 1 }.emit();
        ConnectionsRefused { cause: "full", count: 1 }.emit();
        DescriptorsAllotted { used_for: "store", count: 112 }.emit();
        DescriptorShortage { at: "store" }.emit();
        name_policies([PolicyInfo { policy, name: "crm", system: "file" }].into_iter());
        Gauges::default().set(&full_snapshot());
    }

    fn full_snapshot() -> Snapshot {
        let row = PolicyGauges {
            policy: "-".to_owned(),
            ready: 7,
            permits_per_second: Some(0.5),
            capacity_per_second: Some(1.5),
            window_peaks: [("pace", 3)].into(),
            quota_remaining: Some(4),
            quota_resets_at: Some(Timestamp::from_millis(9_000)),
            drains_until: Some(Timestamp::from_millis(8_000)),
            concurrency_limit: Some(64),
            concurrency_capacity: Some(128),
            limit_keys: Some(1),
            held: [("paused", 1)].into(),
            slowed: [("reduced", 1)].into(),
            slowest: Some(2.5),
            ..PolicyGauges::default()
        };
        Snapshot {
            now: Timestamp::from_millis(1_500),
            policies: vec![row],
            policy_states: vec![("deployed", 1)],
            store_disk_bytes: 9,
            store_ends_bytes: 7,
            store_free_bytes: 8,
            store_operation_age: Duration::ZERO,
            store_lost_events: 5,
            store_records: vec![("missing", 2)],
            store_damaged_frames: 3,
            stops: vec![("everything", 1)],
            priorities: vec![("high", 3)],
            doubts: vec![("lost", 2, 7)],
        }
    }

    /// The value of every sample by its name with labels; panics on a line that is not in the format.
    fn samples(text: &str) -> HashMap<String, f64> {
        let mut found = HashMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let name = series.split('{').next().expect(line);
            assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
            assert_eq!(series.contains('{'), series.ends_with('}'), "{line}");
            let value = value.parse().expect(line);
            assert!(found.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
        found
    }

    #[test]
    fn every_metric_is_rendered_with_help_type_and_its_labels() {
        let text = rendered(everything_happens);
        let samples = samples(&text);
        for metric in names::ALL {
            assert!(text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)), "{}", metric.name);
            let word = metric.kind.word();
            assert!(text.contains(&format!("# TYPE {} {word}\n", metric.name)), "{}", metric.name);
            let suffix = if word == "histogram" { "_count" } else { "" };
            let series = samples
                .keys()
                .find(|series| series.split('{').next() == Some(&format!("{}{suffix}", metric.name)))
                .unwrap_or_else(|| panic!("no sample of {}", metric.name));
            let labels: Vec<&str> = series
                .split_once('{')
                .map(|(_, rest)| rest.split(',').filter_map(|pair| Some(pair.split_once('=')?.0)).collect())
                .unwrap_or_default();
            assert_eq!(labels, metric.labels, "{series}");
        }
        assert_eq!(samples["tidegate_events_enqueued_total{policy=\"-\",source=\"http\"}"], 2.0);
        assert_eq!(samples["tidegate_queue_oldest_enqueued_timestamp_seconds{policy=\"-\"}"], 1.5);
        assert_eq!(samples["tidegate_call_duration_seconds_bucket{policy=\"-\",le=\"0.005\"}"], 1.0);
        assert!(samples.contains_key("process_resident_memory_bytes"));
    }

    #[test]
    fn what_nobody_described_or_recorded_is_not_there() {
        let text = rendered(|| {});
        assert!(!text.contains("tidegate_events_enqueued_total{"), "{text}");
    }

    #[test]
    fn gauges_of_a_label_without_policies_fall_to_zero() {
        let text = rendered(|| {
            let mut gauges = Gauges::default();
            gauges.set(&full_snapshot());
            gauges.set(&Snapshot::default());
        });
        assert_eq!(samples(&text)["tidegate_queue_events{policy=\"-\",state=\"ready\"}"], 0.0);
        assert!(!text.contains("tidegate_limit_permits_per_second{"), "it has no pace any more: {text}");
    }

    #[test]
    fn a_row_that_is_as_it_was_still_ages() {
        let text = rendered(|| {
            let mut gauges = Gauges::default();
            gauges.set(&full_snapshot());
            gauges.set(&Snapshot { now: Timestamp::from_millis(2_500), ..full_snapshot() });
        });
        let samples = samples(&text);
        assert_eq!(samples["tidegate_queue_oldest_enqueued_timestamp_seconds{policy=\"-\"}"], 2.5);
        assert_eq!(samples["tidegate_queue_events{policy=\"-\",state=\"ready\"}"], 7.0);
    }

    /// What shares a label is added up, and nothing is left out.
    #[test]
    fn rows_of_one_label_are_added_up() {
        let row = |pace, quota, peak, oldest_ms| PolicyGauges {
            policy: "-".to_owned(),
            ready: 2,
            calls: 1,
            oldest: Some(Timestamp::from_millis(oldest_ms)),
            permits_per_second: pace,
            capacity_per_second: pace.map(|pace| pace * 2.0),
            quota_remaining: quota,
            window_peaks: [("pace", peak)].into(),
            held: [("paused", 1)].into(),
            ..PolicyGauges::default()
        };
        let rows = vec![row(Some(0.5), None, 3, 2_000), row(Some(2.0), Some(4), 7, 1_500)];
        let text = rendered(|| {
            Gauges::default().set(&Snapshot { policies: rows, ..full_snapshot() });
        });
        let samples = samples(&text);
        let of = |name: &str, labels: &str| samples[&format!("tidegate_{name}{{policy=\"-\"{labels}}}")];
        assert_eq!(of("queue_events", ",state=\"ready\""), 4.0);
        assert_eq!(of("calls_inflight", ""), 2.0);
        assert_eq!(of("queue_oldest_enqueued_timestamp_seconds", ""), 1.5);
        assert_eq!(of("limit_permits_per_second", ""), 2.5);
        assert_eq!(of("limit_capacity_per_second", ""), 5.0);
        assert_eq!(of("quota_remaining", ""), 4.0);
        assert_eq!(of("limit_window_peak", ",limit=\"pace\""), 7.0);
        assert_eq!(of("lanes_held", ",reason=\"paused\""), 2.0);
    }

    #[test]
    fn installing_twice_gives_the_same_recorder() {
        let first = install().expect("first");
        let second = install().expect("second");
        metrics::counter!("tidegate_test_total").increment(1);
        assert!(first.render(&[]).contains("tidegate_test_total"));
        assert!(second.render(&[]).contains("tidegate_test_total"));
    }
}
