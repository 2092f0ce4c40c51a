//! What is received and sent: the members of the four objects (contract.md 4, 5), bodies to checked edits.
//!
//! Members outside these tables are neither kept nor an error: clients of the V3 API send whole objects.

pub(super) mod listing;
pub(super) mod shape;

use serde_json::{Map, Value};

use crate::manage::mashery::errors::{PropertyError, Refusal};
use crate::manage::mashery::wire::shape::Shape;
use crate::policy::Window;

/// The kinds of objects that the API has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The objects of `services`, which endpoints belong to.
    Service,
    /// The objects of `services/{id}/endpoints`, which get the calls.
    Endpoint,
    /// The objects of `services/{id}/endpoints/{id}/methods`, parts of an endpoint.
    Method,
    /// The objects of `packageKeys`, one for each caller.
    PackageKey,
}

/// One member of an object, and what holds when it is not given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    /// The name of the member on the wire.
    pub(super) name: &'static str,
    /// What the member may hold when it is given.
    pub(super) shape: Shape,
    /// What it is without having been given, or when `null` is given.
    unset: Unset,
}

/// What a member is that was not given, or is `null`.
#[derive(Debug, Clone, Copy)]
enum Unset {
    /// An error: it must be given.
    Refused,
    /// `null`, shown so: nothing of its own.
    Null,
    /// `false`, and it is shown so.
    False,
    /// `[]`, an empty list, and it is shown so.
    Empty,
    /// This word, and it is shown so.
    Word(&'static str),
    /// Not shown. Of such members tidegate makes no use, it only gives them back.
    Absent,
}

impl Member {
    /// Whether it is shown as `null` when it is not set.
    pub(super) const fn is_nullable(&self) -> bool {
        matches!(self.unset, Unset::Null)
    }
}

/// Members that the system makes; those that a client sends are ignored.
const MADE: [&str; 3] = ["id", "created", "updated"];
/// The periods of `rateLimitPeriod` (contract.md 3).
const PERIODS: Shape = Shape::Word(&["minute", "hour", "day", "month"]);
/// Calls; zero is refused, for `null` means without limit or as inherited (contract.md 5).
const CEILING: Shape = Shape::Number { min: 1, max: Window::MAX_CALLS as i64 };
/// A key's may be zero while it is exempt, as the V2 to V3 guide has it (contract.md 4).
const KEY_CEILING: Shape = Shape::Number { min: 0, max: Window::MAX_CALLS as i64 };
const TEXT: Shape = Shape::Text { max_bytes: 1024 };
const SAMPLE: Shape = Shape::Text { max_bytes: 32 * 1024 };
const SMALL: Shape = Shape::Number { min: 0, max: 1_000_000 };

const fn member(name: &'static str, shape: Shape, unset: Unset) -> Member {
    Member { name, shape, unset }
}

const fn echoed(name: &'static str, shape: Shape) -> Member {
    member(name, shape, Unset::Absent)
}

const SERVICE: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    member("qpsLimitOverall", Shape::Number { min: -1, max: Window::MAX_CALLS as i64 }, Unset::Null),
    member("rateLimitCeiling", CEILING, Unset::Null),
    member("rateLimitPeriod", PERIODS, Unset::Word("day")),
    member("qpsLimitCeiling", CEILING, Unset::Null),
    member("rateLimitOverrideAllowed", Shape::Flag, Unset::False),
    member("qpsLimitOverrideAllowed", Shape::Flag, Unset::False),
    echoed("description", Shape::Text { max_bytes: 8 * 1024 }),
    echoed("version", TEXT),
    echoed("rfc3986Encode", Shape::Flag),
];

const ENDPOINT: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    member("requestPathAlias", Shape::PathAlias, Unset::Refused),
    member("publicDomains", Shape::PublicDomains, Unset::Refused),
    member("supportedHttpMethods", Shape::Verbs, Unset::Empty),
    member("rateLimitCeiling", CEILING, Unset::Null),
    member("qpsLimitCeiling", CEILING, Unset::Null),
    echoed("allowMissingApiKey", Shape::Flag),
    echoed("apiKeyValueLocationKey", TEXT),
    echoed("apiKeyValueLocations", Shape::Texts),
    echoed("apiMethodDetectionKey", TEXT),
    echoed("apiMethodDetectionLocations", Shape::Texts),
    echoed("connectionTimeoutForSystemDomainRequest", SMALL),
    echoed("connectionTimeoutForSystemDomainResponse", SMALL),
    echoed("cookiesDuringHttpRedirectsEnabled", Shape::Flag),
    echoed("customRequestAuthenticationAdapter", TEXT),
    echoed("dropApiKeyFromIncomingCall", Shape::Flag),
    echoed("forceGzipOfBackendCall", Shape::Flag),
    echoed("forwardedHeaders", Shape::Texts),
    echoed("gzipPassthroughSupportEnabled", Shape::Flag),
    echoed("headersToExcludeFromIncomingCall", Shape::Texts),
    echoed("highSecurity", Shape::Flag),
    echoed("hostPassthroughIncludedInBackendCallHeader", Shape::Flag),
    echoed("inboundMsslRequired", Shape::Flag),
    echoed("inboundSslRequired", Shape::Flag),
    echoed("jsonpCallbackParameter", TEXT),
    echoed("jsonpCallbackParameterValue", TEXT),
    echoed("numberOfHttpRedirectsToFollow", SMALL),
    echoed("oauthGrantTypes", Shape::Texts),
    echoed("outboundRequestTargetPath", TEXT),
    echoed("outboundRequestTargetQueryParameters", TEXT),
    echoed("outboundTransportProtocol", TEXT),
    echoed("requestAuthenticationType", TEXT),
    echoed("requestProtocol", TEXT),
    echoed("returnedHeaders", Shape::Texts),
    echoed("stringsToTrimFromApiKey", TEXT),
    echoed("systemDomains", Shape::Domains),
    echoed("trafficManagerDomain", TEXT),
    echoed("useSystemDomainCredentials", Shape::Flag),
];

const METHOD: &[Member] = &[
    member("name", Shape::Name, Unset::Refused),
    member("rateLimitCeiling", CEILING, Unset::Null),
    member("rateLimitPeriod", PERIODS, Unset::Null),
    member("qpsLimitCeiling", CEILING, Unset::Null),
    echoed("sampleJsonResponse", SAMPLE),
    echoed("sampleXmlResponse", SAMPLE),
];

const PACKAGE_KEY: &[Member] = &[
    member("apikey", Shape::ApiKey, Unset::Refused),
    member("secret", TEXT, Unset::Null),
    member("rateLimitCeiling", KEY_CEILING, Unset::Null),
    member("rateLimitExempt", Shape::Flag, Unset::False),
    member("qpsLimitCeiling", KEY_CEILING, Unset::Null),
    member("qpsLimitExempt", Shape::Flag, Unset::False),
    member("status", Shape::Word(&["waiting", "active", "disabled"]), Unset::Word("active")),
    member("service", Shape::Reference, Unset::Refused),
    echoed("expires", TEXT),
    echoed("package", Shape::Reference),
    echoed("plan", Shape::Reference),
];

impl Kind {
    /// All kinds, parents before what belongs to them.
    pub(super) const ALL: [Self; 4] = [Self::Service, Self::Endpoint, Self::Method, Self::PackageKey];

    /// The name under which such elements are stored.
    pub(super) const fn stored_as(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Endpoint => "endpoint",
            Self::Method => "method",
            Self::PackageKey => "packageKey",
        }
    }

    /// The members that clients set, in the order in which they are checked.
    pub(super) const fn members(self) -> &'static [Member] {
        match self {
            Self::Service => SERVICE,
            Self::Endpoint => ENDPOINT,
            Self::Method => METHOD,
            Self::PackageKey => PACKAGE_KEY,
        }
    }

    /// Whether an object of this kind may show a member of this name.
    pub(super) fn shows(self, name: &str) -> bool {
        MADE.contains(&name)
            || (self == Self::PackageKey && name == "limits")
            || self.members().iter().any(|member| member.name == name)
    }

    /// Objects inside this one, which have routes of their own.
    const fn nested(self) -> Option<&'static str> {
        match self {
            Self::Service => Some("endpoints"),
            Self::Endpoint => Some("methods"),
            Self::Method | Self::PackageKey => None,
        }
    }
}

/// Why a request is made: a key's `apikey` is set once (the vendor's page ignores it in updates).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new object is made from the body.
    Create,
    /// An object that is there gets other values.
    Update,
}

/// The known members of a body, each of the right shape or `null`.
///
/// # Errors
/// What the body is instead, or every property that breaks its rule.
pub(super) fn read_edit(kind: Kind, purpose: Purpose, body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let Ok(Value::Object(body)) = serde_json::from_slice(body) else {
        return Err(Refusal::invalid("the body must be a JSON object"));
    };
    let mut edit = Map::new();
    let mut errors = Vec::new();
    for member in kind.members() {
        // A body may leave out what an update does not change.
        let Some(value) = body.get(member.name) else { continue };
        // Passed over and not refused: clients send back the whole object that they have read.
        if purpose == Purpose::Update && member.name == "apikey" {
            continue;
        }
        let checked = if value.is_null() { Ok(Value::Null) } else { member.shape.check(value) };
        match checked {
            Ok(value) => drop(edit.insert(member.name.to_owned(), value)),
            Err(rule) => errors.push(PropertyError::new(member.name, rule)),
        }
    }
    if let Some(name) = kind.nested()
        && body.get(name).is_some_and(|value| *value != Value::Array(Vec::new()) && !value.is_null())
    {
        // Dropping them silently would leave calls without the limits that the client believes to have set.
        errors.push(PropertyError::new(name, "must be created and changed through routes of their own"));
    }
    if errors.is_empty() { Ok(edit) } else { Err(Refusal::Properties(errors)) }
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
    for (ceiling, exempt) in [("rateLimitCeiling", "rateLimitExempt"), ("qpsLimitCeiling", "qpsLimitExempt")]
    {
        // Checked on the whole: the edit may set one of the two members and the object have the other.
        let zero = next.get(ceiling).and_then(Value::as_i64) == Some(0);
        if zero && next.get(exempt) == Some(&Value::Bool(false)) {
            let rule = format!("must not be 0 unless {exempt} is true; null inherits from the service");
            errors.push(PropertyError::new(ceiling, rule));
        }
    }
    if errors.is_empty() { Ok(next) } else { Err(Refusal::Properties(errors)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            other => panic!("{other} is no object"),
        }
    }

    fn created(kind: Kind, body: &Value) -> Result<Value, Refusal> {
        let edit = read_edit(kind, Purpose::Create, body.to_string().as_bytes())?;
        merged(kind, &Map::new(), &edit).map(Value::Object)
    }

    fn properties(refusal: Result<Value, Refusal>) -> Vec<String> {
        match refusal {
            Err(Refusal::Properties(errors)) => {
                errors.into_iter().map(|error| error.property.into()).collect()
            }
            other => panic!("not refused for its properties: {other:?}"),
        }
    }

    #[test]
    fn members_that_are_not_given_have_their_defaults() {
        assert_eq!(
            created(Kind::Service, &json!({"name": "s", "color": "red"})),
            Ok(json!({
                "name": "s", "qpsLimitOverall": null, "rateLimitCeiling": null, "rateLimitPeriod": "day",
                "qpsLimitCeiling": null, "rateLimitOverrideAllowed": false, "qpsLimitOverrideAllowed": false
            }))
        );
        assert_eq!(
            created(Kind::Method, &json!({"name": "m", "sampleJsonResponse": "{}"})),
            Ok(json!({
                "name": "m", "rateLimitCeiling": null, "rateLimitPeriod": null, "qpsLimitCeiling": null,
                "sampleJsonResponse": "{}"
            }))
        );
        let key = created(Kind::PackageKey, &json!({"apikey": "k", "service": {"id": "1", "name": "s"}}));
        let key = key.expect("valid");
        assert_eq!((&key["status"], &key["service"]), (&json!("active"), &json!({"id": "1"})));
        assert_eq!((&key["secret"], &key["rateLimitExempt"]), (&Value::Null, &json!(false)));
    }

    #[test]
    fn every_fault_is_named() {
        assert_eq!(
            properties(created(Kind::Endpoint, &json!({}))),
            ["name", "requestPathAlias", "publicDomains"]
        );
        assert_eq!(properties(created(Kind::PackageKey, &json!({}))), ["apikey", "service"]);
        let body = json!({"name": 7, "qpsLimitOverall": -2, "rateLimitPeriod": "week", "description": 1});
        assert_eq!(
            properties(created(Kind::Service, &body)),
            ["name", "qpsLimitOverall", "rateLimitPeriod", "description"]
        );
        for (kind, nested) in [(Kind::Service, "endpoints"), (Kind::Endpoint, "methods")] {
            let faults = properties(created(kind, &json!({nested: [{"name": "x"}]})));
            assert_eq!(faults, [nested]);
            assert!(read_edit(kind, Purpose::Update, json!({nested: []}).to_string().as_bytes()).is_ok());
        }
    }

    #[test]
    fn zero_is_no_ceiling_but_of_an_exempt_key() {
        for kind in [Kind::Service, Kind::Endpoint, Kind::Method] {
            let body = json!({"rateLimitCeiling": 0, "qpsLimitCeiling": 0});
            assert_eq!(properties(created(kind, &body)), ["rateLimitCeiling", "qpsLimitCeiling"], "{kind:?}");
        }
        for unlimited in [json!(null), json!(0), json!(-1)] {
            assert!(created(Kind::Service, &json!({"name": "s", "qpsLimitOverall": unlimited})).is_ok());
        }
        let key = |more: Value| {
            let mut body = map(json!({"apikey": "k", "service": {"id": "1"}}));
            body.extend(map(more));
            created(Kind::PackageKey, &Value::Object(body))
        };
        assert_eq!(properties(key(json!({"rateLimitCeiling": 0}))), ["rateLimitCeiling"]);
        assert_eq!(properties(key(json!({"qpsLimitCeiling": 0}))), ["qpsLimitCeiling"]);
        let exempt = key(json!({"rateLimitCeiling": 0, "rateLimitExempt": true})).expect("valid");
        // The two must agree after an update too, whichever of them it names.
        let edit = map(json!({"rateLimitExempt": false}));
        let refused = merged(Kind::PackageKey, &map(exempt), &edit).map(Value::Object);
        assert_eq!(properties(refused), ["rateLimitCeiling"]);
    }

    #[test]
    fn bodies_that_are_no_objects_are_refused_as_a_whole() {
        for body in ["", "nonsense", "[]", "7", "null", "{\"name\":\"x\"", "\u{0}"] {
            let refused = read_edit(Kind::Service, Purpose::Create, body.as_bytes());
            assert_eq!(refused, Err(Refusal::invalid("the body must be a JSON object")), "{body}");
        }
    }

    #[test]
    fn an_apikey_is_set_once() {
        let body = json!({"apikey": "other", "secret": "s"}).to_string();
        let edit = read_edit(Kind::PackageKey, Purpose::Update, body.as_bytes());
        assert_eq!(edit, Ok(map(json!({"secret": "s"}))));
    }

    #[test]
    fn the_tables_name_no_member_twice() {
        for kind in Kind::ALL {
            let mut names: Vec<_> = kind.members().iter().map(|member| member.name).chain(MADE).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count, "{kind:?}");
        }
    }

    fn edit() -> impl Strategy<Value = Map<String, Value>> {
        let member = prop_oneof![
            (Just("rateLimitCeiling"), prop_oneof![Just(Value::Null), (1..9_i64).prop_map(Value::from)]),
            (Just("rateLimitPeriod"), prop_oneof![Just(Value::Null), Just(json!("hour"))]),
            (Just("qpsLimitOverrideAllowed"), prop_oneof![Just(Value::Null), Just(json!(true))]),
            (Just("description"), prop_oneof![Just(Value::Null), Just(json!("d"))]),
        ];
        let members = prop::collection::vec(member, 0..6);
        members
            .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    proptest! {
        /// Against a model in which every member is a cell of its own.
        #[test]
        fn an_update_touches_what_it_names_and_nothing_else(edits in prop::collection::vec(edit(), 0..8)) {
            let mut members = map(created(Kind::Service, &json!({"name": "s"})).expect("valid"));
            let fresh = members.clone();
            for edit in edits {
                let next = merged(Kind::Service, &members, &edit).expect("valid");
                for member in Kind::Service.members() {
                    let expected = match edit.get(member.name) {
                        None => members.get(member.name),
                        Some(Value::Null) => fresh.get(member.name),
                        given => given,
                    };
                    prop_assert_eq!(next.get(member.name), expected, "{}", member.name);
                }
                members = next;
            }
        }
    }
}
