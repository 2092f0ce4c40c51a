//! A pace: at most N starts in every half-open sliding second, and nearly N of them while there is work. The
//! [`WindowMeter`] keeps the promise, the [`Smoother`] spreads the starts.
//!
//! A policy that turns calls away does not spread them: a burst within the second is not over its limit.
//!
//! Must not know: calls in flight, policies.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::limit::figures::Counter;
use crate::limit::forecast::LimitOutlook;
use crate::limit::history::record::{Consumed, RecordedCount};
use crate::limit::meter::Terms;
use crate::limit::meter::reserve::{Chunk, Ready};
use crate::limit::meter::smoother::{GrantStep, Smoother};
use crate::limit::meter::window::{WindowClaim, WindowMeter};
use crate::policy::{LimitKind, Pace};

/// The state of one pace: what was started in its window, and when the next start is smooth.
#[derive(Debug)]
pub(in crate::limit) struct PaceMeter {
    pace: Pace,
    window: WindowMeter,
    smoother: Option<Smoother>,
}

/// The right to start once under one pace.
#[derive(Debug)]
pub(in crate::limit) struct PaceClaim {
    start: WindowClaim,
    step: Option<GrantStep>,
}

impl PaceMeter {
    /// Knows nothing of the past but when the last start was: no start shares a window with it.
    pub(super) fn new(pace: Pace, terms: &Terms) -> Self {
        let window = WindowMeter::new(pace.window(), terms);
        Self { pace, window, smoother: terms.spread.then(|| Smoother::new(pace)) }
    }

    /// Changes the pace; what was started and granted counts against the new one.
    pub(super) fn change(&mut self, pace: Pace, terms: &Terms) {
        if pace != self.pace {
            self.pace = pace;
            self.window.change(pace.window(), terms);
            if let Some(smoother) = &mut self.smoother {
                smoother.edit(pace, terms.now);
            }
        }
        // The family has changed. A smoother at rest is not strict about the past, but the window is.
        if terms.spread != self.smoother.is_some() {
            self.smoother = terms.spread.then(|| Smoother::new(pace));
        }
    }

    /// Whether a start is possible at `now`; changes nothing that counts.
    pub(super) fn ready(&mut self, now: Timestamp) -> Ready {
        let smooth_at = self.smoother.as_ref().map_or(now, |smoother| smoother.ready_at(now));
        match self.window.ready(now) {
            // Both have to agree: the window is strict and the smoother only spreads.
            Ready::At(ready_at) => Ready::At(ready_at.max(smooth_at)),
            _ if smooth_at > now => Ready::At(smooth_at),
            ready => ready,
        }
    }

    /// Takes a start that [`PaceMeter::ready`] has just found possible; `None` when it was not.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<PaceClaim> {
        let start = self.window.take(now)?;
        Some(PaceClaim { start, step: self.smoother.as_mut().map(|smoother| smoother.take(now)) })
    }

    /// Takes an unconfirmed start back, from the window and from the smoother.
    pub(super) fn put_back(&mut self, claim: &PaceClaim) {
        self.window.put_back(claim.start);
        if let (Some(smoother), Some(step)) = (&mut self.smoother, &claim.step) {
            smoother.put_back(step);
        }
    }

    /// The start happens at `at`. Returns whether that is one too many, which is a defect.
    pub(super) fn confirm(&mut self, claim: &PaceClaim, at: Timestamp) -> bool {
        self.window.confirm(claim.start, at)
    }

    /// The confirmed start has happened by `at`: it counts then, should that be later.
    pub(super) fn under_way(&mut self, claim: &PaceClaim, at: Timestamp) {
        self.window.under_way(claim.start, at);
    }

    pub(super) const fn limit(&self) -> Option<NonZeroU32> {
        self.window.limit()
    }

    pub(super) fn room(&mut self, now: Timestamp) -> Option<u32> {
        self.window.room(now)
    }

    pub(super) fn frees_at(&mut self, now: Timestamp) -> Timestamp {
        self.window.frees_at(now)
    }

    pub(super) fn room_below(&mut self, most: u32, now: Timestamp) -> u32 {
        self.window.room_below(most, now)
    }

    pub(super) fn below_at(&mut self, most: u32, now: Timestamp) -> Timestamp {
        self.window.below_at(most, now)
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.window.is_recorded()
    }

    pub(super) fn reserve(&mut self, now: Timestamp) -> Option<(Chunk, Consumed)> {
        self.window.reserve(now)
    }

    pub(super) fn confirmed(&mut self, chunk: Chunk, is_recorded: bool, now: Timestamp) {
        self.window.confirmed(chunk, is_recorded, now);
    }

    pub(super) fn restore(&mut self, consumed: &Consumed) -> Option<Consumed> {
        self.window.restore(consumed)
    }

    pub(super) fn counted(&mut self, now: Timestamp, note: &mut dyn FnMut(RecordedCount)) {
        self.window.counted(now, note);
    }

    pub(super) fn leap(&mut self, leap: &Leap) -> bool {
        self.window.leap(leap)
    }

    pub(super) fn idle_at(&self) -> Option<Timestamp> {
        self.window.idle_at()
    }

    /// What it means for calls to come: they start one after the other.
    pub(super) fn outlook(&mut self, now: Timestamp) -> Option<LimitOutlook> {
        let smooth_at = self.smoother.as_ref().map_or(now, |smoother| smoother.ready_at(now));
        Some(outlook(self.pace, self.window.ready_at().max(smooth_at)))
    }

    pub(super) fn counter(&mut self, most: u32, now: Timestamp) -> Counter {
        Counter { kind: LimitKind::Pace, ..self.window.counter(most, now) }
    }
}

/// Of a pace under which the next call may start at `ready_at`.
pub(in crate::limit) fn outlook(pace: Pace, ready_at: Timestamp) -> LimitOutlook {
    // A pace is above zero and at most a million: see `Pace`.
    let every = Duration::from_secs_f64(1.0 / pace.starts_per_second());
    LimitOutlook { kind: LimitKind::Pace, room: 0, first_at: ready_at, portion: 1, every, slides: false }
}
