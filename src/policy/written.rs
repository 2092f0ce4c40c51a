//! How people write a policy: the members of a `[[policy]]` block of the configuration file, which are those of the body of
//! `PUT /v1/policies/{id}`. Read with every fault named, and written back where a policy can be expressed so.
//!
//! Must not know: TOML, HTTP, how policies become active.

mod given;
mod nearest;
mod reader;

use http::Method;

use crate::event::PolicyId;
use crate::policy::{Clause, Family, Limits, Spec};

pub(crate) use given::{Fault, Given, Members};
pub(crate) use nearest::nearest;
pub(crate) use reader::{read_name, read_spec};

/// All members, in the order in which they are written.
pub(crate) const MEMBERS: &[&str] = &[
    "name",
    "url",
    "methods",
    "labels",
    "pace",
    "window",
    "quota",
    "slots",
    "timeout_ms",
    "family",
    "scope",
];

/// The members of a policy that was made by any means; `None` where they cannot express all that it says.
#[must_use]
pub(crate) fn write(id: &PolicyId, spec: &Spec) -> Option<Members> {
    let [clause] = spec.clauses.as_slice() else { return None };
    let members = Members(members_of(id, clause, spec).into_iter().flatten().collect());
    // Whatever else it says is lost on the way.
    (read_name(&members).as_ref() == Ok(id) && read_spec(&members, None).as_ref() == Ok(spec))
        .then_some(members)
}

fn members_of(id: &PolicyId, clause: &Clause, spec: &Spec) -> [Option<(String, Given)>; 11] {
    let Limits { pace, window, quota, slots, timeout, closed: _ } = &spec.limits;
    let millis = |length: std::time::Duration| i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
    let texts = |texts: Vec<String>| {
        (!texts.is_empty()).then(|| Given::List(texts.into_iter().map(Given::Text).collect()))
    };
    let labels = clause.labels.iter().map(|label| (label.key.clone(), Given::Text(label.value.clone())));
    let labels: Vec<_> = labels.collect();
    // Nobody can write one that only counts: it is left out, and the comparison in `write` finds that.
    let window = window.and_then(|window| {
        Some(Given::Table(Members(vec![
            ("calls".to_owned(), Given::Integer(window.calls()?.get().into())),
            ("per_ms".to_owned(), Given::Integer(millis(window.length()))),
        ])))
    });
    let quota = quota.and_then(|quota| {
        Some(Given::Table(Members(vec![
            ("calls".to_owned(), Given::Integer(quota.calls?.get().into())),
            ("per".to_owned(), Given::Text(quota.per.name().to_owned())),
        ])))
    });
    let member = |name: &str, given: Option<Given>| given.map(|given| (name.to_owned(), given));
    [
        member("name", Some(Given::Text(id.to_string()))),
        member("url", Some(Given::Text(clause.pattern.as_str().to_owned()))),
        member("methods", texts(clause.methods.iter().map(Method::to_string).collect())),
        member("labels", (!labels.is_empty()).then_some(Given::Table(Members(labels)))),
        member("pace", pace.map(|pace| Given::number(pace.starts_per_second()))),
        member("window", window),
        member("quota", quota),
        member("slots", slots.map(|slots| Given::Integer(slots.get().into()))),
        member("timeout_ms", timeout.map(|timeout| Given::Integer(millis(timeout)))),
        member("family", (spec.family == Family::Refuse).then(|| Given::Text("refuse".to_owned()))),
        member("scope", texts(spec.scope.labels().iter().map(ToString::to_string).collect())),
    ]
}

#[cfg(test)]
mod tests;
