//! What the queue announces: new work of a lane, and the due time of what was put off.
//!
//! Must not know: how entries come in, what is sent next.

use tracing::error;

use crate::clock::Timestamp;
use crate::dispatch::input::Effect;
use crate::dispatch::planner::Planner;
use crate::event::{Lane, LaneKey};

impl Planner {
    /// A lane has new entries.
    pub(super) fn announce(&mut self, key: LaneKey, now: Timestamp, effects: &mut Vec<Effect>) {
        let id = match self.lanes.find(&key) {
            Some(id) => id,
            None => match Lane::parse(&key) {
                Ok(lane) => self.add(key, lane, now),
                Err(error) => return error!(%error, "a lane is left alone: its key has no meaning"),
            },
        };
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.window.announced();
        }
        self.tend(id, now, effects);
    }

    /// An entry of the lane was put off until then, earlier than all others.
    pub(super) fn put_off(
        &mut self,
        key: LaneKey,
        due_at: Timestamp,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(id) = self.lanes.find(&key) else { return self.announce(key, now, effects) };
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.dues.put_off(due_at);
        }
        self.tend(id, now, effects);
    }
}
