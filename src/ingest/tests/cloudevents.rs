//! CloudEvents through the door, without a socket.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method};

use super::http::post_with;
use super::{START, defaults, door};
use crate::clock::Clock;
use crate::event::CanonicalUrl;
use crate::ingest::cloudevents::{CloudEventReader, Mode, Target, Targets};
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

fn reader(targets: &Targets) -> CloudEventReader<'_> {
    CloudEventReader { decoder: Decoder::new(defaults(), &Clock::manual(START)), targets }
}

/// What `/shop` and all that lies below `/shop/` call.
fn targets() -> Targets {
    let target = |source: &str, is_prefix| Target {
        source: source.to_owned(),
        is_prefix,
        url: CanonicalUrl::parse("https://api.test/orders").expect("a url"),
        method: Method::PUT,
        headers: headers(&[("authorization", "Bearer secret")]),
        labels: [("sandbox", "dev"), ("org", "ACME")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    };
    Targets::new([target("/shop", false), target("/shop/", true)])
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
    let none = Targets::default();
    let decoded = reader(&none).binary(&given, Bytes::from_static(b"\xff\0")).decoded.expect("valid");
    let event = decoded.event;
    assert_eq!((event.method.as_str(), event.url.as_str()), ("PUT", "https://api.test/x"));
    assert_eq!((event.labels.get("sandbox"), event.labels.get("org")), (Some("dev"), Some("a b")));
    assert_eq!((event.headers["ce-id"].as_bytes(), &event.body[..]), (&b"%37"[..], &b"\xff\0"[..]));
    assert_eq!(event.headers["content-type"], "text/plain");
    assert!(!event.headers.contains_key("authorization"));
    assert_eq!(event.expires_at, START + std::time::Duration::from_secs(60));

    let one = Bytes::from(format!("{ONE}}}"));
    let other = reader(&none).structured(&HeaderMap::new(), &one).decoded.expect("valid");
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
    let refused = |text: String| {
        let none = Targets::default();
        let read = reader(&none).structured(&HeaderMap::new(), &Bytes::from(text));
        (read.words())(read.decoded.expect_err("faults"))
    };
    let problem = refused(text);
    let named: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(named, ["/id", "/time", "/tidegatemethod", "/tidegatedelayseconds"]);
    assert!(problem.detail.contains("time must be an RFC 3339 time"), "{}", problem.detail);

    let large = format!(r#"{ONE},"data":"{}"}}"#, "x".repeat(MAX_BODY_BYTES));
    assert_eq!(refused(large).code, "payload_too_large");
    // Another type is another value, and an attribute may be called as a member of an event is.
    let problem = refused(format!(r#"{},"url":[]}}"#, ONE.replace("\"7\"", "7")));
    let named: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(named, ["/id", "/url", "/id"]);
    assert!(
        problem.detail.starts_with("id must be text; put the value into quotation marks"),
        "{}",
        problem.detail
    );
}

const UNTARGETED: &str = r#"{"specversion":"1.0","id":"7","source":"/shop/7","type":"order"}"#;

#[test]
fn a_source_may_have_a_target_and_attributes_go_before_it() {
    let targets = targets();
    let read = |text: &str| reader(&targets).structured(&HeaderMap::new(), &Bytes::from(text.to_owned()));
    let event = read(UNTARGETED).decoded.expect("valid").event;
    assert_eq!((event.method.as_str(), event.url.as_str()), ("PUT", "https://api.test/orders"));
    assert_eq!(event.headers["authorization"], "Bearer secret");
    assert_eq!(event.headers["content-type"], "application/cloudevents+json");
    assert_eq!((event.labels.get("org"), event.labels.get("sandbox")), (Some("ACME"), Some("dev")));

    let more = r#","tidegatemethod":"PATCH","tidegatelabels":"org=OTHER","tidegatettlseconds":60}"#;
    let event = read(&UNTARGETED.replace('}', more)).decoded.expect("valid").event;
    assert_eq!((event.method.as_str(), event.url.as_str()), ("PATCH", "https://api.test/orders"));
    assert_eq!((event.labels.get("org"), event.labels.get("sandbox")), (Some("OTHER"), Some("dev")));
    assert_eq!(event.expires_at, START + std::time::Duration::from_secs(60));

    // Who names the address gets nothing of the target: its headers may be credentials.
    let named = UNTARGETED.replace('}', r#","tidegateurl":"https://elsewhere.test/"}"#);
    let event = read(&named).decoded.expect("valid").event;
    assert_eq!((event.method.as_str(), event.url.as_str()), ("POST", "https://elsewhere.test/"));
    assert!(!event.headers.contains_key("authorization") && event.labels.get("sandbox") != Some("dev"));

    let given =
        headers(&[("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/shop"), ("ce-type", "t")]);
    let event = reader(&targets).binary(&given, Bytes::new()).decoded.expect("valid").event;
    assert_eq!(
        (event.url.as_str(), &event.headers["ce-id"]),
        ("https://api.test/orders", &"1".parse().expect("a value"))
    );
}

#[test]
fn a_source_without_a_target_is_told_with_the_way_out() {
    let targets = targets();
    let other = UNTARGETED.replace("/shop/7", "/shops");
    let read = reader(&targets).structured(&HeaderMap::new(), &Bytes::from(other));
    let problem = read.decoded.expect_err("no target");
    let named: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(named, ["/tidegateurl"]);
    for part in ["no [[cloudevents]] block", "\"/shops\"", "SIGHUP"] {
        assert!(problem.detail.contains(part), "{part} is not in {}", problem.detail);
    }
}

#[test]
fn who_repeats_a_cloudevent_is_known_again_when_its_target_has_changed() {
    let dedup = |targets: &Targets, text: &str| {
        let read = reader(targets).structured(&HeaderMap::new(), &Bytes::from(text.to_owned()));
        read.decoded.expect("valid").dedup.expect("a key")
    };
    let mut target = Target {
        source: "/shop/7".to_owned(),
        is_prefix: false,
        url: CanonicalUrl::parse("https://new.test/").expect("a url"),
        method: Method::POST,
        headers: HeaderMap::new(),
        labels: std::collections::BTreeMap::new(),
    };
    let first = dedup(&targets(), UNTARGETED);
    assert_eq!(dedup(&Targets::new([target.clone()]), UNTARGETED), first);
    target.method = Method::PUT;
    let changed = UNTARGETED.replace("order", "other");
    let other = dedup(&Targets::new([target]), &changed);
    assert_eq!(other.key, first.key);
    assert_ne!(other.fingerprint, first.fingerprint, "the control: another CloudEvent of the same key");
}

#[tokio::test]
async fn a_refusal_of_the_call_names_the_attribute_that_chose_it() {
    let door = door().await;
    let url = CanonicalUrl::parse("https://unknown.test/").expect("a url");
    let target = Target {
        source: String::new(),
        is_prefix: true,
        url,
        method: Method::PUT,
        headers: HeaderMap::new(),
        labels: Default::default(),
    };
    door.targets.store(Arc::new(Targets::new([target])));
    let kind = [("content-type", "application/cloudevents+json")];
    let (status, problem) = post_with(&door, &kind, Body::from(UNTARGETED)).await;
    assert_eq!((status, &problem["code"]), (422, &"unmatched".into()), "{problem}");
    assert_eq!(problem["errors"][0]["pointer"], "/source");
    let batch =
        format!("[{UNTARGETED}, {}]", ONE.replace("https://api.test/x", "https://unknown.test/") + "}");
    let (_, answers) = post_with(&door, &[("content-type", BATCH)], Body::from(batch)).await;
    assert_eq!(answers[0]["errors"][0]["pointer"], "/source", "{answers}");
    assert_eq!(answers[1]["errors"][0]["pointer"], "/tidegateurl", "{answers}");
}

#[tokio::test]
async fn a_batch_that_is_no_list_and_a_list_that_is_no_batch_are_told_apart() {
    let door = door().await;
    for (kind, body, way_out) in [
        (BATCH, format!("{ONE}}}"), "application/cloudevents+json"),
        ("application/cloudevents+json", format!("[{ONE}}}]"), BATCH),
    ] {
        let (status, problem) = post_with(&door, &[("content-type", kind)], Body::from(body)).await;
        assert_eq!((status, &problem["code"]), (422, &"invalid_event".into()), "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.ends_with(way_out)), "{problem}");
    }
    let (status, problem) = post_with(&door, &[("content-type", BATCH)], Body::from(&b"[\"\xff"[..])).await;
    assert_eq!((status, &problem["code"]), (400, &"invalid_json".into()), "{problem}");
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
