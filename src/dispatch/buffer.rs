//! What one lane has read ahead, and when the queue must be asked for entries that were put off.
//!
//! Must not know: limits, other lanes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::dispatch::groups::EntryRank;
use crate::event::{Entry, EventId, Tries};
use crate::telemetry::defect;

/// Retries whose due times one lane remembers by itself; the queue knows all of them a little later.
const REMEMBERED_RETRIES: usize = 256;
/// After this long the queue knows a due time that was not remembered here.
const SURELY_VISIBLE: Duration = Duration::from_secs(5);
/// How soon a due entry that was not there yet is looked for again, at first and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A remembered retry that the queue has not shown for this long was ended by somebody else.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Entries read ahead: due ones in due order, then plain ones in order of acceptance. An entry that is put
/// back finds its old place by itself.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    due: BTreeMap<(Timestamp, EventId), Box<Entry>>,
    plain: BTreeMap<EventId, Box<Entry>>,
    /// Those that an emergency stop holds back, and those that have outlived their time, or have a date, while time is in
    /// doubt: not to be sent, nor to be dropped.
    kept: BTreeMap<EventId, Box<Entry>>,
    bytes: usize,
}

impl Buffer {
    pub(super) fn push(&mut self, entry: Box<Entry>) {
        self.bytes += weight(&entry);
        let before = match entry.due_at {
            Some(due_at) => self.due.insert((due_at, entry.id), entry),
            None => self.plain.insert(entry.id, entry),
        };
        defect!(unless before.is_none(), "an entry that is read ahead twice");
    }

    /// Takes out the entry of this rank.
    pub(super) fn pop(&mut self, rank: EntryRank) -> Option<Box<Entry>> {
        let entry = match rank {
            EntryRank::Due(due_at, id) => self.due.remove(&(due_at, id))?,
            EntryRank::Plain(id) => self.plain.remove(&id)?,
        };
        defect!(unless weight(&entry) <= self.bytes, "an entry that was never weighed");
        self.bytes = self.bytes.saturating_sub(weight(&entry));
        Some(entry)
    }

    /// Keeps an entry aside until [`Buffer::give_back`].
    pub(super) fn keep(&mut self, entry: Box<Entry>) {
        self.bytes += weight(&entry);
        self.kept.insert(entry.id, entry);
    }

    /// Puts what was kept aside back into its place.
    pub(super) fn give_back(&mut self) {
        for entry in std::mem::take(&mut self.kept).into_values() {
            self.bytes = self.bytes.saturating_sub(weight(&entry));
            self.push(entry);
        }
    }

    pub(super) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Changes entries; neither their ids nor their due times.
    pub(super) fn for_each_mut(&mut self, change: impl FnMut(&mut Box<Entry>)) {
        self.due.values_mut().chain(self.plain.values_mut()).chain(self.kept.values_mut()).for_each(change);
    }

    /// Takes out the entries that are over; returns how many of them may have been promised a start.
    pub(super) fn take_if(
        &mut self,
        over: impl Fn(&Entry) -> bool,
        mut out: impl FnMut(Box<Entry>),
    ) -> usize {
        let due: Vec<_> = self.due.iter().filter(|(_, entry)| over(entry)).map(|(place, _)| *place).collect();
        let plain: Vec<_> = self.plain.values().filter(|entry| over(entry)).map(|entry| entry.id).collect();
        let kept: Vec<_> = self.kept.values().filter(|entry| over(entry)).map(|entry| entry.id).collect();
        let mut may_be_promised = 0;
        let kept = kept.iter().filter_map(|id| self.kept.remove(id));
        let due = due.iter().filter_map(|place| self.due.remove(place));
        for entry in due.chain(plain.iter().filter_map(|id| self.plain.remove(id))).chain(kept) {
            self.bytes = self.bytes.saturating_sub(weight(&entry));
            may_be_promised += usize::from(is_fresh(&entry));
            out(entry);
        }
        may_be_promised
    }

    pub(super) fn first_expiry(&self) -> Option<Timestamp> {
        self.due
            .values()
            .chain(self.plain.values())
            .chain(self.kept.values())
            .map(|entry| entry.event.expires_at)
            .min()
    }

    /// How many entries go first of those that may go at `now`; `None` when it is not here.
    pub(super) fn place(&self, id: EventId, now: Timestamp) -> Option<usize> {
        let due = || self.due.iter().take_while(|((due_at, _), _)| *due_at <= now);
        if self.plain.contains_key(&id) {
            return Some(due().count() + self.plain.range(..id).count());
        }
        // What is kept aside comes after everything else: nobody knows when.
        let kept = || self.kept.keys().position(|other| *other == id);
        let before = self.due.len() + self.plain.len();
        self.due.keys().position(|(_, other)| *other == id).or_else(|| kept().map(|place| before + place))
    }

    /// When the last of the plain ones was accepted.
    pub(super) fn last_plain(&self) -> Option<Timestamp> {
        self.plain.last_key_value().map(|(id, _)| id.accepted_at())
    }

    /// The first of those with a due time, and the first of the others.
    pub(super) fn heads(&self) -> impl Iterator<Item = &Entry> {
        let due = self.due.first_key_value().map(|(_, entry)| &**entry);
        due.into_iter().chain(self.plain.first_key_value().map(|(_, entry)| &**entry))
    }

    pub(super) fn len(&self) -> usize {
        self.due.len() + self.plain.len() + self.kept.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.plain.is_empty() && self.kept.is_empty()
    }

    /// How many of them have a due time.
    pub(super) fn due_len(&self) -> usize {
        self.due.len()
    }

    /// When its first due entry is due.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((due_at, _), _)| *due_at)
    }

    /// Which entry goes next of those that may go at `now`: the first due one, or with `prefers_plain` the first of those
    /// that were not put off, where there is one.
    pub(super) fn rank(&self, prefers_plain: bool, now: Timestamp) -> Option<EntryRank> {
        let due = || {
            let first = self.due.first_key_value().map(|(place, _)| *place);
            first.filter(|(due_at, _)| *due_at <= now).map(|(due_at, id)| EntryRank::Due(due_at, id))
        };
        let plain = || self.plain.first_key_value().map(|(id, _)| EntryRank::Plain(*id));
        if prefers_plain { plain().or_else(due) } else { due().or_else(plain) }
    }

    /// Whether something that was put off may be sent at `now`.
    pub(super) fn has_due(&self, now: Timestamp) -> bool {
        self.first_due().is_some_and(|due_at| due_at <= now)
    }

    /// Whether something is there that was not put off.
    pub(super) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }
}

/// Whether an entry may have been promised a start: it was never tried nor put off.
pub(super) fn is_fresh(entry: &Entry) -> bool {
    entry.tries == Tries::NONE && entry.due_at.is_none()
}

/// About what an entry occupies in memory: its body shares one allocation with its record.
pub(super) fn weight(entry: &Entry) -> usize {
    entry.event.body.len() + 1024
}

/// When the queue must be asked for entries that were put off.
#[derive(Debug, Default)]
pub(super) struct Dues {
    /// The next due time that the queue named last.
    told: Option<Timestamp>,
    /// What it announced since the page under way was asked for, which may not have seen that.
    announced: Option<Timestamp>,
    /// Retries of this process that the queue has not handed out again yet: a settlement becomes visible a
    /// little after it was made, perhaps after its due time.
    retries: BTreeSet<(Timestamp, EventId)>,
    /// Ask then in any case: more retries were made than are remembered.
    recheck_at: Option<Timestamp>,
    /// Not before then: something due was not there.
    not_before: Timestamp,
    misses: u32,
}

impl Dues {
    /// The next time to ask for entries that are due; `None` when none is put off.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let retry = self.retries.first().map(|(due_at, _)| *due_at);
        let next = self.told.into_iter().chain(retry).chain(self.recheck_at).min()?;
        Some(next.max(self.not_before))
    }

    /// The next time to ask for any, whenever it is due.
    pub(super) fn next_of_any(&self) -> Option<Timestamp> {
        self.next().map(|_| self.not_before)
    }

    /// The line of time has leapt: retries that were made in doubt are put off by it, and the queue knows.
    pub(super) fn leap(&mut self, leap: &Leap) {
        let retries = std::mem::take(&mut self.retries);
        self.retries = retries.into_iter().map(|(due_at, id)| (leap.postponed(due_at), id)).collect();
    }

    /// These entries are changed by somebody else: their retries need not be waited for.
    pub(super) fn forget(&mut self, ids: &HashSet<EventId>) {
        self.retries.retain(|(_, id)| !ids.contains(id));
    }

    /// The queue has an entry that is due then, earlier than all that it named before.
    pub(super) fn put_off(&mut self, due_at: Timestamp) {
        self.told = self.told.into_iter().chain([due_at]).min();
        self.announced = self.announced.into_iter().chain([due_at]).min();
        // What was looked for in vain may be there now.
        self.not_before = Timestamp::ZERO;
    }

    /// A page is asked for: it will have seen what was announced before.
    pub(super) fn asked(&mut self) {
        self.announced = None;
    }

    pub(super) fn rescheduled(&mut self, due_at: Timestamp, id: EventId, now: Timestamp) {
        if self.retries.len() < REMEMBERED_RETRIES {
            self.retries.insert((due_at, id));
        } else {
            self.recheck_at = Some(now + SURELY_VISIBLE);
        }
    }

    /// Learns from a page: which put-off entries it had, and when the queue wants to be asked next. It was `asked` for those
    /// that are due, and with `all_due` for all of them.
    pub(super) fn loaded(
        &mut self,
        entries: &[Entry],
        told: Option<Timestamp>,
        (asked, all_due): (bool, bool),
        now: Timestamp,
    ) {
        // The page may not have seen what was announced while it was read.
        let told = told.into_iter().chain(self.announced).min();
        self.told = told;
        if self.recheck_at.is_some_and(|at| at <= now) {
            // By now the queue shows every retry that was not remembered.
            self.recheck_at = None;
        }
        let mut found = false;
        for entry in entries {
            if let Some(due_at) = entry.due_at {
                found = true;
                self.retries.remove(&(due_at, entry.id));
            }
        }
        if found {
            self.misses = 0;
            self.not_before = Timestamp::ZERO;
        // It is not visible yet, or was ended by somebody else: asking at once would be asking all the time.
        } else if asked && self.next().is_some_and(|next| next <= now || all_due) {
            let wait = LOOK_AGAIN.0.saturating_mul(1 << self.misses.min(6)).min(LOOK_AGAIN.1);
            self.misses = self.misses.saturating_add(1);
            self.not_before = now + wait;
            while let Some(first) = self.retries.first().copied() {
                // As long as the queue names a time that is not later, it may be the one that is missed.
                if told.is_some_and(|told| told <= first.0) || first.0 + GIVE_UP > now {
                    break;
                }
                self.retries.remove(&first);
            }
        }
    }
}
