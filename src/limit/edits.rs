//! What edits leave unknown. A limiter remembers what its present windows reach back to. A longer window, one that is
//! brought in, or other label values reach further: to starts that are forgotten, that were made under limiters which
//! are gone, or in an earlier process. New limiters of such a policy are silent until all of that has left their windows.
//!
//! Must not know: how limits count.

use std::collections::{HashMap, HashSet};

use crate::clock::Timestamp;
use crate::event::PolicyId;
use crate::limit::record::Consumed;

/// What stands before the policy in the name under which a floor is on record.
const MARK: &str = "floor ";

/// The floors of all policies. See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// The latest start under limiters that are gone.
    gone: HashMap<PolicyId, Timestamp>,
    /// Starts up to `at` may be unknown to limiters that are made; until `over_at` that matters.
    floors: HashMap<PolicyId, Consumed>,
    /// Policies that this process took away.
    removed: HashSet<PolicyId>,
}

impl Edits {
    /// Takes a floor back from the record; other records are not for this.
    pub(super) fn recognise(&mut self, name: &str, consumed: Consumed) -> bool {
        let policy = name.strip_prefix(MARK).and_then(|policy| PolicyId::parse(policy).ok());
        policy.map(|policy| self.floors.insert(policy, consumed)).is_some()
    }

    /// The name under which the floor of a policy is on record.
    pub(super) fn name(policy: &PolicyId) -> Box<str> {
        format!("{MARK}{policy}").into()
    }

    /// A limiter is gone; its latest start was then.
    pub(super) fn forgotten(&mut self, policy: &PolicyId, last_start: Timestamp) {
        let latest = self.gone.entry(policy.clone()).or_default();
        *latest = last_start.max(*latest);
    }

    /// The policy was taken away; when it comes back nobody knows what it allowed.
    pub(super) fn removed(&mut self, policy: &PolicyId) {
        self.removed.insert(policy.clone());
    }

    /// Whether it was taken away since the last call.
    pub(super) fn came_back(&mut self, policy: &PolicyId) -> bool {
        self.removed.remove(policy)
    }

    /// Starts under limiters that are gone.
    pub(super) fn latest_gone(&self, policy: &PolicyId) -> Timestamp {
        self.gone.get(policy).copied().unwrap_or_default()
    }

    /// From now on limiters that are made count as if something had started under them at the floor.
    pub(super) fn raise(&mut self, policy: &PolicyId, floor: Consumed) {
        self.floors.insert(policy.clone(), floor);
    }

    /// The floor for a limiter that is made.
    pub(super) fn floor(&self, policy: &PolicyId) -> Timestamp {
        self.floors.get(policy).map(|floor| floor.at).unwrap_or_default()
    }

    /// The floors that still matter at `now`, by their names on record.
    pub(super) fn on_record(&self, now: Timestamp) -> impl Iterator<Item = (Box<str>, Consumed)> {
        let live = self.floors.iter().filter(move |(_, floor)| floor.over_at > now);
        live.map(|(policy, floor)| (Self::name(policy), *floor))
    }
}
