//! The table of non-empty lanes: counts, cursors, what is handed out, who has been signalled. Pure.
//!
//! Must not know: the store, tasks.

mod in_hand;
mod present;
mod state;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::event::{EventId, Lane, LaneKey, Settlement};
use crate::queue::LaneSignal;
use crate::queue::hosts::HostCounts;
use crate::queue::ledger::{Books, Count, Ledger};
use crate::queue::standing::Held;
use crate::store::{LaneSummary, Loss};
use crate::telemetry::{Defect, LaneSeries, defect};

use present::Present;
use state::{QueueLane, earlier};

/// Lanes that are counted under one lock: few enough that calls do not wait for it.
const LANES_AT_ONCE: usize = 256;

/// What one lane holds at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LaneCounts {
    /// The key of the lane, which names its policies and label values.
    pub lane: LaneKey,
    /// Entries that wait for their turn, read ahead or not.
    pub ready: u64,
    /// Entries that wait for their due time, or became due and were not taken up yet.
    pub delayed: u64,
    /// Entries whose calls have started, and whose ends are not on record yet.
    pub inflight: u64,
    /// When the oldest entry was accepted that waits for its turn or is in flight: a lower bound, brought up to date
    /// by every load. Those that wait for a due time do not count, however old they are.
    pub oldest: Option<Timestamp>,
    /// The earliest due time that is not handed out, as far as it is known.
    pub next_due: Option<Timestamp>,
    /// About the bytes of all of them: their number times the mean of those that were appended or read last.
    pub bytes: u64,
}

impl LaneCounts {
    /// Entries that are owed an end.
    pub(crate) const fn owed(&self) -> u64 {
        self.ready + self.delayed + self.inflight
    }
}

/// The table, shared by the parts of the queue.
#[derive(Clone)]
pub(super) struct SharedTable(Arc<Mutex<LaneTable>>);

impl SharedTable {
    pub(super) fn new(table: LaneTable) -> Self {
        Self(Arc::new(Mutex::new(table)))
    }

    /// The table is plain counters: after a panic elsewhere it is still the best knowledge there is.
    pub(super) fn lock(&self) -> MutexGuard<'_, LaneTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every lane holds, each at a moment of its own: there may be very many, and every call needs the lock. One
    /// that becomes empty and is made anew meanwhile may be missing, or there twice.
    pub(super) fn counts(&self) -> Vec<LaneCounts> {
        let (mut all, mut page) = (Vec::new(), Vec::with_capacity(LANES_AT_ONCE));
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.lock().page(from, &mut page);
            all.append(&mut page);
            // A lock that is taken again at once is rarely had by those who wait for it.
            std::thread::yield_now();
        }
        all
    }
}

pub(super) struct LaneTable {
    lanes: Present,
    hosts: HostCounts,
    /// Numbers the changes of all lanes, so that a lane that is made anew never looks unchanged.
    changes: u64,
    /// The ledger, kept in the same steps as the lanes.
    books: Books,
    signal: mpsc::UnboundedSender<LaneSignal>,
}

/// What a load starts from, taken under the lock before the store is read.
pub(super) struct LoadStart {
    pub(super) cursor: Option<EventId>,
    /// Entries with a due time that are out already.
    pub(super) skip: HashSet<EventId>,
    pub(super) next_due: Option<Timestamp>,
    pub(super) changed: u64,
}

/// What a load brought, to be booked under the lock after the store was read.
pub(super) struct LoadEnd<'a> {
    pub(super) plain: &'a [EventId],
    /// The last entry in plain order that was read, also when it is not handed out.
    pub(super) read_to: Option<EventId>,
    pub(super) put_off: &'a [EventId],
    /// The next due time, when due entries were asked for.
    pub(super) next_due: Option<Option<Timestamp>>,
    /// The plain order was read to its end.
    pub(super) exhausted: bool,
    pub(super) changed: u64,
}

impl LaneTable {
    pub(super) fn new(signal: mpsc::UnboundedSender<LaneSignal>) -> Self {
        Self {
            lanes: Present::default(),
            hosts: HostCounts::default(),
            changes: 0,
            books: Books::default(),
            signal,
        }
    }

    /// Whether this lane of one host is there or may be made.
    pub(super) fn takes(&self, lane: &LaneKey) -> bool {
        self.lanes.contains(lane) || self.hosts.have_room_for(lane)
    }

    /// The state of a lane that is there or is made.
    fn state(&mut self, lane: &LaneKey) -> (&mut QueueLane, &mut Books) {
        let (state, is_new) = self.lanes.get_or_make(lane);
        if is_new {
            self.hosts.add(lane);
        }
        (state, &mut self.books)
    }

    fn forget(&mut self, lane: &LaneKey) {
        if self.lanes.remove(lane) {
            self.hosts.remove(lane);
        }
    }

    /// Takes over what the store found when it was opened.
    pub(super) fn restore(&mut self, summary: &LaneSummary) {
        let (state, books) = self.state(&summary.lane);
        defect!(unless state.is_spent(), "a lane that the store names twice");
        state.restore(summary, books);
        self.signal(&summary.lane);
    }

    pub(super) fn begin_append(&mut self, lane: &LaneKey) {
        self.changes += 1;
        let changes = self.changes;
        let (state, _) = self.state(lane);
        state.appending += 1;
        state.changed = changes;
    }

    pub(super) fn end_append(&mut self, lane: &LaneKey) {
        self.changes += 1;
        if let Some(state) = self.lanes.get_mut(lane) {
            state.changed = self.changes;
            state.end_append();
            if state.is_spent() {
                self.forget(lane);
            }
        }
    }

    /// The series in which a lane counts now.
    pub(super) fn series(&mut self, lane: &Lane) -> LaneSeries {
        let find = || LaneSeries::of(lane);
        self.lanes.get_mut(lane.key()).map_or_else(find, |state| state.series(find).clone())
    }

    /// Learns how large records of a lane are.
    pub(super) fn sized(&mut self, lane: &LaneKey, records: impl Iterator<Item = usize>) {
        if let Some(state) = self.lanes.get_mut(lane) {
            records.for_each(|bytes| state.sizes.add(bytes));
        }
    }

    pub(super) fn appended(&mut self, lane: &LaneKey, id: EventId, due_at: Option<Timestamp>) {
        if let Some(state) = self.lanes.get_mut(lane) {
            let first_due = state.accept(id, due_at, &mut self.books);
            if !state.signalled {
                self.signal(lane);
            }
            self.announce_due(lane, first_due);
        } else {
            // It is durable whatever the table lacks: the ledger must have it.
            self.books.count(Count::Accepted, 1);
            Defect { place: "an entry appended to no lane" }.emit();
        }
        self.end_append(lane);
    }

    /// The entry that was appended last is that of a redriven event.
    pub(super) fn redriven(&mut self) {
        self.books.came_back();
    }

    /// Registers for the next signal, then returns where to read; `None` when the lane holds nothing.
    pub(super) fn begin_load(&mut self, lane: &LaneKey) -> Option<LoadStart> {
        let state = self.lanes.get_mut(lane)?;
        // Before the store is read: what is appended from now on is announced again, as the page may not hold it.
        state.signalled = false;
        state.due_since_load = None;
        state.loading = true;
        state.gone.clone_from(&state.in_hand);
        Some(LoadStart {
            cursor: state.cursor,
            skip: state.put_off_out.clone(),
            next_due: state.next_due,
            changed: state.changed,
        })
    }

    /// The store was read, or could not be: what its page must not hand out, because it was lost meanwhile.
    pub(super) fn end_reading(&mut self, lane: &LaneKey) -> HashSet<EventId> {
        let Some(state) = self.lanes.get_mut(lane) else { return HashSet::new() };
        state.loading = false;
        let gone = std::mem::take(&mut state.gone);
        if !gone.is_empty() && state.is_spent() {
            self.forget(lane);
        }
        gone
    }

    /// Takes off an entry that ended as lost. Returns whether it is handed out: the dispatcher does not know of the
    /// loss yet.
    pub(super) fn lost(&mut self, loss: &Loss) -> bool {
        self.changes += 1;
        self.books.count(Count::Lost, 1);
        let Some(state) = self.lanes.get_mut(&loss.lane) else { return false };
        // A load under way may have read before or after it: what it found is not the truth.
        state.changed = self.changes;
        let was_out = state.lose(loss, &mut self.books);
        if state.loading && !was_out {
            state.gone.insert(loss.id);
        }
        // A load under way has to find here what it must not hand out.
        if state.may_be_forgotten() {
            self.forget(&loss.lane);
        }
        was_out
    }

    /// Everything that is handed out, over all lanes.
    pub(super) fn all_out(&self) -> HashSet<EventId> {
        self.lanes
            .iter()
            .flat_map(|(_, state)| state.plain_out.iter().chain(&state.put_off_out))
            .copied()
            .collect()
    }

    /// Has failed reads tried again at once.
    pub(super) fn read_again(&self) {
        // As for every signal: without a dispatcher nothing is read.
        let _ = self.signal.send(LaneSignal::ReadAgain);
    }

    /// Announces that entries that are handed out are no longer owed.
    pub(super) fn announce_given_up(&self, lane: LaneKey, handed_out: HashSet<EventId>) {
        let _ = self.signal.send(LaneSignal::GivenUp(lane, handed_out));
    }

    /// Records what was handed out; returns the lane's next due time.
    pub(super) fn end_load(&mut self, lane: &LaneKey, load: &LoadEnd<'_>) -> Option<Timestamp> {
        let state = self.lanes.get_mut(lane)?;
        defect!(
            unless load.plain.first().is_none_or(|first| state.cursor < Some(*first)),
            "entries that are handed out again in plain order"
        );
        if let Some(last) = load.read_to {
            // Also over entries that are settled later: plain entries never come back in plain order.
            state.cursor = Some(last);
        }
        let is_new = |id: &EventId| !state.put_off_out.contains(id);
        defect!(unless load.put_off.iter().all(is_new), "an entry that was put off and is handed out twice");
        let unknown = state.hand_out(load, &mut self.books);
        let undisturbed = state.appending == 0 && state.changed == load.changed;
        if let Some(next_due) = load.next_due {
            // An entry put off meanwhile may be due earlier than what the page saw.
            state.next_due = earlier(state.due_since_load, next_due);
        }
        let read_to_the_end = load.exhausted && undisturbed;
        state.loaded(read_to_the_end);
        let next_due = state.next_due;
        let mut differs = undisturbed && unknown > 0;
        // Damage may have taken entries that were counted: what was read to its end is the truth.
        if read_to_the_end {
            differs |= state.was_read_to_the_end(load.next_due == Some(None), &mut self.books);
            if state.is_spent() {
                self.forget(lane);
            }
        }
        if differs {
            Defect { place: "a lane that holds other entries than were counted" }.emit();
        }
        next_due
    }

    /// Books a settlement that is durable; returns where it counts if it is an end.
    pub(super) fn settled(
        &mut self,
        lane: &LaneKey,
        id: EventId,
        from_due: Option<Timestamp>,
        how: &Settlement,
    ) -> Option<LaneSeries> {
        self.changes += 1;
        let find = || LaneSeries::named(lane);
        let end = Count::of_end(how);
        let Some(state) = self.lanes.get_mut(lane) else {
            if let Some(end) = end {
                self.books.count(end, 1);
            }
            Defect { place: "an entry settled in no lane" }.emit();
            return end.map(|_| find());
        };
        // Before a lane that is spent is forgotten.
        let series = end.map(|_| state.series(find).clone());
        let first_due = state.settle(id, from_due, how, &mut self.books);
        if matches!(how, Settlement::Reschedule { .. }) {
            state.changed = self.changes;
        }
        if state.may_be_forgotten() {
            self.forget(lane);
        }
        self.announce_due(lane, first_due);
        series
    }

    /// The call of an entry that is handed out has started.
    pub(super) fn start(&mut self, lane: &LaneKey, id: EventId, is_put_off: bool) {
        // Without it: it was given up as a whole meanwhile, and its call counts for nothing.
        if let Some(state) = self.lanes.get_mut(lane) {
            state.start(id, is_put_off, &mut self.books);
        }
    }

    /// Who has an entry that is owed an end.
    pub(super) fn held(&self, lane: &LaneKey, id: EventId, is_put_off: bool) -> Held {
        self.lanes.get(lane).map_or(Held::Stored, |state| state.held(id, is_put_off))
    }

    /// Entries in plain order that are owed an end.
    pub(super) fn plain_in(&self, lane: &LaneKey) -> u64 {
        self.lanes.get(lane).map_or(0, QueueLane::plain)
    }

    /// Appends what the lanes in some places hold, from this place on; returns the place after them.
    fn page(&self, from: usize, into: &mut Vec<LaneCounts>) -> Option<usize> {
        let (lanes, next) = self.lanes.page(from, LANES_AT_ONCE);
        into.extend(lanes.map(|(lane, state)| state.counts(lane)));
        next
    }

    pub(super) fn counts_of(&self, lane: &LaneKey) -> Option<LaneCounts> {
        self.lanes.get(lane).map(|state| state.counts(lane))
    }

    /// Plain entries handed out that stand before this one.
    pub(super) fn plain_out_before(&self, lane: &LaneKey, id: EventId) -> u64 {
        let before = |state: &QueueLane| state.plain_out.iter().filter(|out| **out < id).count();
        self.lanes.get(lane).map_or(0, before) as u64
    }

    /// Where all entries are, at one moment.
    pub(super) fn ledger(&self) -> Ledger {
        debug_assert_eq!(self.books.ledger(), &self.walked(), "the sums are those of a walk over the lanes");
        *self.books.ledger()
    }

    /// The same with what is there added up over all lanes.
    fn walked(&self) -> Ledger {
        let mut all = Ledger { ready: 0, delayed: 0, inflight: 0, ..*self.books.ledger() };
        self.lanes.iter().for_each(|(_, state)| state.add_to(&mut all));
        all
    }

    /// What was counted, for questions about the ends alone.
    pub(super) const fn books(&self) -> &Books {
        &self.books
    }

    /// For tests that leave a count out.
    #[cfg(test)]
    pub(super) fn books_mut(&mut self) -> &mut Books {
        &mut self.books
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Announces the due time of an entry that is due before all others that are known: a lane that reads ahead as much
    /// as it may loads no page until then.
    fn announce_due(&self, lane: &LaneKey, due_at: Option<Timestamp>) {
        if let Some(due_at) = due_at {
            // As for every signal: without a dispatcher nothing is read.
            let _ = self.signal.send(LaneSignal::PutOff(lane.clone(), due_at));
        }
    }

    fn signal(&mut self, lane: &LaneKey) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.signalled = true;
            // Nobody listens only when the dispatcher has stopped; the entries are safe where they are.
            let _ = self.signal.send(LaneSignal::Ready(lane.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
