//! The world of the desk's tests.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::clock::{Clock, Timestamp};
use crate::delivery::{Call, Deliver};
use crate::dispatch::{DispatchHandle, DispatcherParts, PlannerOptions, Service};
use crate::event::{Cause, Event, EventId, Outcome};
use crate::ingest::{AboutPolicies, CallRouter, Defaults, Unmatched};
use crate::limit::{Gate, Outlooks};
use crate::ops::{Desk, Runs, StopRecord, desk_routes};
use crate::policy::testing::{Fault, TestDocuments, id, labels, url};
use crate::policy::{
    Bounds, Clause, DRAIN_WINDOW, Limits, Origin, Overlap, Policies, Quota, Scope, Spec, UrlPattern, Window,
};
use crate::queue::{NewEvent, Parked, Queue};
use crate::store::memory::{MemoryStore, MemoryUsages};
use crate::store::{Appended, UsageStore};
use crate::telemetry::EventSource;
use crate::traces::Tracer;

/// Keeps its calls until they are let go.
pub(super) struct Endpoint {
    pub(super) called: Mutex<Vec<EventId>>,
    gate: Semaphore,
    fails: AtomicBool,
}

struct Door(Arc<Endpoint>);

impl Deliver for Door {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let endpoint = self.0.clone();
        async move {
            endpoint.called.lock().expect("no panic").push(call.id);
            endpoint.gate.acquire().await.expect("open").forget();
            if endpoint.fails.load(Ordering::SeqCst) {
                return Outcome::Retry { cause: Cause::Status(503), retry_after: None };
            }
            Outcome::Delivered { status: 204 }
        }
        .boxed()
    }
}

pub(super) struct World {
    pub(super) router: Router,
    pub(super) policies: Policies,
    pub(super) documents: Arc<TestDocuments>,
    pub(super) store: MemoryStore,
    pub(super) queue: Queue,
    pub(super) parked: Parked,
    pub(super) dispatch: DispatchHandle,
    pub(super) clock: Clock,
    pub(super) usages: Arc<MemoryUsages>,
    pub(super) endpoint: Arc<Endpoint>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

/// With the default labels `org=ACME`.
pub(super) async fn world() -> World {
    let clock = Clock::system();
    let documents = Arc::new(TestDocuments::default());
    let policies = Policies::open(documents.clone(), clock.clone()).await.expect("opens");
    let store = MemoryStore::new(clock.clone());
    let (queue, signals) = Queue::open(Arc::new(store.clone()), clock.clone()).await.expect("opens");
    let stops = StopRecord::open(documents.clone(), clock.clone(), &queue.doubts()).await;
    let parked = Parked::open(&queue, Arc::new(store.clone()), clock.clone()).await.expect("opens");
    let usages = Arc::new(MemoryUsages::new());
    usages.open(clock.now()).await.expect("opens");
    let endpoint = Arc::new(Endpoint {
        called: Mutex::default(),
        gate: Semaphore::new(0),
        fails: AtomicBool::new(false),
    });
    let (service, dispatch) = Service::new(DispatcherParts {
        queue: queue.clone(),
        signals,
        policies: policies.follow(),
        deliver: Arc::new(Door(endpoint.clone())),
        endpoints: Arc::default(),
        clock: clock.clone(),
        options: PlannerOptions::default(),
        gate: Gate::new(),
        usages: usages.clone(),
        stops: stops.stops(),
        tracer: Tracer::default(),
        dice: fastrand::Rng::with_seed(1),
    });
    tokio::spawn(service.run());
    let desk = Desk {
        queue: queue.clone(),
        policies: policies.clone(),
        authoring: policies.bounded(Bounds { policies_per_dialect: 3, ..Bounds::default() }),
        reserved: |id| id.as_str().starts_with("dialect.").then_some("test"),
        drain: DRAIN_WINDOW,
        dispatch: dispatch.clone(),
        outlooks: Arc::new(ArcSwap::from_pointee(Outlooks::default())),
        clock: clock.clone(),
        router: CallRouter {
            queue: queue.clone(),
            defaults: Arc::new(Defaults {
                labels: Arc::new(labels(&[("org", "ACME")])),
                known_labels: Some(["org", "key", "a b"].map(str::to_owned).into()),
                max_ttl: Duration::from_secs(6 * 3600),
            }),
            unmatched: Unmatched::Refuse,
            egress: Arc::new(|url| {
                let inside = url.as_str().contains("127.0.0.1");
                if inside { Err("loopback".to_owned()) } else { Ok(()) }
            }),
            endpoint_of: Arc::new(|url| url.path().starts_with("/crm").then(|| "crm".to_owned())),
            implied: Arc::new(|call| {
                let key = call.url.path().strip_prefix("/keyed/");
                let header = call.headers.get("x-key").and_then(|key| key.to_str().ok());
                let body = call.body.strip_prefix(b"{\"key\":").map(|_| "from_the_body");
                key.or(header).or(body).map(|key| ("key", key.to_owned())).into_iter().collect()
            }),
            carried: Arc::new(|headers| {
                let org = headers.get("x-org").and_then(|org| org.to_str().ok());
                Ok(org.map(|org| ("org", org.to_owned())).into_iter().collect())
            }),
        },
        about: AboutPolicies::NOTHING,
        runs: Runs::default(),
        stops,
        parked: parked.clone(),
    };
    World {
        router: desk_routes(desk),
        policies,
        documents,
        store,
        queue,
        parked,
        dispatch,
        clock,
        usages,
        endpoint,
    }
}

/// Two calls at once and as many in an hour as told, for each value of the label `key`.
pub(super) fn spec(pattern: &str, calls: i64, scope: &[&str]) -> Spec {
    let pattern = UrlPattern::parse(pattern).expect("valid");
    let clause = Clause { methods: vec![Method::POST], ..Clause::of(pattern) };
    let limits = Limits {
        window: Some(Window::new(calls, 3_600_000).expect("valid")),
        slots: std::num::NonZeroU32::new(2),
        ..Limits::default()
    };
    let scope = Scope::new(scope).expect("valid");
    Spec { overlap: Overlap::most_specific(), scope, ..Spec::new(vec![clause], limits) }
}

pub(super) fn with_quota(spec: Spec, calls: i64) -> Spec {
    let quota = Some(Quota::new(calls, crate::policy::Period::Month).expect("valid"));
    Spec { limits: Limits { quota, ..spec.limits }, ..spec }
}

impl World {
    pub(super) async fn deploy(&self, name: &str, spec: Spec) {
        let deployed = self.policies.change(|book| book.put(&Origin::new("test"), &id(name), spec.clone()));
        deployed.await.expect("deploys");
    }

    pub(super) async fn author(&self, name: &str) {
        let now = self.clock.now();
        let authored = self.policies.change(|book| book.rest(&Origin::file(), &id(name), now, DRAIN_WINDOW));
        authored.await.expect("free");
    }

    /// Hands in `count` events for `https://api.test/x`, as they would be routed.
    pub(super) async fn accept(
        &self,
        count: usize,
        pairs: &[(&str, &str)],
        delay: Option<Duration>,
    ) -> Vec<EventId> {
        let accepted = self.queue.accept(vec![self.event(pairs, delay); count]).await;
        let id = |appended: Appended| match appended {
            Appended::New(id) | Appended::Duplicate(id) | Appended::Conflict(id) => id,
        };
        accepted.expect("accepted").into_iter().map(id).collect()
    }

    /// Hands in one event for each of these values of the label `key`.
    pub(super) async fn accept_keys(&self, keys: impl Iterator<Item = String>) {
        let events = keys.map(|key| self.event(&[("key", &key)], None)).collect();
        self.queue.accept(events).await.expect("accepted");
    }

    pub(super) fn event(&self, pairs: &[(&str, &str)], delay: Option<Duration>) -> NewEvent {
        let now = self.clock.now();
        let event = Event {
            method: Method::POST,
            url: url("https://api.test/x?secret=1"),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{}"),
            labels: labels(pairs),
            due_at: delay.map(|delay| Timestamp::from_millis((now + delay).ceil_millis())),
            is_dated: false,
            expires_at: now + Duration::from_secs(7200),
            redriven: None,
        };
        let routed = self.policies.runtime().route(&event.method, &event.url, &event.labels);
        let governed = routed.expect("few policies").expect("governed");
        NewEvent {
            lane: self.queue.lane_at(&governed, &event.url),
            event,
            dedup: None,
            source: EventSource::Http,
        }
    }

    pub(super) fn called(&self) -> HashSet<EventId> {
        self.endpoint.called.lock().expect("no panic").iter().copied().collect()
    }

    /// Waits until this many calls have started.
    pub(super) async fn started(&self, calls: usize) {
        eventually(&format!("{calls} calls start"), async || self.called().len() >= calls).await;
    }

    /// From now on calls that end fail.
    pub(super) fn fail_calls(&self) {
        self.endpoint.fails.store(true, Ordering::SeqCst);
    }

    /// Lets calls end.
    pub(super) fn let_go(&self, calls: usize) {
        self.endpoint.gate.add_permits(calls);
    }

    pub(super) async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("in memory");
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(path, "application/json", body.to_string()).await
    }

    pub(super) async fn send(&self, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header("content-type", kind).body(body.into());
        self.ask(request.expect("a request")).await
    }

    /// Pauses, for tests that only need it paused.
    pub(super) async fn pause(&self, name: &str) {
        let answer = self.post(&format!("/v1/policies/{name}:pause"), &json!({"reason": "a test"})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }

    /// The next write of the policy book fails.
    pub(super) fn fail_write(&self) {
        self.documents.fail([Fault::Refuse]);
    }
}

impl Answer {
    /// The code, having checked that it is a problem of this status.
    pub(super) fn problem(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        self.body["code"].as_str().expect("a code")
    }

    /// The target of its `Link` to the next page.
    pub(super) fn next(&self) -> Option<String> {
        let link = self.headers.get("link")?.to_str().expect("text");
        let target = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
        Some(target.expect("a link to the next page").to_owned())
    }
}

pub(super) async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}
