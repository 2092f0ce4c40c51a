//! The stored form of the book: JSON, format 3, apart from the inner types so that either can change.
//!
//! ```text
//! { "format": 3, "next_order": n,
//!   "policies": [ { "id", "origin", "order", "record", "deleted": bool, "ruling": spec | null,
//!     "pause": { "reason", "since_ms", "until_ms" | null } | null,
//!     "state": "created" | "updated" | "deployed", "before_deploy", "deployed": bool,
//!     "generations": [{ "number", "draining_until_ms" | null }], "next_generation": n } ],
//!   "elements": [ { "origin", "kind", "id", "order", "record" } ] }
//! ```
//!
//! The form of a spec is in `document_spec`. Format 1 had no window, quota, overlap, scope and pause, format 2 one clause
//! per policy and no elements; both are read and written anew as format 3. A higher format is refused, never guessed
//! at.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::policy::document_spec::{SpecV3, decode_spec, encode_spec};
use crate::policy::elements::{Element, ElementName};
use crate::policy::{Book, GenerationState, Lifecycle, Origin, Pause, Policy, PolicyError, State};

const FORMAT: u32 = 3;
const OLDEST_FORMAT: u32 = 1;

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct BookV3 {
    format: u32,
    next_order: u64,
    policies: Vec<PolicyV1>,
    #[serde(default)]
    elements: Vec<ElementV3>,
}

#[derive(Serialize, Deserialize)]
struct PolicyV1 {
    id: String,
    origin: String,
    order: u64,
    record: Value,
    deleted: bool,
    ruling: Option<SpecV3>,
    #[serde(default)]
    pause: Option<PauseV2>,
    state: StateV1,
    before_deploy: StateV1,
    deployed: bool,
    generations: Vec<GenerationV1>,
    next_generation: u32,
}

#[derive(Serialize, Deserialize)]
struct PauseV2 {
    reason: String,
    since_ms: u64,
    until_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct GenerationV1 {
    number: u32,
    draining_until_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateV1 {
    Created,
    Updated,
    Deployed,
}

#[derive(Serialize, Deserialize)]
struct ElementV3 {
    origin: String,
    kind: String,
    id: String,
    order: u64,
    record: Value,
}

pub(super) fn encode(book: &Book) -> Result<Bytes, PolicyError> {
    let policies = book.policies.iter().map(|(id, policy)| encode_policy(id, policy)).collect();
    let elements = book.elements.iter().map(|(name, element)| ElementV3 {
        origin: name.origin.as_str().to_owned(),
        kind: name.kind.to_string(),
        id: name.id.to_string(),
        order: element.order,
        record: element.record.clone(),
    });
    let elements = elements.collect();
    let document = BookV3 { format: FORMAT, next_order: book.next_order, policies, elements };
    serde_json::to_vec_pretty(&document).map(Bytes::from).map_err(malformed)
}

pub(super) fn decode(body: &[u8]) -> Result<Book, PolicyError> {
    let Head { format } = serde_json::from_slice(body).map_err(malformed)?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
        return Err(PolicyError::Format { found: format, known: FORMAT });
    }
    let document: BookV3 = serde_json::from_slice(body).map_err(malformed)?;
    let mut book = Book { next_order: document.next_order, ..Book::default() };
    for policy in document.policies {
        let id = PolicyId::parse(&policy.id)?;
        if book.policies.insert(id, decode_policy(policy)?).is_some() {
            return Err(malformed("a policy id stands twice"));
        }
    }
    for ElementV3 { origin, kind, id, order, record } in document.elements {
        let name = ElementName { origin: Origin::new(&origin), kind: kind.into(), id: id.into() };
        if book.elements.insert(name, Element { order, record }).is_some() {
            return Err(malformed("an element stands twice"));
        }
    }
    Ok(book)
}

pub(super) fn malformed(reason: impl std::fmt::Display) -> PolicyError {
    PolicyError::Document { reason: reason.to_string() }
}

fn encode_policy(id: &PolicyId, policy: &Policy) -> PolicyV1 {
    let Policy { origin, record, ruling, pause, lifecycle, order } = policy;
    let Lifecycle { state, before_deploy, deployed, generations, next_generation } = lifecycle;
    let generations = generations.iter().map(|(number, state)| GenerationV1 {
        number: *number,
        draining_until_ms: match state {
            GenerationState::Active => None,
            GenerationState::Draining { until } => Some(until.as_millis()),
        },
    });
    PolicyV1 {
        id: id.to_string(),
        origin: origin.as_str().to_owned(),
        order: *order,
        record: record.clone().unwrap_or_default(),
        deleted: record.is_none(),
        ruling: ruling.as_ref().map(encode_spec),
        pause: pause.as_ref().map(|Pause { reason, since, until }| PauseV2 {
            reason: reason.clone(),
            since_ms: since.as_millis(),
            until_ms: until.map(Timestamp::as_millis),
        }),
        state: encode_state(*state),
        before_deploy: encode_state(*before_deploy),
        deployed: *deployed,
        generations: generations.collect(),
        next_generation: *next_generation,
    }
}

fn decode_policy(policy: PolicyV1) -> Result<Policy, PolicyError> {
    let generations = policy.generations.into_iter().map(|generation| {
        let state = match generation.draining_until_ms {
            None => GenerationState::Active,
            Some(until_ms) => GenerationState::Draining { until: Timestamp::from_millis(until_ms) },
        };
        (generation.number, state)
    });
    let lifecycle = Lifecycle {
        state: decode_state(&policy.state),
        before_deploy: decode_state(&policy.before_deploy),
        deployed: policy.deployed,
        generations: generations.collect(),
        next_generation: policy.next_generation,
    };
    Ok(Policy {
        origin: Origin::new(&policy.origin),
        record: (!policy.deleted).then_some(policy.record),
        ruling: policy.ruling.map(decode_spec).transpose()?,
        pause: policy.pause.map(|pause| Pause {
            reason: pause.reason,
            since: Timestamp::from_millis(pause.since_ms),
            until: pause.until_ms.map(Timestamp::from_millis),
        }),
        lifecycle,
        order: policy.order,
    })
}

const fn encode_state(state: State) -> StateV1 {
    match state {
        State::Created => StateV1::Created,
        State::Updated => StateV1::Updated,
        State::Deployed => StateV1::Deployed,
    }
}

const fn decode_state(state: &StateV1) -> State {
    match state {
        StateV1::Created => State::Created,
        StateV1::Updated => State::Updated,
        StateV1::Deployed => State::Deployed,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Spec;
    use crate::policy::testing::{id, spec, spec_for};
    use crate::policy::{
        Clause, DRAIN_WINDOW, Family, LabelCondition, Limits, Overlap, Overrides, Period, Quota, Scope,
        Segment, UrlPattern, Window, Wording,
    };

    fn book() -> Book {
        let mut book = Book::default();
        let origin = Origin::new("x");
        book.create(id("idle"), origin.clone(), serde_json::json!({"name": "a\u{1}b"})).expect("free");
        book.create(id("again"), origin.clone(), Value::Null).expect("free");
        let mut full = spec_for(
            "https://h.org:8443/a/*?b=*",
            0.5,
            vec![LabelCondition::equals("org", "A"), LabelCondition::equals_or_absent("service", "action")],
        );
        full.limits.slots = std::num::NonZeroU32::new(7);
        full.limits.timeout = Some(Duration::from_millis(1_500));
        full.family = Family::Refuse;
        full.limits.window = Window::new(100, 60_000).ok();
        full.limits.quota = Quota::new(1_000, Period::Month).ok();
        full.overlap = Overlap::All;
        full.scope = Scope::new(&["org", "api_key"]).expect("valid");
        book.deploy(&id("again"), Value::from(1), full.clone()).expect("idle");
        book.undeploy(&id("again"), Timestamp::from_millis(5), DRAIN_WINDOW).expect("deployed");
        book.deploy(&id("again"), Value::from(2), full).expect("idle");
        let pause = Pause { reason: "why".to_owned(), since: Timestamp::from_millis(6), until: None };
        book.pause(&id("again"), pause).expect("known");
        book.create(id("gone"), origin, Value::Null).expect("free");
        book.deploy(&id("gone"), Value::Null, spec("https://h.org/*", 200.0)).expect("idle");
        book.delete(&id("gone"), Timestamp::from_millis(9), DRAIN_WINDOW, true).expect("forced");
        book
    }

    /// With what format 2 did not have.
    fn newest() -> Book {
        let (mut book, origin) = (book(), Origin::new("y"));
        let segment = Segment { label: "m".into(), after: "/a".into(), names: vec!["get".into()] };
        let clauses = vec![
            Clause::of(UrlPattern::any_host("/a/{}/b*").expect("valid")),
            Clause { segment: Some(segment), ..Clause::of(UrlPattern::parse("http://h/a*").expect("valid")) },
        ];
        let scope = Scope::new(&["api_key", "container"]).expect("valid").with_host("container");
        let window = Limits { window: Window::new(5, 1_000).ok(), ..Limits::default() };
        let overrides = Overrides::new(
            &scope,
            [(vec!["k 1".into(), "c".into()], window), (vec!["k2".into()], Limits::closed())],
        );
        let wording = Wording {
            per_window: "W".into(),
            per_quota: "Q".into(),
            closed: "C".into(),
            subject: "s".into(),
        };
        let spec = Spec {
            overlap: Overlap::MostSpecific { among: "keys".into() },
            scope,
            overrides,
            counts_on: Some(id("again")),
            rank: 3,
            wording: Some(wording),
            ..Spec::new(clauses, Limits::closed())
        };
        book.create(id("new"), origin.clone(), Value::Null).expect("free");
        book.deploy(&id("new"), Value::Null, spec).expect("idle");
        book.put_element(&origin, "service", "1", serde_json::json!({ "name": "s" }));
        book
    }

    #[test]
    fn a_book_comes_back_as_it_was() {
        let book = newest();
        let body = encode(&book).expect("encodes");
        assert_eq!(decode(&body).expect("decodes"), book);
        assert_eq!(encode(&decode(&body).expect("decodes")).expect("encodes"), body);
    }

    #[test]
    fn foreign_documents_are_refused_with_a_reason() {
        let refused = |body: &str| decode(body.as_bytes()).expect_err(body);
        assert!(matches!(refused(r#"{"format":4}"#), PolicyError::Format { found: 4, known: 3 }));
        assert!(matches!(refused("{"), PolicyError::Document { .. }));
        assert!(matches!(refused(r#"{"format":3}"#), PolicyError::Document { .. }));
        let body = String::from_utf8(encode(&book()).expect("encodes").to_vec()).expect("text");
        assert!(matches!(refused(&body.replace("https://", "ftp://")), PolicyError::Document { .. }));
        assert!(matches!(refused(&body.replace("\"again\"", "\"idle\"")), PolicyError::Document { .. }));
    }

    #[test]
    fn a_clause_that_cannot_be_read_is_an_error_and_not_left_out() {
        let v2 = include_str!("fixtures/book-v2.json");
        let v3 = include_str!("fixtures/book-v3.json");
        for (body, from, to) in [
            (v2, "\"or_absent\"", "\"or_absnt\""),
            (v2, "\"methods\"", "\"verbs\""),
            (v2, "\"pattern\": \"https://h.org:8443/a/*?b=*\"", "\"pattern\": 7"),
            (v3, "\"or_absent\"", "\"or_absnt\""),
            (v3, "\"clauses\"", "\"claused\""),
        ] {
            let broken = body.replace(from, to);
            assert_ne!(broken, body, "{from}");
            let read = decode(broken.as_bytes());
            assert!(matches!(read, Err(PolicyError::Document { .. })), "{to}: {read:?}");
        }
    }

    #[test]
    fn the_limits_of_one_key_stand_once() {
        let body = String::from_utf8(encode(&newest()).expect("encodes").to_vec()).expect("text");
        let broken = body.replace("\"api_key=k2\"", "\"api_key=k%201;container=c\"");
        assert_ne!(broken, body);
        let read = decode(broken.as_bytes());
        assert!(matches!(read, Err(PolicyError::Document { .. })), "{read:?}");
    }

    #[test]
    fn all_formats_stay_readable() {
        let body = include_str!("fixtures/book-v3.json");
        assert_eq!(decode(body.as_bytes()).expect("readable"), newest());

        let body = include_str!("fixtures/book-v2.json");
        assert_eq!(decode(body.as_bytes()).expect("readable"), book());

        let mut before = book();
        let again = before.policies.get_mut(&id("again")).expect("there");
        again.pause = None;
        let ruling = again.ruling.as_mut().expect("rules");
        ruling.limits.window = None;
        ruling.limits.quota = None;
        ruling.overlap = Overlap::most_specific();
        ruling.scope = Scope::default();
        let body = include_str!("fixtures/book-v1.json");
        assert_eq!(decode(body.as_bytes()).expect("readable"), before);
    }
}
