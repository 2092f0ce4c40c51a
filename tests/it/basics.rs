//! An event comes in, is durable, waits its turn, is delivered; bad input is told what to do.

use std::time::Duration;

use serde_json::json;

use crate::world::{Receiver, Server, ServerOptions, eventually, server};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_delivered_with_its_id_and_can_be_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let (api, receiver) = (server.api(), Receiver::start().await);
    api.deploy_throttling(&receiver.url("/*"), 200).await;

    let event = json!({"url": receiver.url("/a"), "body": {"n": 7}, "headers": {"x-a": "b"}});
    let (status, accepted) = api.json("POST", "/v1/events", &event).await;
    assert_eq!(status, 202, "{accepted}");
    let id = accepted["id"].as_str().expect("an id");
    eventually("the call arrives", Duration::from_secs(10), async || receiver.count() == 1).await;
    let arrival = &receiver.arrivals()[0];
    assert_eq!((arrival.id.as_str(), arrival.attempt, arrival.number), (id, 1, Some(7)));

    let (status, _) = api.get(&format!("/v1/events/{id}")).await;
    assert!(status == 200 || status == 404);
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_call_is_retried_under_the_same_id_and_a_refused_one_is_parked() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let receiver = Receiver::answering(|arrival| match (arrival.number, arrival.attempt) {
        (Some(1), 1) => (503, Duration::ZERO),
        (Some(2), _) => (404, Duration::ZERO),
        _ => (204, Duration::ZERO),
    })
    .await;
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 200).await;
    assert_eq!(api.enqueue(&receiver.url("/a"), 1..3).await.len(), 2);
    eventually("the retry arrives", Duration::from_secs(20), async || receiver.count() == 3).await;
    let arrivals = receiver.arrivals();
    let first: Vec<_> = arrivals.iter().filter(|arrival| arrival.number == Some(1)).collect();
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].id, first[1].id);
    assert_eq!(first[1].attempt, 2);
    eventually("one dead letter", Duration::from_secs(5), async || {
        api.metric("tidegate_events_completed_total", "outcome=\"dead\"").await == 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_the_field_and_the_way_out_and_costs_its_line_only() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    let (api, receiver) = (server.api(), Receiver::start().await);
    api.deploy_throttling(&receiver.url("/ok/*"), 200).await;

    let unmatched = json!({"url": receiver.url("/elsewhere"), "method": "PUT"});
    let (status, problem) = api.json("POST", "/v1/events", &unmatched).await;
    assert_eq!(status, 422, "{problem}");
    let detail = problem["detail"].as_str().expect("a detail");
    assert!(detail.contains("PUT") && detail.contains("/elsewhere"), "{detail}");

    let (status, problem) =
        api.json("POST", "/v1/events", &json!({"url": receiver.url("/ok/1"), "colour": 1})).await;
    assert!(status == 400 || status == 422, "{problem}");
    assert!(problem.to_string().contains("colour"), "{problem}");

    let huge = json!({"url": receiver.url("/ok/1"), "body_text": "x".repeat(300 * 1024)});
    assert_eq!(api.json("POST", "/v1/events", &huge).await.0, 413);

    let good = json!({"url": receiver.url("/ok/1"), "body": {"n": 1}});
    let lines = format!("{good}\n{{not json\n{good}\n");
    let (status, answer) = api.post("/v1/events", "application/x-ndjson", lines).await.expect("an answer");
    assert_eq!(status, 200);
    let lines: Vec<serde_json::Value> =
        answer.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert_eq!(
        lines.iter().map(|line| line["line"].as_u64()).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3)]
    );
    assert_eq!(lines[0]["status"], 202);
    assert_eq!(lines[1]["status"], 400, "{}", lines[1]);
    assert_eq!(lines[2]["status"], 202);
    eventually("the good lines arrive", Duration::from_secs(10), async || receiver.count() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_directory_leaves_with_75_and_the_first_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let server = Server::start(&options);
    let second = server::command(&options).output().expect("the program");
    assert_eq!(second.status.code(), Some(75), "{}", String::from_utf8_lossy(&second.stderr));
    assert!(String::from_utf8_lossy(&second.stderr).contains(&server.pid().to_string()));
    assert_eq!(server.api().get("/readyz").await.0, 200);
}
