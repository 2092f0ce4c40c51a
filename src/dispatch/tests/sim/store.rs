//! A small model of the queue: what `load` hands out and when settlements become visible to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::tests::sim::check::Facts;
use crate::event::{Entry, Event, EventId, LaneKey, Settlement, Tries};
use crate::queue::{LaneSignal, LoadedPage};
use crate::store::ReadLimit;

/// By then a page that was asked for has come.
const SURELY_READ: Duration = Duration::from_millis(800);

#[derive(Default)]
pub(super) struct ModelQueue {
    rows: BTreeMap<EventId, Row>,
    lanes: BTreeMap<LaneKey, LaneRows>,
    /// By the moment at which they become visible.
    pending: BTreeMap<(Timestamp, EventId), Settlement>,
    pub(super) signals: Vec<LaneSignal>,
    /// When a page could not be read last.
    failed_at: BTreeMap<LaneKey, Timestamp>,
    pub(super) ends: BTreeMap<EventId, Settlement>,
    accepted: u128,
    /// For a negative control: hands out plain entries newest first.
    pub(super) backwards: bool,
}

struct Row {
    lane: LaneKey,
    due_at: Option<Timestamp>,
    tries: Tries,
    event: Event,
    out: bool,
    /// Since when it can be read.
    visible_at: Timestamp,
}

#[derive(Default)]
struct LaneRows {
    plain: BTreeSet<EventId>,
    due: BTreeSet<(Timestamp, EventId)>,
    signalled: bool,
}

impl LaneRows {
    /// When the next of those is due that are not handed out.
    fn next_due(&self, rows: &BTreeMap<EventId, Row>) -> Option<Timestamp> {
        let waits = |(_, id): &&(Timestamp, EventId)| rows.get(id).is_some_and(|row| !row.out);
        self.due.iter().find(waits).map(|(due_at, _)| *due_at)
    }

    /// Announces an entry that is due before all of them.
    fn put_off(
        &mut self,
        rows: &BTreeMap<EventId, Row>,
        lane: &LaneKey,
        due_at: Timestamp,
        id: EventId,
    ) -> Option<LaneSignal> {
        let is_first = self.next_due(rows).is_none_or(|next_due| due_at < next_due);
        self.due.insert((due_at, id));
        is_first.then(|| LaneSignal::PutOff(lane.clone(), due_at))
    }
}

impl ModelQueue {
    pub(super) fn accept(&mut self, lane: &LaneKey, event: Event, now: Timestamp) {
        self.accepted += 1;
        let id = EventId::new(now.as_millis(), self.accepted);
        let due_at = event.due_at;
        let rows = self.lanes.entry(lane.clone()).or_default();
        if !rows.signalled {
            rows.signalled = true;
            self.signals.push(LaneSignal::Ready(lane.clone()));
        }
        match due_at {
            Some(due_at) => self.signals.extend(rows.put_off(&self.rows, lane, due_at, id)),
            None => drop(rows.plain.insert(id)),
        }
        let row = Row { lane: lane.clone(), due_at, tries: Tries::NONE, event, out: false, visible_at: now };
        self.rows.insert(id, row);
    }

    /// A page of the lane cannot be read.
    pub(super) fn fail(&mut self, lane: &LaneKey, now: Timestamp) {
        self.failed_at.insert(lane.clone(), now);
    }

    /// An entry that has been due in the queue for long, and has not outlived its time, of a lane that could be read.
    pub(super) fn overdue(&self, lane: &LaneKey, now: Timestamp) -> Option<EventId> {
        if self.failed_at.get(lane).is_some_and(|at| *at + SURELY_READ > now) {
            return None;
        }
        let is_overdue = |(due_at, id): &&(Timestamp, EventId)| {
            self.rows.get(id).is_some_and(|row| {
                let since = (*due_at).max(row.visible_at);
                !row.out && since + SURELY_READ <= now && row.event.expires_at > now
            })
        };
        self.lanes.get(lane)?.due.iter().find(is_overdue).map(|(_, id)| *id)
    }

    pub(super) fn load(&mut self, key: &LaneKey, limit: ReadLimit, now: Timestamp) -> LoadedPage {
        self.show(now);
        let Some(lane) = self.lanes.get_mut(key) else { return LoadedPage::default() };
        lane.signalled = false;
        let rows = &mut self.rows;
        let is_in = |id: &EventId| rows.get(id).is_some_and(|row| !row.out);
        let due = lane.due.iter().filter(|(due_at, id)| *due_at <= now && is_in(id)).map(|(_, id)| *id);
        let mut ids: Vec<EventId> = due.take(limit.entries.div_ceil(2)).collect();
        let room = limit.entries - ids.len();
        let mut plain: Vec<EventId> = lane.plain.iter().copied().filter(is_in).collect();
        if self.backwards {
            plain.reverse();
        }
        let more = room == 0 || !plain.is_empty();
        ids.extend(plain.into_iter().take(room));
        let mut entries = Vec::new();
        for id in ids {
            if let Some(row) = rows.get_mut(&id) {
                row.out = true;
                entries.push(Entry {
                    id,
                    lane: key.clone(),
                    tries: row.tries,
                    due_at: row.due_at,
                    event: row.event.clone(),
                });
            }
        }
        let next_due = lane.next_due(rows);
        LoadedPage { entries, more, next_due }
    }

    /// What is on record about an entry that is handed out.
    pub(super) fn facts(&self, id: EventId) -> Option<Facts> {
        let row = self.rows.get(&id).filter(|row| row.out)?;
        Some(Facts { due_at: row.due_at, expires_at: row.event.expires_at })
    }

    pub(super) fn settle(&mut self, id: EventId, how: Settlement, now: Timestamp, delay: Duration) {
        self.pending.insert((now + delay, id), how);
    }

    /// When the next settlement becomes visible.
    pub(super) fn next_visible(&self) -> Option<Timestamp> {
        self.pending.first_key_value().map(|((at, _), _)| *at)
    }

    /// Makes settlements visible.
    pub(super) fn show(&mut self, now: Timestamp) {
        while let Some(first) = self.pending.first_entry().filter(|first| first.key().0 <= now) {
            let ((_, id), how) = first.remove_entry();
            let Some(mut row) = self.rows.remove(&id) else { continue };
            let Some(lane) = self.lanes.get_mut(&row.lane) else { continue };
            match row.due_at {
                Some(due_at) => lane.due.remove(&(due_at, id)),
                None => lane.plain.remove(&id),
            };
            if let Settlement::Reschedule { due_at, tries, .. } = how {
                self.signals.extend(lane.put_off(&self.rows, &row.lane, due_at, id));
                row = Row { due_at: Some(due_at), tries, out: false, visible_at: now, ..row };
                self.rows.insert(id, row);
            } else {
                self.ends.insert(id, how);
            }
        }
    }

    /// Settlements that were not visible are lost, everything handed out comes back.
    pub(super) fn crash(&mut self) {
        self.pending.clear();
        for row in self.rows.values_mut() {
            row.out = false;
        }
        self.signals = self.lanes.keys().cloned().map(LaneSignal::Ready).collect();
        for lane in self.lanes.values_mut() {
            lane.signalled = true;
        }
    }

    pub(super) fn accepted(&self) -> usize {
        usize::try_from(self.accepted).unwrap_or(usize::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Nothing is lost: every accepted entry waits or has exactly one end.
    pub(super) fn adds_up(&self) -> Result<(), String> {
        let (waiting, ended) = (self.rows.len(), self.ends.len());
        if waiting + ended == self.accepted() {
            Ok(())
        } else {
            Err(format!("{} accepted, but {waiting} wait and {ended} have ended", self.accepted()))
        }
    }
}
