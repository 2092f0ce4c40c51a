//! `POST /v1/dead-letters/{id}:redrive` and `:purge`.
//!
//! Must not know: how a change survives a crash.

use axum::body::Body;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;
use tracing::info;
use utoipa::ToSchema;

use super::remake::{Again, remake};
use super::wire::{PurgedBody, RedroveBody, policies};
use super::{DeadDesk, doc, letter_id, no_letter, store_problem};
use crate::event::{CanonicalUrl, EventId, Redriven};
use crate::ops::body::{invalid, missing, read, read_optional};
use crate::ops::desk::{OpsAnswer, json};
use crate::problem::{Problem, codes};
use crate::store::RunToEnd;

/// What can be done to a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum LetterVerb {
    /// It is handed in again.
    Redrive,
    /// It is dropped for good.
    Purge,
}

impl LetterVerb {
    pub(in crate::ops) fn parse(word: &str) -> Option<Self> {
        match word {
            "redrive" => Some(Self::Redrive),
            "purge" => Some(Self::Purge),
            _ => None,
        }
    }
}

/// How a letter is handed in again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RedriveRequest)]
pub(super) struct RedriveRequest {
    /// Another URL that the same policies govern.
    #[schema(required = false, value_type = String)]
    pub url: Option<Value>,
    /// Whether the event gets a new id and `webhook-id`, for receivers that drop repetitions.
    #[schema(required = false, value_type = bool)]
    pub new_id: Option<Value>,
    /// Who asks for it, for those who look at the event.
    #[schema(required = false, value_type = String, max_length = 100)]
    pub by: Option<Value>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PurgeLetterRequest)]
pub(super) struct PurgeLetterRequest {
    /// The id of the event, once more.
    #[schema(required, value_type = String)]
    confirm: Option<Value>,
}

/// Reads how letters are handed in again.
pub(super) fn again(
    url: Option<&Value>,
    new_id: Option<&Value>,
    by: Option<&Value>,
) -> Result<Again, Box<Problem>> {
    let url = url.map(|url| {
        let text = url.as_str().ok_or_else(|| invalid("url", "must be text".to_owned()))?;
        CanonicalUrl::handed_in(text).map_err(|error| invalid("url", error.to_string()))
    });
    let new_id = match new_id {
        None => false,
        Some(Value::Bool(new_id)) => *new_id,
        Some(_) => return Err(invalid("new_id", "must be true or false".to_owned())),
    };
    let rule =
        || format!("must be text of at most {} characters without control characters", Redriven::MAX_BY);
    let by = match by {
        None => "",
        Some(by) => {
            let sound =
                |by: &&str| by.chars().count() <= Redriven::MAX_BY && !by.chars().any(char::is_control);
            by.as_str().filter(sound).ok_or_else(|| invalid("by", rule()))?
        }
    };
    Ok(Again { url: url.transpose()?, new_id, by: by.to_owned() })
}

/// Does to a letter what a verb says.
pub(super) async fn act(
    desk: &DeadDesk,
    id: &str,
    verb: LetterVerb,
    headers: &HeaderMap,
    body: Body,
) -> OpsAnswer {
    match verb {
        LetterVerb::Redrive => redrive(desk, id, headers, body).await,
        LetterVerb::Purge => purge(desk, id, headers, body).await,
    }
}

/// Hand in a dead letter's event again
///
/// It goes to the end of the lane that its call has now, with no attempts and a new life, under the limits of its policies. It
/// keeps its id and `webhook-id` unless `new_id` is true. The body may be missing.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}:redrive", tag = "dead letters", operation_id = "redrive_dead_letter",
    params(("id" = String, Path, format = "uuid", description = "The event.")),
    request_body(content = Option<RedriveRequest>, example = json!({"by": "on call"})),
    responses(
        (status = 200, description = "It waits.", body = RedroveBody, example = json!(doc::redriven())),
        doc::Redrive,
    ),
)]
pub(in crate::ops) async fn redrive(desk: &DeadDesk, id: &str, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request = read_optional::<RedriveRequest>(headers, body).await?.unwrap_or_default();
    let again = again(request.url.as_ref(), request.new_id.as_ref(), request.by.as_ref())?;
    let name = letter_id(id)?;
    // In a task of its own: a caller that goes away cannot stop it half-way.
    let (worker, text) = (desk.clone(), id.to_owned());
    RunToEnd::new(async move { redrive_one(&worker, name, &text, &again).await }).await
}

/// Purge a dead letter
///
/// The event is dropped for good, with its body.
#[utoipa::path(
    post, path = "/v1/dead-letters/{id}:purge", tag = "dead letters", operation_id = "purge_dead_letter",
    params(("id" = String, Path, format = "uuid", description = "The event.")),
    request_body(content = PurgeLetterRequest, example = json!({"confirm": doc::ID})),
    responses(
        (status = 200, description = "It is gone.", body = PurgedBody, example = json!({"purged": 1})),
        doc::Purge,
    ),
)]
pub(in crate::ops) async fn purge(desk: &DeadDesk, id: &str, headers: &HeaderMap, body: Body) -> OpsAnswer {
    let request: PurgeLetterRequest = read(headers, body).await?;
    let name = letter_id(id)?;
    let rule = || format!("must be {:?}, the event whose letter is dropped for good", name.to_string());
    match &request.confirm {
        None => return Err(missing("confirm", rule())),
        Some(Value::String(confirm)) if *confirm == name.to_string() => {}
        Some(_) => return Err(invalid("confirm", rule())),
    }
    let mut turn = desk.parked.turn().await.map_err(|error| store_problem(&error))?;
    let found = turn.find(name).await.map_err(|error| store_problem(&error))?;
    if found.is_empty() {
        return Err(no_letter(id));
    }
    let places = found.iter().map(|placed| placed.place).collect();
    let purged = turn.purge(places).await.map_err(|error| store_problem(&error))?;
    info!(event_id = %name, purged, "dead letter purged");
    Ok(json(&PurgedBody { purged }, None))
}

async fn redrive_one(desk: &DeadDesk, name: EventId, id: &str, again: &Again) -> OpsAnswer {
    let mut turn = desk.parked.turn().await.map_err(|error| store_problem(&error))?;
    let mut found = turn.find(name).await.map_err(|error| store_problem(&error))?;
    let placed = found.pop().ok_or_else(|| no_letter(id))?;
    let remade = remake(desk, &placed.letter, again).map_err(|refusal| {
        let detail = format!("the event stays a dead letter: {refusal}");
        Box::new(Problem::of(codes::NOT_REDRIVABLE, detail))
    })?;
    let count = remade.event.redriven.as_ref().map_or(1, |redriven| redriven.count);
    let mut body = RedroveBody {
        id: String::new(),
        policies: policies(&remade.lane),
        lane: remade.lane.key().as_str().to_owned(),
        expires_at: remade.event.expires_at.to_string(),
        count,
    };
    let ids = turn.redrive(vec![(placed, remade)]).await.map_err(|error| store_problem(&error))?;
    body.id = ids.first().copied().unwrap_or(name).to_string();
    info!(event_id = %name, known_as = body.id, count, by = again.by, "dead letter redriven");
    Ok(json(&body, None))
}
