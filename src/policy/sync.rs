//! What an origin wants of its policies, made so in the book: of one of them, or by a list that is the whole truth about
//! the origin, such as the configuration file or what the objects of a dialect amount to.
//!
//! Must not know: where a list comes from, how it was written.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::policy::kept::Kept;
use crate::policy::{Book, BookError, Lifecycle, Origin, Policy, Spec};

/// What an origin wants of one of its policies.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// It governs events as this says.
    Active(Arc<Spec>),
    /// It is known and governs no new events; what was active drains.
    Idle,
    /// It stays as it is, if it is there: what it says is not known any more.
    AsItIs,
}

impl From<Spec> for Wanted {
    fn from(spec: Spec) -> Self {
        Self::Active(Arc::new(spec))
    }
}

/// What a list made different, each in the order of the list; what was removed in the order of its creation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncReport {
    /// New, or back again after it had been removed or idle.
    pub added: Vec<PolicyId>,
    /// With other values, in the same generation.
    pub changed: Vec<PolicyId>,
    /// Not in the list any more, or idle there: its backlog drains.
    pub removed: Vec<PolicyId>,
}

/// Why a list cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("policy {:?}: {error}", .policy.as_str())]
pub struct SyncError {
    /// The policy that stands in the way.
    pub policy: PolicyId,
    /// Why: [`BookError::Exists`] when the id belongs to another origin or stands twice in the list.
    pub error: BookError,
}

/// What a change of one policy made different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Nothing: the policy was so already, and keeps its generation.
    Same,
    /// It is new, or back again after it was deleted or idle.
    Added,
    /// It goes on under other values, in the same generation.
    Changed,
    /// It governs no more events; its backlog drains.
    Ended,
}

impl SyncReport {
    /// Whether the list changed nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    fn note(&mut self, id: &PolicyId, put: Put) {
        match put {
            Put::Same => {}
            Put::Added => self.added.push(id.clone()),
            Put::Changed => self.changed.push(id.clone()),
            Put::Ended => self.removed.push(id.clone()),
        }
    }
}

impl Origin {
    /// The policies of the configuration file.
    #[must_use]
    pub fn file() -> Self {
        Self::new("file")
    }

    /// The origin of the policies of `PUT /v1/policies/{id}`.
    #[must_use]
    pub fn api() -> Self {
        Self::new("api")
    }
}

/// Whether what one origin has deleted may be taken over by another one while it drains: the policies of the API and of
/// the file mean the same, and who moves a policy into the file need not wait.
fn may_take_over(old: &Origin, new: &Origin) -> bool {
    old == new || (*old == Origin::api() && *new == Origin::file())
}

impl Book {
    /// Makes the policies of `origin` those of `list`, and no others: new ones start a generation, changed ones go on in
    /// theirs under the new values, missing ones are deleted and drain for `drain_window` from `now`. A policy whose
    /// values are the same is not touched, nor is one of another origin. On an error nothing has changed. The book
    /// shares the specs of the list.
    ///
    /// # Errors
    /// [`SyncError`] names the first policy of the list that cannot be put into the book.
    pub fn sync(
        &mut self,
        origin: &Origin,
        list: &[(PolicyId, Wanted)],
        now: Timestamp,
        drain_window: Duration,
    ) -> Result<SyncReport, SyncError> {
        // All of the list is checked before anything is edited: on an error the book is as it was.
        let mut listed = BTreeSet::new();
        for (id, wanted) in list {
            let is_free = match wanted {
                _ if !listed.insert(id) => Err(BookError::Exists),
                Wanted::Active(_) | Wanted::Idle => self.is_free(origin, id),
                Wanted::AsItIs => Ok(()),
            };
            is_free.map_err(|error| SyncError { policy: id.clone(), error })?;
        }
        let mut report = SyncReport::default();
        for (id, wanted) in list {
            let put = match wanted {
                Wanted::Active(spec) => self.activate(origin, id, Arc::clone(spec)),
                Wanted::Idle => self.rest(origin, id, now, drain_window),
                Wanted::AsItIs => Ok(Put::Same),
            };
            debug_assert!(put.is_ok(), "each policy of the list was found to be free above");
            report.note(id, put.map_err(|error| SyncError { policy: id.clone(), error })?);
        }
        let of_origin = self.of_origin(origin).into_iter().map(|(id, _)| id);
        let missing: Vec<PolicyId> = of_origin.filter(|id| !listed.contains(id)).cloned().collect();
        for id in missing {
            self.delete(&id, now, drain_window);
            report.removed.push(id);
        }
        self.forget();
        Ok(report)
    }

    /// Makes these policies as old as their places in the list say: of equals that compete the earlier one applies,
    /// whenever each of them became active. Ids that are unknown are passed over.
    pub fn put_in_order<'p>(&mut self, ids: impl Iterator<Item = &'p PolicyId> + Clone) {
        // Only the orders that these policies have are dealt out anew: all others keep their places.
        let known = ids.clone().filter_map(|id| self.policies.get(id));
        let mut orders: Vec<u64> = known.map(|policy| policy.order).collect();
        orders.sort_unstable();
        let mut orders = orders.into_iter();
        for id in ids {
            if let Some(policy) = self.policies.get_mut(id) {
                // One for each that is known.
                let order = orders.next().unwrap_or(policy.order);
                if order != policy.order {
                    policy.edit().order = order;
                }
            }
        }
        debug_assert_eq!(orders.len(), 0, "each order is dealt out again");
    }

    /// Makes one policy of `origin` govern events as `spec` says: a new or idle one starts a generation, an active one
    /// goes on in its own under the new values. An id that was deleted may be taken again by its origin while old
    /// generations drain, and by the configuration file where it was the API's; by any origin later. The numbering of its
    /// generations goes on, and a pause of those that drain also holds the new one, until it is resumed.
    ///
    /// # Errors
    /// [`BookError::Exists`] when the id belongs to another origin.
    pub fn put(
        &mut self,
        origin: &Origin,
        id: &PolicyId,
        spec: impl Into<Arc<Spec>>,
    ) -> Result<Put, BookError> {
        self.is_free(origin, id)?;
        self.activate(origin, id, spec.into())
    }

    /// Makes one policy of `origin` known and idle; what was active drains for `drain_window` from `now`.
    ///
    /// # Errors
    /// [`BookError::Exists`] when the id belongs to another origin.
    pub fn rest(
        &mut self,
        origin: &Origin,
        id: &PolicyId,
        now: Timestamp,
        drain_window: Duration,
    ) -> Result<Put, BookError> {
        self.is_free(origin, id)?;
        let (policy, is_new) = self.authored(origin, id);
        // Edited only where something ends: an edit copies the policy.
        if policy.lifecycle.active().is_some() {
            policy.edit().lifecycle.end(now, drain_window);
            return Ok(Put::Ended);
        }
        Ok(if is_new { Put::Added } else { Put::Same })
    }

    /// Deletes a policy of any origin; what was active drains for `drain_window` from `now`.
    ///
    /// # Errors
    /// [`BookError::NotFound`], also when it was deleted before.
    pub fn remove(&mut self, id: &PolicyId, now: Timestamp, drain_window: Duration) -> Result<(), BookError> {
        self.get(id).ok_or(BookError::NotFound)?;
        self.delete(id, now, drain_window);
        self.forget();
        Ok(())
    }

    fn activate(&mut self, origin: &Origin, id: &PolicyId, spec: Arc<Spec>) -> Result<Put, BookError> {
        let (policy, _) = self.authored(origin, id);
        let put = match policy.lifecycle.active() {
            None => Put::Added,
            Some(_) if policy.ruling.as_ref() == Some(&spec) => return Ok(Put::Same),
            Some(_) => Put::Changed,
        };
        let policy = policy.edit();
        policy.lifecycle.begin();
        policy.ruling = Some(spec);
        Ok(put)
    }

    fn delete(&mut self, id: &PolicyId, now: Timestamp, drain_window: Duration) {
        if let Some(policy) = self.policies.get_mut(id) {
            let policy = policy.edit();
            policy.lifecycle.end(now, drain_window);
            policy.is_deleted = true;
        }
    }

    /// Whether an origin has the id or may take it.
    fn is_free(&self, origin: &Origin, id: &PolicyId) -> Result<(), BookError> {
        let is_taken = self.policies.get(id).is_some_and(|policy| match policy.is_deleted {
            true => !may_take_over(&policy.origin, origin),
            false => policy.origin != *origin,
        });
        if is_taken { Err(BookError::Exists) } else { Ok(()) }
    }

    /// A policy that the origin has or may take, with whether it is new or back again.
    fn authored(&mut self, origin: &Origin, id: &PolicyId) -> (&mut Kept<Policy>, bool) {
        let (order, ended) = (self.next_order, &mut self.ended);
        let mut is_new = false;
        let policy = self.policies.entry(id.clone()).or_insert_with(|| {
            is_new = true;
            Kept::new(Policy {
                origin: origin.clone(),
                is_deleted: false,
                ruling: None,
                pause: None,
                // Numbers go on where an earlier policy of this id ended: entries of its generations may still be in
                // the queue.
                lifecycle: Lifecycle::after(ended.remove(id).unwrap_or(0)),
                order,
            })
        });
        if policy.is_deleted {
            is_new = true;
            let policy = policy.edit();
            policy.origin = origin.clone();
            policy.is_deleted = false;
            policy.order = order;
        }
        if is_new {
            self.next_order = order.saturating_add(1);
        }
        (policy, is_new)
    }
}

#[cfg(test)]
mod tests;
