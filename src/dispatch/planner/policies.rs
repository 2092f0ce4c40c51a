//! The policies that the planner acts by. A change of them touches the limits of those policies that changed, the lines
//! in front of these limits, and the lanes that these policies govern; everything else stays as it is.
//!
//! Must not know: calls under way, purges, how limits count.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::dispatch::groups::GroupId;
use crate::dispatch::input::Effect;
use crate::dispatch::lanes::{LaneId, LanePolicies};
use crate::dispatch::planner::roster::Roster;
use crate::event::{Entry, Lane, PolicyId, Settlement};
use crate::limit::{Blocker, Rules};
use crate::policy::{PolicyChange, Runtime, RuntimePolicy};

/// The policies that apply now, deployed or draining.
pub(in crate::dispatch) struct ActivePolicies {
    runtime: Arc<Runtime>,
    /// Changes are applied to everything, for tests to compare with.
    #[cfg(test)]
    pub(in crate::dispatch) applies_all: bool,
}

impl ActivePolicies {
    /// Brings the limits of these policies in.
    pub(super) fn new(runtime: &Arc<Runtime>, roster: &mut Roster, now: Timestamp) -> Self {
        for policy in runtime.policies() {
            roster.gate().set(&policy.id, Rules::from(policy), now);
        }
        Self {
            runtime: Arc::clone(runtime),
            #[cfg(test)]
            applies_all: false,
        }
    }

    #[cfg(test)]
    pub(in crate::dispatch) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// From now on these policies apply.
    pub(super) fn apply(
        &mut self,
        runtime: Arc<Runtime>,
        roster: &mut Roster,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let mut touched: BTreeSet<PolicyId> = runtime.issued_since(&self.runtime).into_iter().collect();
        for change in runtime.diff(&self.runtime) {
            let id = match change {
                PolicyChange::Set(id) => {
                    if let Some(policy) = runtime.get(&id) {
                        roster.gate().set(&id, Rules::from(policy), now);
                    }
                    id
                }
                PolicyChange::Removed(id) => {
                    roster.gate().remove(&id);
                    id
                }
            };
            touched.insert(id);
        }
        // A bound has room, or none, by what the other policy counts: its lanes are to be asked again, too.
        touched.extend(bounded_by(&runtime, &touched));
        self.runtime = runtime;
        #[cfg(test)]
        if self.applies_all {
            return self.apply_to_all(roster, now, effects);
        }
        // What their limiters said before may no longer hold.
        touched.iter().for_each(|policy| roster.ask_again(policy));
        let lanes = roster.lanes().of_policies(&touched);
        // Before they are bound anew: in the line of a limiter that they have no more nobody would ask them.
        let groups: BTreeSet<GroupId> =
            lanes.iter().filter_map(|id| roster.lanes().get(*id)).map(|lane| lane.group).collect();
        roster.order().ask_again(groups);
        for id in &lanes {
            roster.rebind(*id, now);
            self.rule(*id, roster, now);
        }
        for id in lanes {
            roster.tend(id, now, effects);
        }
    }

    /// The policies whose limits depend on what counts under this one: it, and those that bound it.
    pub(super) fn limited_by(&self, policy: &PolicyId) -> BTreeSet<PolicyId> {
        let mut policies = BTreeSet::from([policy.clone()]);
        policies.extend(bounded_by(&self.runtime, &policies));
        policies
    }

    /// Applies what the policies say now to a lane.
    pub(super) fn rule(&self, id: LaneId, roster: &mut Roster, now: Timestamp) {
        let certain = roster.certain(now);
        roster.rule(id, |lane| LanePolicies::by(lane, &self.runtime, certain));
    }

    /// The lane with this key, if it has a meaning, present from now on.
    pub(super) fn find_or_add(&self, lane: &Lane, roster: &mut Roster, now: Timestamp) -> LaneId {
        match roster.lanes().find(lane.key()) {
            Some(id) => id,
            None => self.add(lane.clone(), roster, now),
        }
    }

    /// A lane comes, and what the policies say about it applies.
    pub(super) fn add(&self, lane: Lane, roster: &mut Roster, now: Timestamp) -> LaneId {
        let ruled = LanePolicies::by(&lane, &self.runtime, roster.certain(now));
        roster.add(lane, ruled, now)
    }

    /// Whether calls of a lane are tried when they are handed in.
    pub(super) fn refuses(&self, lane: &Lane) -> bool {
        self.runtime.refuses(lane)
    }

    /// How an entry ends that is turned away: in the words of the policy whose limit has no room.
    pub(super) fn turned_away(
        &self,
        entry: &Entry,
        blocker: Blocker,
        policy: Option<&PolicyId>,
    ) -> Settlement {
        let policy = policy.and_then(|id| self.runtime.get(id));
        let wording = policy.and_then(|policy| policy.spec.wording.as_ref());
        let reason = blocker.kind.code(wording).to_owned();
        Settlement::Dead { reason, attempts: entry.tries.attempts() }
    }
}

#[cfg(test)]
impl ActivePolicies {
    /// Applies the present policies to every lane, and asks every one again.
    fn apply_to_all(&self, roster: &mut Roster, now: Timestamp, effects: &mut Vec<Effect>) {
        roster.ask_all_again();
        for id in roster.lanes().ids() {
            roster.rebind(id, now);
            self.rule(id, roster, now);
            roster.tend(id, now, effects);
        }
    }
}

/// The policies that bound what some of these count.
fn bounded_by(runtime: &Runtime, counters: &BTreeSet<PolicyId>) -> Vec<PolicyId> {
    let bounds = |policy: &&RuntimePolicy| {
        policy.spec.bounds_on.as_ref().is_some_and(|counter| counters.contains(counter))
    };
    runtime.policies().filter(bounds).map(|policy| policy.id.clone()).collect()
}
