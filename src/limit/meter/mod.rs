//! The meters: what counts under one limit, a file for each kind, and what they are made of.
//!
//! ```text
//! pace = window + smoother      window = ring (keeps) + self_check (checks) + reserve (puts on record)      quota      slots
//! ```
//!
//! A new kind of limit is a file here and a variant of [`Meter`]; the compiler asks for the rest. Everything else of
//! this room asks meters, whatever their kind.
//!
//! Must not know: policies, lanes, permits.

pub(super) mod calendar;
pub(super) mod pace;
pub(super) mod quota;
mod reserve;
pub(super) mod ring;
mod self_check;
pub(super) mod slots;
mod smoother;
pub(super) mod window;

use std::num::NonZeroU32;
use std::time::Duration;

pub(crate) use calendar::period_end;

use crate::clock::{Leap, Timestamp};
use crate::limit::figures::Counter;
use crate::limit::forecast::LimitOutlook;
use crate::limit::history::record::{Consumed, RecordedCount};
use crate::limit::stated::Stated;
use crate::policy::{Limit, LimitKind};
use crate::telemetry::defect;
use pace::{PaceClaim, PaceMeter};
use quota::{QuotaClaim, QuotaMeter};
pub(super) use reserve::{Chunk, Ready};
pub(super) use window::SILENT_AT_MOST;
use window::{WindowClaim, WindowMeter};

/// What counts under one limit: the starts of its window or period.
#[derive(Debug)]
pub(super) enum Meter {
    Pace(Box<PaceMeter>),
    Window(Box<WindowMeter>),
    Quota(Box<QuotaMeter>),
}

/// The right to start once under one meter.
#[derive(Debug)]
pub(super) enum Claim {
    Pace(PaceClaim),
    Window(WindowClaim),
    Quota(QuotaClaim),
}

/// What a meter needs to know when it begins or is changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The present moment on the steady line.
    pub(super) now: Timestamp,
    /// Whether starts that may come in bursts are spread.
    pub(super) spread: bool,
    /// The latest moment at which something may have started under its limiter.
    pub(super) last_start: Timestamp,
    /// The moments up to which starts may be missing from what it is given.
    pub(super) unknown: Unknown,
    /// Above the number of every claim so far: those of one ring differ by it from those of the next.
    pub(super) number: u64,
}

/// The moments before which nobody knows what was started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unknown {
    /// The same as in [`crate::limit::HistoryGap`], or what an edit leaves unknown if that is later.
    pub(super) before: Timestamp,
    pub(super) on_record_before: Timestamp,
    /// The loss of the record alone: a quota counts from when it is brought in.
    pub(super) lost_before: Timestamp,
}

/// The same question to the meter, whatever its kind.
macro_rules! each {
    ($meter:expr, $of_kind:ident => $answer:expr) => {
        match $meter {
            Meter::Pace($of_kind) => $answer,
            Meter::Window($of_kind) => $answer,
            Meter::Quota($of_kind) => $answer,
        }
    };
}

impl Meter {
    /// Begins to count under a limit.
    pub(super) fn new(limit: Limit, terms: &Terms) -> Self {
        match limit {
            Limit::Pace(pace) => Self::Pace(Box::new(PaceMeter::new(pace, terms))),
            Limit::Window(window) => Self::Window(Box::new(WindowMeter::new(window, terms))),
            Limit::Quota(quota) => {
                Self::Quota(Box::new(QuotaMeter::new(quota, terms.unknown.lost_before, terms.now)))
            }
        }
    }

    /// Another limit of the same kind; what was started and granted counts against it. Returns what has to be put on
    /// record for that.
    pub(super) fn change(&mut self, limit: Limit, terms: &Terms) -> Option<Consumed> {
        match (self, limit) {
            (Self::Pace(meter), Limit::Pace(pace)) => meter.change(pace, terms),
            (Self::Window(meter), Limit::Window(window)) => meter.change(window, terms),
            (Self::Quota(meter), Limit::Quota(quota)) => return meter.change(quota, terms.now),
            (meter @ (Self::Pace(_) | Self::Window(_) | Self::Quota(_)), limit) => {
                // Meters are found by their kind. One that begins anew is silent where the past is unknown.
                defect!("a meter that is changed to a limit of another kind");
                *meter = Self::new(limit, terms);
            }
        }
        None
    }

    /// The kind of limit that it counts under.
    pub(super) const fn kind(&self) -> LimitKind {
        match self {
            Self::Pace(_) => LimitKind::Pace,
            Self::Window(_) => LimitKind::Window,
            Self::Quota(_) => LimitKind::Quota,
        }
    }

    /// Whether a start is possible at `now`; changes nothing that counts.
    pub(super) fn ready(&mut self, now: Timestamp) -> Ready {
        each!(self, meter => meter.ready(now))
    }

    /// Takes a start that [`Meter::ready`] has just found possible; `None` when it was not.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<Claim> {
        match self {
            Self::Pace(meter) => meter.take(now).map(Claim::Pace),
            Self::Window(meter) => meter.take(now).map(Claim::Window),
            Self::Quota(meter) => Some(Claim::Quota(meter.take())),
        }
    }

    /// Takes an unconfirmed start back; claims of other kinds are not its business.
    pub(super) fn put_back(&mut self, claim: &Claim) {
        match (self, claim) {
            (Self::Pace(meter), Claim::Pace(claim)) => meter.put_back(claim),
            (Self::Window(meter), Claim::Window(claim)) => meter.put_back(*claim),
            (Self::Quota(meter), Claim::Quota(claim)) => meter.put_back(*claim),
            (Self::Pace(_) | Self::Window(_) | Self::Quota(_), _) => {}
        }
    }

    /// The start happens at `at`. Returns whether that is one too many, which is a defect.
    pub(super) fn confirm(&mut self, claim: &Claim, at: Timestamp) -> bool {
        match (self, claim) {
            (Self::Pace(meter), Claim::Pace(claim)) => meter.confirm(claim, at),
            (Self::Window(meter), Claim::Window(claim)) => meter.confirm(*claim, at),
            // A quota counted it when it was taken.
            (Self::Pace(_) | Self::Window(_) | Self::Quota(_), _) => false,
        }
    }

    /// The confirmed start has happened by `at`: it counts then, should that be later.
    pub(super) fn under_way(&mut self, claim: &Claim, at: Timestamp) {
        match (self, claim) {
            (Self::Pace(meter), Claim::Pace(claim)) => meter.under_way(claim, at),
            (Self::Window(meter), Claim::Window(claim)) => meter.under_way(*claim, at),
            (Self::Pace(_) | Self::Window(_) | Self::Quota(_), _) => {}
        }
    }

    /// Most starts in its window or period; `None` when it only counts them.
    pub(super) fn limit(&self) -> Option<NonZeroU32> {
        each!(self, meter => meter.limit())
    }

    /// How many more starts its limit allows at `now`; `None` when it limits nothing.
    pub(super) fn room(&mut self, now: Timestamp) -> Option<u32> {
        each!(self, meter => meter.room(now))
    }

    /// When the oldest of its starts leaves, or one that happens now would.
    pub(super) fn frees_at(&mut self, now: Timestamp) -> Timestamp {
        each!(self, meter => meter.frees_at(now))
    }

    /// How many more starts a bound of another policy on what it counts allows.
    pub(super) fn room_below(&mut self, most: u32, now: Timestamp) -> u32 {
        each!(self, meter => meter.room_below(most, now))
    }

    /// When fewer than this many starts count, if none is added.
    pub(super) fn below_at(&mut self, most: u32, now: Timestamp) -> Timestamp {
        each!(self, meter => meter.below_at(most, now))
    }

    /// Another policy allows only this many of the starts that it counts: a kill must not forfeit much of that.
    pub(super) fn bound(&mut self, most: u32) {
        match self {
            // What they put on record ahead is over within moments.
            Self::Pace(_) | Self::Window(_) => {}
            Self::Quota(meter) => meter.bound(most),
        }
    }

    /// Whether its starts are put on record before they are made.
    pub(super) fn is_recorded(&self) -> bool {
        each!(self, meter => meter.is_recorded())
    }

    /// The next chunk of starts that is to be put on record, if any is, and how it stands there.
    pub(super) fn reserve(&mut self, now: Timestamp) -> Option<(Chunk, Consumed)> {
        each!(self, meter => meter.reserve(now))
    }

    /// That was put on record, or could not be.
    pub(super) fn confirmed(&mut self, chunk: Chunk, is_recorded: bool, now: Timestamp) {
        each!(self, meter => meter.confirmed(chunk, is_recorded, now));
    }

    /// Counts what was consumed before. Returns what has to be put on record anew for that.
    pub(super) fn restore(&mut self, consumed: &Consumed) -> Option<Consumed> {
        each!(self, meter => meter.restore(consumed))
    }

    /// What still counts at `now`, for the record or for memory.
    pub(super) fn counted(&mut self, now: Timestamp, note: &mut dyn FnMut(RecordedCount)) {
        each!(self, meter => meter.counted(now, note));
    }

    /// What is used, and the statement that `used` are; `None` when nothing can be stated about limits of this kind.
    pub(super) fn usage_to_state(
        &mut self,
        used: u32,
        at: Timestamp,
        now: Timestamp,
    ) -> Option<(u32, Stated)> {
        match self {
            Self::Pace(_) => None,
            Self::Window(meter) => Some(meter.usage_to_state(used, at, now)),
            Self::Quota(meter) => Some(meter.usage_to_state(used, at, now)),
        }
    }

    /// Counts what an operator has stated when `used_then` were used; `number` as in [`Terms`].
    pub(super) fn state(&mut self, stated: &Stated, used_then: u32, number: u64, now: Timestamp) {
        match self {
            Self::Pace(_) => {}
            Self::Window(meter) => meter.state(stated, number),
            Self::Quota(meter) => meter.state(stated, used_then, now),
        }
    }

    /// Counts what an operator stated earlier, after all else that was kept.
    pub(super) fn restore_stated(&mut self, stated: &Stated, number: u64) {
        match self {
            Self::Pace(_) => {}
            Self::Window(meter) => meter.state(stated, number),
            Self::Quota(meter) => meter.restore_stated(stated),
        }
    }

    /// Whether an operator has stated what is used now.
    pub(super) fn is_stated(&self, now: Timestamp) -> bool {
        match self {
            Self::Pace(_) => false,
            Self::Window(meter) => meter.stated(now).is_some(),
            Self::Quota(meter) => meter.is_stated(now),
        }
    }

    /// The line of time has leapt to `now`. Returns whether what counts has to be put on record anew.
    pub(super) fn leap(&mut self, leap: &Leap, now: Timestamp) -> bool {
        match self {
            Self::Pace(meter) => meter.leap(leap),
            Self::Window(meter) => meter.leap(leap),
            Self::Quota(meter) => meter.leap(leap.is_inherited, now),
        }
    }

    /// When it has nothing to remember any more; [`Timestamp::MAX`] while a reservation is awaited; `None` when that is
    /// no matter of time: what counts of it is kept elsewhere (see [`Meter::counted`]).
    pub(super) fn idle_at(&self) -> Option<Timestamp> {
        each!(self, meter => meter.idle_at())
    }

    /// What it means for calls to come; `None` when it limits nothing.
    pub(super) fn outlook(&mut self, now: Timestamp) -> Option<LimitOutlook> {
        each!(self, meter => meter.outlook(now))
    }

    /// Its state, under its own limit or a bound on it.
    pub(super) fn counter(&mut self, most: u32, now: Timestamp) -> Counter {
        each!(self, meter => meter.counter(most, now))
    }
}

impl Claim {
    /// The kind of limit that it is under.
    pub(super) const fn kind(&self) -> LimitKind {
        match self {
            Self::Pace(_) => LimitKind::Pace,
            Self::Window(_) => LimitKind::Window,
            Self::Quota(_) => LimitKind::Quota,
        }
    }
}

/// How far back a limit looks when it is brought in. A quota counts from then on.
pub(super) fn reach(limit: Limit) -> Duration {
    match limit {
        Limit::Pace(pace) => pace.window().length(),
        Limit::Window(window) => window.length(),
        Limit::Quota(_) => Duration::ZERO,
    }
}

/// Until when a limit counts as spent because what was consumed before `unknown_before` is not known.
pub(super) fn spent_until(limit: Limit, unknown_before: Timestamp, now: Timestamp) -> Option<Timestamp> {
    match limit {
        Limit::Pace(pace) => window::silent_until(pace.window(), unknown_before),
        Limit::Window(window) => window::silent_until(window, unknown_before),
        Limit::Quota(quota) => quota::spent_until(quota, unknown_before, now),
    }
}

/// What a limit means for calls to come that has nothing to remember; `None` when it limits nothing.
pub(super) fn fresh_outlook(limit: Limit, now: Timestamp) -> Option<LimitOutlook> {
    match limit {
        Limit::Pace(pace) => Some(pace::outlook(pace, now)),
        Limit::Window(window) => window::outlook(window, 0, now),
        Limit::Quota(quota) => quota::outlook(quota, 0, period_end(quota, now)),
    }
}
