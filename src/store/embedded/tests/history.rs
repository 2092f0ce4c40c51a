//! Random histories against the model, with crashes and a damaged index in between; crashes at any instant.

use proptest::prelude::*;

use super::*;
use crate::store::embedded::account::living;

/// One step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<(u8, Option<u16>, Option<u8>)>),
    SettlePlain {
        lane: u8,
        at: usize,
        reschedule: Option<u16>,
    },
    SettleDue {
        lane: u8,
        at: usize,
        reschedule: Option<u16>,
    },
    Reopen,
    LoseIndex,
    /// The closing list of an earlier stop, if there was one, in the place of the last one.
    LoseIndexAndSwapList,
    /// Flips bits of the index.
    DamageIndex(u64),
    /// What is on the disk, with an index that was never flushed, is flushed, or is just being flushed.
    Crash(Flush),
}

#[derive(Debug, Clone, Copy)]
enum Flush {
    Never,
    Before,
    Meanwhile,
}

fn step() -> impl Strategy<Value = Step> {
    let entry = (0..3_u8, proptest::option::of(0..50_u16), proptest::option::weighted(0.2, 0..6_u8));
    let reschedule = || proptest::option::of(0..50_u16);
    let flush = prop_oneof![Just(Flush::Never), Just(Flush::Before), Just(Flush::Meanwhile)];
    prop_oneof![
        8 => prop::collection::vec(entry, 1..6).prop_map(Step::Append),
        8 => (0..3_u8, 0..8_usize, reschedule())
            .prop_map(|(lane, at, reschedule)| Step::SettlePlain { lane, at, reschedule }),
        8 => (0..3_u8, 0..8_usize, reschedule())
            .prop_map(|(lane, at, reschedule)| Step::SettleDue { lane, at, reschedule }),
        2 => Just(Step::Reopen),
        1 => Just(Step::LoseIndex),
        1 => Just(Step::LoseIndexAndSwapList),
        2 => any::<u64>().prop_map(Step::DamageIndex),
        3 => flush.prop_map(Step::Crash),
    ]
}

const LANES: [&str; 3] = ["a", "b", "c"];

async fn settle_one(store: &dyn EntryStore, name: &str, due: bool, at: usize, reschedule: Option<u16>) {
    let lane = lane(name);
    let entries = if due {
        let page = store.read_due(&lane, Timestamp::MAX, &HashSet::new(), ALL).await;
        page.expect("reads").entries
    } else {
        store.read_ready(&lane, None, ALL).await.expect("reads")
    };
    let Some(entry) = entries.get(at) else { return };
    let settlement = match reschedule {
        Some(due) => Settlement::Reschedule {
            due_at: Timestamp::from_millis(due.into()),
            tries: entry.tries.and_attempt(),
            doubted_at: (due % 2 == 0).then(|| Timestamp::from_millis(u64::from(due) / 2)),
        },
        None => Settlement::Delivered,
    };
    let settle = SettleRequest { why: None, lane, id: entry.id, due_at: entry.due_at, settlement };
    store.settle(store.owner(), vec![settle]).await.expect("settles");
    let found = store.lookup(entry.id).await.expect("looks up");
    assert_eq!(matches!(found, Lookup::Waiting(..)), reschedule.is_some());
}

fn kinds(answers: &[Appended]) -> Vec<u8> {
    answers
        .iter()
        .map(|answer| match answer {
            Appended::New(_) => 0,
            Appended::Duplicate(_) => 1,
            Appended::Conflict(_) => 2,
        })
        .collect()
}

/// Over a disk that keeps writes back until they are synced, as a power cut shows them. Nothing is swept: with its
/// segment an idempotency key may be forgotten when the index is lost, and with it the likeness to the model.
fn quiet(dir: &Path) -> EmbeddedStore {
    let options = EmbeddedOptions { sweep_every: Duration::from_secs(3600), ..options() };
    let disk = PowerCut { honest: true, unsynced: Vec::new() };
    EmbeddedStore::open_on(dir, options, clock(), journal_on(disk)).expect("opens")
}

struct History {
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    model: MemoryStore,
    store: Option<EmbeddedStore>,
    serial: u32,
    /// An earlier closing list.
    list: Option<Vec<u8>>,
    /// Damage may take keys, which the index's check leaves out: from then on there are none.
    keyed: bool,
}

impl History {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let store = Some(quiet(dir.path()));
        Self {
            runtime: runtime(),
            dir,
            model: MemoryStore::new(clock()),
            store,
            serial: 0,
            list: None,
            keyed: true,
        }
    }

    fn store(&self) -> &EmbeddedStore {
        self.store.as_ref().expect("open")
    }

    fn reopen(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.store = None;
        let list = fs::read(self.dir.path().join(living::NAME)).ok();
        meanwhile(self.dir.path());
        self.store = Some(quiet(self.dir.path()));
        self.list = list.or(self.list.take());
        assert!(!self.dir.path().join(living::NAME).exists(), "the store has begun again");
        assert_eq!((self.store().health().damaged, self.store().health().lost_entries), (0, 0));
    }

    fn append(&mut self, entries: &[(u8, Option<u16>, Option<u8>)]) {
        let batch = entries.iter().map(|(lane_no, due, key)| {
            self.serial += 1;
            let due_at = due.map(|due| Timestamp::from_millis(due.into()));
            let fingerprint = u64::from(self.serial % 2);
            let dedup = key.filter(|_| self.keyed).map(|key| Dedup { key: [key; 16], fingerprint });
            let record = format!("{:04}", self.serial);
            NewEntry { due_at, dedup, ..plain(LANES[usize::from(*lane_no)], &record) }
        });
        let batch: Vec<NewEntry> = batch.collect();
        let expected = self.runtime.block_on(self.model.append(batch.clone())).expect("appends");
        let got = self.runtime.block_on(self.store().append(batch)).expect("appends");
        assert_eq!(kinds(&got), kinds(&expected));
    }

    fn settle(&self, lane: u8, due: bool, at: usize, reschedule: Option<u16>) {
        for store in [&self.model as &dyn EntryStore, self.store()] {
            self.runtime.block_on(settle_one(store, LANES[usize::from(lane)], due, at, reschedule));
        }
    }

    fn crash(&mut self, flush: Flush) {
        let crashed = tempfile::tempdir().expect("temporary directory");
        let flushed = || self.store().shared.db.flush(Duration::MAX).expect("flushes");
        std::thread::scope(|scope| {
            match flush {
                Flush::Never => {}
                Flush::Before => flushed(),
                Flush::Meanwhile => drop(scope.spawn(flushed)),
            }
            copy(self.dir.path(), crashed.path());
        });
        self.store = None;
        self.dir = crashed;
        self.reopen(|_| ());
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(entries) => self.append(&entries),
            Step::SettlePlain { lane, at, reschedule } => self.settle(lane, false, at, reschedule),
            Step::SettleDue { lane, at, reschedule } => self.settle(lane, true, at, reschedule),
            Step::Reopen => self.reopen(|_| ()),
            Step::LoseIndex => self.reopen(lose),
            Step::LoseIndexAndSwapList => {
                let list = self.list.take();
                self.reopen(|dir| {
                    lose(dir);
                    list.iter().for_each(|list| fs::write(dir.join(living::NAME), list).expect("writes"));
                });
            }
            Step::DamageIndex(seed) => {
                self.keyed = false;
                self.reopen(|dir| damage_index(dir, seed));
            }
            Step::Crash(flush) => self.crash(flush),
        }
    }

    fn compare(&self) {
        let of = |store: &dyn EntryStore| {
            let lanes = self.runtime.block_on(store.lanes()).expect("lists").into_iter();
            let lanes: Vec<_> =
                lanes.map(|lane| (lane.lane, lane.ready, lane.delayed, lane.next_due)).collect();
            (self.runtime.block_on(contents(store, &LANES)), lanes)
        };
        assert_eq!(of(self.store()), of(&self.model));
    }
}

fn lose(dir: &Path) {
    fs::remove_dir_all(dir.join("index")).expect("deletes");
}

fn damage_index(dir: &Path, seed: u64) {
    let (file, mut rng) = (dir.join("index/db"), fastrand::Rng::with_seed(seed));
    let mut bytes = fs::read(&file).expect("reads");
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    for _ in 0..4 {
        bytes[rng.usize(..used)] ^= 1 << rng.u8(..8);
    }
    fs::write(&file, bytes).expect("writes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_histories_end_as_in_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let mut history = History::new();
        for step in steps {
            history.step(step);
            history.compare();
        }
    }
}

/// The replay of frames that the index has already leaves the lane's earlier number on record beside the present one.
#[test]
fn a_lane_that_came_back_under_another_number_is_read_after_a_crash_and_a_restart() {
    for flush in [Flush::Never, Flush::Before] {
        let mut history = History::new();
        let steps = [
            Step::Append(vec![(2, None, None)]),
            Step::SettlePlain { lane: 2, at: 0, reschedule: None },
            Step::Append(vec![(2, None, None), (2, Some(25), None)]),
            Step::Crash(flush),
            Step::Reopen,
            Step::Append(vec![(2, None, None)]),
            Step::Reopen,
            Step::SettlePlain { lane: 2, at: 0, reschedule: None },
            Step::SettlePlain { lane: 2, at: 0, reschedule: None },
            Step::SettleDue { lane: 2, at: 0, reschedule: None },
            Step::Append(vec![(2, None, None)]),
            Step::Reopen,
        ];
        for step in steps {
            history.step(step);
            history.compare();
        }
    }
}

#[test]
fn a_crash_at_any_instant_costs_nothing_that_was_answered() {
    let (dir, crashed) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
    let (store, runtime) = (quiet(dir.path()), runtime());
    let (answered, begun) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let record = |n: usize| format!("{n:06}");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0.. {
                begun.store(3 * n + 3, Ordering::SeqCst);
                let batch = (3 * n..3 * n + 3).map(|n| plain("a", &record(n))).collect();
                runtime.block_on(store.append(batch)).expect("appends");
                answered.store(3 * n + 3, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                store.shared.db.flush(Duration::MAX).expect("flushes");
            }
        });
        for round in 0..20 {
            let before = answered.load(Ordering::SeqCst);
            let _ = fs::remove_dir_all(crashed.path());
            // The index is never newer than what is synced of the journal.
            for part in ["index", "journal", "documents"] {
                copy(&dir.path().join(part), &crashed.path().join(part));
            }
            let after = begun.load(Ordering::SeqCst);
            let store = quiet(crashed.path());
            let found = runtime.block_on(contents(&store, &["a"])).remove(0).0;
            assert!((before..=after).contains(&found.len()), "{round}: {before}, {}, {after}", found.len());
            assert!(found.iter().enumerate().all(|(n, found)| *found == record(n)), "{round}");
            assert_eq!((store.health().damaged, store.health().lost_entries), (0, 0), "{round}");
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert!(answered.load(Ordering::SeqCst) > 100, "too little happened to prove anything");
}
