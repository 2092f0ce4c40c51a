//! The threads of an open store: how they are begun, how they are reached, and how they end.
//!
//! Must not know: how a start recovers, what travels through the threads.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::clock_mark::Keeper;
use super::indexer::{IndexThread, Sweeper};
use super::key_census::KeyCensus;
use super::owed::QueuedSettlements;
use super::reads::Reads;
use super::scrub::Scrub;
use super::shared::Shared;
use super::writer::{PendingRequests, Request, Writer};
use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::embedded::index::apply::Indexer;
use crate::store::embedded::index::dedup::DedupIndex;
use crate::store::embedded::index::room::IndexRoom;
use crate::store::embedded::journal::{DeadLog, FrameGroup, Journal};

/// Commits that may wait for the indexer.
const COMMITS_AHEAD: usize = 4;

/// The channels into the threads, and their handles. Dropping it closes the channels and waits for the threads.
pub(super) struct Threads {
    requests: Option<Sender<Request>>,
    /// Asks the sweeper for a round; it stops when this is closed.
    sweeps: Option<Sender<oneshot::Sender<()>>>,
    /// Asks the scrub for a pass; it stops when this is closed.
    scrubs: Option<Sender<oneshot::Sender<()>>>,
    handles: Vec<JoinHandle<()>>,
    room: Arc<IndexRoom>,
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
        self.room.set_waits(false);
        for handle in self.handles.drain(..) {
            // A panic of a thread was reported when it happened: `spawn` catches it and poisons the store.
            let _ = handle.join();
        }
    }
}

/// What a start hands to the threads, each part to one of them.
pub(super) struct ThreadParts {
    pub journal: Journal,
    pub dead: DeadLog,
    pub dedup: DedupIndex,
    pub indexer: Indexer,
    /// The newest acceptance so far, Unix ms.
    pub newest_ms: u64,
    /// Segments that are renamed to settled already.
    pub settled: HashSet<u32>,
    pub clock_mark: Keeper,
}

/// Begins the threads.
///
/// # Errors
/// [`StoreError::Io`] when the system refuses a thread; those that run already end when their channels are dropped.
pub(super) fn launch(shared: &Arc<Shared>, parts: ThreadParts) -> Result<Threads, StoreError> {
    let ThreadParts { journal, dead, dedup, indexer, newest_ms, settled, clock_mark } = parts;
    let end = journal.end();
    let (work, works) = mpsc::sync_channel(COMMITS_AHEAD);
    let (requests, received) = mpsc::channel();
    let (sweeps, asked) = mpsc::channel();
    let active = Arc::new(AtomicU32::new(end.segment));
    let writer = Writer {
        shared: Arc::clone(shared),
        journal,
        dead,
        dedup,
        indexer: work.clone(),
        newest_ms,
        group: FrameGroup::of(shared.options.keys.first().is_some()),
        pending: PendingRequests::default(),
        owed: QueuedSettlements::default(),
        upkeep_done: Timestamp::ZERO,
        full: end,
        on_record: end.segment,
    };
    let index =
        IndexThread { shared: Arc::clone(shared), indexer, active: Arc::clone(&active), is_behind: false };
    // Until here a missing room is an error of the start; the threads wait for it instead.
    shared.room.set_waits(true);
    let (scrubs, scrub_asked) = mpsc::channel();
    let scrub = Scrub {
        reads: Reads { shared: Arc::clone(shared), requests: requests.clone() },
        bytes_per_second: shared.options.scrub_bytes_per_second,
        active: Arc::clone(&active),
    };
    let mut keys = KeyCensus::default();
    // Before the first round: a key that is missing is to be said at once.
    keys.take(shared)?;
    let sweeper =
        Sweeper { shared: Arc::clone(shared), work: work.clone(), active, settled, mark: clock_mark, keys };
    // At once, not after the first round: a disk that is full at the start has to refuse appends from the beginning.
    sweeper.measure_room();
    let handles = vec![
        spawn("store-writer", shared, move || writer.run(&received))?,
        spawn("store-sweeper", shared, move || sweeper.run(&asked))?,
        spawn("store-index", shared, move || index.run(&works))?,
        spawn("store-scrub", shared, move || scrub.run(&scrub_asked))?,
    ];
    let room = Arc::clone(&shared.room);
    Ok(Threads { requests: Some(requests), sweeps: Some(sweeps), scrubs: Some(scrubs), handles, room })
}

fn spawn(
    name: &'static str,
    shared: &Arc<Shared>,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let watched = Arc::clone(shared);
    let guarded = move || {
        // A thread that vanished silently would leave callers without answers and the store looking sound.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err() {
            watched.figures.poison("a thread of the store panicked");
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(guarded).map_err(|error| StoreError::Io {
        operation: "start thread",
        place: name.to_owned(),
        reason: error.to_string(),
    })
}
