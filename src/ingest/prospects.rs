//! What is known of events before they are taken in: when they would start at the present limits, and in whose words
//! they are refused.
//!
//! Must not know: how limits count, who keeps them.

use std::sync::Arc;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::event::{Event, Lane, LaneKey};
use crate::limit::{Forecast, LaneOutlook, LimiterFigures, Outlooks, OverLimit};
use crate::policy::Runtime;
use crate::problem::codes::{self, Code};
use crate::problem::{Problem, Refused, Tell};
use crate::queue::Queue;

/// What becomes of an event that would outlive its time before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doomed {
    /// It is taken in: limits may be raised, others may fail.
    Accept,
    /// It is refused with the code `doomed`.
    Refuse,
}

/// Forecasts for the events of one batch.
pub(super) struct Prospects<'a> {
    queue: &'a Queue,
    runtime: &'a Runtime,
    outlooks: Arc<Outlooks>,
    now: Timestamp,
    /// The lane of the event before, and how many wait in it, those of this batch included.
    last: Option<(LaneKey, LaneOutlook, u64)>,
}

impl<'a> Prospects<'a> {
    pub(super) fn new(
        queue: &'a Queue,
        runtime: &'a Runtime,
        outlooks: Arc<Outlooks>,
        now: Timestamp,
    ) -> Self {
        Self { queue, runtime, outlooks, now, last: None }
    }

    /// What is expected of the next event of the batch, were it taken in.
    pub(super) fn next(&mut self, lane: &Lane, event: &Event) -> Forecast {
        // A batch mostly has one lane, whose outlook and backlog are looked up once.
        let known = self.last.take().filter(|(key, ..)| key == lane.key());
        let (key, outlook, ahead) = known.unwrap_or_else(|| {
            let outlook = self.outlooks.of_lane(lane, self.runtime, self.now);
            (lane.key().clone(), outlook, self.queue.waiting_in(lane.key()))
        });
        let forecast = outlook.forecast(ahead, event.due_at, event.expires_at);
        // What is put off takes its turn later.
        self.last = Some((key, outlook, ahead + u64::from(event.due_at.is_none())));
        forecast
    }
}

/// The event would outlive its time before its start.
pub(super) fn doomed(forecast: Forecast, expires_at: Timestamp) -> Problem {
    let (when, seconds) = match forecast.starts_at {
        // The event would be late by this time. An hour at most, because backlogs and limits change.
        Some(at) => (format!("would start at {at}"), at.since(expires_at).as_secs().clamp(1, 3600)),
        None => ("is held without an end".to_owned(), 60),
    };
    let detail = format!(
        "the event {when} at the present limits and expires at {expires_at}; this call was not taken in, come back \
         later, give it a longer ttl_seconds or raise the limits"
    );
    Problem::of(codes::DOOMED, detail).retry_after(seconds)
}

/// In whose words calls are turned away.
#[derive(Clone)]
pub(crate) struct Refusals {
    /// Speaks for the systems that limits come from.
    pub tell: Tell,
    /// Whether single calls are answered exactly as that system would answer them.
    pub as_told: bool,
    /// Headers that are added to the answers to single calls, if any.
    pub usage: Option<UsageHeaders>,
}

/// Headers that show how far the limits of a call are used.
pub(crate) type UsageHeaders = Arc<dyn Fn(&Runtime, &[LimiterFigures]) -> HeaderMap + Send + Sync>;

impl Refusals {
    /// The event is over a limit of a policy that turns calls away.
    pub(super) fn over_limit(&self, over: &OverLimit, runtime: &Runtime, now: Timestamp) -> Problem {
        let OverLimit { policy: id, kind, free_at } = over;
        // Far below what a number of seconds can hold: the longest period is a month.
        let seconds =
            (*free_at < Timestamp::MAX).then(|| free_at.since(now).as_secs_f64().ceil().max(1.0) as u64);
        let detail = match seconds {
            Some(_) => format!(
                "the {} of policy {id} has no room before {free_at}, and the policy turns calls away; this call was \
                 not taken in",
                kind.word()
            ),
            None => format!("policy {id} lets no such call through; this call was not taken in"),
        };
        let policy = runtime.get(id);
        let wording = policy.and_then(|policy| policy.spec.wording.as_ref());
        let told = policy.zip(wording).and_then(|(policy, wording)| {
            let (code, subject) = (kind.code(Some(wording)), &*wording.subject);
            let origin = policy.origin.as_str();
            (self.tell)(&Refused { origin, code, subject, retry_after_seconds: seconds })
        });
        let code = told.as_ref().map_or(kind.own_code(), |told| told.code);
        let detail = told.as_ref().map_or(detail, |told| told.message.clone());
        // Word and status are the limit's or the system's; all such refusals have one title.
        let status = told.as_ref().map_or(codes::OVER_PACE.status, |told| told.uniform_status.as_u16());
        let mut problem = Problem::of(Code { word: code, status, ..codes::OVER_PACE }, detail);
        problem.retry_after_seconds = seconds;
        if let Some(told) = told {
            problem.headers = told.headers.clone();
            problem.instead = self.as_told.then(|| Box::new(told));
        }
        problem
    }
}
