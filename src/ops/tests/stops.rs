//! Emergency stops through the desk.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::world::{eventually, spec, world};
use crate::clock::Clock;
use crate::ops::StopRecord;
use crate::policy::testing::TestDocuments;
use crate::store::Doubts;
use crate::store::doubts::DoubtKind;

#[tokio::test]
async fn nothing_starts_from_the_answer_on_and_events_are_taken() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &[])).await;
    let request = json!({"everything": true, "reason": "wrong prices"});
    let stopped = world.post("/v1/dispatch:pause", &request).await;
    assert_eq!(stopped.status, 200, "{}", stopped.body);
    assert_eq!(stopped.body["stops"][0]["reason"], "wrong prices");
    let accepted = world.accept(2, &[], None).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(world.called().is_empty());
    let explained = world.get(&format!("/v1/explain?id={}", accepted[0])).await.body;
    let text = "Dispatch of everything is stopped until it is resumed: wrong prices";
    assert_eq!((&explained["held"]["text"], &explained["held"]["reason"]), (&json!(text), &json!("stopped")));
    assert!(explained["starts_at"].is_null());
    let call = world.get("/v1/explain?url=https://api.test/x&priority=high").await.body;
    assert_eq!((&call["held"]["text"], &call["lane"]["priority"]), (&json!(text), &json!("high")));

    let again = world.post("/v1/dispatch:pause", &json!({"everything": true, "reason": "still"})).await.body;
    assert_eq!(again["stops"].as_array().map(Vec::len), Some(1));
    assert_eq!(again["stops"][0]["since"], stopped.body["stops"][0]["since"]);
    let resumed = world.post("/v1/dispatch:resume", &json!({"everything": true})).await;
    assert_eq!((resumed.status.as_u16(), &resumed.body["stops"]), (200, &json!([])));
    world.started(2).await;
    assert_eq!(world.post("/v1/dispatch:resume", &json!({"host": "api.test"})).await.status, 200);
}

#[tokio::test]
async fn hosts_and_organisations_are_stopped_for_themselves_and_ends_come() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &["org"])).await;
    let stop =
        |target: &str, name: &str, seconds: f64| json!({target: name, "reason": "r", "for_seconds": seconds});
    assert_eq!(world.post("/v1/dispatch:pause", &stop("host", "other.test", 600.0)).await.status, 200);
    assert_eq!(world.post("/v1/dispatch:pause", &stop("organisation", "SICK", 0.3)).await.status, 200);
    world.accept(2, &[("org", "WELL")], None).await;
    world.started(2).await;
    world.let_go(2);
    world.accept(2, &[("org", "SICK")], None).await;
    world.started(4).await;
    eventually("its end has come", async || {
        let stops = world.get("/v1/dispatch").await.body;
        stops["stops"].as_array().is_some_and(|stops| stops.len() == 1 && stops[0]["name"] == "other.test")
    })
    .await;
}

#[tokio::test]
async fn a_stop_that_cannot_be_put_on_record_is_in_force_and_says_so() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 100, &[])).await;
    world.fail_write();
    let answer = world.post("/v1/dispatch:pause", &json!({"everything": true, "reason": "r"})).await;
    assert_eq!(answer.problem(503), "storage_error");
    world.accept(1, &[], None).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(world.called().is_empty(), "it is in force");
    // What cannot be taken off the record goes on.
    assert_eq!(
        world.post("/v1/dispatch:pause", &json!({"everything": true, "reason": "r"})).await.status,
        200
    );
    world.fail_write();
    assert_eq!(
        world.post("/v1/dispatch:resume", &json!({"everything": true})).await.problem(503),
        "storage_error"
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(world.called().is_empty(), "it stays stopped");
    assert_eq!(world.post("/v1/dispatch:resume", &json!({"everything": true})).await.status, 200);
    world.started(1).await;
}

#[tokio::test]
async fn what_is_on_record_holds_after_a_restart_and_what_cannot_be_read_stops_everything() {
    let world = world().await;
    let request = json!({"organisation": "ACME", "reason": "r"});
    assert_eq!(world.post("/v1/dispatch:pause", &request).await.status, 200);
    let doubts = Doubts::default();
    let reopened = StopRecord::open(world.documents.clone(), world.clock.clone(), &doubts).await;
    assert_eq!(reopened.in_force().len(), 1);
    assert!(doubts.list().is_empty(), "the control: nothing is in doubt");

    let documents = Arc::new(TestDocuments::default());
    documents.set("stops", "{\"format\":9}");
    let unread = StopRecord::open(documents.clone(), Clock::system(), &doubts).await;
    assert!(unread.stops().why_unreadable().is_some());
    let doubt = doubts.list().pop().expect("a doubt");
    assert_eq!((doubt.kind, doubt.subject.as_str()), (DoubtKind::Document, "documents/stops.json"));
    let refused =
        unread.stop(&world.dispatch, crate::dispatch::StopTarget::Everything, "r".into(), None).await;
    assert!(refused.is_err(), "what was on record would be lost");
    let host = crate::dispatch::StopTarget::host("a").expect("a host");
    assert!(unread.end(&world.dispatch, &host).await.is_err());
    unread.end(&world.dispatch, &crate::dispatch::StopTarget::Everything).await.expect("given up");
    assert!(unread.stops().why_unreadable().is_none());
    let kept = documents.body("stops-unread").expect("kept").1;
    assert_eq!(kept, "{\"format\":9}", "its bytes are kept");
    assert_ne!(documents.body("stops").expect("anew").1, kept);
}

#[tokio::test]
async fn what_is_not_valid_is_refused_with_its_member() {
    let world = world().await;
    for (body, pointer) in [
        (json!({"reason": "r"}), "/everything"),
        (json!({"everything": true}), "/reason"),
        (json!({"host": "a/b", "reason": "r"}), "/host"),
        (json!({"everything": true, "reason": "r", "for_seconds": 0}), "/for_seconds"),
        (
            json!({"everything": true, "reason": "r", "for_seconds": 1, "until": "2030-01-31T08:00:00Z"}),
            "/until",
        ),
    ] {
        let answer = world.post("/v1/dispatch:pause", &body).await;
        assert_eq!(answer.problem(422), "invalid_request", "{body}");
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{body}");
    }
    assert_eq!(world.get("/v1/dispatch?x=1").await.problem(400), "invalid_parameter");
    assert_eq!(world.get("/v1/dispatch").await.body, json!({"stops": [], "record_unreadable": null}));
}
