//! Where spans begin and end: at the door, and around each attempt.
//!
//! Must not know: where spans go.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::sync::mpsc;

use super::context::{Context, Ids, state_in};
use super::exporter::QUEUE_SPANS;
use super::spans::{AcceptanceSpan, AttemptMade, Span, When};
use super::{Exporter, TraceOptions, TracesError};
use crate::clock::{Clock, Timestamp};
use crate::event::{CanonicalUrl, Entry, Event, EventId, Lane, Outcome};
use crate::telemetry::{EventSource, TraceSpans};

/// Begins spans. Cheap to clone; without an endpoint it begins none.
#[derive(Clone, Default)]
pub(crate) struct Tracer(Option<Arc<SpanRecorder>>);

struct SpanRecorder {
    spans: mpsc::Sender<Span>,
    ids: Ids,
    sample_ratio: f64,
    clock: Clock,
}

/// The spans of events on their way into the queue.
pub(crate) struct Accepting(Option<TracedBatch>);

struct TracedBatch {
    recorder: Arc<SpanRecorder>,
    source: EventSource,
    started_at: Timestamp,
    /// In the order of the events; `None` for those that are not traced.
    doors: Vec<Option<TracedEvent>>,
}

/// One event of a sampled trace on its way into the queue.
struct TracedEvent {
    context: Context,
    parent: Option<u64>,
    state: String,
    lane: Lane,
}

/// The span of an attempt that is being made.
pub(crate) struct Attempt(Option<Box<AttemptUnderWay>>);

struct AttemptUnderWay {
    recorder: Arc<SpanRecorder>,
    context: Context,
    parent: u64,
    state: String,
    event_id: EventId,
    lane: Lane,
    attempt: u16,
    method: Method,
    url: CanonicalUrl,
    waited: Duration,
}

/// A tracer, and what takes its spans to the collector.
///
/// # Errors
/// [`TracesError`] when the headers cannot be read or the client cannot be set up; nothing has been sent then.
pub(crate) fn open(
    options: &TraceOptions,
    clock: Clock,
    dice: fastrand::Rng,
) -> Result<(Tracer, Option<Exporter>), TracesError> {
    let Some(endpoint) = &options.endpoint else { return Ok((Tracer(None), None)) };
    let (spans, queue) = mpsc::channel(QUEUE_SPANS);
    let exporter = Exporter::new(queue, endpoint, options)?;
    let recorder = SpanRecorder { spans, ids: Ids::new(dice), sample_ratio: options.sample_ratio, clock };
    Ok((Tracer(Some(Arc::new(recorder))), Some(exporter)))
}

impl Tracer {
    /// Begins the spans of the acceptance of events, and leaves in their headers that it is the one to go on from. The
    /// trace is that of the headers where it is sampled; without one some events begin their own.
    #[must_use]
    pub(crate) fn accepting<'a>(
        &self,
        source: EventSource,
        started_at: Timestamp,
        events: impl Iterator<Item = (&'a Lane, &'a mut Event)>,
    ) -> Accepting {
        let Some(recorder) = &self.0 else { return Accepting(None) };
        let doors = events.map(|(lane, event)| recorder.door(lane, &mut event.headers)).collect();
        Accepting(Some(TracedBatch { recorder: Arc::clone(recorder), source, started_at, doors }))
    }

    /// Begins the span of an attempt, and names it in `headers`, which go out. `waited` is the time from the moment at
    /// which the event might go.
    #[must_use]
    pub(crate) fn attempt(
        &self,
        entry: &Entry,
        lane: &Lane,
        waited: Duration,
        headers: &mut HeaderMap,
    ) -> Attempt {
        let Some(recorder) = &self.0 else { return Attempt(None) };
        // Whether it is recorded was decided at the door: an event without a sampled parent is not traced now.
        let Some(parent) = Context::of(headers).filter(|parent| parent.is_sampled()) else {
            return Attempt(None);
        };
        let context = parent.with_span(recorder.ids.span());
        context.put(headers);
        Attempt(Some(Box::new(AttemptUnderWay {
            recorder: Arc::clone(recorder),
            context,
            parent: parent.span,
            state: state_in(headers),
            event_id: entry.name(),
            lane: lane.clone(),
            attempt: entry.tries.and_attempt().attempts(),
            method: entry.event.method.clone(),
            url: entry.event.url.clone(),
            waited,
        })))
    }
}

impl Accepting {
    /// Ends them: the answers are in the order of the events. What is durable has an id, and whether it had come
    /// before; the spans of the others are forgotten.
    pub(crate) fn accepted(self, answers: impl Iterator<Item = Option<(EventId, bool)>>) {
        let Some(TracedBatch { recorder, source, started_at, doors }) = self.0 else { return };
        let when = When { ended_at: recorder.clock.wall(), took: recorder.clock.now().since(started_at) };
        for (door, answer) in doors.into_iter().zip(answers) {
            let (Some(door), Some((event_id, is_duplicate))) = (door, answer) else { continue };
            let TracedEvent { context, parent, state, lane } = door;
            recorder.take(|| {
                let lane = &lane;
                AcceptanceSpan { context, parent, state, source, event_id, lane, is_duplicate }.span(when)
            });
        }
    }
}

impl Attempt {
    /// Ends it, once. Without an outcome it was given up at the end of the process.
    pub(crate) fn end(&mut self, outcome: Option<&Outcome>, took: Duration) {
        let Some(under_way) = self.0.take() else { return };
        let AttemptUnderWay {
            recorder,
            context,
            parent,
            state,
            event_id,
            lane,
            attempt,
            method,
            url,
            waited,
        } = *under_way;
        recorder.take(|| {
            let made = AttemptMade {
                context,
                parent,
                state,
                method: method.as_str(),
                url: &url,
                event_id,
                lane: &lane,
                attempt,
                waited,
                outcome,
            };
            made.span(When { ended_at: recorder.clock.wall(), took })
        });
    }
}

impl SpanRecorder {
    fn door(&self, lane: &Lane, headers: &mut HeaderMap) -> Option<TracedEvent> {
        let (context, parent) = match Context::of(headers) {
            Some(parent) if parent.is_sampled() => (parent.with_span(self.ids.span()), Some(parent.span)),
            // Its producer does not want the trace recorded.
            Some(_) => return None,
            None => (self.ids.root(self.sample_ratio)?, None),
        };
        context.put(headers);
        Some(TracedEvent { context, parent, state: state_in(headers), lane: lane.clone() })
    }

    /// Leaves a span to the exporter, or counts it as dropped. Never waits.
    fn take(&self, span: impl FnOnce() -> Span) {
        // The place first: where there is none the span is not even built.
        match self.spans.try_reserve() {
            Ok(place) => place.send(span()),
            // Nobody waits for the collector: an event is worth more than its span.
            Err(_full) => TraceSpans { result: "queue_full", count: 1 }.emit(),
        }
    }
}
