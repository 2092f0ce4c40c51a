//! The planner: what is sent next, and what follows. A pure state machine: it takes in what happened and
//! when, and answers with what is to be done. No I/O, no clock, no task.
//!
//! - First attempts leave a lane in the order in which they were made durable; what has become due (retries,
//!   delayed events) goes ahead of them, in due order, until it took its share of the lane's recent starts.
//! - Nothing starts without a permit, before its due time, or at or after its expiry.
//! - One step starts a bounded number of calls; [`Planner::next_wake`] says when it wants to go on.
//!
//! Must not know: sockets, files, how limits count.

mod admission;
mod alive;
pub(super) mod figures;
mod flights;
pub(super) mod looks;
pub(super) mod order;
pub(super) mod policies;
pub(super) mod purge;
mod reading;
pub(super) mod report;
pub(super) mod roster;
mod slowing;
pub(super) mod starts;
mod timers;
mod trust;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::endpoints::Endpoints;
use crate::dispatch::input::{Effect, Input, PlannerFigures, PlannerOptions, Start, Ticket, TokenNeed};
use crate::dispatch::stops::Stops;
use crate::event::{Entry, EventId, Lane, LaneKey, PolicyId};
use crate::limit::{Gate, OverLimit, Reservation, UsageToState};
use crate::policy::Runtime;
use crate::store::FlightsFound;
use crate::telemetry::defect;

use figures::FiguresWalk;
use flights::{Asked, Finished};
use policies::ActivePolicies;
use purge::{PurgeId, Purges};
use reading::Reading;
use report::LaneReport;
use roster::Roster;
use starts::{Starts, StepMoment};

/// A step stops starting and expiring once it has asked for this much, so that what happens meanwhile is taken in soon.
const EFFECTS_PER_STEP: usize = 2048;

/// Decides what is sent next. See the head of this file.
///
/// Each part has fields of its own and a duty; a step lends the roster, in which the lanes stand, to one part after the
/// other.
pub(crate) struct Planner {
    pub(super) roster: Roster,
    pub(super) policies: ActivePolicies,
    pub(super) starts: Starts,
    purges: Purges,
    /// The store is held as a whole: nothing is read, sent, expired or dropped.
    pub(super) held: bool,
    draining: bool,
    /// The time of the last step.
    stepped_at: Timestamp,
}

impl Planner {
    /// A planner over `gate`, which must be without policies yet; `dice` is for the jitter of retries.
    #[must_use]
    pub(crate) fn new(
        gate: Gate,
        (runtime, stops): (&Arc<Runtime>, Arc<Stops>),
        options: PlannerOptions,
        dice: fastrand::Rng,
        now: Timestamp,
    ) -> Self {
        let mut roster = Roster::new(gate, &options);
        let policies = ActivePolicies::new(runtime, stops, &mut roster, now);
        Self {
            roster,
            policies,
            starts: Starts::new(options, dice),
            purges: Purges::default(),
            held: options.held,
            draining: false,
            stepped_at: now,
        }
    }

    /// Takes in what happened at `now` and appends what is to be done. `now` never decreases.
    pub(crate) fn step(&mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) {
        defect!(unless self.stepped_at <= now, "a step that lies before the one before");
        self.stepped_at = now;
        self.take_in(input, now, effects);
        let Self { roster, policies, starts, .. } = self;
        if !self.draining && !self.held {
            // Lines first, so that all that may be asked now take their turns together.
            roster.order().turns.wake(now);
            policies.end_stops(roster, now, effects);
            roster.fire_timers(now, effects);
            starts.serve(policies, roster, StepMoment { now, effects });
            // After the starts, which make room in the read-ahead.
            roster.read_on(now, effects);
            roster.gate().forget_idle(now);
        }
        // At the end, so that one write takes what all parts of the step have reserved.
        let reservations = roster.gate().take_reservations();
        if !reservations.is_empty() && !self.held {
            effects.push(Effect::Record(reservations));
        }
    }

    fn take_in(&mut self, input: Input, now: Timestamp, effects: &mut Vec<Effect>) {
        let Self { roster, policies, starts, purges, .. } = self;
        match input {
            Input::Policies(runtime) => policies.apply(runtime, roster, now, effects),
            Input::Stops(stops) => policies.stop(stops, roster, now, effects),
            Input::LaneReady(key) => Reading { roster, policies, now, effects }.announce(&key),
            Input::PutOff(key, due_at) => Reading { roster, policies, now, effects }.put_off(&key, due_at),
            Input::GivenUp(key, entries) => Reading { roster, policies, now, effects }.let_go(&key, &entries),
            Input::ReadAgain => Reading { roster, policies, now, effects }.read_again(),
            Input::Loaded(key, loaded) => {
                Reading { roster, policies, now, effects }.take_in(&key, loaded, purges);
            }
            Input::LoadFailed(key) => Reading { roster, policies, now, effects }.load_failed(&key),
            Input::Finished { ticket, outcome, took } => {
                let finished = Finished { ticket, outcome: &outcome, took };
                starts.finish(&finished, roster, StepMoment { now, effects });
            }
            Input::UsageStated(stated) => usage_stated(&stated, policies, roster, now, effects),
            Input::Recorded { reservations, is_recorded } => {
                recorded(&reservations, is_recorded, roster, now);
            }
            Input::TimeTrusted(leap) => trust::end_doubt(&leap, starts, policies, roster, now, effects),
            Input::Tick => {}
            Input::Drain => self.draining = true,
        }
    }

    /// When [`Planner::step`] is to be called although nothing happened: [`Timestamp::ZERO`] for at once,
    /// `None` for never.
    #[must_use]
    pub(crate) fn next_wake(&self) -> Option<Timestamp> {
        if self.draining || self.held {
            return None;
        }
        // A stop that would end while time is in doubt ends with the doubt.
        let ends = self.policies.next_end_of_stops().filter(|_| self.roster.is_time_trusted());
        self.roster.next_wake().into_iter().chain(ends).min()
    }

    /// The last question before a call starts: may it, at `now`? When not, its entry is back in its place,
    /// or expired, and [`Planner::next_wake`] has been brought up to date. The rules of its endpoint hold for the call to
    /// its end, whatever is set meanwhile.
    pub(crate) fn confirm(
        &mut self,
        ticket: Ticket,
        endpoints: &Endpoints,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Option<Start<'_>> {
        let asked = Asked { ticket, endpoints, draining: self.draining };
        self.starts.confirm(asked, &self.policies, &mut self.roster, StepMoment { now, effects })
    }

    /// What a call with a permit needs before it may be confirmed, beside its permit.
    pub(crate) fn needs(&self, ticket: Ticket, endpoints: &Endpoints, now: Timestamp) -> TokenNeed {
        self.starts.needs(ticket, endpoints, &self.roster, now)
    }

    /// There is no token for a call with a permit: it is put back, and looked at again after `wait`.
    pub(crate) fn withhold(
        &mut self,
        ticket: Ticket,
        wait: Duration,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        self.starts.withhold(ticket, wait, &mut self.roster, StepMoment { now, effects });
    }

    /// The call that was confirmed has left by `now`.
    pub(crate) fn under_way(&mut self, ticket: Ticket, now: Timestamp) {
        self.starts.under_way(ticket, &mut self.roster, now);
    }

    /// Calls that have a permit, confirmed or not.
    #[must_use]
    pub(crate) fn inflight(&self) -> usize {
        self.starts.inflight()
    }

    /// Whether nothing is in flight, loaded, or being loaded.
    #[must_use]
    pub(crate) fn is_quiet(&self) -> bool {
        self.starts.inflight() == 0 && self.roster.has_read_nothing()
    }

    /// Whether the store is held as a whole.
    #[must_use]
    pub(crate) const fn is_held(&self) -> bool {
        self.held
    }

    /// The gate with all limiters, for questions that concern no lane.
    pub(crate) fn gate(&mut self) -> &mut Gate {
        self.roster.gate()
    }

    /// From now on time is in doubt, until [`Input::TimeTrusted`]. To be called before the first step.
    pub(crate) fn doubt_time(&mut self) {
        self.roster.doubt_time();
    }

    /// Before the first step: these events may have ended the process before.
    pub(crate) fn suspect(&mut self, found: &FlightsFound, now: Timestamp) {
        self.starts.suspect(found, now);
    }

    /// The process has lasted: nobody is suspected any more.
    pub(crate) fn calm(&mut self) {
        self.starts.calm();
    }

    /// Drops what waits under a policy now; [`Planner::take_purged`] reports its end.
    pub(crate) fn purge(&mut self, policy: &PolicyId, now: Timestamp, effects: &mut Vec<Effect>) -> PurgeId {
        self.purges.begin(policy, &mut self.roster, now, effects)
    }

    /// The purges that are done since the last call, each with the number of entries that it dropped.
    pub(crate) fn take_purged(&mut self) -> Vec<(PurgeId, u64)> {
        self.purges.take_done()
    }

    /// Hands over those of these entries that the lane has read ahead, and forgets all of them. Calls under way are left
    /// alone.
    pub(crate) fn let_go(
        &mut self,
        lane: &LaneKey,
        ids: &HashSet<EventId>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Vec<Entry> {
        // Also of a lane that is not present: the time for the tries of an entry outlasts its lane.
        self.starts.forget_times(ids);
        let Some(id) = self.roster.lanes().find(lane) else { return Vec::new() };
        let mut entries = Vec::new();
        if let Some(lane) = self.roster.lane_mut(id) {
            lane.dues.forget(ids);
        }
        self.roster.take_if(id, |entry| ids.contains(&entry.id), |_, entry| entries.push(*entry));
        self.roster.tend(id, now, effects);
        entries
    }

    /// Tries a call of this lane. `Ok` promises it a start where no waiting limit governs it: to be taken up by the
    /// entry that follows, or to be given back through [`Planner::withdraw`]. Returns whether something was promised.
    ///
    /// # Errors
    /// [`OverLimit`]; nothing is promised then.
    pub(crate) fn promise(&mut self, lane: &Lane, now: Timestamp) -> Result<bool, OverLimit> {
        admission::promise(lane, &self.policies, &mut self.roster, now)
    }

    /// This many calls that were promised a start were not taken in after all.
    pub(crate) fn withdraw(&mut self, lane: &LaneKey, count: usize, now: Timestamp) {
        admission::withdraw(lane, count, &mut self.roster, now);
    }

    /// How many entries go before this one of those that its lane has read ahead; `None` when it is not among them.
    #[must_use]
    pub(crate) fn place(&self, lane: &LaneKey, id: EventId, now: Timestamp) -> Option<usize> {
        let lanes = self.roster.lanes();
        lanes.get(lanes.find(lane)?)?.buffer.place(id, now)
    }

    /// What a lane waits for at `now`, also one that is empty.
    pub(crate) fn report(&mut self, lane: &Lane, now: Timestamp) -> LaneReport {
        LaneReport::of(lane, &self.policies, &mut self.roster, now)
    }

    /// Begins to take figures of what is going on, to be gone on with through [`Planner::walk_on`].
    pub(super) fn walk(&mut self, now: Timestamp) -> FiguresWalk {
        FiguresWalk::begin(&self.starts, self.policies.stops(), &mut self.roster, now)
    }

    /// Takes some more of the figures; all of them once they are complete.
    pub(super) fn walk_on(&mut self, walk: &mut FiguresWalk, now: Timestamp) -> Option<PlannerFigures> {
        walk.go_on(self.draining || self.held, &mut self.roster, now)
    }
}

/// What an operator states that is used of a limit counts from now on.
fn usage_stated(
    stated: &UsageToState,
    policies: &ActivePolicies,
    roster: &mut Roster,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    roster.gate().state_usage(stated, now);
    // What limiters said before no longer holds.
    let concerned = policies.limited_by(stated.policy());
    concerned.iter().for_each(|policy| roster.ask_again(policy));
    for id in roster.lanes().of_policies(&concerned) {
        roster.tend(id, now, effects);
    }
}

/// Starts to come are on record, or could not be put there.
fn recorded(reservations: &[Reservation], is_recorded: bool, roster: &mut Roster, now: Timestamp) {
    for reservation in reservations {
        for limiter in roster.gate().confirmed(reservation, is_recorded, now) {
            roster.order().turns.released(limiter);
        }
    }
}

/// Figures in one piece, for tests.
#[cfg(test)]
impl Planner {
    pub(super) fn figures(&self, now: Timestamp) -> PlannerFigures {
        let mut figures = PlannerFigures {
            now,
            lanes: self.roster.lanes().len(),
            read_ahead: self.roster.read_ahead(),
            stale_permits: self.starts.stale_permits(),
            ..PlannerFigures::default()
        };
        self.roster.lanes().iter().for_each(|lane| figures::count(&mut figures, lane, now));
        figures
    }

    pub(super) fn look(&mut self, now: Timestamp) -> looks::Looks {
        let mut walk = self.walk(now);
        loop {
            if let Some(figures) = self.walk_on(&mut walk, now) {
                return figures.looks;
            }
        }
    }
}
