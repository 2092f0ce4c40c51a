//! The stored form of the book: JSON, format 6, apart from the inner types so that either can change.
//!
//! ```text
//! { "format": 6, "next_order": n,
//!   "policies": [ { "id", "origin", "order", "deleted": bool, "ruling": spec | null,
//!     "pause": { "reason", "since_ms", "until_ms" | null } | null,
//!     "generations": [{ "number", "draining_until_ms" | null }], "next_generation": n } ],
//!   "elements": [ { "origin", "kind", "id", "order", "record" } ],
//!   "ended": [ { "id", "last_generation": n } ] }
//! ```
//!
//! The form of a spec is in `spec`. Format 1 had no window, quota, overlap, scope and pause, format 2 one clause per policy
//! and no elements, format 3 no record of what has ended, format 4 records and authoring states of policies (`upgrade`),
//! format 5 no titles; all are read and written anew as format 6. A higher format is refused, never guessed at, and so is a member that is unknown:
//! what it would mean is lost by leaving it out.
//!
//! Read policy by policy: of thousands of them only one at a time stands in memory in the stored form. Written from the
//! stored forms of the single policies and elements, each of which is made and checked once, by its first write.

mod reader;
pub(super) mod spec;
mod upgrade;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::policy::document::reader::{BookRest, read_each};
use crate::policy::document::spec::{SpecV3, decode_spec, encode_spec};
use crate::policy::document::upgrade::PolicyV1;
use crate::policy::elements::{Element, ElementName};
use crate::policy::kept::Kept;
use crate::policy::{
    Book, Clause, GenerationState, Lifecycle, Origin, Pause, Policy, PolicyError, Runtime, Scope, Spec,
};

const FORMAT: u32 = 6;
const OLDEST_FORMAT: u32 = 1;
/// The last format in which policies had records.
const WITH_RECORDS: u32 = 4;
/// The first format that has the members of the present one.
const AS_NOW: u32 = 5;

#[derive(Deserialize)]
struct FormatHead {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndedV4 {
    id: String,
    last_generation: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyV5 {
    id: String,
    origin: String,
    order: u64,
    deleted: bool,
    ruling: Option<SpecV3>,
    pause: Option<PauseV2>,
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
#[serde(deny_unknown_fields)]
struct ElementV3 {
    origin: String,
    kind: String,
    id: String,
    order: u64,
    record: Value,
}

/// The stored form, of which is known that the next start reads it and that every policy then governs the same calls: a
/// book that cannot be read holds the whole store. Numbers may lose their last bit, times what lies below a
/// millisecond.
///
/// # Errors
/// [`PolicyError::Document`] when that is not so.
pub(super) fn encode(book: &Book) -> Result<Bytes, PolicyError> {
    let Book { policies, elements, next_order, ended } = book;
    let mut body = format!("{{\"format\":{FORMAT},\"next_order\":{next_order},\"policies\":[").into_bytes();
    let policies = policies.iter().map(|(id, policy)| policy.stored(|policy| store_policy(id, policy)));
    append(&mut body, policies)?;
    body.extend_from_slice(b"],\"elements\":[");
    append(&mut body, elements.iter().map(|(name, it)| it.stored(|element| store_element(name, element))))?;
    let ended = ended.iter().map(|(id, last)| EndedV4 { id: id.to_string(), last_generation: *last });
    body.extend_from_slice(b"],\"ended\":");
    serde_json::to_writer(&mut body, &ended.collect::<Vec<_>>()).map_err(malformed)?;
    body.push(b'}');
    Ok(body.into())
}

/// The stored forms with commas between them.
fn append<'s>(
    body: &mut Vec<u8>,
    stored: impl Iterator<Item = Result<&'s [u8], PolicyError>>,
) -> Result<(), PolicyError> {
    for (nth, one) in stored.enumerate() {
        if nth > 0 {
            body.push(b',');
        }
        body.extend_from_slice(one?);
    }
    Ok(())
}

fn store_policy(id: &PolicyId, policy: &Policy) -> Result<Vec<u8>, PolicyError> {
    let stored = serde_json::to_vec(&encode_policy(id, policy)).map_err(malformed)?;
    // What is written is read back at once: a book that turns out to be unreadable at the next start holds the whole
    // store.
    let (read_id, read) = decode_policy(serde_json::from_slice(&stored).map_err(malformed)?)?;
    if read_id != *id || governed(&read) != governed(policy) {
        return Err(malformed("what is to be written reads differently"));
    }
    Ok(stored)
}

/// The calls that a policy governs.
fn governed(policy: &Policy) -> Option<(&[Clause], &Scope)> {
    policy.ruling().map(|spec| (&*spec.clauses, &spec.scope))
}

fn store_element(name: &ElementName, element: &Element) -> Result<Vec<u8>, PolicyError> {
    let stored = serde_json::to_vec(&ElementV3 {
        origin: name.origin.as_str().to_owned(),
        kind: name.kind.to_string(),
        id: name.id.to_string(),
        order: element.order,
        record: element.record.clone(),
    });
    let stored = stored.map_err(malformed)?;
    let _: ElementV3 = serde_json::from_slice(&stored).map_err(malformed)?;
    Ok(stored)
}

/// Specs that are in memory already, by the policies that have them. A book that is read shares those that it has alike:
/// of thousands of policies the second copy would be given back in pieces between others, which the process keeps.
pub(super) type KnownSpecs<'s> = BTreeMap<&'s PolicyId, &'s Arc<Spec>>;

pub(super) fn decode(body: &[u8]) -> Result<Book, PolicyError> {
    decode_sharing(body, &KnownSpecs::new())
}

pub(super) fn decode_sharing(body: &[u8], shared: &KnownSpecs<'_>) -> Result<Book, PolicyError> {
    let mut policies = BTreeMap::new();
    // There are a few, and each of thousands of policies names one.
    let mut origins: Vec<Origin> = Vec::new();
    let mut rest = decode_each(body, &mut |id, mut policy| {
        match origins.iter().find(|known| **known == policy.origin) {
            Some(known) => policy.origin = known.clone(),
            None => origins.push(policy.origin.clone()),
        }
        // Only where both are equal: the stored book is the truth.
        if let Some(same) = shared.get(&id).filter(|spec| policy.ruling.as_ref() == Some(**spec)) {
            policy.ruling = Some(Arc::clone(same));
        }
        match policies.insert(id, Kept::new(policy)) {
            Some(_) => Err(malformed("a policy id stands twice")),
            None => Ok(()),
        }
    })?;
    // Its generations would be known and gone at the same time: no rule says what becomes of their entries.
    if rest.ended.keys().any(|id| policies.contains_key(id)) {
        return Err(malformed("a policy that is gone is still there"));
    }
    rest.policies = policies;
    Ok(rest)
}

/// Hands on each policy in the order of the document; returns the book without them.
fn decode_each(
    body: &[u8],
    take: &mut dyn FnMut(PolicyId, Policy) -> Result<(), PolicyError>,
) -> Result<Book, PolicyError> {
    // The head alone first, because each format has members of its own.
    let FormatHead { format } = serde_json::from_slice(body).map_err(malformed)?;
    let mut take = |policy| decode_policy(policy).and_then(|(id, policy)| take(id, policy));
    let parts = match format {
        OLDEST_FORMAT..=WITH_RECORDS => {
            let mut elements = Vec::new();
            let parts = read_each(body, &mut |policy: PolicyV1| {
                let (policy, element) = policy.upgrade();
                // Kept aside: the reader gives its own elements only at the end of the document.
                elements.extend(element);
                take(policy)
            });
            parts.map(|mut parts| {
                parts.elements.append(&mut elements);
                parts
            })
        }
        AS_NOW..=FORMAT => read_each(body, &mut take),
        // Never guessed at: what a newer version has added would be lost by the next write.
        _ => return Err(PolicyError::Format { found: format, known: FORMAT }),
    };
    let BookRest { next_order, elements, ended } = parts.map_err(malformed)?;
    let mut book = Book { next_order, ..Book::default() };
    for ElementV3 { origin, kind, id, order, record } in elements {
        let name = ElementName { origin: Origin::new(&origin), kind: kind.into(), id: id.into() };
        if !book.elements.add(name, Element { order, record }) {
            return Err(malformed("an element stands twice"));
        }
    }
    for EndedV4 { id, last_generation } in ended {
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
pub(crate) fn empty_stored() -> Result<Bytes, PolicyError> {
    encode(&Book::default())
}

/// How many policies a stored book has that can be applied.
///
/// # Errors
/// [`PolicyError`] when it does not decode, is newer, or cannot be applied.
pub(crate) fn check_stored(body: &[u8]) -> Result<usize, PolicyError> {
    let book = decode(body)?;
    Runtime::build(&book)?;
    Ok(book.policies.len())
}

pub(super) fn malformed(reason: impl std::fmt::Display) -> PolicyError {
    PolicyError::Document { reason: reason.to_string() }
}

fn encode_policy(id: &PolicyId, policy: &Policy) -> PolicyV5 {
    let Policy { origin, is_deleted, ruling, pause, lifecycle, order } = policy;
    let Lifecycle { generations, next_generation } = lifecycle;
    let generations = generations.iter().map(|(number, state)| GenerationV1 {
        number: *number,
        draining_until_ms: match state {
            GenerationState::Active => None,
            GenerationState::Draining { until } => Some(until.as_millis()),
        },
    });
    PolicyV5 {
        id: id.to_string(),
        origin: origin.as_str().to_owned(),
        order: *order,
        deleted: *is_deleted,
        ruling: ruling.as_deref().map(encode_spec),
        pause: pause.as_ref().map(|Pause { reason, since, until }| PauseV2 {
            reason: reason.clone(),
            since_ms: since.as_millis(),
            until_ms: until.map(Timestamp::as_millis),
        }),
        generations: generations.collect(),
        next_generation: *next_generation,
    }
}

fn decode_policy(policy: PolicyV5) -> Result<(PolicyId, Policy), PolicyError> {
    let generations = policy.generations.into_iter().map(|generation| {
        let state = match generation.draining_until_ms {
            None => GenerationState::Active,
            Some(until_ms) => GenerationState::Draining { until: Timestamp::from_millis(until_ms) },
        };
        (generation.number, state)
    });
    let generations = generations.collect();
    let id = PolicyId::parse(&policy.id)?;
    let policy = Policy {
        origin: Origin::new(&policy.origin),
        is_deleted: policy.deleted,
        ruling: policy.ruling.map(decode_spec).transpose()?.map(Arc::new),
        pause: policy.pause.map(|pause| Pause {
            reason: pause.reason,
            since: Timestamp::from_millis(pause.since_ms),
            until: pause.until_ms.map(Timestamp::from_millis),
        }),
        lifecycle: Lifecycle { generations, next_generation: policy.next_generation },
        order: policy.order,
    };
    Ok((id, policy))
}

#[cfg(test)]
mod tests;
