//! The desk of the dead letters: they are shown, grouped, handed in again and purged.
//!
//! ```text
//! routes (here) -> list, groups, show: read in bounded pieces -> wire
//!               -> verbs: one letter, or many by a filter, see `changes`
//!               -> transfer: export and import, as lines
//!                  remake: the event of a letter, routed as at the door
//! ```
//!
//! Must not know: how letters are kept, how a redrive survives a crash.

pub(super) mod bulk;
pub(super) mod doc;
mod filter;
pub(super) mod groups;
pub(super) mod list;
mod many;
mod remake;
#[cfg(test)]
mod tests;
pub(super) mod transfer;
pub(super) mod verbs;
pub(super) mod wire;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use http::HeaderMap;

use crate::clock::{Clock, Timestamp};
use crate::event::EventId;
use crate::ingest::CallRouter;
use crate::ops::changes::Runs;
use crate::ops::desk::{PathName, late, respond, split};
use crate::ops::resource::LETTERS;
use crate::policy::Policies;
use crate::problem::{Problem, codes};
use crate::queue::{Parked, Queue, QueueError};
use crate::store::StoreError;

pub(super) use verbs::LetterVerb;

/// Letters that one page may read, and how long it may take for that.
const READ_AT_MOST: usize = 10_000;
const READ_FOR: Duration = Duration::from_millis(50);
/// Letters that are read at once.
const PIECE: usize = 500;
const PIECE_BYTES: usize = 4 << 20;

/// What the desk of the dead letters works with.
#[derive(Clone)]
pub(crate) struct DeadDesk {
    /// Knows what is kept of attempts.
    pub queue: Queue,
    /// The letters, and the way back into the queue.
    pub parked: Parked,
    /// The changes of many that go on or have ended.
    pub runs: Runs,
    /// Finds the lanes of events as the door does.
    pub router: CallRouter,
    /// The policies by which events are routed.
    pub policies: Policies,
    /// The clock for new ends of life, and for how long a page may read.
    pub clock: Clock,
}

/// `/v1/dead-letters`, its verbs, and `/v1/dead-letters/{id}` with its verbs.
pub(crate) fn dead_routes(desk: DeadDesk) -> Router {
    Router::new()
        .route("/v1/dead-letters", get(list::list))
        .route("/v1/dead-letters:redrive", post(bulk::redrive_many))
        .route("/v1/dead-letters:purge", post(bulk::purge_many))
        .route("/v1/dead-letters:export", get(transfer::export))
        .route("/v1/dead-letters:import", post(transfer::import))
        .route("/v1/dead-letters/{name}", get(list::show).post(act).fallback(other_method))
        .with_state(desk)
}

async fn act(State(desk): State<DeadDesk>, name: PathName, headers: HeaderMap, body: Body) -> Response {
    let (id, verb) = split(&name);
    match verb.and_then(LetterVerb::parse) {
        Some(verb) => respond(verbs::act(&desk, id, verb, &headers, body).await),
        None => LETTERS.refuse(verb),
    }
}

async fn other_method(name: PathName) -> Response {
    LETTERS.refuse(split(&name).1)
}

/// The id in a path; a text that can be none is answered like an event without a letter.
fn letter_id(text: &str) -> Result<EventId, Box<Problem>> {
    text.parse().map_err(|_| no_letter(text))
}

fn no_letter(id: &str) -> Box<Problem> {
    // The path repeats what a caller has sent: it is cut, so that the answer stays short.
    let id: String = id.chars().take(64).collect();
    let detail = format!(
        "there is no dead letter of the event {id:?}; GET /v1/dead-letters lists them, GET /v1/events/{{id}} says where an \
         event stands"
    );
    Box::new(Problem::of(codes::DEAD_LETTER_NOT_FOUND, detail))
}

/// What is answered when the store did not do it.
fn store_problem(error: &QueueError) -> Box<Problem> {
    if let QueueError::Store(StoreError::Held { reason }) = error {
        return Box::new(Problem::store_held(reason));
    }
    if let QueueError::Store(error) = error
        && let Some(problem) = late(error)
    {
        return problem;
    }
    tracing::warn!(%error, "dead letters could not be read or changed");
    let detail = "the store cannot read or change dead letters now; look at them before repeating it";
    Box::new(Problem::of(codes::STORAGE_ERROR, detail).retry_after(10))
}

/// A moment of the clock, without what lies below a millisecond.
fn whole_millis(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millis())
}
