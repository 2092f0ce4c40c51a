//! Random histories against the model, over a disk that loses in a crash what was not synced.

use proptest::prelude::*;

use super::disks::PowerCut;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Record(Vec<(u8, u32, u64, u64)>),
    /// Several calls at once.
    Together(Vec<(u8, u32, u64, u64)>),
    Crash,
    Close(Vec<(u8, u32, u64, u64)>),
    /// Time passes before the next opening.
    Wait(u64),
    Lose,
    /// A write that never came to its end.
    Tear(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let one = || (0..4_u8, 0..5_u32, 0..3_u64, 0..40_u64);
    let some = move || prop::collection::vec(one(), 0..6);
    prop_oneof![
        8 => some().prop_map(Step::Record),
        3 => some().prop_map(Step::Together),
        3 => Just(Step::Crash),
        2 => some().prop_map(Step::Close),
        3 => (0..10_u64).prop_map(Step::Wait),
        1 => Just(Step::Lose),
        2 => (1..60_u8).prop_map(Step::Tear),
    ]
}

fn usages(some: &[(u8, u32, u64, u64)]) -> Vec<Usage> {
    some.iter()
        .map(|(limit, count, at, over)| Usage {
            limit: format!("limit {limit}").into(),
            count: *count,
            // Half milliseconds: moments are rounded.
            at: Timestamp::from_nanos(at * 500_000),
            over_at: Timestamp::from_nanos(over * 500_000 + 1_000_000_000),
        })
        .collect()
}

struct History {
    dir: tempfile::TempDir,
    log: UsageLog,
    model: MemoryUsages,
    now: Timestamp,
}

impl History {
    async fn begin(honest: bool) -> Self {
        let dir = tempfile::tempdir().expect("temp");
        UsageLog::lay(dir.path()).expect("lays");
        let log = log_on(dir.path(), PowerCut { honest, unsynced: Vec::new() });
        let mut history = Self { dir, log, model: MemoryUsages::new(), now: NOW };
        history.compare().await;
        history
    }

    async fn compare(&mut self) {
        let found = self.log.open(self.now).await.expect("opens");
        assert_eq!(found, self.model.open(self.now).await.expect("opens"));
    }

    async fn reopen(&mut self, meanwhile: impl FnOnce(&Path)) {
        meanwhile(&rewrite::path(self.dir.path()));
        self.log = log_on(self.dir.path(), PowerCut { honest: true, unsynced: Vec::new() });
        self.compare().await;
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Record(some) => {
                self.log.record(self.log.owner(), usages(&some)).await.expect("records");
                self.model.record(self.model.owner(), usages(&some)).await.expect("records");
            }
            Step::Together(some) => {
                let calls = usages(&some).into_iter().map(|one| self.log.record(self.log.owner(), vec![one]));
                for done in futures_util::future::join_all(calls).await {
                    done.expect("records");
                }
                self.model.record(self.model.owner(), usages(&some)).await.expect("records");
            }
            Step::Crash => {
                self.model = self.model.crash();
                self.reopen(|_| ()).await;
            }
            Step::Close(some) => {
                self.log.close(self.log.owner(), usages(&some)).await.expect("closes");
                self.model.close(self.model.owner(), usages(&some)).await.expect("closes");
                self.model = self.model.crash();
                self.reopen(|_| ()).await;
            }
            Step::Wait(half_ms) => self.now = self.now + std::time::Duration::from_micros(half_ms * 500),
            Step::Lose => {
                self.model = self.model.lose();
                self.reopen(|path| fs::remove_file(path).expect("deletes")).await;
            }
            Step::Tear(bytes) => {
                self.model = self.model.crash();
                self.reopen(|path| {
                    let whole = fs::read(path).expect("reads");
                    let mut line = Vec::new();
                    format::put_usage(&mut line, &usage("torn", 1, 1, 9_000), true).expect("encodes");
                    let part = &line[..usize::from(bytes).min(line.len() - 1)];
                    fs::write(path, [&whole, part].concat()).expect("writes");
                })
                .await;
            }
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_random_history_reads_like_the_model(steps in prop::collection::vec(step(), 1..24)) {
        runtime().block_on(async {
            let mut history = History::begin(true).await;
            for step in steps {
                history.step(step).await;
            }
            history.step(Step::Crash).await;
        });
    }
}

/// The histories above would see a loss: here a disk says it has synced and has not.
#[test]
#[should_panic(expected = "left == right")]
fn a_disk_that_lies_is_noticed() {
    runtime().block_on(async {
        let mut history = History::begin(false).await;
        history.step(Step::Record(vec![(1, 1, 1, 39)])).await;
        history.step(Step::Crash).await;
    });
}
