//! Posts against a receiver that fails as often as it is told to, over restarts.

use std::sync::Mutex;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::*;
use crate::clock::Clock;
use crate::dispatch::Endpoints;
use crate::event::{Cause, LaneKey, Settlement};
use crate::store::memory::MemoryStore;
use crate::store::{EntryStore, NewEntry, ReadLimit, SettleRequest};

/// Fails as often as it is told to, and keeps what it was sent.
#[derive(Default)]
struct Receiver {
    failures: Mutex<u32>,
    got: Mutex<Vec<(EventId, u16, Value)>>,
}

struct Door(Arc<Receiver>);

impl Deliver for Door {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let receiver = Arc::clone(&self.0);
        Box::pin(async move {
            let mut failures = receiver.failures.lock().expect("no panic");
            if *failures > 0 {
                *failures -= 1;
                return Outcome::Retry { cause: Cause::Timeout, retry_after: None };
            }
            let body = serde_json::from_slice(&call.body).expect("JSON");
            receiver.got.lock().expect("no panic").push((call.name, call.attempt, body));
            Outcome::Delivered { status: 204 }
        })
    }
}

impl Receiver {
    fn ids(&self) -> Vec<String> {
        let got = self.got.lock().expect("no panic");
        let outcomes = got.iter().flat_map(|(.., body)| body["data"]["outcomes"].as_array().expect("a list"));
        outcomes.map(|line| line["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Waits until it was sent so many ends.
    async fn has(&self, count: usize) {
        while self.ids().len() < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn end(store: &Arc<MemoryStore>, count: usize) -> Vec<String> {
    let lane = LaneKey::new("-").expect("a key");
    let mut ids = Vec::new();
    for _ in 0..count {
        let entry = NewEntry { lane: lane.clone(), due_at: None, record: "r".into(), dedup: None };
        store.append(vec![entry]).await.expect("appends");
        let limit = ReadLimit { entries: 1, bytes: 1 };
        let entry = store.read_ready(&lane, None, limit).await.expect("reads").remove(0);
        let settlement = Settlement::Delivered;
        let request = SettleRequest { lane: lane.clone(), id: entry.id, due_at: None, settlement, why: None };
        store.settle(store.owner(), vec![request]).await.expect("settles");
        ids.push(entry.id.to_string());
    }
    ids
}

async fn open(store: &Arc<MemoryStore>, receiver: &Arc<Receiver>) -> Posting {
    let url = Some(CanonicalUrl::parse("http://127.0.0.1:1/outcomes").expect("a url"));
    let parts = PostingParts {
        ends: Arc::clone(store).ends(),
        documents: Arc::clone(store) as Arc<dyn DocumentStore>,
        deliver: Arc::new(Door(Arc::clone(receiver))),
        endpoints: Arc::new(ArcSwap::from_pointee(Endpoints::default())),
        options: OutcomePosts { url, pace: 10, batch: 3 },
    };
    Posting::open(parts).await.expect("reads").expect("there is a url")
}

#[tokio::test(start_paused = true)]
async fn ends_are_posted_in_order_at_the_pace_and_a_restart_goes_on() {
    let clock = Clock::manual(Timestamp::from_millis(1_000));
    let (mut store, receiver) = (Arc::new(MemoryStore::new(clock.clone())), Arc::new(Receiver::default()));
    end(&store, 2).await;
    let mut all = Vec::new();
    for _ in 0..2 {
        let ended = CancellationToken::new();
        let running = tokio::spawn(open(&store, &receiver).await.run(ended.clone()));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let began = tokio::time::Instant::now();
        all.extend(end(&store, 30).await);
        receiver.has(all.len()).await;
        // Ten posts of three, ten a second: the first of them at once.
        assert!(began.elapsed() >= Duration::from_millis(800), "{:?}", began.elapsed());
        ended.cancel();
        running.await.expect("ends");
        store = Arc::new(store.crash());
    }
    assert_eq!(receiver.ids(), all, "those before the first start are not posted");
    // While nobody posts.
    all.extend(end(&store, 1).await);
    let ended = CancellationToken::new();
    let running = tokio::spawn(open(&store, &receiver).await.run(ended.clone()));
    receiver.has(all.len()).await;
    assert_eq!(receiver.ids(), all);
    let body = receiver.got.lock().expect("no panic").last().expect("one").2.clone();
    assert_eq!(body["type"], "tidegate.outcomes");
    ended.cancel();
    running.await.expect("ends");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_repeated_under_its_id_until_it_is_and_nothing_is_left_out() {
    let clock = Clock::manual(Timestamp::from_millis(1_000));
    let (store, receiver) = (Arc::new(MemoryStore::new(clock.clone())), Arc::new(Receiver::default()));
    *receiver.failures.lock().expect("no panic") = 40;
    let ended = CancellationToken::new();
    let running = tokio::spawn(open(&store, &receiver).await.run(ended.clone()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    let all = end(&store, 7).await;
    receiver.has(7).await;
    assert_eq!(receiver.ids(), all);
    let names: Vec<EventId> = receiver.got.lock().expect("no panic").iter().map(|(name, ..)| *name).collect();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "each post has its own");
    assert_eq!(receiver.got.lock().expect("no panic")[0].1, 41, "the first was tried so often");
    ended.cancel();
    running.await.expect("ends");
    let (from, next) = (EndPlace { log: 1, number: 0 }, EndPlace { log: 1, number: 3 });
    let at = Timestamp::from_millis(5);
    assert_eq!(name(from, next, at), name(from, next, at));
    assert_ne!(name(from, next, at), name(from, EndPlace { number: 2, ..next }, at), "other ends, other id");
}
