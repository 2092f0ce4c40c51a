//! Starts and ends of calls: the half of the planner that spends permits.
//!
//! Must not know: how entries come in, sockets.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::dispatch::buffer::{is_fresh, weight};
use crate::dispatch::groups::Joins;
use crate::dispatch::input::{Attempt, Effect, Settled, Start, Ticket};
use crate::dispatch::lanes::{LaneId, LaneState, Place};
use crate::dispatch::planner::{EFFECTS_PER_STEP, Planner, settled};
use crate::dispatch::retry;
use crate::dispatch::shares::slots;
use crate::dispatch::turns::{AskAgain, Turn};
use crate::event::{Entry, Outcome, Settlement};
use crate::limit::{Decision, Permit};
use crate::telemetry::defect;

/// A limiter is not asked again sooner than this, whatever it says.
const SHORTEST_WAIT: Duration = Duration::from_micros(100);

/// What came of a lane's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A start was planned.
    Started,
    /// Its group has had its turn.
    Stopped,
    /// It may not send at present, or has nothing.
    Nothing,
}

/// A call that has its permit, under way or about to be.
pub(super) struct Flight {
    pub(super) lane: LaneId,
    pub(super) entry: Box<Entry>,
    pub(super) permit: Permit,
    /// It was owed this start.
    pub(super) promised: bool,
    /// It finds out whether the endpoint of an open breaker takes calls again.
    pub(super) is_probe: bool,
}

impl Planner {
    /// The last question before a call starts: may it, at `now`? When not, its entry is back in its place,
    /// or expired, and [`Planner::next_wake`] has been brought up to date.
    pub fn confirm(
        &mut self,
        ticket: Ticket,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Option<Start<'_>> {
        let is_time_trusted = self.is_time_trusted;
        let flight = self.flights.get_mut(&ticket)?;
        let expired = flight.entry.event.expires_at <= now;
        let put_back = self.draining || ticket.0 < self.stale_below;
        if expired || put_back || self.gate.confirm(&mut flight.permit, now).is_err() {
            if !expired {
                self.stale_permits += 1;
                // Calls planned after this one must not overtake it.
                self.stale_below = self.next_ticket;
            }
            // In doubt it is kept aside when its turn comes again.
            self.put_back(ticket, expired && is_time_trusted, now, effects);
            return None;
        }
        let flight = self.flights.get(&ticket)?;
        let Some(lane) = self.lanes.get_mut(flight.lane) else {
            defect!("a call under way in no lane");
            return None;
        };
        lane.watch.started();
        let might_go = flight.entry.id.accepted_at().max(flight.entry.due_at.unwrap_or_default());
        Some(Start {
            entry: &flight.entry,
            lane: &lane.lane,
            timeout: lane.timeout,
            waited: now.since(might_go),
        })
    }

    /// The call that was confirmed has left by `now`.
    pub fn under_way(&mut self, ticket: Ticket, now: Timestamp) {
        if let Some(flight) = self.flights.get(&ticket) {
            self.gate.under_way(&flight.permit, now);
        }
    }

    /// Starts what may start, one entry per turn.
    pub(super) fn serve(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut sends = 0;
        while sends < self.options.sends_per_step
            && !self.shares.is_full()
            && effects.len() < EFFECTS_PER_STEP
        {
            if let Some(id) = self.shares.next() {
                self.end_wait(id);
                self.tend(id, now, effects);
            }
            let Some(turn) = self.turns.next() else { return };
            if self.take_turn(turn, now, effects) {
                sends += 1;
            }
        }
    }

    /// Asks for one entry of a group, of the first of its lanes that may send. Returns whether a start was planned.
    fn take_turn(&mut self, turn: Turn, now: Timestamp, effects: &mut Vec<Effect>) -> bool {
        self.groups.left_line(turn.group);
        let (mut asked, mut is_draining) = (Asked::Nothing, false);
        while let Some(id) = self.groups.pop_first(turn.group) {
            is_draining = self.lanes.get(id).is_some_and(LaneState::is_draining);
            asked = self.ask(id, turn, now, effects);
            if asked != Asked::Nothing {
                break;
            }
        }
        self.bring_into_line(turn.group, Joins::Last, is_draining);
        asked == Asked::Started
    }

    /// Asks for one entry of a lane, which was taken out of its line.
    fn ask(&mut self, id: LaneId, turn: Turn, now: Timestamp, effects: &mut Vec<Effect>) -> Asked {
        let Some(lane) = self.lanes.get_mut(id) else { return Asked::Nothing };
        lane.place = Place::Out;
        let mut asked = Asked::Nothing;
        if !lane.holds.allow(lane.inflight, now) {
            // It comes back with the end of its hold or of a call.
        } else if !lane.has_work(now) {
            lane.keeps_turn = lane.awaits_due(now);
        } else if !self.shares.allow(&lane.share) {
            lane.place = Place::Full;
            self.shares.wait(id, &mut lane.share);
        } else if let Some(entry) = self.next_alive(id, now, effects)
            && let Some(lane) = self.lanes.get_mut(id)
        {
            let promised = lane.promises > 0 && is_fresh(&entry);
            let (limiter, again) = match self.gate.decide(&lane.binding, promised, now) {
                Decision::Go(permit) => {
                    let ticket = Ticket(self.next_ticket);
                    self.next_ticket += 1;
                    lane.inflight += 1;
                    self.shares.started(&mut lane.share, slots(&entry));
                    self.ahead.gave(1, weight(&entry));
                    let is_probe = lane.holds.is_probing();
                    let flight = Flight { lane: id, entry, permit, promised, is_probe };
                    defect!(unless flight.entry.event.expires_at > now, "a start after the end of a life");
                    let before = self.flights.insert(ticket, flight);
                    defect!(unless before.is_none(), "a ticket that was given twice");
                    effects.push(Effect::Send { ticket });
                    self.redeem(id, usize::from(promised));
                    self.tend(id, now, effects);
                    return Asked::Started;
                }
                Decision::Refuse(blocker) => {
                    self.ahead.gave(1, weight(&entry));
                    let policy = self.gate.whose(blocker.limiter).and_then(|(id, _)| self.runtime.get(id));
                    let wording = policy.and_then(|policy| policy.spec.wording.as_ref());
                    let reason = blocker.kind.code(wording).to_owned();
                    let attempts = entry.tries.attempts();
                    effects.push(settled(entry, lane.lane.clone(), Settlement::Dead { reason, attempts }));
                    self.redeem(id, usize::from(promised));
                    self.tend(id, now, effects);
                    return Asked::Stopped;
                }
                Decision::NotBefore(at, blocker) => {
                    (blocker.limiter, AskAgain::At(at.max(now + SHORTEST_WAIT)))
                }
                Decision::Wait(blocker) => (blocker.limiter, AskAgain::WhenReleased),
            };
            lane.buffer.push(entry);
            self.groups.stopped_by(turn.group, limiter);
            self.turns.shut(turn, limiter, lane.is_draining(), again);
            self.line_up(id, Joins::Last, now);
            asked = Asked::Stopped;
        }
        self.tend(id, now, effects);
        asked
    }

    pub(super) fn finish(
        &mut self,
        ticket: Ticket,
        outcome: &Outcome,
        took: Duration,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(flight) = self.flights.remove(&ticket) else { return };
        let Flight { lane: id, entry, permit, is_probe, .. } = flight;
        for limiter in self.gate.release(permit).iter() {
            self.turns.released(limiter);
        }
        let is_lane_held = self.lanes.get(id).is_some_and(LaneState::has_endpoint);
        let ended = retry::Ended {
            outcome,
            tries: entry.tries,
            is_probe,
            now,
            // In doubt it is not over; it is kept when it comes back too late.
            expires_at: if self.is_time_trusted { entry.event.expires_at } else { Timestamp::MAX },
            is_lane_held,
            is_time_trusted: self.is_time_trusted,
        };
        let settlement = retry::settle(ended, &self.options.retry, self.dice.f64());
        let share = self.dice.f64();
        self.end_wait(id);
        // A lane with a call in flight is not idle, so it is there.
        defect!(unless self.lanes.get(id).is_some_and(|lane| lane.inflight > 0), "a call that ended in no lane");
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.inflight = lane.inflight.saturating_sub(1);
            self.shares.ended(&mut lane.share, slots(&entry), outcome);
            // A shortage of ours concerns every lane.
            if is_lane_held || matches!(outcome, Outcome::Shortage { .. }) {
                lane.holds.ended(outcome, &self.options.breaker, share, now);
            }
            if let Settlement::Reschedule { due_at, .. } = settlement {
                lane.dues.rescheduled(due_at, entry.id, now);
                lane.watch.put_off(&entry, due_at);
            }
            let attempt = Some(Attempt { cause: outcome.cause(), took });
            effects.push(Effect::Settle(Settled { entry, lane: lane.lane.clone(), settlement, attempt }));
        }
        self.tend(id, now, effects);
    }

    fn put_back(&mut self, ticket: Ticket, expired: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        let certain = self.certain(now);
        let Some(Flight { lane: id, entry, permit, promised, .. }) = self.flights.remove(&ticket) else {
            return;
        };
        for limiter in self.gate.put_back(permit).iter() {
            self.turns.reopen(limiter);
        }
        self.end_wait(id);
        let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.inflight > 0) else {
            defect!("a call that is put back in no lane");
            return;
        };
        lane.inflight -= 1;
        self.shares.put_back(&mut lane.share, slots(&entry));
        if expired {
            let (lane, how) = (lane.lane.clone(), lane.doubt().expiry(&entry));
            effects.push(settled(entry, lane, how));
        } else {
            let before = lane.buffer.bytes();
            lane.buffer.push(entry);
            if promised {
                lane.promises += 1;
                self.gate.owe(&lane.binding, 1);
            }
            lane.plan_expiry(certain, false);
            self.ahead.took(1, lane.buffer.bytes() - before);
            self.line_up(id, Joins::First, now);
        }
        self.tend(id, now, effects);
    }

    /// A lane that waits for its share is to be asked again.
    fn end_wait(&mut self, id: LaneId) {
        if let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.place == Place::Full) {
            lane.place = Place::Out;
            self.shares.leave(id, &mut lane.share);
        }
    }

    /// The next entry of a lane that may still start; those that may not any more are settled on the way, or kept aside
    /// while time is in doubt.
    fn next_alive(&mut self, id: LaneId, now: Timestamp, effects: &mut Vec<Effect>) -> Option<Box<Entry>> {
        loop {
            let lane = self.lanes.get_mut(id).filter(|lane| lane.has_work(now))?;
            let entry = lane.buffer.pop(now)?;
            if !self.is_time_trusted && (entry.event.is_dated || entry.event.expires_at <= now) {
                lane.buffer.keep(entry);
                continue;
            }
            if entry.event.expires_at > now {
                return Some(entry);
            }
            self.ahead.gave(1, weight(&entry));
            let promised = usize::from(is_fresh(&entry));
            let how = lane.doubt().expiry(&entry);
            effects.push(settled(entry, lane.lane.clone(), how));
            self.redeem(id, promised);
        }
    }
}
