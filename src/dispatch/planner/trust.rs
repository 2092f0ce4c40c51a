//! Time in doubt, and the end of that.
//!
//! While it is in doubt how much time has passed, nothing ends because time has passed: what has outlived its time by
//! the line is kept aside, as is what has a date that was given in doubt, drains and timed pauses go on. When the doubt
//! ends the line leaps forward, and everything that is over then ends as usual.
//!
//! Must not know: how time comes to be in doubt.

use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::dispatch::ahead::Ahead;
use crate::dispatch::input::Effect;
use crate::dispatch::lanes::DispatchLane;
use crate::dispatch::planner::policies::ActivePolicies;
use crate::dispatch::planner::roster::{Roster, Spot, settled};
use crate::dispatch::planner::starts::Starts;
use crate::event::{Entry, Settlement};

/// The doubt has ended with a leap of the line to `now`.
pub(super) fn end_doubt(
    leap: &Leap,
    starts: &mut Starts,
    policies: &mut ActivePolicies,
    roster: &mut Roster,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    roster.trust_time(leap, now);
    starts.correct(leap);
    // Stops have ends again.
    policies.plan_end_of_stops(roster, now);
    // What limiters said before may no longer hold.
    roster.ask_all_again();
    for id in roster.lanes().ids() {
        if let Some(Spot { lane, ahead, .. }) = roster.spot(id) {
            lane.buffer.give_back();
            lane.keeps_stopped = false;
            lane.buffer.for_each_mut(|entry| {
                leap.correct(entry.id.accepted_at(), &mut entry.event.expires_at);
            });
            let not_due = |entry: &Entry| {
                entry.event.is_dated && entry.due_at.is_some_and(|due_at| due_at + leap.ahead > now)
            };
            if !leap.ahead.is_zero() {
                put_back_later(lane, ahead, not_due, leap.ahead, now, effects);
            }
            lane.holds.leap(leap);
            if let Some(slowdown) = &mut lane.slowdown {
                slowdown.leap(leap);
            }
            lane.dues.leap(leap);
            // All lines were dissolved: nobody has to leave one.
            policies.rule(id, roster, now);
            if let Some(lane) = roster.lane_mut(id) {
                lane.plan_expiry(Some(now), false);
            }
        }
        roster.tend(id, now, effects);
    }
}

/// Gives entries back to the queue whose dates, on a line that is `by` ahead of the wall clock, lie later.
fn put_back_later(
    lane: &mut DispatchLane,
    ahead: &mut Ahead,
    is_later: impl Fn(&Entry) -> bool,
    by: Duration,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    let before = (lane.buffer.len(), lane.buffer.bytes());
    let (name, dues) = (&lane.lane, &mut lane.dues);
    lane.buffer.take_if(is_later, |entry| {
        let due_at = entry.due_at.unwrap_or(now) + by;
        dues.rescheduled(due_at, entry.id, now);
        let settlement = Settlement::Reschedule { due_at, tries: entry.tries, doubted_at: None };
        effects.push(settled(entry, name.clone(), settlement));
    });
    ahead.gave(before.0 - lane.buffer.len(), before.1 - lane.buffer.bytes());
}
