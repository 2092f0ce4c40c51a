//! Starts and ends of calls: the part of the planner that spends permits.
//!
//! Must not know: how entries come in, purges, sockets.

mod not_made;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::dispatch::buffer::{is_fresh, weight};
use crate::dispatch::follows::AttemptFacts;
use crate::dispatch::input::{AttemptReport, Effect, PlannerOptions, SettledEntry, Start, Ticket};
use crate::dispatch::lanes::{DispatchLane, LaneId};
use crate::dispatch::planner::EFFECTS_PER_STEP;
use crate::dispatch::planner::alive::next_alive;
use crate::dispatch::planner::flights::{Asked, Finished, Flight, PutBack};
use crate::dispatch::planner::looks::is_near_expiry;
use crate::dispatch::planner::order::Joins;
use crate::dispatch::planner::policies::ActivePolicies;
use crate::dispatch::planner::roster::{Roster, Spot};
use crate::dispatch::planner::slowing::{self, CallEnd};
use crate::dispatch::renewals::Renewals;
use crate::dispatch::retry;
use crate::dispatch::shares::slots;
use crate::dispatch::suspects::Suspects;
use crate::dispatch::turns::{AskAgain, Turn};
use crate::dispatch::windows::RetryWindows;
use crate::event::{EventId, Limited, Outcome, Settlement};
use crate::limit::Decision;
use crate::store::FlightsFound;
use crate::telemetry::defect;

/// For so long an endpoint is left alone that asks for it, however short the life of the event was.
const GRANTED_ANYWAY: Duration = Duration::from_secs(60 * 60);
/// A limiter is not asked again sooner than this, whatever it says: one that names the present moment must not make the
/// dispatcher spin.
const SHORTEST_WAIT: Duration = Duration::from_micros(100);

/// What came of a lane's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnOutcome {
    /// A start was planned: the call has its permit.
    Started,
    /// Its group has had its turn.
    Stopped,
    /// It may not send at present, or has nothing.
    Nothing,
}

/// The calls that have their permits, and how they come to have them.
pub(in crate::dispatch) struct Starts {
    pub(in crate::dispatch) options: PlannerOptions,
    /// For the jitter of retries and holds.
    dice: fastrand::Rng,
    flights: HashMap<Ticket, Flight>,
    windows: RetryWindows,
    suspects: Suspects,
    renewals: Renewals,
    next_ticket: u64,
    /// Unconfirmed tickets below this one are put back: a call before theirs was.
    stale_below: u64,
    stale_permits: u64,
}

/// The moment of a step, and what is asked for in it.
pub(super) struct StepMoment<'s> {
    pub(super) now: Timestamp,
    pub(super) effects: &'s mut Vec<Effect>,
}

impl Starts {
    pub(super) fn new(options: PlannerOptions, dice: fastrand::Rng) -> Self {
        Self {
            options,
            dice,
            flights: HashMap::new(),
            windows: RetryWindows::default(),
            suspects: Suspects::default(),
            renewals: Renewals::default(),
            next_ticket: 0,
            stale_below: 0,
            stale_permits: 0,
        }
    }

    /// Calls that have a permit, confirmed or not.
    pub(super) fn inflight(&self) -> usize {
        self.flights.len()
    }

    /// Starts that were put back because their permit had become stale.
    pub(super) fn stale_permits(&self) -> u64 {
        self.stale_permits
    }

    /// Before the first step: events that may have ended the process before.
    pub(super) fn suspect(&mut self, found: &FlightsFound, now: Timestamp) {
        self.suspects = Suspects::new(found, now);
    }

    /// The process has lasted: nobody is suspected any more.
    pub(super) fn calm(&mut self) {
        self.suspects.calm();
    }

    /// The lanes with a call under way whose event is near the end of its life.
    pub(super) fn near_expiry(&self, now: Timestamp) -> HashSet<LaneId> {
        let late = self.flights.values().filter(|flight| is_near_expiry(&flight.entry, now));
        late.map(|flight| flight.lane).collect()
    }

    /// The line of time has leapt.
    pub(super) fn correct(&mut self, leap: &Leap) {
        self.windows.leap(leap);
        for flight in self.flights.values_mut() {
            leap.correct(flight.entry.id.accepted_at(), &mut flight.entry.event.expires_at);
            flight.retry_until = flight.retry_until.map(|until| leap.moved(until));
        }
    }

    /// These entries are changed by somebody else: the time for their tries begins anew with the next one.
    pub(super) fn forget_times(&mut self, ids: &HashSet<EventId>) {
        for id in ids {
            self.windows.forget(*id);
            self.renewals.forget(*id);
        }
    }

    /// The last question before a call starts: see [`Planner::confirm`](super::Planner::confirm).
    pub(super) fn confirm<'p>(
        &'p mut self,
        asked: Asked<'_>,
        policies: &ActivePolicies,
        roster: &'p mut Roster,
        moment: StepMoment<'_>,
    ) -> Option<Start<'p>> {
        let (now, Asked { ticket, endpoints, draining }) = (moment.now, asked);
        let flight = self.flights.get_mut(&ticket)?;
        let expired = flight.entry.event.expires_at <= now;
        let put_back = draining || ticket.0 < self.stale_below;
        let endpoint = endpoints.find(&flight.entry.event.url);
        let within = endpoint.and_then(|endpoint| endpoint.retry.within);
        let window = within.and_then(|_| self.windows.get(flight.entry.id));
        let is_late = window.is_some_and(|window| window.until <= now);
        let suspicion = self.suspects.ask(flight.entry.id, now).map(PutBack::Suspected);
        let is_held_back = is_late || suspicion.is_some();
        let is_stopped = policies.stop_event(&flight.entry.event, roster.certain(now));
        if expired
            || put_back
            || is_held_back
            || is_stopped
            || roster.gate().confirm(&mut flight.permit, now).is_err()
        {
            let back = if expired && roster.is_time_trusted() {
                PutBack::Expired
            } else if is_stopped {
                // It is kept aside when its turn comes again, and is over or late then.
                PutBack::Stopped
            } else if is_held_back && !expired && !put_back {
                suspicion.unwrap_or(PutBack::Late)
            } else {
                // In doubt it is kept aside when its turn comes again.
                PutBack::Waits
            };
            if !expired && back == PutBack::Waits {
                self.stale_permits += 1;
                // Calls planned after this one must not overtake it.
                self.stale_below = self.next_ticket;
            }
            self.put_back(ticket, back, roster, moment);
            return None;
        }
        let flight = self.flights.get_mut(&ticket)?;
        let Some(lane) = roster.lane_mut(flight.lane) else {
            defect!("a call under way in no lane");
            return None;
        };
        lane.watch.started();
        (flight.endpoint, flight.retry_for_all) = (endpoint.cloned(), endpoints.retry_for_all());
        let within = within.map(|within| lane.timeout.unwrap_or(within));
        flight.retry_until = within.map(|within| self.windows.begin(flight.entry.id, within, now));
        // A call that goes on beyond the time for all tries is cancelled with its end.
        let left = flight.retry_until.map(|until| until.since(now));
        let might_go = flight.entry.id.accepted_at().max(flight.entry.due_at.unwrap_or_default());
        let series = lane.series().clone();
        let ends = self.suspects.started(flight.entry.id, now);
        Some(Start {
            ends,
            entry: &mut flight.entry,
            lane: &lane.lane,
            series,
            timeout: lane.timeout.into_iter().chain(left).min(),
            options: flight.endpoint.as_ref().map(|endpoint| Arc::clone(&endpoint.calls)),
            waited: now.since(might_go),
        })
    }

    /// The call that was confirmed has left by `now`.
    pub(super) fn under_way(&self, ticket: Ticket, roster: &mut Roster, now: Timestamp) {
        if let Some(flight) = self.flights.get(&ticket) {
            roster.gate().under_way(&flight.permit, now);
        }
    }

    /// Starts what may start, one entry per turn.
    pub(super) fn serve(&mut self, policies: &ActivePolicies, roster: &mut Roster, moment: StepMoment<'_>) {
        let StepMoment { now, effects } = moment;
        let mut sends = 0;
        while sends < self.options.sends_per_step && !roster.is_full() && effects.len() < EFFECTS_PER_STEP {
            // Before the next turn: a lane that may have one more call takes its place in line again.
            if let Some(id) = roster.order().shares.next() {
                end_wait(id, roster);
                roster.tend(id, now, effects);
            }
            let Some(turn) = roster.order().turns.next() else { return };
            if self.take_turn(turn, policies, roster, StepMoment { now, effects }) {
                sends += 1;
            }
        }
    }

    /// Asks for one entry of a group, of the first of its lanes that may send. Returns whether a start was planned.
    fn take_turn(
        &mut self,
        turn: Turn,
        policies: &ActivePolicies,
        roster: &mut Roster,
        moment: StepMoment<'_>,
    ) -> bool {
        let StepMoment { now, effects } = moment;
        roster.order().groups.left_line(turn.group);
        let (mut asked, mut is_draining) = (TurnOutcome::Nothing, false);
        while let Some(id) = roster.order().groups.pop_first(turn.group, now) {
            is_draining = roster.lanes().get(id).is_some_and(DispatchLane::is_draining);
            asked = self.ask(id, turn, policies, roster, StepMoment { now, effects });
            roster.tend(id, now, effects);
            if asked != TurnOutcome::Nothing {
                break;
            }
        }
        roster.order().bring_into_line(turn.group, Joins::Last, is_draining);
        asked == TurnOutcome::Started
    }

    /// Asks for one entry of a lane, which was taken out of its line. It is to be tended afterwards.
    fn ask(
        &mut self,
        id: LaneId,
        turn: Turn,
        policies: &ActivePolicies,
        roster: &mut Roster,
        moment: StepMoment<'_>,
    ) -> TurnOutcome {
        let StepMoment { now, effects } = moment;
        let Some(Spot { lane, order, .. }) = roster.spot(id) else { return TurnOutcome::Nothing };
        order.taken_out(lane);
        if !lane.may_start(now) {
            // It comes back with the end of its hold or of a call, or when its slowdown lets it.
            return TurnOutcome::Nothing;
        }
        if !lane.has_work(now) {
            // Its turn came while its page was on the way: it does not lose the turn for that.
            lane.keeps_turn = lane.awaits_due(now);
            return TurnOutcome::Nothing;
        }
        if !order.shares.allow(&lane.share) {
            order.wait_for_share(id, lane);
            return TurnOutcome::Nothing;
        }
        let Some(entry) = next_alive(id, policies, roster, StepMoment { now, effects }) else {
            return TurnOutcome::Nothing;
        };
        let Some(Spot { lane, gate, order, ahead }) = roster.spot(id) else {
            defect!("an entry of a lane that is gone");
            return TurnOutcome::Nothing;
        };
        // Which entry was promised its start is not kept: the promises of a lane are for its fresh entries in their
        // order.
        let promised = lane.promises > 0 && is_fresh(&entry);
        let (limiter, again) = match gate.decide(&lane.binding, promised, now) {
            Decision::Go(permit) => {
                lane.inflight += 1;
                if let Some(slowdown) = &mut lane.slowdown {
                    slowdown.started(now);
                }
                // What an operator sends now takes nothing from the share of the others.
                if entry.due_at != Some(entry.id.accepted_at()) {
                    lane.recent.started(entry.due_at.is_some(), now);
                    order.groups.started(turn.group, entry.due_at.is_some(), now);
                }
                let class = order.class(turn.group, lane.is_draining());
                order.turns.started(turn, class, lane.binding.limiters());
                let (slots, is_probe) = (slots(&entry), lane.holds.is_probing());
                order.shares.started(&mut lane.share, slots);
                ahead.gave(1, weight(&entry));
                let flight = Flight {
                    lane: id,
                    entry,
                    permit,
                    slots,
                    promised,
                    is_probe,
                    endpoint: None,
                    retry_for_all: None,
                    retry_until: None,
                };
                let ticket = self.issue(flight, now);
                effects.push(Effect::Send { ticket });
                roster.redeem(id, usize::from(promised));
                roster.tell_siblings(id, now, effects, |lane| lane.siblings.started());
                return TurnOutcome::Started;
            }
            Decision::Refuse(blocker) => {
                ahead.gave(1, weight(&entry));
                let policy = gate.whose(blocker.limiter).map(|(policy, _)| policy);
                let settlement = policies.turned_away(&entry, blocker, policy);
                // By its place among those of the lane: the end is kept in a few bytes.
                let parts = lane.lane.policies();
                let place = parts.iter().position(|part| Some(&part.policy) == policy);
                let limited = Limited::by(place, blocker.kind.word());
                let lane = lane.lane.clone();
                effects.push(Effect::Settle(SettledEntry {
                    entry,
                    lane,
                    settlement,
                    attempt: None,
                    limited,
                }));
                roster.redeem(id, usize::from(promised));
                return TurnOutcome::Stopped;
            }
            Decision::NotBefore(at, blocker) => (blocker.limiter, AskAgain::At(at.max(now + SHORTEST_WAIT))),
            Decision::Wait(blocker) => (blocker.limiter, AskAgain::WhenReleased),
        };
        lane.buffer.push(entry);
        order.groups.stopped_by(turn.group, limiter);
        // The group keeps its number: it is served by it when the limiter has room again.
        let class = order.class(turn.group, lane.is_draining());
        order.turns.shut(turn, limiter, class, again);
        order.line_up(id, lane, Joins::Last, now);
        TurnOutcome::Stopped
    }

    /// A call has its permit: it is under way from now on, as far as limits and shares are concerned.
    fn issue(&mut self, flight: Flight, now: Timestamp) -> Ticket {
        defect!(unless flight.entry.event.expires_at > now, "a start after the end of a life");
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let before = self.flights.insert(ticket, flight);
        defect!(unless before.is_none(), "a ticket that was given twice");
        ticket
    }

    /// An attempt has ended: its permit goes back, and its entry is settled.
    pub(super) fn finish(&mut self, finished: &Finished<'_>, roster: &mut Roster, moment: StepMoment<'_>) {
        let StepMoment { now, effects } = moment;
        let Finished { ticket, outcome: reported, took } = *finished;
        let Some(flight) = self.flights.remove(&ticket) else { return };
        let Flight { lane: id, entry, permit, slots, is_probe, endpoint, retry_for_all, retry_until, .. } =
            flight;
        for limiter in roster.gate().release(permit).iter() {
            roster.order().turns.released(limiter);
        }
        let rules = endpoint.as_ref().map(|endpoint| &endpoint.retry);
        let answered = self.renewals.judge(entry.id, reported, rules);
        let judged = rules.and_then(|rules| rules.judged(&answered));
        let outcome = judged.as_ref().unwrap_or(&answered);
        // Whatever an endpoint asks for, it holds its lane no longer than the event lives whose call it answered. An hour is
        // granted anyway: others in the lane may live longer.
        let life = entry.event.expires_at.since(entry.id.accepted_at()).max(GRANTED_ANYWAY);
        let cut = outcome.asked().filter(|asked| *asked > life).map(|_| outcome.within(life));
        let asks_too_much = cut.is_some();
        let outcome = cut.as_ref().unwrap_or(outcome);
        let is_time_trusted = roster.is_time_trusted();
        let is_lane_held = roster.lanes().get(id).is_some_and(DispatchLane::has_endpoint);
        let ended = retry::EndedAttempt {
            outcome,
            tries: entry.tries,
            is_probe,
            now,
            // In doubt it is not over; it is kept when it comes back too late.
            expires_at: if is_time_trusted { entry.event.expires_at } else { Timestamp::MAX },
            retry_until,
            is_parked: rules.is_some_and(|rules| rules.parks(outcome)),
            is_lane_held,
            is_time_trusted,
        };
        let for_all = retry_for_all.as_ref().unwrap_or(&self.options.retry);
        let policy = rules.map_or(for_all, |rules| &rules.policy);
        let settlement = retry::settle(ended, policy, self.dice.f64());
        self.suspects.ended(entry.id);
        if retry_until.is_some() {
            self.windows.tried(entry.id, outcome, &settlement);
        }
        // A random number of its own, so that holds do not depend on the waits of retries.
        let share = self.dice.f64();
        end_wait(id, roster);
        // A lane with a call in flight is not idle, so it is there.
        let Some(Spot { lane, order, .. }) = roster.spot(id) else {
            defect!("a call that ended in no lane");
            return;
        };
        defect!(unless lane.inflight > 0, "a call that ended in a lane without calls");
        lane.inflight = lane.inflight.saturating_sub(1);
        order.shares.ended(&mut lane.share, slots, outcome);
        // A shortage of ours concerns every lane.
        let learns = is_lane_held || matches!(outcome, Outcome::Shortage { .. });
        let (end, breaker) = (CallEnd { outcome, took, share }, self.options.breaker);
        let is_halved = learns && slowing::learn(lane, &end, &self.options, now);
        if let Settlement::Reschedule { due_at, .. } = settlement {
            lane.dues.rescheduled(due_at, entry.id, now);
            lane.watch.put_off(&entry, due_at);
        }
        let (is_ambiguous, cause) = (reported.is_ambiguous(), reported.cause());
        let series = lane.series().clone();
        let facts = AttemptFacts::of(reported, outcome, &settlement, now);
        let attempt =
            Some(AttemptReport { cause, is_ambiguous, took, series, asks_too_much, facts, is_halved });
        let lane = lane.lane.clone();
        effects.push(Effect::Settle(SettledEntry { entry, lane, settlement, attempt, limited: None }));
        roster.tell_siblings(id, now, effects, |lane| {
            lane.siblings.ended();
            if learns {
                slowing::learn_hold(lane, &end, &breaker, now);
            }
        });
        roster.tend(id, now, effects);
    }
}

/// A lane that waits for its share is to be asked again.
fn end_wait(id: LaneId, roster: &mut Roster) {
    if let Some(Spot { lane, order, .. }) = roster.spot(id) {
        order.end_wait(id, lane);
    }
}
