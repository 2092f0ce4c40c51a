//! Streams of lines, by HTTP and by pipe.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tower::ServiceExt;

use super::{Door, START, door, door_with};
use crate::ingest::{Unmatched, routes, stdin};
use crate::store::doubts::{DoubtKind, NewDoubt};

fn event(n: usize) -> String {
    format!(r#"{{"url":"https://api.test/{n}","body":{n}}}"#)
}

async fn send(door: &Door, body: Body) -> Body {
    let request = Request::post("/v1/events").header("content-type", "application/x-ndjson").body(body);
    let response = routes(door.intake.clone()).oneshot(request.expect("valid")).await.expect("infallible");
    assert_eq!(response.status(), 200);
    response.into_body()
}

async fn answers(body: Body) -> Vec<Value> {
    let bytes = to_bytes(body, usize::MAX).await.expect("whole");
    bytes
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|l| serde_json::from_slice(l).expect("json"))
        .collect()
}

/// Line and status of each answer.
fn statuses(answers: &[Value]) -> Vec<(u64, u64)> {
    let number = |value: &Value| value.as_u64().expect("number");
    answers.iter().map(|answer| (number(&answer["line"]), number(&answer["status"]))).collect()
}

#[tokio::test]
async fn every_line_is_answered_in_order_whatever_the_pieces() {
    let lines: Vec<String> = (1..=2500).map(event).collect();
    let text = lines.join("\n");
    for piece in [7, 1000, 65_536, text.len()] {
        let door = door().await;
        let pieces: Vec<_> = text.as_bytes().chunks(piece).map(|c| Ok::<_, Infallible>(c.to_vec())).collect();
        let answers = answers(send(&door, Body::from_stream(stream::iter(pieces))).await).await;
        let expected: Vec<(u64, u64)> = (1..=2500).map(|line| (line, 202)).collect();
        assert_eq!(statuses(&answers), expected, "{piece}");
        assert!(answers.windows(2).all(|pair| pair[0]["id"].as_str() < pair[1]["id"].as_str()));
        assert_eq!(door.store.len(), 2500);
    }
}

fn mixed() -> (String, Vec<(u64, u64)>) {
    let long = "x".repeat(600 * 1024);
    let text = format!("{}\n\nnonsense\n{long}\n{{\"url\":1}}\r\n{}\n", event(1), event(2));
    (text, vec![(1, 202), (3, 400), (4, 413), (5, 422), (6, 202)])
}

#[tokio::test]
async fn a_bad_line_is_refused_alone_with_its_number() {
    let door = door().await;
    let (text, expected) = mixed();
    assert_eq!(statuses(&answers(send(&door, Body::from(text)).await).await), expected);
    assert_eq!(door.store.len(), 2);
}

#[tokio::test]
async fn a_broken_stream_keeps_whole_lines_and_drops_the_unfinished_one() {
    let door = door().await;
    let pieces = [Ok(format!("{}\n{}", event(1), event(2))), Err(std::io::Error::other("reset"))];
    let answers = answers(send(&door, Body::from_stream(stream::iter(pieces))).await).await;
    assert_eq!(statuses(&answers), [(1, 202), (2, 400)]);
    assert_eq!(answers[1]["code"], "incomplete_body");
    assert_eq!(door.store.len(), 1);
}

#[tokio::test]
async fn answers_that_are_not_taken_stop_the_reading() {
    let door = door().await;
    let read = Arc::new(AtomicUsize::new(0));
    let counted = read.clone();
    let line = Bytes::from(format!("{}\n", event(1)).repeat(1000));
    let pieces = stream::repeat_with(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok::<_, Infallible>(line.clone())
    });
    let mut body = send(&door, Body::from_stream(pieces)).await.into_data_stream();
    for taken in 1..5 {
        body.next().await.expect("answers").expect("no error");
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        // One batch under way, one being gathered.
        assert!(
            read.load(Ordering::SeqCst) <= taken + 2,
            "{} pieces after {taken} answers",
            read.load(Ordering::SeqCst)
        );
    }
}

#[tokio::test]
async fn a_store_that_stands_still_stops_the_reading_too() {
    let door = door_with(1, Unmatched::Refuse).await;
    let (mut writer, reader) = tokio::io::duplex(4096);
    let intake = door.intake.clone();
    let serving = tokio::spawn(async move { stdin::serve(&intake, reader, Vec::new()).await });
    let line = format!("{}\n", event(1));
    let mut sent = 0_usize;
    while let Ok(wrote) =
        tokio::time::timeout(Duration::from_millis(100), writer.write_all(line.as_bytes())).await
    {
        wrote.expect("pipe is open");
        sent += line.len();
        assert!(sent < 10 << 20, "the pipe is read without bound");
    }
    assert!(door.store.len() <= 1000);
    serving.abort();
}

#[tokio::test]
async fn closing_ends_a_stream_with_a_last_answer() {
    let door = door().await;
    let first = stream::iter([Ok::<_, Infallible>(format!("{}\n", event(1)))]);
    let mut body = send(&door, Body::from_stream(first.chain(stream::pending()))).await.into_data_stream();
    body.next().await.expect("answers").expect("no error");
    door.closing.cancel();
    let last = body.next().await.expect("a last answer").expect("no error");
    let last: Value = serde_json::from_slice(&last).expect("json");
    assert_eq!((&last["line"], &last["code"]), (&2.into(), &"shutting_down".into()));
    assert!(body.next().await.is_none());
}

#[tokio::test]
async fn a_pipe_has_the_same_answers() {
    let door = door().await;
    let (text, expected) = mixed();
    let mut out = Vec::new();
    let summary = stdin::serve(&door.intake, text.as_bytes(), &mut out).await.expect("reads");
    assert_eq!(statuses(&answers(Body::from(out)).await), expected);
    assert_eq!((summary.accepted, summary.refused, summary.complete), (2, 3, true));
}

#[tokio::test]
async fn while_the_store_is_held_every_line_is_refused_whatever_it_says() {
    let door = door().await;
    let doubt = NewDoubt {
        kind: DoubtKind::Book,
        subject: "the book".to_owned(),
        detail: "it is missing".to_owned(),
        way_out: "restore it".to_owned(),
        events: 0,
    };
    door.store.doubts.raise(doubt, START);
    let (text, expected) = mixed();
    let mut out = Vec::new();
    let summary = stdin::serve(&door.intake, text.as_bytes(), &mut out).await.expect("reads");
    let answers = answers(Body::from(out)).await;
    assert_eq!(answers.len(), expected.len());
    for answer in answers {
        assert_eq!((&answer["status"], &answer["code"]), (&503.into(), &"store_held".into()), "{answer}");
        assert!(
            answer["detail"].as_str().is_some_and(|detail| detail.ends_with("it is missing; restore it"))
        );
    }
    assert_eq!((summary.accepted, summary.refused, door.store.len()), (0, 5, 0));
    let request = Request::post("/v1/events").header("content-type", "application/x-ndjson");
    let request = request.body(Body::from(text)).expect("valid");
    let response = routes(door.intake.clone()).oneshot(request).await.expect("infallible");
    assert_eq!(response.status(), 503, "as lines over HTTP too");
    assert!(response.headers().contains_key("retry-after"));

    door.store.doubts.clear(DoubtKind::Book, "the book");
    let (text, expected) = mixed();
    assert_eq!(statuses(&self::answers(send(&door, Body::from(text)).await).await), expected, "the control");
}
