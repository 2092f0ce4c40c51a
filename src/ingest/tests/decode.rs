//! One table per kind of rule.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;

use super::{START, defaults};
use crate::clock::{Clock, ClockMark, Script, Timestamp};
use crate::ingest::Defaults;
use crate::ingest::decode::{Decoded, Decoder, MAX_BODY_BYTES, MAX_HEADERS};
use crate::problem::Problem;

fn decode(text: &str) -> Result<Decoded, Box<Problem>> {
    let line = Bytes::from(text.to_owned());
    Decoder::new(defaults(), &Clock::manual(START)).decode(&line, &line, None)
}

fn refusal(text: &str) -> (u16, &'static str, Vec<String>) {
    let problem = decode(text).expect_err(text);
    (problem.status, problem.code, problem.errors.into_iter().map(|error| error.pointer).collect())
}

#[test]
fn an_event_is_filled_up_with_defaults() {
    let Decoded { event, own, dedup, .. } =
        decode(r#"{"url":"https://API.test/x","body":{"a": [1]},"labels":{"sandbox":"dev"}}"#)
            .expect("valid");
    assert_eq!(event.method, "POST");
    assert_eq!(event.url.as_str(), "https://api.test/x");
    assert_eq!(&event.body[..], br#"{"a": [1]}"#);
    assert_eq!(event.headers["content-type"], "application/json");
    assert_eq!(event.labels.get("sandbox"), Some("dev"));
    assert_eq!(event.labels.get("org"), Some("ACME"));
    assert_eq!(own.iter().collect::<Vec<_>>(), [("sandbox", "dev")]);
    assert_eq!((event.due_at, event.expires_at), (None, START + defaults().max_ttl));
    assert_eq!(dedup, None);
}

/// While the wall clock is in doubt, a delay counts from now, and a date stays the date that it is.
#[test]
fn a_date_in_doubt_is_kept_as_it_is_and_a_delay_as_long_as_it_is() {
    let script = Script::new("another", START + Duration::from_secs(90_000));
    let decode = |clock: &Clock, member: &str| {
        let line = Bytes::from(format!(r#"{{"url":"https://api.test/",{member}}}"#));
        let event = Decoder::new(defaults(), clock).decode(&line, &line, None).expect("valid").event;
        (event.due_at, event.is_dated)
    };
    let clock = Clock::scripted(&script);
    clock.begin(Some(&ClockMark::unknown(START)), Timestamp::ZERO, Duration::from_secs(60));
    let after = |seconds| Some(START + Duration::from_secs(seconds));
    // Past by the wall clock, and beyond the event's life by the line.
    for (date, seconds) in [("2023-11-14T23:13:30Z", 3_610), ("2023-11-19T22:13:20Z", 432_000)] {
        assert_eq!(decode(&clock, &format!(r#""due_at":"{date}""#)), (after(seconds), true), "{date}");
    }
    assert_eq!(decode(&clock, r#""delay_seconds":10"#), (after(10), false));
    clock.trust().expect("in doubt");
    assert_eq!(
        decode(&clock, r#""due_at":"2023-11-14T23:13:30Z""#),
        (None, false),
        "the control: it has passed"
    );
}

#[test]
fn with_known_labels_others_are_refused_and_named() {
    let known = ["org", "sandbox", "team"].map(str::to_owned);
    let strict = Arc::new(Defaults { known_labels: Some(known.into()), ..Defaults::clone(&defaults()) });
    let decode = |labels: &str| {
        let line = Bytes::from(format!(r#"{{"url":"https://api.test/","labels":{labels}}}"#));
        Decoder::new(strict.clone(), &Clock::manual(START)).decode(&line, &line, None)
    };
    let event = decode(r#"{"team":"a"}"#).expect("known").event;
    assert_eq!((event.labels.get("team"), event.labels.get("org")), (Some("a"), Some("ACME")));
    let problem = decode(r#"{"Team":"a","org":"b","a/b":"c"}"#).expect_err("unknown");
    assert_eq!((problem.status, problem.code), (422, "invalid_event"));
    let pointers: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(pointers[..2], ["/labels/Team", "/labels/a~1b"]);
    assert!(
        problem.detail.contains("is not a known label; known are org, sandbox, team"),
        "{}",
        problem.detail
    );
}

#[test]
fn bodies_and_their_content_types() {
    for (members, body, kind) in [
        (r#""body":null"#, &b"null"[..], Some("application/json")),
        (r#""body":"x""#, b"\"x\"", Some("application/json")),
        (r#""body_text":"a\nb""#, b"a\nb", Some("text/plain; charset=utf-8")),
        (r#""body_base64":"AAH/""#, b"\x00\x01\xff", Some("application/octet-stream")),
        (r#""body":1,"headers":{"Content-Type":"text/x"}"#, b"1", Some("text/x")),
        (r#""method":"get""#, b"", None),
    ] {
        let event = decode(&format!(r#"{{"url":"https://api.test/",{members}}}"#)).expect(members).event;
        assert_eq!(&event.body[..], body, "{members}");
        let given = event.headers.get("content-type").map(|kind| kind.to_str().expect("text"));
        assert_eq!(given, kind, "{members}");
    }
}

#[test]
fn due_dates_become_delays_on_the_steady_line() {
    let due = |members: &str| {
        let event = decode(&format!(r#"{{"url":"https://api.test/",{members}}}"#)).expect(members).event;
        (event.due_at.map(|due| due.since(START).as_millis()), event.expires_at.since(START).as_secs())
    };
    assert_eq!(due(r#""delay_seconds":1.5,"ttl_seconds":60"#), (Some(1500), 60));
    assert_eq!(due(r#""delay_seconds":0"#), (None, 21600));
    // START is 2023-11-14T22:13:20Z.
    assert_eq!(due(r#""due_at":"2023-11-14T23:13:30+01:00""#), (Some(10_000), 21600));
    assert_eq!(due(r#""due_at":"1066-10-14T00:00:00Z""#), (None, 21600));
}

#[test]
fn each_broken_rule_names_its_member() {
    let key = "k".repeat(257);
    for (members, code, pointers) in [
        (r#""method":"GE T""#.to_owned(), "invalid_event", vec!["/method"]),
        (r#""method":"CONNECT""#.to_owned(), "invalid_event", vec!["/method"]),
        (
            r#""headers":{"a b":"1","x":"a\r\nb: c"}"#.to_owned(),
            "invalid_header",
            vec!["/headers/a b", "/headers/x"],
        ),
        (
            r#""headers":{"Host":"evil","Connection":"close"}"#.to_owned(),
            "invalid_header",
            vec!["/headers/Host", "/headers/Connection"],
        ),
        (r#""headers":{"X-A":"1","x-a":"2"}"#.to_owned(), "invalid_header", vec!["/headers/x-a"]),
        (r#""body":1,"body_text":"1""#.to_owned(), "invalid_event", vec!["/body"]),
        (r#""body_base64":"?""#.to_owned(), "invalid_event", vec!["/body_base64"]),
        (r#""labels":{"a b":"1"}"#.to_owned(), "invalid_event", vec!["/labels"]),
        (r#""ttl_seconds":0"#.to_owned(), "invalid_event", vec!["/ttl_seconds"]),
        (r#""ttl_seconds":21601"#.to_owned(), "invalid_event", vec!["/ttl_seconds"]),
        (r#""delay_seconds":-1"#.to_owned(), "invalid_event", vec!["/delay_seconds"]),
        (r#""delay_seconds":60,"ttl_seconds":60"#.to_owned(), "invalid_event", vec!["/delay_seconds"]),
        (r#""delay_seconds":1,"due_at":"x""#.to_owned(), "invalid_event", vec!["/due_at"]),
        (r#""due_at":"tomorrow""#.to_owned(), "invalid_event", vec!["/due_at"]),
        (r#""due_at":"9999-01-01T00:00:00Z""#.to_owned(), "invalid_event", vec!["/due_at"]),
        (r#""idempotency_key":"""#.to_owned(), "invalid_event", vec!["/idempotency_key"]),
        (format!(r#""idempotency_key":"{key}""#), "invalid_event", vec!["/idempotency_key"]),
        (format!(r#""body":{}{}"#, "[".repeat(33), "]".repeat(33)), "invalid_event", vec!["/body"]),
        (r#""ttl_seconds":1e999"#.to_owned(), "invalid_event", vec!["/ttl_seconds"]),
        (r#""ttl_seconds":NaN"#.to_owned(), "invalid_json", vec![""]),
        (r#""colour":1,"method":2"#.to_owned(), "invalid_event", vec!["/colour", "/method"]),
    ] {
        let (_, found, at) = refusal(&format!(r#"{{"url":"https://api.test/",{members}}}"#));
        assert_eq!((found, at), (code, pointers.into_iter().map(str::to_owned).collect()), "{members}");
    }
    for url in ["", "/x", "ftp://a.test/", "https://u:p@a.test/", "http://[::1"] {
        assert_eq!(refusal(&format!(r#"{{"url":"{url}","method":"G T"}}"#)).2, ["/url", "/method"], "{url}");
    }
}

#[test]
fn sizes_at_the_limit_and_one_beyond() {
    let with = |bytes: usize| {
        let body = base64::engine::general_purpose::STANDARD.encode(vec![7; bytes]);
        format!(r#"{{"url":"https://api.test/","body_base64":"{body}"}}"#)
    };
    assert_eq!(decode(&with(MAX_BODY_BYTES)).expect("fits").event.body.len(), MAX_BODY_BYTES);
    assert_eq!(refusal(&with(MAX_BODY_BYTES + 1)).1, "payload_too_large");
    let headers = |count: usize| {
        let values = vec![r#""v""#; count].join(",");
        format!(r#"{{"url":"https://api.test/","headers":{{"x":[{values}]}}}}"#)
    };
    assert!(decode(&headers(MAX_HEADERS)).is_ok());
    assert_eq!(refusal(&headers(MAX_HEADERS + 1)).1, "invalid_header");
}

#[test]
fn however_much_is_wrong_the_answer_stays_small() {
    let headers =
        format!(r#"{{"url":"https://api.test/","headers":{{{}"x":"y"}}}}"#, r#""":"","#.repeat(50_000));
    let members = format!(r#"{{{}"url":"https://api.test/"}}"#, r#""a":0,"#.repeat(50_000));
    for text in [headers, members] {
        let problem = decode(&text).expect_err("wrong");
        assert_eq!((problem.status, problem.errors.len()), (422, Problem::MAX_ERRORS));
        assert!(serde_json::to_vec(&problem).expect("writes").len() < 16 * 1024);
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for text in ["", "{", "\u{feff}{}", "nul", r#"{"url":"x"} {}"#, &"{\"a\":".repeat(10_000)] {
        let (status, code, _) = refusal(text);
        assert_eq!((status, code), (400, "invalid_json"), "{text:.20}");
    }
    for text in [&"[".repeat(10_000), r#"["https://api.test/"]"#, "7"] {
        assert_eq!(refusal(text).1, "invalid_event", "{text:.20}");
    }
    let line = Bytes::from_static(b"{\"url\":\"\xff\"}");
    let problem = Decoder::new(defaults(), &Clock::manual(START)).decode(&line, &line, None);
    assert_eq!(problem.expect_err("not UTF-8").code, "invalid_json");
}

#[test]
fn a_key_recognises_the_same_call_and_no_other() {
    let dedup = |members: &str| {
        let text = format!(r#"{{"url":"https://api.test/","idempotency_key":"k"{members}}}"#);
        decode(&text).expect(members).dedup.expect("has a key")
    };
    assert_eq!(dedup(""), dedup(r#","delay_seconds":5"#));
    assert_eq!(dedup("").key, dedup(r#","body":1"#).key);
    for other in [r#","body":1"#, r#","method":"PUT""#, r#","headers":{"a":"1"}"#, r#","labels":{"a":"1"}"#] {
        assert_ne!(dedup("").fingerprint, dedup(other).fingerprint, "{other}");
    }
}
