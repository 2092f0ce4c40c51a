//! Forecasts, and calls that policies turn away.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::http::post_json;
use super::{Door, door, door_on};
use crate::ingest::{Doomed, Unmatched};
use crate::store::StoreError;

fn paced(ttl_s: u64) -> Value {
    json!({"url": "https://api.test/a", "ttl_seconds": ttl_s})
}

fn capped(key: Option<&str>) -> Value {
    json!({"url": "https://cap.test/a", "idempotency_key": key})
}

fn list(event: &Value, count: usize) -> String {
    Value::from(vec![event.clone(); count]).to_string()
}

fn room(door: &Door) -> usize {
    door.admission.room.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_receipt_tells_when_the_call_would_start() {
    let door = door().await;
    let (status, receipt) = post_json(&door, &paced(60).to_string()).await;
    assert_eq!(status, 202);
    assert_eq!(receipt["forecast"], json!({"starts_at": "2023-11-14T22:13:20.000Z", "expires_first": false}));
    let (_, lines) = post_json(&door, &list(&paced(2), 600)).await;
    assert_eq!(
        lines[0]["forecast"]["starts_at"], "2023-11-14T22:13:20.005Z",
        "one waits before it, at 200/s"
    );
    assert_eq!(lines[398]["forecast"]["expires_first"], false);
    assert_eq!(
        lines[399]["forecast"],
        json!({"starts_at": "2023-11-14T22:13:22.000Z", "expires_first": true}),
        "400 wait before it, and it lives for two seconds"
    );
}

/// Whatever the last look at the lanes has found: a stop has come since, or stops some events of a lane only.
#[tokio::test]
async fn the_forecast_of_a_stopped_call_knows_its_stop() {
    let door = door().await;
    for (path, starts_at) in [
        ("stopped", Value::Null),
        ("stopped-for-an-hour", "2023-11-14T23:13:20.000Z".into()),
        ("a", "2023-11-14T22:13:20.010Z".into()),
    ] {
        let event = json!({"url": format!("https://api.test/{path}"), "ttl_seconds": 60});
        let (status, receipt) = post_json(&door, &event.to_string()).await;
        let forecast = &receipt["forecast"];
        assert_eq!((status, &forecast["starts_at"]), (202, &starts_at), "{path}: {receipt}");
        assert_eq!(forecast["expires_first"], false, "stopped events go on being taken");
    }
}

#[tokio::test]
async fn doomed_events_are_refused_when_they_are_to_be() {
    let door = door_on(usize::MAX, Unmatched::Refuse, Doomed::Refuse).await;
    let (_, lines) = post_json(&door, &list(&paced(2), 500)).await;
    let refused: Vec<&Value> =
        lines.as_array().expect("a list").iter().filter(|l| l["status"] == 429).collect();
    assert_eq!((refused.len(), door.store.len()), (100, 400));
    assert_eq!((&refused[0]["code"], &refused[0]["retry_after_seconds"]), (&"doomed".into(), &1.into()));
    let (status, problem) = post_json(&door, &paced(1).to_string()).await;
    assert_eq!((status, &problem["code"]), (429, &"doomed".into()));
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("2023-11-14T22:13:22.000Z by the pace of policy"), "{problem}");
    assert!(problem["policy"]["id"].is_string() && problem["limit"]["kind"] == "pace", "{problem}");
    assert_eq!(post_json(&door, &paced(60).to_string()).await.0, 202, "it lives long enough");
}

#[tokio::test]
async fn calls_over_a_limit_that_turns_away_are_refused_at_the_door() {
    let door = door().await;
    let (_, lines) = post_json(&door, &list(&capped(None), 5)).await;
    let statuses: Vec<_> =
        lines.as_array().expect("a list").iter().map(|line| line["status"].clone()).collect();
    assert_eq!(statuses, [202, 202, 202, 429, 429]);
    assert_eq!((door.store.len(), room(&door)), (3, 0));
    let (status, problem) = post_json(&door, &capped(None).to_string()).await;
    assert_eq!(
        (status, &problem["code"], &problem["retry_after_seconds"]),
        (429, &"over_window".into(), &2.into())
    );
    let late = json!({"url": "https://cap.test/a", "delay_seconds": 5});
    assert_eq!(post_json(&door, &late.to_string()).await.0, 202, "what is put off is tried when it is due");
    assert_eq!(post_json(&door, &paced(60).to_string()).await.0, 202, "others are not concerned");
}

#[tokio::test]
async fn a_limit_that_turns_away_speaks_for_itself_also_to_events_that_would_expire_first() {
    let door = door_on(usize::MAX, Unmatched::Refuse, Doomed::Refuse).await;
    let brief = json!({"url": "https://cap.test/a", "ttl_seconds": 1});
    let (_, lines) = post_json(&door, &list(&brief, 6)).await;
    let answers: Vec<_> = lines.as_array().expect("a list").iter().map(|line| &line["code"]).collect();
    assert_eq!(answers[3..], ["over_window", "over_window", "over_window"]);
    assert_eq!((door.store.len(), room(&door)), (3, 0));
}

#[tokio::test]
async fn a_repeated_event_is_a_duplicate_also_when_there_is_no_room() {
    let door = door().await;
    assert_eq!(post_json(&door, &capped(Some("k")).to_string()).await.0, 202);
    post_json(&door, &list(&capped(None), 2)).await;
    assert_eq!(room(&door), 0);
    let (status, repeated) = post_json(&door, &capped(Some("k")).to_string()).await;
    assert_eq!((status, &repeated["duplicate"]), (202, &true.into()), "{repeated}");
    let other = json!({"url": "https://cap.test/b", "idempotency_key": "k"});
    let (status, problem) = post_json(&door, &other.to_string()).await;
    assert_eq!((status, &problem["code"]), (422, &"idempotency_conflict".into()));
    assert_eq!(post_json(&door, &capped(Some("new")).to_string()).await.0, 429);
}

#[tokio::test]
async fn equal_keys_of_one_batch_take_one_promise_and_have_one_fate() {
    let door = door().await;
    let sent = [Some("a"), Some("a"), None, Some("b"), Some("c"), Some("b"), Some("c")].map(capped);
    let (_, lines) = post_json(&door, &Value::from(sent.to_vec()).to_string()).await;
    let statuses: Vec<_> = lines.as_array().expect("a list").iter().map(|line| &line["status"]).collect();
    assert_eq!(statuses, [202, 202, 202, 202, 429, 202, 429]);
    assert_eq!((&lines[1]["duplicate"], &lines[5]["duplicate"]), (&true.into(), &true.into()));
    assert_eq!((door.store.len(), room(&door)), (3, 0));
}

#[tokio::test]
async fn keys_are_looked_up_for_what_is_tried_alone() {
    let door = door().await;
    let paced = json!({"url": "https://api.test/a", "idempotency_key": "k"});
    let late = json!({"url": "https://cap.test/a", "delay_seconds": 5, "idempotency_key": "l"});
    for event in [paced, late, capped(None)] {
        assert_eq!(post_json(&door, &event.to_string()).await.0, 202);
    }
    assert_eq!(door.store.finds.load(Ordering::SeqCst), 0);
    assert_eq!(post_json(&door, &capped(Some("m")).to_string()).await.0, 202);
    assert_eq!(door.store.finds.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_promise_goes_back_when_nothing_was_added() {
    let door = door().await;
    assert_eq!(post_json(&door, &capped(Some("k")).to_string()).await.0, 202);
    assert_eq!(room(&door), 2);
    let (status, repeated) = post_json(&door, &capped(Some("k")).to_string()).await;
    assert_eq!((status, &repeated["duplicate"], room(&door)), (202, &true.into(), 2));
    *door.store.failure.lock().expect("lock") = Some(StoreError::Closed);
    assert_eq!(post_json(&door, &capped(None).to_string()).await.0, 503);
    assert_eq!(room(&door), 2);
}
