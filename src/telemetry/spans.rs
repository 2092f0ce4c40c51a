//! Spans of traces, as far as they are counted.

use metrics::counter;

use crate::telemetry::names;

/// Spans were exported, or dropped for a reason.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceSpans {
    /// `exported`, or why they were dropped: `queue_full`, `failed` or `rejected`.
    pub result: &'static str,
    /// Spans that came to this result together.
    pub count: u64,
}

impl TraceSpans {
    /// Adds them to the counter of their result.
    pub(crate) fn emit(&self) {
        counter!(names::TRACE_SPANS.name, "result" => self.result).increment(self.count);
    }

    /// Shows every result before there was a span, also where there will be none.
    pub(crate) fn show() {
        for result in ["exported", "queue_full", "failed", "rejected"] {
            Self { result, count: 0 }.emit();
        }
    }
}
