//! The queue over a disk whose syncs hang: callers hear in time, and what they hear is true.

use std::fs::File;
use std::io;
use std::sync::{Condvar, Mutex};

use crate::event::{CanonicalUrl, Labels, PolicyId, PolicyRef};
use crate::queue::*;
use crate::store::ReadLimit;
use crate::store::embedded::journal::{Disk, OsDisk};
use crate::store::embedded::{Disks, EmbeddedOptions, EmbeddedStore};
use crate::telemetry::testing::Recorded;

/// Syncs hang while `hangs` is set.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    hangs: bool,
    /// One hangs at present.
    is_hanging: bool,
}

impl Gate {
    fn hang(&self, hangs: bool) {
        self.0.0.lock().expect("no panic").hangs = hangs;
        self.0.1.notify_all();
    }

    /// Returns once a sync hangs.
    fn wait_for_hang(&self) {
        let state = self.0.0.lock().expect("no panic");
        drop(self.0.1.wait_while(state, |state| !state.is_hanging).expect("no panic"));
    }
}

impl Disk for Gate {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        OsDisk.write_at(file, bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        let mut state = self.0.0.lock().expect("no panic");
        while state.hangs {
            state.is_hanging = true;
            self.0.1.notify_all();
            state = self.0.1.wait(state).expect("no panic");
        }
        state.is_hanging = false;
        OsDisk.sync(file)
    }
}

fn open(dir: &std::path::Path, clock: &Clock, disk: impl Disk + 'static) -> EmbeddedStore {
    let options =
        EmbeddedOptions { segment_bytes: 64 * 1024, needed_bytes: 0, salt: 7, ..Default::default() };
    let disks = Disks { journal: Box::new(disk), ..Disks::default() };
    EmbeddedStore::open_on(dir, options, clock.clone(), disks).expect("opens")
}

fn accept(n: u64) -> Vec<NewEvent> {
    let policy = PolicyId::parse("p").expect("valid");
    let lane = Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("valid");
    let event = Event {
        method: http::Method::POST,
        url: CanonicalUrl::parse(&format!("http://h.org/{n}")).expect("valid"),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
        labels: Labels::default(),
        due_at: None,
        is_dated: false,
        expires_at: Timestamp::MAX,
        redriven: None,
    };
    vec![NewEvent { lane, event, dedup: None, source: EventSource::Http }]
}

fn waiting(queue: &Queue) -> u64 {
    queue.counts().iter().map(|lane| lane.ready).sum()
}

/// Which numbers the directory holds.
fn numbers(runtime: &tokio::runtime::Runtime, store: &EmbeddedStore) -> Vec<String> {
    let lane = accept(0).remove(0).lane;
    let all = ReadLimit { entries: 100, bytes: usize::MAX };
    let entries = runtime.block_on(store.read_ready(lane.key(), None, all)).expect("reads");
    let event = |record| crate::store::record::decode(record).expect("decodes");
    entries.iter().map(|entry| event(&entry.record).url.as_str().replace("http://h.org/", "")).collect()
}

fn two_threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

#[test]
fn while_a_sync_hangs_callers_hear_in_time_and_what_was_withdrawn_is_never_written() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (gate, clock) = (Gate::default(), Clock::manual(Timestamp::from_millis(1_000)));
    let runtime = two_threads();
    let store = Arc::new(open(dir.path(), &clock, gate.clone()));
    let bound = Duration::from_millis(100);
    let opened = runtime.block_on(Queue::open_within(store.clone(), clock.clone(), bound));
    let (queue, _signals) = opened.expect("opens");
    runtime.block_on(queue.accept(accept(1))).expect("the control: the disk answers");
    assert_eq!((waiting(&queue), queue.store_health().slow), (1, false));

    gate.hang(true);
    let handed_over = {
        let queue = queue.clone();
        runtime.spawn(async move { queue.accept(accept(2)).await })
    };
    gate.wait_for_hang();
    let unknown = runtime.block_on(handed_over).expect("no panic");
    assert!(matches!(unknown, Err(QueueError::Store(StoreError::OutcomeUnknown))), "{unknown:?}");
    for n in 3..6 {
        let slow = runtime.block_on(queue.accept(accept(n)));
        assert!(matches!(slow, Err(QueueError::Store(StoreError::Slow))), "{slow:?}");
    }
    let keys = vec![Dedup { key: [7; 16], fingerprint: 7 }];
    let slow = runtime.block_on(queue.find_keys(keys));
    assert!(matches!(slow, Err(QueueError::Store(StoreError::Slow))), "{slow:?}");
    clock.advance(Duration::from_secs(45));
    let health = queue.store_health();
    assert!(health.slow && health.operation_age >= Duration::from_secs(45), "{health:?}");
    assert_eq!(waiting(&queue), 1, "not known to be durable");

    gate.hang(false);
    runtime.block_on(queue.accept(accept(6))).expect("accepts again");
    let counted = async {
        while waiting(&queue) != 3 {
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(counted);
    let idle = async {
        while queue.store_health().slow {
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(idle);
    assert_eq!(numbers(&runtime, &store), ["1", "2", "6"]);
    drop((queue, store));
    // The queue's gatherer holds on to the store for a moment.
    runtime.shutdown_timeout(Duration::from_secs(10));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    assert_eq!(numbers(&runtime, &open(dir.path(), &clock, OsDisk)), ["1", "2", "6"]);
}

/// What a caller was not told in time counts once the store says that it is durable, under its policy and its door,
/// too.
#[test]
fn what_was_unknown_to_its_caller_counts_when_it_is_durable_and_once() {
    let recorded = Recorded::new();
    let dir = tempfile::tempdir().expect("temporary directory");
    let (gate, clock) = (Gate::default(), Clock::manual(Timestamp::from_millis(1_000)));
    // Of one thread, which is the one that is recorded.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _local = recorded.set();
    let store = Arc::new(open(dir.path(), &clock, gate.clone()));
    let bound = Duration::from_millis(100);
    let (queue, _signals) =
        runtime.block_on(Queue::open_within(store.clone(), clock.clone(), bound)).expect("opens");
    let with_key = || {
        let dedup = Some(Dedup { key: [9; 16], fingerprint: 9 });
        vec![NewEvent { dedup, source: EventSource::Stdin, ..accept(1).remove(0) }]
    };
    gate.hang(true);
    let unknown = runtime.block_on(queue.accept(with_key()));
    assert!(matches!(unknown, Err(QueueError::Store(StoreError::OutcomeUnknown))), "{unknown:?}");
    let enqueued = |label: &str| recorded.sum("tidegate_events_enqueued_total", label);
    assert_eq!((queue.ledger().accepted, enqueued("")), (0, 0.0), "nobody knows");
    gate.hang(false);
    runtime.block_on(async {
        while queue.ledger().accepted == 0 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!((enqueued("source=\"stdin\""), enqueued("")), (1.0, 1.0));
    let again = runtime.block_on(queue.accept(with_key())).expect("answers");
    assert!(matches!(again[..], [Appended::Duplicate(_)]), "{again:?}");
    let ledger = queue.ledger();
    assert_eq!(
        (ledger.accepted, ledger.ready, enqueued("")),
        (1, 1, 1.0),
        "a repetition is none: {ledger:?}"
    );
}

/// When the process ends before the store has said so, the next one finds it.
#[test]
fn what_was_unknown_when_the_process_ended_is_accepted_by_the_next_one() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (gate, clock) = (Gate::default(), Clock::manual(Timestamp::from_millis(1_000)));
    let runtime = two_threads();
    let store = Arc::new(open(dir.path(), &clock, gate.clone()));
    let bound = Duration::from_millis(100);
    let (queue, signals) =
        runtime.block_on(Queue::open_within(store.clone(), clock.clone(), bound)).expect("opens");
    gate.hang(true);
    let unknown = runtime.block_on(queue.accept(accept(1)));
    assert!(matches!(unknown, Err(QueueError::Store(StoreError::OutcomeUnknown))), "{unknown:?}");
    let ledger = queue.ledger();
    drop((queue, signals));
    // Nothing counts any more from here on, as after a crash; the write itself reaches the disk.
    runtime.shutdown_timeout(Duration::from_secs(1));
    assert_eq!((ledger.accepted, ledger.ready), (0, 0), "{ledger:?}");
    gate.hang(false);
    drop(store);
    let runtime = two_threads();
    let store = Arc::new(open(dir.path(), &clock, OsDisk));
    let (queue, _signals) = runtime.block_on(Queue::open(store, clock)).expect("opens");
    let ledger = queue.ledger();
    assert_eq!((ledger.accepted, ledger.ready, ledger.lost), (1, 1, 0), "{ledger:?}");
}
