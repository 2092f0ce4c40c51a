//! The objects in the API description: their members from the tables, an example of each.
//!
//! Must not know: the routes.

use serde_json::{Map, Value, json};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};

use crate::manage::mashery::objects::record::ONLY_LISTED;
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
            Self::Package => ("a package", "packages"),
            Self::Plan => ("a plan", "plans"),
            Self::PlanService => ("a service of a plan", "services of a plan"),
            Self::PlanEndpoint => ("an endpoint of a plan", "endpoints of a plan"),
            Self::PlanMethod => ("a method of a plan", "methods of a plan"),
            Self::Member => ("a member", "members"),
            Self::Application => ("an application", "applications"),
            Self::PackageKey => ("a package key", "package keys"),
        }
    }

    /// The name of its schema, such as `MasheryPlanService`.
    pub(in crate::manage::mashery) fn schema_name(self) -> String {
        let (first, rest) = self.stored_as().split_at(1);
        format!("Mashery{}{rest}", first.to_ascii_uppercase())
    }

    /// What it is called in the ids of operations, such as `plan_service`.
    pub(in crate::manage::mashery) fn word(self) -> String {
        let lower = |letter: char| match letter.is_ascii_uppercase() {
            true => format!("_{}", letter.to_ascii_lowercase()),
            false => letter.to_string(),
        };
        self.stored_as().chars().map(lower).collect()
    }

    /// What is sent and shown.
    pub(in crate::manage::mashery) fn schema(self) -> Schema {
        let made = |name: &str| {
            // What stands for another object is named by the id of that one.
            let is_given = name == "id" && self.stands_for().is_some();
            ObjectBuilder::new().schema_type(Type::String).read_only(!is_given)
        };
        let mut object = ["id", "created", "updated"]
            .into_iter()
            .fold(ObjectBuilder::new(), |object, name| object.property(name, made(name)));
        // What stands for another object shows the members of that one; of a name that both have it shows its own.
        let of_other = self.stands_for().into_iter().flat_map(Self::members);
        for member in of_other.chain(self.members()) {
            object = object.property(member.name, self.of_member(member));
        }
        let flag = || ObjectBuilder::new().schema_type(Type::Boolean).read_only(true);
        let text = || ObjectBuilder::new().schema_type(Type::String).read_only(true);
        object = match self {
            Self::PlanService => object.property(ONLY_LISTED, flag()),
            Self::Application => object.property("username", text()),
            _ => object,
        };
        if self == Self::PackageKey {
            let limit = ObjectBuilder::new()
                .title(Some("MasheryPackageKeyLimit"))
                .property("period", ObjectBuilder::new().schema_type(Type::String))
                .property("source", words("MasheryLimitSource", ["service", "plan", "key"]))
                .property("ceiling", ObjectBuilder::new().schema_type(Type::Integer));
            object = object.property("limits", ArrayBuilder::new().items(limit.read_only(true)));
        }
        if let Some((name, _)) = self.within() {
            let inside = ObjectBuilder::new()
                .title(Some("MasheryWithin"))
                .additional_properties(Some(AdditionalProperties::FreeForm(true)));
            object = object.property(name, ArrayBuilder::new().items(inside));
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
            Self::Package => {
                "What plans belong to. Needs a `name`. Other members are kept without any effect."
            }
            Self::Plan => {
                "What each of its keys may call over all that is in the plan, and how often. Needs a `name`. Without \
                 `rateLimitPeriod` it is `day`; a ceiling of null, unless exempt, leaves the limit to each service."
            }
            Self::PlanService => {
                "A service that is in a plan, under its own `id`: with all its endpoints until one is put in by itself \
                 (`onlyListed`). Shows the members of the service."
            }
            Self::PlanEndpoint => {
                "An endpoint that is in a plan, under its own `id`. Shows the members of the endpoint."
            }
            Self::PlanMethod => {
                "A method that is in a plan, under its own `id`, with limits for each key of the plan. Without \
                 `rateLimitPeriod` it has the plan's."
            }
            Self::Member => {
                "Somebody who has applications. Needs a `username`. Other members are kept without any effect."
            }
            Self::Application => {
                "What keys may belong to. Needs a `name`. Other members are kept without any effect."
            }
            Self::PackageKey => {
                "One caller. Needs a `package` and a `plan` of it, or a `service`, and stays with them; its `apikey` is \
                 unique, made up when it is not given, and set once. Own ceilings and exemptions count when the plan or \
                 service allows the override; `limits` shows the limits that apply."
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
            Self::Package => json!({"name": "partners", "description": "for partners"}),
            Self::Plan => json!({
                "name": "gold", "rateLimitCeiling": 5000, "rateLimitPeriod": "day", "qpsLimitCeiling": 10,
                "rateLimitKeyOverrideAllowed": true
            }),
            Self::PlanService | Self::PlanEndpoint => json!({"id": ID}),
            Self::PlanMethod => json!({"id": ID, "rateLimitCeiling": 10, "rateLimitPeriod": "hour"}),
            Self::Member => json!({"username": "ann", "email": "ann@example.com"}),
            Self::Application => json!({"name": "shop"}),
            Self::PackageKey => {
                json!({
                    "apikey": "k1", "rateLimitCeiling": 2000, "package": {"id": PACKAGE}, "plan": {"id": PLAN}
                })
            }
        }
    }

    /// The same as it is shown.
    pub(in crate::manage::mashery) fn shown(self) -> Value {
        let sent = self.sent();
        let of = self.stands_for().map(Self::shown);
        let mut shown = of.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
        let members = sent.as_object().and_then(|sent| merged(self, &Map::new(), sent).ok());
        shown.extend(members.unwrap_or_default());
        for (name, value) in [("id", ID), ("created", AT), ("updated", AT)] {
            shown.insert(name.to_owned(), Value::from(value));
        }
        if self == Self::PackageKey {
            shown.insert("package".to_owned(), json!({"id": PACKAGE, "name": "partners"}));
            shown.insert("plan".to_owned(), json!({"id": PLAN, "name": "gold"}));
            let limits = json!([
                {"period": "day", "source": "key", "ceiling": 2000},
                {"period": "second", "source": "plan", "ceiling": 10}
            ]);
            shown.insert("limits".to_owned(), limits);
        }
        Value::Object(shown)
    }
}

const ID: &str = "0c8e5c0f-6c0e-4a54-9b2c-1f1d5a2b3c4d";
const PACKAGE: &str = "7a1f0f3e-2f0a-4c57-8a5d-93c1f6f0b7d1";
const PLAN: &str = "b2d4c6e8-1a3b-4c5d-9e7f-0a1b2c3d4e5f";
const AT: &str = "2030-01-31T08:00:00Z";

impl Kind {
    fn of_member(self, member: &Member) -> Schema {
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
                OneOfBuilder::new().item(null).item(self.of_words(member, known)).into()
            }
            Shape::Word(known) => self.of_words(member, known).into(),
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

    fn of_words(self, member: &Member, known: &[&str]) -> ObjectBuilder {
        // A plan has other words for its status than a key.
        let of = if self == Self::Plan && member.name == "status" { "Plan" } else { "" };
        let (first, rest) = member.name.split_at(1);
        words(&format!("Mashery{of}{}{rest}", first.to_ascii_uppercase()), known.iter().copied())
    }
}

fn with_text(name: &str, member: &str) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String);
    ObjectBuilder::new().title(Some(name)).property(member, text).required(member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::mashery::wire::Draft;

    #[test]
    fn the_examples_are_what_the_api_takes_and_shows() {
        for kind in Kind::ALL {
            let sent = kind.sent();
            let draft = Draft::read(kind, sent.to_string().as_bytes()).expect("valid");
            merged(kind, &Map::new(), &draft.edit).expect("complete");
            let (shown, schema) = (kind.shown(), serde_json::to_value(kind.schema()).expect("a value"));
            for name in shown.as_object().expect("an object").keys() {
                assert!(kind.shows(name), "{name}");
                assert!(schema["properties"][name].is_object(), "{name} is not described");
            }
        }
    }
}
