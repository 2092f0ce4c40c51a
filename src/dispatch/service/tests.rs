//! The shell over the store in memory and a made-up endpoint, in real time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use http::{HeaderMap, Method};
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::delivery::{Call, Deliver};
use crate::dispatch::{
    DispatchHandle, DispatcherParts, PlannerOptions, RetryPolicy, Service, Stop, StopTarget, Stops,
};
use crate::event::{AttemptDetail, Event, EventId, Labels, Lane, Outcome};
use crate::limit::Gate;
use crate::policy::{Book, Follower, Runtime, testing};
use crate::queue::{NewEvent, Queue};
use crate::store::memory::{FailPoint, MemoryStore, MemoryUsages};
use crate::store::{Appended, EntryStore};
use crate::telemetry::testing::Recorded;
use crate::telemetry::{EventSource, count_panics};
use crate::traces::Tracer;

/// Notes every call when it is first polled; its path says what becomes of it.
#[derive(Default)]
struct Endpoint(Arc<Mutex<Vec<EventId>>>);

impl Deliver for Endpoint {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let calls = Arc::clone(&self.0);
        async move {
            calls.lock().expect("not poisoned").push(call.id);
            match call.url.as_url().path() {
                "/panic-at-once" => panic!("ordered"),
                "/panic" => {
                    tokio::task::yield_now().await;
                    panic!("ordered")
                }
                "/hang" => std::future::pending().await,
                "/at-once" => {}
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            Outcome::Delivered { status: 204 }
        }
        .boxed()
    }
}

struct Stage {
    store: Arc<MemoryStore>,
    clock: Clock,
    queue: Queue,
    handle: DispatchHandle,
    calls: Arc<Mutex<Vec<EventId>>>,
    running: tokio::task::JoinHandle<()>,
    publish: watch::Sender<Arc<Runtime>>,
}

async fn stage(store: Arc<MemoryStore>, clock: Clock) -> Stage {
    let (service, stage) = set_up(store, clock).await;
    let running = tokio::spawn(service.run());
    Stage { running, ..stage }
}

/// The service before it runs.
async fn set_up(store: Arc<MemoryStore>, clock: Clock) -> (Service, Stage) {
    let (queue, signals) =
        Queue::open(Arc::clone(&store) as Arc<dyn EntryStore>, clock.clone()).await.expect("opens");
    let (publish, runtime) = watch::channel(Arc::new(Runtime::build(&Book::default()).expect("small")));
    let endpoint = Endpoint::default();
    let calls = Arc::clone(&endpoint.0);
    let retry = RetryPolicy {
        base: Duration::from_millis(2),
        max_attempts: std::num::NonZeroU16::new(2),
        ..RetryPolicy::default()
    };
    let (service, handle) = Service::new(DispatcherParts {
        queue: queue.clone(),
        signals,
        policies: Follower::new(runtime).0,
        deliver: Arc::new(endpoint),
        endpoints: Arc::default(),
        clock: clock.clone(),
        options: PlannerOptions { retry, ..PlannerOptions::default() },
        gate: Gate::new(),
        usages: Arc::new(MemoryUsages::new()),
        stops: Arc::default(),
        tracer: Tracer::default(),
        dice: fastrand::Rng::with_seed(1),
    });
    let running = tokio::spawn(std::future::ready(()));
    (service, Stage { store, clock, queue, handle, calls, running, publish })
}

async fn new_stage() -> Stage {
    let clock = Clock::system();
    stage(Arc::new(MemoryStore::new(clock.clone())), clock).await
}

impl Stage {
    async fn accept(&self, path: &str, count: usize) -> Vec<EventId> {
        self.accept_for(path, count, None).await
    }

    async fn accept_for(&self, path: &str, count: usize, due_at: Option<Timestamp>) -> Vec<EventId> {
        let event = Event {
            method: Method::POST,
            url: testing::url(&format!("https://h.org{path}")),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            labels: Labels::default(),
            due_at,
            is_dated: false,
            expires_at: self.clock.now() + Duration::from_secs(7200),
            redriven: None,
        };
        let lane = Lane::of(Vec::new()).expect("free");
        let batch = vec![NewEvent { lane, event, dedup: None, source: EventSource::Http }; count];
        let id = |appended: Appended| match appended {
            Appended::New(id) | Appended::Duplicate(id) | Appended::Conflict(id) => id,
        };
        self.queue.accept(batch).await.expect("accepted").into_iter().map(id).collect()
    }

    fn called(&self) -> Vec<EventId> {
        self.calls.lock().expect("not poisoned").clone()
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("in time")
}

#[tokio::test]
async fn calls_leave_in_the_order_of_acceptance_and_the_queue_becomes_empty() {
    let stage = new_stage().await;
    let mut ids = stage.accept("/", 700).await;
    ids.extend(stage.accept("/at-once", 700).await);
    in_time(stage.handle.idle()).await;
    assert_eq!(stage.called(), ids);
    assert!(stage.queue.is_empty());
    let figures = in_time(stage.handle.figures()).await.expect("runs");
    assert_eq!((figures.calls.len(), figures.lanes), (0, 0));
    stage.handle.stop(Duration::ZERO);
    in_time(stage.running).await.expect("no panic");
    assert_eq!(stage.handle.figures().await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_once_a_stop_is_answered_and_nothing_is_lost_by_it() {
    let stage = new_stage().await;
    let everything = Stop {
        target: StopTarget::Everything,
        reason: "a test".to_owned(),
        since: stage.clock.now(),
        until: None,
    };
    let mut ids = Vec::new();
    let mut started_before_a_stop = 0;
    for _ in 0..30 {
        ids.extend(stage.accept("/", 300).await);
        tokio::task::yield_now().await;
        let stops = Arc::new(Stops::new(vec![everything.clone()]));
        in_time(stage.handle.stop_by(stops)).await.expect("runs");
        let before = stage.called().len();
        started_before_a_stop = before;
        tokio::time::sleep(Duration::from_millis(3)).await;
        assert_eq!(stage.called().len(), before, "a call started after the answer");
        in_time(stage.handle.stop_by(Arc::default())).await.expect("runs");
    }
    assert!(started_before_a_stop > 0, "the control: calls start between stops");
    in_time(stage.handle.idle()).await;
    assert_eq!(stage.called(), ids, "each once, in the order of acceptance");
}

#[tokio::test]
async fn a_call_that_panics_is_a_failed_attempt() {
    count_panics();
    let recorded = Recorded::new();
    let _local = recorded.set();
    let stage = new_stage().await;
    let ids = stage.accept("/panic", 1).await;
    stage.accept("/panic-at-once", 1).await;
    let fine = stage.accept("/", 3).await;
    in_time(stage.handle.idle()).await;
    assert_eq!(stage.called().len(), 7);
    let attempts = stage.queue.attempts_of(ids[0]).await;
    let told =
        |detail: &AttemptDetail| (detail.number, detail.result.to_string(), detail.then.why.to_string());
    let told: Vec<_> = attempts.iter().map(told).collect();
    let internal = |number, why: &str| (number, "internal".to_owned(), why.to_owned());
    assert_eq!(told, [internal(2, "attempts_exhausted: internal"), internal(1, "backoff")]);
    assert!(attempts[1].then.next_at.is_some() && attempts[0].then.next_at.is_none());
    assert!(stage.queue.attempts_of(fine[0]).await.is_empty(), "a success at the first try is not kept");
    let reasons: Vec<String> = stage.store.dead_letters().into_iter().map(|dead| dead.reason).collect();
    assert_eq!(reasons, ["attempts_exhausted: internal"; 2]);
    assert_eq!(recorded.sum("tidegate_defects_total", ""), 4.0, "each once, although it is caught");
}

#[tokio::test]
async fn a_lane_whose_reading_panics_is_read_again() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let stage = new_stage().await;
    stage.store.fail_next(FailPoint::ReadPanic);
    let ids = stage.accept("/", 3).await;
    in_time(stage.handle.idle()).await;
    assert_eq!(stage.called(), ids);
    // It was made without a panic that a hook sees, which is where panics count.
    assert_eq!(recorded.sum("tidegate_defects_total", ""), 0.0, "who notices it counts nothing");
}

#[tokio::test]
async fn a_call_that_outlasts_the_grace_is_repeated_after_the_next_start() {
    let recorded = Recorded::new();
    let _local = recorded.set();
    let first = new_stage().await;
    let ids = first.accept("/hang", 1).await;
    while first.called().is_empty() {
        tokio::task::yield_now().await;
    }
    first.handle.stop(Duration::from_millis(20));
    in_time(first.running).await.expect("no panic");
    let second = stage(first.store, first.clock).await;
    while second.called().is_empty() {
        in_time(tokio::task::yield_now()).await;
    }
    assert_eq!(second.called(), ids);
    assert_eq!(recorded.sum("tidegate_defects_total", ""), 0.0, "an end of the process is none");
}

#[tokio::test]
async fn a_deployment_is_heard_of_before_the_entries_that_follow_it() {
    // Which of two things that are ready is taken first is left to chance.
    for _ in 0..32 {
        let clock = Clock::system();
        let (mut service, stage) = set_up(Arc::new(MemoryStore::new(clock.clone())), clock).await;
        let deployed = Arc::new(Runtime::build(&Book::default()).expect("small"));
        stage.publish.send_replace(Arc::clone(&deployed));
        stage.accept("/", 1).await;
        if let super::WakeReason::Signals(_) = service.next_event().await {
            assert!(Arc::ptr_eq(service.planner.policies.runtime(), &deployed));
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_a_dispatcher_that_has_stopped() {
    let stage = new_stage().await;
    stage.accept_for("/", 1, Some(stage.clock.now() + Duration::from_secs(3600))).await;
    stage.handle.stop(Duration::ZERO);
    in_time(stage.running).await.expect("no panic");
    in_time(stage.handle.idle()).await;
    assert!(!stage.queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_became_due_while_the_machine_was_suspended_goes_soon_after() {
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let stage = stage(Arc::new(MemoryStore::new(clock.clone())), clock.clone()).await;
    stage.accept_for("/", 1, Some(clock.now() + Duration::from_secs(3600))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(stage.called().is_empty());
    clock.advance(Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stage.called().len(), 1);
}
