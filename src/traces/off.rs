//! The same words in a program that was built without the feature `otel`: none of them does anything.

use std::time::Duration;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;

use super::{TraceOptions, TracesError};
use crate::clock::{Clock, Timestamp};
use crate::event::{Entry, Event, EventId, Lane, Outcome};
use crate::telemetry::EventSource;

/// Stands for the tracer, and begins no span.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tracer(());

/// Stands for the spans of one acceptance.
#[derive(Debug)]
pub(crate) struct Accepting;

/// Stands for the span of one attempt.
#[derive(Debug)]
pub(crate) struct Attempt;

/// Has no value: without the feature nothing is exported.
#[derive(Debug)]
pub(crate) enum Exporter {}

/// A tracer alone: the configuration has refused an endpoint before.
///
/// # Errors
/// None.
pub(crate) fn open(
    _options: &TraceOptions,
    _clock: Clock,
    _dice: fastrand::Rng,
) -> Result<(Tracer, Option<Exporter>), TracesError> {
    Ok((Tracer(()), None))
}

impl Tracer {
    /// Leaves the events as they are.
    #[must_use]
    pub(crate) fn accepting<'a>(
        &self,
        _source: EventSource,
        _started_at: Timestamp,
        _events: impl Iterator<Item = (&'a Lane, &'a mut Event)>,
    ) -> Accepting {
        Accepting
    }

    /// Leaves the headers as they are.
    #[must_use]
    pub(crate) fn attempt(
        &self,
        _entry: &Entry,
        _lane: &Lane,
        _waited: Duration,
        _headers: &mut HeaderMap,
    ) -> Attempt {
        Attempt
    }
}

impl Accepting {
    /// Ends no span, as none was begun.
    pub(crate) fn accepted(self, _answers: impl Iterator<Item = Option<(EventId, bool)>>) {}
}

impl Attempt {
    /// Ends no span, as none was begun.
    pub(crate) fn end(&mut self, _outcome: Option<&Outcome>, _took: Duration) {}
}

impl Exporter {
    /// Cannot be called, as there is no exporter.
    pub(crate) async fn run(self, _ended: CancellationToken) {
        match self {}
    }
}
