//! The policies that the planner acts by, and the emergency stops. A change of policies touches the limits of those that changed, the lines
//! in front of these limits, and the lanes that these policies govern; everything else stays as it is.
//!
//! Must not know: calls under way, purges, how limits count.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::info;

use crate::clock::Timestamp;
use crate::dispatch::groups::GroupId;
use crate::dispatch::input::Effect;
use crate::dispatch::lanes::LaneId;
use crate::dispatch::planner::roster::Roster;
use crate::dispatch::ruled::LanePolicies;
use crate::dispatch::stops::Stops;
use crate::event::{Entry, Event, Lane, PolicyId, Settlement};
use crate::limit::{Blocker, Rules};
use crate::policy::{PolicyChange, Runtime, RuntimePolicy};

/// The policies that apply now, deployed or draining.
pub(in crate::dispatch) struct ActivePolicies {
    runtime: Arc<Runtime>,
    stops: Arc<Stops>,
    /// When the first stop ends by itself.
    stops_end_at: Option<Timestamp>,
    /// Changes are applied to everything, for tests to compare with.
    #[cfg(test)]
    pub(in crate::dispatch) applies_all: bool,
}

impl ActivePolicies {
    /// Brings the limits of these policies in.
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        stops: Arc<Stops>,
        roster: &mut Roster,
        now: Timestamp,
    ) -> Self {
        for policy in runtime.policies() {
            roster.gate().set(&policy.id, Rules::from(policy), now);
        }
        Self {
            runtime: Arc::clone(runtime),
            stops_end_at: stops.first_end(roster.certain(now)),
            stops,
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

    /// From now on these stops are in force. What lanes have kept aside may go if it is not stopped any more.
    pub(super) fn stop(
        &mut self,
        stops: Arc<Stops>,
        roster: &mut Roster,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.stops = stops;
        self.plan_end_of_stops(roster, now);
        for id in roster.lanes().ids() {
            if let Some(lane) = roster.lane_mut(id)
                && std::mem::take(&mut lane.keeps_stopped)
            {
                lane.buffer.give_back();
            }
            self.rule(id, roster, now);
            roster.tend(id, now, effects);
        }
    }

    /// Ends the stops whose time has come.
    pub(super) fn end_stops(&mut self, roster: &mut Roster, now: Timestamp, effects: &mut Vec<Effect>) {
        // While time is in doubt no stop ends.
        if self.stops_end_at.is_some_and(|at| at <= now) && roster.is_time_trusted() {
            info!("an emergency stop has ended by itself");
            self.stop(Arc::clone(&self.stops), roster, now, effects);
        }
    }

    /// Finds out when the next stop ends by itself.
    pub(super) fn plan_end_of_stops(&mut self, roster: &Roster, now: Timestamp) {
        self.stops_end_at = self.stops.first_end(roster.certain(now));
    }

    /// When [`ActivePolicies::end_stops`] has something to do.
    pub(super) const fn next_end_of_stops(&self) -> Option<Timestamp> {
        self.stops_end_at
    }

    /// The emergency stops that it acts by.
    pub(super) fn stops(&self) -> &Stops {
        &self.stops
    }

    /// Whether a stop holds an event back.
    pub(super) fn stop_event(&self, event: &Event, certain: Option<Timestamp>) -> bool {
        self.stops.hold(event, certain)
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
        roster.rule(id, |lane| LanePolicies::by(lane, &self.runtime, &self.stops, certain));
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
        let ruled = LanePolicies::by(&lane, &self.runtime, &self.stops, roster.certain(now));
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
