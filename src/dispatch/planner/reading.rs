//! What the queue announces and hands out: new work of a lane, due times, pages, pages that could not be read, and
//! entries that are no longer owed.
//!
//! Must not know: what is sent next, why a read failed, who gave up what.

use std::collections::HashSet;

use tracing::error;

use crate::clock::Timestamp;
use crate::dispatch::input::Effect;
use crate::dispatch::planner::policies::ActivePolicies;
use crate::dispatch::planner::purge::Purges;
use crate::dispatch::planner::roster::{Roster, Spot};
use crate::event::{EventId, Lane, LaneKey, Settlement};
use crate::queue::LoadedPage;

/// What came of the queue, on its way into the lanes.
pub(super) struct Reading<'p> {
    pub(super) roster: &'p mut Roster,
    pub(super) policies: &'p ActivePolicies,
    pub(super) now: Timestamp,
    pub(super) effects: &'p mut Vec<Effect>,
}

impl Reading<'_> {
    /// A lane has new entries, and is present from now on.
    pub(super) fn announce(self, key: &LaneKey) {
        let Self { roster, policies, now, effects } = self;
        let id = match roster.lanes().find(key) {
            Some(id) => id,
            // The key of a lane is all that a restart leaves of it: policies and label values are read from it.
            None => match Lane::parse(key) {
                Ok(lane) => policies.add(lane, roster, now),
                Err(error) => return error!(%error, "a lane is left alone: its key has no meaning"),
            },
        };
        if let Some(lane) = roster.lane_mut(id) {
            lane.window.announced();
        }
        roster.tend(id, now, effects);
    }

    /// An entry of the lane was put off until then, earlier than all others.
    pub(super) fn put_off(self, key: &LaneKey, due_at: Timestamp) {
        // As new work: the first page brings the due times with it.
        let Some(id) = self.roster.lanes().find(key) else { return self.announce(key) };
        if let Some(lane) = self.roster.lane_mut(id) {
            lane.dues.put_off(due_at);
        }
        self.roster.tend(id, self.now, self.effects);
    }

    /// A page of a lane came.
    pub(super) fn take_in(self, key: &LaneKey, loaded: LoadedPage, purges: &mut Purges) {
        let Self { roster, now, effects, .. } = self;
        let certain = roster.certain(now);
        let Some(id) = roster.lanes().find(key) else { return };
        let Some(Spot { lane, ahead, .. }) = roster.spot(id) else { return };
        ahead.ended(&lane.window);
        // Before the page is taken in: whether the lane had to wait for it.
        let starved = lane.buffer.is_empty();
        lane.window.loaded(loaded.entries.len(), loaded.more, starved);
        lane.unread.came(now);
        let asked = (lane.window.asked_due(), lane.purge.is_some());
        lane.dues.loaded(&loaded.entries, loaded.next_due, asked, now);
        let before = (lane.buffer.len(), lane.buffer.bytes());
        for entry in loaded.entries {
            lane.buffer.push(Box::new(entry));
        }
        lane.plan_expiry(certain, false);
        ahead.took(lane.buffer.len() - before.0, lane.buffer.bytes() - before.1);
        purges.drop_waiting(id, roster, effects);
        roster.tend(id, now, effects);
        // Between two rounds of tending: the first asks for the next page, by which the end of the purge is recognised,
        // and the second may let go of the lane.
        purges.end_if_read(id, roster);
        roster.tend(id, now, effects);
    }

    /// A page of a lane could not be read.
    pub(super) fn load_failed(self, key: &LaneKey) {
        let Some(id) = self.roster.lanes().find(key) else { return };
        if let Some(Spot { lane, ahead, .. }) = self.roster.spot(id) {
            ahead.ended(&lane.window);
            lane.window.failed(self.now);
            lane.unread.failed(self.now);
        }
        self.roster.tend(id, self.now, self.effects);
    }

    /// Lets go of entries that were given up: of what is read ahead at once, of calls under way when they end. The
    /// queue counts their settlements for nothing.
    pub(super) fn let_go(self, key: &LaneKey, entries: &HashSet<EventId>) {
        let Self { roster, now, effects, .. } = self;
        let Some(id) = roster.lanes().find(key) else { return };
        roster.drop_if(id, |entry| entries.contains(&entry.id), |_| Settlement::Lost, effects);
        if let Some(lane) = roster.lane_mut(id) {
            lane.window.read_again();
        }
        roster.tend(id, now, effects);
    }

    /// Tries the lanes again whose last page could not be read.
    pub(super) fn read_again(self) {
        for id in self.roster.lanes().ids() {
            // Others wait for nothing that an operator could shorten.
            let unread = self.roster.lane_mut(id).filter(|lane| lane.window.unread_until().is_some());
            if let Some(lane) = unread {
                lane.window.read_again();
                self.roster.tend(id, self.now, self.effects);
            }
        }
    }
}
