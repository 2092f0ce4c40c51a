//! Doubts: what the store could not establish, kept until it is cleared up or an operator has decided.
//!
//! The first rule of the design: nothing irreversible happens on doubt. A part that meets something unknown raises a
//! doubt here, holds what it concerns, and clears the doubt when the matter turns out well. Doubts survive restarts; a
//! store that is durable keeps them within 100 ms of a change. What is lost for certain is reported the same way: as a
//! doubt that holds nothing.
//!
//! Must not know: how what is in doubt is held, retried or given up; HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::clock::Timestamp;

/// What is in doubt. The word is the same in the API, the metrics and on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoubtKind {
    /// Entries that the system does not let us read. Their lanes are held.
    Unread,
    /// Entries whose bytes are damaged or gone: counted, named, never silent.
    Lost,
    /// Entries behind the last mark of the account that may have been lost: the count is an upper bound.
    Uncertain,
    /// Entries of a policy generation that the book does not know. Their lanes are held.
    Generation,
    /// The policy book is missing, older than the newest one seen, or damaged. The store is held.
    Book,
    /// Another document, the salt or another small file was damaged.
    Document,
    /// The record of what limits have consumed is damaged or missing: it counts as spent.
    Usages,
    /// The wall clock cannot be trusted: what depends on it is on hold.
    Clock,
    /// The directory is an older copy. The store is held.
    Rollback,
    /// Names in the data directory that are not the store's, or not as the store left them.
    Files,
    /// The account of what should be there is damaged or missing.
    Account,
}

impl DoubtKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Unread,
        Self::Lost,
        Self::Uncertain,
        Self::Generation,
        Self::Book,
        Self::Document,
        Self::Usages,
        Self::Clock,
        Self::Rollback,
        Self::Files,
        Self::Account,
    ];

    /// The word that API, metrics and command line use.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Lost => "lost",
            Self::Uncertain => "uncertain",
            Self::Generation => "generation",
            Self::Book => "book",
            Self::Document => "document",
            Self::Usages => "usages",
            Self::Clock => "clock",
            Self::Rollback => "rollback",
            Self::Files => "files",
            Self::Account => "account",
        }
    }

    /// What is held while a doubt of this kind is open.
    #[must_use]
    pub const fn holds(self) -> DoubtHold {
        match self {
            Self::Book | Self::Rollback => DoubtHold::Store,
            Self::Unread | Self::Generation => DoubtHold::Lanes,
            Self::Clock => DoubtHold::Time,
            _ => DoubtHold::Nothing,
        }
    }
}

/// What a doubt holds while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubtHold {
    /// Acceptance, dispatch, expiry, drains and deletion, as a whole.
    Store,
    /// The lanes that it concerns: nothing is sent from them.
    Lanes,
    /// Whatever is done because time has passed.
    Time,
    /// Nothing: it is a report, and an acknowledgement ends it.
    Nothing,
}

/// A doubt as it is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDoubt {
    /// The kind of doubt, which says what is held.
    pub kind: DoubtKind,
    /// Which file (relative to the data directory), lane, policy or clock. Names the doubt together with `kind`.
    pub subject: String,
    /// What was found, as a sentence for people.
    pub detail: String,
    /// What an operator can do about it.
    pub way_out: String,
    /// How many events it concerns: exactly, or at most this many for [`DoubtKind::Uncertain`].
    pub events: u64,
}

/// The subject of a doubt of the kind [`DoubtKind::Clock`].
pub(crate) const WALL_CLOCK: &str = "wall clock";

/// A doubt as it is listed until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doubt {
    /// Its number, unique in this directory.
    pub id: u64,
    /// The kind of doubt, which says what is held.
    pub kind: DoubtKind,
    /// Which file, lane, policy or clock.
    pub subject: String,
    /// What was found, as a sentence for people.
    pub detail: String,
    /// What an operator can do about it.
    pub way_out: String,
    /// Number of events that it concerns, as in [`NewDoubt::events`].
    pub events: u64,
    /// When it was first raised, Unix ms.
    pub since_ms: u64,
    /// An operator has seen it: it is no longer reported by the readiness probe.
    pub acknowledged: bool,
}

/// The open doubts of one data directory. Cheap to clone; clones share them.
#[derive(Clone, Default)]
pub struct Doubts(Arc<Mutex<DoubtRegister>>);

#[derive(Default)]
pub(super) struct DoubtRegister {
    pub(super) next_id: u64,
    pub(super) open: BTreeMap<u64, Doubt>,
    /// The list differs from the file: the next save writes it.
    pub(super) is_changed: bool,
    pub(super) version: u64,
    /// The version of the account against which the last start has found what it added.
    pub(super) against: Option<u64>,
    /// This start finds again what one before it, which was cut short, had added.
    pub(super) is_repeated: bool,
    /// There was no list when it was opened.
    pub(super) is_new: bool,
}

/// Reports that were acknowledged and hold nothing are kept up to this number, the newest.
const MAX_ACKNOWLEDGED: usize = 256;

impl Doubts {
    /// Raises a doubt, or brings the open one of the same kind and subject up to date. Returns its number. A new one
    /// is logged; a change of an acknowledged one to more events is reported anew.
    pub fn raise(&self, doubt: NewDoubt, now: Timestamp) -> u64 {
        let mut state = self.lock();
        let NewDoubt { kind, subject, detail, way_out, events } = doubt;
        // One doubt for each kind and subject: a finding that every start repeats must not fill the list.
        let known = state.open.values_mut().find(|open| open.kind == kind && open.subject == subject);
        if let Some(open) = known {
            let id = open.id;
            let is_new = (&open.detail, &open.way_out, open.events) != (&detail, &way_out, events);
            // More events than the operator has seen have to be reported again.
            open.acknowledged &= events <= open.events;
            (open.detail, open.way_out, open.events) = (detail, way_out, events);
            state.is_changed |= is_new;
            return id;
        }
        warn!(kind = kind.word(), subject, events, way_out, "{detail}");
        state.next_id += 1;
        let id = state.next_id;
        let since_ms = now.as_millis();
        let open = Doubt { id, kind, subject, detail, way_out, events, since_ms, acknowledged: false };
        state.open.insert(id, open);
        state.is_changed = true;
        id
    }

    /// Raises a doubt, or adds `doubt.events` to the open one of the same kind and subject.
    pub fn add(&self, mut doubt: NewDoubt, now: Timestamp) -> u64 {
        let open = self.find(doubt.kind, &doubt.subject);
        doubt.events = doubt.events.saturating_add(open.map_or(0, |open| open.events));
        self.raise(doubt, now)
    }

    /// To be called once at a start, with the version of the account that it goes on from: when the start before was
    /// cut short before it wrote a newer one, both find the same.
    pub(in crate::store) fn found_against(&self, version: u64) {
        let mut state = self.lock();
        // A start that gets as far as its own account writes a higher version: the same one means that it did not.
        state.is_repeated = state.against.replace(version) == Some(version);
    }

    /// As [`Doubts::add`] for what a start has found missing: found again, it is not added again.
    pub(in crate::store) fn add_found(&self, mut doubt: NewDoubt, now: Timestamp) -> u64 {
        // Counted twice, a loss would look larger after each start that is cut short.
        if !self.lock().is_repeated {
            return self.add(doubt, now);
        }
        let open = self.find(doubt.kind, &doubt.subject);
        doubt.events = doubt.events.max(open.map_or(0, |open| open.events));
        self.raise(doubt, now)
    }

    /// Sets the number of events that an open doubt concerns to fewer. Does nothing when there is none.
    pub fn recount(&self, kind: DoubtKind, subject: &str, events: u64) {
        let mut state = self.lock();
        let known = state.open.values_mut().find(|open| open.kind == kind && open.subject == subject);
        let Some(open) = known.filter(|open| open.events != events) else { return };
        open.events = events;
        state.is_changed = true;
    }

    /// Sets how many events are held by the doubts that hold the store as a whole. An acknowledged one stays so.
    pub fn count_held(&self, events: u64) {
        let mut state = self.lock();
        let mut is_changed = false;
        for open in state.open.values_mut().filter(|open| open.kind.holds() == DoubtHold::Store) {
            is_changed |= std::mem::replace(&mut open.events, events) != events;
        }
        state.is_changed |= is_changed;
    }

    /// The matter turned out well: the doubt is no more. Does nothing when there is none.
    pub fn clear(&self, kind: DoubtKind, subject: &str) {
        let mut state = self.lock();
        let is_it = |open: &Doubt| open.kind == kind && open.subject == subject;
        let Some(id) = state.open.values().find(|open| is_it(open)).map(|open| open.id) else { return };
        state.open.remove(&id);
        state.is_changed = true;
        info!(kind = kind.word(), subject, "a doubt is cleared up");
    }

    /// An operator has seen it. `None` when there is no such doubt.
    pub fn acknowledge(&self, id: u64) -> Option<Doubt> {
        let mut state = self.lock();
        let open = state.open.get_mut(&id)?;
        let is_new = !std::mem::replace(&mut open.acknowledged, true);
        let doubt = open.clone();
        state.is_changed |= is_new;
        state.forget_oldest();
        Some(doubt)
    }

    /// Ends a doubt that an operator has decided. `None` when there is no such doubt.
    pub fn remove(&self, id: u64) -> Option<Doubt> {
        let mut state = self.lock();
        let doubt = state.open.remove(&id)?;
        state.is_changed = true;
        Some(doubt)
    }

    /// The open doubt of this number, if there is one.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Doubt> {
        self.lock().open.get(&id).cloned()
    }

    /// The open doubt of this kind about this subject.
    #[must_use]
    pub fn find(&self, kind: DoubtKind, subject: &str) -> Option<Doubt> {
        let state = self.lock();
        state.open.values().find(|open| open.kind == kind && open.subject == subject).cloned()
    }

    /// The open doubt that holds events because the file at `path` cannot be read.
    #[must_use]
    pub fn about_reads_of(&self, path: &str) -> Option<Doubt> {
        let state = self.lock();
        let is_it = |open: &&Doubt| open.kind == DoubtKind::Unread && path.ends_with(&open.subject);
        state.open.values().find(is_it).cloned()
    }

    /// All open doubts by number: the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Doubt> {
        self.lock().open.values().cloned().collect()
    }

    /// Why the store is held as a whole, if it is.
    #[must_use]
    pub fn store_held(&self) -> Option<String> {
        let state = self.lock();
        let holding = state.open.values().find(|open| open.kind.holds() == DoubtHold::Store)?;
        Some(format!("{}; {}", holding.detail, holding.way_out))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, DoubtRegister> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DoubtRegister {
    fn forget_oldest(&mut self) {
        // What holds something, or was not seen yet, is never forgotten.
        let is_done = |open: &Doubt| open.acknowledged && open.kind.holds() == DoubtHold::Nothing;
        let done: Vec<u64> = self.open.values().filter(|open| is_done(open)).map(|open| open.id).collect();
        for id in done.iter().take(done.len().saturating_sub(MAX_ACKNOWLEDGED)) {
            self.open.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubt(kind: DoubtKind, subject: &str, events: u64) -> NewDoubt {
        let text = |text: &str| text.to_owned();
        NewDoubt { kind, subject: text(subject), detail: text("found"), way_out: text("do"), events }
    }

    const NOW: Timestamp = Timestamp::from_millis(5);

    #[test]
    fn a_doubt_is_raised_once_and_reported_anew_when_it_grows() {
        let doubts = Doubts::default();
        let id = doubts.raise(doubt(DoubtKind::Lost, "a", 1), NOW);
        assert_eq!(doubts.add(doubt(DoubtKind::Lost, "a", 2), NOW), id);
        assert_eq!(doubts.get(id).map(|doubt| doubt.events), Some(3));
        doubts.acknowledge(id).expect("open");
        doubts.raise(doubt(DoubtKind::Lost, "a", 3), NOW);
        assert!(doubts.get(id).is_some_and(|doubt| doubt.acknowledged), "the same again is silent");
        doubts.add(doubt(DoubtKind::Lost, "a", 1), NOW);
        assert!(doubts.get(id).is_some_and(|doubt| !doubt.acknowledged));
        assert_ne!(doubts.raise(doubt(DoubtKind::Lost, "b", 1), NOW), id);
        doubts.clear(DoubtKind::Lost, "a");
        assert_eq!(doubts.list().len(), 1);
    }

    #[test]
    fn some_doubts_hold_the_store() {
        let doubts = Doubts::default();
        doubts.raise(doubt(DoubtKind::Lost, "a", 1), NOW);
        assert_eq!(doubts.store_held(), None);
        doubts.raise(doubt(DoubtKind::Book, "documents/policies.json", 0), NOW);
        assert_eq!(doubts.store_held().as_deref(), Some("found; do"));
    }
}
