//! The queue: acceptance, lanes with their counts, bounded read-ahead, settlement in batches.
//!
//! An entry is handed out once ([`Queue::load_mix`]) and stays handed out until it is settled; a restart hands it
//! out again. The backlog itself is never in memory: a lane costs its counts and a cursor, and nothing once
//! it is empty.
//!
//! Must not know: policies, limits, HTTP.

mod accept;
mod change;
mod counters;
mod ends;
mod hosts;
mod last_calls;
mod ledger;
mod load;
mod lost;
mod named;
mod parked;
mod records;
mod search;
mod settle;
mod signals;
mod sizes;
mod standing;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::{Clock, Timestamp};
use crate::event::{
    AttemptDetail, CanonicalUrl, Entry, Event, EventId, Facts, Lane, LaneKey, Redriven, Settlement,
};
use crate::store::record::RecordError;
use crate::store::{
    Appended, AttemptStore, Dedup, Doubts, EndLog, EntryStore, FlightMarks, GiveUp, ReadLimit, RunToEnd,
    StoreError, StoreHealth,
};
use crate::telemetry::EventSource;

use accept::Acceptance;
use change::Changes;
pub(crate) use change::{Change, Changed};
use ends::RecentEnds;
pub(crate) use ends::{End, KnownEnd};
pub(crate) use ledger::Ledger;
use load::HandOut;
pub(crate) use load::{LoadedPage, PageMix};
use lost::Losses;
use named::NamedEntries;
pub(crate) use parked::{Imported, Parked, Remade};
use records::RecordReader;
use search::Searcher;
pub(crate) use search::{Found, Search};
pub(crate) use settle::Completed;
use settle::Settler;
pub(crate) use signals::{LaneSignal, LaneSignals};
use standing::Standings;
pub(crate) use standing::{ReadAhead, Standing, WaitingEntry};
pub(crate) use table::LaneCounts;
use table::{LaneTable, SharedTable};

/// How long an acceptance waits for the store where nothing else is said.
const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a wait for other work looks whether the store answers.
const LOOK_AT_STORE_EVERY: Duration = Duration::from_millis(50);

/// An event that passed the door, with the lane that its policies give it.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// The lane in which it will stand.
    pub lane: Lane,
    /// The call to make, with the end of its life.
    pub event: Event,
    /// The key under which a repetition is recognised; `None` without an idempotency key.
    pub dedup: Option<Dedup>,
    /// The door it came through, under which it counts once it is durable.
    pub source: EventSource,
}

/// Why the queue could not do as asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// The store refused, or did not answer in time.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A cheap handle; clones share the queue.
#[derive(Clone)]
pub(crate) struct Queue(Arc<QueueParts>);

/// The parts of the queue: one for each duty, over the store and the table of the lanes.
struct QueueParts {
    store: Arc<dyn EntryStore>,
    lanes: SharedTable,
    acceptance: Acceptance,
    hand_out: HandOut,
    standings: Standings,
    changes: Arc<Changes>,
    searcher: Searcher,
    settler: Arc<Settler>,
    losses: Arc<Losses>,
    attempts: Arc<dyn AttemptStore>,
}

impl Queue {
    /// Opens the queue over a store and signals every lane that holds something.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the lanes cannot be read.
    pub(crate) async fn open(
        store: Arc<dyn EntryStore>,
        clock: Clock,
    ) -> Result<(Self, LaneSignals), QueueError> {
        Self::open_within(store, clock, APPEND_TIMEOUT).await
    }

    /// As [`Queue::open`]; acceptances wait for the store for at most `append_timeout`.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub(crate) async fn open_within(
        store: Arc<dyn EntryStore>,
        clock: Clock,
        append_timeout: Duration,
    ) -> Result<(Self, LaneSignals), QueueError> {
        // Unbounded in type, bounded in fact: a lane is in it once for new work, and once for each entry that is put
        // off ahead of all others.
        let (signal, signals) = mpsc::unbounded_channel();
        let mut lanes = LaneTable::new(signal);
        for summary in store.lanes().await? {
            lanes.restore(&summary);
        }
        let (lanes, ended) = (SharedTable::new(lanes), RecentEnds::default());
        let records = Arc::new(RecordReader { clock: clock.clone() });
        let losses = Arc::new(Losses::new(Arc::clone(&store), clock.clone(), ended.clone()));
        let settler = {
            let (store, losses) = (Arc::clone(&store), Arc::clone(&losses));
            Settler::spawn(store, clock, lanes.clone(), losses, ended.clone())
        };
        let hand_out = HandOut {
            store: Arc::clone(&store),
            lanes: lanes.clone(),
            records: Arc::clone(&records),
            losses: Arc::clone(&losses),
            settler: Arc::clone(&settler),
        };
        let named = NamedEntries { store: Arc::clone(&store), ended: ended.clone() };
        let changes = Arc::new(Changes {
            store: Arc::clone(&store),
            named: named.clone(),
            lanes: lanes.clone(),
            records: Arc::clone(&records),
            settler: Arc::clone(&settler),
            ended,
        });
        let searcher =
            Searcher { store: Arc::clone(&store), lanes: lanes.clone(), records: Arc::clone(&records) };
        let standings = Standings { named, lanes: lanes.clone(), records };
        let acceptance =
            Acceptance { store: Arc::clone(&store), lanes: lanes.clone(), timeout: append_timeout };
        let attempts = store.attempts();
        let parts = QueueParts {
            store,
            lanes,
            acceptance,
            hand_out,
            standings,
            changes,
            searcher,
            settler,
            losses,
            attempts,
        };
        Ok((Self(Arc::new(parts)), LaneSignals(signals)))
    }

    /// The lane for a call to this url that `governed` names the limits of: the part of that for the url's host and
    /// port, or, when there are very many hosts, one that several share.
    #[must_use]
    pub(crate) fn lane_at(&self, governed: &Lane, url: &CanonicalUrl) -> Lane {
        let host = url.host_and_port();
        let own = governed.at(&host);
        let is_taken = self.0.lanes.lock().takes(own.key());
        if is_taken { own } else { governed.shared_at(&host) }
    }

    /// Makes a batch durable: when this returns, every entry that it calls new survives any crash. A caller that
    /// goes away in between cannot stop it half-way: it goes on in a task of its own.
    ///
    /// # Errors
    /// [`QueueError`]; nothing of the batch is acknowledged then. [`StoreError::Slow`] when the store did not take the
    /// batch in time: it was withdrawn and is not kept. [`StoreError::OutcomeUnknown`] when the store took it and did
    /// not confirm it in time: it may be kept, and its entries are counted when the store confirms them.
    pub(crate) async fn accept(&self, batch: Vec<NewEvent>) -> Result<Vec<Appended>, QueueError> {
        self.0.acceptance.accept(batch).await
    }

    /// What an acceptance under each of these keys would answer now, in order; `None` for those that are not on record.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store cannot be read, or not in time.
    pub(crate) async fn find_keys(&self, keys: Vec<Dedup>) -> Result<Vec<Option<Appended>>, QueueError> {
        self.0.acceptance.find_keys(keys).await
    }

    /// Hands out a page of a lane. One load per lane at a time; every entry is handed out once until it is
    /// settled. `mix` says how many of them may be due ones.
    ///
    /// # Errors
    /// [`QueueError`] when the store cannot be read; nothing was handed out then.
    pub(crate) async fn load_mix(
        &self,
        lane: &LaneKey,
        limit: ReadLimit,
        mix: PageMix,
    ) -> Result<LoadedPage, QueueError> {
        self.0.hand_out.load(lane, limit, mix).await
    }

    /// The call of an entry that was handed out starts now: until then it counted among those that wait for their turn.
    pub(crate) fn started(&self, entry: &Entry) {
        self.0.lanes.lock().start(&entry.lane, entry.id, entry.due_at.is_some());
    }

    /// Records what becomes of an entry that was handed out. Returns at once; durable within about 100 ms. False when
    /// the entry was given up meanwhile: it counts as lost and nothing else. `facts` is what is known of
    /// why beside the decision.
    pub(crate) fn settle_because(&self, entry: &Entry, settlement: Settlement, facts: Facts) -> bool {
        self.0.settler.settle(entry, settlement, facts)
    }

    /// The same where nothing is known of why.
    #[cfg(test)]
    pub(crate) fn settle(&self, entry: &Entry, settlement: Settlement) -> bool {
        self.settle_because(entry, settlement, Facts::default())
    }

    /// Notes an attempt for those who ask later. Never waits; what finds no room is dropped.
    pub(crate) fn note_attempt(&self, attempt: AttemptDetail) {
        self.0.attempts.note(attempt);
    }

    /// The last attempts of an event that had a failure, the newest first: as many as are kept, at most five.
    pub(crate) async fn attempts_of(&self, event: EventId) -> Vec<AttemptDetail> {
        self.0.attempts.last(event).await
    }

    /// Where calls under way are marked; `None` where nothing outlives a process.
    pub(crate) fn flights(&self) -> Option<Arc<dyn FlightMarks>> {
        self.0.store.flights()
    }

    /// Waits until every settlement handed in so far is durable, the store has failed for good, or none became durable
    /// for 30 s, as on a disk without room: the calls of those that are left may be repeated after the next start.
    /// Later calls return at once until something becomes durable again.
    pub(crate) async fn flush(&self) {
        self.0.settler.flush().await;
    }

    /// What reached its end since the queue was opened.
    #[must_use]
    pub(crate) fn completed(&self) -> Completed {
        Completed::of(self.0.lanes.lock().books().ledger())
    }

    /// Where an event stands, at about this moment. `taken_up_by` says which place it has among those read ahead.
    ///
    /// # Errors
    /// [`QueueError`] when the store cannot be read or the record does not decode.
    pub(crate) async fn standing(
        &self,
        id: EventId,
        taken_up_by: &dyn ReadAhead,
    ) -> Result<Standing, QueueError> {
        self.0.standings.of(id, taken_up_by).await
    }

    /// The last redrive of the event that goes by this id, also after its end, as far as it is on record.
    ///
    /// # Errors
    /// [`QueueError`] when the store cannot be read.
    pub(crate) async fn last_redrive(&self, id: EventId) -> Result<Option<Redriven>, QueueError> {
        Ok(self.0.standings.named.last_redrive(id).await?.map(|last| last.redriven))
    }

    /// Looks for events that are owed an end: at most 10 000 of them, or for 50 ms, whichever comes first. A page may be
    /// empty and lead on.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store cannot be read.
    pub(crate) async fn search(&self, search: &Search) -> Result<Found, QueueError> {
        self.0.searcher.page(search).await
    }

    /// Changes an event that waits, for an operator: durable on return, and a caller that goes away cannot stop it
    /// half-way. A call under way is left alone.
    ///
    /// # Errors
    /// [`QueueError`] when the store cannot be read, or does not take the change.
    pub(crate) async fn change(
        &self,
        id: EventId,
        change: Change,
        taken_up_by: Arc<dyn ReadAhead>,
    ) -> Result<Changed, QueueError> {
        let changes = Arc::clone(&self.0.changes);
        RunToEnd::new(async move { changes.make(id, change, &*taken_up_by).await }).await
    }

    /// Entries that were purged when their calls came back, since the last call of this: the dispatcher is to be told,
    /// which may wait for them in vain.
    pub(crate) fn take_last_calls(&self) -> Vec<(LaneKey, EventId)> {
        self.0.settler.take_last_calls()
    }

    /// Forgets which calls under way are to be the last ones of their events: see [`Change::Purge`].
    pub(crate) fn spare_all(&self) {
        self.0.settler.spare_all();
    }

    /// Settles as lost what an operator gives up; returns how many entries those are. Of a lane that is everything it
    /// owes, calls under way included: they may still arrive, but count as lost. Of unread blocks it is what was not
    /// handed out. Durable on return; a caller that goes away cannot stop it half-way.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store refuses; what was settled before stays settled.
    pub(crate) async fn give_up(&self, what: GiveUp) -> Result<u64, QueueError> {
        let (losses, lanes) = (Arc::clone(&self.0.losses), self.0.lanes.clone());
        RunToEnd::new(async move { losses.give_up(what, &lanes).await }).await
    }

    /// Why an event could not be read, and the way out, when `error` is a read that the system has refused.
    #[must_use]
    pub(crate) fn unread_reason(&self, error: &QueueError) -> Option<String> {
        self.0.losses.unread_reason(error)
    }

    /// Has reads that failed tried again now, without waiting for the end of their pauses.
    pub(crate) fn read_again(&self) {
        self.0.lanes.lock().read_again();
    }

    /// Waits for what the store is asked to do as long as the store answers; `work` must go on when nobody waits for it
    /// any more.
    ///
    /// # Errors
    /// [`StoreError::Slow`] when the store did not answer others before: `work` was not begun.
    /// [`StoreError::OutcomeUnknown`] when the store stopped answering before it ended.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, StoreError> {
        if self.store_health().slow {
            return Err(StoreError::Slow);
        }
        self.outlast(work).await
    }

    /// As [`Queue::in_time`], for what is begun also while the store does not answer.
    ///
    /// # Errors
    /// [`StoreError::OutcomeUnknown`] when the store did not answer before it ended.
    pub(crate) async fn outlast<T>(&self, work: impl Future<Output = T>) -> Result<T, StoreError> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(LOOK_AT_STORE_EVERY, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if self.store_health().slow => return Err(StoreError::OutcomeUnknown),
                Err(_) => {}
            }
        }
    }

    /// How many entries of a lane's plain order stand before this one and were not taken up yet.
    ///
    /// # Errors
    /// [`QueueError::Store`] when the store cannot be read.
    pub(crate) async fn not_taken_up_before(&self, lane: &LaneKey, id: EventId) -> Result<u64, QueueError> {
        let before = self.0.store.count_before(lane, id).await?;
        // An entry whose settlement is durable and not booked yet is gone from the store and still out in the table.
        Ok(before.saturating_sub(self.0.lanes.lock().plain_out_before(lane, id)))
    }

    /// What one lane holds; `None` when that is nothing.
    #[must_use]
    pub(crate) fn counts_of(&self, lane: &LaneKey) -> Option<LaneCounts> {
        self.0.lanes.lock().counts_of(lane)
    }

    /// The lanes that hold something, with their counts, each at a moment of its own. Costs a walk over all lanes.
    #[must_use]
    pub(crate) fn counts(&self) -> Vec<LaneCounts> {
        self.0.lanes.counts()
    }

    /// How many events of a lane are before one that is accepted now: those in plain order, calls under way included.
    #[must_use]
    pub(crate) fn waiting_in(&self, lane: &LaneKey) -> u64 {
        self.0.lanes.lock().plain_in(lane)
    }

    /// Where all entries are, at one moment.
    #[must_use]
    pub(crate) fn ledger(&self) -> Ledger {
        self.0.lanes.lock().ledger()
    }

    /// Whether no lane holds anything, calls under way included.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lanes.lock().is_empty()
    }

    /// What the store could not establish.
    #[must_use]
    pub(crate) fn doubts(&self) -> Doubts {
        self.0.store.doubts()
    }

    /// How events ended, in the order in which that became durable.
    #[must_use]
    pub(crate) fn ends(&self) -> Arc<dyn EndLog> {
        Arc::clone(&self.0.store).ends()
    }

    /// From when on the end of every event is known; `None` when that is all of them.
    #[must_use]
    pub(crate) fn known_since(&self) -> Option<Timestamp> {
        self.ends().kept().known_since
    }

    /// The store's figures, and whether it answers in time.
    #[must_use]
    pub(crate) fn store_health(&self) -> StoreHealth {
        let health = self.0.store.health();
        // As long as a producer would wait: from then on it gets the answer that the store is slow.
        let slow = health.operation_age >= self.0.acceptance.timeout;
        StoreHealth { slow, ..health }
    }
}
