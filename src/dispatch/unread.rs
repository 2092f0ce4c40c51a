//! Lanes whose entries cannot be read, and other doubts that hold a lane.
//!
//! Must not know: why a read failed.

use crate::clock::Timestamp;
use crate::dispatch::hold::{Hold, HoldReason};
use crate::dispatch::lanes::{DispatchLane, TurnPlace};
use crate::event::{Entry, Settlement};

/// The last time in which pages of a lane could not be read, from the first that failed to the one that came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct UnreadTime {
    failed_at: Option<Timestamp>,
    came_at: Option<Timestamp>,
}

impl UnreadTime {
    /// A page could not be read.
    pub(super) fn failed(&mut self, now: Timestamp) {
        // Pages that fail in a row are one such time, which began with the first.
        if self.failed_at.is_none() || self.came_at.take().is_some() {
            self.failed_at = Some(now);
        }
    }

    /// A page was read: the time in which none could be is over.
    pub(super) fn came(&mut self, now: Timestamp) {
        if self.failed_at.is_some() && self.came_at.is_none() {
            self.came_at = Some(now);
        }
    }

    /// Whether what is read now could not be read at this moment. What was read before pages failed could be sent.
    fn has(&self, at: Timestamp) -> bool {
        self.failed_at.zip(self.came_at).is_some_and(|(failed, came)| failed <= at && at <= came)
    }
}

/// The doubts that hold a lane, or have held it.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldByDoubt {
    is_unknown: bool,
    unread: UnreadTime,
}

impl HeldByDoubt {
    /// How an entry ends that has outlived its time.
    pub(super) fn expiry(self, entry: &Entry) -> Settlement {
        if self.is_unknown || self.unread.has(entry.event.expires_at) {
            Settlement::ExpiredHeld
        } else {
            Settlement::Expired
        }
    }
}

impl DispatchLane {
    /// The doubts by which the end of its entries is told apart.
    pub(super) fn doubt(&self) -> HeldByDoubt {
        HeldByDoubt { is_unknown: self.holds.is_unknown(), unread: self.unread }
    }

    /// Why it may not send although its limits have room: a hold, that it has its share of the calls in flight, that
    /// what comes next cannot be read, or that some of its entries are stopped, or have outlived their time while time is in
    /// doubt.
    pub(super) fn hold(&self, now: Timestamp) -> Option<Hold> {
        let unread = || {
            // What was read before can still be sent: it is not held.
            let until = self.window.unread_until().filter(|_| self.buffer.is_empty())?;
            Some(Hold { reason: HoldReason::Unread, until: Some(until), busy: None, is_partial: false })
        };
        let reason = if self.keeps_stopped { HoldReason::Stopped } else { HoldReason::Clock };
        let kept = Hold { reason, until: None, busy: None, is_partial: true };
        let share = || (self.place == TurnPlace::Full).then_some(Hold::SHARE);
        self.holds
            .current(now)
            .or_else(share)
            .or_else(unread)
            .or_else(|| self.buffer.has_kept().then_some(kept))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dispatch::ahead::{LaneBuffered, ReadWindow};
    use crate::dispatch::mix::DueShare;

    #[test]
    fn what_expired_while_it_could_not_be_read_is_told_apart() {
        let at = Timestamp::from_millis;
        let mut unread = UnreadTime::default();
        unread.came(at(1));
        assert!(!unread.has(at(1)), "the control: nothing failed");
        unread.failed(at(10));
        unread.failed(at(20));
        assert!(!unread.has(at(15)), "what is there was read before");
        unread.came(at(30));
        unread.came(at(40));
        assert!(unread.has(at(10)) && unread.has(at(30)) && !unread.has(at(9)) && !unread.has(at(31)));
        unread.failed(at(50));
        unread.came(at(60));
        assert!(unread.has(at(55)) && !unread.has(at(15)), "the last time");
    }

    #[test]
    fn a_page_that_failed_is_asked_for_again_after_its_pause_or_when_an_operator_says_so() {
        let nothing = LaneBuffered { entries: 0, bytes: 0, due_loaded: false, due: 0, due_pending: false };
        let (mut window, start) = (ReadWindow::new(DueShare::HALF), Timestamp::from_millis(1_000));
        window.announced();
        window.failed(start);
        window.failed(start);
        let until = start + Duration::from_millis(200);
        assert_eq!(window.unread_until(), Some(until));
        assert_eq!(window.wants(nothing, 100, start), 0);
        assert!(window.wants(nothing, 100, until) > 0);
        window.read_again();
        assert!(window.wants(nothing, 100, start) > 0);
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
