//! The table of non-empty lanes: counts, cursors, what is handed out, who has been signalled. Pure.
//!
//! Counts are signed: an entry may be loaded and even settled in the instant between its becoming visible and
//! its being counted, so a figure can dip below zero for that instant. Readers clamp.
//!
//! Must not know: the store, tasks.

use std::collections::{HashMap, HashSet};

use tokio::sync::mpsc;

use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Settlement};
use crate::store::LaneSummary;

/// What one lane holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneCounts {
    /// Its name.
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
}

pub(super) struct LaneTable {
    lanes: HashMap<LaneKey, LaneState>,
    /// Numbers the changes of all lanes, so that a lane that is made anew never looks unchanged.
    changes: u64,
    signal: mpsc::UnboundedSender<LaneKey>,
}

#[derive(Default)]
struct LaneState {
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
    /// Appends under way.
    appending: u32,
    /// The last begin or end of an append, or entry put off: tells a load whether one came in between.
    changed: u64,
    signalled: bool,
}

impl LaneState {
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
        }
    }

    fn put_off_until(&mut self, due_at: Timestamp) {
        self.put_off += 1;
        self.next_due = earlier(self.next_due, Some(due_at));
        self.due_since_load = earlier(self.due_since_load, Some(due_at));
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
    pub(super) fn new(signal: mpsc::UnboundedSender<LaneKey>) -> Self {
        Self { lanes: HashMap::new(), changes: 0, signal }
    }

    /// Takes over what the store found when it was opened.
    pub(super) fn restore(&mut self, summary: LaneSummary) {
        let state = self.lanes.entry(summary.lane.clone()).or_default();
        state.plain = i64::try_from(summary.ready).unwrap_or(i64::MAX);
        state.put_off = i64::try_from(summary.delayed).unwrap_or(i64::MAX);
        state.next_due = summary.next_due;
        state.oldest = summary.oldest;
        self.signal(&summary.lane);
    }

    pub(super) fn begin_append(&mut self, lane: &LaneKey) {
        self.changes += 1;
        let state = match self.lanes.get_mut(lane) {
            Some(state) => state,
            None => self.lanes.entry(lane.clone()).or_default(),
        };
        state.appending += 1;
        state.changed = self.changes;
    }

    pub(super) fn end_append(&mut self, lane: &LaneKey) {
        self.changes += 1;
        if let Some(state) = self.lanes.get_mut(lane) {
            state.changed = self.changes;
            state.appending = state.appending.saturating_sub(1);
            if state.is_spent() {
                self.lanes.remove(lane);
            }
        }
    }

    pub(super) fn appended(&mut self, lane: &LaneKey, id: EventId, due_at: Option<Timestamp>) {
        if let Some(state) = self.lanes.get_mut(lane) {
            match due_at {
                None => {
                    state.plain += 1;
                    state.oldest = earlier(state.oldest, Some(id.accepted_at()));
                }
                Some(due_at) => state.put_off_until(due_at),
            }
            if !state.signalled {
                self.signal(lane);
            }
        }
        self.end_append(lane);
    }

    /// Registers for the next signal, then tells where to read.
    pub(super) fn begin_load(&mut self, lane: &LaneKey) -> Option<LoadStart> {
        let state = self.lanes.get_mut(lane)?;
        state.signalled = false;
        state.due_since_load = None;
        Some(LoadStart {
            cursor: state.cursor,
            skip: state.put_off_out.clone(),
            next_due: state.next_due,
            changed: state.changed,
        })
    }

    /// Records what was handed out; returns the lane's next due time.
    pub(super) fn end_load(&mut self, lane: &LaneKey, load: &LoadEnd<'_>) -> Option<Timestamp> {
        let state = self.lanes.get_mut(lane)?;
        if let Some(last) = load.plain.last() {
            state.cursor = Some(*last);
        }
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
            state.plain = count(&state.plain_out);
            if load.next_due == Some(None) {
                // An entry in both is counted as put off when its settlement is.
                let uncounted = state.put_off_out.intersection(&state.plain_out).count();
                state.put_off = count(&state.put_off_out) - i64::try_from(uncounted).unwrap_or(i64::MAX);
            }
            if state.is_spent() {
                self.lanes.remove(lane);
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
        let Some(state) = self.lanes.get_mut(lane) else { return };
        if from_due.is_some() {
            state.put_off_out.remove(&id);
            state.put_off -= 1;
        } else {
            state.plain_out.remove(&id);
            state.plain -= 1;
        }
        if let Settlement::Reschedule { due_at, .. } = how {
            state.put_off_until(*due_at);
            state.changed = self.changes;
        }
        if state.is_spent() {
            self.lanes.remove(lane);
        }
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
        let before = |state: &LaneState| state.plain_out.iter().filter(|out| **out < id).count();
        self.lanes.get(lane).map_or(0, before) as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    fn signal(&mut self, lane: &LaneKey) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.signalled = true;
            // Nobody listens only when the dispatcher has stopped; the entries are safe where they are.
            let _ = self.signal.send(lane.clone());
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
mod tests {
    use super::*;
    use crate::event::{Lane, PolicyId, PolicyRef};

    const DUE: Timestamp = Timestamp::from_millis(500);
    const LATER: Timestamp = Timestamp::from_millis(900);

    fn table() -> (LaneTable, LaneKey, mpsc::UnboundedReceiver<LaneKey>) {
        let (signal, signals) = mpsc::unbounded_channel();
        let policy = PolicyId::parse("p").expect("valid");
        let lane = Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("valid");
        (LaneTable::new(signal), lane.key().clone(), signals)
    }

    fn id(n: u128) -> EventId {
        EventId::new(1, n)
    }

    fn add(table: &mut LaneTable, lane: &LaneKey, n: u128) {
        table.begin_append(lane);
        table.appended(lane, id(n), None);
    }

    /// Ends a load that found nothing more in plain order, and of the due entries these.
    fn end_at_the_end(
        table: &mut LaneTable,
        lane: &LaneKey,
        start: &LoadStart,
        put_off: &[EventId],
    ) -> Option<Timestamp> {
        let next_due = start.next_due.map(|_| None);
        let end = LoadEnd { plain: &[], put_off, next_due, exhausted: true, changed: start.changed };
        table.end_load(lane, &end)
    }

    fn hand_out(table: &mut LaneTable, lane: &LaneKey, plain: &[EventId]) {
        let start = table.begin_load(lane).expect("holds something");
        let end = LoadEnd { plain, put_off: &[], next_due: None, exhausted: false, changed: start.changed };
        table.end_load(lane, &end);
    }

    fn settle(
        table: &mut LaneTable,
        lane: &LaneKey,
        n: u128,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) {
        let how = to.map_or(Settlement::Delivered, |due_at| Settlement::Reschedule { due_at, attempts: 1 });
        table.settled(lane, id(n), from, &how);
    }

    #[test]
    fn the_oldest_is_no_younger_than_anything_that_waits_for_its_turn_or_is_out() {
        let (mut table, lane, _signals) = table();
        let aged = |n: u64| EventId::new(n, n.into());
        let oldest = |table: &LaneTable| table.counts().first().and_then(|lane| lane.oldest);
        let at = |n| Some(Timestamp::from_millis(n));
        for n in [10, 20, 30] {
            table.begin_append(&lane);
            table.appended(&lane, aged(n), None);
        }
        assert_eq!(oldest(&table), at(10));
        hand_out(&mut table, &lane, &[aged(10), aged(20)]);
        table.settled(&lane, aged(10), None, &Settlement::Reschedule { due_at: DUE, attempts: 1 });
        hand_out(&mut table, &lane, &[]);
        assert_eq!(oldest(&table), at(20), "what is put off does not count");
        let start = table.begin_load(&lane).expect("three are unsettled");
        let (plain, put_off, changed) = (&[aged(30)][..], &[aged(10)][..], start.changed);
        table.end_load(&lane, &LoadEnd { plain, put_off, next_due: Some(None), exhausted: false, changed });
        assert_eq!(oldest(&table), at(10), "the retry is older than the plain entries out with it");
        table.settled(&lane, aged(10), Some(DUE), &Settlement::Delivered);
        hand_out(&mut table, &lane, &[]);
        assert_eq!(oldest(&table), at(20));
        for n in [20, 30] {
            table.settled(&lane, aged(n), None, &Settlement::Reschedule { due_at: LATER, attempts: 1 });
        }
        let start = table.begin_load(&lane).expect("two are put off");
        end_at_the_end(&mut table, &lane, &start, &[]);
        assert_eq!(oldest(&table), None);
    }

    #[test]
    fn an_append_that_spans_the_begin_of_a_load_is_not_forgotten() {
        let (mut table, lane, _signals) = table();
        table.begin_append(&lane);
        let start = table.begin_load(&lane).expect("an append is under way");
        table.appended(&lane, id(1), None);
        end_at_the_end(&mut table, &lane, &start, &[]);
        assert_eq!(table.counts().first().map(|lane| lane.ready), Some(1));
    }

    #[test]
    fn a_lane_made_anew_during_a_load_is_not_taken_for_the_old_one() {
        let (mut table, lane, _signals) = table();
        add(&mut table, &lane, 1);
        hand_out(&mut table, &lane, &[id(1)]);
        let start = table.begin_load(&lane).expect("one is out");
        settle(&mut table, &lane, 1, None, None);
        assert!(table.is_empty());
        add(&mut table, &lane, 2);
        end_at_the_end(&mut table, &lane, &start, &[]);
        assert_eq!(table.counts().first().map(|lane| lane.ready), Some(1));
    }

    #[test]
    fn an_entry_put_off_during_a_load_keeps_its_due_time_and_its_count() {
        let (mut table, lane, _signals) = table();
        add(&mut table, &lane, 1);
        add(&mut table, &lane, 2);
        hand_out(&mut table, &lane, &[id(1), id(2)]);
        settle(&mut table, &lane, 1, None, Some(DUE));
        let start = table.begin_load(&lane).expect("two are unsettled");
        settle(&mut table, &lane, 2, None, Some(LATER));
        assert_eq!(end_at_the_end(&mut table, &lane, &start, &[id(1)]), Some(LATER));
        assert_eq!(table.counts().first().map(|lane| (lane.delayed, lane.taken_up)), Some((1, 1)));
    }

    #[test]
    fn a_retry_handed_out_before_its_settlement_was_counted_is_counted_once() {
        let (mut table, lane, _signals) = table();
        add(&mut table, &lane, 1);
        add(&mut table, &lane, 2);
        hand_out(&mut table, &lane, &[id(1), id(2)]);
        settle(&mut table, &lane, 1, None, Some(DUE));
        let start = table.begin_load(&lane).expect("two are unsettled");
        // The store shows the retry of 2 already.
        end_at_the_end(&mut table, &lane, &start, &[id(1), id(2)]);
        settle(&mut table, &lane, 2, None, Some(DUE));
        settle(&mut table, &lane, 1, Some(DUE), None);
        settle(&mut table, &lane, 2, Some(DUE), None);
        assert!(table.is_empty());
    }
}
