//! How people write a policy: the members of a `[[policy]]` block of the configuration file, which are those of the body of
//! `PUT /v1/policies/{id}`. Read with every fault named, and written back where a policy can be expressed so.
//!
//! Must not know: TOML, HTTP, how policies become active.

mod given;
mod limits;
mod nearest;
mod reader;

use http::Method;

use crate::event::PolicyId;
use crate::policy::{Clause, Family, Spec};

pub(crate) use given::{Fault, Given, Members};
pub(crate) use nearest::nearest;
pub(crate) use reader::{read_name, read_spec};

/// The members before the limits.
const BEFORE: [&str; 4] = ["name", "url", "methods", "labels"];
/// The members behind the limits.
const BEHIND: [&str; 2] = ["family", "scope"];

/// All members, in the order in which they are written.
pub(crate) const MEMBERS: &[&str] = &{
    let mut all = [""; BEFORE.len() + limits::MEMBERS.len() + BEHIND.len()];
    let (parts, mut at) = ([BEFORE.as_slice(), &limits::MEMBERS, &BEHIND], 0);
    let mut part = 0;
    while part < parts.len() {
        let mut nth = 0;
        while nth < parts[part].len() {
            all[at] = parts[part][nth];
            (nth, at) = (nth + 1, at + 1);
        }
        part += 1;
    }
    all
};

/// The members of a policy that was made by any means; `None` where they cannot express all that it says.
#[must_use]
pub(crate) fn write(id: &PolicyId, spec: &Spec) -> Option<Members> {
    let [clause] = spec.clauses.as_slice() else { return None };
    let members = Members(members_of(id, clause, spec));
    // Whatever else it says is lost on the way.
    (read_name(&members).as_ref() == Ok(id) && read_spec(&members, None).as_ref() == Ok(spec))
        .then_some(members)
}

fn members_of(id: &PolicyId, clause: &Clause, spec: &Spec) -> Vec<(String, Given)> {
    let texts = |texts: Vec<String>| {
        (!texts.is_empty()).then(|| Given::List(texts.into_iter().map(Given::Text).collect()))
    };
    let labels = clause.labels.iter().map(|label| (label.key.clone(), Given::Text(label.value.clone())));
    let labels: Vec<_> = labels.collect();
    let before = [
        Some(Given::Text(id.to_string())),
        Some(Given::Text(clause.pattern.as_str().to_owned())),
        texts(clause.methods.iter().map(Method::to_string).collect()),
        (!labels.is_empty()).then_some(Given::Table(Members(labels))),
    ];
    let behind = [
        (spec.family == Family::Refuse).then(|| Given::Text("refuse".to_owned())),
        texts(spec.scope.labels().iter().map(ToString::to_string).collect()),
    ];
    let given = |(name, given): (&'static str, Option<Given>)| Some((name, given?));
    let before = BEFORE.into_iter().zip(before).filter_map(given);
    let behind = BEHIND.into_iter().zip(behind).filter_map(given);
    let all = before.chain(limits::members_of(&spec.limits)).chain(behind);
    all.map(|(name, given)| (name.to_owned(), given)).collect()
}

#[cfg(test)]
mod tests;
