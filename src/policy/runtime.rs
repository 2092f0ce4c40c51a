//! What is active now: an immutable snapshot of everything deployed or draining, made from the book as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::Method;

use crate::event::{CanonicalUrl, Labels, Lane, LaneError, PolicyId, PolicyRef};
use crate::policy::matcher::{Candidate, Matcher, Miss, Rule};
use crate::policy::{Book, Family, Generations, Origin, Pause, Policy, PolicyError, Spec};

/// Everything deployed or draining at one moment.
pub struct Runtime {
    policies: BTreeMap<PolicyId, RuntimePolicy>,
    matcher: Matcher,
    /// Whether any policy turns calls away.
    some_refuse: bool,
    /// The highest generation that each policy of the book ever had, also of those that are gone and have no generation
    /// left.
    last_generations: BTreeMap<PolicyId, u32>,
    /// Its place among those that were published.
    number: u64,
}

/// One policy that has at least one generation.
#[derive(Debug, Clone)]
pub struct RuntimePolicy {
    /// The id of the policy, which metrics name too.
    pub id: PolicyId,
    /// The dialect, API or file that authored it.
    pub origin: Origin,
    /// What the newest generation says, which applies to all of them; shared with the book.
    pub spec: Arc<Spec>,
    /// An operator's hold, if there is one; it may have ended already.
    pub pause: Option<Pause>,
    /// Its deployed lives, by number; at most one is active.
    pub generations: Generations,
    order: u64,
}

impl PartialEq for RuntimePolicy {
    fn eq(&self, other: &Self) -> bool {
        let Self { id, origin, spec, pause, generations, order } = self;
        // Two snapshots share what did not change between them.
        (Arc::ptr_eq(spec, &other.spec) || *spec == other.spec)
            && *id == other.id
            && *origin == other.origin
            && *pause == other.pause
            && *generations == other.generations
            && *order == other.order
    }
}

/// A difference between two snapshots. The newer one has the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChange {
    /// New, or with other values or generations than before.
    Set(PolicyId),
    /// No generation is left: entries that still stand in its lanes are dropped as drained.
    Removed(PolicyId),
}

impl Runtime {
    /// Compiles what the book makes active.
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`], [`PolicyError::TooManyOrigins`].
    pub fn build(book: &Book) -> Result<Self, PolicyError> {
        Self::compile(book, None)
    }

    /// The same beside an earlier one: what both compile to alike is shared.
    ///
    /// # Errors
    /// As for [`Runtime::build`].
    pub(super) fn build_after(before: &Self, book: &Book) -> Result<Self, PolicyError> {
        Self::compile(book, Some(&before.matcher))
    }

    fn compile(book: &Book, before: Option<&Matcher>) -> Result<Self, PolicyError> {
        let policies: BTreeMap<PolicyId, RuntimePolicy> = book
            .policies
            .iter()
            .filter_map(|(id, policy)| Some((id.clone(), RuntimePolicy::of(id, policy)?)))
            .collect();
        let rules = policies.values().flat_map(RuntimePolicy::rules).collect();
        let matcher = Matcher::compile(rules, before)?;
        let some_refuse = policies.values().any(|policy| policy.spec.family == Family::Refuse);
        let last_generations = book.last_generations().map(|(id, last)| (id.clone(), last)).collect();
        Ok(Self { policies, matcher, some_refuse, last_generations, number: 0 })
    }

    /// The lane of a call: of each origin the most specific active policy that governs it, or all of them where
    /// they overlap, together. `None` when nothing does.
    ///
    /// # Errors
    /// [`LaneError`] when more policies govern it than a lane can name.
    pub fn route(
        &self,
        method: &Method,
        url: &CanonicalUrl,
        labels: &Labels,
    ) -> Result<Option<Lane>, LaneError> {
        self.matcher.route(method, url, labels)
    }

    /// Every active policy whose pattern matches a call, the most literal first, and whether it applies.
    #[must_use]
    pub fn candidates(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<Candidate> {
        self.matcher.candidates(method, url, labels)
    }

    /// The active policies that come closest to a call that none governs, the closest first, at most 5. What that costs is
    /// bounded beside the search that [`Runtime::route`] costs, whatever the number of policies.
    #[must_use]
    pub(crate) fn misses(&self, method: &Method, url: &CanonicalUrl, labels: &Labels) -> Vec<Miss> {
        self.matcher.misses(method, url, labels)
    }

    /// The same, published after those with lower numbers.
    pub(crate) const fn numbered(mut self, number: u64) -> Self {
        self.number = number;
        self
    }

    /// Its place among those that were published.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether every policy of a lane turns calls away, so that its calls are tried when they are handed in.
    #[must_use]
    pub fn refuses(&self, lane: &Lane) -> bool {
        let refuses = |part: &PolicyRef| {
            self.policies.get(&part.policy).is_some_and(|policy| policy.spec.family == Family::Refuse)
        };
        // First what is cheap: where no policy turns calls away, no call has to look its policies up.
        self.some_refuse && !lane.policies().is_empty() && lane.policies().iter().all(refuses)
    }

    /// All policies that have a generation, by id.
    pub fn policies(&self) -> impl Iterator<Item = &RuntimePolicy> {
        self.policies.values()
    }

    /// All policies in the order in which they were made.
    pub fn by_age(&self) -> impl Iterator<Item = &RuntimePolicy> {
        let mut policies: Vec<_> = self.policies.values().collect();
        policies.sort_by_key(|policy| policy.order);
        policies.into_iter()
    }

    /// The policy of this id, if it has a generation.
    #[must_use]
    pub fn get(&self, id: &PolicyId) -> Option<&RuntimePolicy> {
        self.policies.get(id)
    }

    /// Whether a generation is known to have ended: the book has issued it, and it neither takes events nor drains.
    /// One that was never issued is unknown, which is no end.
    #[must_use]
    pub fn has_ended(&self, part: &PolicyRef) -> bool {
        let PolicyRef { policy, generation } = part;
        // Nothing irreversible on doubt: a number above the last one may come from a book that was lost, and its
        // entries are held.
        let goes_on = self.get(policy).is_some_and(|policy| policy.generations.contains_key(generation));
        let was_issued = self.last_generations.get(policy).is_some_and(|last| generation <= last);
        was_issued && !goes_on
    }

    /// What changed since `previous`. Edits that change no limit (a name, a description) make no difference.
    #[must_use]
    pub fn diff(&self, previous: &Self) -> Vec<PolicyChange> {
        let (mut changes, mut set) = (Vec::new(), Vec::new());
        // Both by id. Calls wait for this where the dispatcher asks.
        let mut before = previous.policies.values().peekable();
        for policy in self.policies.values() {
            while let Some(gone) = before.next_if(|known| known.id < policy.id) {
                changes.push(PolicyChange::Removed(gone.id.clone()));
            }
            if before.next_if(|known| known.id == policy.id) != Some(policy) {
                set.push(PolicyChange::Set(policy.id.clone()));
            }
        }
        changes.extend(before.map(|gone| PolicyChange::Removed(gone.id.clone())));
        changes.append(&mut set);
        changes
    }

    /// The policies of which the book has issued other generations than in `previous`, deployed or not: that ends doubts
    /// about generations that are gone.
    #[must_use]
    pub fn issued_since(&self, previous: &Self) -> Vec<PolicyId> {
        let mut issued = Vec::new();
        // Both by id, as above.
        let mut before = previous.last_generations.iter().peekable();
        for (id, last) in &self.last_generations {
            issued.extend(
                std::iter::from_fn(|| before.next_if(|(known, _)| *known < id)).map(|(gone, _)| gone.clone()),
            );
            if before.next_if(|(known, _)| *known == id) != Some((id, last)) {
                issued.push(id.clone());
            }
        }
        issued.extend(before.map(|(gone, _)| gone.clone()));
        issued
    }
}

impl RuntimePolicy {
    fn of(id: &PolicyId, policy: &Policy) -> Option<Self> {
        // A policy that is idle has no spec, and nothing of it is active.
        let spec = Arc::clone(policy.ruling.as_ref()?);
        let generations = policy.lifecycle().generations().clone();
        (!generations.is_empty()).then(|| Self {
            id: id.clone(),
            origin: policy.origin().clone(),
            spec,
            pause: policy.pause().cloned(),
            generations,
            order: policy.order,
        })
    }

    /// One rule per clause while a generation takes new events.
    fn rules(&self) -> impl Iterator<Item = Rule> {
        let active = self.generations.active();
        let governed_by = active.map(|generation| PolicyRef { policy: self.id.clone(), generation });
        governed_by.into_iter().flat_map(move |governed_by| {
            let rule = move |clause| Rule {
                governed_by: governed_by.clone(),
                origin: self.origin.clone(),
                order: self.order,
                spec: Arc::clone(&self.spec),
                clause,
            };
            (0..self.spec.clauses.len()).map(rule)
        })
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("policies", &self.policies).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::policy::DRAIN_WINDOW;
    use crate::policy::testing::{id, spec, url};

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    fn x() -> Origin {
        Origin::new("x")
    }

    fn lane(runtime: &Runtime) -> Option<String> {
        let lane = runtime.route(&Method::GET, &url("https://h.org/x"), &Labels::default());
        lane.expect("few policies").map(|lane| lane.key().to_string())
    }

    #[test]
    fn only_active_generations_are_routed_to_and_draining_ones_stay_known() {
        let mut book = Book::default();
        book.rest(&x(), &id("p"), NOW, DRAIN_WINDOW).expect("free");
        let idle = Runtime::build(&book).expect("small");
        assert_eq!(lane(&idle), None);
        assert!(idle.get(&id("p")).is_none());

        book.put(&x(), &id("p"), spec("https://h.org/*", 200.0)).expect("idle");
        let deployed = Runtime::build(&book).expect("small");
        assert_eq!(lane(&deployed).as_deref(), Some("p@1"));
        assert_eq!(deployed.diff(&idle), [PolicyChange::Set(id("p"))]);

        book.rest(&x(), &id("p"), NOW, DRAIN_WINDOW).expect("deployed");
        let draining = Runtime::build(&book).expect("small");
        assert_eq!(lane(&draining), None);
        assert_eq!(draining.get(&id("p")).expect("drains").generations.len(), 1);
        assert_eq!(draining.diff(&deployed), [PolicyChange::Set(id("p"))]);

        book.put(&x(), &id("p"), spec("https://h.org/*", 300.0)).expect("idle");
        let again = Runtime::build(&book).expect("small");
        assert_eq!(lane(&again).as_deref(), Some("p@2"));
        let policy = again.get(&id("p")).expect("deployed");
        assert_eq!(
            policy.spec.limits,
            spec("https://h.org/*", 300.0).limits,
            "both lives share the newest limits"
        );
        assert_eq!(policy.generations.len(), 2);

        book.rest(&x(), &id("p"), NOW, DRAIN_WINDOW).expect("deployed");
        book.expire(Timestamp::MAX);
        assert_eq!(Runtime::build(&book).expect("small").diff(&again), [PolicyChange::Removed(id("p"))]);
    }

    #[test]
    fn what_is_gone_is_told_before_what_is_set_each_by_id() {
        let mut book = Book::default();
        let deploy = |book: &mut Book, name: &str| {
            book.put(&x(), &id(name), spec("https://h.org/*", 1.0)).expect("free");
        };
        ["d", "z", "a", "f", "c"].iter().for_each(|name| deploy(&mut book, name));
        let before = Runtime::build(&book).expect("small");
        for name in ["f", "z", "a"] {
            book.remove(&id(name), NOW, std::time::Duration::ZERO).expect("there");
        }
        book.expire(NOW);
        ["e", "b"].iter().for_each(|name| deploy(&mut book, name));
        book.put(&x(), &id("d"), spec("https://h.org/*", 2.0)).expect("deployed");
        let after = Runtime::build(&book).expect("small");
        let gone = ["a", "f", "z"].map(|name| PolicyChange::Removed(id(name)));
        let set = ["b", "d", "e"].map(|name| PolicyChange::Set(id(name)));
        assert_eq!(after.diff(&before), [gone, set].concat());
        assert_eq!(after.diff(&after), []);
    }

    #[test]
    fn a_generation_has_ended_only_if_the_book_has_issued_it() {
        let mut book = Book::default();
        book.rest(&x(), &id("p"), NOW, DRAIN_WINDOW).expect("free");
        let ended = |book: &Book| {
            let runtime = Runtime::build(book).expect("small");
            let part = |generation| PolicyRef { policy: id("p"), generation };
            [1, 2, 3].map(|generation| runtime.has_ended(&part(generation)))
        };
        assert_eq!(ended(&Book::default()), [false; 3]);
        assert_eq!(ended(&book), [false; 3]);
        book.put(&x(), &id("p"), spec("https://h.org/*", 1.0)).expect("idle");
        book.rest(&x(), &id("p"), NOW, DRAIN_WINDOW).expect("deployed");
        assert_eq!(ended(&book), [false; 3], "it drains");
        book.put(&x(), &id("p"), spec("https://h.org/*", 1.0)).expect("idle");
        book.expire(NOW + DRAIN_WINDOW);
        assert_eq!(ended(&book), [true, false, false]);
        book.remove(&id("p"), NOW, DRAIN_WINDOW).expect("there");
        book.expire(NOW + DRAIN_WINDOW);
        assert_eq!(ended(&book), [true, true, false], "also when the policy is gone");
    }

    #[test]
    fn cosmetic_edits_make_no_difference() {
        let mut book = Book::default();
        book.rest(&x(), &id("p"), NOW, DRAIN_WINDOW).expect("free");
        book.put(&x(), &id("p"), spec("https://h.org/*", 200.0)).expect("idle");
        let before = Runtime::build(&book).expect("small");
        book.put_element(&x(), "config", "p", "renamed".into());
        book.put(&x(), &id("p"), spec("https://H.ORG/*", 200.0)).expect("deployed");
        assert_eq!(Runtime::build(&book).expect("small").diff(&before), []);
        book.put(&x(), &id("p"), spec("https://h.org/*", 201.0)).expect("deployed");
        assert_eq!(Runtime::build(&book).expect("small").diff(&before), [PolicyChange::Set(id("p"))]);
    }
}
