//! Shares of the calls in flight: how many calls one lane may have, so that lanes whose calls do not end leave enough
//! to all others.
//!
//! A call takes a slot, and one more for each full [`BODY_BYTES_PER_SLOT`] of its body, so that bodies in flight are
//! bounded and shared as well. `most` is the number of slots, `free` what is left of them, `lanes` the number of lanes
//! with work: those that have calls in flight or stand in line. A lane may start a call while a slot is free and it
//! uses fewer slots than
//!
//! - its share, `most / (2 * lanes)`, or what is left of the first half of `most` if that is more, when the lane is
//!   answered: one of its last [`UNANSWERED_MAX`] calls was;
//! - `free / lanes` when it is not, or not yet.
//!
//! Each bound is at least 1. While the number of lanes with work does not grow, and is at most half of `most`, every
//! lane that is answered can reach its share. For a lane goes beyond its share only while less than half of `most` is
//! in use (`free / lanes` is above the share only then, too), so that what is used beyond shares is never more than
//! half of `most`, and all shares together are the other half.
//!
//! A lane that joins makes all shares smaller. Lanes that have more start nothing until enough of their calls have
//! ended, by their timeouts at the latest; until then the free slots are there for the others. Lanes that are never
//! answered take about half of `most` together when they come at the same time, and leave `most / (n + 1)` when `n` of
//! them come one after the other.
//!
//! A check costs the same however many lanes there are: the bound is the same for all lanes of a kind, so of those that
//! wait the one that uses the fewest slots is the first that may go on.
//!
//! Must not know: what entries are for, policies, limits, time.

use std::collections::BTreeSet;

use crate::dispatch::lanes::LaneId;
use crate::event::{Cause, Entry, Outcome};
use crate::telemetry::defect;

/// Calls that a lane may start after an answer before it counts as unanswered.
const UNANSWERED_MAX: usize = 64;

/// A call takes one more slot for each of them.
const BODY_BYTES_PER_SLOT: usize = 32 << 10;

/// The slots that the call of an entry takes.
pub(super) fn slots(entry: &Entry) -> usize {
    1 + entry.event.body.len() / BODY_BYTES_PER_SLOT
}

/// What the shares know about one lane.
#[derive(Debug)]
pub(super) struct Share {
    /// Slots of its calls in flight.
    used: usize,
    /// Calls that were started since one was answered.
    unanswered: usize,
    /// It counts among the lanes with work.
    has_work: bool,
    /// Where it waits, and among lanes of which kind; `None` when it does not.
    place: Option<(ShareKind, ShareOrder)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ShareKind {
    Answered,
    Unanswered,
}

/// By slots in use, then in the order in which they began to wait.
type ShareOrder = (usize, u64);

impl Default for Share {
    /// Nothing is known of its endpoint.
    fn default() -> Self {
        Self { used: 0, unanswered: UNANSWERED_MAX, has_work: false, place: None }
    }
}

impl Share {
    fn kind(&self) -> ShareKind {
        if self.unanswered < UNANSWERED_MAX { ShareKind::Answered } else { ShareKind::Unanswered }
    }
}

/// The shares of all lanes, and those that wait for more.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    in_use: usize,
    /// How many lanes have work at present.
    lanes: usize,
    answered: BTreeSet<(ShareOrder, LaneId)>,
    unanswered: BTreeSet<(ShareOrder, LaneId)>,
    next_number: u64,
}

impl Shares {
    /// Nothing is in use of this many slots.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            in_use: 0,
            lanes: 0,
            answered: BTreeSet::new(),
            unanswered: BTreeSet::new(),
            next_number: 0,
        }
    }

    /// Whether no lane may start anything.
    pub(super) fn is_full(&self) -> bool {
        self.in_use >= self.most
    }

    /// Learns whether a lane has work.
    pub(super) fn count(&mut self, share: &mut Share, has_work: bool) {
        match (share.has_work, has_work) {
            (false, true) => self.lanes += 1,
            (true, false) => {
                defect!(unless self.lanes > 0, "more lanes without work than there are");
                self.lanes = self.lanes.saturating_sub(1);
            }
            (true, true) | (false, false) => {}
        }
        share.has_work = has_work;
    }

    /// Whether a lane may start one more call.
    pub(super) fn allow(&self, share: &Share) -> bool {
        !self.is_full() && share.used < self.bound(share.kind())
    }

    /// A call of the lane has its permit; it takes this many slots.
    pub(super) fn started(&mut self, share: &mut Share, slots: usize) {
        self.in_use += slots;
        share.used += slots;
        share.unanswered = share.unanswered.saturating_add(1);
    }

    /// A call that had its permit is not made.
    pub(super) fn put_back(&mut self, share: &mut Share, slots: usize) {
        self.give_back(share, slots);
        share.unanswered = share.unanswered.saturating_sub(1);
    }

    /// A call of the lane has ended.
    pub(super) fn ended(&mut self, share: &mut Share, slots: usize, outcome: &Outcome) {
        self.give_back(share, slots);
        // Also a refusal: what counts is that calls to this endpoint come back.
        let is_answer = matches!(
            outcome.end(),
            Outcome::Delivered { .. }
                | Outcome::Reject { .. }
                | Outcome::TokenRefused { .. }
                | Outcome::Wait(_)
                | Outcome::Retry { cause: Cause::Status(_), .. }
        );
        if is_answer {
            share.unanswered = 0;
        }
    }

    fn give_back(&mut self, share: &mut Share, slots: usize) {
        // What is in use of all lanes is the sum of what each uses.
        defect!(unless slots <= share.used && share.used <= self.in_use, "more slots given back than taken");
        self.in_use = self.in_use.saturating_sub(slots);
        share.used = share.used.saturating_sub(slots);
    }

    /// A lane waits until it may start one more call.
    pub(super) fn wait(&mut self, lane: LaneId, share: &mut Share) {
        let (kind, place) = (share.kind(), (share.used, self.next_number));
        self.next_number += 1;
        defect!(unless share.place.is_none(), "a lane that waits for its share twice");
        share.place = Some((kind, place));
        self.waiting(kind).insert((place, lane));
    }

    /// A lane does not wait any more. To be called before its calls change.
    pub(super) fn leave(&mut self, lane: LaneId, share: &mut Share) {
        // Under the kind that it had when it began to wait.
        if let Some((kind, place)) = share.place.take() {
            self.waiting(kind).remove(&(place, lane));
        }
    }

    /// The first lane that need not wait any more; it is to be taken out by [`Shares::leave`].
    pub(super) fn next(&self) -> Option<LaneId> {
        if self.is_full() {
            return None;
        }
        [(ShareKind::Answered, &self.answered), (ShareKind::Unanswered, &self.unanswered)]
            .into_iter()
            .find_map(|(kind, waiting)| {
                let ((used, _), lane) = *waiting.first()?;
                (used < self.bound(kind)).then_some(lane)
            })
    }

    fn waiting(&mut self, kind: ShareKind) -> &mut BTreeSet<(ShareOrder, LaneId)> {
        match kind {
            ShareKind::Answered => &mut self.answered,
            ShareKind::Unanswered => &mut self.unanswered,
        }
    }

    /// How many slots a lane of this kind may use.
    fn bound(&self, kind: ShareKind) -> usize {
        // Without lanes nobody asks, but the division must not fail.
        let lanes = self.lanes.max(1);
        let bound = match kind {
            ShareKind::Answered => (self.most / (2 * lanes)).max((self.most / 2).saturating_sub(self.in_use)),
            ShareKind::Unanswered => self.most.saturating_sub(self.in_use) / lanes,
        };
        bound.max(1)
    }
}

#[cfg(test)]
mod tests;
