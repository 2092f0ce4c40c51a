//! Where an event stands: the one place that says ready, delayed, in flight or settled, for every door that is asked. The
//! ledger and the counts of lanes are kept by the same rule ([`Place::of`]).
//!
//! Must not know: how calls are made, how answers are written.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::clock::Timestamp;
use crate::event::{Entry, Event, EventId, LaneKey, Reason, Why};
use crate::queue::QueueError;
use crate::queue::ends::KnownEnd;
use crate::queue::named::NamedEntries;
use crate::queue::records::RecordReader;
use crate::queue::table::SharedTable;
use crate::store::{KeptEnd, Lookup, StoredEntry};

/// Who has an entry that is owed an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// The store alone: the dispatcher has not asked for it.
    Stored,
    /// The dispatcher, which has taken it up and has not started its call.
    ReadAhead,
    /// A call: it has started, and its end is not on record yet.
    Started,
}

/// Where an entry stands that is owed an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It waits for its turn.
    Ready,
    /// It waits for its due time.
    Delayed,
    /// Its call has started.
    InFlight,
}

impl Place {
    /// The rule: to be taken up is not to be in flight.
    pub(super) const fn of(held: Held, waits_for_due: bool) -> Self {
        match (held, waits_for_due) {
            (Held::Started, _) => Self::InFlight,
            (Held::ReadAhead, _) | (Held::Stored, false) => Self::Ready,
            (Held::Stored, true) => Self::Delayed,
        }
    }
}

/// Where an event stands, in the words of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Waits for its turn, whether it was read ahead or not.
    Ready(WaitingEntry),
    /// Waits for its due time, which has not come.
    Delayed(WaitingEntry),
    /// Its call is under way, or its end is not on record yet.
    InFlight(WaitingEntry),
    /// Its end is on record, and how it ended, unless that end is so old that only the fact is left.
    Settled(Option<KnownEnd>),
    /// Never seen, or settled so long ago that nothing is left of it.
    Unknown,
}

/// An entry that is owed an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WaitingEntry {
    /// The id of the entry: after a redrive it is another one than that of the event.
    pub entry: EventId,
    /// The lane in which it stands.
    pub lane: LaneKey,
    /// Attempts that count, as far as they are on record; an attempt under way is not.
    pub attempts: u16,
    /// For when it was put off.
    pub due_at: Option<Timestamp>,
    /// The call to make; its end of life is corrected for a clock that was in doubt.
    pub event: Event,
    /// How many entries go before it of those that its lane has read ahead; `None` when it is not among them.
    pub place: Option<usize>,
}

/// The dispatcher, as the queue sees it: it takes entries up, and keeps those that are not started yet.
pub(crate) trait ReadAhead: Send + Sync + 'static {
    /// How many entries go before this one of those that its lane has read ahead; `None` when it is not among them,
    /// because its page is on its way, its call has started, or nobody takes entries up any more.
    fn place(&self, lane: LaneKey, id: EventId) -> BoxFuture<'_, Option<usize>>;

    /// Hands over those of these entries that the lane has read ahead: whoever asked settles them. From then on it waits for
    /// none of them but those whose calls are under way. Nothing is handed over when nobody takes entries up any more.
    fn let_go(&self, lane: LaneKey, ids: HashSet<EventId>) -> BoxFuture<'_, Vec<Entry>>;

    /// An entry of the lane that was neither read ahead, nor tried, nor put off will not start as it stands: if a start was
    /// promised to it, that is promised no longer.
    fn taken(&self, lane: LaneKey);
}

impl Standing {
    /// Of an entry that is owed an end, by who has it at `now`.
    pub(super) fn of(held: Held, waiting: WaitingEntry, now: Timestamp) -> Self {
        let waits_for_due = waiting.due_at.is_some_and(|due_at| due_at > now);
        match Place::of(held, waits_for_due) {
            Place::Ready => Self::Ready(waiting),
            Place::Delayed => Self::Delayed(waiting),
            Place::InFlight => Self::InFlight(waiting),
        }
    }

    /// The id by which people know the event that was asked for by `id`: that of its entry leads to it, too.
    #[must_use]
    pub(crate) fn name_of(&self, id: EventId) -> EventId {
        self.waiting().map_or(id, |waiting| waiting.event.name(waiting.entry))
    }

    /// The state in a word, as answers and metrics name it; `None` of what is unknown.
    #[must_use]
    pub(crate) const fn word(&self) -> Option<&'static str> {
        match self {
            Self::Ready(_) => Some("ready"),
            Self::Delayed(_) => Some("delayed"),
            Self::InFlight(_) => Some("inflight"),
            Self::Settled(_) => Some("settled"),
            Self::Unknown => None,
        }
    }

    /// The entry, while it is owed an end.
    #[must_use]
    pub(crate) const fn waiting(&self) -> Option<&WaitingEntry> {
        match self {
            Self::Ready(waiting) | Self::Delayed(waiting) | Self::InFlight(waiting) => Some(waiting),
            Self::Settled(_) | Self::Unknown => None,
        }
    }
}

/// Finds out where events stand: asks the store, the table and the dispatcher, in this order.
pub(super) struct Standings {
    pub(super) named: NamedEntries,
    pub(super) lanes: SharedTable,
    pub(super) records: Arc<RecordReader>,
}

impl Standings {
    /// Where an event stands: see [`Queue::standing`](super::Queue::standing).
    pub(super) async fn of(&self, id: EventId, taken_up_by: &dyn ReadAhead) -> Result<Standing, QueueError> {
        let (id, found) = self.named.find(id).await?;
        match found {
            Lookup::Waiting(lane, stored) => self.owed(id, lane, stored, taken_up_by).await,
            Lookup::Settled(kept) => Ok(Standing::Settled(self.named.ended_as(id, kept))),
            Lookup::Lost => {
                let why = Why { reason: Reason::Lost, status: None, limited: None };
                Ok(Standing::Settled(Some(KnownEnd::of_store(KeptEnd { lane: None, why }))))
            }
            Lookup::Unknown => Ok(Standing::Unknown),
        }
    }

    /// Where an entry stands that is owed an end.
    async fn owed(
        &self,
        id: EventId,
        lane: LaneKey,
        stored: StoredEntry,
        taken_up_by: &dyn ReadAhead,
    ) -> Result<Standing, QueueError> {
        let held = || self.lanes.lock().held(&lane, id, stored.due_at.is_some());
        let mut is_held = held();
        // The lock is let go of before the dispatcher is asked, which may need it to answer.
        let asked = is_held == Held::ReadAhead;
        let place = if asked { taken_up_by.place(lane.clone(), id).await } else { None };
        if asked && place.is_none() {
            // Its call may have started in between.
            is_held = held();
        }
        let event = self.records.event_of(&stored)?;
        let due_at = self.records.due_at(&stored, &event);
        let waiting =
            WaitingEntry { entry: id, lane, attempts: stored.tries.attempts(), due_at, event, place };
        Ok(Standing::of(is_held, waiting, self.records.clock.now()))
    }
}
