//! What limits have consumed, as it is put on record and found again: under names, because a limiter has no other
//! identity that outlasts the process.
//!
//! Must not know: where the record is, how limits count.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::clock::{Leap, Timestamp};
use crate::event::PolicyId;
use crate::limit::LimitKind;
use crate::limit::history::leap;
use crate::limit::meter::Chunk;
use crate::limit::stated::Stated;
use crate::limit::table::LimiterId;

/// Starts that were made, or may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumed {
    /// How many starts: exactly, or an upper bound after a crash.
    pub count: u32,
    /// The latest of them; for a quota some moment of its period.
    pub at: Timestamp,
    /// From when on they do not count any more.
    pub over_at: Timestamp,
}

/// What is to be put on record, and then confirmed with [`crate::limit::Gate::confirmed`]: starts that a limit is about
/// to make, or what an edit has to leave behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The limit's name on record: its kind, policy and label values.
    pub name: Box<str>,
    /// What is to be recorded under that name.
    pub consumed: Consumed,
    pub(in crate::limit) of: ReservedFor,
}

/// Who waits for what is put on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::limit) enum ReservedFor {
    /// A limit, for its next chunk.
    Limiter(LimiterId, LimitKind, Chunk),
    /// All limiters of a policy, for its mark.
    Mark(PolicyId),
    /// Nobody: no start is held back until it is on record.
    Nobody,
}

impl Reservation {
    /// A record that no start waits for.
    pub(in crate::limit) const fn note(name: Box<str>, consumed: Consumed) -> Self {
        Self { name, consumed, of: ReservedFor::Nobody }
    }
}

/// What counts of a limit, as it is kept: starts, or what an operator has stated about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limit) enum RecordedCount {
    Starts(Consumed),
    Stated(Stated),
}

impl RecordedCount {
    /// For a record that holds nothing else of the limit of this name.
    pub(in crate::limit) fn on_record(self, name: Box<str>) -> (Box<str>, Consumed) {
        match self {
            Self::Starts(consumed) => (name, consumed),
            Self::Stated(stated) => Stated { replaces: 0, ..stated }.on_record(&name),
        }
    }
}

/// What was found on record and belongs to limiters that are not there yet.
#[derive(Debug, Default)]
pub(in crate::limit) struct Remembered {
    by_name: HashMap<Box<str>, Vec<Consumed>>,
    /// What operators have stated last, by the name of the limit.
    stated: HashMap<Box<str>, Stated>,
    /// The names by the end of what stands under them, some of which may have been taken since.
    by_end: BTreeSet<(Timestamp, Box<str>)>,
    /// The names under which there are starts of this process.
    own: HashSet<Box<str>>,
}

/// Most names of which one call of [`Remembered::forget`] lets go.
const FORGET_AT_ONCE: usize = 64;

impl Remembered {
    pub(in crate::limit) fn add(&mut self, name: Box<str>, consumed: Consumed) {
        self.by_end.insert((consumed.over_at, name.clone()));
        let of_name = self.by_name.entry(name).or_default();
        match of_name.last_mut().filter(|last| last.at == consumed.at && last.over_at == consumed.over_at) {
            // The chunks of one period of a quota have the same moments: thousands of lines become one sum.
            Some(last) => last.count = last.count.saturating_add(consumed.count),
            None => of_name.push(consumed),
        }
    }

    pub(in crate::limit) fn add_stated(&mut self, name: Box<str>, stated: Stated) {
        self.by_end.insert((stated.over_at, name.clone()));
        let is_newer = self.stated.get(&name).is_none_or(|last| stated.at >= last.at);
        if is_newer {
            self.stated.insert(name, stated);
        }
    }

    /// Takes in what a limiter of this process has counted.
    pub(in crate::limit) fn take_in(&mut self, name: Box<str>, counted: RecordedCount) {
        self.own.insert(name.clone());
        match counted {
            RecordedCount::Starts(consumed) => self.add(name, consumed),
            RecordedCount::Stated(stated) => self.add_stated(name, stated),
        }
    }

    /// What an operator has stated about a limit; it is not kept here any longer.
    pub(in crate::limit) fn take_stated(
        &mut self,
        policy: &PolicyId,
        key: &str,
        kind: LimitKind,
    ) -> Option<Stated> {
        // Asked for every limiter that is made; nearly always nothing is stated, and the name need not be built.
        if self.stated.is_empty() {
            return None;
        }
        self.stated.remove(&*name(policy, key, kind))
    }

    /// Whether a statement about a limit counts at `now`.
    pub(in crate::limit) fn is_stated(
        &self,
        policy: &PolicyId,
        key: &str,
        kind: LimitKind,
        now: Timestamp,
    ) -> bool {
        self.stated.get(&*name(policy, key, kind)).is_some_and(|stated| stated.over_at > now)
    }

    /// What belongs to a limit, oldest first; it is not kept here any longer.
    pub(in crate::limit) fn take(&mut self, policy: &PolicyId, key: &str, kind: LimitKind) -> Vec<Consumed> {
        if self.by_name.is_empty() {
            return Vec::new();
        }
        let name = name(policy, key, kind);
        self.own.remove(&name);
        let mut found = self.by_name.remove(&name).unwrap_or_default();
        // A ring has to take them in order of time.
        found.sort_by_key(|consumed| consumed.at);
        found
    }

    /// Lets go of what does not count any more, a little at a time.
    pub(in crate::limit) fn forget(&mut self, now: Timestamp) {
        for _ in 0..FORGET_AT_ONCE {
            if self.by_end.first().is_none_or(|(end, _)| *end > now) {
                return;
            }
            let Some((_, name)) = self.by_end.pop_first() else { return };
            if let Some(of_name) = self.by_name.get_mut(&name) {
                of_name.retain(|consumed| consumed.over_at > now);
                if of_name.is_empty() {
                    self.by_name.remove(&name);
                }
            }
            if self.stated.get(&name).is_some_and(|stated| stated.over_at <= now) {
                self.stated.remove(&name);
            }
            if !self.by_name.contains_key(&name) && !self.stated.contains_key(&name) {
                self.own.remove(&name);
            }
        }
    }

    /// The line of time has leapt to `now`. Returns what has to be put on record for that.
    pub(in crate::limit) fn leap(&mut self, leap: &Leap, now: Timestamp) -> Vec<(Box<str>, Consumed)> {
        let own = std::mem::take(&mut self.own);
        // What counts of a quota is one sum, so that it needs to be moved once.
        // The ends move as well, so that all of it is taken out and put in anew, not changed in place.
        let all = self.on_record();
        *self = Self { own, ..Self::default() };
        let mut moved = Vec::new();
        for (name, consumed) in all {
            let limit = Stated::recognise(&name, consumed);
            let limit = limit.as_ref().map_or(&name, |(limit, _)| limit);
            let is_own = leap.is_inherited || self.own.contains(limit);
            let after = leap::remembered(&name, consumed, leap, is_own, now);
            let (name, consumed) = after.clone().unwrap_or((name, consumed));
            moved.extend(after);
            match Stated::recognise(&name, consumed) {
                Some((limit, stated)) => self.add_stated(limit, stated),
                None => self.add(name, consumed),
            }
        }
        moved
    }

    /// Everything, for a record that holds nothing else: a statement about a quota takes in what is on record beside
    /// it.
    pub(in crate::limit) fn on_record(&self) -> Vec<(Box<str>, Consumed)> {
        let mut all = Vec::new();
        for (name, of_name) in &self.by_name {
            let stated = self.stated.get(name).filter(|_| has_periods(name));
            let kept = of_name
                .iter()
                .filter(|consumed| stated.is_none_or(|stated| consumed.over_at != stated.over_at));
            all.extend(kept.map(|consumed| (name.clone(), *consumed)));
        }
        for (name, stated) in &self.stated {
            let beside = self.by_name.get(name).into_iter().flatten();
            let beside = beside.filter(|consumed| has_periods(name) && consumed.over_at == stated.over_at);
            let sum = beside.fold(0_u32, |sum, consumed| sum.saturating_add(consumed.count));
            // What is on record beside the statement and was not replaced by it has been started since.
            let used = stated.used.saturating_add(sum.saturating_sub(stated.replaces));
            all.push(Stated { replaces: 0, used, ..*stated }.on_record(name));
        }
        all
    }
}

/// The kind of the limit of this name.
pub(in crate::limit) fn kind_of(name: &str) -> Option<LimitKind> {
    LimitKind::of_word(name.split_once(' ')?.0)
}

fn has_periods(name: &str) -> bool {
    kind_of(name).is_some_and(LimitKind::has_periods)
}

/// The name of a limit on record.
pub(in crate::limit) fn name(policy: &PolicyId, key: &str, kind: LimitKind) -> Box<str> {
    format!("{} {policy} {key}", kind.word()).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_over_leaves_and_the_rest_is_found() {
        let policy = PolicyId::parse("p").expect("valid");
        let end = |n: u64| Timestamp::from_millis(1_000 + n);
        let mut remembered = Remembered::default();
        for n in 0..1_000 {
            let consumed = Consumed { count: 1, at: Timestamp::ZERO, over_at: end(n) };
            remembered.add(name(&policy, &format!("k={n}"), LimitKind::Quota), consumed);
        }
        (0..20).for_each(|_| remembered.forget(end(899)));
        assert_eq!((remembered.by_name.len(), remembered.by_end.len()), (100, 100));
        assert_eq!(remembered.take(&policy, "k=899", LimitKind::Quota), []);
        assert_eq!(remembered.take(&policy, "k=900", LimitKind::Quota).len(), 1);
        (0..20).for_each(|_| remembered.forget(end(1_000) + Duration::from_secs(1)));
        assert_eq!((remembered.by_name.len(), remembered.by_end.len()), (0, 0));
    }
}
