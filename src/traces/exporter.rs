//! From the queue of spans to the collector: batches, tries, and what is dropped.
//!
//! Must not know: what spans say.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::collector::{Collector, ExportFailure};
use super::spans::{Span, encoded};
use super::{TraceOptions, TracesError};
use crate::event::CanonicalUrl;
use crate::telemetry::{TraceSpans, defect};

/// Spans that wait for an export; what comes on top is dropped. About 12 MB.
pub(super) const QUEUE_SPANS: usize = 8192;
/// Most spans that go out in one export.
const BATCH_SPANS: usize = 1024;
/// How long a batch waits for more.
const GATHER: Duration = Duration::from_secs(1);
/// How often a batch is sent before it is dropped.
const TRIES: u32 = 4;
/// The pause after the first failure; each that follows is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last spans.
const LAST_EXPORTS: Duration = Duration::from_secs(2);

/// Sends spans until its end is asked for.
pub(crate) struct Exporter {
    spans: mpsc::Receiver<Span>,
    collector: Collector,
    service_name: String,
    batch: Vec<Span>,
    /// Encoded, and not taken by the collector yet.
    pending: Option<Pending>,
    is_failing: bool,
}

struct Pending {
    body: Bytes,
    spans: usize,
}

impl Exporter {
    pub(super) fn new(
        spans: mpsc::Receiver<Span>,
        endpoint: &CanonicalUrl,
        options: &TraceOptions,
    ) -> Result<Self, TracesError> {
        Ok(Self {
            spans,
            collector: Collector::new(endpoint, options.headers_file.as_deref())?,
            service_name: options.service_name.clone(),
            batch: Vec::new(),
            pending: None,
            is_failing: false,
        })
    }

    /// Exports what comes until `ended` is cancelled, and then what is left, for two seconds at most.
    pub(crate) async fn run(mut self, ended: CancellationToken) {
        while ended.run_until_cancelled(self.step()).await.is_some() {}
        // Nobody else is asked whether it was in time: what is left says so.
        let _in_time = tokio::time::timeout(LAST_EXPORTS, self.flush()).await;
        let left = self.left();
        if left > 0 {
            dropped("failed", left);
            warn!(spans = left, "spans were dropped: the collector did not take them before the end");
        }
    }

    /// One batch from its first span to its end. Nothing is lost when it is broken off.
    async fn step(&mut self) {
        if self.pending.is_none() {
            self.receive().await;
            // What comes within a second goes along.
            let _full = tokio::time::timeout(GATHER, self.fill()).await;
            self.pack();
        }
        self.deliver().await;
    }

    async fn fill(&mut self) {
        while self.batch.len() < BATCH_SPANS {
            self.receive().await;
        }
    }

    /// Waits for spans, and takes as many as the batch has room for.
    async fn receive(&mut self) {
        defect!(unless self.batch.len() <= BATCH_SPANS, "more spans in a batch than it may have");
        let room = BATCH_SPANS.saturating_sub(self.batch.len());
        if room > 0 && self.spans.recv_many(&mut self.batch, room).await == 0 {
            // No tracer is left, and so no further span comes.
            std::future::pending().await
        }
    }

    fn pack(&mut self) {
        defect!(unless self.pending.is_none(), "a batch of spans in the place of one that was not sent");
        let spans = self.batch.len();
        if spans > 0 {
            let body = encoded(std::mem::take(&mut self.batch), &self.service_name).into();
            self.pending = Some(Pending { body, spans });
        }
    }

    /// Tries until the batch is taken, refused or tried often enough.
    async fn deliver(&mut self) {
        let mut pause = FIRST_PAUSE;
        for left in (0..TRIES).rev() {
            let Some(failure) = self.try_once().await else { return };
            // No pause after the last try, nor where the same batch would be refused again.
            if left == 0 || !failure.may_heal {
                break;
            }
            tokio::time::sleep(pause.max(failure.retry_after.unwrap_or_default())).await;
            pause *= 2;
        }
        if let Some(Pending { spans, .. }) = self.pending.take() {
            dropped("failed", spans);
        }
    }

    /// Sends what is pending; nothing is pending any more when it was taken.
    async fn try_once(&mut self) -> Option<ExportFailure> {
        let Pending { body, spans } = self.pending.as_ref()?;
        // The bytes are shared. The batch stays pending until it is taken, because this future may be dropped.
        let (body, spans) = (body.clone(), *spans);
        match self.collector.export(body).await {
            Ok(rejected) => {
                let spans = u64::try_from(spans).unwrap_or(u64::MAX);
                // A number that the collector says: no more can be rejected than was sent.
                let rejected = rejected.min(spans);
                TraceSpans { result: "rejected", count: rejected }.emit();
                TraceSpans { result: "exported", count: spans - rejected }.emit();
                self.pending = None;
                if std::mem::take(&mut self.is_failing) {
                    info!("the collector takes traces again");
                }
                None
            }
            Err(failure) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let reason = &failure.reason;
                    warn!(%reason, "traces cannot be exported: spans wait for a while and are then dropped");
                }
                Some(failure)
            }
        }
    }

    /// Exports everything that is there, until the first failure.
    async fn flush(&mut self) {
        loop {
            // One try for each batch: the end of the process waits for them a short time only.
            if self.try_once().await.is_some() {
                return;
            }
            while self.batch.len() < BATCH_SPANS
                && let Ok(span) = self.spans.try_recv()
            {
                self.batch.push(span);
            }
            if self.batch.is_empty() {
                return;
            }
            self.pack();
        }
    }

    pub(super) fn left(&self) -> usize {
        self.spans.len() + self.batch.len() + self.pending.as_ref().map_or(0, |pending| pending.spans)
    }
}

fn dropped(result: &'static str, spans: usize) {
    TraceSpans { result, count: u64::try_from(spans).unwrap_or(u64::MAX) }.emit();
}
