//! The stored form of the book: JSON, format 4, apart from the inner types so that either can change.
//!
//! ```text
//! { "format": 4, "next_order": n,
//!   "policies": [ { "id", "origin", "order", "record", "deleted": bool, "ruling": spec | null,
//!     "pause": { "reason", "since_ms", "until_ms" | null } | null,
//!     "state": "created" | "updated" | "deployed", "before_deploy", "deployed": bool,
//!     "generations": [{ "number", "draining_until_ms" | null }], "next_generation": n } ],
//!   "elements": [ { "origin", "kind", "id", "order", "record" } ],
//!   "ended": [ { "id", "last_generation": n } ] }
//! ```
//!
//! The form of a spec is in `document_spec`. Format 1 had no window, quota, overlap, scope and pause, format 2 one clause
//! per policy and no elements, format 3 no record of what has ended; all are read and written anew as format 4. A higher
//! format is refused, never guessed at, and so is a member that is unknown: what it would mean is lost by leaving it out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::policy::document_spec::{SpecV3, decode_spec, encode_spec};
use crate::policy::elements::{Element, ElementName};
use crate::policy::{Book, GenerationState, Lifecycle, Origin, Pause, Policy, PolicyError, Runtime, State};

const FORMAT: u32 = 4;
const OLDEST_FORMAT: u32 = 1;

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BookV4 {
    format: u32,
    next_order: u64,
    policies: Vec<PolicyV1>,
    #[serde(default)]
    elements: Vec<ElementV3>,
    #[serde(default)]
    ended: Vec<EndedV4>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndedV4 {
    id: String,
    last_generation: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyV1 {
    id: String,
    origin: String,
    order: u64,
    record: Value,
    deleted: bool,
    ruling: Option<SpecV3>,
    #[serde(default)]
    pause: Option<PauseV2>,
    state: StateV1,
    before_deploy: StateV1,
    deployed: bool,
    generations: Vec<GenerationV1>,
    next_generation: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseV2 {
    reason: String,
    since_ms: u64,
    until_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationV1 {
    number: u32,
    draining_until_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateV1 {
    Created,
    Updated,
    Deployed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ElementV3 {
    origin: String,
    kind: String,
    id: String,
    order: u64,
    record: Value,
}

pub(super) fn encode(book: &Book) -> Result<Bytes, PolicyError> {
    let policies = book.policies.iter().map(|(id, policy)| encode_policy(id, policy)).collect();
    let elements = book.elements.iter().map(|(name, element)| ElementV3 {
        origin: name.origin.as_str().to_owned(),
        kind: name.kind.to_string(),
        id: name.id.to_string(),
        order: element.order,
        record: element.record.clone(),
    });
    let elements = elements.collect();
    let ended = book.ended.iter().map(|(id, last)| EndedV4 { id: id.to_string(), last_generation: *last });
    let ended = ended.collect();
    let document = BookV4 { format: FORMAT, next_order: book.next_order, policies, elements, ended };
    serde_json::to_vec_pretty(&document).map(Bytes::from).map_err(malformed)
}

pub(super) fn decode(body: &[u8]) -> Result<Book, PolicyError> {
    let Head { format } = serde_json::from_slice(body).map_err(malformed)?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
        return Err(PolicyError::Format { found: format, known: FORMAT });
    }
    let document: BookV4 = serde_json::from_slice(body).map_err(malformed)?;
    let mut book = Book { next_order: document.next_order, ..Book::default() };
    for policy in document.policies {
        let id = PolicyId::parse(&policy.id)?;
        if book.policies.insert(id, decode_policy(policy)?).is_some() {
            return Err(malformed("a policy id stands twice"));
        }
    }
    for ElementV3 { origin, kind, id, order, record } in document.elements {
        let name = ElementName { origin: Origin::new(&origin), kind: kind.into(), id: id.into() };
        if book.elements.insert(name, Element { order, record }).is_some() {
            return Err(malformed("an element stands twice"));
        }
    }
    for EndedV4 { id, last_generation } in document.ended {
        let id = PolicyId::parse(&id)?;
        if book.policies.contains_key(&id) || book.ended.insert(id, last_generation).is_some() {
            return Err(malformed("a policy that is gone stands twice"));
        }
    }
    Ok(book)
}

/// The stored form of a book without policies.
///
/// # Errors
/// [`PolicyError::Document`], which would be a defect.
pub fn empty_stored() -> Result<Bytes, PolicyError> {
    encode(&Book::default())
}

/// How many policies a stored book has that can be applied.
///
/// # Errors
/// [`PolicyError`] when it does not decode, is newer, or cannot be applied.
pub fn check_stored(body: &[u8]) -> Result<usize, PolicyError> {
    let book = decode(body)?;
    Runtime::build(&book)?;
    Ok(book.policies.len())
}

pub(super) fn malformed(reason: impl std::fmt::Display) -> PolicyError {
    PolicyError::Document { reason: reason.to_string() }
}

fn encode_policy(id: &PolicyId, policy: &Policy) -> PolicyV1 {
    let Policy { origin, record, ruling, pause, lifecycle, order } = policy;
    let Lifecycle { state, before_deploy, deployed, generations, next_generation } = lifecycle;
    let generations = generations.iter().map(|(number, state)| GenerationV1 {
        number: *number,
        draining_until_ms: match state {
            GenerationState::Active => None,
            GenerationState::Draining { until } => Some(until.as_millis()),
        },
    });
    PolicyV1 {
        id: id.to_string(),
        origin: origin.as_str().to_owned(),
        order: *order,
        record: record.clone().unwrap_or_default(),
        deleted: record.is_none(),
        ruling: ruling.as_ref().map(encode_spec),
        pause: pause.as_ref().map(|Pause { reason, since, until }| PauseV2 {
            reason: reason.clone(),
            since_ms: since.as_millis(),
            until_ms: until.map(Timestamp::as_millis),
        }),
        state: encode_state(*state),
        before_deploy: encode_state(*before_deploy),
        deployed: *deployed,
        generations: generations.collect(),
        next_generation: *next_generation,
    }
}

fn decode_policy(policy: PolicyV1) -> Result<Policy, PolicyError> {
    let generations = policy.generations.into_iter().map(|generation| {
        let state = match generation.draining_until_ms {
            None => GenerationState::Active,
            Some(until_ms) => GenerationState::Draining { until: Timestamp::from_millis(until_ms) },
        };
        (generation.number, state)
    });
    let lifecycle = Lifecycle {
        state: decode_state(&policy.state),
        before_deploy: decode_state(&policy.before_deploy),
        deployed: policy.deployed,
        generations: generations.collect(),
        next_generation: policy.next_generation,
    };
    Ok(Policy {
        origin: Origin::new(&policy.origin),
        record: (!policy.deleted).then_some(policy.record),
        ruling: policy.ruling.map(decode_spec).transpose()?,
        pause: policy.pause.map(|pause| Pause {
            reason: pause.reason,
            since: Timestamp::from_millis(pause.since_ms),
            until: pause.until_ms.map(Timestamp::from_millis),
        }),
        lifecycle,
        order: policy.order,
    })
}

const fn encode_state(state: State) -> StateV1 {
    match state {
        State::Created => StateV1::Created,
        State::Updated => StateV1::Updated,
        State::Deployed => StateV1::Deployed,
    }
}

const fn decode_state(state: &StateV1) -> State {
    match state {
        StateV1::Created => State::Created,
        StateV1::Updated => State::Updated,
        StateV1::Deployed => State::Deployed,
    }
}

#[cfg(test)]
mod tests;
