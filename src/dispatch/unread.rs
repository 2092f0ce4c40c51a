//! Lanes whose entries cannot be read, and entries that are no longer owed.
//!
//! Must not know: why a read failed, who gave up what.

use std::collections::HashSet;

use crate::clock::Timestamp;
use crate::dispatch::hold::{Hold, HoldReason};
use crate::dispatch::input::Effect;
use crate::dispatch::lanes::LaneState;
use crate::dispatch::planner::{Planner, settled};
use crate::event::{EventId, LaneKey, Settlement};

impl LaneState {
    /// Why it may not send although its limits have room: a hold, that what comes next cannot be read, or that some of
    /// its entries have outlived their time while time is in doubt.
    pub(super) fn hold(&self, now: Timestamp) -> Option<Hold> {
        let unread = || {
            let until = self.window.unread_until().filter(|_| self.buffer.is_empty())?;
            Some(Hold { reason: HoldReason::Unread, until: Some(until), busy: None })
        };
        let kept = Hold { reason: HoldReason::Clock, until: None, busy: None };
        self.holds.current(now).or_else(unread).or_else(|| self.buffer.has_kept().then_some(kept))
    }
}

impl Planner {
    /// Lets go of entries that were given up: of what is read ahead at once, of calls under way when they end. The
    /// queue counts their settlements for nothing.
    pub(super) fn let_go(
        &mut self,
        key: &LaneKey,
        entries: &HashSet<EventId>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(id) = self.lanes.find(key) else { return };
        let Some(lane) = self.lanes.get_mut(id) else { return };
        let before = (lane.buffer.len(), lane.buffer.bytes());
        let name = &lane.lane;
        let promised = lane.buffer.take_if(
            |entry| entries.contains(&entry.id),
            |entry| effects.push(settled(entry, name.clone(), Settlement::Lost)),
        );
        self.ahead.gave(before.0 - lane.buffer.len(), before.1 - lane.buffer.bytes());
        lane.window.read_again();
        self.redeem(id, promised);
        self.tend(id, now, effects);
    }

    /// Tries the lanes again whose last page could not be read.
    pub(super) fn read_again(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for id in self.lanes.ids() {
            let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.window.unread_until().is_some())
            else {
                continue;
            };
            lane.window.read_again();
            self.tend(id, now, effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dispatch::ahead::{Held, Window};

    #[test]
    fn a_page_that_failed_is_asked_for_again_after_its_pause_or_when_an_operator_says_so() {
        let nothing = Held { entries: 0, due_loaded: false, due_pending: false };
        let (mut window, start) = (Window::new(), Timestamp::from_millis(1_000));
        window.announced();
        window.failed(start);
        window.failed(start);
        let until = start + Duration::from_millis(200);
        assert_eq!(window.unread_until(), Some(until));
        assert_eq!(window.wants(nothing, start), 0);
        assert!(window.wants(nothing, until) > 0);
        window.read_again();
        assert!(window.wants(nothing, start) > 0);
        assert!(window.unread_until().is_some(), "until a page comes");
        window.failed(start);
        assert_eq!(
            window.unread_until(),
            Some(start + Duration::from_millis(400)),
            "the pauses go on growing"
        );
        window.loaded(0, false, false);
        assert_eq!(window.unread_until(), None);
    }
}
