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
//!
//! Written and read policy by policy: of thousands of them only one at a time stands in memory in the stored form.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::policy::document_reader::read_each;
use crate::policy::document_spec::{SpecV3, decode_spec, encode_spec};
use crate::policy::elements::{Element, ElementName, Elements};
use crate::policy::{
    Book, Clause, GenerationState, Lifecycle, Origin, Pause, Policy, PolicyError, Runtime, Scope, Spec, State,
};

const FORMAT: u32 = 4;
const OLDEST_FORMAT: u32 = 1;

#[derive(Deserialize)]
struct Head {
    format: u32,
}

/// As it is written; it is read by `document_reader`.
#[derive(Serialize)]
struct BookV4<'b> {
    format: u32,
    next_order: u64,
    #[serde(serialize_with = "write_policies")]
    policies: &'b BTreeMap<PolicyId, Arc<Policy>>,
    #[serde(serialize_with = "write_elements")]
    elements: &'b Elements,
    #[serde(serialize_with = "write_ended")]
    ended: &'b BTreeMap<PolicyId, u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndedV4 {
    id: String,
    last_generation: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyV1 {
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
pub(super) struct ElementV3 {
    origin: String,
    kind: String,
    id: String,
    order: u64,
    record: Value,
}

pub(super) fn encode(book: &Book) -> Result<Bytes, PolicyError> {
    let Book { policies, elements, next_order, ended } = book;
    let document = BookV4 { format: FORMAT, next_order: *next_order, policies, elements, ended };
    serde_json::to_vec(&document).map(Bytes::from).map_err(malformed)
}

fn write_policies<S: Serializer>(
    policies: &BTreeMap<PolicyId, Arc<Policy>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(policies.iter().map(|(id, policy)| encode_policy(id, policy)))
}

fn write_elements<S: Serializer>(elements: &Elements, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(elements.iter().map(|(name, element)| ElementV3 {
        origin: name.origin.as_str().to_owned(),
        kind: name.kind.to_string(),
        id: name.id.to_string(),
        order: element.order,
        record: element.record.clone(),
    }))
}

fn write_ended<S: Serializer>(ended: &BTreeMap<PolicyId, u32>, serializer: S) -> Result<S::Ok, S::Error> {
    let ended = ended.iter().map(|(id, last)| EndedV4 { id: id.to_string(), last_generation: *last });
    serializer.collect_seq(ended)
}

/// Specs that are in memory already, by the policies that have them. A book that is read shares those that it has alike:
/// of thousands of policies the second copy would be given back in pieces between others, which the process keeps.
pub(super) type Shared<'s> = BTreeMap<&'s PolicyId, &'s Arc<Spec>>;

pub(super) fn decode(body: &[u8]) -> Result<Book, PolicyError> {
    decode_sharing(body, &Shared::new())
}

pub(super) fn decode_sharing(body: &[u8], shared: &Shared<'_>) -> Result<Book, PolicyError> {
    let mut policies = BTreeMap::new();
    // There are a few, and each of thousands of policies names one.
    let mut origins: Vec<Origin> = Vec::new();
    let mut rest = decode_each(body, &mut |id, mut policy| {
        match origins.iter().find(|known| **known == policy.origin) {
            Some(known) => policy.origin = known.clone(),
            None => origins.push(policy.origin.clone()),
        }
        if let Some(same) = shared.get(&id).filter(|spec| policy.ruling.as_ref() == Some(**spec)) {
            policy.ruling = Some(Arc::clone(same));
        }
        match policies.insert(id, Arc::new(policy)) {
            Some(_) => Err(malformed("a policy id stands twice")),
            None => Ok(()),
        }
    })?;
    if rest.ended.keys().any(|id| policies.contains_key(id)) {
        return Err(malformed("a policy that is gone is still there"));
    }
    rest.policies = policies;
    Ok(rest)
}

/// Whether the next start would read what was written of this book, and every policy would govern the same calls: a book
/// that cannot be read keeps the process from starting. Numbers may lose their last bit, times what lies below a
/// millisecond.
///
/// # Errors
/// [`PolicyError::Document`] when it would not.
pub(super) fn check_written(book: &Book, body: &[u8]) -> Result<(), PolicyError> {
    let differs = || malformed("what is to be written reads differently");
    let mut expected = book.policies.iter();
    let rest = decode_each(body, &mut |id, policy| {
        let same = expected.next().filter(|(known, _)| **known == id);
        same.filter(|(_, known)| governed(known) == governed(&policy)).map(drop).ok_or_else(differs)
    })?;
    if expected.next().is_some() || rest.ended != book.ended {
        return Err(differs());
    }
    Ok(())
}

/// The calls that a policy governs.
fn governed(policy: &Policy) -> Option<(&[Clause], &Scope)> {
    policy.ruling().map(|spec| (&*spec.clauses, &spec.scope))
}

/// Hands on each policy in the order of the document; returns the book without them.
fn decode_each(
    body: &[u8],
    take: &mut dyn FnMut(PolicyId, Policy) -> Result<(), PolicyError>,
) -> Result<Book, PolicyError> {
    let Head { format } = serde_json::from_slice(body).map_err(malformed)?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
        return Err(PolicyError::Format { found: format, known: FORMAT });
    }
    let parts = read_each(body, &mut |policy: PolicyV1| {
        let id = PolicyId::parse(&policy.id)?;
        take(id, decode_policy(policy)?)
    });
    let parts = parts.map_err(malformed)?;
    let mut book = Book { next_order: parts.next_order, ..Book::default() };
    for ElementV3 { origin, kind, id, order, record } in parts.elements {
        let name = ElementName { origin: Origin::new(&origin), kind: kind.into(), id: id.into() };
        if book.elements.insert(name, Element { order, record }).is_some() {
            return Err(malformed("an element stands twice"));
        }
    }
    for EndedV4 { id, last_generation } in parts.ended {
        if book.ended.insert(PolicyId::parse(&id)?, last_generation).is_some() {
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
        ruling: ruling.as_deref().map(encode_spec),
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
        ruling: policy.ruling.map(decode_spec).transpose()?.map(Arc::new),
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
