//! Time. The only room that reads clocks: everything else is handed a [`Timestamp`] or a [`Clock`].
//!
//! A [`Timestamp`] lies on a *steady* line: it starts where the last process left it or at the wall time, and advances
//! with the boot clock, which also counts suspended time. A stepped wall clock therefore ages nothing, fires nothing
//! early and stalls nothing. Wall time is asked for by name ([`Clock::wall`]) at the doors alone.
//!
//! At the start the wall clock is judged against the [`ClockMark`] of the last process ([`Clock::begin`]). While it is
//! in doubt the line goes on from the mark: it is then never ahead of the true time, and nothing may be done because time
//! has passed ([`Clock::is_trusted`]). When the doubt ends ([`Clock::trust`]) the line moves forward to the wall clock,
//! as it does over a suspension; it never moves back within a process.
//!
//! Must not know: anything of tidegate.

mod judge;
#[cfg(any(test, feature = "testkit"))]
mod set;
mod source;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use judge::{ClockMark, ClockVerdict, Correction, Leap, Suspicion, corrected, extension};
#[cfg(any(test, feature = "testkit"))]
pub use set::Script;
#[cfg(any(test, feature = "testkit"))]
use set::Set;
pub(crate) use source::ClockReading;
use source::ClockSource;
pub(crate) use watch::{Anomaly, WallClockWatch};

/// A moment on the steady line, in nanoseconds since the Unix epoch. Arithmetic saturates: no clock step
/// or absurd duration can panic or wrap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch: before every other moment.
    pub const ZERO: Self = Self(0);
    /// After every other moment: what never comes.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From milliseconds since the Unix epoch; saturates in the year 2554.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the Unix epoch, exactly.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the Unix epoch, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This moment rounded up to a whole millisecond: what a millisecond column must hold so that nothing
    /// happens early.
    #[must_use]
    pub const fn ceil_millis(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }

    /// Reads an RFC 3339 date; one before the epoch or beyond the last moment counts as that.
    #[must_use]
    pub fn parse(date: &str) -> Option<Self> {
        let date = chrono::DateTime::parse_from_rfc3339(date).ok()?;
        Some(Self(match date.timestamp_nanos_opt() {
            // Signed nanoseconds reach from 1677 to 2262.
            Some(nanos) => u64::try_from(nanos).unwrap_or(0),
            None if date.timestamp() < 0 => 0,
            None => u64::MAX,
        }))
    }

    /// The time from `earlier` to here; zero when `earlier` lies later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(nanos(rhs)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(rhs)))
    }
}

/// RFC 3339 in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.as_millis()).unwrap_or(i64::MAX);
        match chrono::DateTime::from_timestamp_millis(millis) {
            Some(time) => write!(f, "{}", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
            None => f.write_str("beyond the calendar"),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where time comes from. Cheap to clone; clones share their state.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: ClockSource,
    /// Turns the boot clock into nanoseconds since the epoch. Never decreases once the line has begun.
    offset_ns: AtomicI64,
    is_trusted: AtomicBool,
    is_confirmed: AtomicBool,
    state: Mutex<ClockState>,
}

#[derive(Debug, Default)]
struct ClockState {
    doubt: Option<judge::ClockDoubt>,
    /// The doubt is older than this process.
    is_inherited: bool,
    /// An operator had confirmed the wall clock before this process.
    was_confirmed: bool,
    /// How far the line is ahead of a wall clock that was found right.
    ahead_ns: u64,
    corrections: Arc<[Correction]>,
}

impl Clock {
    /// The machine's clock, anchored at the present wall time.
    #[must_use]
    pub fn system() -> Self {
        Self::of(ClockSource::System(source::boot_id()))
    }

    /// A clock that stands at `start` until it is moved and that is always trusted: for tests and simulations.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self::of(ClockSource::Set(Set::Manual(start.as_nanos().into())))
    }

    /// A clock whose readings a test sets one by one.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn scripted(script: &Script) -> Self {
        Self::of(ClockSource::Set(Set::Scripted(script.clone())))
    }

    fn of(source: ClockSource) -> Self {
        let reading = source.read();
        Self(Arc::new(Inner {
            source,
            offset_ns: AtomicI64::new(offset(reading.wall.as_nanos(), reading.boot_ns)),
            is_trusted: AtomicBool::new(true),
            is_confirmed: AtomicBool::new(false),
            state: Mutex::default(),
        }))
    }

    /// The present moment on the steady line.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        // No lock: every step of the dispatcher asks, and each of its answers stands for itself.
        let offset_ns = self.0.offset_ns.load(Ordering::Acquire);
        Timestamp(self.0.source.boot_ns().saturating_add_signed(offset_ns))
    }

    /// The present wall time, for dates that people give and read. A manual clock has no other time.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.0.source.wall()
    }

    /// What the clocks of the machine say.
    #[must_use]
    pub fn read(&self) -> ClockReading {
        self.0.source.read()
    }

    /// Moves a manual clock or a script forward; a system clock moves by itself and ignores this.
    #[cfg(any(test, feature = "testkit"))]
    pub fn advance(&self, by: Duration) {
        if let ClockSource::Set(set) = &self.0.source {
            set.advance(by);
        }
    }

    /// Begins the line of a process: `mark` is what the last one left, `newest` the newest moment on its record, and a
    /// wall clock that is at most `bound` ahead of them is believed. To be called before the line is used.
    pub fn begin(&self, mark: Option<&ClockMark>, newest: Timestamp, bound: Duration) -> ClockVerdict {
        #[cfg(any(test, feature = "testkit"))]
        if let ClockSource::Set(Set::Manual(hand)) = &self.0.source {
            hand.fetch_max(newest.as_nanos(), Ordering::AcqRel);
            return ClockVerdict::manual(self.now());
        }
        let reading = self.read();
        // One reading for all of it: two would differ by the time between them.
        let verdict = judge::judge(mark, newest, &reading, bound);
        let mut state = self.state();
        state.doubt = verdict.doubt;
        state.is_inherited = mark.is_some_and(ClockMark::is_in_doubt);
        state.was_confirmed = mark.is_some_and(|mark| mark.is_confirmed);
        state.corrections = verdict.corrections.clone().into();
        self.0.offset_ns.store(offset(verdict.line.as_nanos(), reading.boot_ns), Ordering::Release);
        self.0.is_trusted.store(verdict.doubt.is_none(), Ordering::Release);
        // A doubt without a reason ends as soon as everything that moves with the line is there.
        let is_over = verdict.doubt.is_some() && verdict.suspicion.is_none();
        self.0.is_confirmed.store(is_over, Ordering::Release);
        verdict
    }

    /// Whether it is certain how much time has passed. While it is not, nothing irreversible may be done because time
    /// has passed: no expiry, no end of a drain or of a timed pause, no deletion.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.0.is_trusted.load(Ordering::Acquire)
    }

    /// An operator confirms that the wall clock is right. It takes effect within a second, through the task that owns
    /// the line ([`Clock::trust`]).
    pub fn confirm(&self) {
        self.0.is_confirmed.store(true, Ordering::Release);
    }

    /// Whether the doubt may end at once: an operator has confirmed the wall clock, or there was no reason for the
    /// doubt any more when the line began.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.0.is_confirmed.load(Ordering::Acquire)
    }

    /// Ends the doubt about the wall clock: the line moves forward to it, and what was accepted in doubt is not aged by
    /// that ([`corrected`]). A wall clock behind the line moves it at the next start. `None` when there was no doubt.
    ///
    /// To be called by the task that owns the limits, between two of its steps: they have to learn of the leap before
    /// they count on.
    pub fn trust(&self) -> Option<Leap> {
        let mut state = self.state();
        let doubt = state.doubt.take()?;
        let reading = self.read();
        let is_inherited = state.is_inherited;
        let leap = Leap { is_inherited, ..judge::settle(doubt, self.now(), reading.wall) };
        debug_assert!(
            leap.by.is_zero() || leap.ahead.is_zero(),
            "a line that is behind the wall clock and ahead of it"
        );
        (state.is_inherited, state.was_confirmed) = (false, false);
        state.ahead_ns = nanos(leap.ahead);
        state.corrections = judge::joined(&state.corrections, &leap.corrections).into();
        let by = i64::try_from(leap.by.as_nanos()).unwrap_or(i64::MAX);
        let offset_ns = self.0.offset_ns.load(Ordering::Acquire).saturating_add(by);
        // The line before the trust: nobody may take the line in doubt for certain.
        self.0.offset_ns.store(offset_ns, Ordering::Release);
        self.0.is_trusted.store(true, Ordering::Release);
        Some(leap)
    }

    /// The leap that [`Clock::trust`] would make now; `None` without a doubt.
    #[must_use]
    pub fn expected_leap(&self) -> Option<Leap> {
        let state = self.state();
        let is_inherited = state.is_inherited;
        Some(Leap { is_inherited, ..judge::settle(state.doubt?, self.now(), self.wall()) })
    }

    /// How far the line is ahead of a wall clock that was found right: a date lies later on it by this much.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        Duration::from_nanos(self.state().ahead_ns)
    }

    /// By how much the life of what was accepted in doubt was extended, oldest first.
    #[must_use]
    pub fn corrections(&self) -> Arc<[Correction]> {
        Arc::clone(&self.state().corrections)
    }

    /// What the next process needs to know of this one's line; `None` for a manual clock.
    #[must_use]
    pub fn mark(&self) -> Option<ClockMark> {
        #[cfg(any(test, feature = "testkit"))]
        if let ClockSource::Set(Set::Manual(_)) = self.0.source {
            return None;
        }
        // Locked before the line is read: a doubt that ends meanwhile must not be written down with the line of before.
        let state = self.state();
        let reading = self.read();
        let offset_ns = self.0.offset_ns.load(Ordering::Acquire);
        Some(ClockMark {
            line_ns: reading.boot_ns.saturating_add_signed(offset_ns),
            wall_ns: reading.wall.as_nanos(),
            boot_id: reading.boot_id.to_string(),
            boot_ns: reading.boot_ns,
            doubt: state.doubt,
            ahead_ns: state.ahead_ns,
            is_confirmed: state.was_confirmed && state.doubt.is_some(),
            corrections: state.corrections.to_vec(),
        })
    }

    fn state(&self) -> MutexGuard<'_, ClockState> {
        // Every change is complete before anything can panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn offset(line_ns: u64, boot_ns: u64) -> i64 {
    let line_ns = i64::try_from(line_ns).unwrap_or(i64::MAX);
    line_ns.saturating_sub(i64::try_from(boot_ns).unwrap_or(i64::MAX))
}
