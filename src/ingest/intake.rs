//! The one way into the queue that all doors share: egress check, routing, the trial by limits that turn calls away,
//! durable acceptance, counting.
//!
//! Must not know: how events arrive or how answers are written.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::clock::{Clock, Timestamp};
use crate::event::{Event, EventId, Lane};
use crate::ingest::accepted::AcceptedLog;
use crate::ingest::answer;
use crate::ingest::cloudevents::Targets;
use crate::ingest::decode::{Decoded, Decoder, OfRequest};
use crate::ingest::doc::OwnRefusals;
use crate::ingest::problems::{
    conflict, internal, is_answered, is_late, no_route, overloaded, queue_problem, store_slow,
};
use crate::ingest::prospects::{Doomed, Prospects, Refusals, StoppedUntil};
use crate::ingest::route::{CallRouter, EndpointOf};
use crate::ingest::trial::{is_tried, keep};
use crate::limit::{Admission, Forecast, Outlooks};
use crate::policy::{Policies, Runtime};
use crate::problem::Problem;
use crate::queue::{NewEvent, Queue, ReadAhead, Standing};
use crate::store::Appended;
use crate::telemetry::{EventSource, EventsRejected, defect};
use crate::traces::Tracer;

/// The parts that an intake is built from.
pub(crate) struct IntakeParts {
    /// Finds the lanes of events in the queue that takes them.
    pub router: CallRouter,
    /// Decides under which policies an event falls.
    pub policies: Policies,
    /// The clock for ages, due times and ends of life.
    pub clock: Clock,
    /// What becomes of events that would expire before their start.
    pub on_doomed: Doomed,
    /// What is called for the CloudEvents of which sources.
    pub targets: Arc<ArcSwap<Targets>>,
    /// Tries calls that only refusing policies govern.
    pub admission: Arc<dyn Admission>,
    /// Takes up what the queue hands out.
    pub read_ahead: Arc<dyn ReadAhead>,
    /// How a call is refused for which a limit has no room.
    pub refusals: Refusals,
    /// The outlooks of lanes and limiters that forecasts are made from; the housekeeper replaces them.
    pub outlooks: Arc<ArcSwap<Outlooks>>,
    /// Until when emergency stops hold calls back.
    pub stopped: StoppedUntil,
    /// Begins the spans of acceptances, where spans are exported.
    pub tracer: Tracer,
    /// Cancelled when no more events are taken.
    pub closing: CancellationToken,
    /// Bytes of events that may be under way to the queue at once.
    pub max_bytes_under_way: NonZeroUsize,
    /// How long a request waits for its share of these bytes before it is turned away.
    pub bytes_wait: Duration,
}

/// The shared way in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Intake(Arc<Inner>);

struct Inner {
    parts: IntakeParts,
    under_way: Arc<Semaphore>,
    /// Room for requests that are larger than one event.
    large: Semaphore,
    /// Permits in `under_way`; each stands for [`PERMIT_BYTES`].
    permits: u32,
}

/// Bytes that one permit stands for: permits are asked for in 32 bits, which a number of bytes may exceed.
const PERMIT_BYTES: usize = 1024;
/// Requests larger than one event that are read or answered at the same time: at their greatest length, 64 MiB in all.
const LARGE_REQUESTS: usize = 8;
/// Events that are handed to the queue together have at most about this many bytes: less than what the store
/// makes durable at once, so that each such part is kept or refused as a whole.
const PART_BYTES: usize = 2 << 20;

/// What is returned for an event that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    pub id: EventId,
    /// The same key and content came before; nothing was added.
    pub duplicate: bool,
    pub lane: Lane,
    pub due_at: Option<Timestamp>,
    pub expires_at: Timestamp,
    pub forecast: Forecast,
}

/// What a door answers for one event.
pub(super) type IntakeAnswer = Result<Receipt, Box<Problem>>;

impl Intake {
    /// An intake with nothing under way. Shows a counter at zero for each code by which the door refuses.
    #[must_use]
    pub(crate) fn new(parts: IntakeParts) -> Self {
        OwnRefusals::CODES.iter().for_each(|code| EventsRejected::show(code.word));
        let permits =
            u32::try_from(parts.max_bytes_under_way.get().div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        // The semaphore panics above its own bound.
        let permits = permits.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let under_way = Arc::new(Semaphore::new(permits as usize));
        Self(Arc::new(Inner { under_way, large: Semaphore::new(LARGE_REQUESTS), permits, parts }))
    }

    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(self.0.parts.router.defaults.clone(), &self.0.parts.clock)
    }

    /// What a request with these headers says about all of its events.
    pub(super) fn of_request(&self, headers: &HeaderMap) -> Result<OfRequest, Box<Problem>> {
        self.0.parts.router.of_request(headers)
    }

    /// What is called at present for the CloudEvents of which sources.
    pub(super) fn targets(&self) -> Arc<Targets> {
        self.0.parts.targets.load_full()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.0.parts.policies
    }

    pub(super) fn endpoint_of(&self) -> &EndpointOf {
        &self.0.parts.router.endpoint_of
    }

    pub(super) fn refusals(&self) -> &Refusals {
        &self.0.parts.refusals
    }

    pub(super) fn admission(&self) -> &dyn Admission {
        &*self.0.parts.admission
    }

    pub(super) fn closing(&self) -> &CancellationToken {
        &self.0.parts.closing
    }

    /// A share of the bytes under way, as soon as there is one. Streams wait here: their reader stops.
    pub(super) async fn reserve_bytes(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // More permits than there are would never come: such a request waits until it is alone.
        let wanted = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).min(self.0.permits);
        self.0.under_way.clone().acquire_many_owned(wanted).await.ok()
    }

    /// The same for requests, which are turned away after a bounded wait. One that the doors have taken is served while
    /// they close, too: its client could not ask another server.
    pub(super) async fn reserve_bytes_soon(
        &self,
        bytes: usize,
    ) -> Result<OwnedSemaphorePermit, Box<Problem>> {
        match tokio::time::timeout(self.0.parts.bytes_wait, self.reserve_bytes(bytes)).await {
            Ok(Some(share)) => Ok(share),
            Ok(None) | Err(_) => Err(Box::new(overloaded())),
        }
    }

    #[cfg(test)]
    pub(super) fn free_permits(&self) -> usize {
        self.0.under_way.available_permits()
    }

    #[cfg(test)]
    pub(super) fn free_large(&self) -> usize {
        self.0.large.available_permits()
    }

    /// The right to hold a request that is larger than one event; waits as long as [`Intake::reserve_bytes_soon`].
    pub(super) async fn reserve_large(&self) -> Result<SemaphorePermit<'_>, Box<Problem>> {
        match tokio::time::timeout(self.0.parts.bytes_wait, self.0.large.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Box::new(overloaded())),
        }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.0.parts.router.queue
    }

    /// Where an event stands, by the queue and by what is read ahead. An error means that the store could not say.
    pub(super) async fn standing(&self, id: EventId) -> Result<Standing, Box<Problem>> {
        let queue = self.queue();
        queue.standing(id, &*self.0.parts.read_ahead).await.map_err(|error| {
            let unread = queue.unread_reason(&error);
            Box::new(unread.map_or_else(|| queue_problem(&error), |reason| Problem::event_unread(&reason)))
        })
    }

    /// From when on the end of every event is known; `None` when that is all of them.
    pub(super) fn known_since(&self) -> Option<Timestamp> {
        self.queue().known_since()
    }

    /// The same as JSON, with what is kept of its attempts, and of an event that has ended with its last redrive; `None`
    /// when it is unknown.
    pub(super) async fn shown(&self, id: EventId) -> Result<Option<Vec<u8>>, Box<Problem>> {
        let standing = self.standing(id).await?;
        let last = match standing {
            Standing::Settled(_) => self.queue().last_redrive(id).await,
            _ => Ok(None),
        };
        let last = last.map_err(|error| Box::new(queue_problem(&error)))?;
        let tried = self.queue().attempts_of(standing.name_of(id)).await;
        let (runtime, about) = (self.policies().runtime(), &self.refusals().about);
        Ok(answer::state(id, &standing, &runtime, about, self.endpoint_of(), last.as_ref(), tried))
    }

    /// Makes events durable and answers for each of them, in order. `share` is held until then.
    ///
    /// Acceptance runs as a task of its own: a caller that goes away cannot stop it half-way.
    pub(super) async fn take(
        &self,
        items: Vec<Result<Decoded, Box<Problem>>>,
        source: EventSource,
        share: OwnedSemaphorePermit,
    ) -> Vec<IntakeAnswer> {
        let intake = self.clone();
        let refusals = items.len();
        let task = tokio::spawn(async move {
            let verdicts = intake.accept(items, source).await;
            drop(share);
            verdicts
        });
        match task.await {
            Ok(verdicts) => verdicts,
            Err(error) => {
                // A panic was counted where it happened; without one the process ends.
                if error.is_panic() {
                    error!("an acceptance panicked: whether its events were kept is not known");
                }
                (0..refusals).map(|_| Err(Box::new(internal()))).collect()
            }
        }
    }

    /// Refuses everything while the store as a whole is in doubt.
    pub(super) fn check_held(&self) -> Result<(), Box<Problem>> {
        let reason = self.queue().doubts().store_held();
        reason.map_or(Ok(()), |reason| Err(Box::new(Problem::store_held(&reason))))
    }

    async fn accept(
        &self,
        items: Vec<Result<Decoded, Box<Problem>>>,
        source: EventSource,
    ) -> Vec<IntakeAnswer> {
        let parts = &self.0.parts;
        if let Err(held) = self.check_held() {
            // Nothing is known about what governs an event: none of them is judged.
            let verdicts: Vec<IntakeAnswer> = items.iter().map(|_| Err(held.clone())).collect();
            count_refused(&verdicts);
            return verdicts;
        }
        // The same policies and the same moment for the whole batch.
        let (runtime, now) = (parts.policies.runtime(), parts.clock.now());
        let mut prospects =
            Prospects::new(self.queue(), &runtime, parts.outlooks.load_full(), &parts.stopped, now);
        let mut verdicts = Vec::with_capacity(items.len());
        let mut batch = Vec::with_capacity(items.len());
        let mut places = Vec::with_capacity(items.len());
        for item in items {
            let verdict = item.and_then(|mut decoded| {
                let lane = self.route(&runtime, &mut decoded)?;
                let forecast = prospects.next(&lane, &decoded.event);
                let Event { due_at, expires_at, .. } = decoded.event;
                // A call tried at the door is refused in the words of the dialect that owns the limit.
                let judged = parts.on_doomed == Doomed::Refuse && !is_tried(&runtime, &lane, due_at);
                if forecast.expires_first && judged {
                    let about = &parts.refusals.about;
                    return Err(Box::new(prospects.doomed(forecast, &lane, &decoded.event, about)));
                }
                // Refused events have a place among the answers, but none in the batch.
                places.push(verdicts.len());
                let Decoded { event, dedup, .. } = decoded;
                batch.push(NewEvent { lane: lane.clone(), event, dedup, source });
                // The id is put in below.
                let id = EventId::from_bytes([0; 16]);
                Ok(Receipt { id, duplicate: false, lane, due_at, expires_at, forecast })
            });
            verdicts.push(verdict);
        }
        // After every other check: what is promised to a call that is then refused is missing to others until it is
        // given back.
        let promised = self.try_limits(&runtime, &mut batch, &mut places, &mut verdicts).await;
        defect!(unless places.len() == batch.len(), "events of a batch without a place among the answers");
        let mut places = places.into_iter();
        let mut is_slow = false;
        for part in cut(batch) {
            let here = places.by_ref().take(part.len()).collect::<Vec<_>>();
            // A store that did not answer in time is not waited for once more by the same caller.
            let outcome =
                if is_slow { Err(Box::new(store_slow())) } else { self.enqueue(part, source, now).await };
            is_slow |= outcome.as_ref().is_err_and(|problem| is_late(problem));
            for (nth, place) in here.into_iter().enumerate() {
                let Some(verdict) = verdicts.get_mut(place) else {
                    defect!("a place behind the last answer");
                    continue;
                };
                match &outcome {
                    Ok(appended) => record_answer(verdict, appended.get(nth)),
                    Err(problem) => *verdict = Err(problem.clone()),
                }
            }
        }
        keep(promised, &verdicts);
        count_refused(&verdicts);
        verdicts
    }

    /// The events have been judged since `started_at`.
    async fn enqueue(
        &self,
        mut batch: Vec<NewEvent>,
        source: EventSource,
        started_at: Timestamp,
    ) -> Result<Vec<Appended>, Box<Problem>> {
        let events = batch.iter_mut().map(|new| (&new.lane, &mut new.event));
        let spans = self.0.parts.tracer.accepting(source, started_at, events);
        let lines = AcceptedLog::of(&batch);
        let accepted = self.queue().accept(batch).await;
        let appended = accepted.map_err(|error| {
            if !is_answered(&error) {
                warn!(%error, "events could not be made durable");
            }
            Box::new(queue_problem(&error))
        })?;
        lines.tell(&appended);
        spans.accepted(appended.iter().map(|appended| match *appended {
            Appended::New(id) => Some((id, false)),
            Appended::Duplicate(id) => Some((id, true)),
            Appended::Conflict(_) => None,
        }));
        Ok(appended)
    }

    /// The lane of an event, which gets the labels that its call implies.
    fn route(&self, runtime: &Runtime, decoded: &mut Decoded) -> Result<Lane, Box<Problem>> {
        let parts = &self.0.parts;
        let implied = parts.router.implied(&decoded.call());
        let event = &mut decoded.event;
        let lane = implied.and_then(|implied| {
            if let Some(labels) = implied {
                event.labels = labels;
            }
            parts.router.route(runtime, &event.method, &event.url, &event.labels, decoded.priority)
        });
        lane.map_err(|refused| Box::new(no_route(&refused, event, runtime, &parts.refusals.about)))
    }

    /// The lane under the policies of `runtime` of an event that was not handed in yet, if there is one.
    pub(super) fn lane(&self, runtime: &Runtime, decoded: &Decoded) -> Option<Lane> {
        let event = &decoded.event;
        let implied = self.0.parts.router.implied(&decoded.call()).ok()?;
        let labels = implied.as_ref().unwrap_or(&event.labels);
        runtime.route(&event.method, &event.url, labels).ok().flatten()
    }
}

/// Cuts a batch into parts of at most [`PART_BYTES`], in order.
fn cut(batch: Vec<NewEvent>) -> Vec<Vec<NewEvent>> {
    let count = batch.len();
    let mut parts: Vec<Vec<NewEvent>> = Vec::new();
    let mut room = 0;
    for accept in batch {
        let bytes = weight(&accept.event);
        match parts.last_mut().filter(|_| bytes <= room) {
            Some(part) => {
                room -= bytes;
                part.push(accept);
            }
            None => {
                // An event that is larger than a part gets one of its own.
                room = PART_BYTES.saturating_sub(bytes);
                parts.push(vec![accept]);
            }
        }
    }
    defect!(unless parts.iter().map(Vec::len).sum::<usize>() == count, "an event of a batch that is in no part of it");
    parts
}

/// About what an event takes at rest.
fn weight(event: &Event) -> usize {
    let headers: usize =
        event.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 16).sum();
    let labels: usize = event.labels.iter().map(|(key, value)| key.len() + value.len() + 16).sum();
    event.body.len() + event.url.called().as_str().len() + headers + labels + 256
}

fn record_answer(verdict: &mut IntakeAnswer, appended: Option<&Appended>) {
    match (appended, verdict.as_mut()) {
        (Some(Appended::New(id)), Ok(receipt)) => receipt.id = *id,
        (Some(Appended::Duplicate(id)), Ok(receipt)) => {
            receipt.id = *id;
            receipt.duplicate = true;
        }
        (Some(Appended::Conflict(id)), _) => *verdict = Err(Box::new(conflict(*id))),
        // The queue answers once per entry, and only accepted verdicts have a place.
        _ => {
            defect!("an accepted event without an answer of the queue");
            *verdict = Err(Box::new(internal()));
        }
    }
}

/// Counts refusals; what is accepted counts in the queue, where it becomes durable. A batch has few different ones.
fn count_refused(verdicts: &[IntakeAnswer]) {
    let code = |verdict: &IntakeAnswer| verdict.as_ref().err().map(|problem| problem.code);
    for run in verdicts.chunk_by(|a, b| code(a) == code(b)) {
        if let Some(reason) = run.first().and_then(code) {
            EventsRejected { reason, count: u64::try_from(run.len()).unwrap_or(u64::MAX) }.emit();
        }
    }
}
