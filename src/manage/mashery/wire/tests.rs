//! Members and their defaults, faults and how edits are merged.

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
    let draft = Draft::read(kind, body.to_string().as_bytes())?;
    merged(kind, &Map::new(), &draft.edit).map(Value::Object)
}

fn properties(refusal: Result<Value, Refusal>) -> Vec<String> {
    match refusal {
        Err(Refusal::Properties(errors)) => errors.into_iter().map(|error| error.property.into()).collect(),
        other => panic!("not refused for its properties: {other:?}"),
    }
}

#[test]
fn members_that_are_not_given_have_their_defaults() {
    assert_eq!(
        created(Kind::Service, &json!({"name": "s", "color": "red"})),
        Ok(json!({
            "name": "s", "qpsLimitOverall": null, "rateLimitCeiling": null, "rateLimitPeriod": "day",
            "qpsLimitCeiling": null, "rateLimitOverrideAllowed": false, "qpsLimitOverrideAllowed": false, "color": "red"
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
    assert_eq!(properties(created(Kind::PackageKey, &json!({}))), ["apikey"]);
    assert_eq!(properties(created(Kind::PlanService, &json!({"name": "s"}))), ["id"]);
    let body = json!({"name": 7, "qpsLimitOverall": -2, "rateLimitPeriod": "week", "description": 1});
    assert_eq!(
        properties(created(Kind::Service, &body)),
        ["name", "qpsLimitOverall", "rateLimitPeriod", "description"]
    );
}

#[test]
fn what_lies_within_is_read_with_it_and_its_faults_are_named() {
    let body = json!({"name": "s", "endpoints": [
        {"name": "e", "requestPathAlias": "/e", "publicDomains": [{"address": "h"}], "methods": [{"name": "m"}]},
        {"name": "f", "requestPathAlias": "/f", "publicDomains": [{"address": "h"}], "id": "7"}
    ]});
    let draft = Draft::read(Kind::Service, body.to_string().as_bytes()).expect("valid");
    assert!(!draft.edit.contains_key("endpoints"));
    let inside: Vec<_> = draft.within.iter().map(|of| (of.kind, of.id.as_deref(), of.within.len())).collect();
    assert_eq!(inside, [(Kind::Endpoint, None, 1), (Kind::Endpoint, Some("7"), 0)]);
    assert_eq!(draft.within[0].within[0].edit, map(json!({"name": "m"})));
    for (kind, name) in [(Kind::Service, "endpoints"), (Kind::Endpoint, "methods"), (Kind::Package, "plans")]
    {
        let read = |within: Value| Draft::read(kind, json!({name: within}).to_string().as_bytes());
        assert!(read(json!([])).is_ok() && read(Value::Null).is_ok());
        for wrong in [json!("x"), json!({}), json!([7]), json!(vec![json!({}); DRAFTS_MAX + 1])] {
            assert!(matches!(read(wrong.clone()), Err(Refusal::Properties(_))), "{name} {wrong:.40}");
        }
    }
    let wrong =
        json!({"name": "s", "endpoints": [{"rateLimitCeiling": -1, "methods": [{"qpsLimitCeiling": "x"}]}]});
    assert_eq!(
        properties(created(Kind::Service, &wrong)),
        ["endpoints.rateLimitCeiling", "endpoints.methods.qpsLimitCeiling"]
    );
}

#[test]
fn members_that_are_not_understood_are_kept_until_they_are_unset() {
    let body =
        json!({"name": "s", "editorHandle": "ann", "securityProfile": {"oauth": {"accessTokenTtl": 1.5}}});
    let members = map(created(Kind::Service, &body).expect("valid"));
    assert_eq!(
        (&members["editorHandle"], &members["securityProfile"]),
        (&body["editorHandle"], &body["securityProfile"])
    );
    let next = merged(Kind::Service, &members, &map(json!({"editorHandle": null, "robotsPolicy": "x"})));
    let next = next.expect("valid");
    assert!(!next.contains_key("editorHandle"));
    assert_eq!((&next["robotsPolicy"], &next["securityProfile"]), (&json!("x"), &body["securityProfile"]));
    // What tidegate makes itself, and the password of a member.
    let draft = Draft::read(Kind::Member, br#"{"username": "ann", "passwdNew": "x", "created": "y"}"#);
    assert_eq!(draft.expect("valid").edit, map(json!({"username": "ann"})));
    let draft = Draft::read(Kind::PlanEndpoint, br#"{"id": "7", "name": "e", "requestPathAlias": "/x"}"#);
    assert_eq!(draft.expect("valid").edit, Map::new(), "the endpoint itself is not changed through a plan");
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
        let refused = Draft::read(Kind::Service, body.as_bytes());
        assert_eq!(refused, Err(Refusal::invalid("the body must be a JSON object")), "{body}");
    }
}

#[test]
fn the_tables_name_no_member_twice() {
    for kind in Kind::ALL {
        let mut names: Vec<_> =
            kind.members().iter().map(|member| member.name).chain(members::MADE).collect();
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
    members.prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
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
