//! A limit over a sliding window: the ring that keeps it, the self-check on it, and, for windows that outlast a
//! restart, the record of starts to come.
//!
//! Must not know: smoothing, calendars, calls in flight.

use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::limit::meter::reserve::{Chunk, Ready, ReserveAhead};
use crate::limit::meter::ring::{CellNumber, Ring};
use crate::limit::meter::self_check::{Seen, SelfCheck};
use crate::limit::stated::Stated;
use crate::policy::Window;

/// After a start that does not follow an orderly end, a limit is silent for its window if that is at most this long;
/// longer windows put their starts on record.
pub(in crate::limit) const SILENT_AT_MOST: Duration = Duration::from_secs(2);

/// The right to start once.
#[derive(Debug, Clone, Copy)]
pub(in crate::limit) struct WindowClaim {
    cell: CellNumber,
    /// Until when its chunk is good.
    good_until: Option<Timestamp>,
}

/// One sliding limit.
#[derive(Debug)]
pub(in crate::limit) struct WindowMeter {
    ring: Ring,
    self_check: SelfCheck,
    /// Only for windows that outlast a restart.
    reserve: Option<ReserveAhead>,
    /// What an operator has stated.
    stated: Option<Stated>,
}

impl WindowMeter {
    /// Nothing shares a window with `last_start`; `number` as for [`Ring::new`].
    pub(in crate::limit) fn new(allowed: Window, last_start: Timestamp, number: u64) -> Self {
        let ring = Ring::new(allowed, last_start, number);
        Self {
            ring,
            self_check: SelfCheck::new(allowed),
            reserve: is_recorded(allowed).then(ReserveAhead::new),
            stated: None,
        }
    }

    /// What it allows.
    pub(in crate::limit) const fn allowed(&self) -> Window {
        self.ring.allowed()
    }

    /// Allows something else; what was started and granted counts against it. An earlier process may have started
    /// something until `unknown_before`.
    pub(in crate::limit) fn allow(&mut self, allowed: Window, unknown_before: Timestamp) {
        let has_length_changed = allowed.length() != self.allowed().length();
        self.ring.allow(allowed, unknown_before);
        self.self_check.expect(allowed);
        if !is_recorded(allowed) {
            self.reserve = None;
        } else if self.reserve.is_none() || has_length_changed {
            // What is on record is so for another length.
            self.reserve = Some(ReserveAhead::new());
        }
    }

    /// Starts since the doubt began move with the line; what is on record is so for another time.
    pub(in crate::limit) fn leap(&mut self, leap: &Leap) {
        self.ring.leap(leap);
        if let Some(reserve) = &mut self.reserve {
            reserve.clear();
        }
    }

    /// Counts starts of an earlier process.
    pub(in crate::limit) fn restore(&mut self, count: u32, at: Timestamp) {
        self.ring.restore(count, at);
    }

    /// The statement that so many starts are in the window.
    pub(in crate::limit) fn usage_to_state(
        &mut self,
        used: u32,
        at: Timestamp,
        now: Timestamp,
    ) -> (u32, Stated) {
        (self.used(now), Stated { replaces: 0, used, at, over_at: at + self.allowed().length() })
    }

    /// Counts what an operator has stated, instead of everything that was started, or may have been, by then; `number` as for
    /// [`Ring::new`]. A statement about a shorter window says too little.
    pub(in crate::limit) fn state(&mut self, stated: &Stated, number: u64) {
        let allowed = self.allowed();
        if stated.at + allowed.length() > stated.over_at {
            return;
        }
        let later: Vec<_> = self.starts().filter(|(_, at)| *at > stated.at).collect();
        let unknown = self.unknown_before().filter(|at| *at > stated.at).unwrap_or_default();
        self.ring = Ring::new(allowed, unknown, number);
        self.ring.restore(stated.used, stated.at);
        later.into_iter().for_each(|(count, at)| self.ring.restore(count, at));
        self.reserve = self.reserve.is_some().then(ReserveAhead::new);
        self.stated = Some(*stated);
    }

    /// What an operator has stated, while it counts.
    pub(in crate::limit) fn stated(&self, now: Timestamp) -> Option<Stated> {
        self.stated.filter(|stated| stated.over_at > now)
    }

    /// Whether a start is possible at `now`; changes nothing that counts.
    pub(in crate::limit) fn ready(&mut self, now: Timestamp) -> Ready {
        let ready_at = self.ring.ready_at();
        if ready_at > now {
            return Ready::At(ready_at);
        }
        self.reserve.as_mut().map_or(Ready::Now, |reserve| reserve.ready(now))
    }

    /// Takes a start that [`WindowMeter::ready`] has just found possible; `None` when it was not.
    pub(in crate::limit) fn take(&mut self, now: Timestamp) -> Option<WindowClaim> {
        let cell = self.ring.claim(now)?;
        Some(WindowClaim { cell, good_until: self.reserve.as_mut().and_then(ReserveAhead::take) })
    }

    /// Takes an unconfirmed start back.
    pub(in crate::limit) fn put_back(&mut self, claim: WindowClaim) {
        self.ring.put_back(claim.cell);
        if let (Some(reserve), Some(good_until)) = (&mut self.reserve, claim.good_until) {
            reserve.put_back(good_until);
        }
    }

    /// The start happens at `at`. Tells whether that is one too many, which is a defect.
    pub(in crate::limit) fn confirm(&mut self, claim: WindowClaim, at: Timestamp) -> bool {
        self.ring.confirm(claim.cell, at);
        self.self_check.started(at)
    }

    /// It happened by `at`.
    pub(in crate::limit) fn under_way(&mut self, claim: WindowClaim, at: Timestamp) {
        self.ring.under_way(claim.cell, at);
    }

    /// What is to be put on record next, if anything is.
    pub(in crate::limit) fn reserve(&mut self, now: Timestamp) -> Option<Chunk> {
        let reserve = self.reserve.as_mut()?;
        let allowed = self.ring.allowed();
        let most = allowed.calls().get().saturating_sub(self.ring.used(now));
        let lasts = reserve.lasts();
        reserve.reserve(most, now + lasts, now)
    }

    /// That was put on record, or could not be.
    pub(in crate::limit) fn confirmed(&mut self, chunk: Chunk, is_recorded: bool, now: Timestamp) {
        if let Some(reserve) = &mut self.reserve {
            reserve.confirmed(chunk, is_recorded, now);
        }
    }

    /// Starts in the newest window.
    pub(in crate::limit) fn used(&mut self, now: Timestamp) -> u32 {
        self.ring.used(now)
    }

    /// How many more starts the window may hold until it holds so many; none while it may hold some that are unknown.
    pub(in crate::limit) fn room_below(&mut self, calls: u32, now: Timestamp) -> u32 {
        if self.known_from() > now { 0 } else { calls.saturating_sub(self.used(now)) }
    }

    /// From when on no unknown start is in the window.
    fn known_from(&self) -> Timestamp {
        self.unknown_before().map_or(Timestamp::ZERO, |at| at + self.allowed().length())
    }

    /// When fewer than so many starts are in the window, if none is added.
    pub(in crate::limit) fn below_at(&mut self, calls: u32, now: Timestamp) -> Timestamp {
        if self.known_from() > now {
            return self.known_from();
        }
        let (mut left, length) = (self.used(now), self.allowed().length());
        let leaving = self.starts().find(|(count, _)| {
            left = left.saturating_sub(*count);
            left < calls
        });
        leaving.map_or(now, |(_, at)| at + length)
    }

    /// The starts that still count.
    pub(in crate::limit) fn starts(&self) -> impl Iterator<Item = (u32, Timestamp)> {
        self.ring.starts()
    }

    /// Until when something may have started that is in none of these.
    pub(in crate::limit) fn unknown_before(&self) -> Option<Timestamp> {
        self.ring.unknown_before()
    }

    /// When every start will have left the window; [`Timestamp::MAX`] while an answer is awaited.
    pub(in crate::limit) fn idle_at(&self) -> Timestamp {
        let is_awaited = self.reserve.as_ref().is_some_and(ReserveAhead::is_awaited);
        if is_awaited { Timestamp::MAX } else { self.ring.idle_at() }
    }

    /// From when on the ring has room.
    pub(in crate::limit) fn ready_at(&self) -> Timestamp {
        self.ring.ready_at()
    }

    /// What the self-check has seen.
    pub(in crate::limit) fn seen(&self, now: Timestamp) -> Seen {
        self.self_check.seen(now)
    }
}

/// Whether the starts of such a window are put on record before they are made.
pub(in crate::limit) fn is_recorded(allowed: Window) -> bool {
    allowed.length() > SILENT_AT_MOST
}
