//! `POST /v1/policies/{id}:pause`, `:resume` and `:purge`. Each may be repeated without harm. `:set-usage` is in a file
//! of its own.
//!
//! A pause stands in the policy book: it holds whatever the policy's origin, and over restarts.
//!
//! Must not know: how a purge is carried out.

use std::time::Duration;

use axum::body::Body;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{info, warn};
use utoipa::ToSchema;

use crate::clock::{Clock, Timestamp};
use crate::dispatch::DispatchHandle;
use crate::event::PolicyId;
use crate::ops::body::{invalid, missing, read, read_optional};
use crate::ops::desk::{Desk, OpsAnswer, json, late, no_policy, policy_id, shutting_down};
use crate::ops::doc;
use crate::ops::policies::PolicyViews;
use crate::ops::usage::set_usage;
use crate::ops::wire::PolicyBody;
use crate::policy::{BookError, ChangeError, Pause, Policies, PolicyError};
use crate::problem::{Problem, codes};
use crate::queue::Queue;
use crate::store::StoreError;

/// What can be done to a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PolicyVerb {
    Pause,
    Resume,
    Purge,
    SetUsage,
}

/// Longest reason of a pause, in characters.
const MAX_REASON: usize = 200;
/// The longest pause that has an end.
const MAX_PAUSE: Duration = Duration::from_secs(366 * 86_400);

/// At most one of the two ends; without one it lasts until it is resumed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PauseRequest {
    /// Why it is paused: shown to everyone who asks what holds an event.
    #[schema(required, value_type = String, min_length = 1, max_length = 200)]
    reason: Option<Value>,
    /// At most 366 days from now.
    #[schema(required = false, value_type = String, format = "date-time")]
    until: Option<Value>,
    #[schema(required = false, value_type = f64, exclusive_minimum = 0, maximum = 31_622_400)]
    for_seconds: Option<Value>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResumeRequest {}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PurgeRequest {
    /// The id of the policy, once more.
    #[schema(required, value_type = String)]
    confirm: Option<Value>,
}

#[derive(Serialize, ToSchema)]
struct Purged {
    /// How many events were dropped by it.
    purged: u64,
}

impl PolicyVerb {
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "pause" => Some(Self::Pause),
            "resume" => Some(Self::Resume),
            "purge" => Some(Self::Purge),
            "set-usage" => Some(Self::SetUsage),
            _ => None,
        }
    }
}

/// Does to a policy what a verb says.
pub(super) async fn act(
    desk: &Desk,
    id: &str,
    verb: PolicyVerb,
    headers: &HeaderMap,
    body: Body,
) -> OpsAnswer {
    let id = policy_id(id)?;
    match verb {
        PolicyVerb::Pause => pause(desk, &id, headers, body).await,
        PolicyVerb::Resume => resume(desk, &id, headers, body).await,
        PolicyVerb::Purge => purge(desk, &id, headers, body).await,
        PolicyVerb::SetUsage => set_usage(desk, &id, headers, body).await,
    }
}

/// Pauses, resumes and purges policies for the desk.
struct Verbs<'d> {
    queue: &'d Queue,
    policies: &'d Policies,
    dispatch: &'d DispatchHandle,
    clock: &'d Clock,
    shown: PolicyViews<'d>,
}

impl<'d> From<&'d Desk> for Verbs<'d> {
    fn from(desk: &'d Desk) -> Self {
        Self {
            queue: &desk.queue,
            policies: &desk.policies,
            dispatch: &desk.dispatch,
            clock: &desk.clock,
            shown: PolicyViews::from(desk),
        }
    }
}

impl Verbs<'_> {
    async fn pause(&self, id: &PolicyId, request: &PauseRequest) -> OpsAnswer {
        let reason = reason(request.reason.as_ref())?;
        let now = self.clock.now();
        let ends = (request.until.as_ref(), request.for_seconds.as_ref());
        let until = end_of_pause(self.clock, ends, now)?;
        let edit = |book: &mut crate::policy::Book| {
            let held = book.known(id).and_then(|policy| policy.pause()).filter(|pause| pause.holds(now));
            // A second pause before the end of the first goes on with its beginning: the policy has been paused since
            // then.
            let since = held.map_or(Timestamp::from_millis(now.as_millis()), |pause| pause.since);
            book.pause(id, Pause { reason: reason.to_owned(), since, until })
        };
        self.policies.change(edit).await.map_err(|error| refused(id, error))?;
        info!(policy = %id, until = until.map(|until| until.to_string()), reason, "policy paused");
        Ok(json(&self.shown.state_of(id).await?, None))
    }

    async fn resume(&self, id: &PolicyId) -> OpsAnswer {
        self.policies.change(|book| book.resume(id)).await.map_err(|error| refused(id, error))?;
        info!(policy = %id, "policy resumed");
        Ok(json(&self.shown.state_of(id).await?, None))
    }

    async fn purge(&self, id: &PolicyId, request: &PurgeRequest) -> OpsAnswer {
        let rule =
            || format!("must be {id:?}, the policy that is purged: what waits under it is dropped for good");
        match &request.confirm {
            None => return Err(missing("confirm", rule())),
            Some(Value::String(confirm)) if confirm == id.as_str() => {}
            Some(_) => return Err(invalid("confirm", rule())),
        }
        if self.policies.book().known(id).is_none() {
            return Err(no_policy(id.as_str()));
        }
        // It goes on in the dispatcher when this request is given up.
        let purge = self.queue.in_time(self.dispatch.purge(id.clone())).await;
        let purged = purge.map_err(|error| not_in_time(id, &error))?.ok_or_else(shutting_down)?;
        // What is dropped is on record a moment later, unless the disk does not answer.
        if self.queue.store_health().slow {
            return Err(not_in_time(id, &StoreError::OutcomeUnknown));
        }
        info!(policy = %id, purged, "policy purged");
        Ok(json(&Purged { purged }, None))
    }
}

/// Pause a policy
///
/// Nothing starts under it until the pause ends or is ended. Events go on being taken. A second pause replaces reason
/// and end of the first.
#[utoipa::path(
    post, path = "/v1/policies/{id}:pause", tag = "policies", operation_id = "pause_policy",
    params(("id" = String, Path, description = "The policy.")),
    request_body(content = PauseRequest, example = json!(doc::pause())),
    responses(
        (status = 200, description = "It is paused.", body = PolicyBody, example = json!(doc::paused_policy())),
        doc::Verb,
    ),
)]
pub(super) async fn pause(desk: &Desk, id: &PolicyId, headers: &HeaderMap, body: Body) -> OpsAnswer {
    Verbs::from(desk).pause(id, &read(headers, body).await?).await
}

/// End the pause of a policy
///
/// The body is an empty object or missing.
#[utoipa::path(
    post, path = "/v1/policies/{id}:resume", tag = "policies", operation_id = "resume_policy",
    params(("id" = String, Path, description = "The policy.")),
    request_body(content = Option<ResumeRequest>, example = json!({})),
    responses(
        (status = 200, description = "It is not paused.", body = PolicyBody, example = json!(doc::policy())),
        doc::Verb,
    ),
)]
pub(super) async fn resume(desk: &Desk, id: &PolicyId, headers: &HeaderMap, body: Body) -> OpsAnswer {
    read_optional::<ResumeRequest>(headers, body).await?;
    Verbs::from(desk).resume(id).await
}

/// Drop what waits under a policy
///
/// Delayed events too. Calls under way and events that come later are left alone. It cannot be undone.
#[utoipa::path(
    post, path = "/v1/policies/{id}:purge", tag = "policies", operation_id = "purge_policy",
    params(("id" = String, Path, description = "The policy.")),
    request_body(content = PurgeRequest, example = json!({"confirm": doc::ID})),
    responses(
        (status = 200, description = "It is done.", body = Purged, example = json!({"purged": 12})),
        doc::Verb,
    ),
)]
pub(super) async fn purge(desk: &Desk, id: &PolicyId, headers: &HeaderMap, body: Body) -> OpsAnswer {
    Verbs::from(desk).purge(id, &read(headers, body).await?).await
}

/// The end of a pause on the steady line, a whole millisecond as it is stored.
pub(super) fn end_of_pause(
    clock: &Clock,
    (until, for_seconds): (Option<&Value>, Option<&Value>),
    now: Timestamp,
) -> Result<Option<Timestamp>, Box<Problem>> {
    let length = match (until, for_seconds) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(invalid("until", "excludes for_seconds; give one of them".to_owned()));
        }
        (Some(_), None) if !clock.is_trusted() => {
            let rule =
                "cannot be judged while the wall clock is in doubt; give for_seconds, or confirm the clock";
            return Err(invalid("until", rule.to_owned()));
        }
        // The steady line takes over from here: a later step of the wall clock does not move the end.
        (Some(date), None) => {
            let length = date.as_str().and_then(Timestamp::parse).map(|date| date.since(clock.wall()));
            let length = length.filter(|length| !length.is_zero());
            let rule = "must be an RFC 3339 date in the future, such as 2030-01-31T08:00:00Z";
            length.filter(|length| *length <= MAX_PAUSE).ok_or_else(|| {
                invalid(
                    "until",
                    format!("{rule}, at most 366 days from now; leave it out to pause until resumed"),
                )
            })?
        }
        (None, Some(seconds)) => {
            let length = seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let sound = length.filter(|length| !length.is_zero() && *length <= MAX_PAUSE);
            sound.ok_or_else(|| {
                let most = MAX_PAUSE.as_secs();
                invalid("for_seconds", format!("must be a number above 0 and at most {most}"))
            })?
        }
    };
    Ok(Some(Timestamp::from_millis((now + length).ceil_millis())))
}

pub(super) fn reason(given: Option<&Value>) -> Result<&str, Box<Problem>> {
    let rule = || {
        format!(
            "must be text of 1 to {MAX_REASON} characters without control characters: it is shown to whoever wonders"
        )
    };
    let given = given.ok_or_else(|| missing("reason", rule()))?;
    let sound = |text: &&str| {
        !text.trim().is_empty() && text.chars().count() <= MAX_REASON && !text.chars().any(char::is_control)
    };
    given.as_str().filter(sound).ok_or_else(|| invalid("reason", rule()))
}

fn not_in_time(id: &PolicyId, error: &StoreError) -> Box<Problem> {
    warn!(policy = %id, %error, "a purge was not answered in time");
    late(error)
        .unwrap_or_else(|| unavailable("the store cannot take changes; look at the policy before repeating"))
}

fn unavailable(detail: &str) -> Box<Problem> {
    let problem = Problem::of(codes::STORAGE_ERROR, detail);
    Box::new(problem.retry_after(10))
}

fn refused(id: &PolicyId, error: ChangeError<BookError>) -> Box<Problem> {
    match error {
        // The only refusal there is: holds go with every state.
        ChangeError::Refused(_) => no_policy(id.as_str()),
        ChangeError::Failed(PolicyError::Store(error)) => {
            warn!(policy = %id, %error, "a hold could not be stored");
            late(&error).unwrap_or_else(|| {
                unavailable("the store cannot take changes; look at the policy's hold before repeating")
            })
        }
        ChangeError::Failed(error) => {
            warn!(policy = %id, %error, "a hold could not be applied");
            unavailable("the change could not be applied; repeat it")
        }
    }
}
