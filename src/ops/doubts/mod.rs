//! The desk of the doubts: what the store could not establish, and what an operator decides about it.
//!
//! ```text
//! routes (here) -> list, show: read the registry -> wire
//!               -> verbs: acknowledge here; retry, give-up, confirm -> Decisions (whoever holds what is in doubt)
//! ```
//!
//! Must not know: how what is in doubt is held, read again, given up or confirmed.

pub(super) mod doc;
pub(super) mod list;
pub(super) mod verbs;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::HeaderMap;

use crate::ops::desk::respond;
use crate::ops::resource::DOUBTS;
use crate::problem::{Problem, codes};
use crate::store::doubts::{Doubt, DoubtKind};
use crate::store::{Doubts, StoreError};

pub(crate) use verbs::DoubtVerb;

/// Carries out what an operator decides about a doubt. It is called only for kinds that have the verb: see
/// [`verbs_of`]. Each call may be repeated.
pub(crate) trait Decisions: Send + Sync + 'static {
    /// Tries again what the doubt is about, once. The doubt is cleared when that goes well.
    fn retry<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>>;

    /// Settles the events of the doubt as lost, durably, and ends it. Returns how many these were.
    fn give_up<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<u64, DecisionError>>;

    /// Takes the operator's word that what is in doubt is right, and ends the doubt.
    fn confirm<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>>;
}

/// Why a decision could not be carried out. The call may be repeated.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DecisionError {
    /// The store did not do it, or did not answer in time.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Anything else: nothing has been decided.
    #[error("{0}")]
    Other(String),
}

/// What can be done about doubts of a kind. Kinds without more than `acknowledge` end by themselves, by what their
/// way out says, or are reports of what has happened.
#[must_use]
pub(crate) const fn verbs_of(kind: DoubtKind) -> &'static [DoubtVerb] {
    match kind {
        DoubtKind::Unread => &[DoubtVerb::Acknowledge, DoubtVerb::Retry, DoubtVerb::GiveUp],
        DoubtKind::Generation => &[DoubtVerb::Acknowledge, DoubtVerb::GiveUp],
        DoubtKind::Clock => &[DoubtVerb::Acknowledge, DoubtVerb::Confirm],
        DoubtKind::Lost
        | DoubtKind::Uncertain
        | DoubtKind::Book
        | DoubtKind::Document
        | DoubtKind::Usages
        | DoubtKind::Rollback
        | DoubtKind::Files
        | DoubtKind::Account => &[DoubtVerb::Acknowledge],
    }
}

/// What the desk of the doubts works with.
#[derive(Clone)]
pub(crate) struct DoubtDesk {
    /// The open doubts, shared with those who raise and clear them.
    pub doubts: Doubts,
    /// Carries out decisions, where what is in doubt is held.
    pub decisions: Arc<dyn Decisions>,
}

type Name = Result<Path<String>, PathRejection>;

/// `/v1/doubts` and `/v1/doubts/{id}` with its verbs.
pub(crate) fn doubt_routes(desk: DoubtDesk) -> Router {
    Router::new()
        .route("/v1/doubts", get(list::list))
        .route("/v1/doubts/{name}", get(list::show).post(act).fallback(other_method))
        .with_state(desk)
}

async fn act(State(desk): State<DoubtDesk>, name: Name, headers: HeaderMap, body: Body) -> Response {
    let (id, verb) = split(&name);
    match verb.and_then(DoubtVerb::parse) {
        Some(verb) => respond(desk.act(id, verb, &headers, body).await),
        None => DOUBTS.refuse(verb),
    }
}

async fn other_method(name: Name) -> Response {
    DOUBTS.refuse(split(&name).1)
}

/// The id and the verb behind the colon. What is not even text is no id.
fn split(name: &Name) -> (&str, Option<&str>) {
    let text = name.as_ref().map_or("", |Path(text)| text.as_str());
    text.split_once(':').map_or((text, None), |(id, verb)| (id, Some(verb)))
}

impl DoubtDesk {
    /// The open doubt that a path names.
    fn find(&self, id: &str) -> Result<Doubt, Box<Problem>> {
        // `+7` would parse as well: each doubt has one path.
        let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let doubt = id.parse().ok().filter(|_| plain).and_then(|id| self.doubts.get(id));
        doubt.ok_or_else(|| no_doubt(id))
    }
}

fn no_doubt(id: &str) -> Box<Problem> {
    // The path repeats what a caller has sent: it is cut, so that the answer stays short.
    let id: String = id.chars().take(32).collect();
    let detail = format!(
        "there is no open doubt {id:?}; GET /v1/doubts lists them, and those that have ended are gone"
    );
    Box::new(Problem::of(codes::DOUBT_NOT_FOUND, detail))
}

#[cfg(test)]
mod tests;
