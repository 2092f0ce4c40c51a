//! The `policy` labels: a bounded set, whatever policies come and go. The policies that have been deployed longest have
//! series of their own; the figures of all others are added up under one label. A place that becomes free goes to the
//! one that has been deployed longest of those without.
//!
//! Must not know: what is measured, what a policy is.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use arc_swap::ArcSwap;
use metrics::SharedString;

use crate::event::Lane;
use crate::telemetry::events::policy_names;
use crate::telemetry::kept::{Kept, Recorder, Target};
use crate::telemetry::{recorder, zero};

/// The label value that stands for no policy.
const NONE: &str = "-";
/// What stands for all policies without series of their own; a policy of this name is one of them.
pub(super) const OTHER: &str = "other";

/// The labels of this process, which all series share.
static LABELS: LazyLock<Labels> = LazyLock::new(Labels::default);

/// Held while labels change, one change at a time.
static CHANGES: Mutex<()> = Mutex::new(());

/// How many policies have series of their own from now on.
pub(crate) fn max_policies(most: NonZeroUsize) {
    change(|wanted| wanted.most = most.get());
}

/// Says which policies are deployed or draining from now on, those that are so longest first. To be called before they
/// are active, so that nothing of a new one is counted elsewhere.
pub fn set_policies<'a>(present: impl Iterator<Item = &'a str>) {
    change(|wanted| wanted.present = Some(present.map(Box::from).collect()));
}

/// Series end with their label and begin with it at 0.
fn change(change: impl FnOnce(&mut Wanted)) {
    // One at a time: what is kept of a label is that of its last beginning.
    let _changing = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let new = LABELS.change(change);
    // Before the new ones begin: a label that comes back starts at zero.
    recorder::end_series(is_there);
    let kept = new.into_iter().map(|label| (zero::begin(&label), label));
    LABELS.keep(kept.map(|(kept, label)| (label, Arc::new(kept))).collect());
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
    LABELS.given.load().of(policy).0.into_owned()
}

/// Counts what happens in a lane under each of its policies. Nothing is allocated for that where series are kept.
pub(super) fn each(lane: &Lane, count: impl Fn(&Target<'_>)) {
    // Loaded once, so that all policies of the lane are looked up in one state.
    let (given, present) = (LABELS.given.load(), Recorder::present());
    for policy in policy_names(lane) {
        let (label, kept) = given.of(policy);
        count(&Target::new(&label, kept, present));
    }
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
struct Labels {
    wanted: Mutex<Wanted>,
    given: ArcSwap<Given>,
    changed: AtomicBool,
    version: AtomicU64,
}

struct Wanted {
    most: usize,
    /// Unknown until somebody says it: each policy then has its own label.
    present: Option<Vec<Box<str>>>,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { most: usize::MAX, present: None }
    }
}

#[derive(Default, Clone)]
struct Given {
    is_bounded: bool,
    own: HashMap<Box<str>, Label>,
    /// The series that are kept of no policy, and of all without a label of their own.
    none: Option<Arc<Kept>>,
    other: Option<Arc<Kept>>,
    /// Policies that are present and have no label of their own.
    without: usize,
}

/// A label of a policy with its series.
#[derive(Clone)]
struct Label {
    name: SharedString,
    kept: Option<Arc<Kept>>,
}

impl Labels {
    /// Keeps the series of labels as long as these are in use.
    fn keep(&self, series: Vec<(SharedString, Arc<Kept>)>) {
        if series.is_empty() {
            return;
        }
        self.given.rcu(|given| {
            let mut given = Given::clone(given);
            for (label, kept) in &series {
                let place = match &**label {
                    NONE => Some(&mut given.none),
                    OTHER => Some(&mut given.other),
                    own => given.own.get_mut(own).map(|label| &mut label.kept),
                };
                if let Some(place) = place {
                    *place = Some(Arc::clone(kept));
                }
            }
            given
        });
    }

    /// Returns the labels that are in use from now on and were not before: that of no policy from the first time on,
    /// that of all others once there are others.
    fn change(&self, change: impl FnOnce(&mut Wanted)) -> Vec<SharedString> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut wanted);
        let Some(present) = &wanted.present else { return Vec::new() };
        let before = self.given.load_full();
        let next = before.after(present, wanted.most);
        let own = next.own.values().map(|label| &label.name);
        let own = own.filter(|label| !before.own.contains_key(&***label)).cloned();
        let none = (!before.is_bounded).then_some(SharedString::const_str(NONE));
        let is_shared = next.without > 0 && before.without == 0;
        let new = own.chain(none).chain(is_shared.then_some(SharedString::const_str(OTHER))).collect();
        self.given.store(Arc::new(next));
        // After the new labels are there: a thread that sees the change sees them.
        self.changed.store(true, Ordering::Release);
        self.version.fetch_add(1, Ordering::Release);
        new
    }
}

impl Given {
    /// The label of a policy, and the series that are kept of it.
    fn of(&self, policy: &str) -> (Cow<'_, SharedString>, Option<&Kept>) {
        if policy == NONE {
            return (Cow::Owned(SharedString::const_str(NONE)), self.none.as_deref());
        }
        match self.own.get(policy) {
            Some(label) => (Cow::Borrowed(&label.name), label.kept.as_deref()),
            None if self.is_bounded => (Cow::Owned(SharedString::const_str(OTHER)), self.other.as_deref()),
            // Nobody has said yet which policies there are, as in tests of other rooms.
            None => (Cow::Owned(SharedString::from_owned(policy.to_owned())), None),
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
            let new = || Label { name: SharedString::from_shared(Arc::from(policy)), kept: None };
            self.own.get(policy).cloned().unwrap_or_else(new)
        };
        let own: HashMap<Box<str>, Label> =
            candidates.take(most).map(|policy| (policy.into(), label(policy))).collect();
        let without = all - own.len();
        let (none, other) = (self.none.clone(), self.other.clone());
        Self { is_bounded: true, own, none, other, without }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(labels: &Labels, present: &[&str]) -> Vec<String> {
        let new = labels
            .change(|wanted| wanted.present = Some(present.iter().map(|name| (*name).into()).collect()));
        let mut new: Vec<String> = new.iter().map(ToString::to_string).collect();
        new.sort();
        new
    }

    fn given(labels: &Labels) -> Vec<String> {
        let mut own: Vec<String> = labels.given.load().own.keys().map(ToString::to_string).collect();
        own.sort();
        own
    }

    fn of(labels: &Labels, policy: &str) -> String {
        labels.given.load().of(policy).0.to_string()
    }

    #[test]
    fn the_longest_deployed_have_labels_and_free_places_go_to_the_next() {
        let labels = Labels::default();
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
        let labels = Labels::default();
        set(&labels, &[OTHER, "p"]);
        assert_eq!(given(&labels), ["p"]);
        assert_eq!(labels.given.load().without, 1);
    }

    #[test]
    fn every_label_is_new_once_it_is_in_use() {
        let labels = Labels::default();
        labels.change(|wanted| wanted.most = 2);
        assert_eq!(set(&labels, &["a", "b"]), ["-", "a", "b"]);
        assert!(set(&labels, &["a", "b"]).is_empty());
        assert_eq!(set(&labels, &["a", "b", "c"]), [OTHER]);
        assert!(set(&labels, &["a", "b", "c", "d"]).is_empty(), "the others have begun");
        assert_eq!(set(&labels, &["b", "c", "d"]), ["c"]);
    }

    #[test]
    fn each_has_its_own_until_somebody_says_which_there_are() {
        let labels = Labels::default();
        labels.change(|wanted| wanted.most = 1);
        assert_eq!([of(&labels, "a"), of(&labels, "b")], ["a", "b"]);
    }
}
