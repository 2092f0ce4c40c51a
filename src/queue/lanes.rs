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
    /// A lower bound for when its oldest entry was accepted.
    pub oldest: Option<Timestamp>,
}

pub(super) struct LaneTable {
    lanes: HashMap<LaneKey, LaneState>,
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
    oldest: Option<Timestamp>,
    /// Appends under way.
    appending: u32,
    /// Appends begun since the lane was made: tells a load whether one came in between.
    appends_begun: u64,
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
}

/// What a load starts from.
pub(super) struct LoadStart {
    pub(super) cursor: Option<EventId>,
    /// Entries with a due time that are out already.
    pub(super) skip: HashSet<EventId>,
    pub(super) next_due: Option<Timestamp>,
    pub(super) appends_begun: u64,
}

/// What a load brought.
pub(super) struct LoadEnd<'a> {
    pub(super) plain: &'a [EventId],
    pub(super) put_off: &'a [EventId],
    /// The next due time, when due entries were asked for.
    pub(super) next_due: Option<Option<Timestamp>>,
    /// The plain order was read to its end.
    pub(super) exhausted: bool,
    pub(super) appends_begun: u64,
}

impl LaneTable {
    pub(super) fn new(signal: mpsc::UnboundedSender<LaneKey>) -> Self {
        Self { lanes: HashMap::new(), signal }
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
        let state = match self.lanes.get_mut(lane) {
            Some(state) => state,
            None => self.lanes.entry(lane.clone()).or_default(),
        };
        state.appending += 1;
        state.appends_begun += 1;
    }

    pub(super) fn end_append(&mut self, lane: &LaneKey) {
        if let Some(state) = self.lanes.get_mut(lane) {
            state.appending = state.appending.saturating_sub(1);
            if state.is_spent() {
                self.lanes.remove(lane);
            }
        }
    }

    pub(super) fn appended(&mut self, lane: &LaneKey, id: EventId, due_at: Option<Timestamp>) {
        if let Some(state) = self.lanes.get_mut(lane) {
            match due_at {
                None => state.plain += 1,
                Some(due_at) => {
                    state.put_off += 1;
                    state.next_due = earlier(state.next_due, Some(due_at));
                }
            }
            state.oldest = earlier(state.oldest, Some(id.accepted_at()));
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
        Some(LoadStart {
            cursor: state.cursor,
            skip: state.put_off_out.clone(),
            next_due: state.next_due,
            appends_begun: state.appends_begun,
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
        let undisturbed = state.appending == 0 && state.appends_begun == load.appends_begun;
        match load.next_due {
            // An entry put off meanwhile may be due earlier than what the page saw.
            Some(next_due) if undisturbed => state.next_due = next_due,
            Some(next_due) => state.next_due = earlier(state.next_due, next_due),
            None => {}
        }
        let first = load.plain.first().into_iter().chain(load.put_off).min();
        state.oldest = first.map(|id| id.accepted_at()).or(state.oldest);
        let next_due = state.next_due;
        // Damage may have taken entries that were counted: what was read to its end is the truth.
        if load.exhausted && undisturbed {
            state.plain = count(&state.plain_out);
            if load.next_due == Some(None) {
                state.put_off = count(&state.put_off_out);
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
        let Some(state) = self.lanes.get_mut(lane) else { return };
        if from_due.is_some() {
            state.put_off_out.remove(&id);
            state.put_off -= 1;
        } else {
            state.plain_out.remove(&id);
            state.plain -= 1;
        }
        if let Settlement::Reschedule { due_at, .. } = how {
            state.put_off += 1;
            state.next_due = earlier(state.next_due, Some(*due_at));
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

    pub(super) fn counts(&self) -> Vec<LaneCounts> {
        let rest = |all: i64, out: &HashSet<EventId>| u64::try_from(all - count(out)).unwrap_or(0);
        self.lanes
            .iter()
            .map(|(lane, state)| LaneCounts {
                lane: lane.clone(),
                ready: rest(state.plain, &state.plain_out),
                delayed: rest(state.put_off, &state.put_off_out),
                taken_up: (state.plain_out.len() + state.put_off_out.len()) as u64,
                oldest: state.oldest,
            })
            .collect()
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
