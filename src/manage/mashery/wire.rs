//! What is received and sent: bodies to checked edits, edits and defaults to whole objects.
//!
//! Members that are not in the tables are kept as they are and given back: clients send whole objects and compare what
//! they read with what they sent.

mod kind;
pub(super) mod listing;
mod members;
pub(super) mod shape;
#[cfg(test)]
mod tests;
pub(super) mod ways;

use serde_json::{Map, Value};

use crate::manage::mashery::errors::{PropertyError, Refusal};

pub(super) use kind::Kind;
pub(super) use members::Member;

use members::Unset;

/// Most objects that one body may describe, with those within others.
const DRAFTS_MAX: usize = 500;

/// An object as a body describes it, with those within it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft {
    /// What kind of object it is.
    pub(super) kind: Kind,
    /// The id that the body names; of a new object it counts only where the object stands for another one.
    pub(super) id: Option<String>,
    /// The members that the body gives, each of the right shape or `null`.
    pub(super) edit: Map<String, Value>,
    /// The objects within it that the body describes.
    pub(super) within: Vec<Self>,
}

impl Draft {
    /// Reads an object of this kind.
    ///
    /// # Errors
    /// What the body is instead, or every property that breaks its rule.
    pub(super) fn read(kind: Kind, body: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(body)) => Self::of(kind, &body),
            _ => Err(Refusal::invalid("the body must be a JSON object")),
        }
    }

    /// The same for an object that the path names: the body need not repeat its id.
    ///
    /// # Errors
    /// As for [`Draft::read`].
    pub(super) fn read_named(kind: Kind, id: Option<&str>, body: &[u8]) -> Result<Self, Refusal> {
        let Ok(Value::Object(mut body)) = serde_json::from_slice(body) else {
            return Err(Refusal::invalid("the body must be a JSON object"));
        };
        body.extend(id.map(|id| ("id".to_owned(), Value::from(id))));
        Self::of(kind, &body)
    }

    /// The same of a value that was read before.
    ///
    /// # Errors
    /// As for [`Draft::read`].
    pub(super) fn of(kind: Kind, body: &Map<String, Value>) -> Result<Self, Refusal> {
        let (mut errors, mut left) = (Vec::new(), DRAFTS_MAX);
        let draft = Self::gather(kind, body, "", &mut errors, &mut left);
        if errors.is_empty() { Ok(draft) } else { Err(Refusal::Properties(errors)) }
    }

    /// `before` stands in front of the names of properties, for objects within others.
    fn gather(
        kind: Kind,
        body: &Map<String, Value>,
        before: &str,
        errors: &mut Vec<PropertyError>,
        left: &mut usize,
    ) -> Self {
        let (edit, faults) = read_edit(kind, body);
        let named = |PropertyError { property, message }| PropertyError {
            property: format!("{before}{property}").into(),
            message,
        };
        errors.extend(faults.into_iter().map(named));
        let id = body.get("id").and_then(Value::as_str).map(str::to_owned);
        let mut draft = Self { kind, id, edit, within: Vec::new() };
        if kind.stands_for().is_some() && draft.id.is_none() {
            errors.push(PropertyError::new(&format!("{before}id"), "must be the id of what is in the plan"));
        }
        let Some((name, inner)) = kind.within() else { return draft };
        match body.get(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if items.len() <= *left => {
                *left -= items.len();
                let before = format!("{before}{name}.");
                for item in items {
                    match item {
                        Value::Object(item) => {
                            draft.within.push(Self::gather(inner, item, &before, errors, left));
                        }
                        _ => errors.push(PropertyError::new(&before, "must list objects")),
                    }
                }
            }
            Some(_) => {
                let rule = format!("must be a list; one body may describe {DRAFTS_MAX} objects at most");
                errors.push(PropertyError::new(&format!("{before}{name}"), rule));
            }
        }
        draft
    }
}

/// The members of a body that are kept, and the faults of those that are not.
fn read_edit(kind: Kind, body: &Map<String, Value>) -> (Map<String, Value>, Vec<PropertyError>) {
    let (mut edit, mut errors) = (Map::new(), Vec::new());
    // In the order of the table, which is that of the faults.
    for member in kind.members() {
        // A body may leave out what an update does not change.
        let Some(value) = body.get(member.name) else { continue };
        let checked = if value.is_null() { Ok(Value::Null) } else { member.shape.check(value) };
        match checked {
            Ok(value) => drop(edit.insert(member.name.to_owned(), value)),
            Err(rule) => errors.push(PropertyError::new(member.name, rule)),
        }
    }
    // What stands for another object shows the members of that one, which are not changed here.
    if kind.stands_for().is_none() {
        let known = |name: &str| {
            kind.makes(name)
                || kind.within().is_some_and(|(within, _)| within == name)
                || kind.members().iter().any(|member| member.name == name)
        };
        edit.extend(body.iter().filter(|(name, _)| !known(name)).map(|(k, v)| (k.clone(), v.clone())));
    }
    (edit, errors)
}

/// The members of `old` with those of `edit` in their place: what is not in the edit stays, `null` unsets.
///
/// # Errors
/// Every property that must be given, or does not agree with the others.
pub(super) fn merged(
    kind: Kind,
    old: &Map<String, Value>,
    edit: &Map<String, Value>,
) -> Result<Map<String, Value>, Refusal> {
    let mut next = Map::new();
    let mut errors = Vec::new();
    for Member { name, unset, .. } in kind.members() {
        let value = edit.get(*name).or_else(|| old.get(*name)).filter(|value| !value.is_null());
        let value = match (value, unset) {
            (Some(value), _) => value.clone(),
            (None, Unset::Null) => Value::Null,
            (None, Unset::False) => Value::Bool(false),
            (None, Unset::Empty) => Value::Array(Vec::new()),
            (None, Unset::Word(word)) => Value::from(*word),
            // Not stored as `null`, because what was never given is not shown.
            (None, Unset::Absent) => continue,
            (None, Unset::Refused) => {
                errors.push(PropertyError::new(name, "is required"));
                continue;
            }
        };
        next.insert((*name).to_owned(), value);
    }
    let is_known = |name: &String| kind.members().iter().any(|member| member.name == *name);
    for (name, value) in old.iter().chain(edit).filter(|(name, _)| !is_known(name)) {
        match value {
            Value::Null => drop(next.remove(name)),
            // Of both the edit comes later.
            value => drop(next.insert(name.clone(), value.clone())),
        }
    }
    for (ceiling, exempt) in [("rateLimitCeiling", "rateLimitExempt"), ("qpsLimitCeiling", "qpsLimitExempt")]
    {
        // Checked on the whole: the edit may set one of the two members and the object have the other.
        let zero = next.get(ceiling).and_then(Value::as_i64) == Some(0);
        if zero && next.get(exempt) == Some(&Value::Bool(false)) {
            let rule = format!("must not be 0 unless {exempt} is true; null inherits");
            errors.push(PropertyError::new(ceiling, rule));
        }
    }
    if errors.is_empty() { Ok(next) } else { Err(Refusal::Properties(errors)) }
}
