//! The policies whose patterns match a call, each with whether it applies and why not.
//!
//! Must not know: how policies are searched.

use http::Method;
use serde::Serialize;
use utoipa::ToSchema;

use crate::event::PolicyId;
use crate::policy::{Candidate, MatchVerdict, Runtime};

/// A policy whose pattern matches the address of the call.
#[derive(Serialize, ToSchema)]
#[schema(as = Candidate)]
pub(super) struct CandidateBody {
    policy: String,
    /// What people call it; null where its id is all.
    #[schema(required)]
    name: Option<String>,
    verdict: &'static str,
    text: String,
    /// Name of the label that it needs.
    #[schema(required)]
    label: Option<String>,
    /// Value that this label would need to have.
    #[schema(required)]
    value: Option<String>,
    /// The policy that applies in its place.
    #[schema(required)]
    by: Option<String>,
}

impl CandidateBody {
    pub(super) fn of(candidate: Candidate, method: &Method, runtime: &Runtime) -> Self {
        let Candidate { policy, verdict } = candidate;
        let mut body = Self {
            name: title(runtime, &policy),
            policy: policy.to_string(),
            verdict: "applies",
            text: "It applies.".to_owned(),
            label: None,
            value: None,
            by: None,
        };
        match verdict {
            MatchVerdict::Applies => {}
            MatchVerdict::OtherMethod => {
                body.verdict = "other_method";
                body.text = format!("It does not list {method}.");
            }
            MatchVerdict::OtherLabel(condition) => {
                body.verdict = "other_label";
                body.text = format!("It needs the label {}={}.", condition.key, condition.value);
                (body.label, body.value) = (Some(condition.key), Some(condition.value));
            }
            MatchVerdict::NoLabel(label) => {
                body.verdict = "no_label";
                body.text = format!("It needs a label {label}, by which it tells its limits apart.");
                body.label = Some(label);
            }
            MatchVerdict::OtherValues => {
                body.verdict = "other_values";
                body.text = "It limits single values of its labels, and not those of the call.".to_owned();
            }
            MatchVerdict::Outranked(by) => {
                body.verdict = "outranked";
                body.text =
                    format!("Policy {by} of the same origin is more specific, or as specific and older.");
                body.by = Some(by.to_string());
            }
        }
        body
    }
}

/// What people call a policy that is active or drains.
pub(super) fn title(runtime: &Runtime, policy: &PolicyId) -> Option<String> {
    runtime.get(policy)?.spec.title.as_deref().map(str::to_owned)
}
