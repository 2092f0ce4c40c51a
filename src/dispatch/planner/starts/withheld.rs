//! Calls with a permit for which there is no token: they are put back, and no attempt is spent.
//!
//! Must not know: where tokens come from.

use std::sync::Arc;
use std::time::Duration;

use super::{Starts, StepMoment};
use crate::clock::Timestamp;
use crate::dispatch::endpoints::Endpoints;
use crate::dispatch::input::{Effect, SettledEntry, Ticket, TokenNeed};
use crate::dispatch::lanes::DispatchLane;
use crate::dispatch::planner::flights::PutBack;
use crate::dispatch::planner::roster::Roster;
use crate::dispatch::retry::next_milli;
use crate::event::Settlement;

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
}
