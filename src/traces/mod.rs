//! Traces of events, for a collector that takes OTLP over HTTP: a span for the acceptance of an event, and one for each
//! attempt to deliver it.
//!
//! ```text
//! ingest, dispatch -> Tracer -> bounded queue -> Exporter -> collector
//! ```
//!
//! The trace is the producer's where its `traceparent` says that it is sampled; an event without one may begin a trace
//! of its own. The `traceparent` that is kept with the event names the span of its acceptance, the one that goes out
//! with an attempt names the span of the attempt. Nobody waits for the collector: what finds the queue full is dropped
//! and counted.
//!
//! Without the feature `otel` of the package a [`Tracer`] does nothing, and takes no room and no time.
//!
//! Must not know: how events arrive, are limited or sent. Spans carry no path, no query, no header and no body.

#[cfg(feature = "otel")]
mod collector;
#[cfg(feature = "otel")]
mod context;
#[cfg(feature = "otel")]
mod exporter;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod spans;
#[cfg(test)]
#[cfg(feature = "otel")]
mod tests;
#[cfg(feature = "otel")]
mod tracer;

use std::path::PathBuf;

use crate::event::CanonicalUrl;

#[cfg(feature = "otel")]
pub(crate) use exporter::Exporter;
#[cfg(not(feature = "otel"))]
pub(crate) use off::{Attempt, Exporter, Tracer, open};
#[cfg(feature = "otel")]
pub(crate) use tracer::{Attempt, Tracer, open};

/// Where spans go, and which traces are recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceOptions {
    /// The base of the collector's addresses, without `/v1/traces`; without one nothing is traced.
    pub endpoint: Option<CanonicalUrl>,
    /// Lines `name: value` that go out with each export: they may be secret.
    pub headers_file: Option<PathBuf>,
    /// What the spans say whose they are.
    pub service_name: String,
    /// Which share of the events without a `traceparent` begins a trace, from 0 to 1.
    pub sample_ratio: f64,
}

/// Why traces cannot be exported; without the feature nothing can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The file of headers cannot be read.
    #[cfg(feature = "otel")]
    #[error("traces.headers_file {}: {reason}", path.display())]
    HeadersFile {
        /// Path of the file, as `traces.headers_file` names it.
        path: PathBuf,
        /// What is wrong with it; none of its text.
        reason: String,
    },
    /// The client cannot be set up, for example because the system has no CA certificates.
    #[cfg(feature = "otel")]
    #[error("the client for traces.endpoint cannot be set up: {reason}")]
    Client {
        /// The reason that the HTTP client gives.
        reason: String,
    },
}

impl TracesError {
    /// Whether another configuration is the way out.
    #[must_use]
    pub const fn is_configured(&self) -> bool {
        match *self {
            #[cfg(feature = "otel")]
            Self::HeadersFile { .. } => true,
            #[cfg(feature = "otel")]
            Self::Client { .. } => false,
        }
    }
}
