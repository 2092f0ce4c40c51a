//! CloudEvents through the door, without a socket.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;

use super::http::post_with;
use super::{START, defaults, door};
use crate::clock::Clock;
use crate::ingest::cloudevents::{self, Mode};
use crate::ingest::decode::{Decoder, MAX_BODY_BYTES};

const BATCH: &str = "application/cloudevents-batch+json";
const ONE: &str =
    r#"{"specversion":"1.0","id":"7","source":"/shop","type":"order","tidegateurl":"https://api.test/x""#;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")))
        .collect()
}

fn decoder() -> Decoder {
    Decoder::new(defaults(), &Clock::manual(START))
}

#[test]
fn a_mode_is_known_by_its_content_type_or_by_one_header() {
    let of = |kind: &str, name: &'static str| Mode::of(&headers(&[(name, "1")]), Some(kind));
    assert_eq!(of("application/cloudevents+json", "x-a"), Some(Mode::Structured));
    assert_eq!(of(BATCH, "ce-id"), Some(Mode::Batched));
    assert_eq!(of("application/cloudevents+avro", "ce-id"), Some(Mode::Unknown));
    assert_eq!(of("application/json", "ce-source"), Some(Mode::Binary));
    assert_eq!(of("application/json", "ce-subject"), None);
    assert_eq!(Mode::of(&headers(&[("ce-type", "t")]), None), Some(Mode::Binary));
}

#[test]
fn binary_mode_is_carried_on_by_its_headers_as_they_were_written() {
    let given = headers(&[
        ("ce-specversion", "1.0"),
        ("ce-id", "%37"),
        ("ce-source", "/shop"),
        ("ce-type", "order"),
        ("ce-tidegateurl", "https://api.test/x"),
        ("ce-tidegatemethod", "put"),
        ("ce-tidegatelabels", "sandbox=dev&org=a%20b"),
        ("ce-tidegatettlseconds", "60"),
        ("content-type", "text/plain"),
        ("authorization", "Bearer 1"),
    ]);
    let decoded = cloudevents::binary(&mut decoder(), &given, Bytes::from_static(b"x")).expect("valid");
    let event = decoded.event;
    assert_eq!((event.method.as_str(), event.url.as_str()), ("PUT", "https://api.test/x"));
    assert_eq!((event.labels.get("sandbox"), event.labels.get("org")), (Some("dev"), Some("a b")));
    assert_eq!((event.headers["ce-id"].as_bytes(), &event.body[..]), (&b"%37"[..], &b"x"[..]));
    assert_eq!(event.headers["content-type"], "text/plain");
    assert!(!event.headers.contains_key("authorization"));
    assert_eq!(event.expires_at, START + std::time::Duration::from_secs(60));

    let one = Bytes::from(format!("{ONE}}}"));
    let other = cloudevents::structured(&mut decoder(), &HeaderMap::new(), &one).expect("valid");
    assert_eq!(other.event.headers["content-type"], "application/cloudevents+json");
    assert_eq!(other.event.body, one);
    let keys = [decoded.dedup, other.dedup].map(|dedup| dedup.expect("a key").key);
    assert_eq!(keys[0], keys[1], "source and id are the key in every mode");
}

#[test]
fn all_rules_are_named_in_the_words_of_the_attributes() {
    let text = format!(
        r#"{ONE},"id":"8","tidegatemethod":"CONNECT","tidegatedelayseconds":"-1","time":"noon","data":1}}"#
    );
    let problem =
        cloudevents::structured(&mut decoder(), &HeaderMap::new(), &Bytes::from(text)).expect_err("faults");
    let named: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(named, ["/id", "/time", "/tidegatemethod", "/tidegatedelayseconds"]);
    assert!(problem.detail.contains("time must be an RFC 3339 time"), "{}", problem.detail);

    let large = format!(r#"{ONE},"data":"{}"}}"#, "x".repeat(MAX_BODY_BYTES));
    let problem =
        cloudevents::structured(&mut decoder(), &HeaderMap::new(), &Bytes::from(large)).expect_err("large");
    assert_eq!(problem.code, "payload_too_large");
}

#[tokio::test]
async fn each_of_a_batch_has_its_answer() {
    let door = door().await;
    let other = ONE.replace("https://api.test/x", "https://unknown.test/");
    let batch = format!("[{ONE}}}, {ONE},\"subject\":\"x\"}}, {other},\"subject\":\"y\"}}, 1]");
    let (status, answers) = post_with(&door, &[("content-type", BATCH)], Body::from(batch)).await;
    let told = |nth: usize| (answers[nth]["status"].as_u64(), answers[nth]["code"].as_str());
    assert_eq!(status, 200, "{answers}");
    assert_eq!(told(0), (Some(202), None));
    assert_eq!(told(1), (Some(422), Some("idempotency_conflict")));
    assert_eq!(told(2), (Some(422), Some("unmatched")));
    assert_eq!(answers[2]["errors"][0]["pointer"], "/tidegateurl");
    assert_eq!(told(3), (Some(422), Some("invalid_event")));
    let (status, answers) = post_with(&door, &[("content-type", BATCH)], Body::from("[]")).await;
    assert_eq!((status, answers), (200, serde_json::json!([])));
}

#[tokio::test]
async fn a_key_beside_and_other_formats_are_refused() {
    let door = door().await;
    let kind = ("content-type", "application/cloudevents+json");
    let one = format!("{ONE}}}");
    let (status, problem) = post_with(&door, &[kind, ("idempotency-key", "1")], Body::from(one)).await;
    assert_eq!((status, &problem["code"]), (400, &"invalid_idempotency_key".into()));
    let (status, problem) =
        post_with(&door, &[("content-type", "application/cloudevents+xml")], Body::empty()).await;
    assert_eq!((status, &problem["code"]), (415, &"unsupported_media_type".into()));
}
