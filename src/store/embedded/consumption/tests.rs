//! What every record of usages must do: one suite, run against each implementation.

mod damage;
mod disks;
mod faults;
mod growth;
mod history;
mod marks;
mod place;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::store::MAX_LIMIT_NAME_BYTES;
use crate::store::embedded::journal::Disk;
use crate::store::memory::{MemoryUsages, RecordFails};

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn usage(limit: &str, count: u32, at_ms: u64, over_ms: u64) -> Usage {
    Usage { limit: limit.into(), count, at: ms(at_ms), over_at: ms(over_ms) }
}

/// A record under test.
trait Subject {
    fn store(&self) -> Arc<dyn UsageStore>;
    /// The next process: whatever stood open is simply gone.
    fn crash(&mut self);
    fn lose(&mut self);
}

struct Memory(MemoryUsages);

impl Subject for Memory {
    fn store(&self) -> Arc<dyn UsageStore> {
        Arc::new(self.0.clone())
    }

    fn crash(&mut self) {
        self.0 = self.0.crash();
    }

    fn lose(&mut self) {
        self.0 = self.0.lose();
    }
}

struct Embedded {
    dir: tempfile::TempDir,
    log: UsageLog,
}

impl Embedded {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp");
        UsageLog::lay(dir.path()).expect("lays");
        let log = log(dir.path());
        Self { dir, log }
    }

    fn path(&self) -> std::path::PathBuf {
        rewrite::path(self.dir.path())
    }

    /// Leaves these bytes to the next process, and no mark: a version that had none wrote them.
    fn crash_with(&mut self, bytes: &[u8]) {
        let _ = fs::remove_file(mark::path(self.dir.path()));
        self.crash_marked(&unmarked(bytes));
    }

    /// Leaves these bytes to the next process, beside the mark as it is.
    fn crash_marked(&mut self, bytes: &[u8]) {
        fs::write(self.path(), bytes).expect("writes");
        self.crash();
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("reads")
    }

    async fn open(&self) -> UsageFound {
        self.log.open(NOW).await.expect("opens")
    }

    async fn record(&self, usages: &[Usage]) {
        self.log.record(usages.to_vec()).await.expect("records");
    }
}

impl Subject for Embedded {
    fn store(&self) -> Arc<dyn UsageStore> {
        Arc::new(self.log.clone())
    }

    fn crash(&mut self) {
        self.log = log(self.dir.path());
    }

    fn lose(&mut self) {
        fs::remove_file(self.path()).expect("deletes");
        self.crash();
    }
}

/// The record as a version that kept no marks wrote it.
fn unmarked(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (head, rest) = bytes.split_at(end);
    let text = String::from_utf8_lossy(head).into_owned();
    match text.split_once(' ') {
        Some((_, json)) if text.contains(",\"marked\":true") => {
            let json = json.trim_end().replace(",\"marked\":true", "");
            [format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).as_bytes(), rest].concat()
        }
        _ => bytes.to_vec(),
    }
}

fn log(dir: &Path) -> UsageLog {
    UsageLog::new(dir, Clock::manual(NOW))
}

fn log_on(dir: &Path, disk: impl Disk + 'static) -> UsageLog {
    UsageLog::new_on(dir, Clock::manual(NOW), Box::new(disk))
}

fn orderly(usages: &[Usage]) -> UsageFound {
    UsageFound { usages: usages.to_vec(), orderly: true, ..UsageFound::default() }
}

fn disorderly(usages: &[Usage]) -> UsageFound {
    UsageFound { orderly: false, ..orderly(usages) }
}

async fn a_new_record_is_empty_and_orderly(subject: &mut dyn Subject) {
    assert_eq!(subject.store().open(NOW).await.expect("opens"), orderly(&[]));
    subject.crash();
    assert_eq!(subject.store().open(NOW).await.expect("opens"), disorderly(&[]), "it was taken up");
}

async fn what_was_recorded_is_found_in_order(subject: &mut dyn Subject) {
    let store = subject.store();
    store.open(NOW).await.expect("opens");
    let long = "ü \"\\".repeat(MAX_LIMIT_NAME_BYTES / 5);
    let first = [usage("b", 2, 1_500, 9_000), usage("a", 1, 1_500, 9_000)];
    let second = [usage("b", 1, 1_501, 9_000), usage(&long, u32::MAX, 2, u64::MAX / 1_000_000)];
    store.record(first.to_vec()).await.expect("records");
    store.record(Vec::new()).await.expect("nothing to do");
    store.record(second.to_vec()).await.expect("records");
    let all = [first, second].concat();
    for _ in 0..2 {
        subject.crash();
        assert_eq!(subject.store().open(NOW).await.expect("opens"), disorderly(&all));
    }
    subject.store().record(vec![usage("c", 3, 1, 9_000)]).await.expect("records");
    subject.crash();
    let found = subject.store().open(NOW).await.expect("opens").usages;
    assert_eq!(found.last(), Some(&usage("c", 3, 1, 9_000)));
    assert_eq!(found[..4], all);
}

async fn what_is_over_is_not_taken_up(subject: &mut dyn Subject) {
    let store = subject.store();
    store.open(NOW).await.expect("opens");
    let all = [usage("a", 1, 1, 1_500), usage("b", 1, 1, 1_501), usage("c", 1, 1, 999)];
    store.record(all.to_vec()).await.expect("records");
    subject.crash();
    assert_eq!(subject.store().open(ms(1_499)).await.expect("opens").usages, all[..2]);
    subject.crash();
    assert_eq!(subject.store().open(ms(1_500)).await.expect("opens").usages, all[1..2]);
    subject.crash();
    assert_eq!(subject.store().open(NOW).await.expect("opens").usages, all[1..2], "gone for good");
}

async fn like_usages_are_summed_and_moments_rounded_up(subject: &mut dyn Subject) {
    let store = subject.store();
    store.open(NOW).await.expect("opens");
    let (at, over_at) = (Timestamp::from_nanos(1_500_000_001), Timestamp::from_nanos(1_999_000_001));
    let fine = Usage { limit: "a".into(), count: 2, at, over_at };
    let batch = vec![fine.clone(), usage("b", 1, 1, 3_000), usage("a", 3, 1_501, 2_000), fine];
    store.record(batch).await.expect("records");
    store.record(vec![usage("b", u32::MAX, 1, 3_000), usage("b", 4, 1, 3_000)]).await.expect("records");
    subject.crash();
    let found = subject.store().open(ms(1_999)).await.expect("opens").usages;
    // A sum that the number cannot hold stays in two.
    let sums = [usage("a", 7, 1_501, 2_000), usage("b", 1, 1, 3_000), usage("b", u32::MAX, 1, 3_000)];
    assert_eq!(found[..3], sums);
    assert_eq!(found[3..], [usage("b", 4, 1, 3_000)]);
}

async fn closing_replaces_everything(subject: &mut dyn Subject) {
    let store = subject.store();
    store.open(NOW).await.expect("opens");
    store.record(vec![usage("a", 10, 1_500, 9_000)]).await.expect("records");
    let left = [usage("a", 4, 1_200, 9_000), usage("b", 1, 1, 2)];
    store.close(left.to_vec()).await.expect("closes");
    subject.crash();
    assert_eq!(subject.store().open(NOW).await.expect("opens"), orderly(&left[..1]));
    subject.crash();
    assert_eq!(subject.store().open(NOW).await.expect("opens"), disorderly(&left[..1]));
}

async fn a_record_that_is_not_open_says_so(subject: &mut dyn Subject) {
    let store = subject.store();
    let one = vec![usage("a", 1, 1_500, 9_000)];
    assert!(matches!(store.record(one.clone()).await, Err(StoreError::Closed)), "not before it is opened");
    assert!(matches!(store.close(one.clone()).await, Err(StoreError::Closed)));
    assert_eq!(store.open(NOW).await.expect("opens"), orderly(&[]), "nothing came of it");
    store.close(one.clone()).await.expect("closes");
    assert!(matches!(store.record(one.clone()).await, Err(StoreError::Closed)));
    assert!(matches!(store.close(Vec::new()).await, Err(StoreError::Closed)));
    assert!(matches!(store.open(NOW).await, Err(StoreError::Closed)));
    assert_eq!(store.poisoned(), None);
    subject.crash();
    assert_eq!(subject.store().open(NOW).await.expect("opens"), orderly(&one));
}

async fn names_are_checked_and_nothing_is_recorded(subject: &mut dyn Subject) {
    let store = subject.store();
    store.open(NOW).await.expect("opens");
    for bad in ["", "a\nb", "\u{85}", &"x".repeat(MAX_LIMIT_NAME_BYTES + 1)] {
        let batch = vec![usage("good", 1, 1, 9_000), usage(bad, 1, 1, 9_000)];
        assert!(matches!(store.record(batch.clone()).await, Err(StoreError::Io { .. })), "{bad:?}");
        assert!(matches!(store.close(batch).await, Err(StoreError::Io { .. })), "{bad:?}");
    }
    assert_eq!(store.poisoned(), None);
    store.record(vec![usage("good", 1, 1, 9_000)]).await.expect("still open");
    subject.crash();
    let found = subject.store().open(NOW).await.expect("opens");
    assert_eq!(found, disorderly(&[usage("good", 1, 1, 9_000)]));
}

async fn a_lost_record_is_told_until_its_moment_is_past(subject: &mut dyn Subject) {
    let one = [usage("a", 1, 1_500, 9_000)];
    subject.store().open(NOW).await.expect("opens");
    subject.store().close(one.to_vec()).await.expect("closes");
    subject.lose();
    let lost = UsageFound { complete_from: ms(1_001), ..disorderly(&[]) };
    let opened = Timestamp::from_nanos(1_000_000_001);
    assert_eq!(subject.store().open(opened).await.expect("opens"), lost);
    subject.crash();
    assert_eq!(subject.store().open(ms(2_000)).await.expect("opens"), lost);
    subject.store().close(one.to_vec()).await.expect("closes");
    subject.crash();
    let told = UsageFound { complete_from: ms(1_001), ..orderly(&one) };
    assert_eq!(subject.store().open(ms(2_000)).await.expect("opens"), told);
}

macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&mut super::Memory(super::MemoryUsages::new())).await;
            })*
        }
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&mut super::Embedded::new()).await;
            })*
        }
    };
}

contract!(
    a_new_record_is_empty_and_orderly,
    what_was_recorded_is_found_in_order,
    what_is_over_is_not_taken_up,
    like_usages_are_summed_and_moments_rounded_up,
    closing_replaces_everything,
    a_record_that_is_not_open_says_so,
    names_are_checked_and_nothing_is_recorded,
    a_lost_record_is_told_until_its_moment_is_past,
);
