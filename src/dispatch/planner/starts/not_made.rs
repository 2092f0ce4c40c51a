//! Calls that had their permits and are not made: they are put back, and no attempt is spent. Some of them have waited too
//! long, or are stopped, and for some there is no token.
//!
//! Must not know: where tokens come from, what an answer means.

use std::sync::Arc;
use std::time::Duration;

use super::{Starts, StepMoment, end_wait};
use crate::clock::Timestamp;
use crate::dispatch::endpoints::Endpoints;
use crate::dispatch::input::{Effect, SettledEntry, Ticket, TokenNeed};
use crate::dispatch::lanes::DispatchLane;
use crate::dispatch::planner::flights::{Flight, PutBack};
use crate::dispatch::planner::order::Joins;
use crate::dispatch::planner::roster::{Roster, Spot, settled};
use crate::dispatch::retry::next_milli;
use crate::event::Settlement;
use crate::telemetry::defect;

/// The shortest wait of an entry whose lane goes on meanwhile: it is put on record.
const SHORTEST_WAIT_ALONE: Duration = Duration::from_secs(1);

impl Starts {
    /// What a call needs before it may be confirmed. What waits for a token in a lane is not overtaken by what comes after it
    /// there.
    pub(in crate::dispatch::planner) fn needs(
        &self,
        ticket: Ticket,
        endpoints: &Endpoints,
        roster: &Roster,
        now: Timestamp,
    ) -> TokenNeed {
        let Some(flight) = self.flights.get(&ticket) else { return TokenNeed::Nothing };
        let lane = roster.lanes().get(flight.lane);
        if let Some(wait) = lane.and_then(|lane| lane.holds.token_wait(now)) {
            return TokenNeed::Waited(wait);
        }
        match endpoints.find(&flight.entry.event.url) {
            Some(endpoint) if endpoint.calls.credentials.is_some() => {
                TokenNeed::Token(Arc::clone(&endpoint.calls))
            }
            _ => TokenNeed::Nothing,
        }
    }

    /// There is no token for a call: its lane waits, or it alone where its lane calls several endpoints.
    pub(in crate::dispatch::planner) fn withhold(
        &mut self,
        ticket: Ticket,
        wait: Duration,
        roster: &mut Roster,
        moment: StepMoment<'_>,
    ) {
        let StepMoment { now, effects } = moment;
        let Some(flight) = self.flights.get(&ticket) else { return };
        let (id, event) = (flight.lane, flight.entry.id);
        let is_lane_held = roster.lanes().get(id).is_some_and(DispatchLane::has_endpoint);
        if is_lane_held && let Some(lane) = roster.lane_mut(id) {
            lane.holds.lacks_token(next_milli(now, wait));
        }
        self.put_back(ticket, PutBack::Waits, roster, StepMoment { now, effects });
        if is_lane_held {
            return;
        }
        let is_time_trusted = roster.is_time_trusted();
        let mut put_off = None;
        roster.take_if(
            id,
            |entry| entry.id == event,
            |lane, entry| {
                // By two milliseconds earlier than its end: a due time is rounded up and has to lie before it.
                let left = entry.event.expires_at.since(now).saturating_sub(Duration::from_millis(2));
                let due_at = next_milli(now, wait.max(SHORTEST_WAIT_ALONE).min(left));
                put_off = Some((due_at, entry.id));
                let doubted_at = (!is_time_trusted).then_some(now);
                let settlement = Settlement::Reschedule { due_at, tries: entry.tries, doubted_at };
                let lane = lane.clone();
                effects.push(Effect::Settle(SettledEntry {
                    entry,
                    lane,
                    settlement,
                    attempt: None,
                    limited: None,
                }));
            },
        );
        if let (Some((due_at, event)), Some(lane)) = (put_off, roster.lane_mut(id)) {
            lane.dues.rescheduled(due_at, event, now);
        }
        roster.tend(id, now, effects);
    }

    /// A call that had its permit is not made: its entry is back in its place, or has ended.
    pub(super) fn put_back(
        &mut self,
        ticket: Ticket,
        back: PutBack,
        roster: &mut Roster,
        moment: StepMoment<'_>,
    ) {
        let StepMoment { now, effects } = moment;
        let (certain, roster_is_trusted) = (roster.certain(now), roster.is_time_trusted());
        let Some(flight) = self.flights.remove(&ticket) else { return };
        let Flight { lane: id, entry, permit, slots, promised, .. } = flight;
        // Reopened and not only released: the start that is taken back has made room in windows as well.
        for limiter in roster.gate().put_back(permit).iter() {
            roster.order().turns.reopen(limiter);
        }
        end_wait(id, roster);
        let Some(Spot { lane, gate, order, ahead }) = roster.spot(id).filter(|spot| spot.lane.inflight > 0)
        else {
            defect!("a call that is put back in no lane");
            return;
        };
        lane.inflight -= 1;
        order.shares.put_back(&mut lane.share, slots);
        let is_suspected = matches!(back, PutBack::Suspected(_));
        let over = match back {
            PutBack::Waits | PutBack::Stopped => None,
            PutBack::Expired => Some(lane.doubt().expiry(&entry)),
            PutBack::Late => Some(self.windows.over(entry.id, entry.tries)),
            PutBack::Suspected(why) => {
                let share = self.dice.f64();
                Some(self.suspects.settle(why, &entry, share, now, roster_is_trusted))
            }
        };
        if let Some(how) = over {
            if promised && is_suspected {
                // An event of an earlier process was promised nothing by this one: its grant has redeemed the promise of
                // another one, which is still to start.
                lane.promises += 1;
                gate.owe(&lane.binding, 1);
            }
            if let Settlement::Reschedule { due_at, .. } = how {
                lane.dues.rescheduled(due_at, entry.id, now);
            }
            effects.push(settled(entry, lane.lane.clone(), how));
        } else {
            let before = lane.buffer.bytes();
            lane.buffer.push(entry);
            if promised {
                lane.promises += 1;
                // Its grant had redeemed the promise.
                gate.owe(&lane.binding, 1);
            }
            lane.plan_expiry(certain, false);
            ahead.took(1, lane.buffer.bytes() - before);
            order.line_up(id, lane, Joins::First, now);
        }
        roster.tell_siblings(id, now, effects, |lane| lane.siblings.ended());
        roster.tend(id, now, effects);
    }
}
