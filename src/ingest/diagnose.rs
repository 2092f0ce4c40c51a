//! Says what is wrong with an event that does not have the right shape: every member at once, each by its
//! JSON pointer. Runs only after the quick reading failed, so it may take its time.
//!
//! Must not know: clocks, policies, the queue.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::json_pointer;
use crate::ingest::wire::{MEMBERS, Pairs, Text, Values};
use crate::problem::{Problem, codes};

/// The problem of a text that [`serde_json`] refused to read as an event.
pub(super) fn diagnose(text: &str) -> Problem {
    let members: Pairs<'_, &RawValue> = match serde_json::from_str(text) {
        Ok(members) => members,
        Err(error) if error.is_data() => {
            return Problem::of(codes::INVALID_EVENT, "an event is a JSON object with at least \"url\"")
                .field("", "must be a JSON object such as {\"url\": \"https://api.example.org/x\"}");
        }
        Err(error) => return not_json(&error.to_string()),
    };
    let mut problem = Problem::of(codes::INVALID_EVENT, "");
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, value) in &members.0 {
        let times = seen.entry(name).or_default();
        *times += 1;
        // Named once, however often it is repeated.
        if *times == 2 {
            problem = problem.field(json_pointer([&**name]), "is given twice; give it once");
        }
        if !MEMBERS.contains(&&**name) {
            let known = MEMBERS.join(", ");
            problem =
                problem.field(json_pointer([&**name]), format!("is unknown; known members are {known}"));
        } else if let Some(rule) = broken_type(name, value.get()) {
            problem = problem.field(json_pointer([&**name]), rule);
        }
    }
    if !seen.contains_key("url") {
        problem = problem.field("/url", "is missing; name the http or https address to call");
    }
    let told = problem.errors.iter().map(|error| format!("{} {}", error.pointer, error.detail));
    problem.detail = told.collect::<Vec<_>>().join("; ");
    problem
}

/// The problem of a text that is not JSON at all.
pub(super) fn not_json(reason: &str) -> Problem {
    // A line of a stream has a number of its own, beside which a second one would confuse.
    let reason = reason.replace("at line 1 column", "at column");
    let rule = "must be JSON in UTF-8 without byte order mark: one event as an object, or a list of them";
    let detail = format!("{reason}; the text {rule}");
    Problem::of(codes::INVALID_JSON, detail).field("", rule)
}

fn broken_type(name: &str, value: &str) -> Option<&'static str> {
    match name {
        "url" => wrong::<Text<'_>>(value).then_some("must be text"),
        "headers" => wrong::<Option<Pairs<'_, Values<'_>>>>(value)
            .then_some("must be an object whose values are text or lists of texts"),
        "labels" => {
            wrong::<Option<Pairs<'_, Text<'_>>>>(value).then_some("must be an object whose values are text")
        }
        "delay_seconds" | "ttl_seconds" => {
            wrong::<Option<f64>>(value).then_some("must be a number of seconds")
        }
        // Any JSON value is a body.
        "body" => None,
        _ => wrong::<Option<Text<'_>>>(value).then_some("must be text"),
    }
}

fn wrong<'a, T: Deserialize<'a>>(value: &'a str) -> bool {
    serde_json::from_str::<T>(value).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_named_at_once() {
        let problem =
            diagnose(r#"{"method":1,"labels":{"a":2},"colour/x":3,"ttl_seconds":"6h","method":"GET"}"#);
        let pointers: Vec<&str> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(problem.status, 422);
        assert_eq!(pointers, ["/method", "/labels", "/colour~1x", "/ttl_seconds", "/method", "/url"]);
        assert!(pointers.iter().all(|pointer| problem.detail.contains(pointer)), "{}", problem.detail);
    }

    #[test]
    fn what_is_not_json_says_where() {
        let problem = diagnose(r#"{"url": tru}"#);
        assert_eq!((problem.status, problem.code), (400, "invalid_json"));
        assert!(problem.detail.contains("column"), "{}", problem.detail);
        assert_eq!(diagnose("[1]").code, "invalid_event");
        assert_eq!(diagnose("").code, "invalid_json");
    }
}
