//! Reading bodies: how long, is it an object, members of the right type, the page of a list.

use axum::body::Body;
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::manage::call;
use crate::problem::BodyFault;

/// Why a body is refused as a whole, so that nothing of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) enum BodyError {
    /// More than [`call::BODY_BYTES_MAX`] (contract.md 4).
    TooLarge,
    /// No JSON at all, or not to its end.
    NotJson,
    /// Not an object, or a known member is of a wrong type.
    Invalid,
}

/// A member that is known has another type than it must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::manage) struct WrongType;

impl From<WrongType> for BodyError {
    fn from(_: WrongType) -> Self {
        Self::Invalid
    }
}

/// The whole body, of whatever media type.
pub(in crate::manage) async fn read(body: Body) -> Result<Bytes, BodyError> {
    call::read_body(body).await.map_err(|fault| match fault {
        BodyFault::TooLarge => BodyError::TooLarge,
        // What has come of it is no JSON.
        BodyFault::TooSlow | BodyFault::Incomplete => BodyError::NotJson,
    })
}

/// The members of a JSON object.
pub(in crate::manage) fn object(body: &[u8]) -> Result<Map<String, Value>, BodyError> {
    match serde_json::from_slice(body) {
        // Of a member that is given twice the last one counts.
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(BodyError::Invalid),
        Err(_) => Err(BodyError::NotJson),
    }
}

/// Takes a member that is text; `null` counts as absent.
pub(in crate::manage) fn text(
    members: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<String>, WrongType> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(WrongType),
    }
}

/// Takes a member that is a set of texts: the order sent, without repeats. `null` counts as absent.
pub(in crate::manage) fn text_set(
    members: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<Vec<String>>, WrongType> {
    let items = match members.remove(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(WrongType),
    };
    let mut texts: Vec<String> = Vec::new();
    for item in items {
        let Value::String(text) = item else { return Err(WrongType) };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    Ok(Some(texts))
}

/// The part of a list that is asked for: `(skip, take)`. Without a body, or without two valid numbers, all
/// (contract.md 2).
pub(in crate::manage) fn page(body: &[u8]) -> Result<(usize, usize), BodyError> {
    const ALL: (usize, usize) = (0, usize::MAX);
    if body.trim_ascii().is_empty() {
        return Ok(ALL);
    }
    let members = object(body)?;
    let number = |name: &str| members.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
    Ok(match (number("page"), number("pageSize")) {
        // A page far behind the end is empty; a size of 0 is no valid number.
        (Some(page), Some(size)) if size > 0 => (page.saturating_mul(size), size),
        _ => ALL,
    })
}
