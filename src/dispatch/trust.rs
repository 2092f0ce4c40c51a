//! Time in doubt, and the end of that.
//!
//! While it is in doubt how much time has passed, nothing ends because time has passed: what has outlived its time by
//! the line is kept aside, drains and timed pauses go on. When the doubt ends the line leaps forward, and everything
//! that is over then ends as usual.
//!
//! Must not know: how time comes to be in doubt.

use crate::clock::{Leap, Timestamp};
use crate::dispatch::input::Effect;
use crate::dispatch::planner::Planner;

impl Planner {
    /// From now on time is in doubt, until [`Input::TimeTrusted`](super::Input::TimeTrusted). To be called before the
    /// first step.
    pub fn doubt_time(&mut self) {
        self.is_time_trusted = false;
    }

    /// The time by which things end: none while it is in doubt.
    pub(super) fn certain(&self, now: Timestamp) -> Option<Timestamp> {
        self.is_time_trusted.then_some(now)
    }

    /// The doubt has ended with a leap of the line to `now`.
    pub(super) fn trust(&mut self, leap: &Leap, now: Timestamp, effects: &mut Vec<Effect>) {
        self.is_time_trusted = true;
        self.gate.leap(leap, now);
        for flight in self.flights.values_mut() {
            leap.correct(flight.entry.id.accepted_at(), &mut flight.entry.event.expires_at);
        }
        // What limiters said before may no longer hold.
        self.turns.dissolve();
        for id in self.lanes.ids() {
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.buffer.give_back();
                lane.buffer.for_each_mut(|entry| {
                    leap.correct(entry.id.accepted_at(), &mut entry.event.expires_at);
                });
                lane.holds.leap(leap);
                lane.dues.leap(leap);
                lane.rule(&self.runtime, Some(now));
                lane.plan_expiry(Some(now), false);
            }
            self.tend(id, now, effects);
        }
    }
}
