//! The stored form: every format reads, and what is not understood is refused.

use std::time::Duration;

use super::*;
use crate::policy::testing::{id, spec, spec_for};
use crate::policy::{
    Clause, DRAIN_WINDOW, Family, LabelCondition, Limits, Overlap, Overrides, Period, Quota, RefusalCodes,
    Scope, Segment, UrlPattern, Window,
};

fn book() -> Book {
    let mut book = Book::default();
    let origin = Origin::new("x");
    book.rest(&origin, &id("idle"), Timestamp::ZERO, DRAIN_WINDOW).expect("free");
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
    book.put(&origin, &id("again"), full.clone()).expect("free");
    book.rest(&origin, &id("again"), Timestamp::from_millis(5), DRAIN_WINDOW).expect("deployed");
    book.put(&origin, &id("again"), full).expect("idle");
    let pause = Pause { reason: "why".to_owned(), since: Timestamp::from_millis(6), until: None };
    book.pause(&id("again"), pause).expect("known");
    book.put(&origin, &id("gone"), spec("https://h.org/*", 200.0)).expect("free");
    book.remove(&id("gone"), Timestamp::from_millis(9), DRAIN_WINDOW).expect("there");
    // What were the records of two policies up to format 4.
    add_element(&mut book, "again", 1, Value::from(2));
    let life = serde_json::json!({"updated": false, "deployed": null});
    add_element(&mut book, "idle", 0, serde_json::json!({"name": "a\u{1}b", "life": life}));
    book
}

fn add_element(book: &mut Book, id: &str, order: u64, record: Value) {
    let name = ElementName { origin: Origin::new("x"), kind: "config".into(), id: id.into() };
    assert!(book.elements.add(name, Element { order, record }));
}

/// With what format 2 did not have.
fn with_elements() -> Book {
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
    let wording = RefusalCodes {
        per_window: "W".into(),
        per_quota: "Q".into(),
        closed: "C".into(),
        subject: "s".into(),
    };
    let spec = Spec {
        overlap: Overlap::MostSpecific { among: "keys".into() },
        scope,
        overrides,
        bounds_on: Some(id("again")),
        rank: 3,
        wording: Some(wording),
        ..Spec::new(clauses, Limits::closed())
    };
    book.put(&origin, &id("new"), spec).expect("free");
    book.put_element(&origin, "service", "1", serde_json::json!({ "name": "s" }));
    book
}

/// With what format 5 did not have.
fn newest() -> Book {
    let mut book = with_ended();
    let policy = book.policies.get_mut(&id("new")).expect("there").edit();
    Arc::make_mut(policy.ruling.as_mut().expect("rules")).title = Some("CRM \"main\"".into());
    Arc::make_mut(policy.ruling.as_mut().expect("rules")).config = Some("c1".into());
    book
}

/// With what format 3 did not have.
fn with_ended() -> Book {
    let mut book = with_elements();
    book.ended.insert(id("long-gone"), 7);
    book
}

#[test]
fn an_unknown_member_is_refused_wherever_it_stands() {
    let body = encode(&newest()).expect("encodes");
    let sound: Value = serde_json::from_slice(&body).expect("JSON");
    let mut objects = Vec::new();
    places(&sound, &mut String::new(), &mut objects);
    assert_eq!(objects.len(), 30, "{objects:?}");
    for place in objects {
        let mut document = sound.clone();
        let object = document.pointer_mut(&place).and_then(Value::as_object_mut).expect("there");
        object.insert("pacee".to_owned(), Value::from(1));
        let read = decode(document.to_string().as_bytes());
        assert!(matches!(read, Err(PolicyError::Document { .. })), "{place:?}: {read:?}");
    }
}

/// The places of all objects but the records, which belong to their origins.
fn places(value: &Value, at: &mut String, found: &mut Vec<String>) {
    let length = at.len();
    match value {
        Value::Object(members) => {
            found.push(at.clone());
            for (name, member) in members.iter().filter(|(name, _)| *name != "record") {
                at.push_str(&format!("/{name}"));
                places(member, at, found);
                at.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                at.push_str(&format!("/{index}"));
                places(item, at, found);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

#[test]
fn a_book_comes_back_as_it_was() {
    let book = newest();
    let body = encode(&book).expect("encodes");
    assert_eq!(decode(&body).expect("decodes"), book);
    assert_eq!(encode(&decode(&body).expect("decodes")).expect("encodes"), body);
}

#[test]
fn specs_that_are_in_memory_are_shared_only_where_they_are_the_same() {
    let book = newest();
    let body = encode(&book).expect("encodes");
    let (first, spec) = book.specs().next().expect("one");
    let other = Arc::new(Spec {
        limits: Limits { closed: !spec.limits.closed, ..spec.limits.clone() },
        ..(**spec).clone()
    });
    for (shared, is_same) in [(spec, true), (&other, false)] {
        let read = decode_sharing(&body, &KnownSpecs::from([(first, shared)])).expect("decodes");
        assert_eq!(read, book);
        let (_, ruling) = read.specs().next().expect("one");
        assert_eq!(Arc::ptr_eq(ruling, shared), is_same);
    }
}

#[test]
fn foreign_documents_are_refused_with_a_reason() {
    let refused = |body: &str| decode(body.as_bytes()).expect_err(body);
    assert!(matches!(refused(r#"{"format":7}"#), PolicyError::Format { found: 7, known: 6 }));
    assert!(matches!(refused("{"), PolicyError::Document { .. }));
    assert!(matches!(refused(r#"{"format":3}"#), PolicyError::Document { .. }));
    let body = String::from_utf8(encode(&book()).expect("encodes").to_vec()).expect("text");
    assert!(matches!(refused(&body.replace("https://", "ftp://")), PolicyError::Document { .. }));
    assert!(matches!(refused(&body.replace("\"again\"", "\"idle\"")), PolicyError::Document { .. }));
}

#[test]
fn a_clause_that_cannot_be_read_is_an_error_and_not_left_out() {
    let v2 = include_str!("../fixtures/book-v2.json");
    let v3 = include_str!("../fixtures/book-v3.json");
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
    let body = include_str!("../fixtures/book-v6.json");
    assert_eq!(decode(body.as_bytes()).expect("readable"), newest());

    let body = include_str!("../fixtures/book-v5.json");
    assert_eq!(decode(body.as_bytes()).expect("readable"), with_ended());

    let body = include_str!("../fixtures/book-v4.json");
    assert_eq!(decode(body.as_bytes()).expect("readable"), with_ended());

    let body = include_str!("../fixtures/book-v3.json");
    assert_eq!(decode(body.as_bytes()).expect("readable"), with_elements());

    let body = include_str!("../fixtures/book-v2.json");
    assert_eq!(decode(body.as_bytes()).expect("readable"), book());

    let mut before = book();
    let again = before.policies.get_mut(&id("again")).expect("there").edit();
    again.pause = None;
    let ruling = Arc::make_mut(again.ruling.as_mut().expect("rules"));
    ruling.limits.window = None;
    ruling.limits.quota = None;
    ruling.overlap = Overlap::most_specific();
    ruling.scope = Scope::default();
    let body = include_str!("../fixtures/book-v1.json");
    assert_eq!(decode(body.as_bytes()).expect("readable"), before);
}
