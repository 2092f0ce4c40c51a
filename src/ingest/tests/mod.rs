//! Tests of the doors over a small store in memory.

mod cloudevents;
mod decode;
mod http;
mod implied;
mod priority;
mod prospects;
mod refusals;
mod stream;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::{BoxFuture, FutureExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::event::{EventId, Labels, Lane, LaneKey, Tries};
use crate::ingest::{
    AboutPolicies, CallRouter, Defaults, Doomed, Intake, IntakeParts, Refusals, Targets, Unmatched,
};
use crate::limit::{Admission, LimitKind, LimiterFigures, OverLimit, Promise, Tried};
use crate::policy::testing::{TestDocuments, id, spec, spec_for};
use crate::policy::{Family, LabelCondition, Origin, Policies, Spec};
use crate::queue::Queue;
use crate::queue::testing::TakenUp;
use crate::store::memory::MemoryStore;
use crate::store::{
    Appended, DeadLetters, Dedup, Doubts, DuePage, EndLog, EntryStore, GiveUp, LaneSummary, LastRedrive,
    Lookup, Loss, NewEntry, Owner, ReadLimit, Scan, ScanPage, SettleRequest, StoreError, StoreHealth,
    StoredEntry,
};
use crate::traces::Tracer;

/// Keeps what is appended; can be made to fail or to stand still.
pub(super) struct TestStore {
    entries: Mutex<Vec<(EventId, NewEntry)>>,
    keys: Mutex<HashMap<[u8; 16], (Dedup, EventId)>>,
    pub failure: Mutex<Option<StoreError>>,
    /// One permit per append that may go on.
    pub turnstile: Semaphore,
    pub appends: AtomicUsize,
    pub finds: AtomicUsize,
    pub doubts: Doubts,
}

impl TestStore {
    pub(super) fn len(&self) -> usize {
        self.entries.lock().expect("lock").len()
    }

    fn add(&self, entry: NewEntry) -> Appended {
        let mut entries = self.entries.lock().expect("lock");
        let id = EventId::new(1_700_000_000_000, entries.len() as u128 + 1);
        if let Some(dedup) = entry.dedup {
            let mut keys = self.keys.lock().expect("lock");
            match keys.get(&dedup.key) {
                Some((known, id)) if *known == dedup => return Appended::Duplicate(*id),
                Some((_, id)) => return Appended::Conflict(*id),
                None => drop(keys.insert(dedup.key, (dedup, id))),
            }
        }
        entries.push((id, entry));
        Appended::New(id)
    }
}

impl EntryStore for TestStore {
    fn append(&self, batch: Vec<NewEntry>) -> BoxFuture<'_, Result<Vec<Appended>, StoreError>> {
        async move {
            self.turnstile.acquire().await.expect("open").forget();
            self.appends.fetch_add(1, Ordering::SeqCst);
            if let Some(failure) = self.failure.lock().expect("lock").clone() {
                return Err(failure);
            }
            Ok(batch.into_iter().map(|entry| self.add(entry)).collect())
        }
        .boxed()
    }

    fn read_ready<'a>(
        &'a self,
        _lane: &'a LaneKey,
        _after: Option<EventId>,
        _limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<StoredEntry>, StoreError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn read_due<'a>(
        &'a self,
        _lane: &'a LaneKey,
        _until: Timestamp,
        _skip: &'a HashSet<EventId>,
        _limit: ReadLimit,
    ) -> BoxFuture<'a, Result<DuePage, StoreError>> {
        async { Ok(DuePage::default()) }.boxed()
    }

    fn owner(&self) -> Owner {
        Owner { epoch: 1 }
    }

    fn settle(&self, _: Owner, _batch: Vec<SettleRequest>) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }

    fn give_up(&self, _: Owner, _: GiveUp, _: HashSet<EventId>) -> BoxFuture<'_, Result<u64, StoreError>> {
        async { Ok(0) }.boxed()
    }

    fn take_losses(&self) -> Vec<Loss> {
        Vec::new()
    }

    fn last_redrives(
        &self,
        names: Vec<EventId>,
    ) -> BoxFuture<'_, Result<Vec<Option<LastRedrive>>, StoreError>> {
        let none = vec![None; names.len()];
        async move { Ok(none) }.boxed()
    }

    fn find_keys(&self, keys: Vec<Dedup>) -> BoxFuture<'_, Result<Vec<Option<Appended>>, StoreError>> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        let known = self.keys.lock().expect("lock");
        let find = |key: &Dedup| known.get(&key.key).map(|(_, id)| Appended::Duplicate(*id));
        let found = keys.iter().map(find).collect();
        async move { Ok(found) }.boxed()
    }

    fn scan(&self, _: Scan) -> BoxFuture<'_, Result<ScanPage, StoreError>> {
        async { Ok(ScanPage::default()) }.boxed()
    }

    fn lookup(&self, id: EventId) -> BoxFuture<'_, Result<Lookup, StoreError>> {
        let entries = self.entries.lock().expect("lock");
        let found = entries.iter().find(|(have, _)| *have == id).map(|(id, entry)| {
            let stored = StoredEntry {
                id: *id,
                tries: Tries::NONE,
                due_at: entry.due_at,
                doubted_at: None,
                record: entry.record.clone(),
            };
            Lookup::Waiting(entry.lane.clone(), stored)
        });
        async move { Ok(found.unwrap_or(Lookup::Unknown)) }.boxed()
    }

    fn count_before<'a>(
        &'a self,
        _lane: &'a LaneKey,
        _id: EventId,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        async { Ok(0) }.boxed()
    }

    fn lanes(&self) -> BoxFuture<'_, Result<Vec<LaneSummary>, StoreError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }

    fn doubts(&self) -> Doubts {
        self.doubts.clone()
    }

    fn letters(self: Arc<Self>) -> Arc<dyn DeadLetters> {
        Arc::new(MemoryStore::new(Clock::system()))
    }

    fn ends(self: Arc<Self>) -> Arc<dyn EndLog> {
        Arc::new(MemoryStore::new(Clock::system()))
    }

    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }
}

/// Promises this many starts.
pub(super) struct TestAdmission {
    pub room: Arc<AtomicUsize>,
}

impl Admission for TestAdmission {
    fn promise(&self, lanes: Vec<Lane>) -> BoxFuture<'_, Option<Vec<Tried>>> {
        let try_one = |_| -> Tried {
            let taken =
                self.room.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |room| room.checked_sub(1));
            let free_at = START + Duration::from_millis(1500);
            taken.map_err(|_| OverLimit { policy: id("cap"), kind: LimitKind::Window, free_at })?;
            let room = Arc::clone(&self.room);
            Ok(Some(Promise::new(move || {
                room.fetch_add(1, Ordering::SeqCst);
            })))
        };
        std::future::ready(Some(lanes.into_iter().map(try_one).collect())).boxed()
    }

    fn used(&self, _: Lane) -> BoxFuture<'_, Vec<LimiterFigures>> {
        std::future::ready(Vec::new()).boxed()
    }
}

/// A door with deployed policies: 200 per second for `https://api.test/*`, the same for `https://keyed.test/*` under the
/// label `org=CRM`, and one for `https://cap.test/*` that
/// turns calls away.
pub(super) struct Door {
    pub intake: Intake,
    pub store: Arc<TestStore>,
    pub admission: Arc<TestAdmission>,
    pub closing: CancellationToken,
    pub targets: Arc<ArcSwap<Targets>>,
}

pub(super) const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(super) fn defaults() -> Arc<Defaults> {
    let labels = [("org".to_owned(), "ACME".to_owned()), ("sandbox".to_owned(), "prod".to_owned())];
    Arc::new(Defaults {
        labels: Arc::new(Labels::new(labels).expect("valid")),
        known_labels: None,
        max_ttl: Duration::from_secs(6 * 3600),
    })
}

pub(super) async fn door() -> Door {
    door_with(usize::MAX, Unmatched::Refuse).await
}

/// `appends` is how many appends may pass before the store stands still.
pub(super) async fn door_with(appends: usize, unmatched: Unmatched) -> Door {
    door_on(appends, unmatched, Doomed::Accept).await
}

pub(super) async fn door_on(appends: usize, unmatched: Unmatched, on_doomed: Doomed) -> Door {
    let store = Arc::new(TestStore {
        entries: Mutex::default(),
        keys: Mutex::default(),
        failure: Mutex::default(),
        turnstile: Semaphore::new(appends.min(1 << 20)),
        appends: AtomicUsize::new(0),
        finds: AtomicUsize::new(0),
        doubts: Doubts::default(),
    });
    let clock = Clock::manual(START);
    let (queue, signals) = Queue::open(store.clone(), clock.clone()).await.expect("opens");
    drop(signals);
    let policies = Policies::open(Arc::new(TestDocuments::default()), clock.clone()).await.expect("opens");
    policies
        .change(|book| {
            book.put(&Origin::new("test"), &id("api"), spec("https://api.test/*", 200.0))?;
            let org = vec![LabelCondition::equals("org", "CRM")];
            book.put(&Origin::new("test"), &id("keyed"), spec_for("https://keyed.test/*", 200.0, org))?;
            let cap = Spec { family: Family::Refuse, ..spec("https://cap.test/*", 3.0) };
            book.put(&Origin::new("test"), &id("cap"), cap)
        })
        .await
        .expect("deploys");
    let closing = CancellationToken::new();
    let targets: Arc<ArcSwap<Targets>> = Arc::default();
    let admission = Arc::new(TestAdmission { room: Arc::new(AtomicUsize::new(3)) });
    let intake = Intake::new(IntakeParts {
        router: CallRouter {
            queue,
            defaults: defaults(),
            unmatched,
            egress: Arc::new(|url| {
                let inside = url.as_str().contains("127.0.0.1");
                if inside { Err("loopback".to_owned()) } else { Ok(()) }
            }),
            endpoint_of: Arc::new(|url| url.path().starts_with("/crm").then(|| "crm".to_owned())),
            implied: Arc::new(|call| {
                let header = |label, name: &str| {
                    let value = call.headers.get(name).and_then(|value| value.to_str().ok())?;
                    Some((label, value.to_owned()))
                };
                [header("account", "x-account"), header("org", "x-org")].into_iter().flatten().collect()
            }),
            carried: Arc::new(|headers| {
                let org = headers.get("x-org").and_then(|org| org.to_str().ok());
                Ok(org.map(|org| ("org", org.to_owned())).into_iter().collect())
            }),
        },
        policies,
        clock,
        on_doomed,
        admission: admission.clone(),
        read_ahead: Arc::new(TakenUp(None)),
        refusals: Refusals {
            render: Arc::new(|_| None),
            as_foreign: false,
            usage: None,
            about: AboutPolicies { source_of: |label| Some(format!("where {label} comes from")) },
        },
        outlooks: Arc::default(),
        stopped: Arc::new(|url, _| match url.path() {
            "/stopped" => Some(None),
            "/stopped-for-an-hour" => Some(Some(START + Duration::from_secs(3600))),
            _ => None,
        }),
        targets: targets.clone(),
        tracer: Tracer::default(),
        closing: closing.clone(),
        max_bytes_under_way: NonZeroUsize::new(1 << 20).expect("not zero"),
        bytes_wait: Duration::from_millis(50),
    });
    Door { intake, store, admission, closing, targets }
}
