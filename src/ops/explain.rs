//! `GET /v1/explain`: which policies match an event or a call and why, where it stands or would stand, what holds it
//! now, when it would go.
//!
//! Must not know: how limits count, how calls are planned.

use arc_swap::ArcSwap;
use axum::body::Body;
use http::{HeaderMap, Method, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::{Clock, Timestamp};
use crate::dispatch::{DispatchHandle, HoldReason, LaneReport};
use crate::event::{self, CanonicalUrl, Event, EventId, Labels, Lane};
use crate::ingest::{
    AboutPolicies, AskedCall, AttemptBody, CallRouter, EndBody, NoRoute, attempts_at, no_event,
};
use crate::limit::{LimitKind, Outlooks};
use crate::ops::StopRecord;
use crate::ops::asked;
use crate::ops::candidates::{CandidateBody, title};
use crate::ops::desk::{Desk, OpsAnswer, json, shutting_down};
use crate::ops::held::{HeldBy, RateBody};
use crate::ops::query::{Parameters, invalid};
use crate::ops::wire::date;
use crate::policy::{Policies, Runtime};
use crate::problem::{Problem, codes};
use crate::queue::{Queue, QueueError, Standing};
use crate::store::doubts::{Doubt, DoubtHold, DoubtKind};
use crate::telemetry::{Defect, defect};

#[derive(Serialize, ToSchema)]
#[schema(as = SettledExplanation)]
pub(super) struct SettledBody {
    id: String,
    state: &'static str,
    #[schema(required)]
    outcome: Option<&'static str>,
    #[serde(flatten)]
    why: Option<EndBody>,
    /// The last attempts, the newest first, of an event that had a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_attempts: Option<Vec<AttemptBody>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Explanation)]
pub(super) struct ExplainBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    state: Option<&'static str>,
    /// Without the tries that cost none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    attempts: Option<u16>,
    method: String,
    url: String,
    /// The `[[endpoint]]` block that rules its calls; null where the settings for all calls hold.
    #[schema(required)]
    endpoint: Option<String>,
    policies: Vec<CandidateBody>,
    #[schema(required)]
    lane: Option<LaneBody>,
    #[schema(required)]
    due_at: Option<String>,
    #[schema(required)]
    ahead: Option<u64>,
    held: HeldBy,
    /// Null while its limits alone rule its lane.
    #[schema(required)]
    rate: Option<RateBody>,
    #[schema(required)]
    draining_until: Option<String>,
    #[schema(required)]
    starts_at: Option<String>,
    #[schema(required)]
    expires_at: Option<String>,
    expires_first: bool,
    /// The last attempts, the newest first, of an event that had a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    last_attempts: Option<Vec<AttemptBody>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Lane)]
struct LaneBody {
    name: String,
    policies: Vec<GovernedBy>,
    labels: std::collections::BTreeMap<String, String>,
    /// The host and port of its calls; `null` when they go to several.
    #[schema(required)]
    host: Option<String>,
    /// That of all its events: `high`, `normal` or `low`.
    priority: &'static str,
}

#[derive(Serialize, ToSchema)]
struct GovernedBy {
    policy: String,
    /// What people call it; null where its id is all, and of one that is gone.
    #[schema(required)]
    name: Option<String>,
    generation: u32,
}

/// The call that is explained, of an event or as it was asked for.
struct ExplainedCall<'c> {
    method: &'c Method,
    url: &'c CanonicalUrl,
    labels: &'c Labels,
}

/// Where it stands, or would stand.
struct ExplainedPlace {
    lane: Lane,
    due_at: Option<Timestamp>,
    /// Its date was given in doubt.
    is_dated: bool,
    expires_at: Timestamp,
    ahead: Option<u64>,
    under_way: bool,
}

const TAKES: &str = "give either id, or url with method, label.KEY and header.NAME";

/// Finds out where an event or a call stands, and what it waits for.
pub(super) struct Explainer<'d> {
    queue: &'d Queue,
    policies: &'d Policies,
    dispatch: &'d DispatchHandle,
    outlooks: &'d ArcSwap<Outlooks>,
    clock: &'d Clock,
    router: &'d CallRouter,
    about: &'d AboutPolicies,
    stops: &'d StopRecord,
}

impl<'d> From<&'d Desk> for Explainer<'d> {
    fn from(desk: &'d Desk) -> Self {
        Self {
            queue: &desk.queue,
            policies: &desk.policies,
            dispatch: &desk.dispatch,
            outlooks: &desk.outlooks,
            clock: &desk.clock,
            router: &desk.router,
            about: &desk.about,
            stops: &desk.stops,
        }
    }
}

impl Explainer<'_> {
    /// The event or the call of the parameters, as if it came in a request with the headers `request`.
    pub(super) async fn explain(&self, uri: &Uri, request: &HeaderMap) -> OpsAnswer {
        let parameters = Parameters::read(uri, &["id", "method", "url", "priority"], &asked::FAMILIES)?;
        match (parameters.get("id"), parameters.get("url")) {
            (Some(id), None) => {
                if asked::says_more(&parameters) {
                    return Err(invalid("id", format!("names the whole event; {TAKES}")));
                }
                self.explain_event(id).await
            }
            (None, Some(url)) => {
                let call = asked::by_parameters(self.router, &parameters, url, request, self.clock)?;
                self.explain_call(&call).await
            }
            (Some(_), Some(_)) => Err(invalid("url", format!("excludes id; {TAKES}"))),
            (None, None) => Err(invalid("url", format!("is missing; {TAKES}"))),
        }
    }

    async fn explain_event(&self, id: &str) -> OpsAnswer {
        let id: EventId =
            id.parse().map_err(|error| invalid("id", format!("must be an event's: {error}")))?;
        let standing = self.queue.standing(id, self.dispatch).await;
        let standing = standing.map_err(|error| self.unreadable(&error))?;
        let last_attempts = attempts_at(&standing, self.queue.attempts_of(standing.name_of(id)).await);
        let Some(waiting) = standing.waiting() else {
            let Standing::Settled(known) = standing else { return Err(no_event(self.queue.known_since())) };
            let runtime = self.policies.runtime();
            let body = SettledBody {
                id: id.to_string(),
                state: "settled",
                outcome: known.as_ref().map(|known| known.end.word()),
                why: known.map(|known| EndBody::of(&known, &runtime, self.about)),
                last_attempts,
            };
            return Ok(json(&body, None));
        };
        let lane = Lane::parse(&waiting.lane).map_err(|error| {
            Defect { place: "an event in a lane whose key does not parse" }.emit();
            Box::new(Problem::of(codes::INTERNAL, error.to_string()))
        })?;
        let report = self.dispatch.report(lane.clone()).await.ok_or_else(shutting_down)?;
        let ahead = self.ahead(&standing, &report).await?;
        let under_way = matches!(standing, Standing::InFlight(_));
        let event = &waiting.event;
        let call = ExplainedCall { method: &event.method, url: &event.url, labels: &event.labels };
        let due_at = waiting.due_at;
        let (is_dated, expires_at) = (event.is_dated, event.expires_at);
        let place = ExplainedPlace { lane, due_at, is_dated, expires_at, ahead, under_way };
        let body = ExplainBody {
            id: Some(id.to_string()),
            state: standing.word(),
            attempts: Some(waiting.attempts),
            last_attempts,
            ..self.body(&call, &place, report)
        };
        Ok(json(&body, None))
    }

    /// How many events of its lane start before it; `None` while it has no place: it is put off or under way.
    async fn ahead(&self, standing: &Standing, report: &LaneReport) -> Result<Option<u64>, Box<Problem>> {
        let Standing::Ready(waiting) = standing else { return Ok(None) };
        if let Some(place) = waiting.place {
            return Ok(Some(place as u64));
        }
        if waiting.due_at.is_some() {
            // It is due: it goes before everything that was not tried yet, as soon as it is read.
            return Ok(Some(0));
        }
        let before = self.queue.not_taken_up_before(&waiting.lane, waiting.entry).await;
        let before = before.map_err(|error| self.unreadable(&error))?;
        // What is read ahead goes first, then what the store has before it.
        Ok(Some(before + report.read_ahead as u64))
    }

    /// The call of an event that is the body of a request with these headers.
    pub(super) async fn explain_handed_in(&self, request: &HeaderMap, body: Body) -> OpsAnswer {
        let call = asked::by_event(self.router, request, body, self.clock).await?;
        self.explain_call(&call).await
    }

    async fn explain_call(&self, asked: &AskedCall) -> OpsAnswer {
        let Event { method, url, labels, due_at, is_dated, expires_at, .. } = asked.event();
        let implied = self.router.implied(&asked.call()).map_err(|refused| no_lane(&refused))?;
        let call = ExplainedCall { method, url, labels: implied.as_ref().unwrap_or(labels) };
        let lane =
            match self.router.route(&self.policies.runtime(), method, url, call.labels, asked.priority()) {
                Ok(lane) => lane,
                Err(NoRoute::Egress(reason)) => {
                    let text = format!("It would be refused: its address must not be called, {reason}.");
                    return Ok(json(&self.refused(&call, HeldBy::refused("egress", text)), None));
                }
                Err(NoRoute::Unmatched) => {
                    let text = "It would be refused: no deployed policy governs it.".to_owned();
                    return Ok(json(&self.refused(&call, HeldBy::refused("unmatched", text)), None));
                }
                Err(refused @ (NoRoute::Label(_) | NoRoute::Lane(_))) => return Err(no_lane(&refused)),
            };
        let report = self.dispatch.report(lane.clone()).await.ok_or_else(shutting_down)?;
        let counts = self.queue.counts_of(lane.key());
        // One that is put off has no place.
        let ahead = due_at.is_none().then(|| counts.map_or(0, |counts| counts.ready));
        let (due_at, is_dated, expires_at) = (*due_at, *is_dated, *expires_at);
        let place = ExplainedPlace { lane, due_at, is_dated, expires_at, ahead, under_way: false };
        Ok(json(&self.body(&call, &place, report), None))
    }

    fn body(&self, call: &ExplainedCall<'_>, place: &ExplainedPlace, mut report: LaneReport) -> ExplainBody {
        let (now, runtime) = (self.clock.now(), self.policies.runtime());
        let stops = self.stops.stops();
        let stop = stops.of_call(call.url, call.labels, self.clock.is_trusted().then_some(now));
        let stopped =
            stops.why_unreadable().map(HeldBy::stopped_unread).or_else(|| stop.map(HeldBy::stopped));
        // What stops others of its lane does not hold it.
        report.hold = report
            .hold
            .filter(|hold| !hold.is_partial || hold.reason != HoldReason::Stopped || stopped.is_some());
        let report = &report;
        let doubt = self.doubt_about(place, report);
        let held = match (place.due_at, &doubt) {
            _ if place.under_way => HeldBy::under_way(),
            (_, Some(doubt)) => HeldBy::doubt(doubt),
            _ if stopped.is_some() => stopped.unwrap_or_else(HeldBy::under_way),
            (Some(due_at), None) if due_at > now && !is_withheld_until(report, due_at) => HeldBy::due(due_at),
            _ => HeldBy::lane(&place.lane, report, &runtime, place.ahead),
        };
        // Nobody knows when a doubt ends.
        let starts_at = self.starts_at(place, report, &runtime, now).filter(|_| doubt.is_none());
        let starts_at = match stop {
            _ if stops.why_unreadable().is_some() => None,
            // Also of one that stops only some of its lane.
            Some(stop) => starts_at.zip(stop.until).map(|(at, until)| at.max(until)),
            None => starts_at,
        };
        ExplainBody {
            lane: Some(lane_body(&place.lane, &runtime)),
            due_at: date(place.due_at),
            ahead: place.ahead,
            rate: report.slowed.as_ref().map(RateBody::of),
            draining_until: date(report.draining_until),
            starts_at: date(starts_at),
            expires_at: date(Some(place.expires_at)),
            // An event whose start is unknown expires first, unless somebody ends what holds it.
            expires_first: !place.under_way && starts_at.is_none_or(|at| at >= place.expires_at),
            ..self.refused(call, held)
        }
    }

    /// The doubt that holds a lane: about the store as a whole, about this lane, or about the clock when the lane
    /// or the event waits for a moment of it.
    fn doubt_about(&self, place: &ExplainedPlace, report: &LaneReport) -> Option<Doubt> {
        let hold = report.hold.as_ref();
        let is_unread = hold.is_some_and(|hold| hold.reason == HoldReason::Unread);
        let has_end = hold.is_some_and(|hold| hold.reason == HoldReason::Paused && hold.until.is_some());
        let about = |doubt: &Doubt| match (doubt.kind.holds(), doubt.kind) {
            (DoubtHold::Store, _) => true,
            (DoubtHold::Lanes, DoubtKind::Unread) => is_unread,
            (DoubtHold::Lanes, _) => doubt.subject == place.lane.key().as_str(),
            // A clock in doubt holds what would begin or end by it: a pause with an end, a date, a life that seems
            // over.
            (DoubtHold::Time, _) => has_end || place.is_dated || place.expires_at <= self.clock.now(),
            (DoubtHold::Nothing, _) => false,
        };
        self.queue.doubts().list().into_iter().find(about)
    }

    /// The estimate of the limits, corrected by what the lane knows at this moment.
    fn starts_at(
        &self,
        place: &ExplainedPlace,
        report: &LaneReport,
        runtime: &Runtime,
        now: Timestamp,
    ) -> Option<Timestamp> {
        // A call that is under way has started, and under a book in doubt nothing starts.
        if place.under_way || self.policies.held().is_some() {
            return None;
        }
        let outlook = self.outlooks.load().of_lane(&place.lane, runtime, now);
        let forecast = outlook.forecast(place.ahead.unwrap_or(0), place.due_at, place.expires_at);
        let mut starts_at = forecast.starts_at?;
        // A lane that waits for its share goes on whenever a call ends.
        if let Some(hold) = report.hold.as_ref().filter(|hold| hold.reason != HoldReason::Share) {
            // A hold without an end leaves the start unknown.
            starts_at = starts_at.max(hold.until?);
        }
        match &report.blocked {
            // Calls beyond the limit are turned away.
            Some(blocked) if blocked.until.is_none() && blocked.kind != LimitKind::Slots => None,
            blocked => {
                let room_at = blocked.as_ref().and_then(|blocked| blocked.until);
                Some(room_at.map_or(starts_at, |room_at| starts_at.max(room_at)))
            }
        }
    }

    /// Of a call that has no lane.
    fn refused(&self, call: &ExplainedCall<'_>, held: HeldBy) -> ExplainBody {
        let runtime = self.policies.runtime();
        let candidates = runtime.candidates(call.method, call.url, call.labels);
        ExplainBody {
            id: None,
            state: None,
            attempts: None,
            method: call.method.to_string(),
            // The query may hold credentials or personal data.
            url: call.url.without_query().to_owned(),
            endpoint: (self.router.endpoint_of)(call.url),
            policies: candidates
                .into_iter()
                .map(|candidate| CandidateBody::of(candidate, call.method, &runtime))
                .collect(),
            lane: None,
            due_at: None,
            ahead: None,
            held,
            rate: None,
            draining_until: None,
            starts_at: None,
            expires_at: None,
            expires_first: false,
            last_attempts: None,
        }
    }
}

fn lane_body(lane: &Lane, runtime: &Runtime) -> LaneBody {
    let governed_by = |part: &event::PolicyRef| GovernedBy {
        policy: part.policy.to_string(),
        name: title(runtime, &part.policy),
        generation: part.generation,
    };
    LaneBody {
        name: lane.key().to_string(),
        policies: lane.policies().iter().map(governed_by).collect(),
        labels: lane.labels().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        host: lane.key().host().map(str::to_owned),
        priority: lane.priority().word(),
    }
}

/// Whether the egress guard holds the lane until then: what it withholds is put off until that time.
fn is_withheld_until(report: &LaneReport, due_at: Timestamp) -> bool {
    report.hold.is_some_and(|hold| {
        hold.reason == HoldReason::Egress && hold.until.is_some_and(|until| until >= due_at)
    })
}

/// The problem of a call that can have no lane, whatever its policies.
fn no_lane(refused: &NoRoute) -> Box<Problem> {
    let (detail, rule) = match refused {
        NoRoute::Label(error) => (error.to_string(), "implies what cannot be a label"),
        NoRoute::Lane(error) => (error.to_string(), "cannot be given a lane"),
        NoRoute::Egress(_) | NoRoute::Unmatched => {
            defect!("a call that is refused for its address or its policies is explained");
            (String::new(), "is refused")
        }
    };
    Box::new(Problem::of(refused.code(), detail).field("url", rule))
}

impl Explainer<'_> {
    fn unreadable(&self, error: &QueueError) -> Box<Problem> {
        tracing::warn!(%error, "an event could not be read");
        if let Some(reason) = self.queue.unread_reason(error) {
            return Box::new(Problem::event_unread(&reason));
        }
        let detail = "the event cannot be read at present; ask again";
        let problem = Problem::of(codes::STORAGE_ERROR, detail);
        Box::new(problem.retry_after(1))
    }
}
