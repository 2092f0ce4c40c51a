//! The policy book: everything that was authored or deployed, whatever its origin. A change edits a copy,
//! which replaces the book as a whole or not at all ([`crate::policy::Policies::change`]).
//!
//! The authoring record belongs to the origin and is opaque here; of a deployed policy the book keeps the
//! [`Spec`] that rules.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::policy::elements::Elements;
use crate::policy::{Lifecycle, Spec, TransitionError};

/// Where a policy comes from: the dialect or file that authored it. Within one origin the most specific
/// policy rules an event, or all of them do, as its [`Overlap`](crate::policy::Overlap) says; over several origins all
/// apply.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(Arc<str>);

impl Origin {
    /// Names an origin.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name as text.
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
    /// Why, for whoever wonders.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when, a whole millisecond; `None` means until it is resumed.
    pub until: Option<Timestamp>,
}

/// One policy in the book.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub(super) origin: Origin,
    /// `None` once deleted: what is left only drains.
    pub(super) record: Option<Value>,
    /// The spec of the newest generation, while there is any.
    pub(super) ruling: Option<Spec>,
    /// An operator holds it.
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
    /// Where it comes from.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The authoring record, as its origin wrote it.
    #[must_use]
    pub fn record(&self) -> &Value {
        self.record.as_ref().unwrap_or(&Value::Null)
    }

    /// Its life so far.
    #[must_use]
    pub const fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The operator's hold, if there is one.
    #[must_use]
    pub const fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }

    /// What rules, while it is deployed or drains.
    #[must_use]
    pub const fn ruling(&self) -> Option<&Spec> {
        self.ruling.as_ref()
    }
}

/// Why a change to one policy is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// No such policy, or none any more.
    #[error("no such policy")]
    NotFound,
    /// The id is taken.
    #[error("there is a policy of this id already")]
    Exists,
    /// The policy's state does not allow it.
    #[error(transparent)]
    State(#[from] TransitionError),
}

/// All policies.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Book {
    pub(super) policies: BTreeMap<PolicyId, Policy>,
    pub(super) elements: Elements,
    pub(super) next_order: u64,
}

impl Book {
    /// An authored policy; one that was deleted is not found although it may still drain.
    #[must_use]
    pub fn get(&self, id: &PolicyId) -> Option<&Policy> {
        self.policies.get(id).filter(|policy| policy.record.is_some())
    }

    /// One policy, also one that was deleted and still drains.
    #[must_use]
    pub fn known(&self, id: &PolicyId) -> Option<&Policy> {
        self.policies.get(id)
    }

    /// All policies by id, those after `id`, also the ones that were deleted and still drain.
    pub fn after(&self, id: Option<&PolicyId>) -> impl Iterator<Item = (&PolicyId, &Policy)> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.policies.range::<PolicyId, _>((from, Bound::Unbounded))
    }

    /// The authored policies of one origin, oldest first.
    #[must_use]
    pub fn of_origin(&self, origin: &Origin) -> Vec<(&PolicyId, &Policy)> {
        let mut found: Vec<_> = self
            .policies
            .iter()
            .filter(|(_, policy)| policy.origin == *origin && policy.record.is_some())
            .collect();
        found.sort_unstable_by_key(|(_, policy)| policy.order);
        found
    }

    /// Adds a policy. An id that was deleted may be taken again by its origin while old generations drain.
    ///
    /// # Errors
    /// [`BookError::Exists`].
    pub fn create(&mut self, id: PolicyId, origin: Origin, record: Value) -> Result<(), BookError> {
        let order = self.next_order;
        match self.policies.get_mut(&id) {
            Some(old) if old.record.is_none() && old.origin == origin => {
                old.lifecycle.revive();
                old.record = Some(record);
                old.order = order;
            }
            Some(_) => return Err(BookError::Exists),
            None => {
                let lifecycle = Lifecycle::created();
                let policy =
                    Policy { origin, record: Some(record), ruling: None, pause: None, lifecycle, order };
                self.policies.insert(id, policy);
            }
        }
        self.next_order = order.saturating_add(1);
        Ok(())
    }

    /// Replaces the record. `ruling` takes the place of what rules a deployed policy, in the same generation;
    /// `None` leaves that as it is, and an idle policy has nothing that rules.
    ///
    /// # Errors
    /// [`BookError::NotFound`]; [`BookError::State`] with [`TransitionError::NotActive`].
    pub fn update(&mut self, id: &PolicyId, record: Value, ruling: Option<Spec>) -> Result<(), BookError> {
        let policy = self.authored(id)?;
        policy.lifecycle.update()?;
        if policy.lifecycle.is_deployed() && ruling.is_some() {
            policy.ruling = ruling;
        }
        policy.record = Some(record);
        Ok(())
    }

    /// Starts a new generation that `spec` rules; draining ones share its limits from now on.
    ///
    /// # Errors
    /// [`BookError::NotFound`]; [`BookError::State`] with [`TransitionError::AlreadyDeployed`].
    pub fn deploy(&mut self, id: &PolicyId, record: Value, spec: Spec) -> Result<(), BookError> {
        let policy = self.authored(id)?;
        policy.lifecycle.deploy()?;
        policy.ruling = Some(spec);
        policy.record = Some(record);
        Ok(())
    }

    /// Lets the active generation drain for `window`.
    ///
    /// # Errors
    /// [`BookError::NotFound`]; [`BookError::State`] with [`TransitionError::NotDeployed`].
    pub fn undeploy(&mut self, id: &PolicyId, now: Timestamp, window: Duration) -> Result<(), BookError> {
        Ok(self.authored(id)?.lifecycle.undeploy(now, window)?)
    }

    /// Removes the authoring record; with `force` also of a deployed policy, whose generations then drain
    /// for `window`.
    ///
    /// # Errors
    /// [`BookError::NotFound`]; [`BookError::State`] with [`TransitionError::StillDeployed`].
    pub fn delete(
        &mut self,
        id: &PolicyId,
        now: Timestamp,
        window: Duration,
        force: bool,
    ) -> Result<(), BookError> {
        let policy = self.authored(id)?;
        policy.lifecycle.delete(now, window, force)?;
        policy.record = None;
        self.forget();
        Ok(())
    }

    /// Holds a policy, whatever its state; a later hold replaces an earlier one.
    ///
    /// # Errors
    /// [`BookError::NotFound`].
    pub fn pause(&mut self, id: &PolicyId, pause: Pause) -> Result<(), BookError> {
        self.policies.get_mut(id).ok_or(BookError::NotFound)?.pause = Some(pause);
        Ok(())
    }

    /// Ends a hold; one that is not held stays so.
    ///
    /// # Errors
    /// [`BookError::NotFound`].
    pub fn resume(&mut self, id: &PolicyId) -> Result<(), BookError> {
        self.policies.get_mut(id).ok_or(BookError::NotFound)?.pause = None;
        Ok(())
    }

    /// Drops generations whose drain window is over, what is left of deleted policies with them, and holds that
    /// have ended.
    pub fn expire(&mut self, now: Timestamp) {
        for policy in self.policies.values_mut() {
            policy.lifecycle.expire(now);
            policy.pause.take_if(|pause| pause.until.is_some_and(|until| until <= now));
        }
        self.forget();
    }

    /// What no generation needs any more.
    fn forget(&mut self) {
        self.policies.retain(|_, policy| {
            if policy.lifecycle.generations().is_empty() {
                policy.ruling = None;
            }
            policy.record.is_some() || policy.ruling.is_some()
        });
    }

    fn authored(&mut self, id: &PolicyId) -> Result<&mut Policy, BookError> {
        self.policies.get_mut(id).filter(|policy| policy.record.is_some()).ok_or(BookError::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::{id, spec};
    use crate::policy::{DRAIN_WINDOW, GenerationState, Runtime, document};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn with_deployed() -> Book {
        let mut book = Book::default();
        book.create(id("p"), Origin::new("x"), Value::from(1)).expect("free");
        book.deploy(&id("p"), Value::from(2), spec("https://h.org/*", 200.0)).expect("idle");
        book
    }

    #[test]
    fn a_forced_deletion_hides_the_record_and_lets_the_generations_drain() {
        let mut book = with_deployed();
        let before = book.clone();
        assert_eq!(
            book.delete(&id("p"), NOW, DRAIN_WINDOW, false),
            Err(BookError::State(TransitionError::StillDeployed))
        );
        assert_eq!(book, before, "a refusal changes nothing");
        book.delete(&id("p"), NOW, DRAIN_WINDOW, true).expect("forced");
        assert_eq!(book.get(&id("p")), None);
        assert_eq!(book.undeploy(&id("p"), NOW, DRAIN_WINDOW), Err(BookError::NotFound));
        assert_eq!(book.policies.len(), 1);
        book.expire(NOW + DRAIN_WINDOW - Duration::from_nanos(1));
        assert_eq!(book.policies.len(), 1);
        book.expire(NOW + DRAIN_WINDOW);
        assert_eq!(book.policies.len(), 0);
    }

    #[test]
    fn an_id_taken_again_goes_on_counting_generations() {
        let mut book = with_deployed();
        assert_eq!(book.create(id("p"), Origin::new("x"), Value::Null), Err(BookError::Exists));
        book.delete(&id("p"), NOW, DRAIN_WINDOW, true).expect("forced");
        assert_eq!(book.create(id("p"), Origin::new("y"), Value::Null), Err(BookError::Exists));
        book.create(id("p"), Origin::new("x"), Value::from(3)).expect("free again");
        book.deploy(&id("p"), Value::from(3), spec("https://h.org/*", 300.0)).expect("idle");
        let policy = book.get(&id("p")).expect("authored");
        assert_eq!(policy.lifecycle().active(), Some(2));
        assert_eq!(policy.lifecycle().generations().len(), 2);
    }

    #[test]
    fn an_update_without_a_valid_spec_leaves_what_rules() {
        let mut book = with_deployed();
        book.update(&id("p"), Value::from(4), None).expect("deployed");
        assert_eq!(book.get(&id("p")).and_then(Policy::ruling), Some(&spec("https://h.org/*", 200.0)));
        let next = spec("https://h.org/*", 900.0);
        book.update(&id("p"), Value::from(5), Some(next.clone())).expect("deployed");
        assert_eq!(book.get(&id("p")).and_then(Policy::ruling), Some(&next));
        book.undeploy(&id("p"), NOW, DRAIN_WINDOW).expect("deployed");
        book.update(&id("p"), Value::from(6), Some(spec("https://h.org/*", 1.0))).expect("idle");
        assert_eq!(
            book.get(&id("p")).and_then(Policy::ruling),
            Some(&next),
            "a draining life keeps its limits"
        );
    }

    #[test]
    fn the_list_is_oldest_first_and_of_one_origin() {
        let mut book = Book::default();
        for (name, origin) in [("z", "x"), ("a", "x"), ("m", "y")] {
            book.create(id(name), Origin::new(origin), Value::Null).expect("free");
        }
        let names: Vec<_> = book.of_origin(&Origin::new("x")).iter().map(|(id, _)| id.to_string()).collect();
        assert_eq!(names, ["z", "a"]);
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Create,
        Update { valid: bool },
        Deploy,
        Undeploy,
        Delete { force: bool },
        Wait { hours: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<(u8, Step)>> {
        let step = prop_oneof![
            Just(Step::Create),
            any::<bool>().prop_map(|valid| Step::Update { valid }),
            Just(Step::Deploy),
            Just(Step::Undeploy),
            any::<bool>().prop_map(|force| Step::Delete { force }),
            (0..30_u64).prop_map(|hours| Step::Wait { hours }),
        ];
        prop::collection::vec((0..3_u8, step), 0..60)
    }

    fn take(book: &mut Book, id: &PolicyId, step: Step, now: Timestamp) -> Result<(), BookError> {
        match step {
            Step::Create => book.create(id.clone(), Origin::new("x"), Value::from("new")),
            Step::Update { valid } => {
                let ruling = valid.then(|| spec("https://h.org/new/*", 300.0));
                book.update(id, Value::from("updated"), ruling)
            }
            Step::Deploy => book.deploy(id, Value::from("deployed"), spec("https://h.org/*", 200.0)),
            Step::Undeploy => book.undeploy(id, now, DRAIN_WINDOW),
            Step::Delete { force } => book.delete(id, now, DRAIN_WINDOW, force),
            Step::Wait { .. } => {
                book.expire(now);
                Ok(())
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_book_stays_in_order(steps in steps()) {
            let mut book = Book::default();
            let mut now = NOW;
            let mut known: BTreeSet<(PolicyId, u32)> = BTreeSet::new();
            for (which, step) in steps {
                let id = id(&format!("p{which}"));
                if let Step::Wait { hours } = step {
                    now = now + Duration::from_secs(hours * 3600) + Duration::from_nanos(1);
                }
                let before = book.clone();
                if take(&mut book, &id, step, now).is_err() {
                    prop_assert_eq!(&book, &before, "a refusal changes nothing");
                }
                let body = document::encode(&book).expect("encodes");
                prop_assert_eq!(&document::decode(&body).expect("decodes"), &book);
                let runtime = Runtime::build(&book).expect("small");
                for (id, policy) in &book.policies {
                    let life = policy.lifecycle();
                    let active = life.generations().values().filter(|g| **g == GenerationState::Active).count();
                    prop_assert_eq!(active, usize::from(life.is_deployed()));
                    prop_assert!(policy.record.is_some() || active == 0, "what is deleted takes no events");
                    prop_assert_eq!(runtime.get(id).is_some(), !life.generations().is_empty());
                    for (number, state) in life.generations() {
                        let fresh = known.insert((id.clone(), *number));
                        let old = before.policies.get(id).is_some_and(|p| p.lifecycle().generations().contains_key(number));
                        prop_assert!(old || fresh, "a generation that was gone came back");
                        if let (GenerationState::Draining { until }, Step::Wait { .. }) = (state, step) {
                            prop_assert!(*until > now);
                        }
                    }
                }
                // An id that is wholly gone may begin anew.
                known.retain(|(id, _)| book.policies.contains_key(id));
            }
        }
    }
}
