//! Explanations of events and of calls that were not handed in.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use super::world::{eventually, spec, world};
use crate::policy::LabelCondition;
use crate::store::doubts::{DoubtKind, NewDoubt};

#[tokio::test]
async fn a_doubt_that_holds_the_lane_or_the_store_is_named_with_its_way_out() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 2, &[])).await;
    let path = "/v1/explain?method=POST&url=https://api.test/x";
    let doubts = world.queue.doubts();
    let raise = |kind, subject: &str| {
        let (detail, way_out) = ("the book is older".to_owned(), "restore it".to_owned());
        let doubt = NewDoubt { kind, subject: subject.to_owned(), detail, way_out, events: 1 };
        doubts.raise(doubt, world.clock.now())
    };
    raise(DoubtKind::Generation, "api@9");
    raise(DoubtKind::Lost, "api@1");
    raise(DoubtKind::Clock, "wall");
    assert_eq!(world.get(path).await.body["held"]["by"], "nothing", "others than about this lane");
    let id = raise(DoubtKind::Generation, "api@1;~host=api.test:443");
    let told = world.get(path).await.body;
    let text = format!("It is held for doubt {id} (generation): the book is older. Way out: restore it.");
    assert_eq!(told["held"]["text"], json!(text));
    assert_eq!((&told["held"]["by"], &told["held"]["doubt"]), (&json!("doubt"), &json!(id)));
    assert_eq!(told["starts_at"], Value::Null, "nobody knows when");
    let book = raise(DoubtKind::Book, "documents/policies.json");
    doubts.remove(id);
    assert_eq!(world.get(path).await.body["held"]["doubt"], json!(book));
}

/// Whoever is asked: what is read ahead is ready, and what has started is in flight.
#[tokio::test]
async fn every_answer_says_the_same_of_what_is_read_ahead() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 9, &[])).await;
    let ids = world.accept(200, &[], None).await;
    world.started(2).await;
    let read_ahead = async || world.dispatch.figures().await.expect("runs").read_ahead;
    eventually("many are read ahead", async || read_ahead().await > 20).await;
    for (ended, inflight) in [(0, 2), (2, 2)] {
        let ledger = world.queue.ledger();
        assert_eq!((ledger.ready, ledger.delayed, ledger.inflight), (198 - ended, 0, inflight), "{ledger:?}");
        let lanes = world.queue.counts();
        assert_eq!(
            lanes.iter().map(|lane| (lane.ready, lane.inflight)).collect::<Vec<_>>(),
            [(198 - ended, inflight)]
        );
        let mut words = std::collections::BTreeMap::<String, u64>::new();
        for id in &ids {
            let explained = world.get(&format!("/v1/explain?id={id}")).await.body["state"].clone();
            let standing = world.queue.standing(*id, &world.dispatch).await.expect("reads");
            assert_eq!(standing.word(), explained.as_str(), "{id}");
            *words.entry(explained.as_str().expect("a word").to_owned()).or_default() += 1;
        }
        assert_eq!((words["ready"], words["inflight"]), (198 - ended, inflight), "{words:?}");
        let figures = &world.get("/v1/policies/api").await.body["figures"];
        assert_eq!((&figures["waiting"], &figures["inflight"]), (&json!(198 - ended), &json!(inflight)));
        if ended == 0 {
            world.let_go(2);
            world.started(4).await;
            eventually("their ends are on record", async || world.queue.completed().delivered == 2).await;
        }
    }
}

#[tokio::test]
async fn an_event_shows_its_exact_place_and_the_limit_that_holds_it() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 2, &["key"])).await;
    let ids = world.accept(5_000, &[("key", "a")], None).await;
    world.started(2).await;
    for (place, ahead) in [(2, 0), (3, 1), (2_000, 1_998), (4_999, 4_997)] {
        let told = world.get(&format!("/v1/explain?id={}", ids[place])).await;
        assert_eq!((told.status.as_u16(), &told.body["state"]), (200, &json!("ready")), "{}", told.body);
        assert_eq!(told.body["ahead"], ahead);
        let held = &told.body["held"];
        assert_eq!(held["policy"], "api");
        assert_eq!(held["key"], "key=a");
        assert!(matches!(held["by"].as_str(), Some("limit" | "slots")), "{held}");
    }
    let told = world.get(&format!("/v1/explain?id={}", ids[0])).await.body;
    assert_eq!(
        (&told["state"], &told["ahead"], &told["starts_at"]),
        (&json!("inflight"), &Value::Null, &Value::Null)
    );
    assert_eq!(
        told["held"],
        json!({"by": "nothing", "text": "Its call is under way.", "reason": null,
                                    "limit": null, "policy": null, "key": null, "until": null})
    );

    world.let_go(2);
    eventually("the window holds it when the slots are free", async || {
        let told = world.get(&format!("/v1/explain?id={}", ids[2])).await.body;
        told["held"]["by"] == "limit" && told["held"]["limit"] == "window"
    })
    .await;
    let told = world.get(&format!("/v1/explain?id={}", ids[4_999])).await.body;
    assert_eq!(told["ahead"], 4_997);
    let text = told["held"]["text"].as_str().expect("a sentence");
    assert!(text.starts_with("The window limit of policy api has no room for key=a before 2"), "{text}");
    assert!(told["held"]["until"].is_string() && told["starts_at"].is_string());
    assert_eq!(told["expires_first"], true, "two an hour, and a life of two hours");
    assert_eq!(told["url"], "https://api.test/x", "without the query");
    assert_eq!(told["lane"]["name"], "api@1;key=a;~host=api.test:443");
    assert_eq!(told["lane"]["host"], "api.test:443");
    assert_eq!(told["lane"]["policies"], json!([{"policy": "api", "name": null, "generation": 1}]));
    assert_eq!(told["policies"][0]["verdict"], "applies");

    eventually("its end is known", async || {
        let told = world.get(&format!("/v1/explain?id={}", ids[0])).await.body;
        told == json!({"id": ids[0].to_string(), "state": "settled", "outcome": "delivered", "reason": "delivered"})
    })
    .await;
}

#[tokio::test]
async fn pauses_due_times_and_the_way_in_are_told() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 2, &[])).await;
    let delayed = world.accept(1, &[], Some(Duration::from_secs(60))).await;
    let told = world.get(&format!("/v1/explain?id={}", delayed[0])).await.body;
    assert_eq!(
        (&told["state"], &told["held"]["by"], &told["ahead"]),
        (&json!("delayed"), &json!("due"), &Value::Null)
    );
    assert_eq!((&told["starts_at"], &told["held"]["until"]), (&told["due_at"], &told["due_at"]));
    assert_eq!(told["expires_first"], false);

    let free = world.get("/v1/explain?url=https://api.test/y").await.body;
    assert_eq!((&free["held"]["by"], &free["ahead"]), (&json!("nothing"), &json!(0)));
    world.pause("api").await;
    world.accept(3, &[], None).await;
    eventually("the pause holds it", async || {
        let told = world.get("/v1/explain?url=https://api.test/y").await.body;
        told["held"]["by"] == "hold" && told["ahead"] == 3
    })
    .await;
    let told = world.get("/v1/explain?url=https://api.test/y").await.body;
    assert_eq!(told["held"]["text"], "Policy api is paused until it is resumed: a test");
    assert_eq!((&told["held"]["reason"], &told["held"]["policy"]), (&json!("paused"), &json!("api")));
    assert_eq!((&told["starts_at"], &told["expires_first"]), (&Value::Null, &json!(true)));

    let unmatched = world.get("/v1/explain?url=https://elsewhere.test/").await.body;
    assert_eq!((&unmatched["held"]["by"], &unmatched["lane"]), (&json!("unmatched"), &Value::Null));
    let inside = world.get("/v1/explain?url=http://127.0.0.1/").await.body;
    assert_eq!(inside["held"]["by"], "egress");
}

#[tokio::test]
async fn each_candidate_says_why() {
    let world = world().await;
    world.deploy("wide", spec("https://api.test/*", 2, &[])).await;
    world.deploy("narrow", spec("https://api.test/a/*", 2, &[])).await;
    let mut named = spec("https://api.test/a/b*", 2, &[]);
    named.clauses[0].labels = vec![LabelCondition::equals("org", "OTHER")];
    world.deploy("named", named).await;
    world.deploy("scoped", spec("https://api.test/a/bc*", 2, &["key"])).await;
    let verdicts = async |query: &str| {
        let told = world.get(&format!("/v1/explain?url=https://api.test/a/bcd{query}")).await.body;
        let policies = told["policies"].as_array().expect("a list").clone();
        let of = |policy: &Value| (policy["policy"].as_str().expect("an id").to_owned(), policy.clone());
        policies.iter().map(of).collect::<std::collections::BTreeMap<_, _>>()
    };
    let found = verdicts("").await;
    assert_eq!(found["scoped"]["verdict"], "no_label");
    assert_eq!(found["scoped"]["label"], "key");
    assert_eq!(
        (&found["named"]["verdict"], &found["named"]["value"]),
        (&json!("other_label"), &json!("OTHER"))
    );
    assert_eq!(found["named"]["text"], "It needs the label org=OTHER.");
    assert_eq!(found["narrow"]["verdict"], "applies");
    assert_eq!((&found["wide"]["verdict"], &found["wide"]["by"]), (&json!("outranked"), &json!("narrow")));
    assert_eq!(
        verdicts("&label.org=OTHER").await["named"]["verdict"],
        "applies",
        "a given label counts, not the default"
    );
    assert_eq!(verdicts("&label.key=1&label.org=OTHER").await["named"]["verdict"], "outranked");
    assert_eq!(verdicts("&method=get").await["wide"]["text"], "It does not list GET.");
}

#[tokio::test]
async fn default_labels_count_as_for_events() {
    let world = world().await;
    let mut named = spec("https://api.test/*", 2, &["org"]);
    named.clauses[0].labels = vec![LabelCondition::equals("org", "ACME")];
    world.deploy("named", named).await;
    let told = world.get("/v1/explain?url=https://api.test/").await.body;
    assert_eq!(told["lane"]["name"], "named@1;org=ACME;~host=api.test:443");
    assert_eq!(told["lane"]["labels"], json!({"org": "ACME"}));
}

#[tokio::test]
async fn bad_questions_name_the_parameter() {
    let world = world().await;
    for (query, name) in [
        ("", "url"),
        ("?method=GET", "url"),
        ("?url=/x", "url"),
        ("?url=ftp://h.test/", "url"),
        ("?url=https://h.test/&id=0198c4f0-5f3a-7c00-8000-000000000001", "url"),
        ("?id=x", "id"),
        ("?id=0198c4f0-5f3a-7c00-8000-000000000001&label.a=1", "id"),
        ("?url=https://h.test/&method=A%20B", "method"),
        ("?url=https://h.test/&method=CONNECT", "method"),
        ("?url=https://h.test/&label.a%20b=1", "label.KEY"),
        ("?url=https://h.test/&label.colour=1", "label.colour"),
        ("?url=https://h.test/&labels=1", "labels"),
        ("?url=https://h.test/&header.a%20b=1", "header.a b"),
        ("?url=https://h.test/&header.a=%0A", "header.a"),
        ("?url=https://h.test/&header.a=1&header.A=1", "header.A"),
        ("?id=0198c4f0-5f3a-7c00-8000-000000000001&header.a=1", "id"),
        ("?url=https://h.test/&url=https://h.test/", "url"),
    ] {
        let answer = world.get(&format!("/v1/explain{query}")).await;
        assert_eq!(answer.problem(400), "invalid_parameter", "{query}");
        assert_eq!(answer.body["errors"][0]["pointer"], name, "{query}");
    }
    let gone = world.get("/v1/explain?id=0198c4f0-5f3a-7c00-8000-000000000001").await;
    assert_eq!(gone.problem(404), "event_not_found");
}

#[tokio::test]
async fn a_call_is_explained_with_the_labels_that_it_implies() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 2, &["key"])).await;
    let lane = async |query: &str| {
        let told = world.get(&format!("/v1/explain?url=https://api.test/{query}")).await.body;
        told["lane"]["labels"].clone()
    };
    assert_eq!(lane("keyed/b").await, json!({"key": "b"}));
    assert_eq!(lane("keyed/b&label.key=c").await, json!({"key": "c"}), "a given label goes first");
    assert_eq!(lane("plain").await, json!(null), "the control");
    assert_eq!(lane("plain&header.X-Key=d").await, json!({"key": "d"}), "a header of the call");
    assert_eq!(lane("plain&header.x-other=d").await, json!(null), "the control");
}

#[tokio::test]
async fn labels_that_the_request_carries_count_as_at_the_door() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 2, &["org"])).await;
    let ask = async |query: &str, org: Option<&str>| {
        let request = Request::get(format!("/v1/explain?url=https://api.test/x{query}"));
        let request = org.into_iter().fold(request, |request, org| request.header("x-org", org));
        let answer = world.ask(request.body(Body::empty()).expect("a request")).await;
        answer.body["lane"]["labels"]["org"].clone()
    };
    assert_eq!(ask("", Some("CRM")).await, "CRM");
    assert_eq!(ask("&label.org=own", Some("CRM")).await, "own", "the own label goes first");
    assert_eq!(ask("", None).await, "ACME", "the control: the default");
    assert_eq!(ask("&header.x-org=CRM", None).await, "ACME", "a header of the call is none of its request");
}

#[tokio::test]
async fn a_whole_event_is_explained_and_not_handed_in() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 2, &["key"])).await;
    let event =
        json!({"url": "https://api.test/x", "body": {"key": 1}, "delay_seconds": 60, "ttl_seconds": 90});
    let told = world.post("/v1/explain", &event).await;
    assert_eq!((told.status.as_u16(), &told.body["lane"]["labels"]["key"]), (200, &json!("from_the_body")));
    assert_eq!((&told.body["held"]["by"], &told.body["ahead"]), (&json!("due"), &Value::Null));
    assert!(told.body["due_at"].is_string() && told.body["expires_first"] == false, "{}", told.body);
    let ledger = world.queue.ledger();
    assert_eq!((ledger.accepted, ledger.delayed), (0, 0), "{ledger:?}");

    let without =
        world.post("/v1/explain", &json!({"url": "https://api.test/x", "body": {"other": 1}})).await;
    assert_eq!(without.body["held"]["by"], "unmatched", "the control: by its body it is limited");
    let broken = world.post("/v1/explain", &json!({"url": "/x", "colour": 1})).await;
    assert_eq!(broken.problem(422), "invalid_event");
    let large = world
        .post("/v1/explain", &json!({"url": "https://api.test/x", "body_text": "x".repeat(70_000)}))
        .await;
    assert_eq!(large.problem(413), "payload_too_large");
    let plain = world.send("/v1/explain", "text/plain", "{}").await;
    assert_eq!(plain.problem(415), "unsupported_media_type");
}

#[tokio::test]
async fn the_block_that_rules_the_calls_of_a_url_is_named() {
    let world = world().await;
    world.deploy("api", spec("https://api.test/*", 2, &[])).await;
    for (url, endpoint) in [
        ("https://api.test/crm", json!("crm")),
        ("https://api.test/x", Value::Null),
        ("https://ungoverned.test/crm", json!("crm")),
    ] {
        let told = world.get(&format!("/v1/explain?method=POST&url={url}")).await;
        assert_eq!(told.body["endpoint"], endpoint, "{url}");
    }
}
