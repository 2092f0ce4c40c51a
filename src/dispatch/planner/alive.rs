//! Which entry of a lane may still start.
//!
//! Must not know: limits, calls.

use crate::dispatch::buffer::{is_fresh, weight};
use crate::dispatch::lanes::LaneId;
use crate::dispatch::planner::roster::{Roster, Spot, settled};
use crate::dispatch::planner::starts::StepMoment;
use crate::event::Entry;

/// The next entry of a lane that may still start; those that may not any more are settled on the way, or kept aside
/// while time is in doubt.
pub(super) fn next_alive(id: LaneId, roster: &mut Roster, moment: StepMoment<'_>) -> Option<Box<Entry>> {
    let StepMoment { now, effects } = moment;
    let is_time_trusted = roster.is_time_trusted();
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
            return Some(entry);
        }
        ahead.gave(1, weight(&entry));
        let promised = usize::from(is_fresh(&entry));
        let how = lane.doubt().expiry(&entry);
        effects.push(settled(entry, lane.lane.clone(), how));
        roster.redeem(id, promised);
    }
}
