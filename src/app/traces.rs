//! From the configuration to what begins and exports spans.
//!
//! Must not know: what spans say.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{AppError, AppErrorKind};
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery;
use crate::traces::{self, Exporter, Tracer, TracesError};

/// A tracer, and what takes its spans to the collector, where one is configured.
pub(super) fn open(
    config: &Config,
    clock: &Clock,
    dice: fastrand::Rng,
) -> Result<(Tracer, Option<Exporter>), AppError> {
    if config.traces.endpoint.is_some() {
        // The HTTP client needs it, even for addresses without TLS.
        delivery::install_provider();
    }
    Ok(traces::open(&config.traces, clock.clone(), dice)?)
}

/// The export of spans, as long as it goes on.
pub(super) struct Exporting {
    task: Option<JoinHandle<()>>,
    ended: CancellationToken,
}

impl Exporting {
    pub(super) fn spawn(exporter: Option<Exporter>) -> Self {
        let ended = CancellationToken::new();
        let task = exporter.map(|exporter| tokio::spawn(exporter.run(ended.clone())));
        Self { task, ended }
    }

    /// Lets what is left be exported, which takes a bounded time.
    pub(super) async fn end(self) {
        self.ended.cancel();
        if let Some(task) = self.task {
            super::running::ended("traces", task).await;
        }
    }
}

impl From<TracesError> for AppError {
    fn from(error: TracesError) -> Self {
        let kind = if error.is_configured() { AppErrorKind::Config } else { AppErrorKind::Other };
        Self { kind, detail: error.to_string() }
    }
}
