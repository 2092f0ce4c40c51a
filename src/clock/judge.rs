//! Judging the wall clock: whether it says for certain how much time has passed since the last process.
//!
//! - Same boot (same id, boot clock not behind the mark's): the boot clock says it, whatever the wall clock says.
//! - Another boot: the wall clock says it when it is not behind the line's last moment and at most the bound ahead.
//! - Otherwise the wall clock is in doubt, and the line goes on from its last moment. It is a lower bound of the true
//!   time then, so that nothing dated by it is dated ahead.
//! - A doubt that was left behind does not end at a start, also when there is no reason for it any more: it ends in the
//!   running process ([`Clock::trust`](super::Clock::trust)), where everything that has to move with the line is known.
//!
//! What a leap of the line ([`Leap`]) does to each kind of date that was set in doubt:
//!
//! | date | what happens |
//! |---|---|
//! | end of an event's life, delay, retry | moved by [`corrected`] when it is read; the moment it was set is on record |
//! | `due_at` given as a date | not moved; the event is held until the doubt ends |
//! | holds of a lane: `Retry-After`, busy, breaker | moved, in memory alone |
//! | starts of paces and windows, blind times, edits | moved with the line, and put on record anew |
//! | use of a quota | counts in the period in which the line arrives |
//! | end of a drain; end of a pause that began in doubt | moved in the policy book before the leap |
//! | idempotency windows, retention of dead letters | extended by [`corrected`] or [`extension`] |
//! | ages in metrics | measured from the corrected moment |
//!
//! Must not know: clocks, files, what depends on time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::source::ClockReading;
use super::{Timestamp, nanos};

/// What a process leaves behind about its line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockMark {
    /// The line at the moment of the mark.
    pub line_ns: u64,
    /// The wall clock at that moment.
    pub wall_ns: u64,
    /// The boot in which it was made; empty when unknown.
    pub boot_id: String,
    /// The boot clock at that moment.
    pub boot_ns: u64,
    /// The wall clock was in doubt.
    pub(super) doubt: Option<ClockDoubt>,
    /// How far the line was ahead of a wall clock that was found right: the next start takes it back.
    pub(super) ahead_ns: u64,
    /// An operator has confirmed the wall clock since.
    pub is_confirmed: bool,
    /// By how much lives were extended.
    pub(super) corrections: Vec<Correction>,
}

/// A doubt that goes on, with what its end needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClockDoubt {
    /// The line at the moment when it began.
    from_ns: u64,
    /// How far the line was behind the wall clock before: it had begun with a clock that was corrected later.
    behind_ns: u64,
}

/// What was accepted from `from_ms` to `to_ms` on the line lives `by_ms` longer than it was promised, because the line
/// moved so far without that much time passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    from_ms: u64,
    to_ms: u64,
    by_ms: u64,
}

/// What is wrong with a wall clock, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// It is further ahead of the last process than the bound.
    Ahead(Duration),
    /// It is behind the last process.
    Behind(Duration),
}

/// How a line begins, and whether its wall clock is in doubt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockVerdict {
    /// The first moment of the line.
    pub line: Timestamp,
    /// Why the wall clock is in doubt, if it is.
    pub suspicion: Option<Suspicion>,
    pub(super) doubt: Option<ClockDoubt>,
    pub(super) corrections: Vec<Correction>,
}

impl ClockVerdict {
    pub(super) const fn manual(line: Timestamp) -> Self {
        Self { line, suspicion: None, doubt: None, corrections: Vec::new() }
    }

    /// Whether the wall clock is in doubt, also when that is about to end.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }
}

/// The end of a doubt: how the line moves, and what that does to dates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leap {
    /// So far the line moves forward.
    pub by: Duration,
    /// The line when the doubt began: what lies there or later moves with it.
    pub from: Timestamp,
    /// The doubt is older than this process.
    pub is_inherited: bool,
    /// What is not aged by that.
    pub corrections: Vec<Correction>,
    /// How far the line is ahead of the wall clock; the next start takes it back.
    pub ahead: Duration,
}

impl Leap {
    /// A moment that was noted since the doubt began moves with the line.
    #[must_use]
    pub fn moved(&self, at: Timestamp) -> Timestamp {
        if at >= self.from { at + self.by } else { at }
    }

    /// A due time that was set in doubt, as [`corrected`] moves it.
    #[must_use]
    pub fn postponed(&self, due_at: Timestamp) -> Timestamp {
        if self.corrections.is_empty() { due_at } else { due_at + Duration::from_millis(rounded_ms(self.by)) }
    }

    /// Puts the end of something right that was accepted then.
    pub fn correct(&self, accepted_at: Timestamp, expires_at: &mut Timestamp) {
        *expires_at = corrected(&self.corrections, accepted_at, *expires_at);
    }
}

/// Wall clock and line may differ by this much without anything being wrong.
pub(super) const TOLERANCE: Duration = Duration::from_secs(2);
/// No mark is older than this while a process runs.
const MARK_AGE: Duration = Duration::from_secs(60);
/// Most corrections that are kept, the newest: their events have ended long before there are more.
const CORRECTIONS: usize = 32;

impl ClockMark {
    /// What is known without a mark: the newest moment on record, of an unknown boot.
    #[must_use]
    pub const fn unknown(newest: Timestamp) -> Self {
        Self {
            line_ns: newest.as_nanos(),
            wall_ns: newest.as_nanos(),
            boot_id: String::new(),
            boot_ns: 0,
            doubt: None,
            ahead_ns: 0,
            is_confirmed: false,
            corrections: Vec::new(),
        }
    }

    /// Whether the wall clock was in doubt.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }
}

/// Judges the wall clock of `reading` by the mark of the last process and the newest moment on its record.
pub(super) fn judge(
    mark: Option<&ClockMark>,
    newest: Timestamp,
    reading: &ClockReading,
    bound: Duration,
) -> ClockVerdict {
    let wall = reading.wall;
    let Some(mark) = mark else { return ClockVerdict::manual(wall.max(newest)) };
    // A boot clock behind the mark's is another one whatever the id says: time namespaces share the id.
    let is_same_boot =
        !mark.boot_id.is_empty() && *mark.boot_id == *reading.boot_id && reading.boot_ns >= mark.boot_ns;
    let passed_ns = if is_same_boot { reading.boot_ns - mark.boot_ns } else { 0 };
    let mut line = Timestamp(mark.line_ns.saturating_sub(mark.ahead_ns).saturating_add(passed_ns));
    // Accepted after the mark was made. What is much newer was accepted when a doubt had ended and the mark did not say
    // so yet: it must not hide how far the line moves, by which lives are extended.
    let is_near = mark.doubt.is_none() || newest.since(line) < MARK_AGE;
    // A line that was ahead is taken back: what was accepted last is dated by it, and must not hold it there.
    if mark.ahead_ns == 0 && is_near {
        line = line.max(newest);
    }
    let corrections = mark.corrections.clone();
    if is_same_boot && mark.doubt.is_none() {
        return ClockVerdict { line, suspicion: None, doubt: None, corrections };
    }
    let suspicion = if wall + TOLERANCE < line {
        Some(Suspicion::Behind(line.since(wall)))
    } else if wall.since(line) > bound {
        Some(Suspicion::Ahead(wall.since(line)))
    } else {
        None
    };
    // An operator has confirmed this wall clock, and the last process ended before its doubt did.
    let suspicion = suspicion.filter(|_| !mark.is_confirmed);
    let begun = || {
        let behind_ns = mark.wall_ns.saturating_sub(mark.line_ns);
        ClockDoubt { from_ns: line.as_nanos(), behind_ns }
    };
    let doubt = mark.doubt.or_else(|| suspicion.map(|_| begun()));
    let line = if doubt.is_none() { line.max(wall) } else { line };
    ClockVerdict { line, suspicion, doubt, corrections }
}

/// Ends a doubt at the moment `line` with a wall clock that is right.
pub(super) fn settle(doubt: ClockDoubt, line: Timestamp, wall: Timestamp) -> Leap {
    let from = Timestamp(doubt.from_ns);
    // The line never moves back within a process: dates lie later on it until the next start.
    if wall + TOLERANCE < line {
        return Leap { from, ahead: line.since(wall), ..Leap::default() };
    }
    let by = wall.since(line);
    if by <= TOLERANCE {
        return Leap { from, ..Leap::default() };
    }
    // Rounded outwards, here and below: what was accepted in the first or last millisecond is concerned.
    let ms = |ns: u64| ns / 1_000_000;
    let in_doubt =
        Correction { from_ms: ms(doubt.from_ns), to_ms: line.ceil_millis(), by_ms: rounded_ms(by) };
    let before = Correction { from_ms: 0, to_ms: ms(doubt.from_ns), by_ms: ms(doubt.behind_ns) };
    let corrections = [before, in_doubt].into_iter().filter(|correction| correction.by_ms > 0).collect();
    Leap { by, from, corrections, ..Leap::default() }
}

/// A leap in whole milliseconds: what moves by it is not early.
fn rounded_ms(by: Duration) -> u64 {
    Timestamp(nanos(by)).ceil_millis()
}

pub(super) fn joined(before: &[Correction], new: &[Correction]) -> Vec<Correction> {
    let all: Vec<Correction> = before.iter().chain(new).copied().collect();
    // The newest are kept: they are the last of the list.
    all.get(all.len().saturating_sub(CORRECTIONS)..).unwrap_or_default().to_vec()
}

/// The moment `at`, as it was promised to what was accepted at `accepted_at`, after all corrections since.
#[must_use]
pub(crate) fn corrected(corrections: &[Correction], accepted_at: Timestamp, at: Timestamp) -> Timestamp {
    at + extension(corrections, accepted_at, accepted_at)
}

/// By how much longer lives what was accepted at some moment from `first` to `last`, at most.
#[must_use]
pub(crate) fn extension(corrections: &[Correction], first: Timestamp, last: Timestamp) -> Duration {
    let (first_ms, last_ms) = (first.as_millis(), last.as_millis());
    let concerned =
        corrections.iter().filter(|correction| correction.from_ms <= last_ms && first_ms <= correction.to_ms);
    Duration::from_millis(concerned.fold(0, |sum, correction| sum.saturating_add(correction.by_ms)))
}
