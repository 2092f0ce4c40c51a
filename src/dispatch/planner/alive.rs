//! The next entry of a lane, of those that may still start.
//!
//! Must not know: limits, calls under way.

use crate::dispatch::buffer::{is_fresh, weight};
use crate::dispatch::lanes::LaneId;
use crate::dispatch::planner::policies::ActivePolicies;
use crate::dispatch::planner::roster::{Roster, Spot, settled};
use crate::dispatch::planner::starts::StepMoment;
use crate::event::{Entry, Event};

/// The next entry of a lane that may still start; those that may not any more are settled on the way, or kept aside
/// while time is in doubt.
pub(super) fn next_alive(
    id: LaneId,
    policies: &ActivePolicies,
    roster: &mut Roster,
    moment: StepMoment<'_>,
) -> Option<Box<Entry>> {
    let StepMoment { now, effects } = moment;
    let is_time_trusted = roster.is_time_trusted();
    let certain = roster.certain(now);
    let is_stopped = |event: &Event| policies.stop_event(event, certain);
    loop {
        let Spot { lane, ahead, .. } = roster.spot(id).filter(|spot| spot.lane.has_work(now))?;
        let rank = lane.rank(now)?;
        let entry = lane.buffer.pop(rank)?;
        // Neither its date nor the end of its life is certain: it is neither sent nor dropped.
        if !is_time_trusted && (entry.event.is_dated || entry.event.expires_at <= now) {
            lane.buffer.keep(entry);
            continue;
        }
        if entry.event.expires_at > now {
            if !is_stopped(&entry.event) {
                return Some(entry);
            }
            // Others of the lane, whose calls go to other hosts, may go on.
            lane.buffer.keep(entry);
            lane.keeps_stopped = true;
            continue;
        }
        ahead.gave(1, weight(&entry));
        let promised = usize::from(is_fresh(&entry));
        let how = lane.doubt().expiry(&entry);
        effects.push(settled(entry, lane.lane.clone(), how));
        roster.redeem(id, promised);
    }
}
