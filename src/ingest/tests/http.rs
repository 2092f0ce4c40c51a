//! The routes, called without a socket.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Door, door, door_with};
use crate::event::Labels;
use crate::ingest::decode::MAX_EVENT_BYTES;
use crate::ingest::{Unmatched, routes};
use crate::store::{DirectoryError, StoreError};

const EVENT: &str = r#"{"url":"https://api.test/a?secret=1","body":1}"#;

async fn call(door: &Door, request: Request<Body>) -> Response {
    routes(door.intake.clone()).oneshot(request).await.expect("infallible")
}

async fn post(door: &Door, headers: &[(&str, &str)], body: impl Into<Body>) -> (StatusCode, Response) {
    let mut request = Request::post("/v1/events");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = call(door, request.body(body.into()).expect("valid")).await;
    (response.status(), response)
}

pub(super) async fn post_json(door: &Door, body: &str) -> (u16, Value) {
    let (status, response) = post(door, &[("content-type", "application/json")], body.to_owned()).await;
    (status.as_u16(), read(response).await)
}

pub(super) async fn post_with(door: &Door, headers: &[(&str, &str)], body: Body) -> (u16, Value) {
    let (status, response) = post(door, headers, body).await;
    (status.as_u16(), read(response).await)
}

async fn read(response: Response) -> Value {
    let body = to_bytes(response.into_body(), usize::MAX).await.expect("whole");
    serde_json::from_slice(&body).expect("json")
}

#[tokio::test]
async fn one_event_is_accepted_and_found_again_without_its_secrets() {
    let door = door().await;
    let (status, response) = post(&door, &[("content-type", "application/json; charset=utf-8")], EVENT).await;
    assert_eq!(status, 202);
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let receipt = read(response).await;
    assert_eq!(location, format!("/v1/events/{}", receipt["id"].as_str().expect("id")));
    assert_eq!(receipt["policies"], serde_json::json!(["api"]));
    assert_eq!(receipt["lane"], "api@1;~host=api.test:443");
    assert_eq!(receipt["due_at"], Value::Null);
    assert_eq!(receipt["expires_at"], "2023-11-15T04:13:20.000Z");
    let found = read(call(&door, Request::get(&location).body(Body::empty()).expect("valid")).await).await;
    assert_eq!((&found["state"], &found["url"]), (&"ready".into(), &"https://api.test/a".into()));
    assert!(found.get("body").is_none() && found.get("headers").is_none());
}

#[tokio::test]
async fn unknown_ids_are_not_found() {
    let door = door().await;
    for (id, status) in [("x", 400), ("%ff", 400), ("0198c4f0-5f3a-7c00-8000-000000000001", 404)] {
        let request = Request::get(format!("/v1/events/{id}")).body(Body::empty()).expect("valid");
        let response = call(&door, request).await;
        assert_eq!(response.status(), status, "{id}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn refusals_name_the_code() {
    let door = door().await;
    for (body, status, code) in [
        ("{", 400, "invalid_json"),
        ("[1", 400, "invalid_json"),
        ("1", 422, "invalid_event"),
        (r#"{"url":"https://other.test/?secret"}"#, 422, "unmatched"),
        (r#"{"url":"http://127.0.0.1/"}"#, 422, "egress_denied"),
    ] {
        let (got, problem) = post_json(&door, body).await;
        assert_eq!((got, &problem["code"]), (status, &code.into()), "{body}");
    }
    let (_, unmatched) = post_json(&door, r#"{"url":"https://other.test/x?secret","method":"PUT"}"#).await;
    let detail = unmatched["detail"].as_str().expect("text");
    assert!(detail.contains("PUT https://other.test/x") && !detail.contains("secret"), "{detail}");
    assert!(unmatched.get("misses").is_none(), "nothing is close: {unmatched}");
    assert_eq!(
        unmatched["explain"],
        "/v1/explain?method=PUT&url=https%3A%2F%2Fother.test%2Fx&label.org=ACME&label.sandbox=prod"
    );
    let long = format!(r#"{{"url":"https://api.test/","body":"{}"}}"#, "x".repeat(MAX_EVENT_BYTES));
    assert_eq!(post_json(&door, &long).await.0, 413);
    assert_eq!(door.store.len(), 0);
}

#[tokio::test]
async fn headers_are_checked_before_the_body() {
    let door = door().await;
    for (headers, status) in [
        (&[][..], 415),
        (&[("content-type", "text/plain")], 415),
        (&[("content-type", "application/json"), ("content-encoding", "gzip")], 415),
        (&[("content-type", "application/json"), ("content-encoding", "identity")], 202),
        (&[("content-type", "application/json"), ("content-length", "99999999999")], 413),
    ] {
        assert_eq!(post(&door, headers, EVENT).await.0, status, "{headers:?}");
    }
}

#[tokio::test]
async fn a_list_is_answered_item_by_item() {
    let door = door().await;
    let body = format!(r#"[{EVENT}, {{"url":1}}, 7, {EVENT}]"#);
    let (status, items) = post_json(&door, &body).await;
    let statuses: Vec<_> =
        items.as_array().expect("list").iter().map(|i| (&i["line"], &i["status"])).collect();
    assert_eq!(status, 200);
    assert_eq!(format!("{statuses:?}").matches("202").count(), 2);
    assert_eq!(items[1]["line"], 2);
    assert_eq!(items[1]["errors"][0]["pointer"], "/url");
    assert_eq!(items[2]["code"], "invalid_event");
    assert_eq!(door.store.len(), 2);
    let many = format!("[{}]", vec![EVENT; 1001].join(","));
    assert_eq!(post_json(&door, &many).await.1["code"], "batch_too_large");
    assert_eq!(post_json(&door, &many.replacen(&format!("{EVENT},"), "", 1)).await.0, 200);
    assert_eq!(post_json(&door, "[]").await, (200, serde_json::json!([])));
}

#[tokio::test]
async fn a_repeated_key_gives_the_same_event_and_another_content_is_refused() {
    let door = door().await;
    let headers = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let first = read(post(&door, &headers, EVENT).await.1).await;
    let (status, second) = post(&door, &headers, EVENT).await;
    assert_eq!(status, 202);
    let second = read(second).await;
    assert_eq!((&second["id"], &second["duplicate"]), (&first["id"], &true.into()));
    let (status, other) = post(&door, &headers, EVENT.replace("1}", "2}")).await;
    assert_eq!((status.as_u16(), &read(other).await["code"]), (422, &"idempotency_conflict".into()));
    assert_eq!(door.store.len(), 1);
}

#[tokio::test]
async fn a_key_beside_a_list_or_a_stream_is_refused() {
    let door = door().await;
    for (kind, body) in
        [("application/json", format!("[{EVENT}]")), ("application/x-ndjson", format!("{EVENT}\n"))]
    {
        let headers = [("content-type", kind), ("idempotency-key", "k1")];
        let (status, response) = post(&door, &headers, body).await;
        assert_eq!(
            (status.as_u16(), &read(response).await["code"]),
            (400, &"invalid_idempotency_key".into())
        );
    }
    assert_eq!(door.store.len(), 0);
}

#[tokio::test]
async fn a_large_list_keeps_its_place_until_it_is_answered() {
    let door = Arc::new(door_with(0, Unmatched::Pass).await);
    let free = door.intake.free_large();
    let event = format!(r#"{{"url":"https://other.test/","body":"{}"}}"#, "x".repeat(200 * 1024));
    let list = format!("[{}]", vec![event; 4].join(","));
    let pieces: Vec<Result<Bytes, std::io::Error>> =
        list.into_bytes().chunks(100 * 1024).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let answer = tokio::spawn({
        let door = door.clone();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        async move { post(&door, &[("content-type", "application/json")], body).await.0 }
    });
    while door.intake.free_permits() == 1024 {
        tokio::task::yield_now().await;
    }
    assert_eq!(door.intake.free_large(), free - 1);
    door.store.turnstile.add_permits(1);
    assert_eq!(answer.await.expect("joins"), 200);
    assert_eq!(door.intake.free_large(), free);
}

#[tokio::test]
async fn bodies_that_stop_or_break_off_are_told_apart() {
    let door = door().await;
    for (kind, status, code) in [
        (std::io::ErrorKind::TimedOut, 408, "body_timeout"),
        (std::io::ErrorKind::ConnectionReset, 400, "incomplete_body"),
    ] {
        let pieces = [Ok("{"), Err(std::io::Error::from(kind))];
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let (got, response) = post(&door, &[("content-type", "application/json")], body).await;
        assert_eq!((got.as_u16(), &read(response).await["code"]), (status, &code.into()));
    }
}

#[tokio::test]
async fn a_failing_store_is_never_acknowledged() {
    let full = StoreError::from(DirectoryError::Full {
        free_bytes: 0,
        needed_bytes: 1,
        retry_after: std::time::Duration::from_secs(7),
    });
    let poisoned = StoreError::Poisoned { reason: "sync".to_owned() };
    let short = StoreError::Shortage {
        operation: "create",
        place: "2.seg".to_owned(),
        reason: "Too many open files".to_owned(),
    };
    for (failure, code) in [(full, "storage_full"), (short, "store_short"), (poisoned, "storage_error")] {
        let door = door().await;
        *door.store.failure.lock().expect("lock") = Some(failure);
        for body in [EVENT.to_owned(), format!("[{EVENT},1]")] {
            let (status, response) = post(&door, &[("content-type", "application/json")], body).await;
            assert_eq!(status, 503);
            assert!(response.headers().contains_key("retry-after"));
            assert_eq!(read(response).await["code"], code);
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_half_way_through_a_list_is_answered_item_by_item() {
    let door = Arc::new(door_with(1, Unmatched::Pass).await);
    let event = format!(r#"{{"url":"https://other.test/","body":"{}"}}"#, "x".repeat(200 * 1024));
    let list = format!("[1,{}]", vec![event; 20].join(","));
    let answer = tokio::spawn({
        let door = door.clone();
        async move { post_json(&door, &list).await }
    });
    while door.store.len() == 0 {
        tokio::task::yield_now().await;
    }
    let full = StoreError::from(DirectoryError::Full {
        free_bytes: 0,
        needed_bytes: 1,
        retry_after: std::time::Duration::ZERO,
    });
    *door.store.failure.lock().expect("lock") = Some(full);
    door.store.turnstile.add_permits(20);
    let (status, items) = answer.await.expect("joins");
    assert_eq!(status, 200);
    let statuses: Vec<u64> =
        items.as_array().expect("list").iter().filter_map(|item| item["status"].as_u64()).collect();
    let kept = door.store.len();
    assert!(kept > 1 && kept < 20, "{kept}");
    assert_eq!(statuses[0], 422);
    assert!(statuses[1..=kept].iter().all(|status| *status == 202), "{statuses:?}");
    assert!(statuses[kept + 1..].iter().all(|status| *status == 503), "{statuses:?}");
    assert_eq!(statuses.len(), 21);
}

#[tokio::test]
async fn draining_and_overload_turn_requests_away() {
    let door = Arc::new(door_with(0, Unmatched::Pass).await);
    let big = format!(r#"{{"url":"https://other.test/","body":"{}"}}"#, "x".repeat(200 * 1024));
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let (door, big) = (door.clone(), big.clone());
            tokio::spawn(async move { post_json(&door, &big).await.0 })
        })
        .collect();
    while door.intake.free_permits() > 200 {
        tokio::task::yield_now().await;
    }
    let (status, problem) = post_json(&door, &big).await;
    assert_eq!((status, &problem["code"]), (503, &"overloaded".into()));
    door.store.turnstile.add_permits(5);
    for task in waiting {
        assert_eq!(task.await.expect("joins"), 202);
    }
    door.closing.cancel();
    door.store.turnstile.add_permits(1);
    assert_eq!(post_json(&door, EVENT).await.0, 202, "what the doors have taken is served while they close");
}

#[tokio::test]
async fn what_no_policy_governs_is_refused_with_the_closest_ones() {
    let door = door().await;
    let told = async |event: Value| {
        let (status, problem) = post_json(&door, &event.to_string()).await;
        assert_eq!((status, &problem["code"]), (422, &"unmatched".into()), "{problem}");
        problem
    };
    let problem = told(json!({"url": "https://keyed.test/a?token=1", "labels": {"org": "OTHER"}})).await;
    let policy = json!({"id": "keyed", "name": null, "system": "test", "config": null});
    let miss = json!({"policy": policy, "member": "labels.org", "given": "OTHER", "wants": "CRM"});
    assert_eq!(problem["misses"], json!([miss]), "{problem}");
    assert!(
        problem["detail"].as_str().expect("text").contains("keyed, wants labels.org to be CRM"),
        "{problem}"
    );
    let explain =
        "/v1/explain?method=POST&url=https%3A%2F%2Fkeyed.test%2Fa&label.org=OTHER&label.sandbox=prod";
    assert_eq!(problem["explain"], explain);

    // A label that is not there comes from somewhere; the longest values are cut.
    let long = format!("https://api.tesd/{}", "x".repeat(300));
    let problem = told(json!({ "url": long })).await;
    let given = problem["misses"][0]["given"].as_str().expect("text");
    assert_eq!(
        (given.chars().count(), problem["misses"][0]["member"].as_str()),
        (121, Some("url")),
        "{problem}"
    );
    // The lines of a list say the same.
    let (_, lines) = post_json(&door, &json!([{"url": "https://keyed.test/a"}]).to_string()).await;
    assert_eq!(lines[0]["misses"][0]["policy"]["id"], "keyed", "{lines}");
}

/// An event's own label goes before the header of the request, and that before the default.
#[tokio::test]
async fn a_header_is_a_label_of_all_events_that_do_not_carry_it() {
    let door = door().await;
    let lane = |answer: &Value| answer["lane"].as_str().unwrap_or_default().to_owned();
    let event = |labels: Value| json!({"url": "https://keyed.test/a", "labels": labels}).to_string();
    let json = ("content-type", "application/json");
    let (status, _) = post_with(&door, &[json], event(json!({})).into()).await;
    assert_eq!(status, 422, "the default is another organisation");
    let (status, receipt) = post_with(&door, &[json, ("x-org", "CRM")], event(json!({})).into()).await;
    assert_eq!((status, lane(&receipt).starts_with("keyed@1")), (202, true), "{receipt}");
    let (status, _) = post_with(&door, &[json, ("x-org", "CRM")], event(json!({"org": "ACME"})).into()).await;
    assert_eq!(status, 422, "its own label goes first");
    let (status, _) =
        post_with(&door, &[json, ("x-org", "OTHER")], event(json!({"org": "CRM"})).into()).await;
    assert_eq!(status, 202);

    let list = format!("[{},{}]", event(json!({})), event(json!({"org": "ACME"})));
    let (_, answers) = post_with(&door, &[json, ("x-org", "CRM")], list.into()).await;
    assert_eq!((&answers[0]["status"], &answers[1]["status"]), (&202.into(), &422.into()), "{answers}");
    let headers = [("content-type", "application/x-ndjson"), ("x-org", "CRM")];
    let (_, answer) = post_with(&door, &headers, event(json!({})).into()).await;
    assert_eq!(answer["status"], 202, "{answer}");
    let bad = "x".repeat(Labels::MAX_VALUE_BYTES + 1);
    let (status, problem) = post_with(&door, &[json, ("x-org", &bad)], event(json!({})).into()).await;
    assert_eq!((status, &problem["code"]), (422, &"invalid_header".into()), "{problem}");
}
