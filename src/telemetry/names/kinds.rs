//! What a metric is: its kind, unit, labels and buckets.
//!
//! Must not know: which metrics there are.

/// What kind of figure a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows; starts at zero with the process.
    Counter,
    /// A value at present, which goes up and down.
    Gauge,
    /// A distribution over these upper bounds.
    Histogram(Buckets),
}

/// The upper bounds of a histogram's buckets, in its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Buckets {
    /// Calls over the network, from milliseconds to a minute.
    Calls,
    /// Time spent waiting, up to the longest life of an event.
    Waits,
    /// Operations on the disk, from a tenth of a millisecond on.
    Store,
    /// How late a timer fired, from half a millisecond on.
    Lag,
}

/// One metric, as it is described and rendered.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its full name, which begins with `tidegate_`.
    pub name: &'static str,
    /// Its type in the text format.
    pub kind: MetricKind,
    /// Its unit, where it has one.
    pub unit: Option<metrics::Unit>,
    /// The keys of its labels, in order.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

impl MetricKind {
    /// As the text format names it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Buckets {
    /// The upper bounds, ascending, in seconds.
    #[must_use]
    pub const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Calls => &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0],
            Self::Waits => &[
                0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 7200.0,
                14400.0, 21600.0,
            ],
            Self::Store => &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0],
            Self::Lag => &[0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25],
        }
    }
}

pub(super) const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: Some(metrics::Unit::Count), labels, help }
}

pub(super) const fn gauge(
    name: &'static str,
    unit: Option<metrics::Unit>,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, labels, help }
}

pub(super) const fn histogram(
    name: &'static str,
    buckets: Buckets,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: MetricKind::Histogram(buckets), unit: Some(metrics::Unit::Seconds), labels, help }
}
