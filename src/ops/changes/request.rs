//! The members that all requests for a change of many have, and the forms of their values.
//!
//! Must not know: which filters there are.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ops::body::invalid;
use crate::problem::{Problem, codes};

/// Reads a filter, and holds it against `all`: that all are meant has to be said. `names_nothing` says whether a filter
/// means everything.
pub(in crate::ops) fn filter<B: DeserializeOwned, F: Default>(
    filter: Option<&Value>,
    all: Option<&Value>,
    members: &str,
    read: impl FnOnce(B) -> Result<F, Box<Problem>>,
    names_nothing: impl FnOnce(&F) -> bool,
) -> Result<F, Box<Problem>> {
    let filter = match filter {
        None => F::default(),
        Some(given) => {
            let body = given.is_object().then(|| serde_json::from_value(given.clone()).ok()).flatten();
            let rule = || invalid("filter", format!("must be an object with some of {members}"));
            read(body.ok_or_else(rule)?)?
        }
    };
    let names_nothing = names_nothing(&filter);
    match all {
        None | Some(Value::Bool(false)) if names_nothing => {
            let rule = "must name some of them; give all: true where every one is meant".to_owned();
            Err(invalid("filter", rule))
        }
        None | Some(Value::Bool(false)) => Ok(filter),
        Some(Value::Bool(true)) if names_nothing => Ok(filter),
        Some(Value::Bool(true)) => Err(invalid("all", "excludes a filter; leave one of them out".to_owned())),
        Some(_) => Err(invalid("all", "must be true or false".to_owned())),
    }
}

/// A member of a filter as text.
pub(in crate::ops) fn text(name: &str, value: Option<&Value>) -> Result<Option<String>, Box<Problem>> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(invalid_in_filter(name, "must be text".to_owned())),
    }
}

/// The labels of a filter, with their values.
pub(in crate::ops) fn labels(value: Option<&Value>) -> Result<Vec<(String, String)>, Box<Problem>> {
    let wrong = || invalid_in_filter("labels", "must be an object of texts".to_owned());
    let Some(value) = value else { return Ok(Vec::new()) };
    let labels = value.as_object().ok_or_else(wrong)?.iter();
    labels.map(|(key, value)| Ok((key.clone(), value.as_str().ok_or_else(wrong)?.to_owned()))).collect()
}

/// The problem of a member of the filter that breaks its rule.
pub(in crate::ops) fn invalid_in_filter(member: &str, rule: String) -> Box<Problem> {
    let detail = format!("filter: {member} {rule}");
    let pointer = crate::event::json_pointer(["filter", member]);
    Box::new(Problem::of(codes::INVALID_REQUEST, detail).field(pointer, rule))
}
