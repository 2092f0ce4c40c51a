//! What is known of events before they are taken in: when they would start at the present limits, and in whose words
//! they are refused.
//!
//! Must not know: how limits count, who keeps them.

use std::num::NonZeroU32;
use std::sync::Arc;

use http::HeaderMap;
use serde_json::Number;

use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, Event, Labels, Lane, LaneKey};
use crate::limit::{Forecast, LaneOutlook, LimitKind, LimiterFigures, Outlooks, OverLimit};
use crate::policy::{Limit, Period, Runtime, RuntimePolicy};
use crate::problem::codes::{self, Code};
use crate::problem::{About, LimitNumbers, NamedPolicy, Problem, RefusalRenderer, RefusedCall};
use crate::queue::Queue;

/// What becomes of an event that would outlive its time before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doomed {
    /// It is taken in: limits may be raised, others may fail.
    Accept,
    /// It is refused with the code `doomed`.
    Refuse,
}

/// Until when an emergency stop holds back the call of an event with these labels, or without an end: it is asked because
/// the outlooks know of stopped lanes only, and of none that has come since they were taken.
pub(crate) type StoppedUntil = Arc<dyn Fn(&CanonicalUrl, &Labels) -> Option<Option<Timestamp>> + Send + Sync>;

/// Forecasts for the events of one batch.
pub(super) struct Prospects<'a> {
    queue: &'a Queue,
    runtime: &'a Runtime,
    outlooks: Arc<Outlooks>,
    stopped: &'a StoppedUntil,
    now: Timestamp,
    /// The lane of the event before, and how many wait in it, those of this batch included.
    last: Option<(LaneKey, LaneOutlook, u64)>,
}

impl<'a> Prospects<'a> {
    pub(super) fn new(
        queue: &'a Queue,
        runtime: &'a Runtime,
        outlooks: Arc<Outlooks>,
        stopped: &'a StoppedUntil,
        now: Timestamp,
    ) -> Self {
        Self { queue, runtime, outlooks, stopped, now, last: None }
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
        (self.stopped)(&event.url, &event.labels).map_or(forecast, |until| forecast.stopped(until))
    }

    /// The refusal of the event that was asked about last: it would outlive its time before its start.
    pub(super) fn doomed(
        &self,
        forecast: Forecast,
        lane: &Lane,
        event: &Event,
        about: &AboutPolicies,
    ) -> Problem {
        let cause = self.last.as_ref().and_then(|(_, outlook, ahead)| {
            let (policy, kind) = outlook.slowest(ahead.saturating_sub(u64::from(event.due_at.is_none())))?;
            Some((self.runtime.get(policy)?, kind))
        });
        let by = match cause {
            Some((policy, Some(kind))) => format!(" by the {} of policy {}", kind.word(), policy.id),
            Some((policy, None)) => format!(" by the pause of policy {}", policy.id),
            None => String::new(),
        };
        let about = About {
            policy: cause.map(|(policy, _)| about.policy(policy)),
            limit: cause.and_then(|(policy, kind)| Some(limit(policy, kind?, lane))),
            ..About::default()
        };
        doomed(forecast, event.expires_at, &by).about(about)
    }
}

/// The event would outlive its time before its start; `by` says what makes it late.
fn doomed(forecast: Forecast, expires_at: Timestamp, by: &str) -> Problem {
    let (when, seconds) = match forecast.starts_at {
        // The event would be late by this time. An hour at most, because backlogs and limits change.
        Some(at) => (format!("would start at {at}{by}"), at.since(expires_at).as_secs().clamp(1, 3600)),
        None => (format!("is held without an end{by}"), 60),
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
    pub render: RefusalRenderer,
    /// Whether single calls are answered exactly as that system would answer them.
    pub as_foreign: bool,
    /// Headers that are added to the answers to single calls, if any.
    pub usage: Option<UsageHeaders>,
    /// What refusals say about policies.
    pub about: AboutPolicies,
}

/// Headers that show how far the limits of a call are used.
pub(crate) type UsageHeaders = Arc<dyn Fn(&Runtime, &[LimiterFigures]) -> HeaderMap + Send + Sync>;

impl Refusals {
    /// The event of this lane is over a limit of a policy that turns calls away.
    pub(super) fn over_limit(
        &self,
        over: &OverLimit,
        lane: &Lane,
        runtime: &Runtime,
        now: Timestamp,
    ) -> Problem {
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
        let foreign = policy.zip(wording).and_then(|(policy, wording)| {
            let (code, subject) = (kind.code(Some(wording)), &*wording.subject);
            let origin = policy.origin.as_str();
            (self.render)(&RefusedCall { origin, code, subject, retry_after_seconds: seconds })
        });
        let code = foreign.as_ref().map_or(kind.own_code(), |foreign| foreign.code);
        let detail = foreign.as_ref().map_or(detail, |foreign| foreign.message.clone());
        // Word and status are the limit's or the system's. What waiting cures has one title, what it does not cure another
        // one, and its own status whatever the system says.
        let base = if *kind == LimitKind::Closed { codes::CLOSED } else { codes::OVER_PACE };
        let status = match &foreign {
            Some(foreign) if *kind != LimitKind::Closed => foreign.uniform_status.as_u16(),
            _ => base.status,
        };
        let about = About {
            policy: policy.map(|policy| self.about.policy(policy)),
            limit: policy.map(|policy| limit(policy, *kind, lane)),
            ..About::default()
        };
        let mut problem = Problem::of(Code { word: code, status, ..base }, detail).about(about);
        problem.retry_after_seconds = seconds;
        if let Some(foreign) = foreign {
            problem.headers = foreign.headers.clone();
            problem.instead = self.as_foreign.then(|| Box::new(foreign));
        }
        problem
    }
}

/// What answers say about policies and labels beside what policies know themselves.
#[derive(Clone, Copy)]
pub(crate) struct AboutPolicies {
    /// Where a label comes from when an event does not carry it, as a clause for people.
    pub source_of: fn(&str) -> Option<String>,
}

impl AboutPolicies {
    /// Where nothing beside is known, as in tests of other rooms.
    #[cfg(test)]
    pub(crate) const NOTHING: Self = Self { source_of: |_| None };

    /// A policy by all that it is known by.
    pub(crate) fn policy(&self, policy: &RuntimePolicy) -> NamedPolicy {
        let RuntimePolicy { id, origin, spec, .. } = policy;
        NamedPolicy {
            id: id.to_string(),
            name: spec.title.as_deref().map(str::to_owned),
            system: Some(origin.as_str().to_owned()),
            config: spec.config.as_deref().map(str::to_owned),
        }
    }
}

/// The limit of this kind under which a policy puts the calls of a lane.
pub(super) fn limit(policy: &RuntimePolicy, kind: LimitKind, lane: &Lane) -> LimitNumbers {
    let key = lane.scope_key(policy.spec.scope.labels());
    let limits = policy.spec.limits_of(&key);
    let mut numbers = LimitNumbers { kind: kind.word(), key: key.to_string(), ..LimitNumbers::default() };
    let Some(terms) = limits.metered_by(kind).map(Limit::terms) else {
        // Others have no number but this one.
        numbers.calls = limits.slots.filter(|_| kind == LimitKind::Slots).map(NonZeroU32::get);
        return numbers;
    };
    numbers.calls = terms.calls.map(NonZeroU32::get);
    // A window has 31 days at most.
    numbers.per_ms = terms.length.and_then(|length| u64::try_from(length.as_millis()).ok());
    numbers.per = terms.period.map(Period::name);
    numbers.per_second = terms.per_second.and_then(Number::from_f64);
    numbers
}
