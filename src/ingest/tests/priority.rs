//! The priority of an event at the doors: its own, that of its request, that of a CloudEvent.

use axum::body::Body;
use serde_json::{Value, json};

use super::door;
use super::http::{post_json, post_with};

const JSON: (&str, &str) = ("content-type", "application/json");

fn event(priority: Option<&str>) -> String {
    let mut event = json!({"url": "https://api.test/a"});
    if let Some(priority) = priority {
        event["priority"] = json!(priority);
    }
    event.to_string()
}

fn lane(answer: &Value) -> &str {
    answer["lane"].as_str().expect("a lane")
}

#[tokio::test]
async fn an_event_stands_in_the_lane_of_its_priority() {
    let door = door().await;
    for (given, expected) in [
        (None, "api@1;~host=api.test:443"),
        (Some("normal"), "api@1;~host=api.test:443"),
        (Some("high"), "api@1;~priority=high;~host=api.test:443"),
        (Some("low"), "api@1;~priority=low;~host=api.test:443"),
    ] {
        let (status, answer) = post_json(&door, &event(given)).await;
        assert_eq!((status, lane(&answer)), (202, expected), "{given:?}");
    }
    for wrong in ["urgent", "HIGH", ""] {
        let (status, answer) = post_json(&door, &event(Some(wrong))).await;
        assert_eq!((status, &answer["code"]), (422, &json!("invalid_event")));
        assert_eq!(answer["errors"][0]["pointer"], "/priority", "{wrong:?}");
    }
    let (status, answer) = post_json(&door, r#"{"url": "https://api.test/a", "priority": 1}"#).await;
    assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!("/priority")));
}

#[tokio::test]
async fn a_request_names_the_priority_of_those_of_its_events_that_name_none() {
    let door = door().await;
    let of = |answer: &Value| lane(answer).contains("~priority=low");
    let headers = [JSON, ("tidegate-priority", "low")];
    let (_, answer) = post_with(&door, &headers, Body::from(event(None))).await;
    assert!(of(&answer), "{answer}");
    let (_, answer) = post_with(&door, &headers, Body::from(event(Some("high")))).await;
    assert!(lane(&answer).contains("~priority=high"), "its own goes first: {answer}");
    for wrong in [&[JSON, ("tidegate-priority", "urgent")][..], &[headers[0], headers[1], headers[1]]] {
        let (status, answer) = post_with(&door, wrong, Body::from(event(None))).await;
        assert_eq!((status, &answer["code"]), (422, &json!("invalid_header")), "{answer}");
    }
}

#[tokio::test]
async fn a_cloudevent_names_it_by_an_attribute() {
    let door = door().await;
    let cloud = |priority: &str| {
        [
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", format!("1-{priority}")),
            ("ce-source", "/shop".to_owned()),
            ("ce-type", "order".to_owned()),
            ("ce-tidegateurl", "https://api.test/a".to_owned()),
            ("ce-tidegatepriority", priority.to_owned()),
        ]
    };
    let ask = async |priority: &str| {
        let given = cloud(priority);
        let headers: Vec<(&str, &str)> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
        post_with(&door, &headers, Body::from("{}")).await
    };
    let (status, answer) = ask("high").await;
    assert_eq!((status, lane(&answer)), (202, "api@1;~priority=high;~host=api.test:443"));
    let (status, answer) = ask("urgent").await;
    assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!("/tidegatepriority")));
}
