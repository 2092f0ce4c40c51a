//! What the embedded record alone has to do: damage, faults, marks, growth. What every record does is in the suite of
//! the whole store.

mod damage;
mod disks;
mod faults;
mod growth;
mod history;
mod marks;
mod place;

use std::fs;
use std::path::Path;

use super::*;
use crate::store::embedded::journal::Disk;
use crate::store::memory::{MemoryUsages, RecordFails};

const NOW: Timestamp = Timestamp::from_millis(1_000);

fn ms(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn usage(limit: &str, count: u32, at_ms: u64, over_ms: u64) -> Usage {
    Usage { limit: limit.into(), count, at: ms(at_ms), over_at: ms(over_ms) }
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

    fn path(&self) -> PathBuf {
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
        self.log.record(self.log.owner(), usages.to_vec()).await.expect("records");
    }

    /// The next process: whatever stood open is simply gone.
    fn crash(&mut self) {
        self.log = log(self.dir.path());
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
