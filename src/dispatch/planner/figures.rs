//! What is going on, for people and metrics. All lanes are walked over, in parts: however many they are, no call waits
//! for all of it.
//!
//! Must not know: who asks.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::clock::Timestamp;
use crate::dispatch::input::PlannerFigures;
use crate::dispatch::lanes::{DispatchLane, LaneId};
use crate::dispatch::planner::looks::{Look, Looks};
use crate::dispatch::planner::roster::Roster;
use crate::dispatch::planner::starts::Starts;
use crate::dispatch::stops::Stops;
use crate::telemetry::policy_names;

/// Places of lanes that are looked at in one part.
pub(in crate::dispatch) const LANES_AT_ONCE: usize = 2048;

/// A walk over the lanes that has not come to its end. Lanes that come or go meanwhile may be left out or counted
/// twice.
pub(in crate::dispatch) struct FiguresWalk {
    figures: PlannerFigures,
    /// Where it goes on; `None` when it is over.
    next: Option<usize>,
    late_calls: HashSet<LaneId>,
}

impl FiguresWalk {
    /// Takes what is known without looking at lanes.
    pub(super) fn begin(starts: &Starts, stops: &Stops, roster: &mut Roster, now: Timestamp) -> Self {
        let certain = roster.certain(now);
        let (lanes, gate, order) = roster.walk();
        // A limiter has held something only while an entry was ready: lanes that wait for a page do not count.
        let has_entries = |lane| lanes.get(lane).is_some_and(|lane| !lane.buffer.is_empty());
        let worked = gate.worked(now, |limiter| order.waiting_for(limiter).any(has_entries));
        let figures = PlannerFigures {
            now,
            lanes: lanes.len(),
            stale_permits: starts.stale_permits(),
            calls: BTreeMap::new(),
            violations: gate.violations().clone(),
            worked,
            looks: Looks::default(),
            spent_until: gate.spent_until(now),
            held: Vec::new(),
            cautious: Vec::new(),
            slowed: Vec::new(),
            read_ahead: roster.read_ahead(),
            stops: stops.by_kind(certain),
        };
        // In doubt about time nothing expires.
        let late_calls = certain.map_or_else(HashSet::new, |now| starts.near_expiry(now));
        Self { figures, next: Some(0), late_calls }
    }

    /// Walks over some more lanes, and looks at them for what no single step finds unless nothing is to start. Returns
    /// the figures once that was the last part.
    pub(super) fn go_on(
        &mut self,
        nothing_starts: bool,
        roster: &mut Roster,
        now: Timestamp,
    ) -> Option<PlannerFigures> {
        let from = self.next?;
        let (certain, no_share) = (roster.certain(now), roster.is_full());
        let (lanes, gate, order) = roster.walk();
        let late_calls = &self.late_calls;
        let mut look = Look { now, certain, no_share, late_calls, order, gate, full: HashMap::new() };
        let (part, next) = lanes.page_mut(from, LANES_AT_ONCE);
        for (id, lane) in part {
            count(&mut self.figures, lane, now);
            if !nothing_starts {
                look.at(id, lane, &mut self.figures.looks);
            }
        }
        self.next = next;
        next.is_none().then(|| std::mem::take(&mut self.figures))
    }
}

/// Adds one lane to the figures of all.
pub(super) fn count(figures: &mut PlannerFigures, lane: &DispatchLane, now: Timestamp) {
    if lane.inflight > 0 {
        for policy in policy_names(&lane.lane) {
            match figures.calls.get_mut(policy) {
                Some(calls) => *calls += lane.inflight as u64,
                None => drop(figures.calls.insert(policy.to_owned(), lane.inflight as u64)),
            }
        }
    }
    figures.held.extend(lane.hold(now).map(|hold| (lane.lane.clone(), hold)));
    figures.slowed.extend(lane.slow_rate(now).map(|rate| (lane.lane.clone(), rate)));
    figures.cautious.extend(lane.holds.is_cautious().then(|| lane.lane.key().clone()));
}
