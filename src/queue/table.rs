//! The table of non-empty lanes: counts, cursors, what is handed out, who has been signalled. Pure.
//!
//! Counts are signed: an entry may be loaded and even settled in the instant between its becoming visible and
//! its being counted, so a figure can dip below zero for that instant. Readers clamp.
//!
//! Must not know: the store, tasks.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Settlement};
use crate::queue::LaneSignal;
use crate::queue::hosts::Hosts;
use crate::queue::ledger::Ledger;
use crate::queue::sizes::Sizes;
use crate::store::{LaneSummary, Loss};
use crate::telemetry::{Defect, defect};

/// What one lane holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneCounts {
    /// The key of the lane.
    pub lane: LaneKey,
    /// Entries that wait for their turn.
    pub ready: u64,
    /// Entries that wait for their due time, or became due and were not taken up yet.
    pub delayed: u64,
    /// Entries taken up by the dispatcher.
    pub taken_up: u64,
    /// When the oldest entry was accepted that waits for its turn or is taken up: a lower bound, brought up to date
    /// by every load. Those that wait for a due time do not count, however old they are.
    pub oldest: Option<Timestamp>,
    /// The earliest due time that is not handed out, as far as it is known.
    pub next_due: Option<Timestamp>,
    /// About the bytes of all of them: their number times the mean of those that were appended or read last.
    pub bytes: u64,
}

pub(super) struct LaneTable {
    lanes: HashMap<LaneKey, QueueLane>,
    hosts: Hosts,
    /// Numbers the changes of all lanes, so that a lane that is made anew never looks unchanged.
    changes: u64,
    /// Changed in the same steps as the lanes.
    ledger: Ledger,
    signal: mpsc::UnboundedSender<LaneSignal>,
}

#[derive(Default)]
struct QueueLane {
    /// Unsettled entries in plain order, handed out ones included.
    plain: i64,
    /// Unsettled entries with a due time, handed out ones included.
    put_off: i64,
    /// Plain entries handed out.
    plain_out: HashSet<EventId>,
    /// Entries with a due time handed out.
    put_off_out: HashSet<EventId>,
    /// The last plain entry handed out.
    cursor: Option<EventId>,
    /// The earliest due time that is not handed out, as far as known.
    next_due: Option<Timestamp>,
    /// The earliest one that was counted since the last load began: its page may not have seen it.
    due_since_load: Option<Timestamp>,
    /// No entry in plain order or handed out was accepted before.
    oldest: Option<Timestamp>,
    /// The sizes of the records that were appended or read last.
    sizes: Sizes,
    /// Appends under way.
    appending: u32,
    /// The last begin or end of an append, or entry put off: tells a load whether one came in between.
    changed: u64,
    signalled: bool,
    /// A load is under way.
    loading: bool,
    /// What was lost since it began: its page may hold some of that.
    gone: HashSet<EventId>,
}

impl QueueLane {
    fn is_spent(&self) -> bool {
        self.plain == 0
            && self.put_off == 0
            && self.appending == 0
            && self.plain_out.is_empty()
            && self.put_off_out.is_empty()
    }

    fn counts(&self, lane: &LaneKey) -> LaneCounts {
        let rest = |all: i64, out: &HashSet<EventId>| u64::try_from(all - count(out)).unwrap_or(0);
        LaneCounts {
            lane: lane.clone(),
            ready: rest(self.plain, &self.plain_out),
            delayed: rest(self.put_off, &self.put_off_out),
            taken_up: (self.plain_out.len() + self.put_off_out.len()) as u64,
            oldest: self.oldest,
            next_due: self.next_due,
            bytes: self.sizes.of(self.plain + self.put_off),
        }
    }

    /// Returns whether nothing known is due earlier.
    fn put_off_until(&mut self, due_at: Timestamp) -> bool {
        let is_first = self.next_due.is_none_or(|next_due| due_at < next_due);
        self.put_off += 1;
        self.next_due = earlier(self.next_due, Some(due_at));
        self.due_since_load = earlier(self.due_since_load, Some(due_at));
        is_first
    }
}

/// What a load starts from.
pub(super) struct LoadStart {
    pub(super) cursor: Option<EventId>,
    /// Entries with a due time that are out already.
    pub(super) skip: HashSet<EventId>,
    pub(super) next_due: Option<Timestamp>,
    pub(super) changed: u64,
}

/// What a load brought.
pub(super) struct LoadEnd<'a> {
    pub(super) plain: &'a [EventId],
    pub(super) put_off: &'a [EventId],
    /// The next due time, when due entries were asked for.
    pub(super) next_due: Option<Option<Timestamp>>,
    /// The plain order was read to its end.
    pub(super) exhausted: bool,
    pub(super) changed: u64,
}

impl LaneTable {
    pub(super) fn new(signal: mpsc::UnboundedSender<LaneSignal>) -> Self {
        Self { lanes: HashMap::new(), hosts: Hosts::default(), changes: 0, ledger: Ledger::default(), signal }
    }

    /// Whether this lane of one host is there or may be made.
    pub(super) fn takes(&self, lane: &LaneKey) -> bool {
        self.lanes.contains_key(lane) || self.hosts.have_room_for(lane)
    }

    /// The state of a lane that is there or is made.
    fn state(&mut self, lane: &LaneKey) -> &mut QueueLane {
        match self.lanes.entry(lane.clone()) {
            Entry::Occupied(state) => state.into_mut(),
            Entry::Vacant(place) => {
                self.hosts.add(lane);
                place.insert(QueueLane::default())
            }
        }
    }

    fn forget(&mut self, lane: &LaneKey) {
        if self.lanes.remove(lane).is_some() {
            self.hosts.remove(lane);
        }
    }

    /// Takes over what the store found when it was opened.
    pub(super) fn restore(&mut self, summary: LaneSummary) {
        self.ledger.accept(summary.ready + summary.delayed);
        let state = self.state(&summary.lane);
        defect!(unless state.is_spent(), "a lane that the store names twice");
        state.plain = i64::try_from(summary.ready).unwrap_or(i64::MAX);
        state.put_off = i64::try_from(summary.delayed).unwrap_or(i64::MAX);
        state.next_due = summary.next_due;
        state.oldest = summary.oldest;
        self.signal(&summary.lane);
    }

    pub(super) fn begin_append(&mut self, lane: &LaneKey) {
        self.changes += 1;
        let changes = self.changes;
        let state = self.state(lane);
        state.appending += 1;
        state.changed = changes;
    }

    pub(super) fn end_append(&mut self, lane: &LaneKey) {
        self.changes += 1;
        if let Some(state) = self.lanes.get_mut(lane) {
            state.changed = self.changes;
            state.appending = state.appending.checked_sub(1).unwrap_or_else(|| {
                Defect { place: "an append that ends without a begin" }.emit();
                0
            });
            if state.is_spent() {
                self.forget(lane);
            }
        }
    }

    /// Learns how large records of a lane are.
    pub(super) fn sized(&mut self, lane: &LaneKey, records: impl Iterator<Item = usize>) {
        if let Some(state) = self.lanes.get_mut(lane) {
            records.for_each(|bytes| state.sizes.add(bytes));
        }
    }

    pub(super) fn appended(&mut self, lane: &LaneKey, id: EventId, due_at: Option<Timestamp>) {
        self.ledger.accept(1);
        let mut first_due = None;
        if let Some(state) = self.lanes.get_mut(lane) {
            match due_at {
                None => {
                    state.plain += 1;
                    state.oldest = earlier(state.oldest, Some(id.accepted_at()));
                }
                Some(due_at) => first_due = Some(due_at).filter(|due_at| state.put_off_until(*due_at)),
            }
            if !state.signalled {
                self.signal(lane);
            }
            self.announce_due(lane, first_due);
        } else {
            Defect { place: "an entry appended to no lane" }.emit();
        }
        self.end_append(lane);
    }

    /// Registers for the next signal, then tells where to read.
    pub(super) fn begin_load(&mut self, lane: &LaneKey) -> Option<LoadStart> {
        let state = self.lanes.get_mut(lane)?;
        state.signalled = false;
        state.due_since_load = None;
        state.loading = true;
        state.gone.clear();
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

    /// Takes off an entry that ended as lost. Returns whether it is handed out: whoever has it does not know yet.
    pub(super) fn lost(&mut self, loss: &Loss) -> bool {
        self.changes += 1;
        self.ledger.end(&Settlement::Lost);
        let Some(state) = self.lanes.get_mut(&loss.lane) else { return false };
        // A load under way may have read before or after it: what it found is not the truth.
        state.changed = self.changes;
        let was_out = if loss.due_at.is_some() {
            state.put_off -= 1;
            state.put_off_out.remove(&loss.id)
        } else {
            state.plain -= 1;
            state.plain_out.remove(&loss.id)
        };
        if state.loading && !was_out {
            state.gone.insert(loss.id);
        }
        if state.is_spent() && state.gone.is_empty() {
            self.forget(&loss.lane);
        }
        was_out
    }

    /// Everything that is handed out.
    pub(super) fn all_out(&self) -> HashSet<EventId> {
        self.lanes
            .values()
            .flat_map(|state| state.plain_out.iter().chain(&state.put_off_out))
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
        if let Some(last) = load.plain.last() {
            state.cursor = Some(*last);
        }
        let is_new = |id: &EventId| !state.put_off_out.contains(id);
        defect!(unless load.put_off.iter().all(is_new), "an entry that was put off and is handed out twice");
        state.plain_out.extend(load.plain);
        state.put_off_out.extend(load.put_off);
        let undisturbed = state.appending == 0 && state.changed == load.changed;
        if let Some(next_due) = load.next_due {
            // An entry put off meanwhile may be due earlier than what the page saw.
            state.next_due = earlier(state.due_since_load, next_due);
        }
        let read_to_the_end = load.exhausted && undisturbed;
        let out = state.plain_out.iter().chain(&state.put_off_out).min().map(|id| id.accepted_at());
        state.oldest = match state.cursor {
            _ if read_to_the_end => out,
            // What is not read yet of the plain order is younger than the last that was handed out.
            Some(cursor) => earlier(out, Some(cursor.accepted_at())),
            None => earlier(out, state.oldest),
        };
        let next_due = state.next_due;
        // Damage may have taken entries that were counted: what was read to its end is the truth.
        if read_to_the_end {
            let counted = (state.plain, state.put_off);
            state.plain = count(&state.plain_out);
            if load.next_due == Some(None) {
                // An entry in both is counted as put off when its settlement is.
                let uncounted = state.put_off_out.intersection(&state.plain_out).count();
                state.put_off = count(&state.put_off_out) - i64::try_from(uncounted).unwrap_or(i64::MAX);
            }
            if counted != (state.plain, state.put_off) {
                Defect { place: "a lane that holds other entries than were counted" }.emit();
            }
            if state.is_spent() {
                self.forget(lane);
            }
        }
        next_due
    }

    pub(super) fn settled(
        &mut self,
        lane: &LaneKey,
        id: EventId,
        from_due: Option<Timestamp>,
        how: &Settlement,
    ) {
        self.changes += 1;
        self.ledger.end(how);
        let Some(state) = self.lanes.get_mut(lane) else {
            Defect { place: "an entry settled in no lane" }.emit();
            return;
        };
        if from_due.is_some() {
            state.put_off_out.remove(&id);
            state.put_off -= 1;
        } else {
            state.plain_out.remove(&id);
            state.plain -= 1;
        }
        let mut first_due = None;
        if let Settlement::Reschedule { due_at, .. } = how {
            first_due = Some(*due_at).filter(|due_at| state.put_off_until(*due_at));
            state.changed = self.changes;
        }
        if state.is_spent() {
            self.forget(lane);
        }
        self.announce_due(lane, first_due);
    }

    pub(super) fn is_out(&self, lane: &LaneKey, id: EventId, put_off: bool) -> bool {
        self.lanes.get(lane).is_some_and(|state| {
            if put_off { state.put_off_out.contains(&id) } else { state.plain_out.contains(&id) }
        })
    }

    /// Entries in plain order that are owed an end.
    pub(super) fn plain_in(&self, lane: &LaneKey) -> u64 {
        self.lanes.get(lane).map_or(0, |state| u64::try_from(state.plain).unwrap_or(0))
    }

    pub(super) fn counts(&self) -> Vec<LaneCounts> {
        self.lanes.iter().map(|(lane, state)| state.counts(lane)).collect()
    }

    pub(super) fn counts_of(&self, lane: &LaneKey) -> Option<LaneCounts> {
        self.lanes.get(lane).map(|state| state.counts(lane))
    }

    /// Plain entries handed out that stand before this one.
    pub(super) fn plain_out_before(&self, lane: &LaneKey, id: EventId) -> u64 {
        let before = |state: &QueueLane| state.plain_out.iter().filter(|out| **out < id).count();
        self.lanes.get(lane).map_or(0, before) as u64
    }

    /// Where all entries are. Costs a pass over the lanes.
    pub(super) fn ledger(&self) -> Ledger {
        let mut all = (0, 0, 0, 0);
        for state in self.lanes.values() {
            all.0 += state.plain;
            all.1 += count(&state.plain_out);
            all.2 += state.put_off;
            all.3 += count(&state.put_off_out);
        }
        self.ledger.with(all.0, all.1, all.2, all.3)
    }

    /// What came in and what ended, alone.
    pub(super) const fn booked(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// Announces the due time of an entry that is due before all others that are known: whoever reads ahead as much as
    /// it may loads no page until then.
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

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

fn count(ids: &HashSet<EventId>) -> i64 {
    i64::try_from(ids.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
