//! The directories that are damaged, and what they owe: the same history, ended in good order or by a kill.
//!
//! Must not know: how a directory is damaged or judged.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use tidegate::testkit::clock::{Clock, Timestamp};
use tidegate::testkit::event::{EventId, LaneKey, Settlement, Tries};
use tidegate::testkit::store::doubts::{DoubtKind, NewDoubt};
use tidegate::testkit::store::embedded::{EmbeddedOptions, EmbeddedStore};
use tidegate::testkit::store::{
    Appended, DocumentStore, EntryStore, Expect, NewEntry, ReadLimit, SettleRequest, StoredEntry, Usage,
    UsageStore, Version,
};

/// The name of the document that stands for the policy book.
pub(super) const BOOK: &str = "policies";
pub(super) const ALL: ReadLimit = ReadLimit { entries: 100_000, bytes: usize::MAX };
const LANES: [&str; 4] = ["orders@1", "mails@1;org=ACME", "orders@2", "-"];
const ROUNDS: u64 = 12;
/// Only the ballast is as large; it holds zeros.
pub(super) const LARGE_BYTES: u64 = 1 << 20;

/// How the process before the damage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Orderly,
    /// By SIGKILL: the directory as it was at a moment while the store was open.
    Killed,
}

impl End {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Orderly => "orderly",
            Self::Killed => "killed",
        }
    }
}

/// An entry that is owed an end.
#[derive(Debug, Clone)]
pub(super) struct Owed {
    pub(super) record: Bytes,
    /// Accepted after the account had settled down: a kill leaves it behind the last mark.
    pub(super) is_late: bool,
}

/// What was acknowledged before the damage.
#[derive(Debug, Clone, Default)]
pub(super) struct Truth {
    pub(super) owed: BTreeMap<EventId, Owed>,
    /// Ended; may come back after damage, as a duplicate.
    pub(super) settled: BTreeMap<EventId, Bytes>,
    pub(super) letters: BTreeSet<EventId>,
    /// Ended behind the last mark: a store that loses the settlement with the journal counts them as lost.
    pub(super) ended_late: u64,
    pub(super) book: Bytes,
    pub(super) usages: Vec<Usage>,
}

/// A directory and what it owes.
pub(super) struct Base {
    pub(super) dir: tempfile::TempDir,
    pub(super) end: End,
    pub(super) truth: Truth,
}

pub(super) fn lanes() -> impl Iterator<Item = LaneKey> {
    LANES.iter().map(|lane| LaneKey::new(lane).expect("a lane"))
}

/// The machine's: a manual one keeps no mark of itself in the directory.
pub(super) fn clock() -> Clock {
    Clock::system()
}

/// Small segments and caches.
pub(super) fn options() -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: 8 * 1024,
        settle_delay: Duration::from_millis(1),
        cache_bytes: 1 << 20,
        block_cache_bytes: 64 * 1024,
        needed_bytes: 0,
        salt: 0x5eed_0123_4567_89ab,
        ..EmbeddedOptions::default()
    }
}

/// A place for directories: memory where there is some, so that thousands of starts cost no disk time.
pub(super) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("tidegate-damage").tempdir_in(parent).expect("a directory")
}

impl Base {
    /// Builds the directory. Takes about a second.
    pub(super) fn build(end: End, seed: u64) -> Self {
        let dir = scratch();
        let root = dir.path().join("data");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .expect("runtime");
        let store = EmbeddedStore::open(&root, options(), clock()).expect("a store");
        let mut history = History { store, rng: fastrand::Rng::with_seed(seed), truth: Truth::default() };
        runtime.block_on(history.unfold());
        let truth = match end {
            End::Orderly => {
                let usages = history.truth.usages.clone();
                let record = history.store.usages();
                runtime.block_on(record.close(record.owner(), usages)).expect("the record closes");
                runtime.block_on(history.store.close()).expect("closes");
                let History { store, truth, .. } = history;
                drop(store);
                truth
            }
            End::Killed => {
                // Longer than the account's mark may be old.
                std::thread::sleep(Duration::from_millis(400));
                runtime.block_on(history.late());
                snapshot(&root, &dir.path().join("killed"));
                let History { store, truth, .. } = history;
                drop(store);
                fs::remove_dir_all(&root).expect("goes");
                fs::rename(dir.path().join("killed"), &root).expect("takes its place");
                truth
            }
        };
        let quarantine = root.join("journal/quarantine");
        fs::create_dir_all(&quarantine).expect("a directory");
        fs::write(quarantine.join("0000000001-4096.bin"), [7; 900]).expect("written");
        Self { dir, end, truth }
    }

    pub(super) fn root(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// Copies until two copies in a row are the same: then nothing was written in between.
fn snapshot(from: &Path, to: &Path) {
    for _ in 0..200 {
        let _ = fs::remove_dir_all(to);
        // A name may go while it is copied.
        if copy(from, to).is_ok() && super::tree::same(from, to) {
            return;
        }
    }
    panic!("the directory does not hold still");
}

/// Copies plain files and directories. What is large stays a hole.
pub(super) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, copied) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata()?;
        if meta.is_dir() {
            copy(&path, &copied)?;
        } else if meta.len() >= LARGE_BYTES {
            fs::File::create(&copied)?.set_len(meta.len())?;
        } else {
            fs::copy(&path, &copied)?;
        }
        fs::set_permissions(&copied, meta.permissions())?;
    }
    Ok(())
}

/// The store while its history is made.
struct History {
    store: EmbeddedStore,
    rng: fastrand::Rng,
    truth: Truth,
}

impl History {
    async fn unfold(&mut self) {
        self.small_files().await;
        let mut first_round = BTreeSet::new();
        for round in 0..ROUNDS {
            for (lane, entries) in lanes().zip([9, 8, 7, 5]) {
                self.append(&lane, entries, false, false).await;
                self.append(&lane, 2, true, false).await;
            }
            if round == 0 {
                first_round = self.truth.owed.keys().copied().collect();
            }
            self.settle(round, &first_round).await;
        }
        self.doubts().await;
    }

    /// What is accepted and decided just before a kill.
    async fn late(&mut self) {
        for lane in lanes() {
            self.append(&lane, 5, false, true).await;
        }
        let lane = lanes().next().expect("a lane");
        let entries = self.store.read_ready(&lane, None, ALL).await.expect("reads");
        self.end_of(&lane, &entries[3], Settlement::Delivered).await;
        self.truth.ended_late += 1;
    }

    async fn small_files(&mut self) {
        let documents = self.store.documents();
        let body = |pace: u32| Bytes::from(format!("{{\"format\":3,\"pace\":{pace},\"policies\":[]}}"));
        documents.put(BOOK, Expect::Absent, body(100)).await.expect("written");
        documents.put(BOOK, Expect::At(Version(1)), body(200)).await.expect("written");
        documents.put("other", Expect::Absent, Bytes::from_static(b"{}")).await.expect("written");
        self.truth.book = body(200);
        let usages = self.store.usages();
        usages.open(clock().now()).await.expect("opens");
        for (limit, count) in [("orders", 40), ("mails", 2)] {
            let hour = Duration::from_secs(3600);
            let (at, over_at) = (clock().now() + hour, clock().now() + hour * 24);
            let usage = Usage { limit: limit.into(), count, at, over_at };
            usages.record(usages.owner(), vec![usage.clone()]).await.expect("recorded");
            self.truth.usages.push(usage);
        }
    }

    /// A doubt of each of two moments, so that the list and the one before it are there.
    async fn doubts(&self) {
        for subject in ["stray", "another"] {
            let doubt = NewDoubt {
                kind: DoubtKind::Files,
                subject: subject.to_owned(),
                detail: "made by a test".to_owned(),
                way_out: "none is needed".to_owned(),
                events: 0,
            };
            self.store.doubts().raise(doubt, clock().now());
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    async fn append(&mut self, lane: &LaneKey, entries: u64, delayed: bool, is_late: bool) {
        let due = |n: u64| delayed.then(|| clock().now() + Duration::from_secs(3600 + n));
        let batch: Vec<NewEntry> = (0..entries)
            .map(|n| {
                let bytes = self.rng.usize(40..220);
                let record: Bytes = std::iter::repeat_with(|| self.rng.u8(..)).take(bytes).collect();
                NewEntry { lane: lane.clone(), due_at: due(n), record, dedup: None }
            })
            .collect();
        let records: Vec<Bytes> = batch.iter().map(|entry| entry.record.clone()).collect();
        let answers = self.store.append(batch).await.expect("appends");
        for (answer, record) in answers.into_iter().zip(records) {
            let Appended::New(id) = answer else { panic!("{answer:?}") };
            self.truth.owed.insert(id, Owed { record, is_late });
        }
    }

    /// Ends and reschedules some. Of the second to fourth round every entry ends, and one of the first round: their
    /// segments hold no living entry, and settlements of living segments.
    async fn settle(&mut self, round: u64, first_round: &BTreeSet<EventId>) {
        let ends_all = (1..4).contains(&round);
        for lane in lanes() {
            let later = clock().now() + Duration::from_secs(7200 + round);
            let entries = self.store.read_ready(&lane, None, ALL).await.expect("reads");
            let newest = entries.len().saturating_sub(3);
            for (n, entry) in entries.iter().enumerate() {
                let is_new = !first_round.contains(&entry.id);
                if !(ends_all && (is_new || n == 0) || !ends_all && n >= newest) {
                    continue;
                }
                let settlement = match n % 8 {
                    0 => Settlement::Dead { reason: "http_404".to_owned(), attempts: 3 },
                    1 => Settlement::Cancelled,
                    2 if !ends_all => {
                        Settlement::Reschedule { due_at: later, tries: Tries::of(1), doubted_at: None }
                    }
                    _ => Settlement::Delivered,
                };
                self.end_of(&lane, entry, settlement).await;
            }
            let due = self.store.read_due(&lane, Timestamp::MAX, &Default::default(), ALL).await;
            let due = due.expect("reads").entries;
            for entry in due.iter().filter(|entry| ends_all && !first_round.contains(&entry.id)) {
                self.end_of(&lane, entry, Settlement::Expired).await;
            }
        }
    }

    async fn end_of(&mut self, lane: &LaneKey, entry: &StoredEntry, settlement: Settlement) {
        match &settlement {
            Settlement::Reschedule { .. } => {}
            ended => {
                if let Some(owed) = self.truth.owed.remove(&entry.id) {
                    self.truth.settled.insert(entry.id, owed.record);
                }
                if matches!(ended, Settlement::Dead { .. }) {
                    self.truth.letters.insert(entry.id);
                }
            }
        }
        let settle =
            SettleRequest { why: None, lane: lane.clone(), id: entry.id, due_at: entry.due_at, settlement };
        self.store.settle(self.store.owner(), vec![settle]).await.expect("settles");
    }
}
