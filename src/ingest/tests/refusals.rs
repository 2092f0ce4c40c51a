//! Refusals in the words of the system that a limit comes from, and in tidegate's own.

use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::START;
use crate::clock::Timestamp;
use crate::event::{Lane, LaneKey};
use crate::ingest::doc::OwnRefusals;
use crate::ingest::{AboutPolicies, Refusals};
use crate::limit::{LimitKind, OverLimit};
use crate::policy::testing::{id, spec};
use crate::policy::{Book, Origin, RefusalCodes, Runtime, Spec};
use crate::problem::{ForeignRefusal, RefusedCall};

fn told(refused: &RefusedCall<'_>) -> Option<ForeignRefusal> {
    let mut headers = HeaderMap::new();
    headers.insert("x-system-code", HeaderValue::from_static("SLOW"));
    (refused.origin == "system").then(|| ForeignRefusal {
        code: if refused.code == "SLOW" { "SLOW" } else { "GONE" },
        message: format!("{} for {:?}", refused.subject, refused.retry_after_seconds),
        status: StatusCode::FORBIDDEN,
        uniform_status: if refused.code == "SPENT" {
            StatusCode::CONFLICT
        } else {
            StatusCode::TOO_MANY_REQUESTS
        },
        headers,
        content_type: "text/xml",
        body: Bytes::from_static(b"<slow/>"),
    })
}

fn runtime() -> Runtime {
    let wording = RefusalCodes {
        per_window: "SLOW".into(),
        per_quota: "SPENT".into(),
        closed: "GONE".into(),
        subject: "lists".into(),
    };
    let worded = Spec { wording: Some(wording), ..spec("https://h.org/*", 1.0) };
    let worded = Spec { config: Some("c1".into()), ..worded.called("CRM lists") };
    let mut book = Book::default();
    for (name, origin) in [("a", "system"), ("b", "other")] {
        book.put(&Origin::new(origin), &id(name), worded.clone()).expect("free");
    }
    Runtime::build(&book).expect("small")
}

async fn refused(
    as_told: bool,
    policy: &str,
    kind: LimitKind,
    free_at: Timestamp,
) -> (StatusCode, HeaderMap, String) {
    let about = AboutPolicies::NOTHING;
    let refusals = Refusals { render: Arc::new(told), as_foreign: as_told, usage: None, about };
    let over = OverLimit { policy: id(policy), kind, free_at };
    let lane = Lane::parse(&LaneKey::new("a@1").expect("short")).expect("a lane");
    let response = refusals.over_limit(&over, &lane, &runtime(), START).into_response();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 16).await.expect("whole");
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn the_code_the_message_and_the_headers_are_those_of_the_system() {
    let soon = START + Duration::from_millis(1500);
    let (status, headers, body) = refused(false, "a", LimitKind::Pace, soon).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        (&headers["content-type"], &headers["retry-after"]),
        (&"application/problem+json".parse().expect("ok"), &"2".parse().expect("ok"))
    );
    assert_eq!(headers["x-system-code"], "SLOW");
    assert!(body.contains(r#""code":"SLOW""#) && body.contains("lists for Some(2)"), "{body}");

    let (status, _, body) = refused(false, "a", LimitKind::Quota, soon).await;
    assert_eq!(status, StatusCode::CONFLICT, "as the system is set to say");
    assert!(body.contains(r#""status":409"#), "{body}");

    // What waiting does not cure is no 429.
    let (status, headers, body) = refused(false, "a", LimitKind::Closed, Timestamp::MAX).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(body.contains(r#""code":"GONE""#) && !headers.contains_key("retry-after"), "{body}");

    let (_, headers, body) = refused(false, "b", LimitKind::Quota, soon).await;
    assert!(body.contains(r#""code":"over_quota""#) && body.contains("no room before"), "{body}");
    assert!(!headers.contains_key("x-system-code"));
}

/// The door is described with the code of every kind of limit that turns calls away.
#[test]
fn the_description_of_the_door_has_every_kind_of_limit() {
    let of = |code: &str| OwnRefusals::CODES.iter().any(|known| known.word == code);
    let turn_away = |kind: &LimitKind| kind.counts_starts() || *kind == LimitKind::Closed;
    let missing = LimitKind::ALL.into_iter().filter(turn_away).filter(|kind| !of(kind.own_code()));
    assert_eq!(missing.collect::<Vec<_>>(), [], "ingest/doc.rs");
}

#[tokio::test]
async fn in_dialect_mode_the_answer_is_that_of_the_system() {
    let soon = START + Duration::from_millis(1500);
    let (status, headers, body) = refused(true, "a", LimitKind::Window, soon).await;
    assert_eq!((status, body.as_str()), (StatusCode::FORBIDDEN, "<slow/>"));
    assert_eq!(
        (&headers["content-type"], &headers["x-system-code"]),
        (&HeaderValue::from_static("text/xml"), &HeaderValue::from_static("SLOW"))
    );
    let (status, ..) = refused(true, "b", LimitKind::Window, soon).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "it has no words of its own");
}

#[tokio::test]
async fn a_refusal_names_its_policy_and_the_limit_with_its_numbers() {
    let (_, _, body) = refused(false, "a", LimitKind::Pace, START + Duration::from_secs(1)).await;
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let policy = serde_json::json!({"id": "a", "name": "CRM lists", "system": "system", "config": "c1"});
    let limit = serde_json::json!({"kind": "pace", "key": "", "per_second": 1.0});
    assert_eq!((&body["policy"], &body["limit"]), (&policy, &limit), "{body}");
}
