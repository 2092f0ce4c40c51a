//! A pace: at most N starts in every half-open sliding second, and nearly N of them while there is work. The
//! [`WindowMeter`] limit keeps the promise, the [`Smoother`] spreads the starts.
//!
//! A policy that turns calls away does not spread them: a burst within the second is not over its limit.
//!
//! Must not know: calls in flight, policies.

use crate::clock::Timestamp;
use crate::limit::meter::reserve::Ready;
use crate::limit::meter::smoother::{Smoother, Step};
use crate::limit::meter::window::{WindowClaim, WindowMeter};
use crate::policy::Pace;

/// The state of one pace.
#[derive(Debug)]
pub(in crate::limit) struct PaceMeter {
    pace: Pace,
    pub(in crate::limit) sliding: WindowMeter,
    smoother: Option<Smoother>,
}

/// The right to start once under one pace.
#[derive(Debug)]
pub(in crate::limit) struct PaceClaim {
    pub(in crate::limit) start: WindowClaim,
    step: Option<Step>,
}

impl PaceMeter {
    /// Knows nothing of the past but when the last start was: no start shares a window with it.
    pub(in crate::limit) fn new(pace: Pace, spread: bool, last_start: Timestamp, number: u64) -> Self {
        let sliding = WindowMeter::new(pace.window(), last_start, number);
        Self { pace, sliding, smoother: spread.then(|| Smoother::new(pace)) }
    }

    /// The pace.
    pub(in crate::limit) const fn pace(&self) -> Pace {
        self.pace
    }

    /// Changes the pace; what was started and granted counts against the new one. An earlier process may have started
    /// something until `unknown_before`.
    pub(in crate::limit) fn edit(
        &mut self,
        pace: Pace,
        spread: bool,
        unknown_before: Timestamp,
        now: Timestamp,
    ) {
        if pace != self.pace {
            self.pace = pace;
            self.sliding.allow(pace.window(), unknown_before);
            if let Some(smoother) = &mut self.smoother {
                smoother.edit(pace, now);
            }
        }
        if spread != self.smoother.is_some() {
            self.smoother = spread.then(|| Smoother::new(pace));
        }
    }

    /// Whether a start is possible at `now`; changes nothing that counts.
    pub(in crate::limit) fn ready(&mut self, now: Timestamp) -> Ready {
        let smooth_at = self.smoother.as_ref().map_or(now, |smoother| smoother.ready_at(now));
        match self.sliding.ready(now) {
            Ready::At(ready_at) => Ready::At(ready_at.max(smooth_at)),
            _ if smooth_at > now => Ready::At(smooth_at),
            ready => ready,
        }
    }

    /// Takes a start that [`PaceMeter::ready`] has just found possible; `None` when it was not.
    pub(in crate::limit) fn take(&mut self, now: Timestamp) -> Option<PaceClaim> {
        let start = self.sliding.take(now)?;
        Some(PaceClaim { start, step: self.smoother.as_mut().map(|smoother| smoother.take(now)) })
    }

    /// Takes an unconfirmed start back.
    pub(in crate::limit) fn put_back(&mut self, claim: &PaceClaim) {
        self.sliding.put_back(claim.start);
        if let (Some(smoother), Some(step)) = (&mut self.smoother, &claim.step) {
            smoother.put_back(step);
        }
    }

    /// From when on a start is possible, as far as it is known.
    pub(in crate::limit) fn ready_at(&self, now: Timestamp) -> Timestamp {
        let smooth_at = self.smoother.as_ref().map_or(now, |smoother| smoother.ready_at(now));
        self.sliding.ready_at().max(smooth_at)
    }
}
