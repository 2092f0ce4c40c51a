//! The `policy` labels: a bounded set, whatever policies come and go. The policies that have been deployed longest have
//! series of their own; the figures of all others are added up under one label. A place that becomes free goes to the
//! one that has been deployed longest of those without.
//!
//! Must not know: what is measured, what a policy is.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use metrics::SharedString;

use crate::telemetry::kept::KeptSeries;
use crate::telemetry::{recorder, zero};

/// The label value that stands for no policy.
pub(super) const NONE: &str = "-";
/// What stands for all policies without series of their own; a policy of this name is one of them.
pub(super) const OTHER: &str = "other";

/// The labels of this process, which all series share.
static LABELS: LazyLock<PolicyLabels> = LazyLock::new(PolicyLabels::default);

/// Held while labels change, one change at a time.
static CHANGES: Mutex<()> = Mutex::new(());

/// How many policies have series of their own from now on: `metrics.max_policies`. How many there may be is another bound,
/// `manage.max_policies`.
pub(crate) fn max_policies(most: NonZeroUsize) {
    change(|wanted| wanted.most = most.get());
}

/// Says which policies are deployed or draining from now on, those that are so longest first. To be called before they
/// are active, so that nothing of a new one is counted elsewhere.
pub fn set_policies<'a>(present: impl Iterator<Item = &'a str>) {
    change(|wanted| wanted.present = Some(present.map(Box::from).collect()));
}

/// Series end with their label and begin with it at 0.
fn change(change: impl FnOnce(&mut WantedLabels)) {
    // One at a time: what is kept of a label is that of its last beginning.
    let _changing = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let new = LABELS.change(change);
    // Before the new ones begin: a label that comes back starts at zero.
    recorder::end_series(is_there);
    new.iter().for_each(|label| label.begin());
}

/// Whether a policy has series of its own.
fn has_series(policy: &str) -> bool {
    let given = LABELS.given.load();
    !given.is_bounded || given.own.contains_key(policy)
}

/// Whether a policy has series that it shares with no other.
pub(super) fn has_own_series(policy: &str) -> bool {
    policy != OTHER && (policy == NONE || has_series(policy))
}

/// The label under which the figures of a policy are shown: its own, or that of all others.
#[must_use]
pub(crate) fn series_of(policy: &str) -> &str {
    if policy == NONE || has_series(policy) { policy } else { OTHER }
}

/// Whether there are series of this label.
pub(super) fn is_there(label: &str) -> bool {
    label == NONE || label == OTHER || has_series(label)
}

/// The label under which a policy counts.
pub(super) fn label(policy: &str) -> SharedString {
    LABELS.given.load().of(policy).name.clone()
}

/// The labels under which these policies count now.
pub(super) fn labels<'a>(policies: impl Iterator<Item = &'a str>) -> Arc<[Arc<Label>]> {
    // Loaded once, so that all of them are looked up in one state.
    let given = LABELS.given.load();
    policies.map(|policy| given.of(policy)).collect()
}

/// Whether the policies with series of their own have changed since the last call: what was about to count under one
/// that is gone has done so.
pub(super) fn have_changed() -> bool {
    LABELS.changed.swap(false, Ordering::AcqRel)
}

/// Changes whenever the policies with series of their own may have changed.
pub(super) fn version() -> u64 {
    LABELS.version.load(Ordering::Acquire)
}

/// How many policies have no series of their own.
pub(super) fn without_series() -> usize {
    LABELS.given.load().without
}

#[derive(Default)]
struct PolicyLabels {
    wanted: Mutex<WantedLabels>,
    given: ArcSwap<GivenLabels>,
    changed: AtomicBool,
    version: AtomicU64,
}

struct WantedLabels {
    most: usize,
    /// Unknown until somebody says it: each policy then has its own label.
    present: Option<Vec<Box<str>>>,
}

impl Default for WantedLabels {
    fn default() -> Self {
        Self { most: usize::MAX, present: None }
    }
}

struct GivenLabels {
    is_bounded: bool,
    own: HashMap<Box<str>, Arc<Label>>,
    none: Arc<Label>,
    /// That of all policies without a label of their own.
    other: Arc<Label>,
    /// Policies that are present and have no label of their own.
    without: usize,
}

impl Default for GivenLabels {
    fn default() -> Self {
        let [none, other] = [NONE, OTHER].map(|name| Label::new(SharedString::const_str(name)));
        Self { is_bounded: false, own: HashMap::new(), none, other, without: 0 }
    }
}

/// A label of policies with its series: the handle that those keep who count under it often.
#[derive(Debug)]
pub(super) struct Label {
    name: SharedString,
    /// Set once they have begun: never of a policy of which it is not known whether there is one.
    kept: OnceLock<Arc<KeptSeries>>,
    /// Some policy that counted under it does so no more.
    is_over: AtomicBool,
}

impl Label {
    pub(super) fn new(name: SharedString) -> Arc<Self> {
        Arc::new(Self { name, kept: OnceLock::new(), is_over: AtomicBool::new(false) })
    }

    /// Its series begin at zero and are kept from now on.
    pub(super) fn begin(&self) {
        // Never refused: no label begins twice.
        let _ = self.kept.set(Arc::new(zero::begin(&self.name)));
    }

    pub(super) fn name(&self) -> &SharedString {
        &self.name
    }

    pub(super) fn kept(&self) -> Option<&KeptSeries> {
        self.kept.get().map(|kept| &**kept)
    }

    /// Whether all that were given it still count under it.
    pub(super) fn is_current(&self) -> bool {
        !self.is_over.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}

impl PolicyLabels {
    /// Returns the labels that are in use from now on and were not before: that of no policy from the first time on,
    /// that of all others once there are others.
    fn change(&self, change: impl FnOnce(&mut WantedLabels)) -> Vec<Arc<Label>> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wanted);
        let Some(present) = &wanted.present else { return Vec::new() };
        let before = self.given.load_full();
        let next = before.after(present, wanted.most);
        let own = next.own.values().filter(|label| !before.own.contains_key(&*label.name));
        let none = (!before.is_bounded).then_some(&next.none);
        let is_shared = next.without > 0 && before.without == 0;
        let new = own.chain(none).chain(is_shared.then_some(&next.other)).cloned().collect();
        let next = Arc::new(next);
        self.given.store(Arc::clone(&next));
        // After the new ones are there: whoever sees that one is over finds what has taken its place.
        let ended = before.own.iter().filter(|(policy, _)| !next.own.contains_key(*policy));
        ended.for_each(|(_, label)| label.end());
        if !Arc::ptr_eq(&before.other, &next.other) {
            before.other.end();
        }
        // After the new labels are there: a thread that sees the change sees them.
        self.changed.store(true, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
        new
    }
}

impl GivenLabels {
    /// The label of a policy.
    fn of(&self, policy: &str) -> Arc<Label> {
        if policy == NONE {
            return Arc::clone(&self.none);
        }
        match self.own.get(policy) {
            Some(label) => Arc::clone(label),
            None if self.is_bounded => Arc::clone(&self.other),
            // Nobody has said yet which policies there are, as in tests of other rooms: it is asked for anew each time.
            None => {
                let label = Label::new(SharedString::from_owned(policy.to_owned()));
                label.end();
                label
            }
        }
    }

    /// Those that are still there keep their labels, as far as there is room; the rest goes to the longest deployed.
    fn after(&self, present: &[Box<str>], most: usize) -> Self {
        let present = present.iter().map(|policy| &**policy);
        let (kept, further): (Vec<&str>, Vec<&str>) =
            present.partition(|policy| self.own.contains_key(*policy));
        let all = kept.len() + further.len();
        // Those that have a label come first: a series that goes on is worth more than one that begins.
        let candidates = kept.into_iter().chain(further).filter(|policy| *policy != OTHER);
        let label = |policy: &str| {
            let new = || Label::new(SharedString::from_shared(Arc::from(policy)));
            self.own.get(policy).cloned().unwrap_or_else(new)
        };
        let own: HashMap<Box<str>, Arc<Label>> =
            candidates.take(most).map(|policy| (policy.into(), label(policy))).collect();
        let without = all - own.len();
        let other = self.other_for(&own, without);
        Self { is_bounded: true, own, none: Arc::clone(&self.none), other, without }
    }

    /// The label of all others, once these have their own: another one when some policy leaves it, or it begins.
    fn other_for(&self, own: &HashMap<Box<str>, Arc<Label>>, without: usize) -> Arc<Label> {
        let begins = without > 0 && self.without == 0;
        if !begins && own.keys().all(|policy| self.own.contains_key(policy)) {
            return Arc::clone(&self.other);
        }
        let other = Label::new(SharedString::const_str(OTHER));
        if let Some(kept) = self.other.kept.get().filter(|_| !begins) {
            // Never refused: it is new. The series are the same.
            let _ = other.kept.set(Arc::clone(kept));
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &PolicyLabels, present: &[&str]) -> Vec<String> {
        let new = labels
            .change(|wanted| wanted.present = Some(present.iter().map(|name| (*name).into()).collect()));
        let mut new: Vec<String> = new.iter().map(|label| label.name.to_string()).collect();
        new.sort();
        new
    }

    fn given(labels: &PolicyLabels) -> Vec<String> {
        let mut own: Vec<String> = labels.given.load().own.keys().map(ToString::to_string).collect();
        own.sort();
        own
    }

    fn of(labels: &PolicyLabels, policy: &str) -> String {
        labels.given.load().of(policy).name.to_string()
    }

    #[test]
    fn the_longest_deployed_have_labels_and_free_places_go_to_the_next() {
        let labels = PolicyLabels::default();
        labels.change(|wanted| wanted.most = 2);
        set(&labels, &["b", "c", "d"]);
        assert_eq!(given(&labels), ["b", "c"]);
        assert_eq!([of(&labels, "b"), of(&labels, "d"), of(&labels, "-")], ["b", OTHER, "-"]);
        assert_eq!(labels.given.load().without, 1);
        set(&labels, &["a", "b", "c", "d"]);
        assert_eq!(given(&labels), ["b", "c"], "nobody loses a place");
        set(&labels, &["c", "d", "e"]);
        assert_eq!(given(&labels), ["c", "d"]);
        labels.change(|wanted| wanted.most = 1);
        assert_eq!(given(&labels).len(), 1);
        labels.change(|wanted| wanted.most = 9);
        assert_eq!(given(&labels), ["c", "d", "e"]);
        set(&labels, &[]);
        assert_eq!(
            (given(&labels).len(), of(&labels, "c")),
            (0, OTHER.to_owned()),
            "one that is gone counts with the others"
        );
    }

    #[test]
    fn a_policy_that_is_called_as_the_others_are_is_one_of_them() {
        let labels = PolicyLabels::default();
        set(&labels, &[OTHER, "p"]);
        assert_eq!(given(&labels), ["p"]);
        assert_eq!(labels.given.load().without, 1);
    }

    #[test]
    fn every_label_is_new_once_it_is_in_use() {
        let labels = PolicyLabels::default();
        labels.change(|wanted| wanted.most = 2);
        assert_eq!(set(&labels, &["a", "b"]), ["-", "a", "b"]);
        assert!(set(&labels, &["a", "b"]).is_empty());
        assert_eq!(set(&labels, &["a", "b", "c"]), [OTHER]);
        assert!(set(&labels, &["a", "b", "c", "d"]).is_empty(), "the others have begun");
        assert_eq!(set(&labels, &["b", "c", "d"]), ["c"]);
    }

    #[test]
    fn each_has_its_own_until_somebody_says_which_there_are() {
        let labels = PolicyLabels::default();
        labels.change(|wanted| wanted.most = 1);
        assert_eq!([of(&labels, "a"), of(&labels, "b")], ["a", "b"]);
    }

    /// Whoever keeps a label sees when it no longer counts for a policy, and keeps it for all others.
    #[test]
    fn a_label_is_over_when_a_policy_leaves_it_and_not_before() {
        let labels = PolicyLabels::default();
        let of = |policy: &str| labels.given.load().of(policy);
        assert!(!of("a").is_current(), "asked for anew until it is known which there are");
        labels.change(|wanted| wanted.most = 2);
        set(&labels, &["a", "b", "c"]);
        let [none, a, b, c] = ["-", "a", "b", "c"].map(of);
        assert_eq!(&*c.name, OTHER);
        set(&labels, &["a", "b", "c", "d"]);
        assert!(
            [&none, &a, &b, &c].iter().all(|label| label.is_current()),
            "the control: none has changed its label"
        );
        assert!(Arc::ptr_eq(&c, &of("d")));
        set(&labels, &["a", "c", "d"]);
        assert!(none.is_current() && a.is_current() && !b.is_current());
        assert!(!c.is_current(), "it has its own now");
        assert_eq!([&*of("b").name, &*of("c").name, &*of("d").name], [OTHER, "c", OTHER]);
        set(&labels, &["a", "b"]);
        assert!(!Arc::ptr_eq(&b, &of("b")), "it begins anew");
        assert!(Arc::ptr_eq(&a, &of("a")) && a.is_current());
    }
}
