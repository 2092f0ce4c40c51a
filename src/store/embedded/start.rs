//! Putting the store together: recovery, a new segment, the three threads; and taking the threads down.
//!
//! Must not know: what travels through the threads.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::cache::BlockCache;
use super::damaged::DamagedBlocks;
use super::indexer::{IndexThread, Sweeper};
use super::losses::Losses;
use super::owed::Owed;
use super::reads::Reads;
use super::recover::{self, RecoveryReport};
use super::scrub::Scrub;
use super::shared::{Figures, Shared};
use super::unread::Unread;
use super::writer::{Pending, Request, Writer};
use super::{Disks, EmbeddedOptions, salt};
use crate::clock::{Clock, Timestamp};
use crate::store::clock_mark;
use crate::store::directory::DataDir;
use crate::store::documents::Documents;
use crate::store::doubts::Doubts;
use crate::store::index::guarded;
use crate::store::index::open::Opened;
use crate::store::journal::{DeadLog, Group, Journal, JournalOptions, Reader};
use crate::store::{StoreError, UsageLog};

/// Commits that may wait for the indexer.
const COMMITS_AHEAD: usize = 4;

/// A running store.
pub(super) struct Started {
    pub shared: Arc<Shared>,
    pub threads: Threads,
    pub report: RecoveryReport,
    pub documents: Documents,
}

/// The ways into the threads, and their handles.
pub(super) struct Threads {
    requests: Option<Sender<Request>>,
    /// Asks the sweeper for a round; it stops when this is closed.
    sweeps: Option<Sender<oneshot::Sender<()>>>,
    /// Asks the scrub for a pass; it stops when this is closed.
    scrubs: Option<Sender<oneshot::Sender<()>>>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn send(&self, request: Request) -> Result<(), ()> {
        self.requests.as_ref().ok_or(())?.send(request).map_err(|_| ())
    }

    /// Returns after a round of the sweeper that began after the call.
    #[cfg(test)]
    pub(super) fn sweep(&self) {
        let (done, swept) = oneshot::channel();
        self.sweeps.as_ref().expect("runs").send(done).expect("sweeps");
        swept.blocking_recv().expect("sweeps");
    }

    /// Returns after a pass of the scrub that began after the call.
    #[cfg(test)]
    pub(super) fn scrub(&self) {
        let (done, scrubbed) = oneshot::channel();
        self.scrubs.as_ref().expect("runs").send(done).expect("scrubs");
        scrubbed.blocking_recv().expect("scrubs");
    }

    pub(super) fn requests(&self) -> Option<Sender<Request>> {
        self.requests.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The sweeper and the scrub end when they are stopped, the writer when no request can come from callers, reads
        // or the scrub, the indexer when neither the writer nor the sweeper can send it anything.
        self.requests = None;
        self.sweeps = None;
        self.scrubs = None;
        for handle in self.handles.drain(..) {
            // A panic of a thread was already told to those who waited for it.
            let _ = handle.join();
        }
    }
}

pub(super) fn start(
    root: &Path,
    options: EmbeddedOptions,
    clock: Clock,
    disks: Disks,
) -> Result<Started, StoreError> {
    let dir = DataDir::open(root)?;
    let doubts = Doubts::open(root, clock.now())?;
    // Before any thread runs: a doubt about the policy book holds deletions.
    let documents = Documents::open(root, doubts.clone(), clock.clone())?;
    let salt::Kept { salt, report } = salt::keep(root, options.salt)?;
    if let Some(report) = report {
        doubts.raise(report, clock.now());
    }
    let recovered = recover::recover(&dir, &options, salt, None)?;
    let newest = Timestamp::from_millis(recovered.newest_ms);
    let mark = clock_mark::begin(root, &clock, newest, options.clock_bound, &doubts)?;
    let now = clock.now();
    if recovered.files.is_empty() && recovered.report.rebuilt.is_none() {
        // No segment, nor an index that knows of one: nothing was ever accepted. Before the first segment is begun:
        // a directory that has one and no record has lost the record.
        UsageLog::lay(&dir.limits())?;
    }
    let journal_options =
        JournalOptions { segment_bytes: options.segment_bytes, segment_age: options.segment_age, salt };
    let journal =
        Journal::open_on(&dir.journal(), journal_options, recovered.seen_segment, now, disks.journal)?;
    let (dead, letters) =
        DeadLog::open_on(&dir.dead(), journal_options, options.dead_retention, now, disks.dead)?;
    let settled = recovered.files.iter().filter(|file| file.settled).map(|file| file.number).collect();
    let Opened { db, mut indexer, reader, dedup, .. } = recovered.opened;
    let end = journal.end();
    indexer.segments.begin(end.segment);
    guarded(|| indexer.rows.commit(end)).map_err(|error| StoreError::Io {
        operation: "write",
        path: dir.index().display().to_string(),
        reason: error.to_string(),
    })?;
    let report = recovered.report;
    let figures = Figures::default();
    figures.found(&report.journal);
    figures.found(&letters);
    figures.dead_entries.store(dead.letters(), Ordering::Relaxed);
    if letters.damaged > 0 {
        let (damaged, lost) = (letters.damaged, letters.lost_entries);
        tracing::warn!(damaged, lost, "dead letters are damaged; the bytes were set aside");
    }
    let shared = Arc::new(Shared {
        reader,
        db,
        lanes: Arc::clone(&indexer.lanes),
        segments: Arc::clone(&indexer.segments),
        blocks: Reader::over(&dir.journal(), salt, disks.reads),
        cache: BlockCache::new(options.block_cache_bytes),
        damaged: DamagedBlocks::default(),
        unread: Unread::new(&doubts),
        losses: Losses::default(),
        clock,
        options,
        salt,
        figures,
        doubts,
        applying: Mutex::new(()),
        dir,
    });
    let (work, works) = mpsc::sync_channel(COMMITS_AHEAD);
    let (requests, received) = mpsc::channel();
    let (sweeps, asked) = mpsc::channel();
    let active = Arc::new(AtomicU32::new(end.segment));
    let writer = Writer {
        shared: Arc::clone(&shared),
        journal,
        dead,
        dedup,
        indexer: work.clone(),
        newest_ms: recovered.newest_ms,
        group: Group::default(),
        pending: Pending::default(),
        owed: Owed::default(),
        upkeep_done: Timestamp::ZERO,
    };
    let index = IndexThread { shared: Arc::clone(&shared), indexer, active: Arc::clone(&active) };
    let (scrubs, scrub_asked) = mpsc::channel();
    let scrub = Scrub {
        reads: Reads { shared: Arc::clone(&shared), requests: requests.clone() },
        bytes_per_second: shared.options.scrub_bytes_per_second,
        active: Arc::clone(&active),
    };
    let sweeper = Sweeper { shared: Arc::clone(&shared), work: work.clone(), active, settled, mark };
    let handles = vec![
        spawn("store-writer", &shared, move || writer.run(&received))?,
        spawn("store-sweeper", &shared, move || sweeper.run(&asked))?,
        spawn("store-index", &shared, move || index.run(&works))?,
        spawn("store-scrub", &shared, move || scrub.run(&scrub_asked))?,
    ];
    shared.dir.refill_ballast();
    let threads = Threads { requests: Some(requests), sweeps: Some(sweeps), scrubs: Some(scrubs), handles };
    Ok(Started { shared, threads, report, documents })
}

fn spawn(
    name: &'static str,
    shared: &Arc<Shared>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let watched = Arc::clone(shared);
    let guarded = move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            watched.figures.poison("a thread of the store panicked");
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(guarded).map_err(|error| StoreError::Io {
        operation: "start thread",
        path: name.to_owned(),
        reason: error.to_string(),
    })
}

/// Rebuilds the index and leaves the store closed.
pub(super) fn rebuild(root: &Path, options: &EmbeddedOptions) -> Result<RecoveryReport, StoreError> {
    let dir = DataDir::open(root)?;
    let salt = salt::keep(root, options.salt)?.salt;
    let recovered = recover::recover(&dir, options, salt, Some("as asked"))?;
    recovered.opened.db.flush().map_err(|error| StoreError::Io {
        operation: "flush",
        path: dir.index().display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(recovered.report)
}
