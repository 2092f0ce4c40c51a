//! A recorder of one test, so that tests that run side by side do not count together.

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::telemetry::recorder::{self, Router};

/// What was recorded on the thread of a test while [`Recorded::set`] holds.
pub(crate) struct Recorded {
    router: Router,
    exporter: PrometheusHandle,
}

impl Recorded {
    pub(crate) fn new() -> Self {
        let (router, exporter) = recorder::router().expect("bounds are not empty");
        Self { router, exporter }
    }

    /// Records on this thread until the guard is dropped.
    pub(crate) fn set(&self) -> LocalRecorderGuard<'_> {
        metrics::set_default_local_recorder(&self.router)
    }

    /// The rendering so far, of all policies.
    pub(crate) fn text(&self) -> String {
        self.exporter.run_upkeep();
        let mut text = self.exporter.render();
        self.router.series.render(|_| true, &mut text);
        text
    }

    /// The sum of all series of a name whose labels contain `label`.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let text = self.text();
        let series = text.lines().filter_map(|line| line.rsplit_once(' '));
        let of_name = series.filter(|(series, _)| series.split('{').next() == Some(name));
        let labelled = of_name.filter(|(series, _)| series.contains(label));
        labelled.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
    }
}
