//! `POST /v1/doubts/{id}:acknowledge`, `:retry`, `:give-up` and `:confirm`.
//!
//! Must not know: how a decision is carried out.

use axum::body::Body;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use tracing::{info, warn};
use utoipa::ToSchema;

use crate::ops::body::{invalid, missing, read, read_optional};
use crate::ops::desk::{OpsAnswer, json, late};
use crate::ops::doubts::wire::{DecisionBody, DoubtBody, GivenUpBody};
use crate::ops::doubts::{DecisionError, DoubtDesk, doc, no_doubt, verbs_of};
use crate::problem::{Problem, codes};
use crate::store::StoreError;
use crate::store::doubts::Doubt;

/// What an operator can do about a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DoubtVerb {
    /// It is seen: the report is silenced, the doubt stays.
    Acknowledge,
    /// What it is about is tried again.
    Retry,
    /// Its events are settled as lost.
    GiveUp,
    /// The operator knows that all is right.
    Confirm,
}

impl DoubtVerb {
    /// The verb as the path spells it after the colon.
    #[must_use]
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Acknowledge => "acknowledge",
            Self::Retry => "retry",
            Self::GiveUp => "give-up",
            Self::Confirm => "confirm",
        }
    }

    pub(in crate::ops) fn parse(word: &str) -> Option<Self> {
        [Self::Acknowledge, Self::Retry, Self::GiveUp, Self::Confirm]
            .into_iter()
            .find(|verb| verb.word() == word)
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EmptyRequest {}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GiveUpRequest {
    /// The member `events` of the doubt, once more.
    #[schema(required, value_type = u64)]
    // Any value, so that a missing or a mistyped number is answered with the rule and not with a fault of the JSON.
    confirm: Option<Value>,
}

impl DoubtDesk {
    pub(super) async fn act(&self, id: &str, verb: DoubtVerb, headers: &HeaderMap, body: Body) -> OpsAnswer {
        match verb {
            DoubtVerb::Acknowledge => acknowledge(self, id, headers, body).await,
            DoubtVerb::Retry => retry(self, id, headers, body).await,
            DoubtVerb::GiveUp => give_up(self, id, headers, body).await,
            DoubtVerb::Confirm => confirm(self, id, headers, body).await,
        }
    }

    /// The doubt, when the verb applies to it.
    fn find_for(&self, id: &str, verb: DoubtVerb) -> Result<Doubt, Box<Problem>> {
        let doubt = self.find(id)?;
        if verbs_of(doubt.kind).contains(&verb) {
            return Ok(doubt);
        }
        let apply: Vec<String> =
            verbs_of(doubt.kind).iter().map(|verb| format!(":{}", verb.word())).collect();
        let (kind, apply) = (doubt.kind.word(), apply.join(" and "));
        let detail = format!("to a doubt of the kind {kind} {apply} applies; way out: {}", doubt.way_out);
        Err(Box::new(Problem::of(codes::NOT_APPLICABLE, detail)))
    }

    /// What became of a doubt that was decided about.
    fn decided(&self, id: u64) -> OpsAnswer {
        let doubt = self.doubts.get(id).as_ref().map(DoubtBody::of);
        Ok(json(&DecisionBody { ended: doubt.is_none(), doubt }, None))
    }
}

/// Acknowledge a doubt
///
/// `/readyz` and the metrics no longer report it. What it holds stays held. The body is an empty object or missing.
#[utoipa::path(
    post, path = "/v1/doubts/{id}:acknowledge", tag = "doubts", operation_id = "acknowledge_doubt",
    params(("id" = u64, Path, description = "The doubt.")),
    request_body(content = Option<EmptyRequest>, example = json!({})),
    responses(
        (status = 200, description = "It is acknowledged.", body = DoubtBody, example = json!(doc::acknowledged())),
        doc::Act,
    ),
)]
pub(in crate::ops) async fn acknowledge(
    desk: &DoubtDesk,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> OpsAnswer {
    read_optional::<EmptyRequest>(headers, body).await?;
    let doubt = desk.find_for(id, DoubtVerb::Acknowledge)?;
    // It may have ended since it was found.
    let doubt = desk.doubts.acknowledge(doubt.id).ok_or_else(|| no_doubt(id))?;
    info!(id = doubt.id, kind = doubt.kind.word(), subject = doubt.subject, "doubt acknowledged");
    Ok(json(&DoubtBody::of(&doubt), None))
}

/// Try again what a doubt is about
///
/// Reads again what could not be read. The doubt ends when that goes well. The body is an empty object or missing.
#[utoipa::path(
    post, path = "/v1/doubts/{id}:retry", tag = "doubts", operation_id = "retry_doubt",
    params(("id" = u64, Path, description = "The doubt.")),
    request_body(content = Option<EmptyRequest>, example = json!({})),
    responses(
        (status = 200, description = "It was tried.", body = DecisionBody, example = json!({"ended": true, "doubt": null})),
        doc::Decide,
    ),
)]
pub(in crate::ops) async fn retry(desk: &DoubtDesk, id: &str, headers: &HeaderMap, body: Body) -> OpsAnswer {
    read_optional::<EmptyRequest>(headers, body).await?;
    let doubt = desk.find_for(id, DoubtVerb::Retry)?;
    desk.decisions.retry(&doubt).await.map_err(|error| not_carried_out(&doubt, DoubtVerb::Retry, &error))?;
    desk.decided(doubt.id)
}

/// Give up the events of a doubt
///
/// They are settled as `lost`, durably, and the doubt ends. It cannot be undone. When more events turn out to be
/// concerned than were confirmed, nothing is settled, and the answer names their number.
#[utoipa::path(
    post, path = "/v1/doubts/{id}:give-up", tag = "doubts", operation_id = "give_up_doubt",
    params(("id" = u64, Path, description = "The doubt.")),
    request_body(content = GiveUpRequest, example = json!({"confirm": 12})),
    responses(
        (status = 200, description = "It is done.", body = GivenUpBody, example = json!({"given_up": 12})),
        doc::GiveUp,
    ),
)]
pub(in crate::ops) async fn give_up(
    desk: &DoubtDesk,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> OpsAnswer {
    let request: GiveUpRequest = read(headers, body).await?;
    let doubt = desk.find_for(id, DoubtVerb::GiveUp)?;
    let confirmed = request.confirm.as_ref().ok_or_else(|| missing("confirm", confirm_rule(doubt.events)))?;
    let confirmed = confirmed.as_u64().ok_or_else(|| invalid("confirm", confirm_rule(doubt.events)))?;
    // Nothing irreversible on doubt: the operator has to know how many events are lost by it.
    if confirmed != doubt.events {
        return Err(wrong_count(doubt.events));
    }
    let given_up = desk.decisions.give_up(&doubt).await;
    let given_up = given_up.map_err(|error| match error {
        // The attempt has found more, and brought the doubt up to date.
        DecisionError::Store(StoreError::WrongCount { found, .. }) => {
            wrong_count(desk.doubts.get(doubt.id).map_or(found, |doubt| doubt.events))
        }
        error => not_carried_out(&doubt, DoubtVerb::GiveUp, &error),
    })?;
    warn!(
        id = doubt.id,
        kind = doubt.kind.word(),
        subject = doubt.subject,
        given_up,
        "events given up as lost"
    );
    Ok(json(&GivenUpBody { given_up }, None))
}

/// Confirm what is in doubt
///
/// The operator knows that it is right: the clock shows the right time. The doubt ends, and what it held goes on. The
/// body is an empty object or missing.
#[utoipa::path(
    post, path = "/v1/doubts/{id}:confirm", tag = "doubts", operation_id = "confirm_doubt",
    params(("id" = u64, Path, description = "The doubt.")),
    request_body(content = Option<EmptyRequest>, example = json!({})),
    responses(
        (status = 200, description = "It is confirmed.", body = DecisionBody,
            example = json!({"ended": true, "doubt": null})),
        doc::Decide,
    ),
)]
pub(in crate::ops) async fn confirm(
    desk: &DoubtDesk,
    id: &str,
    headers: &HeaderMap,
    body: Body,
) -> OpsAnswer {
    read_optional::<EmptyRequest>(headers, body).await?;
    let doubt = desk.find_for(id, DoubtVerb::Confirm)?;
    let confirmed = desk.decisions.confirm(&doubt).await;
    confirmed.map_err(|error| not_carried_out(&doubt, DoubtVerb::Confirm, &error))?;
    info!(id = doubt.id, kind = doubt.kind.word(), subject = doubt.subject, "doubt confirmed to be right");
    desk.decided(doubt.id)
}

fn confirm_rule(events: u64) -> String {
    format!("must be {events}, the number of events that are given up")
}

fn wrong_count(events: u64) -> Box<Problem> {
    let rule = confirm_rule(events);
    let detail = format!("confirm {rule}: the doubt concerns {events} events");
    let problem = Problem::of(codes::WRONG_COUNT, detail);
    Box::new(problem.field("/confirm", rule))
}

fn not_carried_out(doubt: &Doubt, verb: DoubtVerb, error: &DecisionError) -> Box<Problem> {
    warn!(id = doubt.id, verb = verb.word(), %error, "a decision about a doubt was not carried out");
    if let DecisionError::Store(error) = error
        && let Some(late) = late(error)
    {
        return late;
    }
    let detail = format!("it could not be done: {error}; look at the doubt before repeating");
    let problem = Problem::of(codes::STORAGE_ERROR, detail);
    Box::new(problem.retry_after(10))
}
