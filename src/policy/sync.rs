//! A list of policies that is the whole truth about one origin, such as the configuration file: what the list adds,
//! changes or leaves out is made so in the book, all of it or nothing.
//!
//! Must not know: where the list comes from, how it was written.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::policy::{Book, BookError, Origin, Spec};

/// What a list made different, each in the order of the list; what was removed in the order of its creation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncReport {
    /// New, or back again after it had been removed.
    pub added: Vec<PolicyId>,
    /// Ruled by other values, in the same generation.
    pub changed: Vec<PolicyId>,
    /// Not in the list any more: its backlog drains.
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

impl SyncReport {
    /// Whether nothing is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

impl Origin {
    /// The policies of the configuration file.
    #[must_use]
    pub fn file() -> Self {
        Self::new("file")
    }

    /// The policies of `PUT /v1/policies/{id}`.
    #[must_use]
    pub fn api() -> Self {
        Self::new("api")
    }
}

impl Book {
    /// Makes the policies of `origin` those of `list`, deployed, and no others: new ones start a generation, changed
    /// ones go on in theirs under the new values, missing ones are deleted and drain for `drain_window` from `now`.
    /// A policy whose values are the same is not touched, nor is one of another origin. On an error nothing has
    /// changed. The book shares specs that are given as [`Arc`].
    ///
    /// # Errors
    /// [`SyncError`] names the first policy of the list that cannot be had.
    pub fn sync<S: Borrow<Spec> + Clone + Into<Arc<Spec>>>(
        &mut self,
        origin: &Origin,
        list: &[(PolicyId, S)],
        now: Timestamp,
        drain_window: Duration,
    ) -> Result<SyncReport, SyncError> {
        let mut next = self.clone();
        let mut report = SyncReport::default();
        let mut listed = BTreeSet::new();
        for (id, spec) in list {
            let refused = |error| SyncError { policy: id.clone(), error };
            if !listed.insert(id) {
                return Err(refused(BookError::Exists));
            }
            match next.put(origin, id, spec).map_err(refused)? {
                Put::Same => {}
                Put::Added => report.added.push(id.clone()),
                Put::Changed => report.changed.push(id.clone()),
            }
        }
        let missing: Vec<PolicyId> = next
            .of_origin(origin)
            .into_iter()
            .filter(|(id, _)| !listed.contains(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in missing {
            next.delete(&id, now, drain_window, true)
                .map_err(|error| SyncError { policy: id.clone(), error })?;
            report.removed.push(id);
        }
        *self = next;
        Ok(report)
    }

    /// Makes these policies as old as their places in the list say: of equals that compete the earlier one rules, whenever
    /// each of them became active. Ids that are unknown are passed over.
    pub fn put_in_order<'p>(&mut self, ids: impl Iterator<Item = &'p PolicyId> + Clone) {
        let known = ids.clone().filter_map(|id| self.policies.get(id));
        let mut orders: Vec<u64> = known.map(|policy| policy.order).collect();
        orders.sort_unstable();
        let mut orders = orders.into_iter();
        for id in ids {
            if let Some(policy) = self.policies.get_mut(id) {
                // One for each that is known.
                let order = orders.next().unwrap_or(policy.order);
                if order != policy.order {
                    Arc::make_mut(policy).order = order;
                }
            }
        }
    }

    /// Makes one policy of `origin` what `spec` says, deployed: a new one starts a generation, a deployed one goes on in
    /// its own under the new values. The origin keeps no record beside what rules.
    ///
    /// # Errors
    /// [`BookError::Exists`] when the id belongs to another origin.
    pub fn put<S: Borrow<Spec> + Clone + Into<Arc<Spec>>>(
        &mut self,
        origin: &Origin,
        id: &PolicyId,
        spec: &S,
    ) -> Result<Put, BookError> {
        match self.get(id) {
            Some(policy) if policy.origin() != origin => Err(BookError::Exists),
            Some(policy) if !policy.lifecycle().is_deployed() => {
                self.deploy(id, Value::Null, spec.clone()).map(|()| Put::Added)
            }
            Some(policy) if policy.ruling() == Some(Borrow::<Spec>::borrow(spec)) => Ok(Put::Same),
            Some(_) => self.update_shared(id, Value::Null, Some(spec.clone().into())).map(|()| Put::Changed),
            None => {
                self.create(id.clone(), origin.clone(), Value::Null)?;
                self.deploy(id, Value::Null, spec.clone()).map(|()| Put::Added)
            }
        }
    }
}

/// What [`Book::put`] made different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Nothing: it was so already.
    Same,
    /// It is new, or back again.
    Added,
    /// It goes on under other values.
    Changed,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::testing::{id, spec};
    use crate::policy::{DRAIN_WINDOW, PolicyChange, Runtime, document};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn list(rows: &[(&str, f64)]) -> Vec<(PolicyId, Spec)> {
        rows.iter().map(|(name, pace)| (id(name), spec("https://h.org/*", *pace))).collect()
    }

    fn synced(book: &mut Book, rows: &[(&str, f64)]) -> SyncReport {
        book.sync(&Origin::file(), &list(rows), NOW, DRAIN_WINDOW).expect("active")
    }

    fn runtime(book: &Book) -> Runtime {
        Runtime::build(book).expect("small")
    }

    #[test]
    fn only_the_difference_is_made_and_reported() {
        let mut book = Book::default();
        let report = synced(&mut book, &[("a", 1.0), ("b", 2.0), ("c", 3.0)]);
        assert_eq!(report.added, [id("a"), id("b"), id("c")]);
        let (before, was) = (runtime(&book), book.clone());
        assert!(synced(&mut book, &[("c", 3.0), ("a", 1.0), ("b", 2.0)]).is_empty());
        assert_eq!(book, was, "nothing to write");

        let report = synced(&mut book, &[("a", 1.0), ("b", 20.0), ("d", 4.0)]);
        assert_eq!(
            (report.added, report.changed, report.removed),
            (vec![id("d")], vec![id("b")], vec![id("c")])
        );
        let after = runtime(&book);
        let set = ["b", "c", "d"].map(|name| PolicyChange::Set(id(name)));
        assert_eq!(after.diff(&before), set, "a does not notice, c drains");
        let lives = |name: &str| after.get(&id(name)).map(|policy| policy.generations.len());
        assert_eq!((lives("b"), lives("c")), (Some(1), Some(1)));
        assert_eq!(book.get(&id("b")).and_then(|policy| policy.lifecycle().active()), Some(1), "goes on");
        assert_eq!(book.get(&id("c")), None);
    }

    #[test]
    fn the_order_of_a_list_can_be_the_order_of_age() {
        let mut book = Book::default();
        synced(&mut book, &[("b", 1.0), ("other", 1.0)]);
        synced(&mut book, &[("a", 1.0), ("b", 1.0), ("c", 1.0), ("other", 1.0)]);
        let governs = |book: &Book| {
            let (at, labels) =
                (crate::policy::testing::url("https://h.org/x"), crate::event::Labels::default());
            let lane = runtime(book).route(&http::Method::GET, &at, &labels).expect("few").expect("governed");
            lane.key().to_string()
        };
        assert_eq!(governs(&book), "b@1", "the first active");
        let ids = ["a", "gone", "b", "c"].map(id);
        book.put_in_order(ids.iter());
        assert_eq!(governs(&book), "a@1");
        let before = book.clone();
        book.put_in_order(ids.iter());
        assert_eq!(book, before);
    }

    #[test]
    fn what_comes_back_while_it_drains_starts_a_new_generation() {
        let mut book = Book::default();
        synced(&mut book, &[("a", 1.0)]);
        synced(&mut book, &[]);
        let report = synced(&mut book, &[("a", 1.0)]);
        assert_eq!(report.added, [id("a")]);
        let policy = book.get(&id("a")).expect("authored");
        assert_eq!((policy.lifecycle().active(), policy.lifecycle().generations().len()), (Some(2), 2));
    }

    #[test]
    fn the_id_of_another_origin_is_named_and_nothing_changes() {
        let mut book = Book::default();
        book.create(id("api"), Origin::new("x"), Value::from(1)).expect("free");
        synced(&mut book, &[("a", 1.0), ("b", 1.0)]);
        let before = book.clone();
        for name in ["api", "a"] {
            // The second row changes, the last one is what cannot be.
            let rows = list(&[("new", 1.0), ("a", 2.0), (name, 1.0)]);
            let error = book.sync(&Origin::file(), &rows, NOW, DRAIN_WINDOW).expect_err("refused");
            assert_eq!(error, SyncError { policy: id(name), error: BookError::Exists });
            assert_eq!(book, before);
        }
        // What an origin left behind is its own until it has drained.
        book.deploy(&id("api"), Value::Null, spec("https://h.org/*", 1.0)).expect("idle");
        book.delete(&id("api"), NOW, DRAIN_WINDOW, true).expect("forced");
        let error =
            book.sync(&Origin::file(), &list(&[("api", 1.0)]), NOW, DRAIN_WINDOW).expect_err("drains");
        assert!(error.to_string().contains("\"api\""), "{error}");
        book.expire(NOW + DRAIN_WINDOW);
        synced(&mut book, &[("api", 1.0)]);
    }

    #[test]
    fn the_file_takes_over_what_the_api_has_deleted_and_nothing_that_it_has() {
        let mut book = Book::default();
        book.put(&Origin::api(), &id("a"), &spec("https://h.org/*", 1.0)).expect("free");
        let before = book.clone();
        book.sync(&Origin::file(), &list(&[("a", 2.0)]), NOW, DRAIN_WINDOW).expect_err("it is the API's");
        assert_eq!(book, before);
        book.delete(&id("a"), NOW, DRAIN_WINDOW, true).expect("forced");
        assert_eq!(synced(&mut book, &[("a", 2.0)]).added, [id("a")]);
        let policy = book.get(&id("a")).expect("authored");
        assert_eq!((policy.origin(), policy.lifecycle().active()), (&Origin::file(), Some(2)));
        assert_eq!(policy.lifecycle().generations().len(), 2, "the first one drains");
        book.delete(&id("a"), NOW, DRAIN_WINDOW, true).expect("forced");
        let back = book.put(&Origin::api(), &id("a"), &spec("https://h.org/*", 1.0));
        assert_eq!(back, Err(BookError::Exists), "not the other way round");
    }

    /// What the file says that rules, by id.
    fn active(book: &Book) -> BTreeMap<&PolicyId, &Spec> {
        let policies = book.of_origin(&Origin::file()).into_iter();
        let deployed = policies.filter(|(_, policy)| policy.lifecycle().is_deployed());
        deployed.filter_map(|(id, policy)| Some((id, policy.ruling()?))).collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Sync(Vec<(u8, u8)>),
        Foreign(u8),
        Wait { hours: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => prop::collection::vec((0..6_u8, 1..4_u8), 0..6).prop_map(Step::Sync),
            1 => (0..6_u8).prop_map(Step::Foreign),
            2 => (0..30_u64).prop_map(|hours| Step::Wait { hours }),
        ];
        prop::collection::vec(step, 0..30)
    }

    proptest! {
        #[test]
        fn after_any_syncs_the_book_has_the_last_list_that_could_be(steps in steps()) {
            let (mut book, mut now) = (Book::default(), NOW);
            let mut last: Vec<(PolicyId, Spec)> = Vec::new();
            let mut foreign = Vec::new();
            for step in steps {
                match step {
                    Step::Sync(rows) => {
                        let rows: Vec<_> = rows
                            .into_iter()
                            .map(|(which, pace)| (id(&format!("p{which}")), spec("https://h.org/*", pace.into())))
                            .collect();
                        let before = book.clone();
                        let ids: BTreeSet<_> = rows.iter().map(|(id, _)| id).collect();
                        let taken = ids.len() < rows.len() || ids.iter().any(|id| foreign.contains(*id));
                        match book.sync(&Origin::file(), &rows, now, DRAIN_WINDOW) {
                            Ok(report) => {
                                prop_assert!(!taken, "an id was taken");
                                prop_assert_eq!(report.is_empty(), book == before);
                                last = rows;
                            }
                            Err(_) => {
                                prop_assert!(taken, "refused without a reason");
                                prop_assert_eq!(&book, &before, "a refusal changes nothing");
                            }
                        }
                    }
                    Step::Foreign(which) => {
                        let id = id(&format!("p{which}"));
                        if book.create(id.clone(), Origin::new("x"), Value::Null).is_ok() {
                            foreign.push(id);
                        }
                    }
                    Step::Wait { hours } => {
                        now = now + Duration::from_secs(hours * 3600);
                        book.expire(now);
                    }
                }
                let expected: BTreeMap<_, _> = last.iter().map(|(id, spec)| (id, spec)).collect();
                prop_assert_eq!(active(&book), expected);
                prop_assert_eq!(book.of_origin(&Origin::new("x")).len(), foreign.len());
                let body = document::encode(&book).expect("encodes");
                prop_assert_eq!(&document::decode(&body).expect("decodes"), &book);
                let running = Runtime::build(&book).expect("small");
                for (id, _) in &last {
                    let active = book.get(id).and_then(|policy| policy.lifecycle().active());
                    prop_assert!(active.is_some() && running.get(id).is_some());
                }
            }
        }
    }
}
