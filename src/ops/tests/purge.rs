//! The purge of events wherever they are: waiting, put off, under way, dead.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, eventually, spec, world};
use crate::clock::Timestamp;
use crate::event::EventId;
use crate::queue::NewEvent;
use crate::store::{DeadLetter, LetterOrder, ReadLimit, record};

const ALL: ReadLimit = ReadLimit { entries: 10_000, bytes: 1 << 26 };

impl World {
    /// Counts, confirms, and returns the count and where the run is.
    async fn purge(&self, filter: Value) -> (Value, String) {
        let counted = self.post("/v1/events:purge", &json!({"filter": filter})).await;
        assert_eq!(counted.status, 200, "{}", counted.body);
        let confirmed = json!({"filter": filter, "confirm": counted.body["confirm"]});
        let begun = self.post("/v1/events:purge", &confirmed).await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        (counted.body, begun.headers["location"].to_str().expect("text").to_owned())
    }

    async fn purged(&self, place: &str) -> Value {
        let mut last = Value::Null;
        eventually("the purge ends", async || {
            last = self.get(place).await.body;
            last["state"] == "done"
        })
        .await;
        last
    }

    async fn letters(&self) -> usize {
        self.parked.page(LetterOrder::OldestFirst, None, ALL).await.expect("reads").letters.len()
    }

    async fn state(&self, id: EventId) -> String {
        let standing = self.queue.standing(id, &self.dispatch).await.expect("reads");
        standing.word().unwrap_or("unknown").to_owned()
    }

    /// So many dead letters of this key.
    async fn dead(&self, count: u64, key: &str) {
        let NewEvent { lane, event, .. } = self.event(&[("key", key)], None);
        let at = Timestamp::from_millis(self.clock.now().as_millis() - 1);
        let letter = |tail: u64| DeadLetter {
            id: EventId::new(at.as_millis(), u128::from(tail) << 40),
            lane: lane.key().clone(),
            at,
            attempts: 1,
            reason: "http_404".to_owned(),
            record: record::encode(&event).expect("encodes"),
        };
        let letters = (1..=count).map(letter).collect();
        self.parked.turn().await.expect("a turn").import(letters).await.expect("added");
    }
}

#[tokio::test]
async fn what_has_a_label_is_purged_wherever_it_is_and_nothing_else() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 10_000, &["key"])).await;
    // The first two of each key are under way.
    let mine = world.accept(40, &[("key", "mine")], None).await;
    let others = world.accept(40, &[("key", "other")], None).await;
    let later = world.accept(5, &[("key", "mine")], Some(Duration::from_secs(600))).await;
    world.started(4).await;
    world.dead(300, "mine").await;
    assert_eq!(world.letters().await, 300, "the control");
    // A later millisecond than that of the last one.
    tokio::time::sleep(Duration::from_millis(3)).await;
    let filter = json!({"labels": {"key": "mine"}});
    let (counted, place) = world.purge(filter.clone()).await;
    assert_eq!((&counted["matched"], &counted["unread"]), (&json!(345), &json!(0)));
    eventually("only calls under way are left", async || {
        let run = world.get(&place).await.body;
        run["changed"] == 343 && run["under_way"] == 2
    })
    .await;
    assert_eq!(
        (world.state(mine[0]).await.as_str(), world.letters().await),
        ("inflight", 0),
        "no call is torn"
    );
    world.fail_calls();
    world.let_go(4);
    let run = world.purged(&place).await;
    let ends = ["changed", "under_way", "left", "unread"].map(|member| run[member].as_u64());
    assert_eq!(ends, [Some(345), Some(0), Some(0), Some(0)], "{run}");
    for id in mine.iter().chain(&later) {
        let standing = world.queue.standing(*id, &world.dispatch).await.expect("reads");
        assert_eq!(standing.word(), Some("settled"), "{id}");
    }
    assert_eq!(world.queue.ledger().cancelled, 45, "the calls that failed are neither repeated nor parked");
    assert_eq!(world.letters().await, 0);
    // The control: those of others are repeated.
    assert_ne!(world.state(others[0]).await, "settled");
    assert_eq!(world.queue.ledger().owed(), 40);
    // Once more: nothing is left.
    assert_eq!(world.post("/v1/events:purge", &json!({"filter": filter})).await.body["matched"], 0);
}

#[tokio::test]
async fn a_purge_says_what_it_is_about() {
    let world = world().await;
    for (body, pointer) in [
        (json!({}), "/filter"),
        (json!({"filter": {}}), "/filter"),
        (json!({"filter": {"url_prefix": ""}}), "/filter"),
        (json!({"filter": {"labels": {}}}), "/filter"),
        (json!({"filter": {"labels": {}, "url_prefix": ""}}), "/filter"),
        (json!({"filter": {"policy": "api"}}), "/filter"),
        (json!({"filter": {"labels": {"key": 1}}}), "/filter/labels"),
        (json!({"all": true}), "/all"),
    ] {
        let refused = world.post("/v1/events:purge", &body).await;
        assert_eq!(
            (refused.problem(422), &refused.body["errors"][0]["pointer"]),
            ("invalid_request", &json!(pointer)),
            "{body}"
        );
    }
    let counted =
        world.post("/v1/events:purge", &json!({"filter": {"url_prefix": "https://api.test/"}})).await;
    assert_eq!((counted.status.as_u16(), &counted.body["matched"]), (200, &json!(0)));
}
