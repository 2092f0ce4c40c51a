//! Changing many events: counted first, then confirmed, with progress.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, eventually, spec, world};
use crate::event::{EventId, Lane, Redriven};
use crate::limit::Admission;
use crate::policy::{Family, Limits, Spec};
use crate::store::memory::FailPoint;

impl World {
    /// Counts, confirms, and waits for the end.
    async fn bulk(&self, verb: &str, body: Value) -> (Value, Value) {
        let path = format!("/v1/events:{verb}");
        let counted = self.post(&path, &body).await;
        assert_eq!(counted.status, 200, "{}", counted.body);
        let mut confirmed = body;
        confirmed["confirm"] = counted.body["confirm"].clone();
        let begun = self.post(&path, &confirmed).await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        let place = begun.headers["location"].to_str().expect("text").to_owned();
        let mut last = Value::Null;
        eventually("the run ends", async || {
            last = self.get(&place).await.body;
            last["state"] == "done"
        })
        .await;
        (counted.body, last)
    }
}

#[tokio::test]
async fn what_is_meant_is_counted_then_changed_and_nothing_else() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 10_000, &["key"])).await;
    let plain = world.accept(600, &[("key", "a")], None).await;
    world.accept(300, &[("key", "b")], None).await;
    world.accept(50, &[("key", "a")], Some(Duration::from_secs(600))).await;
    world.started(4).await;
    let of_a = json!({"filter": {"labels": {"key": "a"}, "policy": "api"}});
    let (counted, run) = world.bulk("cancel", of_a).await;
    assert_eq!((&counted["matched"], &counted["at_least"]), (&json!(650), &json!(false)));
    let done = json!({"changed": 648, "under_way": 2, "left": 0, "unread": 0, "matched": 650, "verb": "cancel", "of": "events"});
    for (member, value) in done.as_object().expect("members") {
        assert_eq!(&run[member], value, "{member} of {run}");
    }
    assert!(run["ended_at"].is_string());
    assert_eq!(world.queue.ledger().cancelled, 648);
    assert_eq!(world.queue.ledger().owed(), 302);
    let called: HashSet<_> = world.called();
    assert!(plain[..2].iter().all(|id| called.contains(id)), "calls under way are not torn");
    let left = world.get("/v1/events?label.key=a").await.body["events"].as_array().expect("a list").len();
    assert_eq!(left, 2);
}

#[tokio::test]
async fn many_are_put_off_and_sent_before_their_time() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 10_000, &["key"])).await;
    world.pause("api").await;
    world.accept(40, &[("key", "a")], None).await;
    let all = json!({"all": true});
    let later = json!({"filter": {"url_prefix": "http"}, "delay_seconds": 3600});
    assert_eq!(world.bulk("delay", later).await.1["changed"], 40);
    let waiting = async |state: &str| {
        let answer = world.get(&format!("/v1/events?state={state}")).await;
        answer.body["events"].as_array().expect("a list").len()
    };
    assert_eq!((waiting("delayed").await, waiting("ready").await), (40, 0));
    let beyond = json!({"filter": {"url_prefix": "http"}, "delay_seconds": 86_400});
    let (_, run) = world.bulk("delay", beyond).await;
    assert_eq!((&run["changed"], &run["left"]), (&json!(0), &json!(40)), "beyond their life");
    assert_eq!(world.bulk("send-now", all).await.1["changed"], 40);
    assert_eq!((waiting("delayed").await, waiting("ready").await), (0, 40));
    let listed = world.get("/v1/changes").await;
    let changes: Vec<_> =
        listed.body["changes"].as_array().expect("a list").iter().map(|run| &run["verb"]).collect();
    assert_eq!(changes, [&json!("send_now"), &json!("delay"), &json!("delay")], "newest first");
}

#[tokio::test]
async fn a_confirmation_is_of_the_same_request_and_of_what_was_there() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 10_000, &["key"])).await;
    world.accept(5, &[("key", "a")], Some(Duration::from_secs(600))).await;
    let counted = world.post("/v1/events:cancel", &json!({"filter": {"policy": "api"}})).await.body;
    assert_eq!(counted["matched"], 5);
    let confirm = &counted["confirm"];
    for (path, body) in [
        ("/v1/events:cancel", json!({"filter": {"policy": "api", "state": "delayed"}, "confirm": confirm})),
        ("/v1/events:send-now", json!({"filter": {"policy": "api"}, "confirm": confirm})),
        ("/v1/events:cancel", json!({"filter": {"policy": "api"}, "confirm": "yes"})),
        ("/v1/events:cancel", json!({"filter": {"policy": "api"}, "confirm": true})),
    ] {
        assert_eq!(world.post(path, &body).await.problem(409), "change_not_confirmed", "{path} {body}");
    }
    // A later millisecond than the count.
    tokio::time::sleep(Duration::from_millis(3)).await;
    let later = world.accept(1, &[("key", "a")], Some(Duration::from_secs(600))).await;
    let begun =
        world.post("/v1/events:cancel", &json!({"filter": {"policy": "api"}, "confirm": confirm})).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let place = format!("/v1/changes/{}", begun.body["id"]);
    eventually("it ends", async || world.get(&place).await.body["state"] == "done").await;
    let left = world.get("/v1/events").await.body["events"].clone();
    assert_eq!(left[0]["id"], later[0].to_string(), "what came after the count stays");
    assert_eq!(left.as_array().map(Vec::len), Some(1));
    let stopped = world.post(&format!("{place}:stop"), &json!({})).await;
    assert_eq!((stopped.status.as_u16(), &stopped.body["state"]), (200, &json!("done")), "it has ended");
    for wrong in ["/v1/changes/9", "/v1/changes/x", "/v1/changes/01"] {
        assert_eq!(world.get(wrong).await.problem(404), "change_not_found", "{wrong}");
    }
    for (body, pointer) in
        [(json!({}), "/filter"), (json!({"filter": {"policy": "api"}, "delay_seconds": 1}), "/delay_seconds")]
    {
        let answer = world.post("/v1/events:cancel", &body).await;
        assert_eq!(
            (answer.problem(422), &answer.body["errors"][0]["pointer"]),
            ("invalid_request", &json!(pointer))
        );
    }
}

/// What is taken beyond the read-ahead was promised a start at the door, which nobody owes any more.
#[tokio::test]
async fn no_promise_outlives_an_event_that_is_changed_before_it_is_read_ahead() {
    for verb in ["cancel", "send-now"] {
        let world = world().await;
        let base = spec("https://api.test/*", 200, &["key"]);
        let limits = Limits { slots: None, ..base.limits.clone() };
        let refusing = Spec { family: Family::Refuse, limits, ..base };
        world.deploy("api", refusing).await;
        world.pause("api").await;
        let ids = world.accept(200, &[("key", "a")], None).await;
        let standing = world.queue.standing(ids[0], &world.dispatch).await.expect("reads");
        let lane = Lane::parse(&standing.waiting().expect("waits").lane).expect("a lane");
        let promised = async || {
            let limiters = world.dispatch.limiters().await.expect("runs");
            limiters.iter().map(|limiter| limiter.promised).sum::<u32>()
        };
        let tried = world.dispatch.promise(vec![lane; 200]).await.expect("runs");
        tried.into_iter().for_each(|tried| tried.expect("room").expect("promised").keep());
        assert_eq!(promised().await, 200, "the control");
        assert_eq!(world.bulk(verb, json!({"filter": {"policy": "api"}})).await.1["changed"], 200);
        assert_eq!(promised().await, 0, "{verb}");
        if verb == "send-now" {
            let resumed = world.post("/v1/policies/api:resume", &json!({})).await;
            assert_eq!(resumed.status, 200, "{}", resumed.body);
            world.let_go(200);
            world.started(200).await;
            assert_eq!(world.queue.ledger().dead, 0, "its own promise turned none away");
        }
    }
}

#[tokio::test]
async fn a_run_that_panics_has_failed_and_another_one_may_begin() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 10_000, &["key"])).await;
    world.accept(5, &[("key", "a")], Some(Duration::from_secs(600))).await;
    let confirm =
        world.post("/v1/events:cancel", &json!({"filter": {"policy": "api"}})).await.body["confirm"].clone();
    world.store.fail_next(FailPoint::ReadPanic);
    let begun =
        world.post("/v1/events:cancel", &json!({"filter": {"policy": "api"}, "confirm": confirm})).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let place = format!("/v1/changes/{}", begun.body["id"]);
    let mut last = Value::Null;
    eventually("it ends", async || {
        last = world.get(&place).await.body;
        last["state"] != "running"
    })
    .await;
    assert_eq!(
        (&last["state"], &last["changed"], &last["error"]),
        (&json!("failed"), &json!(0), &json!("it panicked"))
    );
    assert!(last["ended_at"].is_string());
    assert_eq!(world.bulk("cancel", json!({"filter": {"policy": "api"}})).await.1["changed"], 5);
}

#[tokio::test]
async fn a_redriven_event_is_changed_although_nothing_leads_from_its_id_to_its_entry() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 10_000, &["key"])).await;
    let origin = EventId::new(world.clock.now().as_millis() - 1, 7);
    let redriven = Redriven {
        origin,
        is_renamed: false,
        count: 1,
        at: world.clock.now(),
        by: String::new(),
        from_url: None,
    };
    // Without the key of its redrive, as after the time for which keys are kept.
    let mut event = world.event(&[("key", "a")], Some(Duration::from_secs(600)));
    event.event.redriven = Some(Box::new(redriven));
    world.queue.accept(vec![event]).await.expect("accepted");
    assert_eq!(world.get("/v1/events").await.body["events"][0]["id"], origin.to_string());
    let run = world.bulk("cancel", json!({"filter": {"policy": "api"}})).await.1;
    assert_eq!((&run["changed"], &run["left"]), (&json!(1), &json!(0)), "{run}");
}
