//! The objects in the API description: their members from the tables, an example of each.
//!
//! Must not know: the routes.

use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};

use crate::manage::mashery::wire::shape::{Shape, VERBS};
use crate::manage::mashery::wire::{Kind, Member, merged};
use crate::problem::doc::words;

impl Kind {
    /// What one and what many are called.
    pub(in crate::manage::mashery) const fn nouns(self) -> (&'static str, &'static str) {
        match self {
            Self::Service => ("a service", "services"),
            Self::Endpoint => ("an endpoint", "endpoints"),
            Self::Method => ("a method", "methods"),
            Self::PackageKey => ("a package key", "package keys"),
        }
    }

    /// The name of its schema.
    pub(in crate::manage::mashery) const fn schema_name(self) -> &'static str {
        match self {
            Self::Service => "MasheryService",
            Self::Endpoint => "MasheryEndpoint",
            Self::Method => "MasheryMethod",
            Self::PackageKey => "MasheryPackageKey",
        }
    }

    /// What it is called in the ids of operations.
    pub(in crate::manage::mashery) const fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Endpoint => "endpoint",
            Self::Method => "method",
            Self::PackageKey => "package_key",
        }
    }

    /// What is sent and shown.
    pub(in crate::manage::mashery) fn schema(self) -> Schema {
        let mut object =
            ["id", "created", "updated"].into_iter().fold(ObjectBuilder::new(), |object, name| {
                object.property(name, ObjectBuilder::new().schema_type(Type::String).read_only(true))
            });
        for member in self.members() {
            object = object.property(member.name, of_member(member));
        }
        if self == Self::PackageKey {
            let limit = ObjectBuilder::new()
                .title(Some("MasheryPackageKeyLimit"))
                .property("period", ObjectBuilder::new().schema_type(Type::String))
                .property("source", words("MasheryLimitSource", ["service", "key"]))
                .property("ceiling", ObjectBuilder::new().schema_type(Type::Integer));
            object = object.property("limits", ArrayBuilder::new().items(limit.read_only(true)));
        }
        object.description(Some(self.about())).into()
    }

    fn about(self) -> &'static str {
        match self {
            Self::Service => {
                "Limits of each key and of all keys together. Needs a `name`. `rateLimitPeriod` is `day` unless given; \
                 `qpsLimitOverall` of null, 0 or -1 and other ceilings of null are without limit. Other members are kept \
                 without any effect."
            }
            Self::Endpoint => {
                "The calls to its domains whose path begins with its alias, and bounds on what a key has called of the whole \
                 service. Needs `name`, `requestPathAlias` and `publicDomains`. Without `supportedHttpMethods` it has all \
                 verbs. Other members are kept without any effect."
            }
            Self::Method => {
                "Limits of some calls of an endpoint, all keys together. Needs a `name`, unique in the endpoint. Without \
                 `rateLimitPeriod` it has the service's."
            }
            Self::PackageKey => {
                "One caller of a service. Needs a `service`, with which it stays; its `apikey` is unique, made up when it is not \
                 given, and set once. Own ceilings and exemptions count when the service allows the override; `limits` shows \
                 the limits that apply."
            }
        }
    }

    /// An example of what is sent.
    pub(in crate::manage::mashery) fn sent(self) -> Value {
        match self {
            Self::Service => json!({
                "name": "weather", "rateLimitCeiling": 1000, "rateLimitPeriod": "day", "qpsLimitCeiling": 5,
                "qpsLimitOverall": 50, "rateLimitOverrideAllowed": true
            }),
            Self::Endpoint => json!({
                "name": "maps", "requestPathAlias": "/maps", "publicDomains": [{"address": "127.0.0.1:9000"}],
                "supportedHttpMethods": ["get", "post"], "rateLimitCeiling": 500
            }),
            Self::Method => {
                json!({"name": "report", "rateLimitCeiling": 1, "rateLimitPeriod": "minute"})
            }
            Self::PackageKey => json!({"apikey": "k1", "rateLimitCeiling": 2000, "service": {"id": ID}}),
        }
    }

    /// The same as it is shown.
    pub(in crate::manage::mashery) fn shown(self) -> Value {
        let sent = self.sent();
        let members = sent.as_object().and_then(|sent| merged(self, &Map::new(), sent).ok());
        let mut shown = members.unwrap_or_default();
        for (name, value) in [("id", ID), ("created", AT), ("updated", AT)] {
            shown.insert(name.to_owned(), Value::from(value));
        }
        if self == Self::PackageKey {
            shown.insert("service".to_owned(), json!({"id": ID, "name": "weather"}));
            let limits = json!([{"period": "day", "source": "key", "ceiling": 2000}]);
            shown.insert("limits".to_owned(), limits);
        }
        Value::Object(shown)
    }
}

const ID: &str = "0c8e5c0f-6c0e-4a54-9b2c-1f1d5a2b3c4d";
const AT: &str = "2030-01-31T08:00:00Z";

fn of_member(member: &Member) -> Schema {
    let kind = |kind| match member.is_nullable() {
        true => SchemaType::from_iter([kind, Type::Null]),
        false => SchemaType::from(kind),
    };
    let text = || ObjectBuilder::new().schema_type(kind(Type::String));
    match member.shape {
        Shape::Name | Shape::ApiKey => text().min_length(Some(1)).max_length(Some(255)).into(),
        Shape::Text { max_bytes } => text().max_length(Some(max_bytes)).into(),
        Shape::PathAlias => text().pattern(Some("^/[^*?#]*$")).into(),
        Shape::Flag => ObjectBuilder::new().schema_type(Type::Boolean).into(),
        Shape::Number { min, max } => {
            let number = ObjectBuilder::new().schema_type(kind(Type::Integer));
            number.minimum(Some(min as f64)).maximum(Some(max as f64)).into()
        }
        Shape::Word(known) if member.is_nullable() => {
            let null = ObjectBuilder::new().schema_type(Type::Null);
            OneOfBuilder::new().item(null).item(of_words(member, known)).into()
        }
        Shape::Word(known) => of_words(member, known).into(),
        Shape::Texts => ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String)).into(),
        Shape::Verbs => ArrayBuilder::new().items(words("MasheryVerb", VERBS)).into(),
        Shape::Domains | Shape::PublicDomains => {
            ArrayBuilder::new().items(with_text("MasheryDomain", "address")).into()
        }
        Shape::Reference => {
            let name = ObjectBuilder::new().schema_type(Type::String).read_only(true);
            with_text("MasheryReference", "id").property("name", name).into()
        }
    }
}

fn of_words(member: &Member, known: &[&str]) -> ObjectBuilder {
    let (first, rest) = member.name.split_at(1);
    words(&format!("Mashery{}{rest}", first.to_ascii_uppercase()), known.iter().copied())
}

fn with_text(name: &str, member: &str) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    ObjectBuilder::new().title(Some(name)).property(member, text).required(member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::mashery::wire::{Purpose, read_edit};

    #[test]
    fn the_examples_are_what_the_api_takes_and_shows() {
        for kind in Kind::ALL {
            let sent = kind.sent();
            let edit = read_edit(kind, Purpose::Create, sent.to_string().as_bytes()).expect("valid");
            merged(kind, &Map::new(), &edit).expect("complete");
            let (shown, schema) = (kind.shown(), serde_json::to_value(kind.schema()).expect("a value"));
            for name in shown.as_object().expect("an object").keys() {
                assert!(kind.shows(name), "{name}");
                assert!(schema["properties"][name].is_object(), "{name} is not described");
            }
        }
    }
}
