//! The feed over a store in memory: order, filters, waits, cursors that are gone.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::event::{LaneKey, Reason, Settlement, Why};
use crate::store::memory::MemoryStore;
use crate::store::{EntryStore, NewEntry, ReadLimit, SettleRequest};

const LANE: &str = "crm@1+org@1";

struct World {
    store: Arc<MemoryStore>,
    router: Router,
    closing: CancellationToken,
}

struct Answer {
    status: StatusCode,
    lines: Vec<Value>,
    next: Option<String>,
}

impl World {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new(Clock::manual(Timestamp::from_millis(1_000))));
        let closing = CancellationToken::new();
        let ends = Arc::clone(&store).ends();
        let router = outcome_routes(OutcomeDesk { ends, clock: Clock::system(), closing: closing.clone() });
        Self { store, router, closing }
    }

    async fn end(&self, settlement: Settlement, why: Why) -> String {
        let lane = LaneKey::new(LANE).expect("a key");
        let entry = NewEntry { lane: lane.clone(), due_at: None, record: "r".into(), dedup: None };
        self.store.append(vec![entry]).await.expect("appends");
        let limit = ReadLimit { entries: 1, bytes: 1 };
        let entry = self.store.read_ready(&lane, None, limit).await.expect("reads").remove(0);
        let request = SettleRequest { lane, id: entry.id, due_at: None, settlement, why: Some(why) };
        self.store.settle(self.store.owner(), vec![request]).await.expect("settles");
        entry.id.to_string()
    }

    async fn delivered(&self) -> String {
        let why = Why { reason: Reason::Delivered, status: Some(204), limited: None };
        self.end(Settlement::Delivered, why).await
    }

    async fn dead(&self) -> String {
        let why = Why { reason: Reason::Status(404), status: Some(404), limited: None };
        self.end(Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 }, why).await
    }

    async fn get(&self, path: &str) -> Answer {
        get_from(self.router.clone(), path).await
    }
}

async fn get_from(router: Router, path: &str) -> Answer {
    let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let link = response.headers().get("link").map(|link| link.to_str().expect("text").to_owned());
    let next = link.map(|link| link.trim_start_matches('<').split('>').next().expect("a link").to_owned());
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
    Answer { status, lines, next }
}

fn ids(answer: &Answer) -> Vec<&str> {
    answer.lines.iter().map(|line| line["id"].as_str().expect("an id")).collect()
}

#[tokio::test]
async fn every_end_is_a_line_in_order_and_links_and_cursors_go_on() {
    let world = World::new();
    let none = world.get("/v1/outcomes").await;
    assert_eq!((none.status, none.lines.len()), (StatusCode::OK, 0));
    let all = [world.delivered().await, world.dead().await, world.delivered().await];
    let first = world.get("/v1/outcomes?limit=2").await;
    assert_eq!(ids(&first), all[..2]);
    let example = example();
    let members = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&first.lines[1]), members(&example), "the description shows what is there");
    let line = &first.lines[1];
    assert_eq!(
        (&line["result"], &line["reason"], &line["status"], &line["attempts"], &line["policies"]),
        (&json!("dead"), &json!("http_404"), &json!(404), &json!(1), &json!(["crm", "org"]))
    );
    let rest = world.get(&first.next.expect("a link")).await;
    assert_eq!(ids(&rest), all[2..]);
    let cursor = first.lines[0]["cursor"].as_str().expect("a cursor");
    assert_eq!(ids(&world.get(&format!("/v1/outcomes?after={cursor}")).await), all[1..]);
    let next = rest.next.expect("a link");
    let empty = world.get(&next).await;
    assert_eq!((empty.lines.len(), empty.next), (0, Some(next)), "the same place");
    let after_none = none.next.expect("a link");
    assert_eq!(ids(&world.get(&after_none).await), all, "from before the first one");
    assert_eq!(world.get("/v1/outcomes?after=now").await.lines.len(), 0);
}

#[tokio::test]
async fn filters_pass_over_the_others_and_lead_on() {
    let world = World::new();
    let dead = world.dead().await;
    for _ in 0..3 {
        world.delivered().await;
    }
    for query in ["result=dead", "result=dead&policy=org", "limit=1&policy=crm"] {
        let answer = world.get(&format!("/v1/outcomes?{query}")).await;
        assert_eq!(ids(&answer), [dead.as_str()], "{query}");
    }
    let none = world.get("/v1/outcomes?policy=web").await;
    assert_eq!(none.lines.len(), 0);
    let next = none.next.expect("a link").replace("policy=web", "policy=crm");
    assert_eq!(world.get(&next).await.lines.len(), 0, "what was passed over is behind it");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_next_end_for_as_long_as_it_says_and_no_longer_than_the_daemon() {
    let world = World::new();
    let waits = tokio::spawn(get_from(world.router.clone(), "/v1/outcomes?after=now&wait_seconds=30"));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!waits.is_finished());
    let id = world.delivered().await;
    assert_eq!(ids(&waits.await.expect("answers")), [id.as_str()]);
    let began = tokio::time::Instant::now();
    let none = world.get("/v1/outcomes?after=now&wait_seconds=30").await;
    assert_eq!((none.status, none.lines.len()), (StatusCode::OK, 0));
    assert_eq!(began.elapsed().as_secs(), 30);
    let filtered = "/v1/outcomes?after=now&wait_seconds=30&result=dead";
    let waits = tokio::spawn(get_from(world.router.clone(), filtered));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.delivered().await;
    let dead = world.dead().await;
    assert_eq!(ids(&waits.await.expect("answers")), [dead.as_str()]);
    let waits = tokio::spawn(get_from(world.router.clone(), "/v1/outcomes?after=now&wait_seconds=30"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.closing.cancel();
    assert_eq!(waits.await.expect("answers").status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_cursor_that_is_not_kept_is_gone_and_the_answer_says_how_to_go_on() {
    let world = World::new();
    let id = world.delivered().await;
    let other = cursor(EndPlace { log: 77, number: 0 });
    let gone = world.get(&format!("/v1/outcomes?after={other}")).await;
    assert_eq!((gone.status, &gone.lines[0]["code"]), (StatusCode::GONE, &json!("cursor_gone")));
    let go_on = gone.lines[0]["go_on"].as_str().expect("a request");
    assert_eq!(ids(&world.get(go_on).await), [id.as_str()]);
}

#[tokio::test]
async fn parameters_have_rules() {
    let world = World::new();
    for query in [
        "after=x",
        "after=PngK",
        "limit=0",
        "limit=1001",
        "wait_seconds=61",
        "wait_seconds=-1",
        "result=done",
        "policy=a%20b",
        "cursor=x",
    ] {
        let answer = world.get(&format!("/v1/outcomes?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
}
