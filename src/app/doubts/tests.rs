//! Decisions over a queue: the store in memory, and a directory that nobody has open.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::*;
use crate::app::{self, doubts_at_rest};
use crate::clock::Timestamp;
use crate::config::{Config, File, Flag, Inputs};
use crate::event::{CanonicalUrl, Event, EventId, Labels, Lane};
use crate::queue::testing::TakenUp;
use crate::queue::{End, NewEvent, Standing};
use crate::store::doubts::NewDoubt;
use crate::store::embedded::{EmbeddedOptions, EmbeddedStore};
use crate::store::memory::MemoryStore;
use crate::store::{Appended, Doubts, EntryStore};
use crate::telemetry::EventSource;

fn lane() -> Lane {
    Lane::of(Vec::new()).expect("free")
}

async fn accept(queue: &Queue, events: usize, now: Timestamp) -> Vec<EventId> {
    let event = Event {
        method: Method::POST,
        url: CanonicalUrl::parse("http://h.org/x").expect("valid"),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        labels: Labels::default(),
        due_at: None,
        is_dated: false,
        expires_at: now + Duration::from_secs(3600),
        redriven: None,
    };
    let batch = vec![NewEvent { lane: lane(), event, dedup: None, source: EventSource::Http }; events];
    let id = |appended| match appended {
        Appended::New(id) | Appended::Duplicate(id) | Appended::Conflict(id) => id,
    };
    queue.accept(batch).await.expect("accepted").into_iter().map(id).collect()
}

fn raise(doubts: &Doubts, kind: DoubtKind, events: u64) -> Doubt {
    let (subject, detail, way_out) = (lane().key().to_string(), "found".to_owned(), "do".to_owned());
    let doubt = NewDoubt { kind, subject, detail, way_out, events };
    let id = doubts.raise(doubt, Timestamp::from_millis(5));
    doubts.get(id).expect("open")
}

async fn deciding() -> Deciding {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let (queue, _signals) = Queue::open(store, clock.clone()).await.expect("opens");
    Deciding { queue, clock }
}

#[tokio::test]
async fn further_lanes_are_not_given_up_by_a_doubt_that_names_none() {
    let deciding = deciding().await;
    accept(&deciding.queue, 3, deciding.clock.now()).await;
    let (detail, way_out) = ("found".to_owned(), "do".to_owned());
    let doubt =
        NewDoubt { kind: DoubtKind::Generation, subject: FURTHER.to_owned(), detail, way_out, events: 3 };
    let id = deciding.queue.doubts().raise(doubt, Timestamp::from_millis(5));
    let doubt = deciding.queue.doubts().get(id).expect("open");
    let refused = deciding.give_up(&doubt).await.expect_err("names no lane");
    assert!(refused.to_string().contains("a doubt of their own"), "{refused}");
    assert_eq!(deciding.queue.doubts().list(), [doubt], "it stays");
    assert!(!deciding.queue.is_empty());
}

#[tokio::test]
async fn a_lane_of_an_unknown_generation_is_given_up_whole() {
    let deciding = deciding().await;
    let ids = accept(&deciding.queue, 3, deciding.clock.now()).await;
    let doubt = raise(&deciding.queue.doubts(), DoubtKind::Generation, 3);
    assert_eq!(deciding.give_up(&doubt).await.expect("given up"), 3);
    assert!(deciding.queue.doubts().list().is_empty() && deciding.queue.is_empty());
    for id in ids {
        let standing = deciding.queue.standing(id, &TakenUp(None)).await.expect("reads");
        assert!(
            matches!(&standing, Standing::Settled(Some(known)) if known.end == End::Lost),
            "{standing:?}"
        );
    }
}

#[tokio::test]
async fn the_clock_is_confirmed_and_nothing_else_is_decided_by_a_word() {
    let deciding = deciding().await;
    let other = raise(&deciding.queue.doubts(), DoubtKind::Lost, 3);
    assert!(deciding.confirm(&other).await.is_err() && deciding.give_up(&other).await.is_err());
    assert!(deciding.retry(&other).await.is_err() && !deciding.clock.is_confirmed());
    let doubt = raise(&deciding.queue.doubts(), DoubtKind::Clock, 0);
    tokio::time::pause();
    deciding.confirm(&doubt).await.expect("confirmed");
    assert!(deciding.clock.is_confirmed());
}

/// A configuration over a directory that holds this many events of one lane, and a doubt about its generation.
async fn at_rest(temp: &tempfile::TempDir, events: usize) -> (Config, Vec<EventId>, u64) {
    let root = temp.path().join("data");
    let clock = Clock::system();
    let options = EmbeddedOptions { needed_bytes: 1 << 20, salt: 1, ..EmbeddedOptions::default() };
    let store = Arc::new(EmbeddedStore::open(&root, options, clock.clone()).expect("a store"));
    let (queue, _signals) = Queue::open(store.clone(), clock.clone()).await.expect("opens");
    let ids = accept(&queue, events, clock.now()).await;
    let doubt = raise(&store.doubts(), DoubtKind::Generation, events as u64);
    store.close().await.expect("closes");
    let flag = |setting, value: &str| Flag { flag: "test", setting, values: vec![value.to_owned()] };
    let flags =
        vec![flag("store.data_dir", &root.display().to_string()), flag("listen.address", "127.0.0.1:0")];
    let inputs = Inputs { file: File::Absent, flags, ..Inputs::default() };
    (Config::load(&inputs).expect("sound").config, ids, doubt.id)
}

/// Waits until the last task of a closed store has let go of its directory.
async fn free(config: &Config) {
    let free = async {
        while app::directory_use(config).expect("known") != app::DirectoryUse::AtRest {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), free).await.expect("in time");
}

async fn ask(config: &Config, method: Method, path: &str, body: Option<Value>, opens: bool) -> (u16, Value) {
    free(config).await;
    let answer = doubts_at_rest(config, (method, path, body.as_ref()), opens).await.expect("at rest");
    (answer.0.as_u16(), serde_json::from_slice(&answer.1).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_given_up_in_a_directory_that_nobody_has_open() {
    let temp = tempfile::tempdir().expect("temp");
    let (config, ids, doubt) = at_rest(&temp, 4).await;
    let path = format!("/v1/doubts/{doubt}:give-up");
    let (status, refused) = ask(&config, Method::POST, &path, Some(json!({"confirm": 3})), true).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("wrong_count")));
    let done = ask(&config, Method::POST, &path, Some(json!({"confirm": 4})), true).await;
    assert_eq!(done, (200, json!({"given_up": 4})));
    let (_, left) = ask(&config, Method::GET, "/v1/doubts", None, false).await;
    assert_eq!(left["doubts"], json!([]));
    free(&config).await;
    let clock = Clock::system();
    let options = EmbeddedOptions { needed_bytes: 1 << 20, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(&config.store.data_dir, options, clock).expect("a store");
    for id in ids {
        assert_eq!(store.lookup(id).await.expect("reads"), crate::store::Lookup::Lost);
    }
    store.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_at_rest_is_kept_and_a_directory_in_use_is_left_alone() {
    let temp = tempfile::tempdir().expect("temp");
    let (config, _, doubt) = at_rest(&temp, 1).await;
    let path = format!("/v1/doubts/{doubt}:acknowledge");
    assert_eq!(ask(&config, Method::POST, &path, Some(json!({})), false).await.0, 200);
    let (_, shown) = ask(&config, Method::GET, &format!("/v1/doubts/{doubt}"), None, false).await;
    assert_eq!(shown["acknowledged"], true);
    let _held = crate::store::embedded::directory::DataDir::open(&config.store.data_dir).expect("free");
    assert_eq!(app::directory_use(&config).expect("known"), app::DirectoryUse::InUse);
    assert!(doubts_at_rest(&config, (Method::POST, &path, None), false).await.is_err());
}
