//! The `policy` labels: a bounded set, whatever policies come and go. The first policies with something to show have series
//! of their own for as long as the process runs; the figures of all others are added up under one label.
//!
//! Half of the places are kept for policies that calls go through, so that those that are only deployed do not take them
//! all.
//!
//! Must not know: what is measured.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use metrics::SharedString;

/// What stands for no policy.
const NONE: &str = "-";
/// What stands for all policies without series of their own. No policy can be called so.
pub(super) const OTHER: &str = "(other)";

/// Those of this process: without a bound until one is set.
static LABELS: LazyLock<Labels> = LazyLock::new(|| Labels::new(usize::MAX));

/// Sets how many policies have series of their own; those that have some keep them.
pub fn name_policies(most: NonZeroUsize) {
    LABELS.most.store(most.get(), Ordering::Relaxed);
}

/// The label of a policy that calls go through.
pub(super) fn used(policy: &str) -> SharedString {
    LABELS.of(policy, true)
}

/// The label of a policy through which calls may never have gone.
pub(super) fn present(policy: &str) -> SharedString {
    LABELS.of(policy, false)
}

struct Labels {
    most: AtomicUsize,
    named: ArcSwap<HashMap<Box<str>, SharedString>>,
}

impl Labels {
    fn new(most: usize) -> Self {
        Self { most: AtomicUsize::new(most), named: ArcSwap::default() }
    }

    fn of(&self, policy: &str, is_used: bool) -> SharedString {
        if policy == NONE {
            return SharedString::const_str(NONE);
        }
        let most = self.most.load(Ordering::Relaxed);
        let places = if is_used { most } else { most.div_ceil(2) };
        let known = self.named.load();
        match known.get(policy) {
            Some(label) => label.clone(),
            None if known.len() >= places => SharedString::const_str(OTHER),
            None => self.name(policy, places),
        }
    }

    fn name(&self, policy: &str, places: usize) -> SharedString {
        let label = SharedString::from_shared(Arc::from(policy));
        self.named.rcu(|named| {
            // Somebody else may have taken the last place, or named this one.
            if named.len() >= places || named.contains_key(policy) {
                return Arc::clone(named);
            }
            let mut more = HashMap::clone(named);
            more.insert(policy.into(), label.clone());
            Arc::new(more)
        });
        self.named.load().get(policy).cloned().unwrap_or(SharedString::const_str(OTHER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_labels_are_a_bounded_set_of_which_half_is_kept_for_those_in_use() {
        let labels = Labels::new(4);
        for number in 0..10 {
            let label = labels.of(&format!("idle{number}"), false);
            assert_eq!(&*label == OTHER, number >= 2, "{label}");
        }
        for number in 0..10 {
            let label = labels.of(&format!("used{number}"), true);
            assert_eq!(&*label == OTHER, number >= 2, "{label}");
        }
        let later = ["idle0", "idle1", "used0", "used1", "used2", "idle2"].map(|name| labels.of(name, true));
        let later: Vec<&str> = later.iter().map(|label| &**label).collect();
        assert_eq!(later, ["idle0", "idle1", "used0", "used1", OTHER, OTHER], "nobody loses a place");
        assert_eq!(&*labels.of("-", false), "-", "no policy takes none");
        assert_eq!(labels.named.load().len(), 4);
    }

    #[test]
    fn without_a_bound_each_has_its_own() {
        let labels = Labels::new(usize::MAX);
        assert!((0..100).all(|number| {
            let name = number.to_string();
            *labels.of(&name, false) == *name
        }));
    }
}
