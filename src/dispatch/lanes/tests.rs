//! What policies say about lanes.

use super::*;
use crate::event::PolicyRef;
use crate::policy::testing::{id, labels, spec};
use crate::policy::{Book, Limits, Origin, Overrides, Scope, Spec};

#[test]
fn the_timeout_of_a_lane_is_that_of_its_label_values() {
    let within = |s| Limits { timeout: Some(Duration::from_secs(s)), ..Limits::default() };
    let scope = Scope::new(&["key"]).expect("valid");
    let overrides = Overrides::new(&scope, [(vec!["slow".into()], within(60))]);
    let limited = Spec { limits: within(5), scope, overrides, ..spec("https://h.org/*", 1.0) };
    let mut book = Book::default();
    book.put(&Origin::new("x"), &id("p"), limited).expect("free");
    let runtime = Runtime::build(&book).expect("small");
    let timeout = |key: &str| {
        let part = PolicyRef { policy: id("p"), generation: 1 };
        let lane = Lane::scoped(vec![part], &labels(&[("key", key)]), &["key"]).expect("short");
        LanePolicies::by(&lane, &runtime, None).timeout
    };
    assert_eq!(timeout("slow"), Some(Duration::from_secs(60)));
    assert_eq!(timeout("other"), Some(Duration::from_secs(5)));
}

#[test]
fn an_unknown_generation_is_held_and_an_ended_one_is_over() {
    let now = Timestamp::from_millis(1_000);
    let mut book = Book::default();
    for name in ["p", "q"] {
        book.put(&Origin::new(name), &id(name), spec("https://h.org/*", 1.0)).expect("free");
    }
    book.remove(&id("q"), now, Duration::ZERO).expect("there");
    book.expire(now);
    let fate = |parts: &[(&str, u32)]| {
        let part = |(name, generation): &(&str, u32)| PolicyRef { policy: id(name), generation: *generation };
        let lane = Lane::of(parts.iter().map(part).collect()).expect("short");
        LanePolicies::by(&lane, &Runtime::build(&book).expect("small"), Some(now)).fate
    };
    assert_eq!(fate(&[("p", 1)]), Fate::Live);
    assert_eq!(fate(&[("p", 2)]), Fate::Unknown, "above what was issued");
    assert_eq!(fate(&[("q", 1)]), Fate::Over, "the book has seen it end");
    assert_eq!(fate(&[("q", 2)]), Fate::Unknown);
    assert_eq!(fate(&[("r", 1)]), Fate::Unknown, "nobody knows the policy");
    assert_eq!(fate(&[("q", 1), ("r", 1)]), Fate::Unknown, "nothing ends on a doubt");
    assert_eq!(fate(&[("r", 1), ("q", 1)]), Fate::Unknown);
    assert_eq!(fate(&[("p", 1), ("q", 1)]), Fate::Over);
}
