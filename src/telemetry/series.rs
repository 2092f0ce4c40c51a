//! Series of policies. They are kept apart from all others because they end with their policy, which the exporter has
//! no way to say. A histogram counts into its buckets at once, so that nothing is to be folded. A gauge that is not a
//! number is not shown.
//!
//! Must not know: which policies have series, what is measured.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key};
use metrics_exporter_prometheus::formatting::{write_help_line, write_type_line};
use metrics_util::registry::{Registry, Storage};

use crate::telemetry::names::{self, Metric, MetricKind};

/// The label that makes a series one of a policy; it is the first one.
const POLICY: &str = "policy";

/// Counters of seconds are kept in this many parts of one.
pub(super) const PARTS_OF_A_SECOND: f64 = 1e6;

/// The metrics of policies with their places in a rendering.
static METRICS: LazyLock<HashMap<&'static str, (usize, &'static Metric)>> = LazyLock::new(|| {
    let of_policies = names::ALL.iter().filter(|metric| metric.labels.first() == Some(&POLICY));
    of_policies.enumerate().map(|(place, metric)| (metric.name, (place, metric))).collect()
});

/// All series of policies. Cheap to clone.
#[derive(Clone)]
pub(super) struct Series(Arc<Registry<Key, SeriesCells>>);

/// What a series is kept in.
struct SeriesCells;

impl Storage<Key> for SeriesCells {
    type Counter = Arc<AtomicU64>;
    type Gauge = Arc<AtomicU64>;
    type Histogram = Arc<Distribution>;

    fn counter(&self, _: &Key) -> Self::Counter {
        Arc::default()
    }

    fn gauge(&self, _: &Key) -> Self::Gauge {
        Arc::default()
    }

    fn histogram(&self, key: &Key) -> Self::Histogram {
        let bounds = match METRICS.get(key.name()).map(|(_, metric)| metric.kind) {
            Some(MetricKind::Histogram(buckets)) => buckets.bounds(),
            _ => &[],
        };
        Arc::new(Distribution::new(bounds))
    }
}

/// A histogram with fixed bounds, each the upper end of its bucket.
struct Distribution {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    sum_bits: AtomicU64,
}

impl Distribution {
    fn new(bounds: &'static [f64]) -> Self {
        // A value is searched for by halves.
        debug_assert!(bounds.is_sorted(), "bounds of a histogram that do not ascend");
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_bits: AtomicU64::new(0) }
    }
}

impl HistogramFn for Distribution {
    fn record(&self, value: f64) {
        // A value that equals a bound belongs below it (`le`).
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        debug_assert!(bucket < self.counts.len(), "a value above the bucket that has no bound");
        if let Some(count) = self.counts.get(bucket) {
            // Relaxed: each figure stands for itself, and a rendering may fall between two of them.
            count.fetch_add(1, Ordering::Relaxed);
        }
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // Never refused.
        let _ = self.sum_bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl Series {
    pub(super) fn new() -> Self {
        Self(Arc::new(Registry::new(SeriesCells)))
    }

    /// Whether a series is one of a policy.
    pub(super) fn holds(key: &Key) -> bool {
        key.labels().next().is_some_and(|label| label.key() == POLICY)
    }

    pub(super) fn counter(&self, key: &Key) -> Counter {
        self.0.get_or_create_counter(key, |cell| Counter::from_arc(Arc::clone(cell)))
    }

    pub(super) fn gauge(&self, key: &Key) -> Gauge {
        self.0.get_or_create_gauge(key, |cell| Gauge::from_arc(Arc::clone(cell)))
    }

    pub(super) fn histogram(&self, key: &Key) -> Histogram {
        self.0.get_or_create_histogram(key, |cell| Histogram::from_arc(Arc::clone(cell)))
    }

    /// Ends the series of policies that are not there any more.
    pub(super) fn prune(&self, is_there: impl Fn(&str) -> bool) {
        self.0.retain_counters(|key, _| is_there(policy(key)));
        self.0.retain_gauges(|key, _| is_there(policy(key)));
        self.0.retain_histograms(|key, _| is_there(policy(key)));
    }

    /// Shows this gauge no more.
    pub(super) fn end_gauge(&self, key: &Key) {
        self.0.delete_gauge(key);
    }

    /// Appends all of them that are of policies which are there, in the text format.
    pub(super) fn render(&self, is_there: impl Fn(&str) -> bool, text: &mut String) {
        // By metric: the text format wants all series of one together, and the registry has no order.
        let mut families: Vec<(Option<&Metric>, String)> = vec![(None, String::new()); METRICS.len()];
        let mut family = |key: &Key, line: &dyn Fn(&mut String, &Metric)| {
            let Some((place, metric)) = METRICS.get(key.name()).filter(|_| is_there(policy(key))) else {
                return;
            };
            if let Some((of, lines)) = families.get_mut(*place) {
                *of = Some(*metric);
                line(lines, metric);
            }
        };
        self.0.visit_counters(|key, cell| {
            let count = cell.load(Ordering::Relaxed);
            family(key, &|lines, metric| counter_line(lines, key, metric, count));
        });
        self.0.visit_gauges(|key, cell| {
            let value = f64::from_bits(cell.load(Ordering::Relaxed));
            if !value.is_nan() {
                family(key, &|lines, _| line(lines, key, "", None, value));
            }
        });
        self.0.visit_histograms(|key, cell| family(key, &|lines, _| histogram_lines(lines, key, cell)));
        for (metric, lines) in families {
            let Some(metric) = metric else { continue };
            write_help_line(text, metric.name, None, None, metric.help);
            write_type_line(text, metric.name, None, None, metric.kind.word());
            text.push_str(&lines);
            text.push('\n');
        }
    }
}

fn policy(key: &Key) -> &str {
    debug_assert!(Series::holds(key), "a series of no policy among those of policies");
    key.labels().next().map_or("", |label| label.value())
}

#[expect(clippy::cast_precision_loss, reason = "no counter of seconds reaches 2^53 parts")]
fn counter_line(lines: &mut String, key: &Key, metric: &Metric, count: u64) {
    if metric.unit == Some(metrics::Unit::Seconds) {
        line(lines, key, "", None, count as f64 / PARTS_OF_A_SECOND);
    } else {
        line(lines, key, "", None, count);
    }
}

fn histogram_lines(lines: &mut String, key: &Key, cell: &Distribution) {
    let mut below = 0;
    for (place, count) in cell.counts.iter().enumerate() {
        below += count.load(Ordering::Relaxed);
        let bound = cell.bounds.get(place).map_or_else(|| "+Inf".to_owned(), ToString::to_string);
        line(lines, key, "_bucket", Some(&bound), below);
    }
    line(lines, key, "_sum", None, f64::from_bits(cell.sum_bits.load(Ordering::Relaxed)));
    line(lines, key, "_count", None, below);
}

fn line(lines: &mut String, key: &Key, suffix: &str, bound: Option<&str>, value: impl std::fmt::Display) {
    lines.push_str(key.name());
    lines.push_str(suffix);
    let mut before = '{';
    for label in key.labels() {
        // Writing to a string does not fail, here and below.
        let _ = write!(lines, "{before}{}=\"{}\"", label.key(), escaped(label.value()));
        before = ',';
    }
    if let Some(bound) = bound {
        let _ = write!(lines, "{before}le=\"{bound}\"");
    }
    let _ = writeln!(lines, "}} {value}");
}

/// A label value as the text format writes it. Names for people hold what ids of policies cannot.
fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str, policy: &str) -> Key {
        Key::from_parts(name, vec![metrics::Label::new("policy", policy.to_owned())])
    }

    fn text(series: &Series, is_there: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        series.render(is_there, &mut text);
        text
    }

    #[test]
    fn series_end_with_their_policy_and_begin_again_at_zero() {
        let series = Series::new();
        let (calls, waits) = (names::CALL_ATTEMPTS.name, names::QUEUE_WAIT.name);
        for policy in ["a", "b"] {
            series.counter(&key(calls, policy)).increment(3);
            series.histogram(&key(waits, policy)).record(0.02);
            series.gauge(&key(names::QUEUE_BYTES.name, policy)).set(7.0);
        }
        let hidden = text(&series, |policy| policy == "a");
        assert!(hidden.contains("\"a\"") && !hidden.contains("\"b\""), "at once: {hidden}");
        series.prune(|policy| policy == "a");
        let left = text(&series, |_| true);
        assert!(left.contains("\"a\"") && !left.contains("\"b\""), "{left}");
        series.counter(&key(calls, "b")).increment(1);
        assert!(text(&series, |_| true).contains("tidegate_call_attempts_total{policy=\"b\"} 1\n"));
    }

    #[test]
    fn what_is_rendered_is_the_text_format() {
        let series = Series::new();
        let waits = key(names::CALL_DURATION.name, "p");
        for seconds in [0.005, 0.007, 99.0] {
            series.histogram(&waits).record(seconds);
        }
        series.counter(&key(names::LIMITER_HELD_SECONDS.name, "p")).increment(1_500_000);
        series.gauge(&key(names::QUEUE_BYTES.name, "p")).set(f64::NAN);
        let text = text(&series, |_| true);
        for line in [
            "# TYPE tidegate_call_duration_seconds histogram",
            "tidegate_call_duration_seconds_bucket{policy=\"p\",le=\"0.005\"} 1",
            "tidegate_call_duration_seconds_bucket{policy=\"p\",le=\"0.01\"} 2",
            "tidegate_call_duration_seconds_bucket{policy=\"p\",le=\"60\"} 2",
            "tidegate_call_duration_seconds_bucket{policy=\"p\",le=\"+Inf\"} 3",
            "tidegate_call_duration_seconds_sum{policy=\"p\"} 99.012",
            "tidegate_call_duration_seconds_count{policy=\"p\"} 3",
            "tidegate_limiter_held_seconds_total{policy=\"p\"} 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("tidegate_queue_bytes"), "a gauge that is not a number is not there: {text}");
    }

    #[test]
    fn a_name_for_people_is_escaped_and_ends_alone() {
        let series = Series::new();
        let named = |name: &str| {
            let labels = [("policy", "p"), ("name", name)];
            let labels: Vec<metrics::Label> =
                labels.iter().map(|(key, value)| metrics::Label::new(*key, (*value).to_owned())).collect();
            Key::from_parts(names::POLICY_INFO.name, labels)
        };
        let (before, after) = (named("a\\b \"c\"\nd"), named("e"));
        series.gauge(&before).set(1.0);
        series.gauge(&after).set(1.0);
        let line = r#"tidegate_policy_info{policy="p",name="a\\b \"c\"\nd"} 1"#;
        assert!(text(&series, |_| true).lines().any(|found| found == line), "{}", text(&series, |_| true));
        series.end_gauge(&before);
        let left = text(&series, |_| true);
        assert!(!left.contains("a\\") && left.contains(r#"name="e"} 1"#), "{left}");
    }
}
