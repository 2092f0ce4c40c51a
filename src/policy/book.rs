//! The policy book: the policies of all origins, and beside them the elements that the dialects derive theirs from. A
//! change edits a copy, which replaces the book as a whole or not at all ([`crate::policy::Policies::change`]). Copies
//! share what an edit does not touch, so that a change costs memory and time for what is different, however many policies
//! there are. What makes policies active and ends them is in `sync`, how elements are kept in `elements`.
//!
//! Must not know: what elements mean, how the book is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use serde_json::Value;

use crate::clock::{Leap, Timestamp};
use crate::event::PolicyId;
use crate::policy::elements::{ElementName, Elements};
use crate::policy::kept::Kept;
use crate::policy::{Lifecycle, Spec};

/// Where a policy comes from: the dialect or file that authored it. Within one origin the most specific
/// policy rules an event, or all of them do, as its [`Overlap`](crate::policy::Overlap) says; over several origins all
/// apply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<str>);

impl Origin {
    /// The origin of this name; two of one name are the same.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name, as the stored book has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An operator's hold: nothing starts under the policy meanwhile; events go on being taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Why the policy is held, in the operator's words.
    pub reason: String,
    /// When the operator held the policy.
    pub since: Timestamp,
    /// Until when, a whole millisecond; `None` means until it is resumed.
    pub until: Option<Timestamp>,
}

/// One policy in the book, authored or deleted and draining.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub(super) origin: Origin,
    /// It was deleted by its author, and what is left of it only drains.
    pub(super) is_deleted: bool,
    /// The spec of the newest generation, while there is any.
    pub(super) ruling: Option<Arc<Spec>>,
    /// The hold of an operator, if there is one.
    pub(super) pause: Option<Pause>,
    pub(super) lifecycle: Lifecycle,
    /// Place in the order of creation.
    pub(super) order: u64,
}

impl Pause {
    /// Whether it still holds at `now`.
    #[must_use]
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| until > now)
    }
}

impl Policy {
    /// The dialect, API or file that authored it.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its generations, and the number of the next one.
    #[must_use]
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The operator's hold, if there is one.
    #[must_use]
    pub const fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }

    /// What it says, while a generation of it is deployed or drains.
    #[must_use]
    pub fn ruling(&self) -> Option<&Spec> {
        self.ruling.as_deref()
    }

    /// Whether [`Book::expire`] at `now` would change it.
    fn ends_something(&self, now: Timestamp) -> bool {
        let until = self.pause.as_ref().and_then(|pause| pause.until);
        self.lifecycle.ends_one(now) || until.is_some_and(|until| until <= now)
    }
}

/// Why a change to one policy is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// There is no such policy, or it was deleted.
    #[error("no such policy")]
    NotFound,
    /// The id belongs to a policy of another origin, or stands twice in a list.
    #[error("there is a policy of this id already")]
    Exists,
}

/// The policies of all origins, and the elements beside them.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Shared with the copies of this book; an edit copies the ones that it changes.
    pub(super) policies: BTreeMap<PolicyId, Kept<Policy>>,
    pub(super) elements: Elements,
    pub(super) next_order: u64,
    /// The highest generation of each policy that is gone: its generations up to there have ended, others are
    /// unknown.
    pub(super) ended: BTreeMap<PolicyId, u32>,
}

impl PartialEq for Book {
    fn eq(&self, other: &Self) -> bool {
        let Self { policies, elements, next_order, ended } = self;
        *next_order == other.next_order
            && *ended == other.ended
            && *policies == other.policies
            && *elements == other.elements
    }
}

impl Book {
    /// An authored policy; one that was deleted is not found although it may still drain.
    #[must_use]
    pub fn get(&self, id: &PolicyId) -> Option<&Policy> {
        self.known(id).filter(|policy| !policy.is_deleted)
    }

    /// One policy, also one that was deleted and still drains.
    #[must_use]
    pub fn known(&self, id: &PolicyId) -> Option<&Policy> {
        self.policies.get(id).map(|policy| &**policy)
    }

    /// The policies that have a spec, with what it says.
    pub(super) fn specs(&self) -> impl Iterator<Item = (&PolicyId, &Arc<Spec>)> {
        self.policies.iter().filter_map(|(id, policy)| Some((id, policy.ruling.as_ref()?)))
    }

    /// All policies by id, those after `id`, also the ones that were deleted and still drain.
    pub fn after(&self, id: Option<&PolicyId>) -> impl Iterator<Item = (&PolicyId, &Policy)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.policies.range::<PolicyId, _>((from, Bound::Unbounded)).map(|(id, policy)| (id, &**policy))
    }

    /// The authored policies of one origin, oldest first.
    #[must_use]
    pub fn of_origin(&self, origin: &Origin) -> Vec<(&PolicyId, &Policy)> {
        let mut found: Vec<_> =
            self.after(None).filter(|(_, policy)| policy.origin == *origin && !policy.is_deleted).collect();
        found.sort_unstable_by_key(|(_, policy)| policy.order);
        found
    }

    /// Holds a policy, whatever its state; a later hold replaces an earlier one.
    ///
    /// # Errors
    /// [`BookError::NotFound`].
    pub fn pause(&mut self, id: &PolicyId, pause: Pause) -> Result<(), BookError> {
        self.policies.get_mut(id).ok_or(BookError::NotFound)?.edit().pause = Some(pause);
        Ok(())
    }

    /// Ends a hold; one that is not held stays so.
    ///
    /// # Errors
    /// [`BookError::NotFound`].
    pub fn resume(&mut self, id: &PolicyId) -> Result<(), BookError> {
        let policy = self.policies.get_mut(id).ok_or(BookError::NotFound)?;
        // An edit copies the policy and drops its stored form: not where nothing changes.
        if policy.pause.is_some() {
            policy.edit().pause = None;
        }
        Ok(())
    }

    /// Whether [`Book::expire`] at `now` would drop anything, or [`Book::forget_ended`] forget anything. Copies nothing.
    #[must_use]
    pub fn ends_something(&self, now: Timestamp, waiting: Option<&BTreeSet<PolicyId>>) -> bool {
        let ends = |policy: &Kept<Policy>| {
            // Read only: this is asked every few seconds, and a change copies and compares the book.
            let is_idle = policy.lifecycle.generations().is_empty();
            policy.ends_something(now)
                // What no generation needs any more.
                || is_idle && (policy.ruling.is_some() || policy.is_deleted)
        };
        let forgets = |waiting: &BTreeSet<PolicyId>| self.ended.keys().any(|id| !waiting.contains(id));
        waiting.is_some_and(forgets) || self.policies.values().any(ends)
    }

    /// When the first drain window of any policy is over; `None` while nothing drains. Costs a look at every policy.
    #[must_use]
    pub fn next_end(&self) -> Option<Timestamp> {
        self.policies.values().filter_map(|policy| policy.lifecycle.next_end()).min()
    }

    /// Drops generations whose drain window is over, what is left of deleted policies with them, and holds that
    /// have ended.
    pub fn expire(&mut self, now: Timestamp) {
        for policy in self.policies.values_mut().filter(|policy| policy.ends_something(now)) {
            let policy = policy.edit();
            policy.lifecycle.expire(now);
            policy.pause.take_if(|pause| pause.until.is_some_and(|until| until <= now));
            // Otherwise housekeeping would write the book at each of its turns.
            debug_assert!(!policy.ends_something(now), "what has ended is still there");
        }
        self.forget();
    }

    /// The line of time has leapt: what ends later than the doubt began goes on as long as before.
    pub fn leap(&mut self, leap: &Leap) {
        // Only these are edited, so that all others stay shared with the book before.
        let may_move = |policy: &Kept<Policy>| policy.pause.is_some() || policy.lifecycle.drains();
        for policy in self.policies.values_mut().filter(|policy| may_move(policy)) {
            let policy = policy.edit();
            policy.lifecycle.leap(leap);
            // The end of an earlier pause was stated while the clock was trusted: it stays what the operator meant.
            if let Some(pause) = policy.pause.as_mut().filter(|pause| pause.since >= leap.from) {
                pause.until = pause.until.map(|until| leap.moved(until));
            }
        }
    }

    /// The record of one element; `None` where there is no such one.
    #[must_use]
    pub fn element(&self, origin: &Origin, kind: &str, id: &str) -> Option<&Value> {
        self.elements.get(&ElementName::new(origin, kind, id))
    }

    /// The elements of one kind with their ids, oldest first.
    #[must_use]
    pub fn elements(&self, origin: &Origin, kind: &str) -> Vec<(&str, &Value)> {
        self.elements.of_kind(origin, kind)
    }

    /// Adds an element at the end of the order, or replaces the record of one that is there.
    pub fn put_element(&mut self, origin: &Origin, kind: &str, id: &str, record: Value) {
        self.elements.put(ElementName::new(origin, kind, id), record, &mut self.next_order);
    }

    /// Takes an element out; `false` when it was not there.
    pub fn remove_element(&mut self, origin: &Origin, kind: &str, id: &str) -> bool {
        self.elements.remove(&ElementName::new(origin, kind, id))
    }

    /// Forgets which generations have ended of policies that are gone and under which nothing is `waiting`.
    pub fn forget_ended(&mut self, waiting: &BTreeSet<PolicyId>) {
        self.ended.retain(|id, _| waiting.contains(id));
    }

    /// Whether generations of policies that are gone are on record.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// The policies with the highest generation that each of them ever had, also those that are gone.
    pub(super) fn last_generations(&self) -> impl Iterator<Item = (&PolicyId, u32)> {
        let known = self.policies.iter().map(|(id, policy)| (id, policy.lifecycle.last_generation()));
        known.chain(self.ended.iter().map(|(id, last)| (id, *last)))
    }

    /// Drops what no generation needs any more.
    pub(super) fn forget(&mut self) {
        let ended = &mut self.ended;
        self.policies.retain(|id, policy| {
            if policy.ruling.is_some() && policy.lifecycle.generations().is_empty() {
                policy.edit().ruling = None;
            }
            let is_kept = !policy.is_deleted || policy.ruling.is_some();
            let last = policy.lifecycle.last_generation();
            // Entries of its generations may still be in the queue: the record says that they have ended. A policy
            // without a generation never had an entry.
            if !is_kept && last > 0 {
                ended.insert(id.clone(), last);
            }
            is_kept
        });
    }
}

#[cfg(test)]
mod tests;
