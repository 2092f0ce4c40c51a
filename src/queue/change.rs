//! Changes of single entries that an operator asks for: one that waits is cancelled, or put to another due time.
//!
//! An entry is in one hand at a time: the store's, the dispatcher's, a call's or an operator's, and whoever has it settles
//! it. What the store alone holds is taken under the lock of the table, after which no page hands it out. What is read
//! ahead the dispatcher lets go of, unless its call has started: a call under way is left alone.
//!
//! Must not know: who asks, how answers are written, what is sent next.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Reason, Settlement, Tries, Why};
use crate::queue::QueueError;
use crate::queue::ends::{KnownEnd, RecentEnds};
use crate::queue::named::NamedEntries;
use crate::queue::records::RecordReader;
use crate::queue::settle::Settler;
use crate::queue::standing::{Held, ReadAhead};
use crate::queue::table::SharedTable;
use crate::store::{EntryStore, KeptEnd, Lookup, SettleRequest, StoredEntry};
use crate::telemetry::defect;

/// How often an entry is looked for that is on its way from one hand to another, and the pause between: about 2 s, in
/// which a page arrives or a settlement becomes durable.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// What is to become of an entry that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It ends as cancelled.
    Cancel,
    /// The same; and where its call is under way, that is the last one: what would be repeated or parked ends as cancelled.
    Purge,
    /// It is due at once, before all in its lane that were accepted later: the moment of its acceptance is its due time.
    SendNow,
    /// It waits until then, within its life.
    PutOff {
        /// The new due time, a whole millisecond as on the disk.
        due_at: Timestamp,
        /// When that was decided, if the clock was in doubt then.
        doubted_at: Option<Timestamp>,
    },
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Changed {
    /// It is on record, or nothing was left to do.
    Done,
    /// The call is under way, or its end is not on record yet: the entry is left alone.
    UnderWay,
    /// It has ended, and this is how, as far as that is known.
    Ended(Option<KnownEnd>),
    /// It would be due at or after the end of its life.
    TooLate {
        /// The end of its life.
        expires_at: Timestamp,
    },
    /// Never seen, or settled so long ago that nothing is left of it.
    Unknown,
    /// It was on its way from one hand to another all the time; nothing was changed.
    OnItsWay,
}

/// An entry that an operator has in hand: nobody else hands it out, sends or settles it.
struct InHand {
    lane: LaneKey,
    id: EventId,
    /// The due time under which it stands.
    due_at: Option<Timestamp>,
    tries: Tries,
}

/// Changes single entries: asks the store, the table and the dispatcher, in this order.
pub(super) struct Changes {
    pub(super) store: Arc<dyn EntryStore>,
    /// Finds the entry of the event that goes by an id.
    pub(super) named: NamedEntries,
    pub(super) lanes: SharedTable,
    pub(super) records: Arc<RecordReader>,
    pub(super) settler: Arc<Settler>,
    pub(super) ended: RecentEnds,
}

impl Changes {
    /// Changes an entry: see [`Queue::change`](super::Queue::change).
    pub(super) async fn make(
        &self,
        name: EventId,
        change: Change,
        taken_up_by: &dyn ReadAhead,
    ) -> Result<Changed, QueueError> {
        let is_purged = change == Change::Purge;
        if is_purged {
            // Before it is looked at: what comes back from its call from now on has ended.
            self.settler.let_no_more(name);
        }
        let mut changed = Changed::OnItsWay;
        for _ in 0..TRIES {
            if let Some(answer) = self.try_once(name, change, taken_up_by).await? {
                changed = answer;
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        if is_purged && !matches!(changed, Changed::UnderWay | Changed::OnItsWay) {
            self.settler.spare(name);
        }
        Ok(changed)
    }

    /// `None` when the entry was on its way from one hand to another, or was lost meanwhile.
    async fn try_once(
        &self,
        name: EventId,
        change: Change,
        taken_up_by: &dyn ReadAhead,
    ) -> Result<Option<Changed>, QueueError> {
        let (id, found) = self.named.find(name).await?;
        let (lane, stored) = match found {
            Lookup::Waiting(lane, stored) => (lane, stored),
            Lookup::Settled(kept) => return Ok(Some(Changed::Ended(self.named.ended_as(id, kept)))),
            Lookup::Lost => {
                let why = Why { reason: Reason::Lost, status: None, limited: None };
                let known = KnownEnd::of_store(KeptEnd { lane: None, why });
                return Ok(Some(Changed::Ended(Some(known))));
            }
            Lookup::Unknown => return Ok(Some(Changed::Unknown)),
        };
        if let Some(answer) = self.needless(change, &stored)? {
            return Ok(Some(answer));
        }
        let held = self.lanes.lock().watch(&lane, id);
        let in_hand = match held {
            Some(Held::Started) => return Ok(Some(Changed::UnderWay)),
            Some(Held::ReadAhead) => {
                let let_go = taken_up_by.let_go(lane, HashSet::from([id])).await.into_iter().next();
                let_go.map(|entry| InHand { lane: entry.lane, id, due_at: entry.due_at, tries: entry.tries })
            }
            Some(Held::Stored) => self.take(lane, id, taken_up_by).await?,
            // Its append is durable and not booked yet, or its lane has just become empty.
            None => None,
        };
        let Some(in_hand) = in_hand else { return Ok(None) };
        // Not booked: it was lost meanwhile, which the next look finds.
        let is_booked = self.settler.settle_at_once(self.decision(in_hand, change)).await?;
        Ok(is_booked.then_some(Changed::Done))
    }

    /// The answer, where there is nothing to change or the change is against the rules.
    fn needless(&self, change: Change, stored: &StoredEntry) -> Result<Option<Changed>, QueueError> {
        Ok(match change {
            Change::Cancel | Change::Purge => None,
            // Once more: it stands first already.
            Change::SendNow => (stored.due_at == Some(stored.id.accepted_at())).then_some(Changed::Done),
            Change::PutOff { due_at, .. } => {
                let expires_at = self.records.event_of(stored)?.expires_at;
                (due_at >= expires_at).then_some(Changed::TooLate { expires_at })
            }
        })
    }

    /// Takes a watched entry out of the store; `None` when it was handed out or changed meanwhile.
    async fn take(
        &self,
        lane: LaneKey,
        id: EventId,
        taken_up_by: &dyn ReadAhead,
    ) -> Result<Option<InHand>, QueueError> {
        // Once more, now that it is watched: what the look before said may have changed since.
        let found = match self.store.lookup(id).await {
            Ok(Lookup::Waiting(at, stored)) if at == lane => stored,
            other => {
                self.lanes.lock().unwatch(&lane, id);
                other?;
                return Ok(None);
            }
        };
        let StoredEntry { due_at, tries, .. } = found;
        if !self.lanes.lock().take_in_hand(&lane, id, due_at.is_some()) {
            return Ok(None);
        }
        if due_at.is_some() {
            // It may be a retry for which the dispatcher waits.
            let let_go = taken_up_by.let_go(lane.clone(), HashSet::from([id])).await;
            defect!(unless let_go.is_empty(), "an entry in two hands");
        } else if tries == Tries::NONE {
            // Only the dispatcher knows what was promised at the door, and it will not see the entry as it was.
            taken_up_by.taken(lane.clone());
        }
        Ok(Some(InHand { lane, id, due_at, tries }))
    }

    fn decision(&self, in_hand: InHand, change: Change) -> SettleRequest {
        let InHand { lane, id, due_at: from, tries } = in_hand;
        let put_off = |due_at, doubted_at| Settlement::Reschedule { due_at, tries, doubted_at };
        let (settlement, why) = match change {
            Change::Cancel | Change::Purge => {
                let status = self.ended.last_status(id);
                (Settlement::Cancelled, Some(Why { reason: Reason::Cancelled, status, limited: None }))
            }
            Change::SendNow => (put_off(id.accepted_at(), None), None),
            Change::PutOff { due_at, doubted_at } => (put_off(due_at, doubted_at), None),
        };
        SettleRequest { lane, id, due_at: from, settlement, why }
    }
}
