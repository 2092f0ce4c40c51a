//! What objects and their members are called in V2.
//!
//! Must not know: how calls and queries look.

use serde_json::{Map, Value};

use crate::manage::mashery::objects::record::{Owner, PackageKey, Record};
use crate::manage::mashery::wire::Kind;

/// A kind of objects under its name in V2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Noun {
    one: &'static str,
    many: &'static str,
    /// What such objects are.
    pub(super) kind: Kind,
    /// The member that names what one belongs to; empty when it belongs to nothing.
    pub(super) parent: &'static str,
}

const fn noun(one: &'static str, many: &'static str, kind: Kind, parent: &'static str) -> Noun {
    Noun { one, many, kind, parent }
}

const NOUNS: [Noun; 11] = [
    noun("service", "services", Kind::Service, ""),
    noun("endpoint", "endpoints", Kind::Endpoint, "service_key"),
    noun("service_definition_endpoint", "service_definition_endpoints", Kind::Endpoint, "service_key"),
    noun("method", "methods", Kind::Method, "endpoint_id"),
    noun("service_definition_method", "service_definition_methods", Kind::Method, "endpoint_id"),
    noun("package", "packages", Kind::Package, ""),
    noun("plan", "plans", Kind::Plan, "package_id"),
    noun("member", "members", Kind::Member, ""),
    noun("application", "applications", Kind::Application, "member_id"),
    noun("package_key", "package_keys", Kind::PackageKey, "application_id"),
    noun("key", "keys", Kind::PackageKey, "application_id"),
];

impl Noun {
    /// By the name of one such object.
    pub(super) fn one(name: &str) -> Option<Self> {
        NOUNS.into_iter().find(|noun| noun.one == name)
    }

    /// By the name of many such objects.
    pub(super) fn many(name: &str) -> Option<Self> {
        NOUNS.into_iter().find(|noun| noun.many.eq_ignore_ascii_case(name))
    }

    pub(super) fn is_service(self) -> bool {
        self.kind == Kind::Service
    }

    /// The kind that such objects belong to.
    pub(super) fn outer(self) -> Option<Kind> {
        Kind::ALL.into_iter().find(|outer| outer.within().is_some_and(|(_, inner)| inner == self.kind))
    }

    /// Whether one cannot be without what it belongs to.
    pub(super) fn needs_parent(self) -> bool {
        matches!(self.kind, Kind::Endpoint | Kind::Method | Kind::Plan)
    }

    /// Whether an object of the kind goes under this name: keys of a service are others than those of a plan.
    pub(super) fn has(self, record: &Record) -> bool {
        if self.kind != Kind::PackageKey {
            return true;
        }
        let key: Option<PackageKey> = record.view();
        let of_service =
            key.as_ref().and_then(PackageKey::owner).is_some_and(|it| matches!(it, Owner::Service(_)));
        of_service == (self.one == "key")
    }

    /// The id of what the object belongs to, and its members in the spelling of V3.
    pub(super) fn read(self, given: &Map<String, Value>) -> (Option<String>, Map<String, Value>) {
        let (mut parent, mut members) = (None, Map::new());
        for (name, value) in given {
            match (name.as_str(), value) {
                // What it belongs to, by its id or as an object that has one.
                (name, value) if !self.parent.is_empty() && name == self.parent => parent = id_of(value),
                (name, Value::Object(outer)) if self.parent.split('_').next() == Some(name) => {
                    parent = outer.get("id").or(outer.get("service_key")).and_then(id_of);
                }
                // A key names its service so; the service itself cannot choose it.
                ("service_key", value) => {
                    if self.kind == Kind::PackageKey {
                        let id = id_of(value).map_or(Value::Null, Value::from);
                        members.insert("service".to_owned(), Map::from_iter([("id".to_owned(), id)]).into());
                    }
                }
                (name, value) => drop(members.insert(camel(name), spelled(value, &camel))),
            }
        }
        (parent, members)
    }

    /// An object as V2 shows it.
    pub(super) fn write(self, record: &Record, shown: Map<String, Value>) -> Value {
        let mut members = Map::new();
        for (name, value) in shown {
            members.insert(snake(&name), spelled(&value, &snake));
        }
        if self.is_service()
            && let Some(id) = members.get("id").cloned()
        {
            members.insert("service_key".to_owned(), id);
        }
        if self.kind == Kind::PackageKey
            && let Some(id) = members.get("service").and_then(|service| service.get("id")).cloned()
        {
            members.insert("service_key".to_owned(), id);
        }
        if let (Some(parent), false) = (&record.parent, self.parent.is_empty()) {
            members.insert(self.parent.to_owned(), Value::from(parent.as_str()));
        }
        Value::Object(members)
    }
}

fn id_of(value: &Value) -> Option<String> {
    match value {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// The names of members inside a value, too.
fn spelled(value: &Value, spell: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().map(|(name, value)| (spell(name), spelled(value, spell))).collect()
        }
        Value::Array(items) => items.iter().map(|item| spelled(item, spell)).collect(),
        other => other.clone(),
    }
}

/// `rateLimitCeiling` as `rate_limit_ceiling`.
pub(super) fn snake(name: &str) -> String {
    let mut spelled = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            spelled.push('_');
        }
        spelled.push(c.to_ascii_lowercase());
    }
    spelled
}

/// `rate_limit_ceiling` as `rateLimitCeiling`.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut spelled, part| {
        let mut chars = part.chars();
        spelled.extend(chars.next().map(|c| c.to_ascii_uppercase()));
        spelled.push_str(chars.as_str());
        spelled
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::mashery::wire::Kind;

    #[test]
    fn every_member_has_one_name_in_each_spelling() {
        for kind in Kind::ALL {
            for member in kind.members() {
                assert_eq!(camel(&snake(member.name)), member.name);
            }
        }
        assert_eq!(snake("qpsLimitCeiling"), "qps_limit_ceiling");
    }
}
