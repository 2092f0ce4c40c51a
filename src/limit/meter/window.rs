//! A limit over a sliding window: the ring that keeps it, the self-check on it, and, for windows that outlast a
//! restart, the record of starts to come.
//!
//! Must not know: smoothing, calendars, calls in flight.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::clock::{Leap, Timestamp};
use crate::limit::STALE_AFTER;
use crate::limit::figures::Counter;
use crate::limit::forecast::LimitOutlook;
use crate::limit::history::record::{Consumed, RecordedCount};
use crate::limit::meter::Terms;
use crate::limit::meter::reserve::{Chunk, Ready, ReserveAhead};
use crate::limit::meter::ring::{CELLS_MAX, CellNumber, Ring};
use crate::limit::meter::self_check::SelfCheck;
use crate::limit::stated::Stated;
use crate::policy::{LimitKind, Window};

/// After a start that does not follow an orderly end, a limit is silent for its window if that is at most this long;
/// longer windows put their starts on record. Paces of at least one start in two seconds do not exceed that and cost no
/// writes.
pub(in crate::limit) const SILENT_AT_MOST: Duration = Duration::from_secs(2);

/// The right to start once under one window.
#[derive(Debug, Clone, Copy)]
pub(in crate::limit) struct WindowClaim {
    cell: CellNumber,
    /// Until when its chunk is good.
    good_until: Option<Timestamp>,
}

/// One sliding limit, with its starts and what is on record of them.
#[derive(Debug)]
pub(in crate::limit) struct WindowMeter {
    ring: Ring,
    self_check: SelfCheck,
    /// Only for windows that outlast a restart.
    reserve: Option<ReserveAhead>,
    /// What an operator has stated last, also when it is over.
    stated: Option<Stated>,
}

impl WindowMeter {
    /// No start shares a window with the last one that may have been.
    pub(super) fn new(allowed: Window, terms: &Terms) -> Self {
        let unknown = terms.unknown;
        let unknown_before = if is_recorded(allowed) { unknown.on_record_before } else { unknown.before };
        let ring = Ring::new(allowed, terms.last_start.max(unknown_before), terms.number);
        Self {
            ring,
            self_check: SelfCheck::new(allowed),
            reserve: is_recorded(allowed).then(ReserveAhead::new),
            stated: None,
        }
    }

    const fn allowed(&self) -> Window {
        self.ring.allowed()
    }

    /// Allows something else; what was started and granted counts against it.
    pub(super) fn change(&mut self, allowed: Window, terms: &Terms) {
        let has_length_changed = allowed.length() != self.allowed().length();
        self.ring.allow(allowed, terms.unknown.on_record_before);
        self.self_check.expect(allowed);
        if !is_recorded(allowed) {
            // What was on record ahead is over within moments; the silence after a kill does for short windows.
            self.reserve = None;
        } else if self.reserve.is_none() || has_length_changed {
            // What is on record is so for another length.
            self.reserve = Some(ReserveAhead::new());
        }
    }

    /// Starts since the doubt began move with the line; what is on record is so for another time. Short windows are not
    /// on record.
    pub(super) fn leap(&mut self, leap: &Leap) -> bool {
        self.ring.leap(leap);
        if let Some(reserve) = &mut self.reserve {
            reserve.clear();
        }
        self.is_recorded()
    }

    /// Counts starts of an earlier process; they stay on record as they are.
    pub(super) fn restore(&mut self, consumed: &Consumed) -> Option<Consumed> {
        self.ring.restore(consumed.count, consumed.at);
        None
    }

    /// The statement that this many starts are in the window.
    pub(super) fn usage_to_state(&mut self, used: u32, at: Timestamp, now: Timestamp) -> (u32, Stated) {
        (self.used(now), Stated { replaces: 0, used, at, over_at: at + self.allowed().length() })
    }

    /// Counts what an operator has stated, instead of everything that was started, or may have been, by then; `number`
    /// as for [`Ring::new`]. A statement about a shorter window says too little.
    pub(super) fn state(&mut self, stated: &Stated, number: u64) {
        let allowed = self.allowed();
        if stated.at + allowed.length() > stated.over_at {
            return;
        }
        // The statement takes in everything up to its moment, and nothing after it.
        let later: Vec<_> = self.starts().filter(|(_, at)| *at > stated.at).collect();
        let unknown = self.unknown_before().filter(|at| *at > stated.at).unwrap_or_default();
        self.ring = Ring::new(allowed, unknown, number);
        self.ring.restore(stated.used, stated.at);
        later.into_iter().for_each(|(count, at)| self.ring.restore(count, at));
        self.reserve = self.reserve.is_some().then(ReserveAhead::new);
        self.stated = Some(*stated);
    }

    /// What an operator has stated, while it counts.
    pub(super) fn stated(&self, now: Timestamp) -> Option<Stated> {
        self.stated.filter(|stated| stated.over_at > now)
    }

    /// Whether a start is possible at `now`; changes nothing that counts.
    pub(super) fn ready(&mut self, now: Timestamp) -> Ready {
        let ready_at = self.ring.ready_at();
        if ready_at > now {
            return Ready::At(ready_at);
        }
        self.reserve.as_mut().map_or(Ready::Now, |reserve| reserve.ready(now))
    }

    /// Takes a start that [`WindowMeter::ready`] has just found possible; `None` when it was not.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<WindowClaim> {
        let cell = self.ring.claim(now)?;
        Some(WindowClaim { cell, good_until: self.reserve.as_mut().and_then(ReserveAhead::take) })
    }

    /// Takes an unconfirmed start back; its place on record can be used again.
    pub(super) fn put_back(&mut self, claim: WindowClaim) {
        self.ring.put_back(claim.cell);
        if let (Some(reserve), Some(good_until)) = (&mut self.reserve, claim.good_until) {
            reserve.put_back(good_until);
        }
    }

    /// The start happens at `at`. Returns whether that is one too many, which is a defect.
    pub(super) fn confirm(&mut self, claim: WindowClaim, at: Timestamp) -> bool {
        self.ring.confirm(claim.cell, at);
        self.self_check.started(at)
    }

    /// The confirmed start has happened by `at`: it counts then, should that be later.
    pub(super) fn under_way(&mut self, claim: WindowClaim, at: Timestamp) {
        self.ring.under_way(claim.cell, at);
    }

    /// Whether its starts are put on record before they are made.
    pub(super) fn is_recorded(&self) -> bool {
        is_recorded(self.allowed())
    }

    /// What is to be put on record next, if anything is, and how it stands there.
    pub(super) fn reserve(&mut self, now: Timestamp) -> Option<(Chunk, Consumed)> {
        let reserve = self.reserve.as_mut()?;
        let allowed = self.ring.allowed();
        let used = self.ring.used(now);
        // What cannot be started now needs no record. After a lowered limit more may be used than is allowed.
        let most = allowed.calls().map(|calls| calls.get().saturating_sub(used));
        let lasts = reserve.lasts();
        let chunk = reserve.reserve(most, now + lasts, now)?;
        // A start at the last moment of its chunk may leave a little later.
        let at = chunk.until + STALE_AFTER;
        Some((chunk, Consumed { count: chunk.count, at, over_at: at + allowed.length() }))
    }

    /// That was put on record, or could not be.
    pub(super) fn confirmed(&mut self, chunk: Chunk, is_recorded: bool, now: Timestamp) {
        if let Some(reserve) = &mut self.reserve {
            reserve.confirmed(chunk, is_recorded, now);
        }
    }

    /// Starts in the newest window; without those that are unknown.
    fn used(&mut self, now: Timestamp) -> u32 {
        self.ring.used(now)
    }

    /// The most starts that one window may hold.
    pub(super) const fn limit(&self) -> Option<NonZeroU32> {
        self.allowed().calls()
    }

    /// How many more starts the window may hold. Starts before a silence count as well.
    pub(super) fn room(&mut self, now: Timestamp) -> Option<u32> {
        let calls = self.limit()?.get();
        Some(if self.ready_at() > now { 0 } else { calls.saturating_sub(self.used(now)) })
    }

    /// When the oldest start leaves, or one that happens now would.
    pub(super) fn frees_at(&mut self, now: Timestamp) -> Timestamp {
        let used = self.used(now);
        if used == 0 { now + self.allowed().length() } else { self.below_at(used, now) }
    }

    /// How many more starts the window may hold until it holds this many; none while it may hold some that are unknown.
    pub(super) fn room_below(&mut self, calls: u32, now: Timestamp) -> u32 {
        if self.known_from() > now { 0 } else { calls.saturating_sub(self.used(now)) }
    }

    /// From when on no unknown start is in the window.
    fn known_from(&self) -> Timestamp {
        self.unknown_before().map_or(Timestamp::ZERO, |at| at + self.allowed().length())
    }

    /// When fewer than this many starts are in the window, if none is added.
    pub(super) fn below_at(&mut self, calls: u32, now: Timestamp) -> Timestamp {
        if self.known_from() > now {
            return self.known_from();
        }
        let (mut left, length) = (self.used(now), self.allowed().length());
        let leaving = self.starts().find(|(count, _)| {
            // Cells that stand for whole groups may add up to more than `used`.
            left = left.saturating_sub(*count);
            left < calls
        });
        leaving.map_or(now, |(_, at)| at + length)
    }

    fn starts(&self) -> impl Iterator<Item = (u32, Timestamp)> {
        self.ring.starts()
    }

    /// Until when something may have started that is none of the starts that are known.
    fn unknown_before(&self) -> Option<Timestamp> {
        self.ring.unknown_before()
    }

    /// When every start will have left the window; [`Timestamp::MAX`] while an answer is awaited.
    pub(super) fn idle_at(&self) -> Option<Timestamp> {
        let is_awaited = self.reserve.as_ref().is_some_and(ReserveAhead::is_awaited);
        Some(if is_awaited { Timestamp::MAX } else { self.ring.idle_at() })
    }

    /// From when on the ring has room.
    pub(super) fn ready_at(&self) -> Timestamp {
        self.ring.ready_at()
    }

    /// What still counts at `now`: what was stated, what is unknown, and the starts that are known.
    pub(super) fn counted(&mut self, now: Timestamp, note: &mut dyn FnMut(RecordedCount)) {
        let length = self.allowed().length();
        let stated = self.stated(now);
        if let Some(stated) = stated {
            note(RecordedCount::Stated(stated));
        }
        // As many as there can have been, or as the ring keeps.
        let most = self.limit().map_or(CELLS_MAX, NonZeroU32::get);
        let unknown = self.unknown_before().map(|at| (most, at));
        let counts =
            |(_, at): &(u32, Timestamp)| *at + length > now && stated.is_none_or(|stated| *at > stated.at);
        for (count, at) in unknown.into_iter().chain(self.starts()).filter(counts) {
            note(RecordedCount::Starts(Consumed { count, at, over_at: at + length }));
        }
    }

    /// What it means for calls to come; `None` when it limits nothing.
    pub(super) fn outlook(&mut self, now: Timestamp) -> Option<LimitOutlook> {
        outlook(self.allowed(), self.used(now), self.ready_at())
    }

    /// Its state under a limit of `most`.
    pub(super) fn counter(&mut self, most: u32, now: Timestamp) -> Counter {
        let seen = self.self_check.seen(now);
        Counter {
            kind: LimitKind::Window,
            calls: most,
            length: self.allowed().length(),
            used: self.used(now),
            window_peak: seen.window_peak,
            violations: seen.violations,
            resets_at: None,
        }
    }
}

/// Of a window that holds `used` starts and has room at `ready_at`; `None` when it limits nothing.
pub(in crate::limit) fn outlook(window: Window, used: u32, ready_at: Timestamp) -> Option<LimitOutlook> {
    let calls = window.calls()?.get();
    let room = u64::from(calls.saturating_sub(used));
    let (portion, every) = (u64::from(calls), window.length());
    Some(LimitOutlook { kind: LimitKind::Window, room, first_at: ready_at, portion, every, slides: true })
}

/// Whether the starts of such a window are put on record before they are made.
fn is_recorded(allowed: Window) -> bool {
    allowed.length() > SILENT_AT_MOST
}

/// Until when such a window is silent because nobody knows what was started before `unknown_before`. Short ones are so
/// for another reason, and for a moment.
pub(super) fn silent_until(allowed: Window, unknown_before: Timestamp) -> Option<Timestamp> {
    is_recorded(allowed).then(|| unknown_before + allowed.length())
}
