//! What one lane holds, and how that changes. Each change is counted in the ledger in the same step.
//!
//! The store may show an entry in the instant before the table is told of it: an append, or a retry's settlement, that
//! is durable and whose caller goes on a moment later. Then it counts when it is handed out, and not again when the
//! table is told.
//!
//! Must not know: the store, other lanes.

use std::collections::HashSet;

use crate::clock::Timestamp;
use crate::event::{EventId, LaneKey, Settlement};
use crate::queue::ledger::{Books, Count, Ledger};
use crate::queue::sizes::Sizes;
use crate::queue::standing::{Held, Place};
use crate::queue::table::{LaneCounts, LoadEnd};
use crate::store::{LaneSummary, Loss};
use crate::telemetry::{Defect, LaneSeries, defect};

#[derive(Default)]
pub(super) struct QueueLane {
    /// Entries in plain order that are not handed out.
    ready: u64,
    /// Entries with a due time that are not handed out.
    delayed: u64,
    /// Entries in plain order that are handed out.
    pub(super) plain_out: HashSet<EventId>,
    /// Entries with a due time handed out.
    pub(super) put_off_out: HashSet<EventId>,
    /// Those of both whose calls have started.
    started: HashSet<EventId>,
    early: Early,
    /// What comes and ends counts there; found when something does for the first time.
    series: Option<LaneSeries>,
    /// The last plain entry handed out.
    pub(super) cursor: Option<EventId>,
    /// The earliest due time that is not handed out, as far as known.
    pub(super) next_due: Option<Timestamp>,
    /// The earliest one that was counted since the last load began: its page may not have seen it.
    pub(super) due_since_load: Option<Timestamp>,
    /// No entry in plain order or handed out was accepted before.
    oldest: Option<Timestamp>,
    /// The sizes of the records that were appended or read last.
    pub(super) sizes: Sizes,
    /// Appends that were begun and have not ended.
    pub(super) appending: u32,
    /// The last begin or end of an append, or entry put off: by it a load sees whether one came in between.
    pub(super) changed: u64,
    pub(super) signalled: bool,
    /// A load of the lane is under way.
    pub(super) loading: bool,
    /// What was lost, or in the hand of an operator, since it began: its page may hold some of that.
    pub(super) gone: HashSet<EventId>,
    /// Entries that an operator is about to take out of the store: each until something of it is booked.
    pub(super) watched: HashSet<EventId>,
    /// Entries that an operator took out of the store, until what becomes of them is booked.
    pub(super) in_hand: HashSet<EventId>,
}

/// What was counted before the table had heard of it.
#[derive(Default)]
struct Early {
    /// How many entries of appends under way were counted, in plain order and with a due time.
    plain: u64,
    put_off: u64,
    /// Plain entries whose retry was handed out before the settlement that put them off was booked.
    retries: HashSet<EventId>,
}

impl QueueLane {
    pub(super) fn is_spent(&self) -> bool {
        self.ready == 0
            && self.delayed == 0
            && self.appending == 0
            && self.plain_out.is_empty()
            && self.put_off_out.is_empty()
            && self.early.retries.is_empty()
    }

    /// Whether it is spent and no page under way has to find here what it must not hand out.
    pub(super) fn may_be_forgotten(&self) -> bool {
        self.is_spent() && self.gone.is_empty()
    }

    /// Entries in plain order that are owed an end.
    pub(super) fn plain(&self) -> u64 {
        self.ready + self.plain_out.len() as u64
    }

    pub(super) fn counts(&self, lane: &LaneKey) -> LaneCounts {
        let mut here = Ledger::default();
        self.add_to(&mut here);
        let Ledger { ready, delayed, inflight, .. } = here;
        LaneCounts {
            lane: lane.clone(),
            ready,
            delayed,
            inflight,
            oldest: self.oldest,
            next_due: self.next_due,
            bytes: self.sizes.of(ready + delayed + inflight),
        }
    }

    /// Adds what it holds to the three terms of the ledger that say where entries are.
    pub(super) fn add_to(&self, here: &mut Ledger) {
        let started = self.started.len() as u64;
        defect!(unless self.out() >= started, "more calls than entries that are handed out");
        let held = [
            (Held::Stored, false, self.ready),
            (Held::Stored, true, self.delayed),
            (Held::ReadAhead, false, self.out().saturating_sub(started)),
            (Held::Started, false, started),
        ];
        for (held, waits_for_due, entries) in held {
            *here.at(Place::of(held, waits_for_due)) += entries;
        }
    }

    /// Entries that are handed out, started or not.
    fn out(&self) -> u64 {
        (self.plain_out.len() + self.put_off_out.len()) as u64
    }

    /// Who has an entry that is owed an end.
    pub(super) fn held(&self, id: EventId, is_put_off: bool) -> Held {
        let out = if is_put_off { &self.put_off_out } else { &self.plain_out };
        if !out.contains(&id) {
            Held::Stored
        } else if self.started.contains(&id) {
            Held::Started
        } else {
            Held::ReadAhead
        }
    }

    /// Who has an entry, wherever it stands.
    pub(super) fn holder(&self, id: EventId) -> Held {
        self.held(id, self.put_off_out.contains(&id))
    }

    /// Something is booked of an entry: an operator's knowledge of it is out of date.
    fn booked(&mut self, id: EventId) {
        // Nearly always nothing is there, and looking for it would cost a hash each.
        for set in [&mut self.watched, &mut self.in_hand] {
            if !set.is_empty() {
                set.remove(&id);
            }
        }
    }

    /// The call of an entry that is handed out has started. Not there is no defect: it may have been given up.
    pub(super) fn start(&mut self, id: EventId, is_put_off: bool, books: &mut Books) {
        if self.held(id, is_put_off) == Held::ReadAhead {
            self.started.insert(id);
            books.count(Count::From(Place::of(Held::ReadAhead, false)), 1);
            books.count(Count::To(Place::of(Held::Started, false)), 1);
        }
    }

    /// An entry is no longer handed out. False when it was not.
    fn take_back(&mut self, id: EventId, was_put_off: bool, books: &mut Books) -> bool {
        let out = if was_put_off { &mut self.put_off_out } else { &mut self.plain_out };
        if !out.remove(&id) {
            return false;
        }
        let held = if self.started.remove(&id) { Held::Started } else { Held::ReadAhead };
        books.count(Count::From(Place::of(held, false)), 1);
        true
    }

    /// The series in which it counts now, found by `find` where they are not kept yet, or have changed.
    pub(super) fn series(&mut self, find: impl FnOnce() -> LaneSeries) -> &LaneSeries {
        let kept = self.series.take().filter(LaneSeries::are_current);
        self.series.insert(kept.unwrap_or_else(find))
    }

    /// Takes over what the store found when it was opened.
    pub(super) fn restore(&mut self, summary: &LaneSummary, books: &mut Books) {
        self.ready += summary.ready;
        self.delayed += summary.delayed;
        books.count(Count::Accepted, summary.ready + summary.delayed);
        books.count(Count::To(Place::of(Held::Stored, false)), summary.ready);
        books.count(Count::To(Place::of(Held::Stored, true)), summary.delayed);
        self.next_due = summary.next_due;
        self.oldest = summary.oldest;
    }

    /// An append under way has ended. What it made durable is counted by then.
    pub(super) fn end_append(&mut self) {
        self.appending = self.appending.checked_sub(1).unwrap_or_else(|| {
            Defect { place: "an append that ends without a begin" }.emit();
            0
        });
        if self.appending == 0 {
            // Nobody is left to count them again: of an append that failed although its entries are kept, they were
            // counted once.
            (self.early.plain, self.early.put_off) = (0, 0);
        }
    }

    /// An entry is durable. Returns its due time when nothing known is due earlier.
    pub(super) fn accept(
        &mut self,
        id: EventId,
        due_at: Option<Timestamp>,
        books: &mut Books,
    ) -> Option<Timestamp> {
        let early = if due_at.is_some() { &mut self.early.put_off } else { &mut self.early.plain };
        if *early > 0 {
            *early -= 1;
        } else {
            self.came(due_at.is_some(), books);
        }
        match due_at {
            None => {
                self.oldest = earlier(self.oldest, Some(id.accepted_at()));
                None
            }
            Some(due_at) => self.put_off_until(due_at),
        }
    }

    fn came(&mut self, is_put_off: bool, books: &mut Books) {
        books.count(Count::Accepted, 1);
        self.put(is_put_off, books);
    }

    /// Books one more that waits, for its due time or for its turn.
    fn put(&mut self, is_put_off: bool, books: &mut Books) {
        *if is_put_off { &mut self.delayed } else { &mut self.ready } += 1;
        books.count(Count::To(Place::of(Held::Stored, is_put_off)), 1);
    }

    /// One waits no more. False when none was there.
    fn take(&mut self, is_put_off: bool, books: &mut Books) -> bool {
        let waiting = if is_put_off { &mut self.delayed } else { &mut self.ready };
        // Not there is no defect by itself: it may have been counted out when the lane was read to its end.
        let Some(rest) = waiting.checked_sub(1) else { return false };
        *waiting = rest;
        books.count(Count::From(Place::of(Held::Stored, is_put_off)), 1);
        true
    }

    /// An entry is there that nobody has counted yet. Its append is under way, or has failed although the entry is
    /// kept.
    fn came_early(&mut self, is_put_off: bool, books: &mut Books) {
        self.came(is_put_off, books);
        if self.appending > 0 {
            *if is_put_off { &mut self.early.put_off } else { &mut self.early.plain } += 1;
        }
    }

    /// The settlement by which a plain entry that is handed out was put off is durable and not booked yet.
    fn put_off_early(&mut self, id: EventId, books: &mut Books) {
        self.take_back(id, false, books);
        self.put(true, books);
        self.early.retries.insert(id);
    }

    /// Counts what a load hands out. Returns how many of them the table had not heard of, with no append under way that
    /// could explain it.
    pub(super) fn hand_out(&mut self, load: &LoadEnd<'_>, books: &mut Books) -> u64 {
        let mut unknown = 0;
        let all = load.plain.iter().map(|id| (id, false)).chain(load.put_off.iter().map(|id| (id, true)));
        for (id, is_put_off) in all {
            if is_put_off && self.plain_out.contains(id) {
                self.put_off_early(*id, books);
            } else if (if is_put_off { self.delayed } else { self.ready }) == 0 {
                unknown += u64::from(self.appending == 0);
                self.came_early(is_put_off, books);
            }
            self.take(is_put_off, books);
            books.count(Count::To(Place::of(Held::ReadAhead, false)), 1);
            if is_put_off {
                self.put_off_out.insert(*id)
            } else {
                self.plain_out.insert(*id)
            };
        }
        unknown
    }

    /// Brings the age of the oldest up to date after a load.
    pub(super) fn loaded(&mut self, read_to_the_end: bool) {
        // Ids are in the order of acceptance, so that the lowest is the oldest.
        let out = self.plain_out.iter().chain(&self.put_off_out).min().map(|id| id.accepted_at());
        self.oldest = match self.cursor {
            _ if read_to_the_end => out,
            // What is not read yet of the plain order is younger than the last that was handed out.
            Some(cursor) => earlier(out, Some(cursor.accepted_at())),
            None => earlier(out, self.oldest),
        };
    }

    /// Nothing is left that waits in plain order, or with a due time either. Returns whether something was counted that
    /// is not there: the ledger then has a difference.
    pub(super) fn was_read_to_the_end(&mut self, nothing_put_off: bool, books: &mut Books) -> bool {
        let missing = (self.ready, if nothing_put_off { self.delayed } else { 0 });
        books.count(Count::From(Place::of(Held::Stored, false)), missing.0);
        books.count(Count::From(Place::of(Held::Stored, true)), missing.1);
        self.ready = 0;
        self.delayed -= missing.1;
        missing != (0, 0)
    }

    /// A settlement is durable. Returns the due time of an entry that was put off when nothing known is due earlier.
    pub(super) fn settle(
        &mut self,
        id: EventId,
        from_due: Option<Timestamp>,
        how: &Settlement,
        books: &mut Books,
    ) -> Option<Timestamp> {
        self.booked(id);
        // Its next try is handed out already: that was booked in place of this settlement.
        if from_due.is_none() && self.early.retries.remove(&id) {
            return None;
        }
        if !self.take_back(id, from_due.is_some(), books) {
            Defect { place: "an entry settled that was not handed out" }.emit();
        }
        if let Some(end) = Count::of_end(how) {
            books.count(end, 1);
        }
        let Settlement::Reschedule { due_at, .. } = how else { return None };
        self.put(true, books);
        self.put_off_until(*due_at)
    }

    /// Takes off an entry that ended as lost. Returns whether it was handed out.
    pub(super) fn lose(&mut self, loss: &Loss, books: &mut Books) -> bool {
        self.booked(loss.id);
        let is_put_off = loss.due_at.is_some();
        if self.take_back(loss.id, is_put_off, books) {
            return true;
        }
        if is_put_off && self.plain_out.contains(&loss.id) {
            self.put_off_early(loss.id, books);
        }
        // One that was missed when the lane was read to its end is counted out already.
        if !self.take(is_put_off, books) && self.appending > 0 {
            self.came_early(is_put_off, books);
            self.take(is_put_off, books);
        }
        false
    }

    /// Returns the due time when nothing known is due earlier.
    fn put_off_until(&mut self, due_at: Timestamp) -> Option<Timestamp> {
        let is_first = self.next_due.is_none_or(|next_due| due_at < next_due);
        self.next_due = earlier(self.next_due, Some(due_at));
        self.due_since_load = earlier(self.due_since_load, Some(due_at));
        is_first.then_some(due_at)
    }
}

pub(super) fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}
