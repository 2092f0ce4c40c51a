//! The stored form of the book: JSON, format 2, apart from the inner types so that either can change.
//!
//! ```text
//! { "format": 2, "next_order": n, "policies": [ { "id", "origin", "order", "record", "deleted": bool,
//!     "ruling": { "pattern", "methods", "labels": [{ "key", "value", "or_absent" }], "pace",
//!                 "window": { "calls", "length_ms" } | null, "quota": { "calls", "per" } | null, "slots",
//!                 "timeout_ms", "family": "wait" | "refuse", "overlap": "most_specific" | "all",
//!                 "scope": [label] } | null,
//!     "pause": { "reason", "since_ms", "until_ms" | null } | null,
//!     "state": "created" | "updated" | "deployed", "before_deploy", "deployed": bool,
//!     "generations": [{ "number", "draining_until_ms" | null }], "next_generation": n } ] }
//! ```
//!
//! Format 1 had no window, quota, overlap, scope and pause; it is read and written anew as format 2. A higher format
//! is refused, never guessed at.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::policy::{
    Book, Family, GenerationState, LabelCondition, Lifecycle, Limits, Origin, Overlap, Pace, Pause, Period,
    Policy, PolicyError, Quota, Scope, Spec, State, UrlPattern, Window,
};

const FORMAT: u32 = 2;
const OLDEST_FORMAT: u32 = 1;

#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Serialize, Deserialize)]
struct BookV1 {
    format: u32,
    next_order: u64,
    policies: Vec<PolicyV1>,
}

#[derive(Serialize, Deserialize)]
struct PolicyV1 {
    id: String,
    origin: String,
    order: u64,
    record: Value,
    deleted: bool,
    ruling: Option<SpecV1>,
    #[serde(default)]
    pause: Option<PauseV2>,
    state: StateV1,
    before_deploy: StateV1,
    deployed: bool,
    generations: Vec<GenerationV1>,
    next_generation: u32,
}

#[derive(Serialize, Deserialize)]
struct SpecV1 {
    pattern: String,
    methods: Vec<String>,
    labels: Vec<LabelV1>,
    pace: Option<f64>,
    #[serde(default)]
    window: Option<WindowV2>,
    #[serde(default)]
    quota: Option<QuotaV2>,
    slots: Option<std::num::NonZeroU32>,
    timeout_ms: Option<u64>,
    family: FamilyV1,
    #[serde(default)]
    overlap: OverlapV2,
    #[serde(default)]
    scope: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct WindowV2 {
    calls: i64,
    length_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct QuotaV2 {
    calls: i64,
    per: String,
}

#[derive(Serialize, Deserialize)]
struct PauseV2 {
    reason: String,
    since_ms: u64,
    until_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct LabelV1 {
    key: String,
    value: String,
    or_absent: bool,
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
#[serde(rename_all = "lowercase")]
enum FamilyV1 {
    Wait,
    Refuse,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum OverlapV2 {
    #[default]
    MostSpecific,
    All,
}

pub(super) fn encode(book: &Book) -> Result<Bytes, PolicyError> {
    let policies = book.policies.iter().map(|(id, policy)| encode_policy(id, policy)).collect();
    let document = BookV1 { format: FORMAT, next_order: book.next_order, policies };
    serde_json::to_vec_pretty(&document).map(Bytes::from).map_err(malformed)
}

pub(super) fn decode(body: &[u8]) -> Result<Book, PolicyError> {
    let Head { format } = serde_json::from_slice(body).map_err(malformed)?;
    if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
        return Err(PolicyError::Format { found: format, known: FORMAT });
    }
    let document: BookV1 = serde_json::from_slice(body).map_err(malformed)?;
    let mut book = Book { next_order: document.next_order, ..Book::default() };
    for policy in document.policies {
        let id = PolicyId::parse(&policy.id)?;
        if book.policies.insert(id, decode_policy(policy)?).is_some() {
            return Err(malformed("a policy id stands twice"));
        }
    }
    Ok(book)
}

fn malformed(reason: impl std::fmt::Display) -> PolicyError {
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

fn encode_spec(spec: &Spec) -> SpecV1 {
    let Spec { pattern, methods, labels, limits, family, overlap, scope } = spec;
    let Limits { pace, window, quota, slots, timeout } = limits;
    let millis = |length: &Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    SpecV1 {
        pattern: pattern.as_str().to_owned(),
        methods: methods.iter().map(Method::to_string).collect(),
        labels: labels
            .iter()
            .map(|LabelCondition { key, value, or_absent }| LabelV1 {
                key: key.clone(),
                value: value.clone(),
                or_absent: *or_absent,
            })
            .collect(),
        pace: pace.map(Pace::starts_per_second),
        window: window.map(|window| WindowV2 {
            calls: window.calls().get().into(),
            length_ms: i64::try_from(window.length().as_millis()).unwrap_or(i64::MAX),
        }),
        quota: quota
            .map(|Quota { calls, per }| QuotaV2 { calls: calls.get().into(), per: per.name().to_owned() }),
        slots: *slots,
        timeout_ms: timeout.as_ref().map(millis),
        family: match family {
            Family::Wait => FamilyV1::Wait,
            Family::Refuse => FamilyV1::Refuse,
        },
        overlap: match overlap {
            Overlap::MostSpecific => OverlapV2::MostSpecific,
            Overlap::All => OverlapV2::All,
        },
        scope: scope.labels().iter().map(ToString::to_string).collect(),
    }
}

fn decode_spec(spec: SpecV1) -> Result<Spec, PolicyError> {
    let methods = spec.methods.iter().map(|method| Method::from_bytes(method.as_bytes()));
    let labels = spec.labels.into_iter().map(|label| LabelCondition {
        key: label.key,
        value: label.value,
        or_absent: label.or_absent,
    });
    Ok(Spec {
        pattern: UrlPattern::parse(&spec.pattern).map_err(malformed)?,
        methods: methods.collect::<Result<_, _>>().map_err(malformed)?,
        labels: labels.collect(),
        limits: Limits {
            pace: spec.pace.map(Pace::per_second).transpose().map_err(malformed)?,
            window: spec
                .window
                .map(|window| Window::new(window.calls, window.length_ms))
                .transpose()
                .map_err(malformed)?,
            quota: spec.quota.map(decode_quota).transpose()?,
            slots: spec.slots,
            timeout: spec.timeout_ms.map(Duration::from_millis),
        },
        family: match spec.family {
            FamilyV1::Wait => Family::Wait,
            FamilyV1::Refuse => Family::Refuse,
        },
        overlap: match spec.overlap {
            OverlapV2::MostSpecific => Overlap::MostSpecific,
            OverlapV2::All => Overlap::All,
        },
        scope: Scope::new(&spec.scope).map_err(malformed)?,
    })
}

fn decode_quota(quota: QuotaV2) -> Result<Quota, PolicyError> {
    let per = Period::parse(&quota.per).ok_or_else(|| malformed("a quota of an unknown period"))?;
    Quota::new(quota.calls, per).map_err(malformed)
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
    use super::*;
    use crate::policy::DRAIN_WINDOW;
    use crate::policy::testing::{id, spec, spec_for};

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

    #[test]
    fn a_book_comes_back_as_it_was() {
        let book = book();
        let body = encode(&book).expect("encodes");
        assert_eq!(decode(&body).expect("decodes"), book);
        assert_eq!(encode(&decode(&body).expect("decodes")).expect("encodes"), body);
    }

    #[test]
    fn foreign_documents_are_refused_with_a_reason() {
        let refused = |body: &str| decode(body.as_bytes()).expect_err(body);
        assert!(matches!(refused(r#"{"format":3}"#), PolicyError::Format { found: 3, known: 2 }));
        assert!(matches!(refused("{"), PolicyError::Document { .. }));
        assert!(matches!(refused(r#"{"format":2}"#), PolicyError::Document { .. }));
        let body = String::from_utf8(encode(&book()).expect("encodes").to_vec()).expect("text");
        assert!(matches!(refused(&body.replace("https://", "ftp://")), PolicyError::Document { .. }));
        assert!(matches!(refused(&body.replace("\"again\"", "\"idle\"")), PolicyError::Document { .. }));
    }

    #[test]
    fn both_formats_stay_readable() {
        let body = include_str!("fixtures/book-v2.json");
        assert_eq!(decode(body.as_bytes()).expect("readable"), book());

        let mut before = book();
        let again = before.policies.get_mut(&id("again")).expect("there");
        again.pause = None;
        let ruling = again.ruling.as_mut().expect("rules");
        ruling.limits.window = None;
        ruling.limits.quota = None;
        ruling.overlap = Overlap::MostSpecific;
        ruling.scope = Scope::default();
        let body = include_str!("fixtures/book-v1.json");
        assert_eq!(decode(body.as_bytes()).expect("readable"), before);
    }
}
