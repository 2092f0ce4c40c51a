//! A pace: at most N starts in every half-open sliding second, and nearly N of them while there is work.
//!
//! The [`Ring`] keeps the promise, the [`Smoother`] spreads the starts. For a decimal N the exact promise is
//! `k = ceil(N)` starts in every `k / N` seconds: N starts per second for a whole N, one start per `1 / N`
//! seconds below one, three per 1.2 s for 2.5.
//!
//! Must not know: calls in flight, policies.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::limit::ring::{Claim, Ring};
use crate::limit::smoother::{Smoother, Step};
use crate::limit::watch::{Seen, Watch};
use crate::policy::Pace;

/// The state of one pace.
#[derive(Debug)]
pub(super) struct PaceLimit {
    pace: Pace,
    ring: Ring,
    smoother: Smoother,
    watch: Arc<Watch>,
}

/// The right to start once under one pace.
#[derive(Debug)]
pub(super) struct PaceHold {
    pub(super) claim: Claim,
    step: Step,
}

impl PaceLimit {
    /// Knows nothing of the past but when the last start was: no start shares a window with it.
    pub(super) fn new(pace: Pace, last_start: Timestamp) -> Self {
        let (capacity, window) = window_of(pace);
        let watch = Arc::new(Watch::new(capacity, window));
        let ring = Ring::new(capacity, window, last_start, Arc::clone(&watch));
        Self { pace, ring, smoother: Smoother::new(pace), watch }
    }

    /// The pace.
    pub(super) const fn pace(&self) -> Pace {
        self.pace
    }

    /// Changes the pace; what was started and granted counts against the new one.
    pub(super) fn edit(&mut self, pace: Pace, now: Timestamp) {
        if pace == self.pace {
            return;
        }
        let (capacity, window) = window_of(pace);
        self.pace = pace;
        self.ring.resize(capacity, window);
        self.smoother.edit(pace, now);
        self.watch.expect(capacity, window);
    }

    /// From when on a start is allowed; not later than `now` means now. Changes nothing.
    pub(super) fn ready_at(&self, now: Timestamp) -> Timestamp {
        self.ring.ready_at().max(self.smoother.ready_at(now))
    }

    /// Takes a start that [`PaceLimit::ready_at`] has just found allowed; `None` when it was not.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<PaceHold> {
        let claim = self.ring.claim(now)?;
        Some(PaceHold { claim, step: self.smoother.take(now) })
    }

    /// Takes an unconfirmed start back; a confirmed one stays counted.
    pub(super) fn put_back(&mut self, hold: &PaceHold) {
        if self.ring.put_back(&hold.claim) {
            self.smoother.put_back(&hold.step);
        }
    }

    /// Whether every start has left the window.
    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        self.ring.is_idle(now)
    }

    /// The latest moment at which something may have started: all that a longer window has to know of an idle
    /// pace.
    pub(super) fn last_start(&self) -> Timestamp {
        self.ring.last_start()
    }

    /// What the self-check has seen.
    pub(super) fn seen(&self, now: Timestamp) -> Seen {
        self.watch.seen(now)
    }
}

/// How many starts which window may hold.
fn window_of(pace: Pace) -> (u32, Duration) {
    let starts = pace.starts_per_second().ceil();
    // Exact for whole paces; else rounded up, so that the window is never too short. Paces end at a million.
    let window_ns = (starts / pace.starts_per_second() * 1e9).ceil() as u64;
    (starts as u32, Duration::from_nanos(window_ns))
}
