//! Putting the store together: recovery, a new segment, the three threads; and taking the threads down.
//!
//! Must not know: what travels through the threads.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::cache::BlockCache;
use super::damaged::DamagedBlocks;
use super::indexer::{IndexThread, Sweeper, Work};
use super::owed::Owed;
use super::recover::{self, RecoveryReport};
use super::shared::{Figures, Shared};
use super::writer::{Pending, Request, Writer};
use super::{Disks, EmbeddedOptions, salt};
use crate::clock::{Clock, Timestamp};
use crate::store::directory::DataDir;
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
}

/// The ways into the threads, and their handles.
pub(super) struct Threads {
    requests: Option<Sender<Request>>,
    work: Option<SyncSender<Work>>,
    /// Asks the sweeper for a round; it stops when this is closed.
    sweeps: Option<Sender<oneshot::Sender<()>>>,
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

    pub(super) fn work(&self) -> Option<SyncSender<Work>> {
        self.work.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // The writer ends when no request can come, the sweeper when it is stopped, the indexer when neither
        // of them nor a read can send it anything.
        self.requests = None;
        self.work = None;
        self.sweeps = None;
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
    let salt = salt::keep(root, options.salt)?;
    let recovered = recover::recover(&dir, &options, salt, None)?;
    clock.raise_to(Timestamp::from_millis(recovered.newest_ms));
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
        blocks: Reader::new(&dir.journal()),
        cache: BlockCache::new(options.block_cache_bytes),
        damaged: DamagedBlocks::default(),
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
    let sweeper = Sweeper { shared: Arc::clone(&shared), work: work.clone(), active, settled };
    let handles = vec![
        spawn("store-writer", &shared, move || writer.run(&received))?,
        spawn("store-sweeper", &shared, move || sweeper.run(&asked))?,
        spawn("store-index", &shared, move || index.run(&works))?,
    ];
    shared.dir.refill_ballast();
    let threads = Threads { requests: Some(requests), work: Some(work), sweeps: Some(sweeps), handles };
    Ok(Started { shared, threads, report })
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
    let salt = salt::keep(root, options.salt)?;
    let recovered = recover::recover(&dir, options, salt, Some("as asked"))?;
    recovered.opened.db.flush().map_err(|error| StoreError::Io {
        operation: "flush",
        path: dir.index().display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(recovered.report)
}
