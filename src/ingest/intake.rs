//! The one way into the queue that all doors share: egress check, routing, the trial by limits that turn calls away,
//! durable acceptance, counting.
//!
//! Must not know: how events arrive or how answers are written.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::{Clock, Timestamp};
use crate::event::{CanonicalUrl, Event, EventId, Lane};
use crate::ingest::accepted::Lines;
use crate::ingest::decode::{Decoded, Decoder, Defaults};
use crate::ingest::doc::OwnRefusals;
use crate::ingest::problems::{
    conflict, defect, internal, is_answered, is_late, no_lane, overloaded, queue_problem, store_slow,
};
use crate::ingest::prospects::{Doomed, Prospects, Refusals, doomed};
use crate::ingest::trial::{is_tried, keep};
use crate::limit::{Admission, Forecast, Outlooks};
use crate::policy::{Policies, Runtime};
use crate::problem::Problem;
use crate::queue::{Accept, Queue, Standing};
use crate::store::Appended;
use crate::telemetry::{EventsEnqueued, EventsRejected, Source};

/// What becomes of an event that no deployed policy governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// It is refused: deployed policies are the allow-list.
    Refuse,
    /// It is sent without limits.
    Pass,
}

/// Refuses urls whose literal address may not be called, with the reason.
pub type EgressCheck = Arc<dyn Fn(&CanonicalUrl) -> Result<(), String> + Send + Sync>;

/// What the intake works with.
pub struct IntakeParts {
    /// Takes the events that pass the door.
    pub queue: Queue,
    /// Decides under which policies an event falls.
    pub policies: Policies,
    /// The clock for ages, due times and ends of life.
    pub clock: Clock,
    /// Labels and life of events that name none.
    pub defaults: Arc<Defaults>,
    /// What becomes of events without a policy.
    pub unmatched: Unmatched,
    /// What becomes of events that would expire before their start.
    pub on_doomed: Doomed,
    /// Which literal addresses may be called.
    pub egress: EgressCheck,
    /// Tries calls that only refusing policies govern.
    pub admission: Arc<dyn Admission>,
    /// How they are told that there is no room.
    pub refusals: Refusals,
    /// What forecasts are made from.
    pub outlooks: Arc<ArcSwap<Outlooks>>,
    /// Cancelled when no more events are taken.
    pub closing: CancellationToken,
    /// Bytes of events that may be under way to the queue at once.
    pub max_bytes_under_way: NonZeroUsize,
    /// How long a request waits for its share of these bytes before it is turned away.
    pub admission_wait: Duration,
}

/// The shared way in. Cheap to clone.
#[derive(Clone)]
pub struct Intake(Arc<Inner>);

struct Inner {
    parts: IntakeParts,
    under_way: Arc<Semaphore>,
    /// Room for requests that are larger than one event.
    large: Semaphore,
    /// Permits in `under_way`; each stands for [`PERMIT_BYTES`].
    permits: u32,
}

const PERMIT_BYTES: usize = 1024;
/// Requests larger than one event that are read or answered at the same time.
const LARGE_REQUESTS: usize = 8;
/// Events that are handed to the queue together have at most about this many bytes: less than what the store
/// makes durable at once, so that each such part is kept or refused as a whole.
const PART_BYTES: usize = 2 << 20;

/// An event that is durable.
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
pub(super) type Verdict = Result<Receipt, Box<Problem>>;

impl Intake {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: IntakeParts) -> Self {
        OwnRefusals::CODES.iter().for_each(|code| EventsRejected::show(code.word));
        let permits =
            u32::try_from(parts.max_bytes_under_way.get().div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let permits = permits.min(u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX));
        let under_way = Arc::new(Semaphore::new(permits as usize));
        Self(Arc::new(Inner { under_way, large: Semaphore::new(LARGE_REQUESTS), permits, parts }))
    }

    pub(super) fn decoder(&self) -> Decoder {
        Decoder::new(self.0.parts.defaults.clone(), &self.0.parts.clock)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.0.parts.policies
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
    pub(super) async fn admit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX).min(self.0.permits);
        self.0.under_way.clone().acquire_many_owned(wanted).await.ok()
    }

    /// The same for requests, which are turned away after a bounded wait. One that the doors have taken is served while
    /// they close, too: its client would have nobody else to ask.
    pub(super) async fn admit_soon(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Box<Problem>> {
        match tokio::time::timeout(self.0.parts.admission_wait, self.admit(bytes)).await {
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

    /// The right to hold a request that is larger than one event; waits as long as [`Intake::admit_soon`].
    pub(super) async fn admit_large(&self) -> Result<SemaphorePermit<'_>, Box<Problem>> {
        match tokio::time::timeout(self.0.parts.admission_wait, self.0.large.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Box::new(overloaded())),
        }
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.0.parts.queue
    }

    /// Where an event stands.
    pub(super) async fn standing(&self, id: EventId) -> Result<Standing, Box<Problem>> {
        let queue = self.queue();
        queue.standing(id).await.map_err(|error| {
            let unread = queue.unread_reason(&error);
            Box::new(unread.map_or_else(|| queue_problem(&error), |reason| Problem::event_unread(&reason)))
        })
    }

    /// Makes events durable and answers for each of them, in order. `share` is held until then.
    ///
    /// Acceptance runs as a task of its own: a caller that goes away cannot stop it half-way.
    pub(super) async fn take(
        &self,
        items: Vec<Result<Decoded, Box<Problem>>>,
        source: Source,
        share: OwnedSemaphorePermit,
    ) -> Vec<Verdict> {
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
                // Without a panic the process ends.
                let problem = if error.is_panic() { defect("a panic in an acceptance") } else { internal() };
                (0..refusals).map(|_| Err(Box::new(problem.clone()))).collect()
            }
        }
    }

    /// Refuses everything while the store as a whole is in doubt.
    pub(super) fn check_held(&self) -> Result<(), Box<Problem>> {
        let reason = self.0.parts.queue.doubts().store_held();
        reason.map_or(Ok(()), |reason| Err(Box::new(Problem::store_held(&reason))))
    }

    async fn accept(&self, items: Vec<Result<Decoded, Box<Problem>>>, source: Source) -> Vec<Verdict> {
        let parts = &self.0.parts;
        if let Err(held) = self.check_held() {
            // Nothing is known about what governs an event: none of them is judged.
            let verdicts: Vec<Verdict> = items.iter().map(|_| Err(held.clone())).collect();
            count(&verdicts, source);
            return verdicts;
        }
        let (runtime, now) = (parts.policies.runtime(), parts.clock.now());
        let mut prospects = Prospects::new(&parts.queue, &runtime, parts.outlooks.load_full(), now);
        let mut verdicts = Vec::with_capacity(items.len());
        let mut batch = Vec::with_capacity(items.len());
        let mut places = Vec::with_capacity(items.len());
        for item in items {
            let verdict = item.and_then(|decoded| {
                let lane = self.route(&runtime, &decoded.event)?;
                let forecast = prospects.next(&lane, &decoded.event);
                let Event { due_at, expires_at, .. } = decoded.event;
                // A call tried at the door is refused in the words of the dialect that owns the limit.
                let judged = parts.on_doomed == Doomed::Refuse && !is_tried(&runtime, &lane, due_at);
                if forecast.expires_first && judged {
                    return Err(Box::new(doomed(forecast, expires_at)));
                }
                places.push(verdicts.len());
                batch.push(Accept { lane: lane.clone(), event: decoded.event, dedup: decoded.dedup });
                // The id is put in below.
                let id = EventId::from_bytes([0; 16]);
                Ok(Receipt { id, duplicate: false, lane, due_at, expires_at, forecast })
            });
            verdicts.push(verdict);
        }
        let promised = self.try_limits(&runtime, &mut batch, &mut places, &mut verdicts).await;
        let mut places = places.into_iter();
        let mut is_slow = false;
        for part in cut(batch) {
            let here = places.by_ref().take(part.len()).collect::<Vec<_>>();
            // A store that did not answer in time is not waited for once more by the same caller.
            let outcome = if is_slow { Err(Box::new(store_slow())) } else { self.enqueue(part).await };
            is_slow |= outcome.as_ref().is_err_and(|problem| is_late(problem));
            for (nth, place) in here.into_iter().enumerate() {
                let Some(verdict) = verdicts.get_mut(place) else { continue };
                match &outcome {
                    Ok(appended) => settle(verdict, appended.get(nth)),
                    Err(problem) => *verdict = Err(problem.clone()),
                }
            }
        }
        keep(promised, &verdicts);
        count(&verdicts, source);
        verdicts
    }

    async fn enqueue(&self, batch: Vec<Accept>) -> Result<Vec<Appended>, Box<Problem>> {
        let lines = Lines::of(&batch);
        let accepted = self.0.parts.queue.accept(batch).await;
        let appended = accepted.map_err(|error| {
            if !is_answered(&error) {
                warn!(%error, "events could not be made durable");
            }
            Box::new(queue_problem(&error))
        })?;
        lines.tell(&appended);
        Ok(appended)
    }

    fn route(&self, runtime: &Runtime, event: &Event) -> Result<Lane, Box<Problem>> {
        if let Err(reason) = (self.0.parts.egress)(&event.url) {
            let rule = format!("names an address that must not be called: {reason}");
            return Err(Box::new(
                Problem::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "egress_denied",
                    "The address may not be called",
                    format!("the url {rule}; list its block under egress.allow if it is meant"),
                )
                .field("/url", rule),
            ));
        }
        match runtime.route(&event.method, &event.url, &event.labels) {
            Ok(Some(governed)) => return Ok(self.queue().lane_at(&governed, &event.url)),
            Ok(None) => {}
            Err(error) => return Err(Box::new(no_lane(&error))),
        }
        if self.0.parts.unmatched == Unmatched::Pass {
            let free = Lane::of(Vec::new()).map_err(|_| Box::new(defect("no lane for no policy")))?;
            return Ok(self.queue().lane_at(&free, &event.url));
        }
        let (method, url) = (&event.method, event.url.without_query());
        Err(Box::new(
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "unmatched",
                "No deployed policy governs the call",
                format!(
                    "no deployed policy matches {method} {url}; deploy one whose pattern, methods and labels do, \
                     or set queue.unmatched = \"pass\""
                ),
            )
            .field("/url", "matches no deployed policy"),
        ))
    }
}

/// Cuts a batch into parts of at most [`PART_BYTES`], in order.
fn cut(batch: Vec<Accept>) -> Vec<Vec<Accept>> {
    let mut parts: Vec<Vec<Accept>> = Vec::new();
    let mut room = 0;
    for accept in batch {
        let bytes = weight(&accept.event);
        match parts.last_mut().filter(|_| bytes <= room) {
            Some(part) => {
                room -= bytes;
                part.push(accept);
            }
            None => {
                room = PART_BYTES.saturating_sub(bytes);
                parts.push(vec![accept]);
            }
        }
    }
    parts
}

/// About what an event takes at rest.
fn weight(event: &Event) -> usize {
    let headers: usize =
        event.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 16).sum();
    let labels: usize = event.labels.iter().map(|(key, value)| key.len() + value.len() + 16).sum();
    event.body.len() + event.url.as_str().len() + headers + labels + 256
}

fn settle(verdict: &mut Verdict, appended: Option<&Appended>) {
    match (appended, verdict.as_mut()) {
        (Some(Appended::New(id)), Ok(receipt)) => receipt.id = *id,
        (Some(Appended::Duplicate(id)), Ok(receipt)) => {
            receipt.id = *id;
            receipt.duplicate = true;
        }
        (Some(Appended::Conflict(id)), _) => *verdict = Err(Box::new(conflict(*id))),
        // The queue answers once per entry, and only accepted verdicts have a place.
        _ => *verdict = Err(Box::new(defect("an accepted event without an answer of the queue"))),
    }
}

/// Counts runs of equal labels, of which a batch has few.
fn count(verdicts: &[Verdict], source: Source) {
    for run in verdicts.chunk_by(same_count) {
        let count = u64::try_from(run.len()).unwrap_or(u64::MAX);
        match run.first() {
            Some(Ok(receipt)) if !receipt.duplicate => {
                EventsEnqueued { lane: &receipt.lane, source, count }.emit();
            }
            Some(Err(problem)) => EventsRejected { reason: problem.code, count }.emit(),
            Some(Ok(_)) | None => {}
        }
    }
}

fn same_count(a: &Verdict, b: &Verdict) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a.duplicate == b.duplicate && a.lane.key() == b.lane.key(),
        (Err(a), Err(b)) => a.code == b.code,
        _ => false,
    }
}
