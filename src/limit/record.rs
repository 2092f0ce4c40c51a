//! What limits have consumed, as it is put on record and found again: under names, because a limiter has no other
//! identity that outlasts the process.
//!
//! Must not know: where the record is, how limits count.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::limiter::Kind;
use crate::limit::table::LimiterId;
use crate::limit::tokens::Portion;

/// Starts that were made, or may have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumed {
    /// How many.
    pub count: u32,
    /// The latest of them; for a quota the start of its period.
    pub at: Timestamp,
    /// From when on they do not count any more.
    pub over_at: Timestamp,
}

/// A portion of starts that a limit is about to make: to be put on record, and then answered with
/// [`crate::limit::Gate::answered`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The limit's name on record.
    pub name: Box<str>,
    /// What is to be recorded.
    pub consumed: Consumed,
    pub(super) limiter: LimiterId,
    pub(super) kind: Kind,
    pub(super) portion: Portion,
}

/// What was found on record and belongs to limiters that are not there yet.
#[derive(Debug, Default)]
pub(super) struct Remembered(HashMap<Box<str>, Vec<Consumed>>);

impl Remembered {
    pub(super) fn add(&mut self, name: Box<str>, consumed: Consumed) {
        let of_name = self.0.entry(name).or_default();
        match of_name.last_mut().filter(|last| last.at == consumed.at && last.over_at == consumed.over_at) {
            Some(last) => last.count = last.count.saturating_add(consumed.count),
            None => of_name.push(consumed),
        }
    }

    /// What belongs to a limit, oldest first; it is not kept here any longer.
    pub(super) fn take(&mut self, policy: &PolicyId, key: &str, kind: Kind) -> Vec<Consumed> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mut found = self.0.remove(&*name(policy, key, kind)).unwrap_or_default();
        found.sort_by_key(|consumed| consumed.at);
        found
    }

    /// Lets go of what does not count any more.
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.0.retain(|_, of_name| {
            of_name.retain(|consumed| consumed.over_at > now);
            !of_name.is_empty()
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Box<str>, Consumed)> {
        self.0.iter().flat_map(|(name, of_name)| of_name.iter().map(|consumed| (name.clone(), *consumed)))
    }
}

/// The name of a limit on record.
pub(super) fn name(policy: &PolicyId, key: &str, kind: Kind) -> Box<str> {
    format!("{} {policy} {key}", kind.word()).into()
}
