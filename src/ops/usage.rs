//! `POST /v1/policies/{id}:set-usage`: an operator states what is used of a limit, for example after the record of
//! usages was damaged.
//!
//! Must not know: how limits count, where what is stated is kept.

use std::collections::BTreeMap;

use axum::body::Body;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;
use utoipa::ToSchema;

use crate::dispatch::{DispatchHandle, StateUsageFailed, UsageStatement};
use crate::event::{Labels, Lane, LaneKey, PolicyId};
use crate::limit::{LimitKind, StateUsageError};
use crate::ops::body::{invalid, missing, read};
use crate::ops::desk::{Desk, OpsAnswer, json, late, no_policy, shutting_down};
use crate::ops::doc;
use crate::policy::{Policies, Scope};
use crate::problem::{Problem, codes};
use crate::queue::Queue;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetUsageRequest {
    /// Which limit it is: `quota` or `window`.
    #[schema(required, value_type = String)]
    limit: Option<Value>,
    /// The values of the labels in the scope of the policy; may be missing when the policy has no scope.
    #[schema(required = false, value_type = BTreeMap<String, String>)]
    key: Option<Value>,
    /// How many starts are used of the present period, or of the window that ends now.
    #[schema(required, value_type = u32)]
    used: Option<Value>,
}

#[derive(Serialize, ToSchema)]
struct UsageSet {
    policy: String,
    limit: &'static str,
    /// The label values, as the figures name them.
    key: String,
    used: u32,
}

/// State what is used of a limit
///
/// Of a quota in its present period, or of a window. It is on record and counts before the answer: what the record said
/// or lacked before does not count any more, what starts afterwards counts in addition.
#[utoipa::path(
    post, path = "/v1/policies/{id}:set-usage", tag = "policies", operation_id = "set_policy_usage",
    params(("id" = String, Path, description = "The policy.")),
    request_body(content = SetUsageRequest, example = json!(doc::set_usage())),
    responses(
        (status = 200, description = "It counts.", body = UsageSet, example = json!(doc::usage_set())),
        doc::Verb,
    ),
)]
pub(super) async fn set_usage(desk: &Desk, id: &PolicyId, headers: &HeaderMap, body: Body) -> OpsAnswer {
    UsageDesk::from(desk).set_usage(id, &read(headers, body).await?).await
}

/// Takes statements about what is used.
struct UsageDesk<'d> {
    queue: &'d Queue,
    policies: &'d Policies,
    dispatch: &'d DispatchHandle,
}

impl<'d> From<&'d Desk> for UsageDesk<'d> {
    fn from(desk: &'d Desk) -> Self {
        Self { queue: &desk.queue, policies: &desk.policies, dispatch: &desk.dispatch }
    }
}

impl UsageDesk<'_> {
    async fn set_usage(&self, id: &PolicyId, request: &SetUsageRequest) -> OpsAnswer {
        let kind = kind(request.limit.as_ref())?;
        let used = used(request.used.as_ref())?;
        let scope = match self.policies.book().known(id) {
            None => return Err(no_policy(id.as_str())),
            Some(policy) => policy.ruling().map(|spec| spec.scope.clone()),
        };
        let scope = scope.ok_or_else(|| refused(StateUsageError::NoPolicy))?;
        let key = key(request.key.as_ref(), &scope)?;
        let statement = UsageStatement { policy: id.clone(), key: key.clone(), kind, used };
        // The statement goes on after the time is over: it may still come about, which the answer then says.
        let stated = match self.queue.in_time(self.dispatch.state_usage(statement)).await {
            Ok(stated) => stated.ok_or_else(shutting_down)?,
            Err(error) => Err(StateUsageFailed::NotRecorded(error)),
        };
        match stated {
            Ok(()) => {}
            Err(StateUsageFailed::Refused(error)) => return Err(refused(error)),
            Err(error @ StateUsageFailed::NotRecorded(_)) => {
                warn!(policy = %id, %error, "usage was not set");
                if let StateUsageFailed::NotRecorded(error) = &error
                    && let Some(late) = late(error)
                {
                    return Err(late);
                }
                let detail = "the record of usages cannot take it; what was used before still counts";
                let problem = Problem::of(codes::STORAGE_ERROR, detail);
                return Err(Box::new(problem.retry_after(10)));
            }
        }
        // A warning, though nothing failed: it changes what the limits let through.
        warn!(policy = %id, limit = kind.word(), %key, used, "an operator has set what is used of a limit");
        let body = UsageSet { policy: id.to_string(), limit: kind.word(), key: key.into(), used };
        Ok(json(&body, None))
    }
}

fn kind(given: Option<&Value>) -> Result<LimitKind, Box<Problem>> {
    let rule = || {
        // Those that last longest first.
        let words = LimitKind::ALL
            .iter()
            .rev()
            .filter(|kind| kind.is_stated())
            .map(|kind| format!("{:?}", kind.word()));
        format!("must be {}", words.collect::<Vec<_>>().join(" or "))
    };
    let word = given.ok_or_else(|| missing("limit", rule()))?.as_str();
    let kind = word.and_then(LimitKind::of_word).filter(|kind| kind.is_stated());
    kind.ok_or_else(|| invalid("limit", rule()))
}

fn used(given: Option<&Value>) -> Result<u32, Box<Problem>> {
    let rule = || "must be a whole number from 0 to what the limit allows".to_owned();
    let given = given.ok_or_else(|| missing("used", rule()))?;
    let used = given.as_u64().and_then(|used| u32::try_from(used).ok());
    used.ok_or_else(|| invalid("used", rule()))
}

/// The label values as the counters of the policy are named by.
fn key(given: Option<&Value>, scope: &Scope) -> Result<Box<str>, Box<Problem>> {
    let labels = scope.labels();
    let rule = || {
        let names: Vec<_> = labels.iter().map(|label| format!("{label:?}")).collect();
        let names = if names.is_empty() { "no label".to_owned() } else { names.join(", ") };
        format!(
            "must be an object that gives a text to each label in the scope of the policy and to no other: {names}"
        )
    };
    let none = serde_json::Map::new();
    let given = match given {
        None | Some(Value::Null) => &none,
        Some(Value::Object(given)) => given,
        Some(_) => return Err(invalid("key", rule())),
    };
    let mut pairs = BTreeMap::new();
    for label in labels {
        let value = given.get(&**label).and_then(Value::as_str).ok_or_else(|| invalid("key", rule()))?;
        pairs.insert(label, Box::<str>::from(value));
    }
    // Every label of the scope was found: another number means a label too many.
    if given.len() != pairs.len() {
        return Err(invalid("key", rule()));
    }
    let broken = |error: &dyn std::fmt::Display| invalid("key", format!("breaks a rule: {error}"));
    let texts = pairs.iter().map(|(label, value)| (label.to_string(), value.to_string()));
    // By the rules for labels of events: no event could have a key that breaks them.
    Labels::new(texts).map_err(|error| broken(&error))?;
    let key = Lane::key_of_scope(pairs.iter().map(|(label, value)| (*label, value)));
    if !key.is_empty() {
        // No event has a longer one.
        LaneKey::new(&key).map_err(|error| broken(&error))?;
    }
    Ok(key)
}

fn refused(error: StateUsageError) -> Box<Problem> {
    match error {
        StateUsageError::NoPolicy => {
            invalid("limit", "cannot be set: the policy limits nothing at present".to_owned())
        }
        StateUsageError::NoLimit => invalid(
            "limit",
            "must be one that the policy has, with counters of its own, for this key".to_owned(),
        ),
        StateUsageError::TooMany(calls) => invalid("used", format!("must be at most {calls}, the limit")),
    }
}
