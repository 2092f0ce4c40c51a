//! The lanes that hold entries or wait for some: their read-ahead, their due times, what rules them.
//!
//! A lane that has nothing loaded, nothing in flight and nothing to wait for is forgotten: idle lanes cost
//! nothing.
//!
//! Must not know: limiters' answers, whose turn it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::ahead::{Held, Window};
use crate::event::{Entry, EventId, Lane, LaneKey};
use crate::limit::{Binding, LimiterId};
use crate::policy::{GenerationState, Runtime};

/// Index of a lane that is present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(u32);

/// Retries whose due times one lane remembers by itself; the queue knows all of them a little later.
const REMEMBERED_RETRIES: usize = 256;
/// After this long the queue knows a due time that was not remembered here.
const SURELY_VISIBLE: Duration = Duration::from_secs(5);
/// How soon a due entry that was not there yet is looked for again, at first and at most.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// A remembered retry that the queue has not shown for this long was ended by somebody else.
const GIVE_UP: Duration = Duration::from_secs(60);
/// How often the entries read ahead are searched for expired ones.
const EXPIRY_PERIOD: Duration = Duration::from_secs(1);

/// What becomes of a lane's entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// They are sent.
    Live,
    /// They are sent until then, ahead of other generations.
    Draining(Timestamp),
    /// They are dropped as drained.
    Over,
}

/// Where a lane stands in the planner's turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: nothing to send.
    Out,
    /// In `Turns`.
    InLine,
    /// It has as many calls in flight as one lane may have.
    Full,
}

pub(super) struct LaneState {
    pub(super) lane: Lane,
    pub(super) binding: Binding,
    pub(super) fate: Fate,
    pub(super) timeout: Option<Duration>,
    pub(super) place: Place,
    /// The limiter that stopped it last.
    pub(super) home: Option<LimiterId>,
    pub(super) inflight: usize,
    pub(super) window: Window,
    pub(super) buffer: Buffer,
    pub(super) dues: Dues,
    /// For when its timer is set.
    pub(super) armed: Option<Timestamp>,
    /// When the read-ahead is searched for expired entries.
    pub(super) expiry_check: Option<Timestamp>,
}

impl LaneState {
    /// Whether nothing would be lost by forgetting it.
    pub(super) fn is_idle(&self) -> bool {
        self.place == Place::Out
            && self.inflight == 0
            && self.buffer.is_empty()
            && self.window.is_idle()
            && self.dues.next().is_none()
    }

    /// Whether it goes ahead of other generations.
    pub(super) fn is_draining(&self) -> bool {
        matches!(self.fate, Fate::Draining(_))
    }

    /// Sets the time of the next search for expired entries after entries came in or were searched.
    pub(super) fn plan_expiry(&mut self, now: Timestamp, searched: bool) {
        let first = self.buffer.first_expiry();
        let soonest = if searched { now + EXPIRY_PERIOD } else { now };
        self.expiry_check = first.map(|first| first.max(soonest));
    }

    /// Counts what it holds.
    pub(super) fn held(&self, now: Timestamp) -> Held {
        Held {
            entries: self.buffer.len(),
            due_loaded: self.buffer.first_due().is_some(),
            due_pending: self.dues.next().is_some_and(|at| at <= now),
        }
    }

    /// When it has to be looked after next, if nothing happens to it before.
    pub(super) fn timer(&self, now: Timestamp) -> Option<Timestamp> {
        let until = match self.fate {
            Fate::Draining(until) => Some(until),
            Fate::Live | Fate::Over => None,
        };
        // What is due already waits for room in the read-ahead, not for time.
        let due = self.dues.next().filter(|at| *at > now);
        let buffered = self.buffer.first_due().filter(|at| *at > now);
        let reload = self.window.retry_at().filter(|at| *at > now);
        until.into_iter().chain(due).chain(buffered).chain(reload).chain(self.expiry_check).min()
    }

    /// Learns what rules it. The fate of several policies is the worst of them.
    pub(super) fn rule(&mut self, runtime: &Runtime, binding: Binding, now: Timestamp) {
        (self.fate, self.timeout) = ruled_by(&self.lane, runtime, now);
        self.binding = binding;
        self.home = None;
    }
}

/// What the policies say about a lane.
pub(super) fn ruled_by(lane: &Lane, runtime: &Runtime, now: Timestamp) -> (Fate, Option<Duration>) {
    let mut fate = Fate::Live;
    let mut timeout: Option<Duration> = None;
    for part in lane.policies() {
        let policy = runtime.get(&part.policy);
        let limit = policy.and_then(|policy| policy.limits.timeout);
        timeout = timeout.into_iter().chain(limit).min();
        let state = policy.and_then(|policy| policy.generations.get(&part.generation));
        fate = match (state, fate) {
            (None, _) | (_, Fate::Over) => Fate::Over,
            (Some(GenerationState::Draining { until }), _) if *until <= now => Fate::Over,
            (Some(GenerationState::Draining { until }), Fate::Draining(first)) => {
                Fate::Draining(first.min(*until))
            }
            (Some(GenerationState::Draining { until }), Fate::Live) => Fate::Draining(*until),
            (Some(GenerationState::Active), fate) => fate,
        };
    }
    (fate, timeout)
}

/// Entries read ahead: due ones in due order, then plain ones in order of acceptance. An entry that is put
/// back finds its old place by itself.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    due: BTreeMap<(Timestamp, EventId), Box<Entry>>,
    plain: BTreeMap<EventId, Box<Entry>>,
    bytes: usize,
}

impl Buffer {
    pub(super) fn push(&mut self, entry: Box<Entry>) {
        self.bytes += weight(&entry);
        match entry.due_at {
            Some(due_at) => self.due.insert((due_at, entry.id), entry),
            None => self.plain.insert(entry.id, entry),
        };
    }

    /// The next entry, unless nothing is there that is due at `now`.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Box<Entry>> {
        let due = self.due.first_entry().filter(|first| first.key().0 <= now);
        let entry = match due {
            Some(first) => first.remove(),
            None => self.plain.pop_first()?.1,
        };
        self.bytes = self.bytes.saturating_sub(weight(&entry));
        Some(entry)
    }

    /// Takes out the entries that have expired at `now`.
    pub(super) fn take_expired(&mut self, now: Timestamp, mut out: impl FnMut(Box<Entry>)) {
        let over = |entry: &Entry| entry.event.expires_at <= now;
        let due: Vec<_> = self.due.iter().filter(|(_, entry)| over(entry)).map(|(place, _)| *place).collect();
        let plain: Vec<_> = self.plain.values().filter(|entry| over(entry)).map(|entry| entry.id).collect();
        let due = due.iter().filter_map(|place| self.due.remove(place));
        for entry in due.chain(plain.iter().filter_map(|id| self.plain.remove(id))) {
            self.bytes = self.bytes.saturating_sub(weight(&entry));
            out(entry);
        }
    }

    pub(super) fn first_expiry(&self) -> Option<Timestamp> {
        self.due.values().chain(self.plain.values()).map(|entry| entry.event.expires_at).min()
    }

    pub(super) fn len(&self) -> usize {
        self.due.len() + self.plain.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.is_empty() && self.plain.is_empty()
    }

    /// When its first due entry is due.
    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first_key_value().map(|((due_at, _), _)| *due_at)
    }

    /// Whether something may be sent at `now`.
    pub(super) fn has_work(&self, now: Timestamp) -> bool {
        !self.plain.is_empty() || self.first_due().is_some_and(|due_at| due_at <= now)
    }

    /// Takes everything out.
    pub(super) fn take_all(&mut self, out: impl FnMut(Box<Entry>)) {
        self.bytes = 0;
        let due = std::mem::take(&mut self.due).into_values();
        due.chain(std::mem::take(&mut self.plain).into_values()).for_each(out);
    }
}

/// About what an entry occupies in memory: its body shares one allocation with its record.
pub(super) fn weight(entry: &Entry) -> usize {
    entry.event.body.len() + 1024
}

/// When the queue must be asked for entries that were put off.
#[derive(Debug, Default)]
pub(super) struct Dues {
    /// What the queue said last.
    told: Option<Timestamp>,
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
    /// The next time to ask.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let retry = self.retries.first().map(|(due_at, _)| *due_at);
        let next = self.told.into_iter().chain(retry).chain(self.recheck_at).min()?;
        Some(next.max(self.not_before))
    }

    pub(super) fn rescheduled(&mut self, due_at: Timestamp, id: EventId, now: Timestamp) {
        if self.retries.len() < REMEMBERED_RETRIES {
            self.retries.insert((due_at, id));
        } else {
            self.recheck_at = Some(now + SURELY_VISIBLE);
        }
    }

    /// Learns from a page: which put-off entries it had, and when the queue wants to be asked next.
    pub(super) fn loaded(&mut self, entries: &[Entry], told: Option<Timestamp>, now: Timestamp) {
        self.told = told;
        if self.recheck_at.is_some_and(|at| at <= now) {
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
        } else if self.next().is_some_and(|next| next <= now) {
            let wait = LOOK_AGAIN.0.saturating_mul(1 << self.misses.min(6)).min(LOOK_AGAIN.1);
            self.misses = self.misses.saturating_add(1);
            self.not_before = now + wait;
            while let Some(first) = self.retries.first().copied() {
                if told.is_some_and(|told| told <= first.0) || first.0 + GIVE_UP > now {
                    break;
                }
                self.retries.remove(&first);
            }
        }
    }
}

/// The lanes that are present.
#[derive(Default)]
pub(super) struct Lanes {
    by_key: HashMap<LaneKey, LaneId>,
    slots: Vec<Option<LaneState>>,
    free: Vec<LaneId>,
}

impl Lanes {
    pub(super) fn find(&self, key: &LaneKey) -> Option<LaneId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn insert(&mut self, key: LaneKey, state: LaneState) -> LaneId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // Lanes are bounded by memory long before this number ends.
            LaneId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            *slot = Some(state);
        }
        self.by_key.insert(key, id);
        id
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> Option<&mut LaneState> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) fn get(&self, id: LaneId) -> Option<&LaneState> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn remove(&mut self, id: LaneId) {
        if let Some(state) = self.slots.get_mut(id.0 as usize).and_then(Option::take) {
            self.by_key.remove(state.lane.key());
            self.free.push(id);
        }
    }

    pub(super) fn ids(&self) -> Vec<LaneId> {
        let mut ids: Vec<LaneId> = self.by_key.values().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &LaneState> {
        self.slots.iter().flatten()
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}
