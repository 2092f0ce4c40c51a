//! The desk of the dead letters over a store in memory, without a dispatcher.

mod imported;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::event::{Event, Priority, Settlement};
use crate::ingest::{Defaults, Unmatched};
use crate::ops::changes::runs::{Run, RunState};
use crate::policy::testing::{TestDocuments, id, labels, spec, url};
use crate::policy::{Origin, Policies};
use crate::queue::testing::TakenUp;
use crate::queue::{LaneSignals, NewEvent, Queue, Standing};
use crate::store::memory::MemoryStore;
use crate::store::{Appended, ReadLimit};
use crate::telemetry::EventSource;

const START: Timestamp = Timestamp::from_millis(1_900_000_000_000);

struct World {
    clock: Clock,
    queue: Queue,
    router: Router,
    desk: DeadDesk,
    /// As long as they are there, the queue says what is new.
    _signals: LaneSignals,
}

struct Answer {
    status: u16,
    next: Option<String>,
    body: Value,
}

async fn world() -> World {
    let clock = Clock::manual(START);
    let policies = Policies::open(Arc::new(TestDocuments::default()), clock.clone()).await.expect("opens");
    for (name, pattern) in [("orders", "https://api.test/*"), ("mails", "https://mail.test:8443/*")] {
        let deployed =
            policies.change(|book| book.put(&Origin::new("test"), &id(name), spec(pattern, 100.0)));
        deployed.await.expect("deploys");
    }
    let store = MemoryStore::new(clock.clone());
    let (queue, signals) = Queue::open(Arc::new(store.clone()), clock.clone()).await.expect("opens");
    let parked = Parked::open(&queue, Arc::new(store), clock.clone()).await.expect("opens");
    let desk = DeadDesk {
        queue: queue.clone(),
        parked,
        runs: Runs::default(),
        router: CallRouter {
            queue: queue.clone(),
            defaults: Arc::new(Defaults {
                labels: Arc::default(),
                known_labels: None,
                max_ttl: Duration::from_secs(6 * 3600),
            }),
            unmatched: Unmatched::Refuse,
            egress: Arc::new(|_| Ok(())),
            endpoint_of: Arc::new(|_| None),
            implied: Arc::new(|_| Vec::new()),
            carried: Arc::new(|_| Ok(Vec::new())),
        },
        policies,
        clock: clock.clone(),
    };
    World { clock, queue, router: dead_routes(desk.clone()), desk, _signals: signals }
}

impl World {
    /// Hands in events for this URL that die of this at once.
    async fn die(&self, count: usize, target: &str, org: &str, reason: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("authorization", HeaderValue::from_static("Bearer canary"));
        let event = Event {
            method: Method::POST,
            url: url(target),
            headers,
            body: Bytes::from_static(b"{\"n\":1}"),
            labels: labels(&[("org", org)]),
            due_at: None,
            is_dated: false,
            expires_at: self.clock.now() + Duration::from_secs(1800),
            redriven: None,
        };
        let runtime = self.desk.policies.runtime();
        let lane = self
            .desk
            .router
            .route(&runtime, &event.method, &event.url, &event.labels, Priority::High)
            .expect("a lane");
        let new = NewEvent { lane: lane.clone(), event, dedup: None, source: EventSource::Http };
        let appended = self.queue.accept(vec![new; count]).await.expect("accepted");
        let limit = ReadLimit { entries: 10_000, bytes: usize::MAX };
        for entry in self.queue.load(lane.key(), limit, false).await.expect("loads").entries {
            self.queue.started(&entry);
            self.queue.settle(&entry, Settlement::Dead { reason: reason.to_owned(), attempts: 3 });
        }
        self.queue.flush().await;
        let id = |one| if let Appended::New(id) = one { id.to_string() } else { panic!("{one:?}") };
        appended.into_iter().map(id).collect()
    }

    async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("in memory");
        let link = head.headers.get("link").map(|link| link.to_str().expect("text").to_owned());
        let next = link.map(|link| link[1..link.find('>').expect("a target")].to_owned());
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: head.status.as_u16(), next, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.ask(request.body(Body::from(body.to_string())).expect("a request")).await
    }

    /// The ids on all pages.
    async fn listed(&self, query: &str) -> Vec<String> {
        let (mut ids, mut path) = (Vec::new(), format!("/v1/dead-letters?{query}"));
        loop {
            let page = self.get(&path).await;
            assert_eq!(page.status, 200, "{path}: {}", page.body);
            let letters = page.body["dead_letters"].as_array().expect("a list");
            ids.extend(letters.iter().map(|letter| letter["id"].as_str().expect("an id").to_owned()));
            assert_eq!(page.next.is_some(), page.body["next_cursor"].is_string());
            let Some(next) = page.next else { return ids };
            path = next;
        }
    }

    /// Counts, confirms, and waits for the end; returns how many were counted, and the run.
    async fn change(&self, verb: &str, body: Value) -> (Value, Run) {
        let path = format!("/v1/dead-letters:{verb}");
        let counted = self.post(&path, &body).await;
        assert_eq!(counted.status, 200, "{}", counted.body);
        // What was parked in the millisecond of the count is not meant.
        self.clock.advance(Duration::from_secs(1));
        let mut confirmed = body;
        confirmed["confirm"] = counted.body["confirm"].clone();
        let begun = self.post(&path, &confirmed).await;
        assert_eq!((begun.status, &begun.body["state"]), (202, &json!("running")), "{}", begun.body);
        (counted.body["matched"].clone(), self.ended().await)
    }

    async fn ended(&self) -> Run {
        loop {
            let newest = self.desk.runs.all().remove(0);
            if newest.ended_at.is_some() {
                return newest;
            }
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn letters_are_listed_in_pages_and_by_what_they_are() {
    let world = world().await;
    let orders = world.die(5, "https://api.test/orders?key=canary", "A", "http_404").await;
    world.clock.advance(Duration::from_secs(60));
    let late = world.clock.now().to_string();
    let mails = world.die(3, "https://mail.test:8443/m", "B", "attempts_exhausted: http_503").await;
    let all = [&orders[..], &mails[..]].concat();
    for limit in [1, 3, 8, 1000] {
        assert_eq!(world.listed(&format!("limit={limit}")).await, all, "{limit}");
        let mut newest = world.listed(&format!("order=newest&limit={limit}")).await;
        newest.reverse();
        assert_eq!(newest, all, "{limit}");
        assert_eq!(world.listed(&format!("limit={limit}&label.org=A&status=404")).await, orders);
    }
    for (query, expected) in [
        ("policy=mails", &mails),
        ("policy=gone", &Vec::new()),
        ("reason=attempts_exhausted", &mails),
        ("reason=http_404", &orders),
        ("status=503", &mails),
        ("host=mail.test", &mails),
        ("host=mail.test:8443", &mails),
        ("host=mail.test:443", &Vec::new()),
        (&format!("after={late}"), &mails),
        (&format!("before={late}"), &orders),
        ("label.org=B&policy=orders", &Vec::new()),
    ] {
        assert_eq!(world.listed(query).await, *expected, "{query}");
    }
    for (query, name) in [
        ("status=7", "status"),
        ("after=soon", "after"),
        ("order=up", "order"),
        ("group_by=policy", "group_by"),
        ("group_by=reason&limit=5", "limit"),
        ("cursor=x", "cursor"),
        ("colour=red", "colour"),
    ] {
        let refused = world.get(&format!("/v1/dead-letters?{query}")).await;
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_parameter")), "{query}");
        assert_eq!(refused.body["errors"][0]["pointer"], name);
    }
}

#[tokio::test]
async fn a_letter_is_shown_without_query_and_headers_and_its_body_on_demand() {
    let world = world().await;
    let id = world.die(1, "https://api.test/orders?key=canary", "A", "http_404").await.remove(0);
    let shown = world.get(&format!("/v1/dead-letters/{id}")).await;
    assert_eq!(shown.body["url"], "https://api.test/orders");
    assert_eq!((&shown.body["status"], &shown.body["attempts"]), (&json!(404), &json!(3)));
    assert_eq!((&shown.body["policies"], &shown.body["body_bytes"]), (&json!(["orders"]), &json!(7)));
    assert_eq!(shown.body.get("body"), None);
    assert_eq!(shown.body["priority"], "high");
    let whole = world.get(&format!("/v1/dead-letters/{id}?body=true")).await;
    assert_eq!(
        (&whole.body["body"], &whole.body["content_type"]),
        (&json!("{\"n\":1}"), &json!("application/json"))
    );
    assert!(!whole.body.to_string().contains("canary"), "{}", whole.body);
    for (path, code) in [
        ("/v1/dead-letters/0198c4f0-5f3a-7c00-8000-000000000001", "dead_letter_not_found"),
        ("/v1/dead-letters/nothing", "dead_letter_not_found"),
    ] {
        let refused = world.get(path).await;
        assert_eq!((refused.status, &refused.body["code"]), (404, &json!(code)), "{path}");
    }
    let wrong = world.get(&format!("/v1/dead-letters/{id}:redrive")).await;
    assert_eq!((wrong.status, &wrong.body["code"]), (405, &json!("method_not_allowed")));
}

#[tokio::test]
async fn groups_count_what_died_of_what_and_where() {
    let world = world().await;
    world.die(5, "https://api.test/orders", "A", "http_404").await;
    world.die(2, "https://api.test/orders", "A", "timeout").await;
    world.die(3, "https://mail.test:8443/m", "B", "http_404").await;
    let groups = |body: &Value| {
        let groups = body["groups"].as_array().expect("a list").iter();
        let text = |group: &Value, name: &str| group[name].as_str().unwrap_or("-").to_owned();
        groups
            .map(|group| {
                (text(group, "reason"), text(group, "endpoint"), group["count"].as_u64().expect("a count"))
            })
            .collect::<Vec<_>>()
    };
    let own = |reason: &str, endpoint: &str, count| (reason.to_owned(), endpoint.to_owned(), count);
    let both = world.get("/v1/dead-letters?group_by=reason,endpoint").await;
    assert_eq!((both.body["read"].as_u64(), both.next), (Some(10), None));
    let expected = [
        own("http_404", "api.test:443", 5),
        own("http_404", "mail.test:8443", 3),
        own("timeout", "api.test:443", 2),
    ];
    assert_eq!(groups(&both.body), expected);
    let by = world.get("/v1/dead-letters?group_by=endpoint&reason=http_404").await;
    assert_eq!(groups(&by.body), [own("-", "api.test:443", 5), own("-", "mail.test:8443", 3)]);
}

#[tokio::test]
async fn a_letter_goes_back_where_its_call_goes_now() {
    let world = world().await;
    let id = world.die(1, "https://api.test/orders", "A", "http_404").await.remove(0);
    world.clock.advance(Duration::from_secs(7200));
    let path = format!("/v1/dead-letters/{id}:redrive");
    for (body, status, code) in [
        (json!({"url": "https://mail.test:8443/orders"}), 422, "not_redrivable"),
        (json!({"url": "https://elsewhere.test/orders"}), 422, "not_redrivable"),
        (json!({"url": 7}), 422, "invalid_request"),
        (json!({"by": "a\nb"}), 422, "invalid_request"),
        (json!({"new_id": "yes"}), 422, "invalid_request"),
    ] {
        let refused = world.post(&path, &body).await;
        assert_eq!((refused.status, &refused.body["code"]), (status, &json!(code)), "{body}");
        assert_eq!(world.listed("").await, [id.as_str()], "it stays");
    }
    let again = world.post(&path, &json!({"url": "https://api.test/v2/orders?k=1", "by": "on call"})).await;
    assert_eq!(again.status, 200, "{}", again.body);
    assert_eq!((&again.body["id"], &again.body["count"]), (&json!(id), &json!(1)));
    assert_eq!(world.listed("").await, Vec::<String>::new());
    let standing = world.queue.standing(id.parse().expect("an id"), &TakenUp(None)).await.expect("reads");
    let Standing::Ready(waiting) = standing else { panic!("{standing:?}") };
    assert_eq!(waiting.event.url.as_str(), "https://api.test/v2/orders?k=1");
    assert_eq!(waiting.event.headers["authorization"], "Bearer canary");
    assert_eq!(
        waiting.event.expires_at,
        world.clock.now() + Duration::from_secs(1800),
        "a new life of the same length"
    );
    assert_eq!(waiting.lane.priority(), Priority::High, "it keeps its priority");
    let redriven = waiting.event.redriven.expect("redriven");
    assert_eq!(redriven.from_url.as_deref(), Some("https://api.test/orders"));
    assert_eq!(world.post(&path, &json!({})).await.status, 404, "once");
}

#[tokio::test]
async fn many_letters_are_counted_confirmed_and_redriven_or_purged() {
    let world = world().await;
    world.die(700, "https://api.test/orders", "A", "http_404").await;
    world.die(20, "https://mail.test:8443/m", "B", "http_404").await;
    for body in [json!({}), json!({"filter": {}}), json!({"filter": {"before": "2040-01-01T00:00:00Z"}})] {
        let refused = world.post("/v1/dead-letters:redrive", &body).await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["pointer"]),
            (422, &json!("/filter")),
            "{body}"
        );
    }
    world.clock.advance(Duration::from_secs(1));
    let orders = json!({"filter": {"policy": "orders"}});
    let counted = world.post("/v1/dead-letters:redrive", &orders).await;
    assert_eq!((counted.status, &counted.body["matched"]), (200, &json!(700)));
    assert_eq!(world.listed("limit=1000").await.len(), 720, "nothing was changed");
    world.clock.advance(Duration::from_secs(1));
    world.die(5, "https://api.test/orders", "A", "http_404").await;
    let confirm = &counted.body["confirm"];
    for other in [
        json!({"all": true, "confirm": confirm}),
        json!({"filter": {"policy": "orders"}, "new_id": true, "confirm": confirm}),
        json!({"filter": {"policy": "orders"}, "confirm": 700}),
    ] {
        let refused = world.post("/v1/dead-letters:redrive", &other).await;
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("change_not_confirmed")), "{other}");
    }
    let begun = json!({"filter": {"policy": "orders"}, "confirm": confirm});
    let begun = world.post("/v1/dead-letters:redrive", &begun).await;
    assert_eq!((begun.status, &begun.body["state"]), (202, &json!("running")), "{}", begun.body);
    let run = world.ended().await;
    assert_eq!((run.state, run.tally.changed, run.tally.left), (RunState::Done, 700, 0));
    assert_eq!(world.listed("policy=orders").await.len(), 5, "what was parked later is not meant");
    // What other policies govern cannot go to this URL, and stays.
    world.clock.advance(Duration::from_secs(1));
    let elsewhere = json!({"all": true, "url": "https://api.test/v2"});
    let (counted, run) = world.change("redrive", elsewhere).await;
    assert_eq!((counted, run.tally.changed, run.tally.left), (json!(25), 5, 20));
    assert!(run.tally.left_because.is_some_and(|why| why.starts_with("other policies govern")));
    let (counted, run) = world.change("purge", json!({"all": true})).await;
    assert_eq!((counted, run.tally.changed, run.number), (json!(20), 20, 3));
    assert_eq!(world.listed("").await, Vec::<String>::new());
}

#[tokio::test]
async fn no_more_letters_are_changed_than_were_counted() {
    let world = world().await;
    world.die(600, "https://api.test/orders", "A", "http_404").await;
    world.clock.advance(Duration::from_secs(1));
    let counted = world.post("/v1/dead-letters:purge", &json!({"all": true})).await;
    // Of a time before the count, and not there when it was counted.
    let letter = world.desk.parked.page(
        crate::store::LetterOrder::OldestFirst,
        None,
        ReadLimit { entries: 1, bytes: 1 },
    );
    let mut letter = letter.await.expect("reads").letters.remove(0).letter;
    letter.id = EventId::new(START.as_millis(), 1 << 50);
    world.desk.parked.turn().await.expect("a turn").import(vec![letter]).await.expect("added");
    let begun = json!({"all": true, "confirm": counted.body["confirm"]});
    assert_eq!(world.post("/v1/dead-letters:purge", &begun).await.status, 202);
    assert_eq!(world.ended().await.tally.changed, 600);
    assert_eq!(world.listed("").await.len(), 1);
}

#[tokio::test]
async fn a_purge_of_one_letter_is_confirmed_by_its_id() {
    let world = world().await;
    let ids = world.die(2, "https://api.test/orders", "A", "http_404").await;
    let path = format!("/v1/dead-letters/{}:purge", ids[0]);
    for body in [json!({}), json!({"confirm": ids[1]}), json!({"confirm": true})] {
        let refused = world.post(&path, &body).await;
        assert_eq!(
            (refused.status, &refused.body["errors"][0]["pointer"]),
            (422, &json!("/confirm")),
            "{body}"
        );
    }
    let purged = world.post(&path, &json!({"confirm": ids[0]})).await;
    assert_eq!((purged.status, &purged.body["purged"]), (200, &json!(1)));
    assert_eq!(world.listed("").await, ids[1..]);
}

#[tokio::test]
async fn what_was_exported_comes_back_once() {
    let world = world().await;
    world.die(3, "https://api.test/orders", "A", "http_404").await;
    world.die(2, "https://mail.test:8443/m", "B", "http_410").await;
    let export = async |query: &str| {
        let request = Request::get(format!("/v1/dead-letters:export?{query}")).body(Body::empty());
        let response = world.router.clone().oneshot(request.expect("a request")).await.expect("infallible");
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("in memory");
        String::from_utf8(bytes.to_vec()).expect("text")
    };
    let import = async |lines: &str| {
        let request = Request::post("/v1/dead-letters:import").header("content-type", "application/x-ndjson");
        world.ask(request.body(Body::from(lines.to_owned())).expect("a request")).await
    };
    let lines = export("").await;
    assert_eq!((lines.lines().count(), export("policy=mails").await.lines().count()), (5, 2));
    let again = import(&lines).await;
    assert_eq!((again.status, &again.body), (200, &json!({"added": 0, "known": 5})));
    let before = world.listed("").await;
    let gone = |id: &str| format!("/v1/dead-letters/{id}:purge");
    assert_eq!(world.post(&gone(&before[0]), &json!({"confirm": before[0]})).await.status, 200);
    assert_eq!(world.post(&format!("/v1/dead-letters/{}:redrive", before[1]), &json!({})).await.status, 200);
    let back = import(&lines).await;
    assert_eq!(back.body, json!({"added": 1, "known": 4}), "what was redriven since lives on");
    let mut after = world.listed("").await;
    after.sort();
    assert_eq!(after, [&before[..1], &before[2..]].concat());
    assert_eq!(export("policy=mails").await.lines().count(), 2);
    for (wrong, told) in [("{}", "line 1"), ("\n\nx", "line 3")] {
        let refused = import(wrong).await;
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("invalid_request")), "{wrong}");
        assert!(
            refused.body["detail"].as_str().is_some_and(|detail| detail.starts_with(told)),
            "{}",
            refused.body
        );
    }
    let record = lines.replacen("\"record\":\"", "\"record\":\"!", 1);
    assert_eq!(import(&record).await.status, 422);
    let wrong = world.post("/v1/dead-letters:import", &json!({})).await;
    assert_eq!((wrong.status, &wrong.body["code"]), (415, &json!("unsupported_media_type")));
}
