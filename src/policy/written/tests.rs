//! What is written is read again, what cannot be expressed is not written, and faults have their place.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::policy::testing::id;
use crate::policy::{LabelCondition, Limits, Overlap, Pace, Period, Quota, Scope, UrlPattern, Window};

fn members(value: &Value) -> Members {
    serde_json::from_str(&value.to_string()).expect("an object")
}

fn spec() -> impl Strategy<Value = Spec> {
    let clause = (0..3_usize, 0..3_usize).prop_map(|(methods, labels)| Clause {
        methods: [Method::GET, Method::POST].into_iter().take(methods).collect(),
        labels: ["a", "b"].into_iter().take(labels).map(|key| LabelCondition::equals(key, "x")).collect(),
        ..Clause::of(UrlPattern::parse("https://h.org/a*?b=*").expect("valid"))
    });
    let limits = (
        prop::option::of(1e-4..1e6_f64),
        prop::option::of((1..1_000_000_i64, 1..100_000_i64)),
        prop::option::of((1..1_000_000_i64, 0..4_usize)),
        1..65_536_u32,
        prop::option::of(1..600_000_u64),
    );
    let limits = limits.prop_map(|(pace, window, quota, slots, timeout)| Limits {
        pace: pace.map(|pace| Pace::per_second(pace).expect("in range")),
        window: window.map(|(calls, length)| Window::new(calls, length).expect("in range")),
        quota: quota.map(|(calls, per)| Quota::new(calls, Period::ALL[per]).expect("in range")),
        slots: std::num::NonZeroU32::new(slots),
        timeout: timeout.map(Duration::from_millis),
        closed: false,
    });
    (clause, limits, 0..3_usize, any::<bool>()).prop_map(|(clause, limits, scope, refuses)| {
        let refuses = refuses && (limits.pace.is_some() || limits.window.is_some() || limits.quota.is_some());
        let family = if refuses { Family::Refuse } else { Family::Wait };
        let labels: Vec<&str> = ["org", "user"].into_iter().take(scope).collect();
        let scope = Scope::new(&labels).expect("valid");
        Spec { family, scope, ..Spec::new(vec![clause], limits) }
    })
}

proptest! {
    #[test]
    fn what_is_written_as_json_is_read_again(spec in spec()) {
        let written = write(&id("a"), &spec).expect("can be expressed");
        let text = serde_json::to_string(&written).expect("texts and numbers");
        let read: Members = serde_json::from_str(&text).expect("an object");
        prop_assert_eq!(&read, &written);
        prop_assert_eq!(read_name(&read), Ok(id("a")));
        prop_assert_eq!(read_spec(&read, None), Ok(spec));
    }
}

#[test]
fn what_has_no_member_is_not_written() {
    let limits = Limits { slots: std::num::NonZeroU32::new(1), ..Limits::default() };
    let clause = Clause::of(UrlPattern::parse("https://h.org/*").expect("valid"));
    let spec = Spec::new(vec![clause.clone()], limits.clone());
    assert!(write(&id("a"), &spec).is_some());
    let or_absent = Clause { labels: vec![LabelCondition::equals_or_absent("a", "b")], ..clause.clone() };
    let any_host = Clause::of(UrlPattern::any_host("/x").expect("valid"));
    let counting = Limits { window: Some(Window::counting(Duration::from_secs(1))), ..limits.clone() };
    let closed = Limits { closed: true, ..limits.clone() };
    let others = [
        Spec { clauses: vec![clause.clone(), clause.clone()], ..spec.clone() },
        Spec { clauses: vec![or_absent], ..spec.clone() },
        Spec { clauses: vec![any_host], ..spec.clone() },
        Spec { limits: counting, ..spec.clone() },
        Spec { limits: closed, ..spec.clone() },
        Spec { overlap: Overlap::most_specific(), ..spec.clone() },
        Spec { bounds_on: Some(id("b")), ..spec.clone() },
        Spec { rank: 1, ..spec.clone() },
        Spec { scope: Scope::new(&["a"]).expect("valid").with_host("a"), ..spec.clone() },
    ];
    for other in &others {
        assert_eq!(write(&id("a"), other), None, "{other:?}");
    }
}

#[test]
fn faults_have_pointers_and_members_are_given_once() {
    let faults = |text: &str| -> Vec<(String, String)> {
        let members: Members = serde_json::from_str(text).expect("an object");
        let faults = read_spec(&members, None).expect_err("faults");
        faults.into_iter().map(|fault| (fault.pointer(), fault.detail)).collect()
    };
    let found = faults(
        r#"{"url": "https://h.org/*", "pace": 0, "slots": 1.5, "window": {"calls": 1, "per_ms": null},
            "labels": {"a/b~c": "x", "d": "1", "d": "2"}, "slots": 2, "quota": [], "scope": [null]}"#,
    );
    let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
    let expected =
        ["/slots", "/labels/a~1b~0c", "/labels/d", "/pace", "/window/per_ms", "/quota", "/slots", "/scope"];
    assert_eq!(pointers, expected, "{found:#?}");
    let (_, twice) = &found[0];
    assert_eq!(twice, "is given twice; give it once");
    assert_eq!(faults(r#"{"url": "https://h.org/*"}"#)[0].0, "", "the whole");
}

#[test]
fn null_is_nothing_and_whole_floats_are_whole() {
    let read = members(
        &json!({"name": "a", "url": "https://h.org/*", "slots": 50.0, "pace": null, "methods": null}),
    );
    assert_eq!(read.0.len(), 3);
    assert_eq!(read_spec(&read, None).expect("valid").limits.slots, std::num::NonZeroU32::new(50));
    assert!(serde_json::from_str::<Members>("[]").is_err());
}

#[test]
fn differing_members_are_named_once() {
    let one = members(&json!({"name": "a", "pace": 1, "slots": 2}));
    let other = members(&json!({"name": "a", "pace": 2, "quota": {"calls": 1, "per": "day"}}));
    assert_eq!(one.differing(&other), ["pace", "quota", "slots"]);
    assert_eq!(one.differing(&one), [""; 0]);
}
